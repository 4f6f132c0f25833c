"""The pages of an Ogg stream, made and read. Pure.

A packet is never continued on another page, so that each page can be played by itself. Source: RFC 3533, 6; RFC 7845, 3
and 4.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, overload

from rtmsd.recording.media.ogg.packets import (
    SHORTEST_SAMPLES,
    SINGLE_BYTES,
    SINGLE_SAMPLES,
    SLOT_SAMPLES,
    packet_samples,
    silence,
)

FIRST: Final = 2
"""Flag of the page that begins a stream."""

_CAPTURE: Final = b"OggS"
_HEAD: Final = struct.Struct("<4sBBqIIIB")
_CRC_AT: Final = 22
_SEGMENTS: Final = 255
MAX_PAGE_BYTES: Final = _HEAD.size + _SEGMENTS + 255 * _SEGMENTS

_USUAL: Final = {toc for toc, samples in enumerate(SINGLE_SAMPLES) if samples == SLOT_SAMPLES}
"""First bytes of packets of one frame of 20 ms: of such packets a page takes a third of the time."""

_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LACINGS: Final = tuple(b"\xff" * (size // 255) + bytes((size % 255,)) for size in range(SINGLE_BYTES + 1))


def _crc(page: bytes) -> bytes:
    """Return the checksum of a page whose own checksum is zero. Ogg's CRC is zlib's with all bits in reverse order,
    without the inversions before and after.
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)


class PageHead(NamedTuple):
    """`granule` is the sample behind the last packet of the page."""

    flags: int
    granule: int
    serial: int
    sequence: int


class Page(NamedTuple):
    """A page; `start` and `stop` are offsets of where it was read, `granule` is the sample behind its last packet."""

    start: int
    stop: int
    flags: int
    granule: int
    serial: int
    sequence: int
    packets: tuple[bytes, ...]


def encode_page(head: PageHead, lacing: bytes, body: bytes) -> bytes:
    """Return a page.

    Args:
        lacing: `lacing_of` its packets.
        body: the packets.
    """
    page = _HEAD.pack(_CAPTURE, 0, *head, 0, len(lacing)) + lacing + body
    return b"".join((page[:_CRC_AT], _crc(page), page[_CRC_AT + 4 :]))


def lacing_of(size: int) -> bytes:
    """Return the segment table of one packet."""
    return _LACINGS[size] if size < len(_LACINGS) else b"\xff" * (size // 255) + bytes((size % 255,))


def read_page(data: bytes, start: int = 0) -> Page | None:
    """Read the page that begins at `start`; None where there is none, not all of it, or a checksum that is wrong."""
    body = start + _HEAD.size
    if not data.startswith(_CAPTURE, start) or len(data) < body:
        return None
    _, version, flags, granule, serial, sequence, _, segments = _HEAD.unpack_from(data, start)
    lacing = data[body : body + segments]
    at, stop = body + segments, body + segments + sum(lacing)
    whole = b"".join((data[start : start + _CRC_AT], bytes(4), data[start + _CRC_AT + 4 : stop]))
    crc = data[start + _CRC_AT : start + _CRC_AT + 4]
    if version or len(data) < stop or _crc(whole) != crc or lacing.endswith(b"\xff"):
        return None
    packets, size = [], 0
    for segment in lacing:
        size += segment
        if segment < 255:
            packets.append(data[at : at + size])
            at, size = at + size, 0
    return Page(start, stop, flags, granule, serial, sequence, tuple(packets))


def read_pages(data: bytes, start: int = 0) -> Iterator[Page]:
    """Yield all whole pages; what is between them is skipped."""
    while (start := data.find(_CAPTURE, start)) >= 0:
        page = read_page(data, start)
        if page is not None:
            yield page
        start = start + 1 if page is None else page.stop


class PageWriter:
    """The end of a stream of Opus: makes the pages that come next.

    Attributes:
        serial: of the stream.
        sequence: of the next page.
        granule: how many samples there are by now.
    """

    __slots__ = ("granule", "sequence", "serial")

    def __init__(self, serial: int, sequence: int = 0, granule: int = 0) -> None:
        self.serial = serial
        self.sequence = sequence
        self.granule = granule

    def pages(self, packets: Sequence[bytes]) -> list[bytes]:
        """Return packets as pages, the last of which ends with the last packet. Each has to be a packet."""
        if packets and max(map(len, packets)) < _SEGMENTS and {packet[0] for packet in packets} <= _USUAL:
            parts = [packets[first : first + _SEGMENTS] for first in range(0, len(packets), _SEGMENTS)]
            return [
                self._page(self.granule + len(part) * SLOT_SAMPLES, bytes(map(len, part)), b"".join(part))
                for part in parts
            ]
        pages: list[bytes] = []
        lacing: list[bytes] = []
        first, segments, granule = 0, 0, self.granule
        for number, packet in enumerate(packets):
            size = len(packet)
            laced = _LACINGS[size] if size <= SINGLE_BYTES else lacing_of(size)
            segments += len(laced)
            if segments > _SEGMENTS:
                pages.append(self._page(granule, b"".join(lacing), b"".join(packets[first:number])))
                lacing, first, segments = [], number, len(laced)
            lacing.append(laced)
            granule += SINGLE_SAMPLES[packet[0]] or packet_samples(packet)
        if lacing:
            pages.append(self._page(granule, b"".join(lacing), b"".join(packets[first:])))
        return pages

    def _page(self, granule: int, lacing: bytes, body: bytes) -> bytes:
        page = encode_page(PageHead(0, granule, self.serial, self.sequence), lacing, body)
        self.sequence = (self.sequence + 1) & 0xFFFF_FFFF
        self.granule = granule
        return page

    def silence(self, samples: int, channels: int) -> "tuple[SilentPages, list[bytes]]":
        """Return a pause as whole pages, which are passed by now, and the packets that are left over."""
        slots, rest_samples = divmod(samples, SLOT_SAMPLES)
        pages = SilentPages(self, slots // _SEGMENTS, channels)
        self.sequence = (self.sequence + len(pages)) & 0xFFFF_FFFF
        self.granule += len(pages) * _SEGMENTS * SLOT_SAMPLES
        units = rest_samples // SHORTEST_SAMPLES  # behind a packet shorter than 20 ms
        short = [silence(channels, unit * SHORTEST_SAMPLES) for unit in (1, 2, 4) if units & unit]
        return pages, [*[silence(channels)] * (slots % _SEGMENTS), *short]


class SilentPages(Sequence[bytes]):
    """Full pages of silence, 5.1 s each: made when they are asked for, so that hours of them take no memory."""

    def __init__(self, end: PageWriter, count: int, channels: int) -> None:
        self._end = PageWriter(end.serial, end.sequence, end.granule)
        self._count = count
        packet = silence(channels)
        self._lacing, self._body = lacing_of(len(packet)) * _SEGMENTS, packet * _SEGMENTS

    @property
    def size_bytes(self) -> int:
        return self._count * (_HEAD.size + len(self._lacing) + len(self._body))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> bytes: ...
    @overload
    def __getitem__(self, at: slice) -> list[bytes]: ...
    def __getitem__(self, at: int | slice) -> bytes | list[bytes]:
        numbers = range(self._count)[at]
        return self._page(numbers) if isinstance(numbers, int) else [self._page(number) for number in numbers]

    def _page(self, number: int) -> bytes:
        granule = self._end.granule + (number + 1) * _SEGMENTS * SLOT_SAMPLES
        sequence = (self._end.sequence + number) & 0xFFFF_FFFF
        return encode_page(PageHead(0, granule, self._end.serial, sequence), self._lacing, self._body)
