"""Small compositions of Trio tasks."""

from collections.abc import Awaitable, Callable

import trio

from rtmsd.errors import RtmsdError


async def first_of(*jobs: Callable[[], Awaitable[object]]) -> None:
    """Run the jobs side by side until the first one returns or fails in a foreseen way, then cancel the others.

    A foreseen error (`RtmsdError`) is raised as it is, not in a group, so that callers can say `except ConnectionLost`;
    a bug comes out in Trio's exception group, whole.
    """
    failures: list[RtmsdError] = []

    async def run(job: Callable[[], Awaitable[object]]) -> None:
        try:
            await job()
        except RtmsdError as error:
            failures.append(error)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for job in jobs[1:]:
            nursery.start_soon(run, job)
        await run(jobs[0])  # in this task: one less to keep in memory, for each connection
    if failures:
        raise failures[0]


class Wake:
    """Wakes one waiting task. Waking twice before it looks is waking once: nothing is queued."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


async def watch_silence(last_heard_s: Callable[[], float], timeout_s: float, enough: Wake) -> bool:
    """Return True when nothing was heard for `timeout_s`, False when woken before.

    Costs the heard side a clock reading, not a timer.
    """
    while (deadline := last_heard_s() + timeout_s) > trio.current_time():
        with trio.move_on_at(deadline):
            await enough.wait()
            return False
    return True
