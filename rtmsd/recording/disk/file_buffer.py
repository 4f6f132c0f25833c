"""A file as the Trio thread sees it: bytes queue here, at their offsets, until a flush has them on disk."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import attrs

PIECE_BYTES: Final = 64
"""What the book-keeping of one piece costs, counted so that many tiny ones are bounded too."""

Pieces: TypeAlias = Sequence[bytes]
"""Bytes that belong one behind the other, as they came: they are joined only on their way to the disk.

Measured: a `bytearray` that grows, or joining every 64 while they are in the cache, costs each packet what it saves.
"""


@attrs.define(eq=False)
class Backlog:
    """The bytes of one stream that are not on disk yet, and their bound.

    Attributes:
        read_bytes: what one read of a socket may bring.
        grow: asked to raise the bound; returns whether there is room for so many bytes now. See `Buffer`.
    """

    limit_bytes: int
    pending_bytes: int = 0
    read_bytes: int = 1
    grow: Callable[["Backlog", int], bool] = attrs.field(default=lambda backlog, size_bytes: False, repr=False)

    @property
    def full(self) -> bool:
        """Whether there is no room for anything: what comes is dropped."""
        return self.pending_bytes >= self.limit_bytes and not self.grow(self, 1)

    @property
    def is_short(self) -> bool:
        """Whether there is no room for another read: sockets are left unread, for as long as that is safe."""
        return not self.has_room(self.read_bytes)

    def has_room(self, size_bytes: int) -> bool:
        return self.limit_bytes - self.pending_bytes >= size_bytes or self.grow(self, size_bytes)


_ADDED_UP: Final = 64  # pieces, each time that a size is asked for


@attrs.frozen
class Batch:
    """What one flush writes to one file: chunks with their offsets, and the size the file has then.

    Attributes:
        queued_bytes: what `chunks` count in the backlog. To add that up again would fetch every piece of a flood from
            memory once more: a third of what a flush costs the Trio thread.
    """

    file: "DiskFile"
    chunks: tuple[tuple[int, Pieces], ...]
    size_bytes: int
    queued_bytes: int


class DiskFile:
    """One file of a stream. It is opened by each flush that has something for it and stays closed in between.

    Attributes:
        tail: pieces to go behind `tail_offset`. Always the same object, so that a track may append to it directly,
            if it calls `on_dirty` when it was empty and counts into `backlog`.
        durable_bytes: size on disk after the last flush that succeeded.
        taken_bytes: how much flushes were given so far.
        header: from the size of the file to what stands at its start, written after the data; None: no header.
        inode: which file it is on disk, as the last flush left it; None: not known yet. Only the flush sets it.
    """

    __slots__ = (
        "_chunks",
        "_chunks_bytes",
        "backlog",
        "durable_bytes",
        "header",
        "inode",
        "on_dirty",
        "path",
        "tail",
        "tail_offset",
        "taken_bytes",
    )

    def __init__(
        self,
        path: Path,
        size_bytes: int,
        backlog: Backlog,
        on_dirty: Callable[["DiskFile"], object],
        header: Callable[[int], bytes] | None = None,
    ) -> None:
        self.path = path
        self.durable_bytes = size_bytes
        self.taken_bytes = 0
        self.inode: int | None = None
        self.backlog = backlog
        self.on_dirty = on_dirty
        self.header = header
        self.tail: list[bytes] = []
        self.tail_offset = size_bytes
        self._chunks: list[tuple[int, Pieces]] = []
        self._chunks_bytes = 0  # as the backlog counts them

    @property
    def size_bytes(self) -> int:
        """Size once everything queued is written. What asks with each piece does not add up all of them each time."""
        if len(self.tail) > _ADDED_UP:
            self._seal()
        return self.tail_offset + _length(self.tail)

    @property
    def received_bytes(self) -> int:
        """How much came so far, be it taken or not. Costs nothing when it comes, but something to look at."""
        return self.taken_bytes + _length(self.tail)

    def append(self, data: bytes) -> None:
        if not self.tail:
            self.on_dirty(self)
        self.tail.append(data)
        self.backlog.pending_bytes += len(data) + PIECE_BYTES

    def skip_to(self, offset: int) -> None:
        """Leave a hole between the end and `offset`."""
        self._seal()
        self.tail_offset = offset

    def write_at(self, offset: int, data: bytes) -> None:
        """Write into a hole that `skip_to` left."""
        self.on_dirty(self)
        self._chunks.append((offset, (data,)))
        self.taken_bytes += len(data)
        self._chunks_bytes += len(data) + PIECE_BYTES
        self.backlog.pending_bytes += len(data) + PIECE_BYTES

    def take(self) -> Batch:
        """Return all that is queued. It stays queued until `written` says that it is on disk."""
        self._seal()
        return Batch(self, tuple(self._chunks), self.tail_offset, self._chunks_bytes)

    def written(self, batch: Batch) -> bool:
        """Forget what a flush wrote. Returns whether anything came meanwhile."""
        del self._chunks[: len(batch.chunks)]
        self._chunks_bytes -= batch.queued_bytes
        self.backlog.pending_bytes -= batch.queued_bytes
        self.durable_bytes = batch.size_bytes
        return bool(self._chunks or self.tail)

    def discard(self) -> None:
        """Forget all that is queued: the file is being deleted."""
        self.written(self.take())

    def cut(self, size_bytes: int) -> None:
        """The file ends at `size_bytes` on disk, whatever was known before. Nothing may be queued."""
        self._seal()
        self.durable_bytes = self.tail_offset = size_bytes

    def whole_bytes(self, descriptor: int, size_bytes: int) -> int | None:
        """Return how much can be used of a file that others cut to a size; None: nothing. In the worker thread."""
        return size_bytes

    def move(self, to: "DiskFile", shift_bytes: int) -> None:
        """Let another file write what is queued here, so many bytes nearer to its start."""
        self._seal()
        moved = [(offset - shift_bytes, pieces) for offset, pieces in self._chunks]
        to.durable_bytes, to.tail_offset = 0, self.tail_offset - shift_bytes
        self._chunks, moved_bytes = [], self._chunks_bytes
        self._chunks_bytes = 0
        to._chunks, to._chunks_bytes = moved, moved_bytes
        self.tail_offset = self.durable_bytes
        if moved:
            to.on_dirty(to)

    def restart(self, size_bytes: int, head: bytes = b"") -> None:
        """Go on behind `size_bytes`, where what was on disk is gone behind it; from the start, with `head` first."""
        self._seal()
        shift_bytes = self.durable_bytes - size_bytes
        self._chunks = [(offset - shift_bytes, pieces) for offset, pieces in self._chunks]
        self.durable_bytes, self.tail_offset = size_bytes, self.tail_offset - shift_bytes
        if head and not size_bytes:
            self._chunks = [(0, (head,)), *((offset + len(head), pieces) for offset, pieces in self._chunks)]
            self.tail_offset += len(head)
            self._chunks_bytes += len(head) + PIECE_BYTES
            self.backlog.pending_bytes += len(head) + PIECE_BYTES
            self.on_dirty(self)
        if not size_bytes:
            self.inode = None

    @property
    def queued(self) -> list[tuple[int, Pieces]]:
        """What is not on disk yet, with its offsets."""
        self._seal()
        return list(self._chunks)

    def _seal(self) -> None:
        if self.tail:
            pieces = tuple(self.tail)
            self.tail.clear()
            self._chunks.append((self.tail_offset, pieces))
            size_bytes = _length(pieces)
            self.tail_offset += size_bytes
            self.taken_bytes += size_bytes
            self._chunks_bytes += size_bytes + PIECE_BYTES * len(pieces)


def _length(pieces: Iterable[bytes]) -> int:
    return sum(map(len, pieces))
