"""The lines of the files beside the media: events, media that are text, and the index of a file of pictures."""

import contextlib
import enum
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rtmsd.protocol.media_types import TEXTS
from rtmsd.recording.manifest.schema import Ms, OwnerId, SizeBytes


class _Picture(msgspec.Struct):
    """Earlier recordings have neither `key` nor `connection`, and a repaired stretch has `damaged` in their place."""

    offset: SizeBytes
    length: SizeBytes
    timestamp_ms: Ms
    key: bool = False
    connection: SizeBytes = 0


class _Utterance(msgspec.Struct):
    user_id: OwnerId
    user_name: str | None
    text: str
    start_ms: int | None
    end_ms: int | None
    timestamp_ms: int
    attribute: int | None


class _Chat(msgspec.Struct):
    timestamp_ms: int
    text: str
    user_id: OwnerId
    user_name: str | None
    operation: str | int | None = None  # this and the next: not in lines of older versions
    message_id: str | None = None
    parent_message_id: str | None = None
    session_type: str | int | None = None
    session_id: str | None = None
    receiver: dict[str, Any] | None = None
    files: tuple[dict[str, Any], ...] = ()
    deleted_file_ids: tuple[str, ...] = ()
    details: dict[str, Any] | None = None


class _Event(msgspec.Struct):
    at_ms: int
    kind: str


class _Text(msgspec.Struct):
    timestamp_ms: int


class Line(enum.Enum):
    """The keys that each line of a file must have; others may be there."""

    PICTURE = _Picture
    UTTERANCE = _Utterance
    CHAT = _Chat
    EVENT = _Event
    TEXT = _Text


MEDIA_FILES: Final[Mapping[str, str]] = {media: f"{media}.jsonl" for media in TEXTS}
_TEXTS: Final = {"transcript": Line.UTTERANCE, "chat": Line.CHAT}
FILES: Final[Mapping[str, Line]] = {
    "events.jsonl": Line.EVENT,
    **{name: _TEXTS.get(media, Line.TEXT) for media, name in MEDIA_FILES.items()},
}
"""By the name of the file, those of pictures apart."""


def read_line(line: bytes, kind: Line) -> dict[str, Any]:
    """Read one line of a file.

    Raises:
        ValueError: it is no such line, naming what is wrong.
    """
    try:
        value: dict[str, Any] = json.loads(line)
        msgspec.convert(value, kind.value)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(str(error)) from None
    return value


def read_lines(content: bytes, kind: Line) -> list[dict[str, Any]]:
    """Return the lines of a file; a torn last line, and anything that is no such line, is left out."""
    found = []
    for line in content.split(b"\n"):
        with contextlib.suppress(ValueError):
            found.append(read_line(line, kind))
    return found


_encode: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode
_encode_escaped: Final = json.JSONEncoder(separators=(",", ":"), default=str).encode


def json_line(value: dict[str, Any]) -> bytes:
    """Return one line of JSON, whatever is in it: other types become strings, half a character an escape."""
    try:
        return _encode(value).encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate
        return _encode_escaped(value).encode() + b"\n"
