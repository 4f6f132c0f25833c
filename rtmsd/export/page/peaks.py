"""The loudest sample of each tenth of a second of a participant, one byte each: what a lane of the page shows."""

import math
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Final

from rtmsd.export.audio.mixing import Sound
from rtmsd.export.extra import have
from rtmsd.recording.media.wav.header import SAMPLE_BYTES

PEAK_MS: Final = 100

_LEVELS: Final = [round(255 * math.sqrt(level / 128)) for level in range(129)]  # the root shows quiet speech, too
_SPEECH: Final = _LEVELS[2]
"""A peak that counts as speech: -36 dB."""


def spoken_s(peaks: bytes) -> float:
    """Return how long somebody spoke."""
    return sum(peak >= _SPEECH for peak in peaks) * PEAK_MS / 1000


def peaks_of(sound: Sound) -> bytes:
    """Return the peaks of a sound, from its first sample on."""
    loudest = _loudest()
    frame_bytes = SAMPLE_BYTES * sound.channels
    peak_bytes = sound.rate_hz * PEAK_MS // 1000 * frame_bytes
    found = bytearray()
    rest = b""
    for samples, block in sound.blocks:
        content = rest + (bytes(samples * frame_bytes) if block is None else block)
        whole = len(content) // peak_bytes * peak_bytes
        found += bytes(_LEVELS[level >> 8] for level in loudest(content[:whole], peak_bytes))
        rest = content[whole:]
    if rest:
        found += bytes(_LEVELS[level >> 8] for level in loudest(rest, len(rest)))
    return bytes(found)


def _loudest() -> Callable[[bytes, int], Iterable[int]]:
    """Return the function that finds the loudest sample, from 0 to 32768, of each `peak_bytes`."""
    numpy = have("numpy")
    return _plain if numpy is None else lambda content, peak_bytes: _quickly(numpy, content, peak_bytes)


def _plain(content: bytes, peak_bytes: int) -> Iterable[int]:
    silence = bytes(peak_bytes)
    for first in range(0, len(content), peak_bytes):
        piece = content[first : first + peak_bytes]
        if piece == silence:
            yield 0
            continue
        samples = array("h", piece)
        highest, lowest = max(samples), min(samples)
        yield max(highest, -lowest)


def _quickly(numpy: Any, content: bytes, peak_bytes: int) -> Iterable[int]:
    samples = numpy.frombuffer(content, "<i2").astype("<i4").reshape(-1, peak_bytes // SAMPLE_BYTES)
    levels: list[int] = abs(samples).max(axis=1, initial=0).tolist()
    return levels
