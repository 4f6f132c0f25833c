"""Operators who chose a participant's video, and wait for Zoom's answer."""

from collections.abc import Callable

import trio

from rtmsd.streams.core.video.choice import Choice
from rtmsd.streams.core.video.requests import ANSWER_S, Result, Settled


class Operators:
    """Those of one stream.

    Args:
        choose: gives the core a choice.
    """

    def __init__(self, choose: Callable[[Choice], None]) -> None:
        self._choose = choose
        self._waiting: dict[Choice, trio.Event] = {}
        self._settled: dict[Choice, Settled] = {}

    async def choose(self, choice: Choice) -> Settled:
        """Make a choice, and wait for what becomes of it, for `ANSWER_S` at most: while the stream is not connected, or
        another request is waited for, it is made as soon as it can be.
        """
        self._waiting[choice] = trio.Event()
        try:
            self._choose(choice)
            with trio.move_on_after(ANSWER_S):
                await self._waiting[choice].wait()
        finally:
            del self._waiting[choice]
        return self._settled.pop(choice, Settled(choice, Result.NO_ANSWER))

    def settle(self, settled: Settled) -> None:
        if settled.choice in self._waiting:
            self._settled[settled.choice] = settled
            self._waiting[settled.choice].set()

    def leave(self) -> None:
        """The stream has ended."""
        for choice in self._waiting:
            self.settle(Settled(choice, Result.REPLACED))
