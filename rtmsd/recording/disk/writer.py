"""The writer of a directory: all that is dirty in it goes to disk in one call of a worker thread, again and again.

A disk that is slow, full or broken stops no stream: what cannot be written stays queued, within the bound, and is tried
again. Past its share of the bound `Backlog.full` makes a recorder drop, count and name the gap. A bug in one recorder
costs that one: it is flushed no more, and `broke` says so.
"""

import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
import trio

from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.flush import Job, Outcome, write_jobs
from rtmsd.recording.disk.latency import Arrivals
from rtmsd.recording.disk.retrying import DiskRetrier, RunSync, own_threads, plain
from rtmsd.recording.disk.shared_buffer import Buffer

log = structlog.get_logger()

_ALIVE_S: Final = 5.0

_FEWEST_COUNTS: Final = 20
_MOST_COUNTS: Final = 100
"""So many manifests that tell only new counts are written by one flush: fewer where it takes longer than the interval.
With 1000 streams all of them took seconds, in which no media came to the disk, and were due again by then.
"""

_Item = TypeVar("_Item")
_AT_ONCE_S: Final = 0.0005
_THREADS: Final = 2  # one for the flush, one for who looks meanwhile how full the disk is


class RecordingSettings(Protocol):
    """What is needed of `config.RecordingConfig`."""

    @property
    def directory(self) -> Path: ...
    @property
    def sync_interval_s(self) -> float: ...
    @property
    def buffer_bytes(self) -> int: ...


class Flushable(Protocol):
    """A recorder, as the writer sees it."""

    def collect(self, now_s: float) -> Job | None:
        """Return what is to be written, None for nothing. It counts as queued until `settled`."""

    def settled(self, job: Job, outcome: Outcome) -> None:
        """Take note of what is on disk."""

    def broke(self, bug: Exception) -> None:
        """Take note that this recorder is flushed no more: `collect`, `settled` or its job failed, not the disk."""


class Writer:
    """Flushes all recorders so often that nothing waits for longer than `sync_interval_s`, sooner when a manifest has
    to change at once.

    Attributes:
        directory: that all of it is in.
        buffer: what is queued, here and by other writers, its bound, and each stream's share.
        retrier: repeats all other work on the disk.
        arrivals: of what is queued, noted with each read of a socket.
        counts_left: so many more manifests that tell only new counts may be written by this flush.
        on_sync: called with the seconds of each flush.
        on_written: called with the seconds from arrival to disk, and for how many messages they hold.
    """

    def __init__(
        self,
        settings: RecordingSettings,
        *,
        directory: Path | None = None,
        buffer: Buffer | None = None,
        run_sync: RunSync | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.directory = settings.directory if directory is None else directory
        self.buffer = Buffer(settings.buffer_bytes) if buffer is None else buffer
        self.arrivals = Arrivals()
        self.on_sync: Callable[[float], None] = lambda seconds: None
        self.on_written: Callable[[float, int], None] = lambda seconds, messages: None
        self.disk = Disk() if disk is None else disk
        self.disk.root = self.directory
        self.run_sync = run_sync or own_threads(_THREADS)
        self.retrier = DiskRetrier(run_sync)
        self.counts_left = 0
        self._counts_at_once = _MOST_COUNTS
        self._refused: str | None = None  # why the last flush failed
        self._interval_s = settings.sync_interval_s
        self._flush_s = settings.sync_interval_s / 4  # what a flush takes, as seen lately
        self._being_written = Arrivals()
        self._unsynced_max_s = 0.0
        self._recorders: dict[Flushable, None] = {}  # who waits for its manifest longest comes first
        self._lock = trio.Lock()
        self._begun = 0  # flushes
        self._nudged = trio.Event()
        self._room = trio.Event()
        self._synced_s: float | None = None
        self._turn_s = -math.inf

    @property
    def pending_bytes(self) -> int:
        return self.buffer.pending_bytes

    @property
    def error(self) -> str | None:
        """Why something waits for the disk, in plain words; None when all that was tried last succeeded."""
        return self._refused or self.retrier.error

    @property
    def last_sync_age_s(self) -> float:
        """Seconds since all that was queued by then was on disk; 0 while nothing is queued."""
        if self._synced_s is None or (self._refused is None and not self.pending_bytes):
            return 0.0
        return trio.current_time() - self._synced_s

    @property
    def unsynced_s(self) -> float:
        """Age of the oldest message that is not on disk yet; 0 where there is none."""
        oldest_s = self._being_written.oldest_s
        if oldest_s is None:
            oldest_s = self.arrivals.oldest_s
        return 0.0 if oldest_s is None else trio.current_time() - oldest_s

    @property
    def unsynced_max_s(self) -> float:
        """The most that `unsynced_s` has been."""
        return max(self._unsynced_max_s, self.unsynced_s)

    @property
    def _period_s(self) -> float:
        """From the end of a flush to the next: what comes at the beginning of one waits for it, and the next.

        Where a flush takes long, the next one begins nearly at once: so late that the disk has a pause, and that what
        a stream changes when it begins comes together. A fifth is left for one that takes longer than those before.
        """
        return max(self._interval_s * 0.8 - 2 * self._flush_s, self._interval_s / 25)

    @property
    def _together_s(self) -> float:
        """So long who wants a flush waits for others who do: it looks at all recorders, and syncs many in one call."""
        return self._period_s / 5

    @property
    def is_alive(self) -> bool:
        """Whether `run` takes its turns, or waits for the disk: then a kill would lose what is queued."""
        return self._lock.locked() or trio.current_time() - self._turn_s < _ALIVE_S + self._period_s

    def add(self, recorder: Flushable) -> None:
        self._recorders[recorder] = None

    def remove(self, recorder: Flushable) -> None:
        self._recorders.pop(recorder, None)

    def holds(self, recorder: Flushable) -> bool:
        """Whether a recorder is flushed: it was added, and neither removed nor broken since."""
        return recorder in self._recorders

    def nudge(self) -> None:
        """Something structural changed: flush soon."""
        self._nudged.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush for ever. Cancel it only when all recorders are finished."""
        self._synced_s = trio.current_time()
        task_status.started()
        while True:
            self._turn_s = trio.current_time()
            with trio.move_on_after(self._period_s * 4 / 5):
                await self._nudged.wait()
            # A nudge is seldom alone: a stream that begins changes its manifest three times in ten milliseconds.
            await trio.sleep(self._together_s)
            await self.flush()

    async def flush(self) -> None:
        """Write what is queued now. A disk that fails is noted in `error`, not raised.

        Who comes while a flush is under way shares the next one: a hundred streams that end together need two.
        """
        begun = self._begun
        async with self._lock:
            if self._begun > begun:
                return
            self._begun += 1
            self._nudged = trio.Event()
            self.counts_left = self._counts_at_once
            now_s = trio.current_time()
            arrivals = self._being_written = self.arrivals.take()
            jobs = [
                (recorder, job)
                async for recorder in _by_and_by(tuple(self._recorders))
                if (job := self._collect(recorder, now_s)) is not None
            ]
            if jobs:
                started_s = time.perf_counter()
                outcomes = await self.run_sync(write_jobs, self.disk, [job for _, job in jobs])
                async for (recorder, job), outcome in _by_and_by(tuple(zip(jobs, outcomes, strict=True))):
                    self._settle(recorder, job, outcome)
                self._note(next((each.error for each in outcomes if isinstance(each.error, OSError)), None))
                self.on_sync(time.perf_counter() - started_s)
            written_s = trio.current_time()
            if jobs:  # what it takes to write nothing says nothing
                self._flush_s = max(written_s - now_s, 0.9 * self._flush_s)
                if written_s - now_s > self._interval_s:
                    self._counts_at_once = max(self._counts_at_once // 2, _FEWEST_COUNTS)
                else:
                    self._counts_at_once = min(self._counts_at_once + 10, _MOST_COUNTS)
            self._unsynced_max_s = self.unsynced_max_s
            self._being_written = Arrivals()
            if self._refused is None:
                self._synced_s = now_s
                for latency_s, messages in arrivals.latencies(written_s):
                    self.on_written(latency_s, messages)
            else:
                self.arrivals.put_back(arrivals)
            self.buffer.shrink()
            self._room.set()
            self._room = trio.Event()

    async def wait_room(self, backlog: Backlog) -> None:
        """Return when one stream has room for another read: at once, unless its share is used up."""
        while backlog.is_short:
            await self._room.wait()

    @contextlib.asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Wait for the flush that is under way, and hold off others."""
        async with self._lock:
            yield

    def _collect(self, recorder: Flushable, now_s: float) -> Job | None:
        try:
            return recorder.collect(now_s)
        except Exception as bug:
            self._broke(recorder, bug)
            return None

    def _settle(self, recorder: Flushable, job: Job, outcome: Outcome) -> None:
        try:
            recorder.settled(job, outcome)
        except Exception as bug:
            self._broke(recorder, bug)
        else:
            if outcome.error is not None and not isinstance(outcome.error, OSError):
                self._broke(recorder, outcome.error)
            elif job.manifest is not None and recorder in self._recorders:
                self._recorders[recorder] = self._recorders.pop(recorder)

    def _broke(self, recorder: Flushable, bug: Exception) -> None:
        self.remove(recorder)
        recorder.broke(bug)

    def _note(self, error: OSError | None) -> None:
        text = None if error is None else plain(error)
        if text is not None and self._refused is None:
            log.error("disk write failed; retrying", error=text, pending_bytes=self.pending_bytes)
        elif text is None and self._refused is not None:
            log.info("disk recovered", pending_bytes=self.pending_bytes)
        self._refused = text


async def _by_and_by(items: Sequence[_Item]) -> AsyncIterator[_Item]:
    """Yield the items, and let others have their turn in between: 100 recorders together take 20 ms.

    By time, not by number: in a flood each turn of the others takes 8 ms, during which nothing is synced.
    """
    began_s = time.perf_counter()
    for item in items:
        if time.perf_counter() - began_s > _AT_ONCE_S:
            await trio.lowlevel.cancel_shielded_checkpoint()
            began_s = time.perf_counter()
        yield item
