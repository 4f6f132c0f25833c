"""The journal: what Zoom told us, on disk before Zoom hears that we know.

Zoom's own retries come long after a stream's reconnection window, so this file is the only second chance that an
event has. It also keeps what makes repeated deliveries harmless across restarts: the keys of accepted events, and
tombstones of ended streams.
"""

import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Set
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import attrs
import structlog
import trio

from rtmsd.commands import StreamCommand, Verdict
from rtmsd.errors import StorageError
from rtmsd.state import ledger, lost
from rtmsd.state.ledger import StreamRow
from rtmsd.state.lock import LockFile
from rtmsd.state.lost import LostStream
from rtmsd.state.schema import migrate, transaction

log = structlog.get_logger(__name__)

T = TypeVar("T")

KEEP_MS: Final = 90 * 60 * 1000  # Zoom's last retry comes 85 minutes after the first delivery
MAX_WAITING: Final = 10_000  # commands waiting for a disk that hangs; more are refused
PRUNE_EVERY_S: Final = 600.0
BUSY_TIMEOUT_S: Final = 5.0  # of a person who looks into the file with sqlite3


class RunSync(Protocol):
    """Runs a function that blocks, such as `trio.to_thread.run_sync`. Tests under a mock clock run it in place."""

    def __call__(self, sync_fn: Callable[[], Any], /) -> Awaitable[Any]: ...


@attrs.define(eq=False)
class _Job(Generic[T]):
    """Something to do within a transaction, and how it ended."""

    work: Callable[[sqlite3.Connection], T]
    done: bool = False
    result: T | None = None
    error: Exception | None = None

    def end(self, *, result: T | None = None, error: Exception | None = None) -> None:
        self.done, self.result, self.error = True, result, error


class Journal:
    """The state file. Open it with `Journal.open`; close it, or end the process, to let go of its lock.

    Callers that come while a transaction is being synced share the next one, so the number of syncs is bound by the
    disk's speed, not by the number of webhooks.
    """

    def __init__(self, db: sqlite3.Connection, lock: LockFile, run_sync: RunSync, clock_ms: Callable[[], int]) -> None:
        self._db: sqlite3.Connection | None = db
        self._lock = lock
        self._run_sync = run_sync
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
        """Open the state file and lock it; make it, with its directory, when it is missing.

        Args:
            run_sync: by default Trio's threads, one at a time, out of reach of those who use them up for other things.
            clock_ms: local time in milliseconds since the Unix epoch.

        Raises:
            AlreadyRunningError: another daemon holds it.
            StorageError: it cannot be read or written, is no state file, or was written by a newer rtmsd.
        """
        run_sync = run_sync or partial(trio.to_thread.run_sync, limiter=trio.CapacityLimiter(1))
        db, lock = await run_sync(partial(_open, path))
        return cls(db, lock, run_sync, clock_ms)

    async def record(self, command: StreamCommand, other_apps: Set[str] = frozenset()) -> Verdict:
        """Return when the command is synced to disk, and whether it was new.

        Args:
            other_apps: than the command's, whose streams it must not touch.

        Raises:
            StorageError: the disk refused, or hangs with `MAX_WAITING` commands waiting for it.
        """
        record = partial(ledger.record, command=command, received_ms=self._clock_ms(), other_apps=other_apps)
        return await self._commit(record)

    async def revoke(self, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
        """Say that a stream is to be deleted; nothing new where a stop webhook said so.

        Args:
            stopped_ms: Zoom's time.
            event_ts: of the latest start that this is about.

        Raises:
            StorageError: as for `record`.
        """
        await self._commit(
            partial(ledger.revoke, rtms_stream_id=rtms_stream_id, stopped_ms=stopped_ms, event_ts=event_ts)
        )

    async def close_stream(
        self, rtms_stream_id: str, *, reason: int, ended_ms: int, event_ts: int | None = None
    ) -> None:
        """Say that a stream's files are finished. What a stop webhook said of reason and time stays.

        Args:
            ended_ms: Zoom's time.
            event_ts: of the start that is finished; when a newer one was recorded meanwhile, the stream lives on.

        Raises:
            StorageError: as for `record`.
        """
        await self._commit(
            partial(
                ledger.close_stream,
                rtms_stream_id=rtms_stream_id,
                reason=reason,
                ended_ms=ended_ms,
                event_ts=event_ts,
                closed_ms=self._clock_ms(),
            )
        )

    async def unfinished(self) -> list[StreamRow]:
        """Return the streams to resume or to finish after a start, oldest first.

        Raises:
            StorageError: as for `record`.
        """
        return await self._commit(ledger.unfinished)

    async def lost_streams(self) -> list[LostStream]:
        """Return the streams that were refused, given up, cut off or failed, oldest first.

        Raises:
            StorageError: as for `record`.
        """
        return await self._commit(lost.read)

    async def keep_lost_streams(self, streams: list[LostStream]) -> None:
        """Keep these in place of those that were kept.

        Raises:
            StorageError: as for `record`.
        """
        await self._commit(partial(lost.replace, streams=streams))

    async def prune(self, now_ms: int | None = None) -> None:
        """Forget deliveries and tombstones older than 90 minutes of local time.

        Raises:
            StorageError: as for `record`.
        """
        await self._commit(partial(ledger.prune, before_ms=(now_ms or self._clock_ms()) - KEEP_MS))

    async def prune_regularly(self) -> None:
        """Prune from time to time, until cancelled. A disk that refuses costs nothing but its space."""
        while True:
            await trio.sleep(PRUNE_EVERY_S)
            try:
                await self.prune()
            except StorageError as exc:
                log.warning("the state file could not be pruned", error=str(exc))

    async def aclose(self) -> None:
        """Let the transaction that runs end, then close the file and let go of the lock."""
        with trio.CancelScope(shield=True):
            async with self._turn:
                db, self._db = self._db, None
                if db is not None:
                    await self._run_sync(partial(_close, db, self._lock))

    async def _commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if len(self._waiting) >= MAX_WAITING:
            raise StorageError("the state file hangs: too many events wait for it")
        job = _Job(work)
        self._waiting.append(job)
        try:
            async with self._turn:
                if not job.done:
                    await self._run_batch()
        finally:
            if not job.done and job in self._waiting:  # cancelled before its turn
                self._waiting.remove(job)
        if job.error is not None:
            raise job.error
        return cast("T", job.result)

    async def _run_batch(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            with trio.CancelScope(shield=True):  # others wait for this; a thread could not be cancelled anyway
                results = await self._run_sync(partial(_run, self._db, [job.work for job in batch]))
        except Exception as exc:
            for job in batch:
                job.end(error=exc)
        else:
            for job, result in zip(batch, results, strict=True):
                job.end(result=result)


def _open(path: Path) -> tuple[sqlite3.Connection, LockFile]:
    lock = LockFile.acquire(path.with_name(f"{path.name}.lock"), f"state.file: {path}", itself=path)
    with contextlib.ExitStack() as undo:
        undo.callback(lock.release)
        try:
            path.touch(mode=0o640)  # SQLite's other files take after it
            try:
                db = _connect(path, locking="NORMAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}:
                    raise
                db = _connect(path, locking="EXCLUSIVE")  # needs no room on a full disk, but lets nobody else look in
        except (OSError, sqlite3.Error, StorageError) as exc:
            raise StorageError(f"state.file: {path}: {exc}") from exc
        undo.pop_all()
    return db, lock


def _connect(path: Path, *, locking: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute(f"PRAGMA locking_mode = {locking}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        migrate(db)
    except BaseException:
        db.close()
        raise
    return db


def _run(db: sqlite3.Connection | None, works: list[Callable[[sqlite3.Connection], Any]]) -> list[Any]:
    if db is None:
        raise StorageError("the state file is closed")
    try:
        with transaction(db):
            return [work(db) for work in works]
    except sqlite3.Error as exc:
        raise StorageError(f"the state file: {exc}") from exc


def _close(db: sqlite3.Connection, lock: LockFile) -> None:
    db.close()
    lock.release()
