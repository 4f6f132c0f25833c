"""What members ask each other about parts, and the answers, read as strictly as a webhook. Pure."""

import enum
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from rtmsd.cluster.engine import EngineError
from rtmsd.cluster.records import Count, StreamId

PART: Final = "part"
"""The kind of these questions on the bus."""

PIECE_BYTES: Final = 256 * 1024
FILES: Final = 1000
"""In one answer."""
MAX_BYTES: Final = 512 * 1024

Path: TypeAlias = Annotated[str, Meta(pattern=r"\A([a-z]{1,32}/)?[A-Za-z0-9_%-][A-Za-z0-9_%.-]{0,199}\Z")]
"""A file in the directory of a recording, or one below: it leads nowhere else."""


class BadQuestion(EngineError):
    """What another member sent cannot be read. The text has none of its content."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base: who knows more asks so only those that do."""


class ListFiles(_Strict, frozen=True, tag="list", tag_field="ask"):
    """What is there of a stream?

    Attributes:
        after: the last file of the answer before; empty: from the beginning.
    """

    rtms_stream_id: StreamId
    after: Path | None = None


class ReadPiece(_Strict, frozen=True, tag="piece", tag_field="ask"):
    """Up to `PIECE_BYTES` of a file, which are the whole answer."""

    rtms_stream_id: StreamId
    path: Path
    offset: Count


class NoteGathered(_Strict, frozen=True, tag="gathered", tag_field="ask"):
    """The part is in a joined recording that was verified. The answer is empty."""

    rtms_stream_id: StreamId


Question: TypeAlias = ListFiles | ReadPiece | NoteGathered


class Readiness(enum.Enum):
    NOTHING = "nothing"  # of this stream, or not any more
    BUSY = "busy"  # it is being recorded, or deleted
    READY = "ready"


class File(msgspec.Struct, frozen=True):
    path: Path
    bytes: Count
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class Files(msgspec.Struct, frozen=True):
    """An answer.

    Attributes:
        nodes: the members that recorded it.
        files: in the order of their names, the manifest last.
        is_all: there are no more.
    """

    readiness: Readiness
    nodes: Annotated[tuple[Annotated[str, Meta(max_length=1024)], ...], Meta(max_length=256)] = ()
    files: Annotated[tuple[File, ...], Meta(max_length=FILES)] = ()
    is_all: bool = True


def encode(message: Question | Files) -> bytes:
    return msgspec.json.encode(message)


def decode_question(data: bytes) -> Question:
    """Read a question.

    Raises:
        BadQuestion: it is none.
    """
    question: Question = _decode(data, Question)
    return question


def decode_files(data: bytes) -> Files:
    """Read an answer.

    Raises:
        BadQuestion: it is none.
    """
    files: Files = _decode(data, Files)
    return files


def _decode(data: bytes, kind: Any) -> Any:
    if len(data) > MAX_BYTES:
        raise BadQuestion(f"a message about a part has more than {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadQuestion(f"a message about a part cannot be read: {type(error).__name__}") from None
