"""Work on the disk that has to be done, repeated for as long as the disk fails; flushes are the writer's to repeat."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

import structlog
import trio

log = structlog.get_logger()

RunSync: TypeAlias = Callable[..., Awaitable[Any]]
"""`trio.to_thread.run_sync`, or in tests with a mock clock something that calls at once."""

RETRY_S: Final = 1.0

_THREADS: Final = 64
"""Eight are enough for the disk. But streams that are taken up together stay together if nobody waits for a thread: of
100, each then takes a sixth less CPU.
"""

_T = TypeVar("_T")


def own_threads(number: int) -> RunSync:
    """Return what runs work in so many threads at a time, beside Trio's: a disk that is stuck keeps all it gets, and
    without those there is no DNS, and so no connection.
    """
    return partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(number))


class DiskRetrier:
    """Runs work again and again until it is done, and knows what waits."""

    def __init__(self, run_sync: RunSync | None = None) -> None:
        self._run_sync = run_sync or own_threads(_THREADS)
        self._failures: dict[object, str] = {}

    @property
    def error(self) -> str | None:
        """Why something waits, in plain words; None when nothing does."""
        return next(iter(self._failures.values()), None)

    async def run(self, work: Callable[[], _T], rtms_stream_id: str) -> _T:
        """Run `work` in a thread until it raises no OSError, and return its result."""
        key = object()
        try:
            while True:
                try:
                    result: _T = await self._run_sync(work)
                except OSError as error:
                    if key not in self._failures:
                        log.warning("disk access failed; retrying", error=plain(error), rtms_stream_id=rtms_stream_id)
                    self._failures[key] = plain(error)
                else:
                    if key in self._failures:
                        log.info("disk recovered", rtms_stream_id=rtms_stream_id)
                    return result
                await trio.sleep(RETRY_S)
        finally:
            self._failures.pop(key, None)


def plain(error: OSError) -> str:
    """Return the disk's error, for people."""
    return f"{error.strerror or type(error).__name__}: {error.filename or 'recording'}"
