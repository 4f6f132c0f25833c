"""Marked packets: each holds its user and number, so that a test finds every lost, doubled or damaged one in a file.

A marked packet of L16 starts with a 16-byte label (a magic number, user id, packet number), followed by a pattern
made from them. `find_marks` reads a recorded track back.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_MAGIC = b"\xa5\x5a\xc3\x3c"
_LABEL = struct.Struct("<4sIq")
LABEL_BYTES = _LABEL.size
_PATTERN = bytes((index * 37 + 11) & 0xFF for index in range(256))
_LONG_PATTERN = _PATTERN * 1500  # a second of 48 kHz stereo, the largest packet, wherever it starts


class Mark(NamedTuple):
    """A marked packet found in a track. `whole` is False when its pattern is cut short or damaged."""

    user_id: int
    number: int
    offset_bytes: int
    whole: bool


def marked_packet(user_id: int, number: int, size_bytes: int) -> bytes:
    """Return a packet of `size_bytes`, at least 16, for any `user_id` of 32 bits."""
    start = number & 0xFF
    return label(user_id, number) + _LONG_PATTERN[start : start + size_bytes - LABEL_BYTES]


def label(user_id: int, number: int) -> bytes:
    """Return the 16 bytes that name a packet."""
    return _LABEL.pack(_MAGIC, user_id & 0xFFFFFFFF, number)


def read_label(data: bytes) -> tuple[int, int] | None:
    """Return the user id and number in a label; None for any other bytes."""
    if len(data) != LABEL_BYTES or not data.startswith(_MAGIC):
        return None
    _, user_id, number = _LABEL.unpack(data)
    return user_id, number


def find_marks(track: bytes, size_bytes: int) -> Iterator[Mark]:
    """Yield the marked packets of a track of PCM (no WAV header) in file order.

    Args:
        size_bytes: of each packet.
    """
    at = track.find(_MAGIC)
    while at != -1 and at + _LABEL.size <= len(track):
        _, user_id, number = _LABEL.unpack_from(track, at)
        whole = track[at : at + size_bytes] == marked_packet(user_id, number, size_bytes)
        yield Mark(user_id, number, at, whole)
        at = track.find(_MAGIC, at + (size_bytes if whole else 1))
