"""The pace of a drain: so few streams at a time that none is long without media, and so many that it is over soon."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

FEW: Final = 2
STEP_S: Final = 0.06
MOST: Final = 32


class Pace:
    """Places for streams that are being handed over: the next is free when fewer than `FEW` are taken, or `STEP_S`
    after the last was. Who waits for one waits in line.

    While processors are what is short, each stream beside another makes that one slower; while streams wait, for
    instance for sockets that Zoom closes late, more of them cost nothing. One rule does for both: of streams that are
    quick, few are under way at a time, and 30 of which each takes a second are over in three.
    """

    def __init__(self) -> None:
        self._most = trio.CapacityLimiter(MOST)
        self._line = trio.Lock()
        self._left = trio.lowlevel.ParkingLot()  # has the first in line
        self._taken = 0
        self._last_s = -math.inf

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        async with self._most:
            async with self._line:
                with trio.move_on_at(self._last_s + STEP_S):
                    while self._taken >= FEW:
                        await self._left.park()
                self._last_s = trio.current_time()
                self._taken += 1
            try:
                yield
            finally:
                self._taken -= 1
                self._left.unpark()
