"""Access units of H.264: a message may hold a part of a picture, or parameter sets alone. Pure.

Containers want whole pictures, each with the parameter sets before it (Rec. ITU-T H.264, 7.4.1.2.3).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from rtmsd.export.film.pictures import Picture
from rtmsd.recording.media.images.h264 import H264_REACH_BYTES, START_CODE

_SLICES: Final = range(1, 6)
_WITH_BLOCK: Final = frozenset({1, 2, 5})  # slices that begin with the number of their first macroblock
_FIRST_BLOCK: Final = 0x80  # which is 0 of the first slice: a single bit
_MAX_BYTES: Final = 2**26


def join_pictures(messages: Iterable[Picture]) -> Iterator[Picture]:
    """Yield whole pictures: what begins none belongs to the one before, parameter sets to the one behind."""
    parts: list[Picture] = []
    has_slice = False
    size_bytes = 0
    for message in messages:
        begins, brings_slice = _beginning(message.data)
        is_apart = not message.is_continued or (parts and message.connection != parts[-1].connection)
        if parts and (is_apart or size_bytes > _MAX_BYTES or (begins and has_slice)):
            if has_slice:
                yield _joined(parts)
            parts, has_slice, size_bytes = [], False, 0
        parts.append(message)
        has_slice = has_slice or brings_slice
        size_bytes += len(message.data)
    if has_slice:
        yield _joined(parts)


def _joined(parts: list[Picture]) -> Picture:
    """One picture of several messages; its time is that of its first slice."""
    if len(parts) == 1:
        return parts[0]
    first = next(part for part in parts if _beginning(part.data)[1])
    size = next((part.head.size for part in parts if part.head.size is not None), None)
    return first._replace(
        data=b"".join(part.data for part in parts),
        head=first.head._replace(size=size),
        is_continued=parts[0].is_continued,
    )


def _beginning(data: bytes) -> tuple[bool, bool]:
    """Return whether a message begins a picture, or what stands before one, and whether there is a slice in it."""
    reach = min(len(data), H264_REACH_BYTES) - 4
    at = start = data.find(START_CODE, 0, 4)
    while 0 <= at < reach:
        kind = data[at + 3] & 0x1F
        if kind in _SLICES:
            return start >= 0 and (at > start or (kind in _WITH_BLOCK and data[at + 4] >= _FIRST_BLOCK)), True
        at = data.find(START_CODE, at + 3, reach)
    return start >= 0, False
