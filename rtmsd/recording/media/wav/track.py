"""One participant's audio in one file: each packet put where its timestamp says. Pure: the file is a queue.

Packets that follow each other are written behind each other, however their timestamps jitter, so that no speech is cut;
but no sample strays further than `REACH_MS` from its timestamp.

Opus follows the same rules: `ogg.track` overrides what is different where packets cannot be divided.
"""

import copy
import enum
from collections.abc import Iterable
from typing import Final, Protocol

from rtmsd.recording.disk.file_buffer import PIECE_BYTES, DiskFile
from rtmsd.recording.media.wav.drift import DRIFTING, Drift, without_silence
from rtmsd.recording.media.wav.earlier import EarlierAudio
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat
from rtmsd.recording.media.wav.holes import Holes
from rtmsd.recording.media.wav.recent_packets import RecentPackets
from rtmsd.recording.timeline.gaps import CONTIGUOUS_MS

REACH_MS: Final = 100
"""A packet that deviates no further from the write position is contiguous audio; no sample may stray further."""

MAX_AHEAD_MS: Final = 12 * 3_600_000
_MAX_FILE_BYTES: Final = 2**40  # holes are free, but file systems have an end
ADJUSTMENTS: Final = ("same_time", "trimmed_ms", "inserted_ms", "cut_ms")
_EARLIER_MS: Final = 2000  # after so much new audio nothing comes any more that an earlier process had


class Placement(enum.Enum):
    """The fate of a packet."""

    KEPT = enum.auto()
    REPEAT = enum.auto()  # it came before
    CUT = enum.auto()  # more than `REACH_MS` behind, and other audio is there already
    LATE = enum.auto()  # the same, but there is silence, which cannot be replaced
    TOO_FAR = enum.auto()  # more than 12 h ahead: a broken timestamp, not silence


class Earlier(Protocol):
    """The end of a file that an earlier process wrote."""

    def unknown_part(self, at: int, data: bytes) -> bytes:
        """Return what of a packet, whose time is at `at`, is not there yet: all, its end, or nothing."""


class Track:
    """A WAV file with its write position. Positions are offsets in the file, header included.

    Attributes:
        start_ms: time of the first sample; no packet before it belongs here.
        newest_ms: the newest timestamp; one that is not newer is late, a repeat, or of a clock with coarse steps.
        user_name: as it came with the last packet, "" before the first; kept for `MediaIntake.audio`.
        holes: what was left out and may still be filled.
        same_time: packets kept although the one before had the same timestamp.
        trimmed_bytes, inserted_bytes: silence taken out or put in, to follow a clock that drifts.
        cut_bytes: audio that could not be kept: other audio is where it would have to be.
    """

    __slots__ = (
        "_backlog",
        "_block_bytes",
        "_bytes_per_ms",
        "_contiguous_bytes",
        "_drift",
        "_earlier",
        "_earlier_end",
        "_expected",
        "_keys",
        "_max_position",
        "_missed_ms",
        "_newest_bytes",
        "_reach_bytes",
        "_recent",
        "_resumed_ms",
        "_slack_bytes",
        "_tail",
        "_zero",
        "cut_bytes",
        "file",
        "holes",
        "inserted_bytes",
        "newest_ms",
        "pcm",
        "same_time",
        "start_ms",
        "trimmed_bytes",
        "user_id",
        "user_name",
    )

    def __init__(
        self,
        file: DiskFile,
        user_id: int | str,
        start_ms: int,
        pcm: PcmFormat,
        *,
        holes: Iterable[tuple[int, int]] = (),
        tail: bytes = b"",
    ) -> None:
        """Begin a file, or with `holes` and its last bytes go on with one of an earlier process."""
        self.file = file
        self.user_id = user_id
        self.start_ms = start_ms
        self.pcm = pcm
        self._bytes_per_ms = pcm.bytes_per_ms
        self._block_bytes = pcm.block_bytes
        self._contiguous_bytes = CONTIGUOUS_MS * pcm.bytes_per_ms
        self._slack_bytes = self._contiguous_bytes  # so far off `append` takes a packet; below 0: none, interrupted
        self._reach_bytes = REACH_MS * pcm.bytes_per_ms
        self._zero = start_ms * pcm.bytes_per_ms - HEADER_BYTES
        # What `timestamp_ms * _bytes_per_ms` is for a packet that continues the file exactly.
        found_end = self._found_end()
        self._expected = (HEADER_BYTES if found_end is None else found_end) + self._zero
        self._max_position = _MAX_FILE_BYTES
        self._tail = file.tail
        self._backlog = file.backlog
        self._recent = RecentPackets()
        self._keys = self._recent.keys
        self._newest_bytes = 0  # of the last packet
        self._drift = Drift()
        self._missed_ms = 0  # end of the last packet that could not be kept
        self.user_name: str | None = ""
        self.same_time = self.trimmed_bytes = self.inserted_bytes = self.cut_bytes = 0
        self._resumed_ms: int | None = None
        self._earlier: Earlier | None = None
        self._earlier_end = 0
        if found_end is None:
            self.newest_ms = start_ms - 1
        else:  # which timestamps there were is not known: none that may be stored here is newer
            self.newest_ms = self._resumed_ms = self.end_ms + REACH_MS
            self._earlier_end = self.end
            self.interrupted()
            self._earlier = EarlierAudio(self.end, tail, self._reach_bytes, self._block_bytes, self._bytes_per_ms)
        self.holes = Holes(holes)

    def _found_end(self) -> int | None:
        """Return the end of what an earlier process wrote; None: the file is new."""
        if self.file.size_bytes >= HEADER_BYTES:
            return self.file.size_bytes
        self.file.skip_to(HEADER_BYTES)
        return None

    @property
    def end(self) -> int:
        """The write position."""
        return self._expected - self._zero

    @property
    def end_ms(self) -> int:
        """Time behind the last sample."""
        return self._expected // self._bytes_per_ms

    @property
    def heard_ms(self) -> int:
        """Until when there was audio: the end of the file, or of a packet that is stored well before its time."""
        if self.newest_ms == self._resumed_ms:
            return self.end_ms
        newest_ms = self.newest_ms + self._newest_bytes // self._bytes_per_ms
        return newest_ms if newest_ms > self.end_ms + CONTIGUOUS_MS else self.end_ms

    @property
    def duration_ms(self) -> int:
        return (self.end - HEADER_BYTES) // self._bytes_per_ms

    @property
    def received_bytes(self) -> int:
        """How much the file received so far. Its queue need not be looked at: it ends where the next packet goes."""
        return self.file.taken_bytes + self.end - self.file.tail_offset

    @property
    def queued_ms(self) -> int | None:
        """Time of the first sample that is not on disk yet; None: all are."""
        first = min((offset for offset, _ in self.file.queued), default=None)
        return None if first is None else self.time_ms(first)

    def lost(self, size_bytes: int | None) -> tuple[int, int]:
        """Return the time that was on disk and is gone, of a file of which so much is left."""
        left = HEADER_BYTES if size_bytes is None else size_bytes
        return self.time_ms(left), self.time_ms(self.file.durable_bytes)

    @property
    def size_bytes(self) -> int:
        """Size of the file, as the manifest has it."""
        return self.end

    def adjustments(self) -> dict[str, int]:
        """Return the amounts by which packets were fitted to each other, under the manifest's names."""
        sizes = (self.trimmed_bytes, self.inserted_bytes, self.cut_bytes)
        counts = (self.same_time, *(size // self._bytes_per_ms for size in sizes))
        return dict(zip(ADJUSTMENTS, counts, strict=True))

    def unwritten(self, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        """Return the parts of a time that hold no samples yet, jitter apart."""
        if from_ms > self.newest_ms:
            return [(from_ms, to_ms)]
        ranges = [*((self.time_ms(start), self.time_ms(stop)) for start, stop in self._empty()), (self.end_ms, to_ms)]
        parts = [(max(from_ms, start), min(to_ms, stop)) for start, stop in ranges]
        return [(start, stop) for start, stop in parts if stop - start > CONTIGUOUS_MS // 2]

    def moved(self, file: DiskFile, start_ms: int) -> "Track":
        """Return the track that goes on in another file: from what is queued on, which the other file gets to write.

        Args:
            start_ms: of the new file; nothing that is queued is from before.
        """
        shift_bytes = (start_ms - self.start_ms) * self._bytes_per_ms
        self.file.move(file, shift_bytes)
        track = copy.copy(self)
        track.file, track.start_ms, track._tail = file, start_ms, file.tail
        track._zero += shift_bytes
        holes = ((start - shift_bytes, stop - shift_bytes) for start, stop in self.holes)
        track.holes = Holes((start, stop) for start, stop in holes if start >= HEADER_BYTES)
        track._drift = copy.copy(self._drift)
        track._earlier, track._earlier_end = None, track._earlier_end - shift_bytes
        track.same_time = track.trimmed_bytes = track.inserted_bytes = track.cut_bytes = 0  # this one still counts them
        track.interrupted()
        return track

    def cut(self, size_bytes: int) -> None:
        """What is behind `size_bytes` is gone from the disk. Nothing may be queued: see `moved`."""
        end = size_bytes - (size_bytes - HEADER_BYTES) % self._block_bytes
        self.file.cut(end)
        self.file.on_dirty(self.file)  # its header has to say so
        self._expected = end + self._zero
        self.holes = Holes((start, stop) for start, stop in self.holes if stop <= end)
        self._earlier, self._earlier_end = None, min(self._earlier_end, end)
        self.interrupted()

    def time_ms(self, position: int) -> int:
        """Return the time of the sample at an offset of the file."""
        return (max(position, HEADER_BYTES) + self._zero) // self._bytes_per_ms

    def interrupted(self) -> None:
        """What would come next may be missing: then it stays a hole, which may still be filled."""
        self._slack_bytes = -1

    def missed(self, timestamp_ms: int, duration_ms: int) -> tuple[int, int]:
        """A packet could not be kept. Returns the time missing: of a coarse clock several have one timestamp."""
        self.interrupted()
        ends = [end for end in (self.end_ms, self._missed_ms) if timestamp_ms < end <= timestamp_ms + REACH_MS]
        from_ms = max(ends, default=timestamp_ms)
        self._missed_ms = from_ms + duration_ms
        return from_ms, from_ms + duration_ms

    def settle(self, clock_ms: int) -> None:
        """Let go of what is kept of packets long before `clock_ms`. To be called now and then."""
        self._recent.settle(self.newest_ms, clock_ms)
        if self.newest_ms != self._resumed_ms and self.newest_ms - self.time_ms(self._earlier_end) > _EARLIER_MS:
            self._earlier = None

    def append(self, timestamp_ms: int, data: bytes) -> bool:
        """Take a packet that continues the file; False, and nothing done, for any other, and where there is no room.

        Called for each packet, so it does what `DiskFile.append` does by itself.
        """
        slack = self._slack_bytes
        size = len(data)
        backlog = self._backlog
        if (
            -slack <= timestamp_ms * self._bytes_per_ms - self._expected <= slack
            and timestamp_ms > self.newest_ms
            and size
            and not size % self._block_bytes
            and backlog.pending_bytes < backlog.limit_bytes
        ):
            tail = self._tail
            if not tail:
                self.file.on_dirty(self.file)
            tail.append(data)
            self._keys.append(timestamp_ms ^ hash(data))
            self._expected += size
            self._newest_bytes = size
            self.newest_ms = timestamp_ms
            backlog.pending_bytes += size + PIECE_BYTES
            return True
        return False

    def place(self, timestamp_ms: int, data: bytes) -> Placement:
        """Take any packet of whole samples, at least one, that does not start before `start_ms`.

        Within `REACH_MS` of the write position it continues the file; else it leaves a hole before itself, or, earlier,
        fills samples not written yet. A late one whose place is still free takes that.
        """
        if self.append(timestamp_ms, data):
            return Placement.KEPT
        newest_ms = self.newest_ms
        if timestamp_ms <= newest_ms and self._recent.holds(timestamp_ms, data, newest_ms):
            return Placement.REPEAT
        exact = timestamp_ms * self._bytes_per_ms - self._zero
        at, size = self._on_grid(exact), self.pcm.size_bytes(data)
        is_free = timestamp_ms < newest_ms and self.holes.contain(at, at + size)
        left = data
        if self._earlier is not None and not is_free:
            left = self._earlier.unknown_part(at, data)
            if not left:
                return Placement.REPEAT
            if len(left) < len(data):  # its beginning is what the file ended with
                exact = at = self._earlier_end
        off = exact - self.end
        if off > MAX_AHEAD_MS * self._bytes_per_ms or at + size > self._max_position:
            return Placement.TOO_FAR
        # After an interruption, more than half a packet of 20 ms ahead means that one is missing.
        limit_bytes = self._contiguous_bytes // 2 if self._slack_bytes < 0 else self._reach_bytes
        if -self._reach_bytes <= off <= limit_bytes and not is_free:
            self.same_time += timestamp_ms == newest_ms != self._resumed_ms
            self._continue(off, left)
            self._forget_resumption()
        elif off > 0:
            self.holes.leave(self.end, at)
            self.file.skip_to(at)
            self._expected = at + self._zero
            self._write(left)
            self._forget_resumption()
        else:
            is_known = self._is_new(at, timestamp_ms, size)
            if not self._fill(at, left, is_known=is_known):
                if not is_known:
                    return Placement.REPEAT
                self._remember(timestamp_ms, data)
                return Placement.CUT
        self._remember(timestamp_ms, data)
        return Placement.KEPT

    def _remember(self, timestamp_ms: int, data: bytes) -> None:
        self._keys.append(timestamp_ms ^ hash(data))
        self._newest_bytes = self.pcm.size_bytes(data)
        self.newest_ms = max(self.newest_ms, timestamp_ms)

    def _forget_resumption(self) -> None:
        """A packet was added: its time is the newest known."""
        if self.newest_ms == self._resumed_ms:
            self.newest_ms = self.start_ms - 1

    def _on_grid(self, position: int) -> int:
        """Return the place nearest to a position at which a packet may begin behind a hole, or in one."""
        return position

    def _empty(self) -> Iterable[tuple[int, int]]:
        """Return the ranges without audio."""
        return self.holes

    def _is_new(self, at: int, timestamp_ms: int, size: int) -> bool:
        """Whether a late packet is known to be no repeat."""
        return at >= self._earlier_end and self._recent.knows(timestamp_ms, self.newest_ms)

    def _write(self, data: bytes) -> None:
        self.file.append(data)
        self._expected += self.pcm.size_bytes(data)
        self._slack_bytes = self._contiguous_bytes

    def _continue(self, off: int, data: bytes) -> None:
        """Write at the write position, from which the packet's time is off by so much, and follow a drifting clock."""
        row = self._drift.note(off, self._contiguous_bytes, self._expected)
        if row >= DRIFTING:
            silence = self._silence()
            self._write(silence)
            self.inserted_bytes += self.pcm.size_bytes(silence)
        elif row <= -DRIFTING:
            trimmed = self._without_silence(data)
            self.trimmed_bytes += self.pcm.size_bytes(data) - self.pcm.size_bytes(trimmed)
            data = trimmed
        if data:
            self._write(data)
        self._drift.position = self._expected

    def _silence(self) -> bytes:
        """Return the shortest silence."""
        return bytes(self._bytes_per_ms)

    def _without_silence(self, data: bytes) -> bytes:
        """Return a packet without the shortest silence, if there is such in it."""
        return without_silence(data, self._bytes_per_ms, self._block_bytes)

    def _fill(self, at: int, data: bytes, *, is_known: bool) -> bool:
        """Write the parts of `data` that lie in holes or behind the end. Returns whether there were any.

        Args:
            is_known: nothing of it is written already, so where it does not fit, it may be moved to where it does.
        """
        if is_known:
            at = self.holes.roomiest(at, len(data), self.end, self._reach_bytes)
        stop = at + len(data)
        kept_bytes = 0
        for low, high in self.holes.fill(at, stop):
            kept_bytes += high - low
            self.file.write_at(low, data[low - at : high - at])
        if stop > self.end:
            kept_bytes += stop - self.end
            self._write(data[self.end - at :])
        if is_known:
            self.cut_bytes += len(data) - kept_bytes
        return kept_bytes > 0
