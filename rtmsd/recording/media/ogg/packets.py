"""The packets of Opus, as far as their own header tells: how long each one is. Pure; nothing is decoded.

Source: RFC 6716, 3.1 and 3.2: configurations and frame packing; 3.4: what a packet must be to be one.
"""

from typing import ClassVar, Final

import attrs

from rtmsd.recording.media.wav.header import PcmFormat

RATE_HZ: Final = 48_000
"""Opus always decodes to this rate, whatever was encoded."""

SLOT_MS: Final = 20
SLOT_SAMPLES: Final = RATE_HZ // 1000 * SLOT_MS

SHORTEST_SAMPLES: Final = RATE_HZ // 400
"""Of the shortest frame; all others are a multiple of it."""

_MAX_FRAME_BYTES: Final = 1275
_MAX_SAMPLES: Final = RATE_HZ * 120 // 1000
_SILENT_FRAME: Final = b"\xff\xfe"
_SILENT_CONFIGURATION: Final = 28  # CELT, full band, of the shortest frame; each next one is twice as long
_FRAME_SAMPLES: Final = (*(480, 960, 1920, 2880) * 3, *(480, 960) * 2, *(120, 240, 480, 960) * 4)
"""Of the 32 configurations: SILK, hybrid, CELT."""

SINGLE_SAMPLES: Final = tuple(_FRAME_SAMPLES[toc >> 3] if toc & 3 == 0 else 0 for toc in range(256))
"""By the first byte: the samples of a packet with one frame; 0 for one with more."""

SINGLE_BYTES: Final = 1 + _MAX_FRAME_BYTES
"""The longest packet with one frame."""


@attrs.frozen
class OpusFormat(PcmFormat):
    """Opus packets. Sizes are those of the samples that they decode to."""

    codec: ClassVar[str] = "OPUS"
    suffix: ClassVar[str] = "opus"
    mistake: ClassVar[str] = "opus"

    def size_bytes(self, data: bytes) -> int:
        return packet_samples(data) * self.block_bytes


def silence(channels: int, samples: int = SLOT_SAMPLES) -> bytes:
    """Return a packet of silence, of 20 ms as a rule, or of 2.5, 5 or 10 ms."""
    longer = (samples // SHORTEST_SAMPLES).bit_length() - 1
    return bytes([_SILENT_CONFIGURATION + longer << 3 | (channels == 2) << 2]) + _SILENT_FRAME


def is_silence(data: bytes) -> bool:
    """Whether a packet is digital silence of 20 ms or less."""
    return data[1:] == _SILENT_FRAME and 0 < SINGLE_SAMPLES[data[0]] <= SLOT_SAMPLES


def packet_samples(data: bytes) -> int:
    """Return how many samples a packet has at 48 kHz; 0 for what is no packet."""
    if not data:
        return 0
    frames = _frames(data[0] & 3, data[1:])
    samples = frames * _FRAME_SAMPLES[data[0] >> 3]
    return samples if samples <= _MAX_SAMPLES else 0


def _frames(code: int, rest: bytes) -> int:
    """Return the number of frames behind the first byte; 0 where they cannot be."""
    size = len(rest)
    if code == 0:
        return int(size <= _MAX_FRAME_BYTES)
    if code == 1:
        return 2 if size % 2 == 0 and size // 2 <= _MAX_FRAME_BYTES else 0
    if code == 2:
        left = _less_lengths(rest, 0, 1, size)
        return 2 if left is not None and left <= _MAX_FRAME_BYTES else 0
    return _counted_frames(rest)


def _counted_frames(rest: bytes) -> int:
    """Return the number of frames in a packet that names it, with or without padding."""
    if not rest:
        return 0
    frames, at, stop = rest[0] & 0x3F, 1, len(rest)
    if rest[0] & 0x40:
        padding = 255
        while padding == 255:
            if at >= len(rest):
                return 0
            padding = rest[at]
            at += 1
            stop -= min(padding, 254)
    if frames == 0 or stop < at:
        return 0
    if rest[0] & 0x80:
        left = _less_lengths(rest, at, frames - 1, stop)
        return frames if left is not None and left <= _MAX_FRAME_BYTES else 0
    return frames if (stop - at) % frames == 0 and (stop - at) // frames <= _MAX_FRAME_BYTES else 0


def _less_lengths(rest: bytes, at: int, count: int, stop: int) -> int | None:
    """Read so many lengths of frames; return the bytes for the last frame, which has none. None: there is no room."""
    total = 0
    for _ in range(count):
        if at >= stop:
            return None
        length = rest[at]
        at += 1
        if length >= 252:
            if at >= stop:
                return None
            length += 4 * rest[at]
            at += 1
        total += length
    left = stop - at - total
    return left if left >= 0 else None
