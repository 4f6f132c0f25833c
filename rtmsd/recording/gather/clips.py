"""The audio of one part, file by file, read as packets; silence that was never written is left out.

Positions count bytes of a WAV, and packets of an Ogg file.
"""

import functools
import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.packets import RATE_HZ, is_silence, packet_samples
from rtmsd.recording.media.ogg.reader import last_packets
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.media.wav.track import REACH_MS
from rtmsd.recording.timeline.gaps import CONTIGUOUS_MS
from rtmsd.recording.timeline.intervals import IntervalSet

_PACKET_MS: Final = 20
_BLOCK_MS: Final = 60_000
_SAMPLES_PER_MS: Final = RATE_HZ // 1000


@attrs.frozen
class WavClip:
    """A WAV, of which so many bytes are whole."""

    path: Path
    header: WavHeader
    size_bytes: int

    @property
    def end_ms(self) -> int:
        """The time behind its last sample, rounded up."""
        return self.header.start_ms - -(self.size_bytes - HEADER_BYTES) // self.header.pcm.bytes_per_ms

    def runs(self) -> IntervalSet:
        """Return the times that are no silence, and the last moment, which shows how long the file is.

        Raises:
            OSError: it cannot be read.
        """
        start_ms, per_ms = self.header.start_ms, self.header.pcm.bytes_per_ms
        silence = re.compile(rb"\0{%d,}" % (CONTIGUOUS_MS * per_ms))
        found = IntervalSet()
        for from_ms in range(start_ms, self.end_ms, _BLOCK_MS):
            data = self._read(self.position(from_ms), self.position(from_ms + _BLOCK_MS))
            known_ms = from_ms
            for match in silence.finditer(data):
                found.add(known_ms, from_ms - -match.start() // per_ms)
                known_ms = from_ms + match.end() // per_ms
            found.add(known_ms, from_ms - -len(data) // per_ms)
        found.add(max(start_ms, self.end_ms - 1), self.end_ms)
        return found

    def position(self, time_ms: int) -> int:
        """Return the position of a time, within the file."""
        place = HEADER_BYTES + (time_ms - self.header.start_ms) * self.header.pcm.bytes_per_ms
        return min(max(place, HEADER_BYTES), self.size_bytes)

    def packets(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield what there is between two positions, in short packets with their times."""
        per_ms = self.header.pcm.bytes_per_ms
        with self.path.open("rb") as file:
            for at in range(start, stop, _PACKET_MS * per_ms):
                data = os.pread(file.fileno(), min(_PACKET_MS * per_ms, stop - at), at)
                yield self.header.start_ms + (at - HEADER_BYTES) // per_ms, data

    def after(self, before: "Clip", end: int, near_ms: int) -> int | None:
        """Return the position behind the sound with which another clip ends, if it is here near a time."""
        if not isinstance(before, WavClip):
            return None
        sound = before._read(end - self._pattern_bytes, end)
        found = self._find(sound, near_ms - _PACKET_MS)
        return None if found is None else found + len(sound)

    def before(self, behind: "Clip", start: int, near_ms: int) -> int | None:
        """Return the position of the sound with which another clip begins, if it is here near a time."""
        if not isinstance(behind, WavClip):
            return None
        return self._find(behind._read(start, start + self._pattern_bytes), near_ms)

    def holds(self, other: "Clip", start: int, stop: int, near_ms: int, within: tuple[int, int]) -> bool:
        """Whether what another clip has between two positions is here near a time, and between two positions."""
        if not isinstance(other, WavClip):
            return False
        found = self._find(other._read(start, stop), near_ms)
        return found is not None and within[0] <= found and found + stop - start <= within[1]

    def overlap(self, start: int, before: "Clip", end: int) -> int:
        """Return how much another clip ends with that begins here: fewer than its last packet may be in both."""
        if not isinstance(before, WavClip):
            return 0
        per_ms, block_bytes = self.header.pcm.bytes_per_ms, self.header.pcm.block_bytes
        head, tail = self._read(start, start + REACH_MS * per_ms), before._read(end - REACH_MS * per_ms, end)
        last, stop = tail[-per_ms:], len(head)
        while (found := head.rfind(last, 0, stop)) >= 0 and last.strip(b"\0"):
            size = found + len(last)
            if size % block_bytes == 0 and tail.endswith(head[:size]):
                return size
            stop = size - 1
        return 0

    @property
    def _pattern_bytes(self) -> int:
        return _PACKET_MS * self.header.pcm.bytes_per_ms

    def _find(self, sound: bytes, near_ms: int) -> int | None:
        """Return the nearest place of a sound; silence is no sign."""
        block_bytes, place = self.header.pcm.block_bytes, self.position(near_ms)
        low = self.position(near_ms - REACH_MS)
        data = self._read(low, self.position(near_ms + REACH_MS) + len(sound))
        if not sound.strip(b"\0"):
            return None
        found, at = [], -1
        while (at := data.find(sound, at + 1)) >= 0:
            if at % block_bytes == 0:
                found.append(low + at)
        return min(found, key=lambda each: abs(each - place), default=None)

    def _read(self, start: int, stop: int) -> bytes:
        start, stop = max(start, HEADER_BYTES), min(stop, self.size_bytes)
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), max(0, stop - start), start)


@attrs.define(slots=False)
class OpusClip:
    """An Ogg file, of which so many bytes are whole. Its packets are held in memory: they are read more than once."""

    path: Path
    header: OggHeader
    size_bytes: int

    @functools.cached_property
    def _packets(self) -> list[tuple[int, int, bytes]]:
        """Packets from sample to sample."""
        with self.path.open("rb") as file:
            every = list(last_packets(file.fileno(), self.size_bytes, self.size_bytes))
        return [(samples, samples + packet_samples(packet), packet) for samples, packet in every]

    @functools.cached_property
    def _middles_ms(self) -> list[int]:
        start_ms = self.header.start_ms
        return [start_ms + (start + stop) // 2 // _SAMPLES_PER_MS for start, stop, _ in self._packets]

    @property
    def end_ms(self) -> int:
        """The time behind its last packet, rounded up."""
        samples = self._packets[-1][1] if self._packets else 0
        return self.header.start_ms - -samples // _SAMPLES_PER_MS

    def runs(self) -> IntervalSet:
        """See `WavClip.runs`. Silence of a single packet is no pause.

        Raises:
            OSError: it cannot be read.
        """
        found, known = IntervalSet(), 0
        for number, (start, stop, packet) in enumerate(self._packets, 1):
            if is_silence(packet) and number < len(self._packets):
                continue
            is_near = start - known < CONTIGUOUS_MS * _SAMPLES_PER_MS
            first_ms, last_ms = (known if is_near else start) // _SAMPLES_PER_MS, -(-stop // _SAMPLES_PER_MS)
            found.add(self.header.start_ms + first_ms, self.header.start_ms + last_ms)
            known = stop
        return found

    def position(self, time_ms: int) -> int:
        """Return the first packet the middle of which is not before a time."""
        return bisect_left(self._middles_ms, time_ms)

    def packets(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """Yield packets with their times."""
        for samples, _, packet in self._packets[start:stop]:
            yield self.header.start_ms + samples // _SAMPLES_PER_MS, packet

    def after(self, before: "Clip", end: int, near_ms: int) -> int | None:
        """See `WavClip.after`."""
        found = self._find(before, end - 1, near_ms - _PACKET_MS)
        return None if found is None else found + 1

    def before(self, behind: "Clip", start: int, near_ms: int) -> int | None:
        """See `WavClip.before`."""
        return self._find(behind, start, near_ms)

    def holds(self, other: "Clip", start: int, stop: int, near_ms: int, within: tuple[int, int]) -> bool:
        """See `WavClip.holds`."""
        found = [self._find(other, each, near_ms) for each in range(start, stop)]
        return all(each is not None and within[0] <= each < within[1] for each in found)

    def overlap(self, start: int, before: "Clip", end: int) -> int:
        """See `WavClip.overlap`: in packets, none of which is there in part, so that `after` finds all."""
        return 0

    def _find(self, other: "Clip", number: int, near_ms: int) -> int | None:
        if not isinstance(other, OpusClip) or not 0 <= number < len(other._packets):
            return None
        packet = other._packets[number][2]
        low, high = self.position(near_ms - REACH_MS), self.position(near_ms + REACH_MS + 2 * _PACKET_MS)
        found = [each for each in range(low, high) if self._packets[each][2] == packet and not is_silence(packet)]
        return min(found, key=lambda each: abs(self._middles_ms[each] - near_ms), default=None)


Clip: TypeAlias = WavClip | OpusClip
