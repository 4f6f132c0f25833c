"""Work that is outstanding for each name, with a task that tries until it is done."""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeVar

import structlog
import trio

from rtmsd.errors import RtmsdError

log = structlog.get_logger(__name__)

T = TypeVar("T")

LONGEST_S: Final = 60.0
"""Between tries of work that crashes."""


class Outstanding(dict[str, T]):
    """The names, with what is known of their work. Whoever does it removes the name.

    Args:
        what: names the work in the log.
        key: the log's key of a name.
        at_once: names that are tried at a time.
        again_s: until the next try, after one that failed.
    """

    def __init__(self, what: str, *, key: str, at_once: int, again_s: float) -> None:
        super().__init__()
        self._what, self._key, self._again_s = what, key, again_s
        self._at_once = trio.CapacityLimiter(at_once)
        self._tried: set[str] = set()  # by a task each
        self._is_new = trio.Event()

    def begin(self) -> None:
        """Have a task for each name that has none."""
        self._is_new.set()

    async def run(self, do: Callable[[str], Awaitable[None]]) -> NoReturn:
        """Try, until cancelled. Work that crashes is tried again, after pauses that double."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._is_new.wait()
                self._is_new = trio.Event()
                for name in [name for name in self if name not in self._tried]:
                    self._tried.add(name)
                    nursery.start_soon(self._try, name, do)
        raise AssertionError("it runs until cancelled")

    async def _try(self, name: str, do: Callable[[str], Awaitable[None]]) -> None:
        is_first, pause_s = True, self._again_s
        while name in self:
            try:
                async with self._at_once:
                    await do(name)
            except RtmsdError as error:
                if is_first:
                    log.info(f"{self._what} not done yet", why=str(error), **{self._key: name})
                is_first = False
                await trio.sleep(self._again_s)
            except Exception:
                log.exception(f"{self._what} crashed; tried again", **{self._key: name})
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_S)
        self._tried.remove(name)
