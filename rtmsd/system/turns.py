"""One thing at a time for each name."""

import contextlib
from collections.abc import AsyncIterator

import trio


class Turns:
    """A lock for each name, as long as somebody wants it."""

    def __init__(self) -> None:
        self._turns: dict[str, trio.Lock] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @contextlib.asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(name, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked() and self._turns.get(name) is turn:
                del self._turns[name]
