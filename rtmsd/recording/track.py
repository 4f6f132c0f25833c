"""One participant's audio in one file: each packet put where its timestamp says. Pure: the file is a queue."""

import copy
import enum
from collections.abc import Iterable
from typing import Final

from rtmsd.recording.disk_file import PIECE_BYTES, DiskFile
from rtmsd.recording.wav_file import HEADER_BYTES, PcmFormat

CONTIGUOUS_MS: Final = 20
"""Jitter between consecutive packets up to here is contiguous audio, not a hole."""

MAX_AHEAD_MS: Final = 12 * 3_600_000
_MAX_FILE_BYTES: Final = 2**40  # holes are free, but file systems have an end
_MAX_HOLES: Final = 64
_SHORTEST_PACKET_MS: Final = 20


class Placement(enum.Enum):
    """What became of a packet."""

    KEPT = enum.auto()
    REPEAT = enum.auto()  # all of its samples are there already
    TOO_FAR = enum.auto()  # more than 12 h ahead: a broken timestamp, not silence


class Track:
    """A WAV file with its write position. Positions are offsets in the file, header included.

    Attributes:
        start_ms: time of the first sample; no packet before it belongs here.
        newest_ms: the newest timestamp written; one that is not newer is late or a repeat.
        user_name: as it came with the last packet, "" before the first; kept for `Recorder.audio`.
        holes: the newest ranges that were left out and may still be filled, in order.
    """

    __slots__ = (
        "_backlog",
        "_block_bytes",
        "_bytes_per_ms",
        "_expected",
        "_resumed_ms",
        "_slack_bytes",
        "_tail",
        "_zero",
        "file",
        "holes",
        "newest_ms",
        "pcm",
        "start_ms",
        "user_id",
        "user_name",
    )

    def __init__(
        self,
        file: DiskFile,
        user_id: int | str,
        start_ms: int,
        pcm: PcmFormat,
        holes: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.file = file
        self.user_id = user_id
        self.start_ms = start_ms
        self.pcm = pcm
        self._bytes_per_ms = pcm.bytes_per_ms
        self._block_bytes = pcm.block_bytes
        self._slack_bytes = CONTIGUOUS_MS * pcm.bytes_per_ms
        self._zero = start_ms * pcm.bytes_per_ms - HEADER_BYTES
        # What `timestamp_ms * _bytes_per_ms` is for a packet that continues the file exactly.
        self._expected = max(file.size_bytes, HEADER_BYTES) + self._zero
        self._tail = file.tail
        self._backlog = file.backlog
        self.user_name: str | None = ""
        self._resumed_ms: int | None = None
        if file.size_bytes < HEADER_BYTES:
            file.skip_to(HEADER_BYTES)
            self.newest_ms = start_ms - 1
        else:  # taken up again: whatever starts well before the end was written before
            self.newest_ms = self._resumed_ms = self.end_ms - _SHORTEST_PACKET_MS // 2
        self.holes = list(holes)[-_MAX_HOLES:]

    @property
    def end(self) -> int:
        """The write position."""
        return self._expected - self._zero

    @property
    def end_ms(self) -> int:
        """Time behind the last sample."""
        return self._expected // self._bytes_per_ms

    @property
    def duration_ms(self) -> int:
        return (self.end - HEADER_BYTES) // self._bytes_per_ms

    def unwritten(self, from_ms: int, to_ms: int) -> list[tuple[int, int]]:
        """Return the parts of a time that hold no samples yet, jitter apart."""
        ranges = [*((self._ms(start), self._ms(stop)) for start, stop in self.holes), (self.end_ms, to_ms)]
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
        track.holes = [(start, stop) for start, stop in holes if start >= HEADER_BYTES]
        return track

    def cut(self, size_bytes: int) -> None:
        """What is behind `size_bytes` is gone from the disk. Nothing may be queued: see `moved`."""
        end = size_bytes - (size_bytes - HEADER_BYTES) % self._block_bytes
        self.file.cut(end)
        self.file.on_dirty(self.file)  # its header has to say so
        self._expected = end + self._zero
        self.holes = [(start, stop) for start, stop in self.holes if stop <= end]

    def time_ms(self, position: int) -> int:
        """Return the time of the sample at an offset of the file."""
        return self._ms(max(position, HEADER_BYTES))

    def _ms(self, position: int) -> int:
        return (position + self._zero) // self._bytes_per_ms

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
            self._expected += size
            self.newest_ms = timestamp_ms
            backlog.pending_bytes += size + PIECE_BYTES
            return True
        return False

    def place(self, timestamp_ms: int, data: bytes) -> Placement:
        """Take any packet of whole samples, at least one, that does not start before `start_ms`.

        It continues the file, or leaves a hole before itself, or, earlier, fills samples not written yet.
        """
        if self.append(timestamp_ms, data):
            return Placement.KEPT
        if timestamp_ms == self.newest_ms != self._resumed_ms:
            return Placement.REPEAT  # however jitter has shifted it
        at = timestamp_ms * self._bytes_per_ms - self._zero
        stop = at + len(data)
        if at - self.end > MAX_AHEAD_MS * self._bytes_per_ms or stop > _MAX_FILE_BYTES:
            return Placement.TOO_FAR
        kept = self._fill_holes(at, data)
        if stop > self.end:
            self._extend(at, data)
            kept = True
        if not kept:
            return Placement.REPEAT
        self.newest_ms = max(self.newest_ms, timestamp_ms)
        return Placement.KEPT

    def _extend(self, at: int, data: bytes) -> None:
        end = self.end
        if at > end:
            self.holes.append((end, at))
            del self.holes[:-_MAX_HOLES]
            self.file.skip_to(at)
            self.file.append(data)
        else:
            self.file.append(data[end - at :])
        self._expected = at + len(data) + self._zero

    def _fill_holes(self, at: int, data: bytes) -> bool:
        """Write the parts of `data` that lie in holes. Returns whether there were any."""
        stop = at + len(data)
        left: list[tuple[int, int]] = []
        filled = False
        for start, end in self.holes:
            low, high = max(start, at), min(end, stop)
            if low >= high:
                left.append((start, end))
                continue
            filled = True
            self.file.write_at(low, data[low - at : high - at])
            left += [part for part in ((start, low), (high, end)) if part[0] < part[1]]
        self.holes = left[-_MAX_HOLES:]
        return filled
