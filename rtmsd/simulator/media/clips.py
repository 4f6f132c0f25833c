"""The clips that come with the package, for an installation without PyAV: packets and pictures encoded beforehand.

A clip is a file in `clips/`: each packet or picture behind its length as two bytes, big-endian. All of them together
have at most 60 kB; `python -m tests.simulator.make_clips` makes them anew.
"""

import functools
import struct
from collections.abc import Iterable
from importlib import resources
from typing import Final

_LENGTH: Final = struct.Struct(">H")


@functools.cache
def read_clip(name: str) -> tuple[bytes, ...]:
    """Return the packets of a clip."""
    return parse_clip((resources.files(__package__) / "clips" / f"{name}.clip").read_bytes())


def parse_clip(raw: bytes) -> tuple[bytes, ...]:
    packets, at = [], 0
    while at < len(raw):
        [size] = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size + size
        packets.append(raw[at - size : at])
    return tuple(packets)


def clip_bytes(packets: Iterable[bytes]) -> bytes:
    """Return a clip; no packet has 64 kB or more."""
    return b"".join(_LENGTH.pack(len(packet)) + packet for packet in packets)
