"""One participant's Opus in one file: each packet put where its timestamp says, pauses on a grid of 20 ms. Pure.

The rules are those of `wav.track.Track`, and its positions are those in the WAV that the packets decode to. What
differs: a packet is kept whole or not at all, and pages on disk cannot be changed. So a late packet fills a pause for
as long as no flush has taken that; from then on the pause is silence for ever: the packet is lost, counted (`cut_ms`,
`dropped`), and its time a gap.
"""

from collections.abc import Iterable
from typing import Final

import attrs

from rtmsd.recording.disk.file_buffer import PIECE_BYTES, DiskFile
from rtmsd.recording.media.ogg.file import OggFile
from rtmsd.recording.media.ogg.packets import (
    SINGLE_BYTES,
    SINGLE_SAMPLES,
    SLOT_MS,
    OpusFormat,
    is_silence,
    silence,
)
from rtmsd.recording.media.wav.earlier import LONGEST_PACKET_MS
from rtmsd.recording.media.wav.header import HEADER_BYTES
from rtmsd.recording.media.wav.holes import Holes
from rtmsd.recording.media.wav.track import Placement, Track

_MAX_FILE_MS: Final = 31 * 86_400_000
"""A day of silence takes 18 MB."""


@attrs.frozen
class EarlierPackets:
    """The end of a file that an earlier process wrote. As `wav.earlier.EarlierAudio`, for whole packets.

    Attributes:
        packets: the last ones, with their positions.
    """

    end: int
    packets: tuple[tuple[int, bytes], ...]
    reach_bytes: int
    pcm: OpusFormat

    def unknown_part(self, at: int, data: bytes) -> bytes:
        """Return a packet that is not there yet, or nothing."""
        if (
            not self.end - LONGEST_PACKET_MS * self.pcm.bytes_per_ms - self.reach_bytes
            <= at
            < self.end + self.reach_bytes
        ):
            return data
        if not self.packets:
            return b"" if at + self.pcm.size_bytes(data) <= self.end else data
        is_there = any(abs(place - at) <= self.reach_bytes and packet == data for place, packet in self.packets)
        return b"" if is_there else data


class OpusTrack(Track):
    """An Ogg file with its write position.

    Attributes:
        silent: pauses that are on disk as silence.
    """

    __slots__ = ("_grid_bytes", "_ogg", "_sizes", "silent")

    def __init__(
        self,
        file: OggFile,
        user_id: int | str,
        start_ms: int,
        pcm: OpusFormat,
        *,
        holes: Iterable[tuple[int, int]] = (),
        packets: Iterable[tuple[int, bytes]] = (),
    ) -> None:
        """Begin a file, or with its pauses and last packets go on with one of an earlier process."""
        self._ogg = file
        super().__init__(file, user_id, start_ms, pcm)
        self.silent = Holes(holes)
        self._grid_bytes = SLOT_MS * pcm.bytes_per_ms
        self._sizes = tuple(samples * pcm.block_bytes for samples in SINGLE_SAMPLES)
        self._max_position = _MAX_FILE_MS * pcm.bytes_per_ms
        if self._earlier is not None:
            self._earlier = EarlierPackets(self.end, tuple(packets), self._reach_bytes, pcm)

    def _found_end(self) -> int | None:
        return self._ogg.paged_end if self._ogg.durable_bytes else None

    @property
    def size_bytes(self) -> int:
        return self._ogg.size_bytes

    @property
    def received_bytes(self) -> int:
        return self.file.received_bytes

    @property
    def queued_ms(self) -> int | None:
        place = self._ogg.queued_place
        return None if place is None else self.time_ms(place)

    def lost(self, size_bytes: int | None) -> tuple[int, int]:
        left = HEADER_BYTES if size_bytes is None else self._ogg.left_end
        return self.time_ms(left), self.time_ms(self._ogg.durable_end)

    def moved(self, file: DiskFile, start_ms: int) -> "OpusTrack":
        track = super().moved(file, start_ms)
        assert isinstance(track, OpusTrack)
        assert isinstance(file, OggFile)
        track._ogg, track.silent = file, Holes()
        return track

    def cut(self, size_bytes: int) -> None:
        self.file.cut(size_bytes)
        self.file.on_dirty(self.file)  # what is behind the last page has to go
        self._expected = self._ogg.left_end + self._zero
        self.holes = self.silent = Holes()

    def append(self, timestamp_ms: int, data: bytes) -> bool:
        """Take a packet that continues the file, as `Track.append` does. Nearly all have one frame."""
        if not data:
            return False
        slack = self._slack_bytes
        size = self._sizes[data[0]] if len(data) <= SINGLE_BYTES else 0
        size = size or self.pcm.size_bytes(data)
        backlog = self._backlog
        if (
            -slack <= timestamp_ms * self._bytes_per_ms - self._expected <= slack
            and timestamp_ms > self.newest_ms
            and size
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
            backlog.pending_bytes += len(data) + PIECE_BYTES
            return True
        return False

    def place(self, timestamp_ms: int, data: bytes) -> Placement:
        for part in self.holes.fill(HEADER_BYTES, self._ogg.paged_end):
            self.silent.leave(*part)
        verdict = super().place(timestamp_ms, data)
        if verdict is Placement.CUT:
            at = self._on_grid(timestamp_ms * self._bytes_per_ms - self._zero)
            if self.silent.fill(at, at + self.pcm.size_bytes(data)):
                return Placement.LATE
        return verdict

    def _on_grid(self, position: int) -> int:
        grid = self._grid_bytes
        return HEADER_BYTES + (position - HEADER_BYTES + grid // 2) // grid * grid

    def _empty(self) -> list[tuple[int, int]]:
        return [*self.silent, *self.holes]

    def _is_new(self, at: int, timestamp_ms: int, size: int) -> bool:
        return self.silent.contain(at, at + size) or super()._is_new(at, timestamp_ms, size)

    def _silence(self) -> bytes:
        return silence(self.pcm.channels)

    def _without_silence(self, data: bytes) -> bytes:
        return b"" if is_silence(data) else data

    def _fill(self, at: int, data: bytes, *, is_known: bool) -> bool:
        """Put a packet into a hole, if it has room there."""
        size = self.pcm.size_bytes(data)
        if is_known:
            reach_bytes = self._reach_bytes - self._grid_bytes  # it may be half a slot beside its time already
            at = self.holes.roomiest(at, size, self.end, reach_bytes)
        if self.holes.contain(at, at + size):
            self.holes.fill(at, at + size)
            self._ogg.write_at(at, data)
            return True
        if is_known:
            self.cut_bytes += size
        return False
