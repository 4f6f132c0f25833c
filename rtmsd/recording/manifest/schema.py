"""What manifests, and lines beside media, are made of, for those who read what somebody else may have written or cut.

Only what readers rely on is asked for, and that it can be written again: keys that are not named here may be there.
"""

import contextlib
import enum
import json
from typing import Annotated, Any, Final, TypeAlias

import msgspec

_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A([a-z]+/)?[A-Za-z0-9_%.-]{1,200}\Z")]
"""A file in the directory or one below, as `layout` names them: it leads nowhere else."""

_WhoeverId: TypeAlias = int | str | None

_LONG_BYTES: Final = 2**20

MAX_RATE_HZ: Final = 384_000
FAR_MS: Final = 2**53
_Ms: TypeAlias = Annotated[int, msgspec.Meta(ge=-FAR_MS, le=FAR_MS)]
"""A time that can be calculated with. Times that Zoom told and nobody calculates with may be any number."""

_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _Person(msgspec.Struct):
    user_id: int | str
    user_name: str | None = None
    joined_ms: int | None = None
    left_ms: int | None = None


class _File(msgspec.Struct):
    path: _Name
    media: str
    user_id: _WhoeverId
    start_ms: _Ms
    duration_ms: int
    bytes: _Size
    index: _Name | msgspec.UnsetType = msgspec.UNSET
    rate_hz: Annotated[int, msgspec.Meta(ge=1000, le=MAX_RATE_HZ, multiple_of=1000)] | msgspec.UnsetType = msgspec.UNSET
    channels: Annotated[int, msgspec.Meta(ge=1, le=2)] | msgspec.UnsetType = msgspec.UNSET


class _Gap(msgspec.Struct):
    media: str
    user_id: _WhoeverId
    from_ms: _Ms
    to_ms: _Ms | None
    cause: str


class _Pause(msgspec.Struct):
    from_ms: _Ms
    to_ms: _Ms | None
    why: str = ""
    sure_until_ms: _Ms | None = None


class _Connection(msgspec.Struct):
    number: _Size
    kind: str
    media: list[str]
    opened_ms: _Ms | None
    closed_ms: _Ms | None
    heard_ms: _Ms | None = None
    why: str | None = None


class _Refusal(msgspec.Struct):
    why: str
    status: int | None = None
    at_ms: _Ms | None = None


class _Term(msgspec.Struct):
    asked: dict[str, Any] | None = None
    granted: dict[str, Any] | None = None
    refused: _Refusal | None = None


class _Counters(msgspec.Struct):
    messages: dict[str, int]


class _Manifest(msgspec.Struct):
    version: int
    rtms_stream_id: str
    state: str
    started_ms: Annotated[int, msgspec.Meta(ge=0, le=FAR_MS)]
    ended_ms: _Ms | None
    participants: list[_Person]
    files: list[_File]
    gaps: list[_Gap]
    connections: list[_Connection]
    counters: _Counters
    pauses: list[_Pause] = []
    gaps_within: list[_Gap] = []
    media: dict[str, _Term] = {}
    clock_ms: _Ms = 0
    events_bytes: _Size = 0
    first_packet_ms: _Ms | None = None
    product: Any = None
    id: Any = None
    id_key: Any = None
    app: Any = None
    stop_reason: Any = None
    why: Any = None
    details: Any = None


VERSION: Final = 1
"""Of the manifests that are written here."""

KEYS: Final = frozenset(_Manifest.__struct_fields__)
"""What a manifest of this version has, apart from what may be in it besides."""


class _Picture(msgspec.Struct):
    offset: _Size
    length: _Size
    timestamp_ms: _Ms


class _Utterance(msgspec.Struct):
    user_id: _WhoeverId
    user_name: str | None
    text: str
    start_ms: int | None
    end_ms: int | None
    timestamp_ms: int
    attribute: int | None


class _Event(msgspec.Struct):
    at_ms: int
    kind: str


class _Chat(msgspec.Struct):
    timestamp_ms: int


class Line(enum.Enum):
    """What a file of lines has in each."""

    PICTURE = _Picture
    UTTERANCE = _Utterance
    EVENT = _Event
    CHAT = _Chat


def mistake(manifest: Any) -> str | None:
    """Return why this is no manifest, None if it is one; `manifest` is what `json` reads."""
    try:
        msgspec.convert(manifest, _Manifest)
        msgspec.json.encode(manifest)  # somebody will have to write it again
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:  # the second: half a surrogate pair
        return str(error)
    return None


def encode_manifest(manifest: dict[str, Any]) -> bytes:
    """Return a manifest in lines for people; of one that nobody can read through any more, as short as can be."""
    try:
        content = msgspec.json.encode(manifest)
    except UnicodeEncodeError:  # half a surrogate pair, as of the name of a file
        content = json.dumps(manifest, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return (msgspec.json.format(content, indent=1) if len(content) < _LONG_BYTES else content) + b"\n"


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
