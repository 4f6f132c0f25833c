"""One thing at a time for each stream."""

import contextlib
from collections.abc import AsyncIterator

import trio


class Turns:
    """A lock for each stream, as long as somebody wants it."""

    def __init__(self) -> None:
        self._turns: dict[str, trio.Lock] = {}

    @contextlib.asynccontextmanager
    async def of(self, rtms_stream_id: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(rtms_stream_id, trio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked() and self._turns.get(rtms_stream_id) is turn:
                del self._turns[rtms_stream_id]
