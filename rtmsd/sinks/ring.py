"""A bounded buffer between a packet path that must never wait and a reader who may be slow."""

from collections import deque
from typing import Generic, TypeVar

import attrs
import trio

T = TypeVar("T")


@attrs.frozen
class Batch(Generic[T]):
    """Everything that waited. `lost` items, older than these, were dropped since the last batch."""

    lost: int
    items: list[T]


class Ring(Generic[T]):
    """First in, first out, for one reader. When full, the oldest items are dropped and counted.

    `put` costs about a microsecond and wakes the reader only from empty to ready.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._size_bytes = 0
        self._lost = 0
        self._ended = False
        self._wake: trio.Event | None = None  # there while the reader waits

    def put(self, item: T, size_bytes: int) -> None:
        """Add an item; after `end` nothing happens. An item larger than the whole ring is itself what is lost."""
        if self._ended:
            return
        self._items.append((item, size_bytes))
        self._size_bytes += size_bytes
        while self._size_bytes > self._limit_bytes:
            self._size_bytes -= self._items.popleft()[1]
            self._lost += 1
        self._wake_reader()

    def end(self) -> None:
        """Nothing more will come: the reader gets what is there, then None."""
        self._ended = True
        self._wake_reader()

    async def take(self) -> Batch[T] | None:
        """Wait for something, and take all of it; None at the end."""
        while not self._items and not self._lost:
            if self._ended:
                return None
            self._wake = trio.Event()
            await self._wake.wait()
        batch = Batch(self._lost, [item for item, _ in self._items])
        self._items.clear()
        self._size_bytes = self._lost = 0
        return batch

    def _wake_reader(self) -> None:
        if self._wake is not None:
            self._wake.set()
            self._wake = None
