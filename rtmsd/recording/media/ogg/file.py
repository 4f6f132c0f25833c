"""An Ogg file as the Trio thread sees it: packets queue here, at their places, until a flush takes them as pages.

Its places (`skip_to`, `write_at`) are those in the WAV that the packets decode to; its sizes are its own. A page is
made of what is queued when a flush takes it, so that each sync ends one, and then it stays as it is. Until then a
packet may still be put into a pause. Hours of silence are made while they are written, in the worker thread.
"""

from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Final

from rtmsd.recording.disk.file_buffer import PIECE_BYTES, Backlog, Batch, DiskFile, Pieces
from rtmsd.recording.media.ogg.header import HEAD_BYTES, HEAD_PAGES, OggHeader
from rtmsd.recording.media.ogg.packets import packet_samples
from rtmsd.recording.media.ogg.pages import PageWriter, SilentPages, read_pages
from rtmsd.recording.media.ogg.reader import End, find_end
from rtmsd.recording.media.wav.header import HEADER_BYTES

_PLACE: Final = itemgetter(0)


class OggFile(DiskFile):
    """A file of one speaker, begun or continued.

    Attributes:
        left: where the file ends that somebody cut off, as the check before a flush found it.

    Args:
        end: where it ends, if it is there already.
    """

    __slots__ = ("_durable_samples", "_header", "_runs", "_tail_place", "_taken_samples", "_writer", "left")

    def __init__(
        self,
        path: Path,
        backlog: Backlog,
        on_dirty: Callable[[DiskFile], object],
        header: OggHeader,
        end: End | None = None,
    ) -> None:
        super().__init__(path, 0 if end is None else end.size_bytes, backlog, on_dirty)
        self._header = header
        self._runs: list[tuple[int, Pieces]] = []  # packets that are in no page yet, with their places
        if end is None:
            self._writer = PageWriter(header.serial, HEAD_PAGES)
            self._chunks.append((0, (header.encode(),)))
            self.tail_offset = HEAD_BYTES
        else:
            self._writer = PageWriter(end.serial, end.sequence + 1, end.samples)
        self._tail_place = self.paged_end
        self._taken_samples = self._durable_samples = self._writer.granule
        self.left: End | None = None

    def _place(self, samples: int) -> int:
        return HEADER_BYTES + samples * self._header.pcm.block_bytes

    @property
    def paged_end(self) -> int:
        """The place up to which all is in pages, which change no more."""
        return self._place(self._writer.granule)

    @property
    def durable_end(self) -> int:
        """The place up to which all is on disk."""
        return self._place(self._durable_samples)

    @property
    def left_end(self) -> int:
        """The place up to which there was something on disk when a flush found it cut off."""
        return HEADER_BYTES if self.left is None else self._place(self.left.samples)

    @property
    def size_bytes(self) -> int:
        """Size of the pages there are by now."""
        return self.tail_offset

    def skip_to(self, offset: int) -> None:
        """Leave a pause between the end and a place."""
        self._end_run()
        self._tail_place = offset

    def write_at(self, offset: int, data: bytes) -> None:
        """Put a packet into a pause that is in no page yet."""
        self.on_dirty(self)
        self._add_run(offset, (data,))
        self.backlog.pending_bytes += len(data) + PIECE_BYTES

    def take(self) -> Batch:
        batch = super().take()
        self._taken_samples = self._writer.granule
        return batch

    def written(self, batch: Batch) -> bool:
        self._durable_samples = self._taken_samples
        return super().written(batch) or bool(self._runs)

    def move(self, to: DiskFile, shift_bytes: int) -> None:
        assert isinstance(to, OggFile)
        end = self._tail_place + sum(map(packet_samples, self.tail)) * self._header.pcm.block_bytes
        self._end_run()
        paged = []
        for _, pieces in self._chunks:
            if not isinstance(pieces, SilentPages):
                for page in read_pages(b"".join(pieces)):
                    if page.sequence >= HEAD_PAGES:
                        samples = page.granule - sum(map(packet_samples, page.packets))
                        paged.append((self._place(samples), page.packets))
        to._runs = [(place - shift_bytes, packets) for place, packets in (*paged, *self._runs)]
        to._tail_place = end - shift_bytes
        # The new file's own beginning is not counted: it is always there, and never of the size of media.
        to._chunks_bytes, self._chunks_bytes = self._chunks_bytes, 0
        self._chunks, self._runs = [], []
        self.tail_offset = self.durable_bytes
        if to._runs:
            to.on_dirty(to)

    @property
    def queued_place(self) -> int | None:
        """The first place of what is not on disk yet; None: there is nothing."""
        if self._chunks:
            return self.durable_end
        return min([*map(_PLACE, self._runs), *([self._tail_place] if self.tail else [])], default=None)

    def cut(self, size_bytes: int) -> None:
        """The file ends there on disk, at the end of a page. It is not continued."""
        self.durable_bytes = self.tail_offset = size_bytes
        self._durable_samples = 0 if self.left is None else self.left.samples

    def whole_bytes(self, descriptor: int, size_bytes: int) -> int | None:
        self.left = find_end(descriptor, size_bytes)
        return None if self.left is None else self.left.size_bytes

    def _end_run(self) -> None:
        if self.tail:
            packets = tuple(self.tail)
            self.tail.clear()
            self._add_run(self._tail_place, packets)

    def _add_run(self, place: int, packets: Pieces) -> None:
        self._runs.append((place, packets))
        size_bytes = sum(map(len, packets))
        self.taken_bytes += size_bytes
        self._chunks_bytes += size_bytes + PIECE_BYTES * len(packets)

    def _seal(self) -> None:
        """Make pages of all that is queued, with silence in the pauses."""
        self._end_run()
        for place, packets in sorted(self._runs, key=_PLACE):
            pause_samples = (place - self.paged_end) // self._header.pcm.block_bytes
            silent, rest = self._writer.silence(pause_samples, self._header.pcm.channels)
            if silent:
                self._chunks.append((self.tail_offset, silent))
                self.tail_offset += silent.size_bytes
            pages = tuple(self._writer.pages([*rest, *packets]))
            self._chunks.append((self.tail_offset, pages))
            self.tail_offset += sum(map(len, pages))
        self._runs.clear()
        self._tail_place = max(self._tail_place, self.paged_end)
