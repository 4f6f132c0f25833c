"""The journal of accepted events: each is on disk before its webhook is answered.

Zoom's own retries come long after a stream's reconnection window, so this file is an event's only second chance. It
also makes repeated deliveries harmless across restarts: it keeps the keys of accepted events, and tombstones of ended
streams.
"""

import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import attrs
import structlog
import trio

from rtmsd.commands import StartStream, StreamCommand, Verdict
from rtmsd.errors import RtmsdError, StorageError
from rtmsd.protocol.enums import StopReason
from rtmsd.state import ledger, lost
from rtmsd.state.database import Database, Work
from rtmsd.state.ledger import StreamRow
from rtmsd.state.lost import LostStream
from rtmsd.system.worker_thread import WorkerThread

log = structlog.get_logger(__name__)

T = TypeVar("T")

KEEP_MS: Final = 90 * 60 * 1000  # Zoom's last retry comes 85 minutes after the first delivery
MAX_WAITING: Final = 10_000  # commands waiting for a hung disk; more are refused
PRUNE_EVERY_S: Final = 600.0
LOOK_EVERY_S: Final = 1.0  # whether the file is still at its path
WRITE_ANEW_AFTER_S: Final = 10.0  # it may be put back


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


class Journal:
    """The state file. Open it with `Journal.open`; close it, or end the process, to release its lock.

    Callers that come while a transaction is being synced share the next one, which the first of them runs: the number
    of syncs is bound by the disk's speed, not by the number of webhooks. Methods that read or write raise StorageError
    when the disk refuses, or hangs with `MAX_WAITING` others waiting for it.

    Attributes:
        database: the file.
    """

    def __init__(
        self,
        database: Database,
        run_sync: RunSync,
        clock_ms: Callable[[], int],
        close_thread: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self._lost: str | None = None
        self._refused: str | None = None
        self._is_open = True
        self._run_sync = run_sync
        self._close_thread = close_thread
        self._clock_ms = clock_ms
        self._turn = trio.Lock()
        self._waiting: list[_Job[Any]] = []

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        run_sync: RunSync | None = None,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> "Journal":
        """Open and lock the state file; make it, with its directory, when it is missing. A damaged one is set aside.

        Args:
            run_sync: by default a thread of its own, which no other work can keep busy.
            clock_ms: local time in milliseconds since the Unix epoch.

        Raises:
            AlreadyRunningError: another daemon holds it.
            StorageError: it cannot be read or written, or was written by a newer rtmsd.
        """
        thread = WorkerThread("state file")
        run_sync = run_sync or thread.run_sync
        try:
            database = await run_sync(partial(Database.open, path))
        except BaseException:
            thread.close()
            raise
        journal = cls(database, run_sync, clock_ms, thread.close)
        await journal.adopt(journal.database.salvaged)
        return journal

    @property
    def trouble(self) -> str | None:
        """Why starts cannot be made safe now; None: they can, as far as is known."""
        return self._lost or self._refused

    async def record(self, command: StreamCommand, other_apps: Set[str] = frozenset()) -> Verdict:
        """Return when the command is synced to disk, and whether it was new.

        Args:
            other_apps: than the command's, whose streams it must not touch.
        """
        record = partial(ledger.record, command=command, received_ms=self._clock_ms(), other_apps=other_apps)
        return await self._commit(record, needs_file=isinstance(command, StartStream))

    async def revoke(self, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
        """Mark a stream as to be deleted; no change where a stop webhook did so.

        Args:
            stopped_ms: Zoom's time.
            event_ts: of the latest start that is revoked.
        """
        await self._commit(
            partial(ledger.revoke, rtms_stream_id=rtms_stream_id, stopped_ms=stopped_ms, event_ts=event_ts)
        )

    async def close_stream(
        self,
        rtms_stream_id: str,
        *,
        reason: int,
        ended_ms: int,
        event_ts: int | None = None,
        on_closed: Callable[[sqlite3.Connection], None] = lambda db: None,
    ) -> None:
        """Mark a stream's files as finished. Reason and time of a stop webhook stay.

        Args:
            ended_ms: Zoom's time.
            event_ts: of the start that is finished; when a newer one was recorded meanwhile, the stream lives on.
            on_closed: done in the same transaction, unless the stream lives on and was not revoked.
        """
        close = partial(
            ledger.close_stream,
            rtms_stream_id=rtms_stream_id,
            reason=reason,
            ended_ms=ended_ms,
            event_ts=event_ts,
            closed_ms=self._clock_ms(),
        )

        def close_and_more(db: sqlite3.Connection) -> None:
            if close(db) or reason == StopReason.STREAM_REVOKED:
                on_closed(db)

        await self._commit(close_and_more)
        if reason == StopReason.STREAM_REVOKED:
            await self.expunge(rtms_stream_id)

    async def expunge(self, rtms_stream_id: str) -> None:
        """See `Database.expunge`. A failure is logged; what is left is overwritten with the next pages."""
        try:
            removed = await self._in_turn(partial(self.database.expunge, rtms_stream_id))
        except (OSError, sqlite3.Error) as exc:
            log.warning("state file still contains a revoked stream", rtms_stream_id=rtms_stream_id, error=str(exc))
        else:
            for path in removed:
                log.warning("state file removed: it contained a revoked stream", path=str(path))

    async def unfinished(self) -> list[StreamRow]:
        """Return the streams to resume or to finish after a start, oldest first."""
        return await self._commit(ledger.unfinished)

    async def adopt(self, rows: Iterable[StreamRow]) -> None:
        """Add streams that the file does not know, as it was lost."""
        await self._commit(partial(ledger.adopt, rows=list(rows), closed_ms=self._clock_ms()))

    async def lost_streams(self) -> list[LostStream]:
        """Return the streams that were refused, given up, cut off or failed, oldest first."""
        return await self._commit(lost.read)

    async def keep_lost_streams(self, streams: list[LostStream]) -> None:
        """Replace the lost streams by these."""
        await self._commit(partial(lost.replace, streams=streams))

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something to other tables, in a transaction that others may share."""
        return await self._commit(work)

    async def prune(self, now_ms: int | None = None) -> None:
        """Forget deliveries and tombstones older than 90 minutes of local time."""
        await self._commit(partial(ledger.prune, before_ms=(now_ms or self._clock_ms()) - KEEP_MS))

    async def prune_regularly(self) -> None:
        """Prune regularly, until cancelled. When the disk refuses, the file only grows."""
        while True:
            await trio.sleep(PRUNE_EVERY_S)
            try:
                await self.prune()
            except StorageError as exc:
                log.warning("state file could not be pruned", error=str(exc))

    async def look_after_file(self) -> None:
        """Watch whether the file is taken away, until cancelled, and write it anew after a while.

        Until then no start is accepted: the next process would not know of it.
        """
        lost_s: float | None = None
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if self._refused is not None:
                with contextlib.suppress(StorageError):
                    await self._commit(ledger.probe)  # has the disk recovered? No caller may come to find out
            loss = await self._in_turn(self.database.loss)
            if loss is None:
                if lost_s is not None:
                    log.info("state file is back", path=str(self.database.path))
                    lost_s = self._lost = None
                continue
            if lost_s is None:
                lost_s = trio.current_time()
                log.error("state file is lost; new streams are refused", why=loss)
            self._lost = f"{loss}; new streams are refused until it is written anew"
            if trio.current_time() - lost_s >= WRITE_ANEW_AFTER_S:
                try:
                    await self._in_turn(self.database.write_anew)
                except RtmsdError as exc:
                    self._lost = str(exc)
                else:
                    log.warning("state file was written anew", path=str(self.database.path), why=loss)
                    lost_s = self._lost = None

    async def _in_turn(self, work: Callable[[], T]) -> T:
        async with self._turn:
            return cast("T", await self._run_sync(work))

    async def aclose(self) -> None:
        """Wait for the running transaction, then close the file and release the lock."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                was_open, self._is_open = self._is_open, False
                if was_open:
                    await self._run_sync(self.database.close)
                    self._close_thread()

    async def _commit(self, work: Callable[[sqlite3.Connection], T], *, needs_file: bool = False) -> T:
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
                async with self._turn:
                    await self._run_batch()
        finally:
            if not job.done and job in self._waiting:  # cancelled before its turn
                self._waiting.remove(job)
                if self._waiting:
                    self._waiting[0].woken.set()
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def _run_batch(self) -> None:
        batch, self._waiting = self._waiting, []
        with trio.CancelScope(shield=True):  # others wait for this; a thread could not be cancelled anyway
            await self._run(batch)

    async def _run(self, batch: Sequence[_Job[Any]]) -> None:
        works = [Work(job.work, job.needs_file) for job in batch]
        try:
            results = await self._run_sync(partial(self.database.run, works))
        except Exception as exc:
            if len(batch) > 1 and not isinstance(exc, StorageError):  # a bug of one of them
                for job in batch:
                    await self._run([job])
                return
            self._refused = str(exc)
            for job in batch:
                job.end(error=exc)
        else:
            self._refused = None
            for job, result in zip(batch, results, strict=True):
                if isinstance(result, StorageError):
                    job.end(error=result)
                else:
                    job.end(result=result)
