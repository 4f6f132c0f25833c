"""The loudest sample of each tenth of a second of a participant, one byte each: what a lane of the page shows."""

import math
from collections.abc import Iterator
from typing import Final

from rtmsd.export.audio.mixing import Sound
from rtmsd.recording.media.wav.header import SAMPLE_BYTES

PEAK_MS: Final = 100

_PEAKS: Final = bytes(round(255 * math.sqrt(min(upper, 255 - upper) / 127)) for upper in range(256))
"""By the upper byte of a sample, in which the sign is: how high it is drawn. The root shows quiet speech, too."""
_HIGHEST_FIRST: Final = sorted(set(_PEAKS), reverse=True)

_SPEECH: Final = _PEAKS[2]
"""A peak that counts as speech: -36 dB."""


def spoken_s(peaks: bytes) -> float:
    """Return how long somebody spoke."""
    return sum(peak >= _SPEECH for peak in peaks) * PEAK_MS / 1000


def peaks_of(sound: Sound) -> bytes:
    """Return the peaks of a sound, from its first sample on. They are of upper bytes alone, which bytes can do fast."""
    samples_a_peak = sound.rate_hz * PEAK_MS // 1000 * sound.channels
    found = bytearray()
    rest = b""
    for samples, block in sound.blocks:
        content = bytes(samples * SAMPLE_BYTES * sound.channels) if block is None else block
        heights = rest + content[SAMPLE_BYTES - 1 :: SAMPLE_BYTES].translate(_PEAKS)
        whole = len(heights) // samples_a_peak * samples_a_peak
        found.extend(_highest(heights[:whole], samples_a_peak))
        rest = heights[whole:]
    found.extend(_highest(rest, samples_a_peak))
    return bytes(found)


def _highest(heights: bytes, each: int) -> Iterator[int]:
    """Yield the highest of each so many. To look for a byte is a hundred times as fast as to compare bytes."""
    there = [height for height in _HIGHEST_FIRST if height in heights]
    for first in range(0, len(heights), each):
        part = heights[first : first + each]
        yield next(height for height in there if height in part)
