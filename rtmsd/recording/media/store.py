"""The interface of kept media: one `MediaStore` for each media type of a stream, and what those of a stream share."""

import enum
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import attrs

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.media_data import UserId
from rtmsd.protocol.times import normalise_ms
from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.participants import Participants
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.manifest.unknown_counts import UnknownCounts
from rtmsd.recording.media.images.segments import SegmentBudget
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.timeline.gaps import Gap
from rtmsd.recording.timeline.timeline import Timeline

FRESH_MS: Final = 15 * 60_000
"""A timestamp that jumps so far ahead of the time known does not show how far the stream has come."""

Data = TypeVar("Data")


class Kept(enum.Enum):
    """The fate of a message."""

    KEPT = enum.auto()
    REPEAT = enum.auto()  # it came before
    NO_FILE = enum.auto()  # there are too many files
    NOT = enum.auto()  # for a reason that the store counted


@attrs.define(kw_only=True)
class IntakeContext:
    """What the stores of one stream share.

    Attributes:
        backlog: what of this stream is not written yet, and its bound.
        started_ms: start of the stream.
        origin_ms: where small timestamps count from: the first packet, or as long as that is unknown the start.
        nudge: asks for a flush soon.
        dropped: messages for which there was no room, by media and reason.
        corrupt_kinds: messages that could not be kept as they were, by kind.
        duplicates: a count.
        unknown: what this version does not know.
        segments: of pictures, in all files.
        copy_line: called with each line of text that is kept, and its media type.
    """

    maker: FileMaker
    backlog: Backlog
    participants: Participants
    timeline: Timeline
    changes: ChangeCounter
    started_ms: int
    origin_ms: int
    local_ms: Callable[[], int]
    nudge: Callable[[], None]
    dropped: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    corrupt_kinds: Counter[str] = attrs.field(factory=Counter)
    duplicates: int = 0
    unknown: UnknownCounts = attrs.field(factory=lambda: UnknownCounts({}))
    segments: SegmentBudget = attrs.field(factory=SegmentBudget)
    copy_line: Callable[[str, bytes], None] = lambda media, line: None

    def known_ms(self, time_ms: int | None) -> int | None:
        """Return a timestamp as milliseconds since the epoch; None for one that is missing or cannot be."""
        known = None if time_ms is None else normalise_ms(time_ms, self.origin_ms)
        return known if known is not None and self.timeline.is_plausible(known) else None


class MediaStore(ABC, Generic[Data]):
    """The media of one type of one stream: kept in files, or counted and made a gap with a cause.

    Nothing here waits, or raises for content. `Data` is what a message holds.

    Attributes:
        media: the media type, by its name in the manifest.
        messages: received by this process; the intake counts them.
    """

    media: str

    def __init__(self, context: IntakeContext) -> None:
        self.messages = 0
        self._context = context
        self._newest_ms: int | None = None

    def take(self, user_id: UserId | None, user_name: str | None, timestamp_ms: int, data: Data) -> int | None:
        """Take a message. Returns its time since the epoch if it was kept, None if not."""
        context = self._context
        time_ms = context.known_ms(timestamp_ms)
        if time_ms is None:
            self.corrupt("timestamp", user_id, timestamp_ms)
            return None
        if context.backlog.full:
            self._drop("no_room", user_id, *self._span(time_ms, data))
            return None
        match self._keep(user_id, user_name, time_ms, data):
            case Kept.KEPT:
                return time_ms
            case Kept.REPEAT:
                context.duplicates += 1
            case Kept.NO_FILE:
                self._drop("files", user_id, *self._span(time_ms, data))
            case Kept.NOT:
                pass
        return None

    @abstractmethod
    def _keep(self, user_id: UserId | None, user_name: str | None, time_ms: int, data: Data) -> Kept:
        """Put a message into its file. There is room for it."""

    def _span(self, time_ms: int, data: Data) -> tuple[int, int]:
        """Return the time that is missing without a message, from and to."""
        return time_ms, time_ms + 1

    def corrupt(self, kind: str, user_id: UserId | None, timestamp_ms: int | None) -> None:
        """Count a message that could not be kept as it was; where it says whose and when, that time is a gap."""
        context = self._context
        context.corrupt_kinds[kind] += 1
        time_ms = context.known_ms(timestamp_ms)
        if time_ms is None or user_id is None or kind == "timestamp":
            return
        if abs(time_ms - context.timeline.clock_ms) > FRESH_MS:
            return  # corrupt as it is, its time is not to be believed either
        for from_ms, to_ms in self._unwritten(user_id, time_ms):
            context.timeline.missing(self.media, user_id, from_ms, to_ms, GapCause.CORRUPT)

    def _unwritten(self, user_id: UserId, time_ms: int) -> list[tuple[int, int]]:
        """Return what is missing by a corrupt message of this time."""
        return [(time_ms, time_ms + 1)]

    def _drop(self, reason: str, user_id: UserId | None, from_ms: int, to_ms: int) -> None:
        self._context.dropped[self.media, reason] += 1
        self._context.timeline.missing(self.media, user_id, from_ms, to_ms, GapCause.DROPPED)

    @property
    def newest_ms(self) -> int | None:
        """End of the newest media, leaving out what jumped far ahead of Zoom's time; None: unknown."""
        return self._credible(self._newest_ms)

    def _credible(self, end_ms: int | None) -> int | None:
        return None if end_ms is None or end_ms > self._context.timeline.clock_ms + FRESH_MS else end_ms

    def _note_newest(self, time_ms: int) -> None:
        if self._newest_ms is None or time_ms > self._newest_ms:
            self._newest_ms = time_ms

    @property
    @abstractmethod
    def received_bytes(self) -> int:
        """Bytes received by this process and kept, be they gone since."""

    @abstractmethod
    def restore(self, resumed: ResumedMedia) -> None:
        """Take up the files of an earlier process, before anything else."""

    @abstractmethod
    def entries(self) -> list[FileEntry]:
        """Return the manifest's entries of the files."""

    @abstractmethod
    def damaged(self, damage: Damage) -> Gap | None:
        """A file lost what was on disk: what is queued, and what comes, goes on elsewhere or behind what is left.

        Returns the gap; None where it is none of these files, or no media are lost by it.
        """

    def interrupted(self) -> None:
        """The connection that brought these media is gone."""

    def last_work(self) -> Callable[[Disk], None] | None:
        """Return what writes again that depends on the whole stream: for a worker thread, after the last flush. It
        raises OSError when the disk fails. None: nothing does, as of most streams.
        """
        return None
