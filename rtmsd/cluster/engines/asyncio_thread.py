"""An asyncio loop in a thread of its own, for a library that knows no other.

Nothing of asyncio is awaited from Trio: what one thread has for the other, it posts.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
import trio

log = structlog.stdlib.get_logger()

CLOSE_S: Final = 10  # tasks that refuse to be cancelled for so long are left behind with their thread


@asynccontextmanager
async def open_thread(name: str) -> AsyncIterator["AsyncioThread"]:
    """Run a loop for as long as the block lasts. At its end, tasks that still run are cancelled."""
    token = trio.lowlevel.current_trio_token()
    ready, done = trio.Event(), trio.Event()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_report)
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
        thread.post(loop.stop)
        thread.is_open = False
        with trio.move_on_after(CLOSE_S, shield=True):
            await done.wait()


def _report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a task of a library has failed with, and nobody has awaited: one line, as nothing depends on it."""
    log.warning("asyncio task failed", reason=context.get("message"), error=repr(context.get("exception")))


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
        token: with it the loop calls Trio: `token.run_sync_soon`.
        is_open: whether what is posted is still carried out.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, token: trio.lowlevel.TrioToken) -> None:
        self._loop = loop
        self.token = token
        self.is_open = True
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself refers to them weakly

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have a plain function called in the loop, soon; in the order of the posts."""
        if self.is_open:
            self._loop.call_soon_threadsafe(function, *args)

    def start(self, function: Callable[..., Coroutine[Any, Any, None]], *args: object) -> None:
        """Begin a task in the loop that runs until it ends, or the thread does."""
        self.post(self._start, function, args)

    def _start(self, function: Callable[..., Coroutine[Any, Any, None]], args: tuple[object, ...]) -> None:
        task = self._loop.create_task(function(*args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
