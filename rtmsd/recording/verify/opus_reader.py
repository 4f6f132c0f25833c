"""An Ogg file with Opus, read as any other program would read it, without the code that writes it.

Sources: RFC 3533, 6 (pages); RFC 7845, 4 and 5 (granules, head and comments); RFC 6716, 3.1 and 3.2 (durations).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

_PAGE: Final = struct.Struct("<4sBBqIIIB")
_MIRROR: Final = bytes(sum(1 << 7 - bit for bit in range(8) if byte >> bit & 1) for byte in range(256))


class OpusFile(NamedTuple):
    """The content of a file.

    Attributes:
        samples: in the pages before the first problem.
        problem: for people; None: there is none.
        is_torn: the problem is that its last page is not whole.
    """

    channels: int
    comments: dict[str, str]
    samples: int
    problem: str | None
    is_torn: bool


class _NoPageError(ValueError):
    """Something that is not the next page."""


class _TornError(_NoPageError):
    """The beginning of a page."""


class _Page(NamedTuple):
    flags: int
    granule: int
    serial: int
    sequence: int
    packets: list[bytes]


def read_opus(path: Path) -> OpusFile:
    """Read all pages of a file.

    Raises:
        ValueError: it does not begin as Ogg with Opus does, naming what is wrong.
    """
    with path.open("rb") as file:
        pages = _pages(file)
        try:
            first, second = next(pages), next(pages)
        except (StopIteration, _NoPageError):
            raise ValueError("does not begin with two pages of Ogg") from None
        if len(first.packets) != 1 or len(second.packets) != 1 or not first.flags & 2:
            raise ValueError("does not begin with a head and comments")
        channels, comments = _channels(first.packets[0]), _comments(second.packets[0])
        samples, sequence = 0, 1
        try:
            for page in pages:
                sequence += 1
                samples = _after(page, samples, sequence, first.serial)
        except _NoPageError as exc:
            return OpusFile(channels, comments, samples, str(exc), isinstance(exc, _TornError))
    return OpusFile(channels, comments, samples, None, is_torn=False)


def _after(page: _Page, samples: int, sequence: int, serial: int) -> int:
    """Return how many samples there are with this page, which has to be the next one."""
    if page.serial != serial or page.sequence != sequence & 0xFFFF_FFFF:
        raise _NoPageError(f"page {page.sequence} of {page.serial:#x} where {sequence} of {serial:#x} belongs")
    for packet in page.packets:
        length = _samples(packet)
        if length is None:
            raise _NoPageError(f"page {sequence} holds what is no packet of Opus")
        samples += length
    if page.granule != samples:
        raise _NoPageError(f"page {sequence} says {page.granule} samples, its packets {samples}")
    return samples


def _pages(file: BinaryIO) -> Iterator[_Page]:
    """Yield the pages of a file.

    Raises:
        _NoPageError: what comes next is none, or not all of it is there.
    """
    at = 0
    while head := file.read(_PAGE.size):
        if len(head) < _PAGE.size:
            raise _TornError(f"ends within a page, which begins at {at}")
        magic, version, flags, granule, serial, sequence, crc, segments = _PAGE.unpack(head)
        if magic != b"OggS" or version:
            raise _NoPageError(f"no page at {at}")
        lacing = file.read(segments)
        body = file.read(sum(lacing))
        if len(lacing) + len(body) < segments + sum(lacing):
            raise _TornError(f"ends within a page, which begins at {at}")
        if _checksum(head[:22] + bytes(4) + head[26:] + lacing + body) != crc:
            raise _NoPageError(f"the checksum of the page at {at} is wrong")
        if lacing.endswith(b"\xff") or flags & 1:
            raise _NoPageError(f"a packet is continued on another page, at {at}")
        at += _PAGE.size + segments + len(body)
        yield _Page(flags, granule, serial, sequence, list(_packets(lacing, body)))


def _packets(lacing: bytes, body: bytes) -> Iterator[bytes]:
    first = stop = 0
    for length in lacing:
        stop += length
        if length < 255:
            yield body[first:stop]
            first = stop


def _checksum(page: bytes) -> int:
    """Return Ogg's CRC, polynomial 0x04C11DB7 from the highest bit, by way of zlib's, which is its mirror image."""
    mirrored = ~zlib.crc32(page.translate(_MIRROR), 0xFFFF_FFFF) & 0xFFFF_FFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _channels(head: bytes) -> int:
    if len(head) < 19 or not head.startswith(b"OpusHead"):
        raise ValueError("no OpusHead")
    version, channels, skip, _, gain, family = struct.unpack_from("<BBHIhB", head, 8)
    if version > 15 or family or gain or channels not in {1, 2}:
        raise ValueError(f"version {version}, {channels} channels, gain {gain}, mapping {family}")
    if skip:
        raise ValueError(f"its first sample is {skip} samples late")
    return int(channels)


def _comments(tags: bytes) -> dict[str, str]:
    if not tags.startswith(b"OpusTags"):
        raise ValueError("no OpusTags")
    try:
        at = 12 + struct.unpack_from("<I", tags, 8)[0]
        (count,) = struct.unpack_from("<I", tags, at)
        at += 4
        found: dict[str, Any] = {}
        for _ in range(min(count, len(tags))):
            (length,) = struct.unpack_from("<I", tags, at)
            name, _, value = tags[at + 4 : at + 4 + length].decode().partition("=")
            found[name.upper()] = value
            at += 4 + length
    except (struct.error, UnicodeDecodeError) as exc:
        raise ValueError(f"OpusTags: {exc}") from None
    return found


def _samples(packet: bytes) -> int | None:
    """Return how many samples at 48 kHz a packet decodes to; None where it does not say."""
    if not packet:
        return None
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config % 4]
    elif config < 16:
        frame = (480, 960)[config % 2]
    else:
        frame = 120 << config % 4
    if code == 3:
        if len(packet) < 2 or not packet[1] & 63:
            return None
        frame *= packet[1] & 63
    elif code:
        frame *= 2
    return frame if frame <= 5760 else None
