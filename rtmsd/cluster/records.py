"""The records that members share, as every engine keeps them. `codec` writes and reads them.

Annotations with `msgspec.Meta` are the bounds within which a record is read; names lead to no other subject or file.
"""

import enum
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeAlias

import attrs
from msgspec import Meta

from rtmsd.protocol.times import LATEST_MS
from rtmsd.state.rows import Known

VERSION: Final = 1
"""Of the records that this version writes. A stream whose record is newer is left to newer members."""

Version: TypeAlias = Annotated[int, Meta(ge=1, le=2**31)]
StreamId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024)]
Node: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}(\.[0-9]{1,3})?\Z")]
"""A member: a machine's name, with the worker's number behind it where there are several."""
RandomId: TypeAlias = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
MAX_COUNT: Final = 2**53
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
TimeMs: TypeAlias = Annotated[int, Meta(ge=0, lt=LATEST_MS)]
"""Since the Unix epoch; what is outside is no date, or none that files and people can be told."""
Ms: TypeAlias = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""A time that comes from media, which may have any: who reads it asks whether it is believable."""
Entries: TypeAlias = tuple[dict[str, Any], ...]


class TenureState(enum.StrEnum):
    LIVE = "live"
    ENDED = "ended"
    REVOKED = "revoked"


class Why(enum.StrEnum):
    """The reason for which a member became the owner."""

    STARTED = "started"  # by a webhook: nobody owned it
    RESUMED = "resumed"  # by the member that had it before its restart
    DIED = "died"  # the owner is dead
    UNREACHABLE = "unreachable"  # a webhook found nobody where the owner should be
    HANDED_OVER = "handed_over"  # drained, or moved by an operator
    RENEWED = "renewed"  # the same tenure, before its record ages out
    OTHER = "other"  # one that only a newer version knows

    @property
    def in_words(self) -> str:
        """The reason as `events.jsonl` has it, where it stands beside the state of a stream."""
        return _IN_WORDS.get(self, str(self))


_IN_WORDS: Final[Mapping[Why, str]] = {
    Why.RESUMED: "resumed by its owner",
    Why.DIED: "its owner died",
    Why.UNREACHABLE: "its owner was not there",
    Why.HANDED_OVER: "handed over",
}


@attrs.frozen(kw_only=True)
class Own:
    """The ownership record of a stream: who holds it, and what is known of it.

    Attributes:
        incarnation: of the member; a later life of it is not the owner.
        epoch: 1 for the first tenure.
        nonce: random; a claim whose answer was lost is mine only if mine is in the record.
        known: row and deliveries as they were when this was written.
        version: of the writer's records.
        more: keys of newer versions, kept and handed on when this version writes the record.
    """

    rtms_stream_id: StreamId
    node: Node
    incarnation: RandomId
    epoch: Count
    nonce: RandomId
    why: Why
    state: TenureState = TenureState.LIVE
    known: Known = attrs.field(factory=Known)
    version: Version = VERSION
    more: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def is_newer(self) -> bool:
        """Whether it was written by a newer version: it is known whose it is, and the rest is left alone."""
        return self.version > VERSION

    @property
    def next_epoch(self) -> int:
        """The number of the tenure after this one. No stream has `MAX_COUNT` of them: behind a record that says so, and
        was not written by us, they are counted anew, or nobody could claim the stream any more.
        """
        return self.epoch + 1 if self.epoch < MAX_COUNT else 1


@attrs.frozen
class Held:
    """An ownership record as the engine has it.

    Attributes:
        own: None: nobody owns the stream; the state file knows it from a time without members.
        token: number of the record, by which appends and claims are fenced; 0: there is none.
        known: the newest that is known of the stream: the owner may have written since its claim.
    """

    own: Own | None = None
    token: int = 0
    known: Known = attrs.field(factory=Known)

    @property
    def is_unfinished(self) -> bool:
        """Whether somebody has to have the stream: it lives, or its files are still to be finished."""
        if self.own is not None and self.own.state is not TenureState.LIVE:
            return False
        if self.known.row is not None:
            return not self.known.row.closed
        return self.own is not None and self.own.is_newer  # of which the rest is not known; another's is no record


@attrs.frozen(kw_only=True)
class Row:
    """What is known of a stream, as its owner last wrote it.

    Attributes:
        token: of the owner's record.
    """

    rtms_stream_id: StreamId
    token: Count
    known: Known
    version: Version = VERSION
    more: Mapping[str, Any] = attrs.field(factory=dict)


class PartState(enum.StrEnum):
    RECORDING = "recording"
    LET_GO = "let_go"  # suspended: the stream is another's by now, or its member is being restarted
    ENDED = "ended"
    DELETED = "deleted"  # revoked: the receipt is all that is left
    GATHERED = "gathered"  # it is in a joined recording that was verified


@attrs.frozen(kw_only=True)
class Part:
    """What one member has recorded of a stream, in Zoom's time.

    Attributes:
        token, epoch: of its latest tenure.
        clock_ms: how far the recording has come; None: nothing yet.
        first_packet_ms: where small timestamps count from.
        paused_since_ms: None: not paused.
        participants, files, gaps: entries as in the manifest.
        media: as in the manifest, by name.
        bytes: of all files.
    """

    rtms_stream_id: StreamId
    node: Node
    token: Count
    epoch: Count
    state: PartState
    clock_ms: Ms | None = None
    first_packet_ms: Ms | None = None
    paused_since_ms: Ms | None = None
    participants: Entries = ()
    media: Mapping[str, Any] = attrs.field(factory=dict)
    files: Entries = ()
    bytes: Count = 0
    gaps: Entries = ()
    version: Version = VERSION
    more: Mapping[str, Any] = attrs.field(factory=dict)


Stem: TypeAlias = Annotated[str, Meta(pattern=r"\A[a-z_]{1,32}\Z")]


@attrs.frozen(kw_only=True)
class Log:
    """Lines of a stream's text files.

    Attributes:
        token: of the tenure in which they were written.
        n: counts within the tenure: one that comes again has the same.
        lines: JSON without the line's end, by the file's name without its suffix: "events", "transcript".
    """

    rtms_stream_id: StreamId
    token: Count
    n: Count
    lines: Mapping[Stem, tuple[str, ...]]
    version: Version = VERSION


@attrs.frozen(kw_only=True)
class Revoked:
    """The order to delete all there is of a stream.

    Attributes:
        at_ms: Zoom's time of it.
    """

    rtms_stream_id: StreamId
    at_ms: TimeMs
    version: Version = VERSION


class MemberState(enum.StrEnum):
    STARTING = "starting"
    UP = "up"
    DRAINING = "draining"  # takes no stream, and hands over what it has


@attrs.frozen(kw_only=True)
class Beat:
    """A sign of life, with what others have to know of a member.

    Attributes:
        n: counts within the incarnation.
        streams: it has.
        capacity: streams that it takes.
        at_ms: its clock, in milliseconds since the Unix epoch; for a warning only, no rule uses it.
        webhook_ms: when it last received a webhook, by its clock; None: not yet.
        zone: of failure.
        release: of rtmsd, for people.
    """

    node: Node
    incarnation: RandomId
    n: Count
    state: MemberState = MemberState.UP
    streams: Count = 0
    capacity: Count = 0
    at_ms: TimeMs = 0
    webhook_ms: TimeMs | None = None
    zone: Annotated[str, Meta(max_length=64)] = ""
    release: Annotated[str, Meta(max_length=64)] = ""
    version: Version = VERSION

    @property
    def is_newer(self) -> bool:
        """Whether it is a newer version's: it lives, and the rest is not known."""
        return self.version > VERSION

    @property
    def is_ready(self) -> bool:
        return self.state is not MemberState.STARTING

    @property
    def is_draining(self) -> bool:
        return self.state is MemberState.DRAINING
