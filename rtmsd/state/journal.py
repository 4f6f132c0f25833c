"""The journal of accepted events: each is on disk before its webhook is answered.

Zoom's own retries come long after a stream's reconnection window, so this file is an event's only second chance. It
also makes repeated deliveries harmless across restarts: it keeps the keys of accepted events, and tombstones of ended
streams.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
import trio

from rtmsd.commands import StartStream, StreamCommand, Verdict
from rtmsd.errors import RtmsdError, StorageError
from rtmsd.protocol.enums import StopReason
from rtmsd.state import deletions, ledger, lost
from rtmsd.state.file.database import Database, Role, probe
from rtmsd.state.file.set_aside import remove_containing
from rtmsd.state.file.transactions import RunSync, Transactions
from rtmsd.state.lost import Changes, LostStream
from rtmsd.state.rows import Known, StreamRow
from rtmsd.state.salvage import salvage
from rtmsd.system.worker_thread import WorkerThread

log = structlog.get_logger(__name__)

T = TypeVar("T")

KEEP_MS: Final = 90 * 60 * 1000  # Zoom's last retry comes 85 minutes after the first delivery
PRUNE_EVERY_S: Final = 600.0
LOOK_EVERY_S: Final = 1.0  # whether the file is still at its path
WRITE_ANEW_AFTER_S: Final = 10.0  # it may be put back

_TRUNCATE_TRIES: Final = 20
_TRUNCATE_AGAIN_S: Final = 0.1


class Journal(Protocol):
    """What streams, sinks and the daemon's status need of a journal.

    Methods that read or write raise StorageError when the disk refuses, or hangs with too many waiting for it.
    """

    @property
    def path(self) -> Path:
        """The state file."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes write to the file, too."""

    @property
    def set_aside(self) -> Path | None:
        """Where a damaged file was moved at the start; None: it was sound."""

    @property
    def salvaged(self) -> int:
        """The number of streams that could be read from that one."""

    @property
    def trouble(self) -> str | None:
        """Why starts cannot be made safe now; None: they can, as far as is known."""

    async def record(self, command: StreamCommand, other_apps: Set[str] = frozenset()) -> Verdict:
        """Return when the command is synced to disk, and whether it was new.

        Args:
            other_apps: than the command's, whose streams it must not touch.
        """

    async def revoke(self, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
        """Mark a stream as to be deleted; no change where a stop webhook did so.

        Args:
            stopped_ms: Zoom's time.
            event_ts: of the latest start that is revoked.
        """

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

    async def expunge(self, rtms_stream_id: str) -> None:
        """Overwrite what is left of a deleted stream. A failure is logged: the next pages overwrite it."""

    async def unfinished(self) -> list[StreamRow]:
        """Return the streams to resume or to finish after a start, oldest first."""

    async def known(self, rtms_stream_id: str) -> Known:
        """Return what is known of a stream."""

    async def lost_streams(self) -> list[LostStream]:
        """Return the streams that were refused, given up, cut off or failed, oldest first."""

    async def change_lost_streams(self, changes: Changes) -> None:
        """Write what became of these, and leave all others as they are."""

    async def transact(self, work: Callable[[sqlite3.Connection], T], *, needs_file: bool = False) -> T:
        """Do something to other tables, in a transaction that others may share.

        Args:
            needs_file: refuse it while the file is not where the next start will look for it.
        """


def _local_ms() -> int:
    """Return local time in milliseconds since the Unix epoch."""
    return time.time_ns() // 1_000_000


class LocalJournal:
    """The state file. Open it with `open`, or `join`; close it, or end the process, to release its lock.

    Implements `Journal`.

    Attributes:
        database: the file.
        salvaged: the number of streams that could be read from a damaged one.
    """

    def __init__(
        self,
        database: Database,
        run_sync: RunSync,
        clock_ms: Callable[[], int],
        close_thread: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self.salvaged = 0
        self._transactions = Transactions(database, run_sync)
        self._lost: str | None = None
        self._close_thread = close_thread
        self._clock_ms = clock_ms

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        is_shared: bool = False,
        run_sync: RunSync | None = None,
        clock_ms: Callable[[], int] = _local_ms,
    ) -> "LocalJournal":
        """Open and lock the state file; make it, with its directory, when it is missing. A damaged one is set aside.

        Args:
            is_shared: with worker processes, which `join`.
            run_sync: by default a thread of its own, which no other work can keep busy.
            clock_ms: local time in milliseconds since the Unix epoch.

        Raises:
            AlreadyRunningError: another daemon holds it.
            StorageError: it cannot be read or written, or was written by a newer rtmsd.
        """
        role = Role.PARENT if is_shared else Role.SOLE
        journal = await cls._open(partial(Database.open, path, role), run_sync, clock_ms)
        try:
            if is_shared:
                await journal.transact(deletions.forget_all)
            if journal.set_aside is not None:
                rows = await journal._transactions.in_turn(partial(salvage, journal.set_aside))
                journal.salvaged = len(rows)
                await journal.adopt(rows)
        except BaseException:
            await journal.aclose()
            raise
        return journal

    @classmethod
    async def join(
        cls,
        path: Path,
        lock_descriptors: Sequence[int],
        *,
        run_sync: RunSync | None = None,
        clock_ms: Callable[[], int] = _local_ms,
    ) -> "LocalJournal":
        """Use, as a worker, the state file that the parent has open.

        Args:
            lock_descriptors: those of the parent, inherited from it.

        Raises:
            StorageError: it cannot be read or written, or was taken away: the parent will write it anew.
        """
        return await cls._open(partial(Database.join, path, lock_descriptors), run_sync, clock_ms)

    @classmethod
    async def _open(
        cls, open_database: Callable[[], Database], run_sync: RunSync | None, clock_ms: Callable[[], int]
    ) -> "LocalJournal":
        thread = WorkerThread("state file")
        run_sync = run_sync or thread.run_sync
        try:
            database = await run_sync(open_database)
        except BaseException:
            thread.close()
            raise
        return cls(database, run_sync, clock_ms, thread.close)

    @property
    def lock_descriptors(self) -> Sequence[int]:
        """What a worker has to inherit, for `join`: ask for them at each start of one."""
        return self.database.lock_descriptors

    @property
    def is_shared(self) -> bool:
        return self.database.role is not Role.SOLE

    @property
    def path(self) -> Path:
        return self.database.path

    @property
    def set_aside(self) -> Path | None:
        return self.database.set_aside

    @property
    def trouble(self) -> str | None:
        return self._lost or self._transactions.refused

    async def record(self, command: StreamCommand, other_apps: Set[str] = frozenset()) -> Verdict:
        record = partial(ledger.record, command=command, received_ms=self._clock_ms(), other_apps=other_apps)
        return await self._transactions.commit(record, needs_file=isinstance(command, StartStream))

    async def revoke(self, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
        await self._transactions.commit(
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

        await self._transactions.commit(close_and_more)
        if reason == StopReason.STREAM_REVOKED:
            await self.expunge(rtms_stream_id)

    async def expunge(self, rtms_stream_id: str) -> None:
        remove = partial(remove_containing, self.path, rtms_stream_id)
        try:
            for path in await self._transactions.in_turn(remove):
                log.warning("state file removed: it contained a revoked stream", path=str(path))
            await self._truncate_log()
        except (OSError, sqlite3.Error, StorageError) as exc:
            log.warning("state file still contains a revoked stream", rtms_stream_id=rtms_stream_id, error=str(exc))

    async def _truncate_log(self) -> None:
        """Overwrite what was deleted, as soon as no other process reads it.

        Raises:
            sqlite3.Error, StorageError: it may still be there.
        """
        for _ in range(_TRUNCATE_TRIES):
            if await self._transactions.in_turn(self.database.truncate_log):
                return
            await trio.sleep(_TRUNCATE_AGAIN_S)
        raise StorageError("another process is reading it")

    async def unfinished(self) -> list[StreamRow]:
        return await self._transactions.commit(ledger.unfinished)

    async def known(self, rtms_stream_id: str) -> Known:
        return await self._transactions.commit(partial(ledger.known, rtms_stream_id=rtms_stream_id))

    async def adopt(self, rows: Iterable[StreamRow]) -> None:
        """Add streams that the file does not know, as it was lost."""
        await self._transactions.commit(partial(ledger.adopt, rows=list(rows), closed_ms=self._clock_ms()))

    async def lost_streams(self) -> list[LostStream]:
        return await self._transactions.commit(lost.read)

    async def change_lost_streams(self, changes: Changes) -> None:
        await self._transactions.commit(partial(lost.change, changes=changes))

    async def transact(self, work: Callable[[sqlite3.Connection], T], *, needs_file: bool = False) -> T:
        return await self._transactions.commit(work, needs_file=needs_file)

    async def prune(self, now_ms: int | None = None) -> None:
        """Forget deliveries and tombstones older than 90 minutes of local time."""
        await self._transactions.commit(partial(ledger.prune, before_ms=(now_ms or self._clock_ms()) - KEEP_MS))

    async def prune_regularly(self) -> None:
        """Prune regularly, until cancelled. When the disk refuses, the file only grows."""
        while True:
            await trio.sleep(PRUNE_EVERY_S)
            try:
                await self.prune()
            except StorageError as exc:
                log.warning("state file could not be pruned", error=str(exc))

    async def look_after_file(self) -> None:
        """Watch whether the file is taken away, until cancelled, and write it anew after a while; a worker leaves that
        to its parent.

        Until then no start is accepted: the next process would not know of it.
        """
        lost_s: float | None = None
        while True:
            await trio.sleep(LOOK_EVERY_S)
            if self._transactions.refused is not None:
                with contextlib.suppress(StorageError):  # has the disk recovered? No caller may come to find out
                    await self._transactions.commit(probe)
            loss = await self._transactions.in_turn(self.database.loss)
            if loss is None:
                if lost_s is not None:
                    log.info("state file is back", path=str(self.database.path))
                    lost_s = self._lost = None
                continue
            if lost_s is None:
                lost_s = trio.current_time()
                log.error("state file is lost; new streams are refused", why=loss)
            self._lost = f"{loss}; new streams are refused until it is written anew"
            is_time = trio.current_time() - lost_s >= WRITE_ANEW_AFTER_S
            if is_time and self.database.role is not Role.WORKER:
                try:
                    await self._transactions.in_turn(self.database.write_anew)
                except RtmsdError as exc:
                    self._lost = str(exc)
                else:
                    log.warning("state file was written anew", path=str(self.database.path), why=loss)
                    lost_s = self._lost = None

    async def aclose(self) -> None:
        """Wait for the running transaction, then close the file and release the lock."""
        await self._transactions.aclose()
        self._close_thread()
