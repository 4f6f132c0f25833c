"""A thread for work that blocks, kept for as long as its owner lives.

`trio.to_thread.run_sync` looks for a thread, names it, and copies a context at each call, which doubles the CPU time of
the way there and back.
"""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

import outcome
import trio

T = TypeVar("T")


class WorkerThread:
    """One thread, started with the first call. It keeps no process alive: a dead disk may never let it go."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run_sync(self, sync_fn: Callable[[], T]) -> T:
        """Return the result of a function called in the thread; the wait for it cannot be cancelled.

        Raises:
            RuntimeError: no thread can be had.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._thread is None:
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            thread.start()
            self._thread = thread
        token, task = trio.lowlevel.current_trio_token(), trio.lowlevel.current_task()

        def call() -> None:
            result = outcome.capture(sync_fn)
            token.run_sync_soon(trio.lowlevel.reschedule, task, result)

        self._calls.put(call)
        result: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
        return result

    def close(self) -> None:
        """End the thread after the calls that it has; the next call would start another."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread = None

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # or it would keep what it was called with until the next
