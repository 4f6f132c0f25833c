"""Transactions that callers share: the number of syncs is bound by the disk's speed, not by the number of callers."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import attrs
import trio

from rtmsd.errors import StorageError
from rtmsd.state.file.database import Database, Work

T = TypeVar("T")

MAX_WAITING: Final = 10_000  # commands waiting for a hung disk; more are refused


class RunSync(Protocol):
    """Runs a function that blocks, such as `trio.to_thread.run_sync`. Tests under a mock clock run it in place."""

    def __call__(self, sync_fn: Callable[[], Any], /) -> Awaitable[Any]: ...


@attrs.define(eq=False)
class _Job(Generic[T]):
    """Work within a transaction, and its outcome."""

    work: Callable[[sqlite3.Connection], T]
    needs_file: bool = False
    done: bool = False
    woken: trio.Event = attrs.field(factory=trio.Event)  # it is done, or has to run the next transaction
    result: T | None = None
    error: Exception | None = None

    def end(self, *, result: T | None = None, error: Exception | None = None) -> None:
        self.done, self.result, self.error = True, result, error
        self.woken.set()


class Transactions:
    """The way to the file. Callers that come while a transaction is being synced share the next one.

    The first of them runs it.

    Attributes:
        refused: why the latest transaction failed; None: it did not.
    """

    def __init__(self, database: Database, run_sync: RunSync) -> None:
        self.refused: str | None = None
        self._database = database
        self._run_sync = run_sync
        self._is_open = True
        self._turn = trio.Lock()
        self._waiting: list[_Job[Any]] = []

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Do something to the file between two transactions."""
        async with self._turn:
            return cast("T", await self._run_sync(work))

    async def aclose(self) -> None:
        """Wait for the running transaction, then close the file and release the lock."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                was_open, self._is_open = self._is_open, False
                if was_open:
                    await self._run_sync(self._database.close)

    async def commit(self, work: Callable[[sqlite3.Connection], T], *, needs_file: bool = False) -> T:
        """Do work within a transaction, and return its result when it is synced.

        Args:
            needs_file: refuse it while the file is not where the next start will look for it.

        Raises:
            StorageError: the disk refuses, or hangs with `MAX_WAITING` others waiting for it.
        """
        if not self._is_open:
            raise StorageError("the state file is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise StorageError("the disk of the state file hangs: too many events wait for it")
        job = _Job(work, needs_file)
        self._waiting.append(job)
        try:
            if self._waiting[0] is not job:
                await job.woken.wait()
            if not job.done:
                await self._take_turn()
                try:
                    await self._run_batch()
                finally:
                    self._turn.release()
        finally:
            if not job.done and job in self._waiting:  # cancelled before its turn
                self._waiting.remove(job)
                if self._waiting:
                    self._waiting[0].woken.set()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def _take_turn(self) -> None:
        """Wait for the turn only where another has it: with every pass of a busy loop the answer is later."""
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()

    async def _run_batch(self) -> None:
        batch, self._waiting = self._waiting, []
        with trio.CancelScope(shield=True):  # others wait for this; a thread could not be cancelled anyway
            await self._run(batch)

    async def _run(self, batch: Sequence[_Job[Any]]) -> None:
        works = [Work(job.work, job.needs_file) for job in batch]
        try:
            results = await self._run_sync(partial(self._database.run, works))
        except Exception as exc:
            if len(batch) > 1 and not isinstance(exc, StorageError):  # a bug of one of them
                for job in batch:
                    await self._run([job])
                return
            self.refused = str(exc)
            for job in batch:
                job.end(error=exc)
        else:
            self.refused = None
            for job, result in zip(batch, results, strict=True):
                if isinstance(result, StorageError):
                    job.end(error=result)
                else:
                    job.end(result=result)
