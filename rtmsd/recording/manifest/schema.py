"""The manifest `stream.json` and its entries, as read from files that others may have written or cut, and as written.

Only what readers rely on is required, and that it can be written again; unknown keys are kept (see `Entry`).
"""

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

from rtmsd.recording.manifest.entry import Entry, keep_others, to_json

MANIFEST: Final = "stream.json"
VERSION: Final = 1
"""Of the manifests that are written here."""

MIX_USER_ID: Final = 0
"""The `user_id` of the mix of everybody's audio."""
MIX_NAME: Final = "mixed"

_LONG_BYTES: Final = 2**20

MAX_RATE_HZ: Final = 384_000
FAR_MS: Final = 2**53

_Name: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A([a-z]+/)?[A-Za-z0-9_%.-]{1,200}\Z")]
"""A file in the directory or one below, as `disk.paths` names them: it leads nowhere else."""

_RateHz: TypeAlias = Annotated[int, msgspec.Meta(ge=1000, le=MAX_RATE_HZ, multiple_of=1000)]

OwnerId: TypeAlias = int | str | None
"""A participant; None: everybody."""

Ms: TypeAlias = Annotated[int, msgspec.Meta(ge=-FAR_MS, le=FAR_MS)]
"""A time that can be calculated with. Other times of Zoom may be any number."""

Side: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
"""Width or height of a picture, in pixels."""

SizeBytes: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class ParticipantEntry(Entry):
    """A participant; `role` ("caller" or "callee") and `phone_number` where Zoom says them."""

    user_id: int | str
    user_name: str | None = None
    joined_ms: int | None = None
    left_ms: int | None = None
    role: str | UnsetType | None = UNSET
    phone_number: str | UnsetType | None = UNSET


class SegmentEntry(Entry):
    """Pictures of one size from one connection: those of a file from `offset` on, as far as the next segment.

    Attributes:
        width, height: in pixels; None as long as no message says so.
        connection: its number among `connections`; 0: unknown.
    """

    from_ms: Ms
    offset: SizeBytes
    width: Side | None
    height: Side | None
    connection: SizeBytes


class FileEntry(Entry):
    """A file of media, or of lines.

    Attributes:
        codec, sample_rate_hz, channels: of audio; `codec` of pictures, too, like all that follow.
        rate_hz: what `sample_rate_hz` was called before; only read.
        width, height: of the newest segment that has a size.
    """

    nested: ClassVar = ("segments",)

    path: _Name
    media: str
    user_id: OwnerId
    start_ms: Ms
    duration_ms: int
    bytes: SizeBytes
    index: _Name | UnsetType = UNSET
    codec: str | UnsetType = UNSET
    rate_hz: _RateHz | UnsetType = UNSET
    sample_rate_hz: _RateHz | UnsetType = UNSET
    channels: Annotated[int, msgspec.Meta(ge=1, le=2)] | UnsetType = UNSET
    width: Side | UnsetType = UNSET
    height: Side | UnsetType = UNSET
    segments: list[SegmentEntry] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.sample_rate_hz is UNSET and self.rate_hz is not UNSET:  # before there was any other codec
            self.codec, self.sample_rate_hz, self.rate_hz = "L16", self.rate_hz, UNSET


class GapEntry(Entry):
    """Media that are missing; `to_ms` is None while the gap is open."""

    media: str
    user_id: OwnerId
    from_ms: Ms
    to_ms: Ms | None
    cause: str


class PauseEntry(Entry, omit_defaults=True):
    """Paused by the host, or between an end and a new start.

    Attributes:
        to_ms: None while it is open.
        sure_until_ms: Zoom has not been heard since: the pause may have ended at any time after this.
    """

    from_ms: Ms
    to_ms: Ms | None
    why: str = ""
    sure_until_ms: Ms | None = None


class ConnectionEntry(Entry, kw_only=True):
    """A connection to Zoom. Times are Zoom's.

    Attributes:
        opened_ms: from when on it brought media; None until Zoom's time is known.
        heard_ms: its last keep-alive, or the end of its newest media.
        closed_ms: None while it is up, and while it is not known whether it closed as part of the stream's end.
    """

    number: SizeBytes
    kind: str
    media: list[str]
    opened_ms: Ms | None
    heard_ms: Ms | None = None
    closed_ms: Ms | None
    why: str | None = None


class TenureEntry(Entry):
    """One owner's time with a stream, in a cluster. `token` is the number of its ownership record.

    Attributes:
        to_ms: None while it lasts.
    """

    epoch: SizeBytes
    token: SizeBytes
    from_ms: Ms
    to_ms: Ms | None


class ElsewhereEntry(Entry):
    """Time for which another member has the media; `epoch` is of its latest tenure then."""

    node: str
    from_ms: Ms
    to_ms: Ms
    epoch: SizeBytes | UnsetType = UNSET


class PartEntry(Entry):
    """What one member of a cluster has of a stream: its tenures, and the times that are recorded elsewhere."""

    nested: ClassVar = ("tenures", "elsewhere")

    node: str
    tenures: list[TenureEntry] = msgspec.field(default_factory=list)
    elsewhere: list[ElsewhereEntry] = msgspec.field(default_factory=list)


class SourceEntry(Entry):
    """A part of which a joined recording was made."""

    nested: ClassVar = ("tenures",)

    node: str
    directory: str
    bytes: SizeBytes
    tenures: list[TenureEntry] = msgspec.field(default_factory=list)


class Refusal(Entry, kw_only=True):
    status: int | None = None
    why: str
    at_ms: Ms | None = None


class MediaTerm(Entry):
    """A media type: what was asked for, what was granted, and what was refused."""

    nested: ClassVar = ("refused",)

    asked: dict[str, Any] | None = None
    granted: dict[str, Any] | None = None
    refused: Refusal | None = None


class Counters(Entry):
    """Counts of the whole recording: messages by media type, and in `others` all the rest by name."""

    messages: dict[str, int]

    def __getitem__(self, name: str) -> int:
        count = self.others.get(name)
        return count if isinstance(count, int) else 0

    @property
    def corrupt_kinds(self) -> dict[str, int]:
        return self._by_name("corrupt_kinds")

    @property
    def unknown_kinds(self) -> dict[str, int]:
        return self._by_name("unknown_kinds")

    def _by_name(self, name: str) -> dict[str, int]:
        counts = self.others.get(name)
        if not isinstance(counts, dict):
            return {}
        return {kind: count for kind, count in counts.items() if isinstance(count, int)}


class Manifest(Entry, kw_only=True):
    """The content of `stream.json`.

    Attributes:
        gaps_within: gaps that count where another one, or a pause, becomes shorter; of a stream that was given up,
            those that go on should it not have ended.
        media: what was asked for, granted and refused, by media type.
        clock_ms: the latest time heard from Zoom.
        events_bytes: how much of `events.jsonl` is promised.
        first_packet_ms: where small timestamps count from.
        video: whose video was chosen, and whose camera was on, for a restart; where one participant's is asked for.
        part: which part of the stream this is, in a cluster.
        parts: of which it was joined.
        product, id, id_key, app, why, details: what is written is text, and an object; what is read may be anything.
    """

    nested: ClassVar = (
        *("participants", "media", "files", "gaps", "gaps_within", "pauses", "connections", "counters"),
        *("part", "parts"),
    )

    version: int
    rtms_stream_id: str
    product: Any = UNSET
    id: Any = UNSET
    id_key: Any = UNSET
    app: Any = UNSET
    details: Any = UNSET
    state: str
    why: Any = UNSET
    started_ms: Annotated[int, msgspec.Meta(ge=0, le=FAR_MS)]
    ended_ms: Ms | None
    stop_reason: Any = None
    first_packet_ms: Ms | None = None
    participants: list[ParticipantEntry]
    media: dict[str, MediaTerm] = msgspec.field(default_factory=dict)
    files: list[FileEntry]
    gaps: list[GapEntry]
    gaps_within: list[GapEntry] = msgspec.field(default_factory=list)
    pauses: list[PauseEntry] = msgspec.field(default_factory=list)
    connections: list[ConnectionEntry]
    clock_ms: Ms = 0
    counters: Counters
    events_bytes: SizeBytes = 0
    video: Any = UNSET
    part: PartEntry | UnsetType = UNSET
    parts: list[SourceEntry] | UnsetType = UNSET


def new_manifest(**known: Any) -> Manifest:
    """Return a manifest of this version in which nothing was recorded, but for what is known."""
    zero = Counters(
        messages={"audio": 0, "transcript": 0}, others={"duplicates": 0, "dropped": 0, "corrupt": 0, "unknown": 0}
    )
    empty = {"participants": [], "files": [], "gaps": [], "connections": [], "counters": zero}
    return Manifest(**{"version": VERSION, "ended_ms": None, **empty, **known})


def manifest_from_json(plain: Any) -> Manifest:
    """Return the manifest that a JSON object is.

    Raises:
        ValueError: it is none, or could not be written again.
    """
    try:
        manifest = msgspec.convert(plain, Manifest)
        keep_others(manifest, plain)
        msgspec.json.encode(to_json(manifest))
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError) as error:  # the second: half a surrogate pair
        raise ValueError(str(error)) from None
    return manifest


def read_manifest(directory: Path) -> Manifest | None:
    """Return the manifest, None if it is missing or cannot be used; a symbolic link is not followed.

    Raises:
        OSError: it is there and cannot be read.
    """
    path = directory / MANIFEST
    if path.is_symlink() or not path.is_file():
        return None
    try:
        return manifest_from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, RecursionError):
        return None


def encode_manifest(manifest: Manifest) -> bytes:
    """Return a manifest in lines for people; a large one as short as can be."""
    plain = to_json(manifest)
    try:
        content = msgspec.json.encode(plain)
    except UnicodeEncodeError:  # half a surrogate pair, as of the name of a file
        content = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    return (msgspec.json.format(content, indent=1) if len(content) < _LONG_BYTES else content) + b"\n"
