"""What a manifest is made of, for those who read one that somebody else may have written, cut or edited.

Only what readers rely on is asked for: keys that are not named here may be there or not.
"""

from typing import Annotated, Any, TypeAlias

import msgspec

_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A([a-z]+/)?[A-Za-z0-9_%.-]{1,200}\Z")]
"""A file in the directory or one below, as `layout` names them: it leads nowhere else."""

_WhoeverId: TypeAlias = int | str | None


class _Person(msgspec.Struct):
    user_id: int | str


class _File(msgspec.Struct):
    path: _Name
    media: str
    user_id: _WhoeverId
    start_ms: int
    duration_ms: int
    bytes: int
    index: _Name | msgspec.UnsetType = msgspec.UNSET
    rate_hz: Annotated[int, msgspec.Meta(ge=1000, le=384_000)] | msgspec.UnsetType = msgspec.UNSET
    channels: Annotated[int, msgspec.Meta(ge=1, le=64)] | msgspec.UnsetType = msgspec.UNSET


class _Gap(msgspec.Struct):
    media: str
    user_id: _WhoeverId
    from_ms: int
    to_ms: int | None
    cause: str


class _Pause(msgspec.Struct):
    from_ms: int
    to_ms: int | None


class _Connection(msgspec.Struct):
    number: int
    kind: str
    media: list[str]
    opened_ms: int | None
    closed_ms: int | None


class _Counters(msgspec.Struct):
    messages: dict[str, int]


class _Manifest(msgspec.Struct):
    version: int
    rtms_stream_id: str
    state: str
    started_ms: int
    ended_ms: int | None
    participants: list[_Person]
    files: list[_File]
    gaps: list[_Gap]
    connections: list[_Connection]
    counters: _Counters
    pauses: list[_Pause] = []
    gaps_within: list[_Gap] = []


def mistake(manifest: Any) -> str | None:
    """Return why this is no manifest, None if it is one; `manifest` is what `json` reads."""
    try:
        msgspec.convert(manifest, _Manifest)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter for half a surrogate pair
        return str(error)
    return None
