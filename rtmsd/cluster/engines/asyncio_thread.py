"""An asyncio loop in a thread of its own, whose calls Trio can await and cancel."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, NoReturn, TypeVar

import outcome
import trio

from rtmsd.cluster.engine import Away

CLOSED: Final = "the connection is closed"
CLOSE_S: Final = 10  # tasks that refuse to be cancelled for so long are left behind with their thread
_CANCEL_AGAIN_S: Final = 0.05

T = TypeVar("T")


@asynccontextmanager
async def open_thread(name: str) -> AsyncIterator["AsyncioThread"]:
    """Run a loop for as long as the block lasts. At its end, tasks that still run are cancelled."""
    token = trio.lowlevel.current_trio_token()
    ready, done = trio.Event(), trio.Event()
    loop = asyncio.new_event_loop()
    thread = AsyncioThread(loop, token)

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.call_soon(token.run_sync_soon, ready.set)
            loop.run_forever()
            _cancel_all(loop)
        finally:
            # Not `asyncio.run`: it would wait minutes for a name server that does not answer the executor's thread.
            asyncio.set_event_loop(None)
            loop.close()
            token.run_sync_soon(done.set)

    threading.Thread(target=run, name=name, daemon=True).start()
    try:
        with trio.CancelScope(shield=True):  # the thread is there, or about to be
            await ready.wait()
        yield thread
    finally:
        thread.is_open = False
        loop.call_soon_threadsafe(loop.stop)
        with trio.move_on_after(CLOSE_S, shield=True):
            await done.wait()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=CLOSE_S / 2))
    loop.run_until_complete(asyncio.sleep(0))  # callbacks of what just ended


class AsyncioThread:
    """The face of the thread that Trio sees. Its methods are for Trio's thread.

    Attributes:
        token: with it the loop calls Trio.
        is_open: whether calls are still carried out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken) -> None:
        self._loop = loop
        self.token = token
        self.is_open = True
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself refers to them weakly

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have a plain function called in the loop, soon; in the order of the posts."""
        self._loop.call_soon_threadsafe(function, *args)

    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Begin a task in the loop that runs until it is closed."""
        self._loop.call_soon_threadsafe(self._start, function, args)

    def _start(self, function: Callable[..., Coroutine[Any, Any, None]], args: tuple[object, ...]) -> None:
        task = self._loop.create_task(function(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: object) -> T:
        """Await a coroutine in the loop.

        A cancellation reaches it, and this returns only when it has ended, so that nothing of it is left behind.

        Raises:
            Away: the thread ends.
            Exception: whatever the coroutine raised.
        """
        if not self.is_open:
            raise Away(CLOSED)
        job = _Job[T](self._loop, self.token, trio.lowlevel.current_task())
        self._loop.call_soon_threadsafe(job.start, function, args)
        result: T = await trio.lowlevel.wait_task_rescheduled(job.abort)
        return result


class _Job(Generic[T]):
    """One call: a task there, and a waiting one here."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken, waiter: trio.lowlevel.Task
    ) -> None:
        self._loop = loop
        self._token = token
        self._waiter = waiter
        self._task: asyncio.Task[T] | None = None
        self._raise_cancel: Callable[[], NoReturn] | None = None

    def start(self, function: Callable[..., Coroutine[Any, Any, T]], args: tuple[object, ...]) -> None:
        """Begin, in asyncio's thread."""
        self._task = self._loop.create_task(function(*args))
        self._task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[T]) -> None:
        result = None if task.cancelled() else outcome.capture(task.result)
        self._token.run_sync_soon(self._finish, result)

    def _finish(self, result: outcome.Outcome[T] | None) -> None:
        if result is not None:
            trio.lowlevel.reschedule(self._waiter, result)
        elif self._raise_cancel is not None:
            trio.lowlevel.reschedule(self._waiter, outcome.capture(self._raise_cancel))
        else:
            trio.lowlevel.reschedule(self._waiter, outcome.Error(Away(CLOSED)))

    def abort(self, raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        """Cancel, in Trio's thread. The waiter goes on when the task has ended."""
        self._raise_cancel = raise_cancel
        self._loop.call_soon_threadsafe(self._cancel)
        return trio.lowlevel.Abort.FAILED

    def _cancel(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            # nats-py swallows a cancellation that comes while it flushes.
            self._loop.call_later(_CANCEL_AGAIN_S, self._cancel)
