"""The holes in audio that an earlier run left: the parts that still hold nothing. Blocks; for a worker thread.

The manifest names the times that were missing when it was written, which may be a moment before the last packets were.
The file is exact: what was left out in it reads as zeros, or holds packets of silence.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import attrs

from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.packets import RATE_HZ, is_silence
from rtmsd.recording.media.ogg.reader import End, last_packets
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.timeline.gaps import CONTIGUOUS_MS
from rtmsd.recording.timeline.intervals import IntervalSet, Part

_REACH_MS: Final = 600_000
"""How far back the file is read: Zoom buffers a minute, and it is all read."""


_REACH_BYTES: Final = 8 * 2**20
"""The same of Opus: at 112 kbit/s, more than speech takes."""


@attrs.frozen
class HoleScan:
    """The times within a file that the manifest calls missing, or another member's.

    Attributes:
        holes: positions in the file that hold nothing, from and to.
        kept: times of which there is audio after all, in milliseconds.
    """

    holes: tuple[tuple[int, int], ...] = ()
    kept: tuple[tuple[int, int], ...] = ()


def scan_holes(path: Path, header: WavHeader, size_bytes: int, missing: Iterable[Part]) -> HoleScan:
    """Read the end of a file, where media are called missing or another member's.

    Raises:
        OSError: it cannot be read.
    """
    per_ms = header.pcm.bytes_per_ms
    end_ms = header.start_ms + (size_bytes - HEADER_BYTES) // per_ms
    parts = list(IntervalSet(missing).intersect(max(header.start_ms, end_ms - _REACH_MS), end_ms))
    if not parts:
        return HoleScan()
    silence = re.compile(rb"\0{%d,}" % (CONTIGUOUS_MS * per_ms))
    holes: list[tuple[int, int]] = []
    kept: list[tuple[int, int]] = []
    with path.open("rb") as file:
        for from_ms, to_ms in parts:
            start = HEADER_BYTES + (from_ms - header.start_ms) * per_ms
            file.seek(start)
            samples = file.read((int(to_ms) - from_ms) * per_ms)
            known_ms = from_ms
            for match in silence.finditer(samples):
                low_ms, high_ms = from_ms - -match.start() // per_ms, from_ms + match.end() // per_ms
                holes.append((start + (low_ms - from_ms) * per_ms, start + (high_ms - from_ms) * per_ms))
                kept.append((known_ms, low_ms))
                known_ms = high_ms
            kept.append((known_ms, int(to_ms)))
    return HoleScan(tuple(holes), tuple((low_ms, high_ms) for low_ms, high_ms in kept if low_ms < high_ms))


def scan_pauses(path: Path, header: OggHeader, end: End, missing: Iterable[Part]) -> HoleScan:
    """Read the end of an Ogg file, where media are called missing or another member's.

    Raises:
        OSError: it cannot be read.
    """
    end_ms = header.start_ms + end.samples * 1000 // RATE_HZ
    parts = list(IntervalSet(missing).intersect(max(header.start_ms, end_ms - _REACH_MS), end_ms))
    if not parts:
        return HoleScan()
    heard, known_ms = IntervalSet(), math.inf
    with path.open("rb") as file:
        for samples, packet in last_packets(file.fileno(), end.size_bytes, _REACH_BYTES):
            at_ms = header.start_ms + samples * 1000 // RATE_HZ
            known_ms = min(known_ms, at_ms)
            if not is_silence(packet):
                heard.add(at_ms, at_ms + header.pcm.size_bytes(packet) // header.pcm.bytes_per_ms)
    per_ms = header.pcm.bytes_per_ms
    holes: list[tuple[int, int]] = []
    kept: list[tuple[int, int]] = []
    for from_ms, to_ms in parts:
        first_ms = int(max(from_ms, min(known_ms, to_ms)))
        kept += ((low_ms, int(high_ms)) for low_ms, high_ms in heard.intersect(first_ms, to_ms))
        empty = [
            (low_ms - header.start_ms, int(high_ms) - header.start_ms)
            for low_ms, high_ms in heard.uncovered(first_ms, to_ms)
        ]
        holes += ((HEADER_BYTES + low_ms * per_ms, HEADER_BYTES + high_ms * per_ms) for low_ms, high_ms in empty)
    return HoleScan(tuple(holes), tuple(kept))
