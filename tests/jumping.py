"""The clock that jumps to what is waited for next, and stands still while a thread works."""

import math
from collections.abc import Awaitable, Callable, Iterable
from inspect import iscoroutinefunction
from pkgutil import resolve_name
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

# Whatever has a thread work, and waits for it.
THREADS: Final = (
    "trio.to_thread.run_sync",
    "trio._path.run_sync",
    "rtmsd.system.worker_thread.WorkerThread.run_sync",
)


def jumping_clock(patch: pytest.MonkeyPatch) -> MockClock:
    """Return a clock that jumps, until `patch` is undone: how long a thread takes is no time of a test's."""
    clock, working = MockClock(autojump_threshold=0), 0

    def standing_still(run_sync: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def stand_still(*args: Any, **options: Any) -> Any:
            nonlocal working
            working += 1
            clock.autojump_threshold = math.inf
            try:
                return await run_sync(*args, **options)
            finally:
                working -= 1
                if not working:
                    clock.autojump_threshold = 0

        return stand_still

    for name in THREADS:
        patch.setattr(name, standing_still(resolve_name(name)))
    return clock


def run_jumping(test: Callable[[], Any], *, clock: trio.abc.Clock | None = None, **options: Any) -> Any:
    """Run a test as `trio.run` does, under a clock that jumps."""
    with pytest.MonkeyPatch.context() as patch:
        return trio.run(test, clock=clock or jumping_clock(patch), **options)


def mark_jumping(items: Iterable[pytest.Item]) -> None:
    """Run tests under such a clock: pytest-trio finds one only where the test itself asks for it, not its fixtures."""
    for item in items:
        if iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_jumping))
