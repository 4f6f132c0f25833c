"""The end of an Ogg file that an earlier process left, or others cut: its last whole page, and packets before it.

Blocks: for a worker thread, or before there is a loop.
"""

import os
from collections.abc import Iterator
from typing import Final

import attrs

from rtmsd.recording.media.ogg.header import HEAD_BYTES, HEAD_PAGES
from rtmsd.recording.media.ogg.packets import packet_samples
from rtmsd.recording.media.ogg.pages import MAX_PAGE_BYTES, Page, read_page, read_pages

_PIECE_BYTES: Final = 2 * MAX_PAGE_BYTES


@attrs.frozen
class End:
    """The last whole page of a file.

    Attributes:
        size_bytes: where it ends.
        sequence: its number.
        samples: how many there are by then, at 48 kHz.
    """

    size_bytes: int
    serial: int
    sequence: int
    samples: int


def find_end(descriptor: int, size_bytes: int) -> End | None:
    """Find the last page of the stream that is whole, by its checksum; None: there is no sound.

    Pages of another stream, as of a file that was copied over this one, count as nothing.
    """
    head = read_page(os.pread(descriptor, HEAD_BYTES, 0))
    stop = size_bytes
    while stop > HEAD_BYTES:
        start = max(HEAD_BYTES, stop - _PIECE_BYTES)
        piece = os.pread(descriptor, min(size_bytes, stop + MAX_PAGE_BYTES) - start, start)
        at = len(piece)
        while (at := piece.rfind(b"OggS", 0, at)) >= 0:
            page = read_page(piece, at)
            if page is not None and page.sequence >= HEAD_PAGES and (head is None or page.serial == head.serial):
                return End(start + page.stop, page.serial, page.sequence, page.granule)
        stop = start
    return None


def first_samples(descriptor: int) -> int:
    """Return how many samples of the beginning are in no whole page: 0, unless something was written over them."""
    start = HEAD_BYTES
    while True:
        piece = os.pread(descriptor, _PIECE_BYTES, start)
        page = next(read_pages(piece), None)
        if page is not None:
            return page.granule - sum(map(packet_samples, page.packets))
        if len(piece) < _PIECE_BYTES:
            return 0
        start += MAX_PAGE_BYTES


def last_packets(descriptor: int, size_bytes: int, reach_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield the packets in the last bytes of a file, each with the sample it begins with."""
    for page in _last_pages(descriptor, size_bytes, reach_bytes):
        samples = page.granule - sum(map(packet_samples, page.packets))
        for packet in page.packets:
            yield samples, packet
            samples += packet_samples(packet)


def _last_pages(descriptor: int, size_bytes: int, reach_bytes: int) -> Iterator[Page]:
    start = max(HEAD_BYTES, size_bytes - reach_bytes)
    yield from read_pages(os.pread(descriptor, max(0, size_bytes - start), start))
