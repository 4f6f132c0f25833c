"""Readers of the heads of JPEG and PNG images."""

import struct
from typing import Final

from rtmsd.recording.media.images.head import Head, image_head

JPEG_REACH_BYTES: Final = 256 * 1024
"""The frame header lies within so much: as a rule in the first kilobyte, and behind profiles and thumbnails."""

PNG_REACH_BYTES: Final = 24

_MAX_SEGMENTS: Final = 256
_JPEG_SEGMENT: Final = struct.Struct(">BBHBHH")  # of a frame header: 0xFF, marker, length, precision, height, width
_unpack_segment: Final = _JPEG_SEGMENT.unpack_from
_STARTS_OF_FRAME: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_ENDS: Final = frozenset({0x00, 0xD9, 0xDA})

_PNG_START: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_PNG_SIZE: Final = struct.Struct(">II")
_MAX_SIDE: Final = 2**31 - 1


def read_jpeg(data: bytes) -> Head | None:
    """Return the head of a JPEG image, None for what is none. It hops from segment to segment, without a scan."""
    if data[:3] != b"\xff\xd8\xff":
        return None
    at, last = 2, min(len(data), JPEG_REACH_BYTES) - _JPEG_SEGMENT.size
    for _ in range(_MAX_SEGMENTS):
        if at > last:
            return None
        begin, marker, length, _precision, height, width = _unpack_segment(data, at)
        if begin != 0xFF or marker in _ENDS:
            return None
        if marker in _STARTS_OF_FRAME:
            return image_head(width, height) if width and height else None
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE:
            at += 2
        else:
            at += 2 + length
    return None


def read_png(data: bytes) -> Head | None:
    """Return the head of a PNG image, None for what is none."""
    if len(data) < PNG_REACH_BYTES or not data.startswith(_PNG_START):
        return None
    width, height = _PNG_SIZE.unpack_from(data, len(_PNG_START))
    return image_head(width, height) if 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE else None
