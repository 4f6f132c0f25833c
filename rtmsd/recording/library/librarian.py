"""The librarian lists recordings, removes them and applies retention while streams start and end.

Deleting a recording and opening it again for a stream that comes back exclude each other. Both are decided in the Trio
thread: a deletion sees in `live` that the stream is there, and a stream that comes later waits in `wait_free`. Among
several processes that share the recordings, `sharing` does the same.
"""

import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog
import trio

from rtmsd.errors import RtmsdError, StorageError
from rtmsd.recording.disk.paths import DAY_MS, date_of, safe_name
from rtmsd.recording.disk.retrying import RunSync, own_threads
from rtmsd.recording.library.catalog import (
    Recording,
    erase,
    find_recordings,
    leftovers,
    remove_empty_days,
    root_of,
    set_aside,
)
from rtmsd.recording.library.retention import overdue
from rtmsd.recording.library.sharing import SharedRecordings

log = structlog.get_logger(__name__)

TIDY_EVERY_S: Final = 3600.0
_THREADS: Final = 4  # of each directory, so that a list need not wait for a deletion
_LIST_S: Final = 8.0  # so long a list waits for one of several directories
QUIET_DAYS: Final = 2  # no stream begins in the directory of a date that is further back


class NoSuchRecording(RtmsdError):
    """Nothing is recorded under this id."""


class RecordingInUse(RtmsdError):
    """The stream is live: its recording is being written."""


class RetentionRules(Protocol):
    """The part of `RecordingConfig` for retention."""

    @property
    def keep_days(self) -> int: ...
    @property
    def keep_bytes(self) -> int: ...


async def _nothing() -> Iterable[str]:
    return ()


async def _none() -> Mapping[str, int]:
    return {}


class Librarian:
    """One for the recordings of a daemon. All deletions go through it, in each directory one at a time.

    Attributes:
        unread: directories that the latest list lacks, and why.

    Args:
        roots: the directories of recordings.
        live: ids of the streams there are now, from before their files are opened until they are finished.
        wanted: ids of the streams whose recordings are still to be delivered, which no limit removes.
        gathered: when a part of each of these streams was joined with the others.
        sharing: with other processes that write and delete in the same directories; None: there are none.
        now_ms: local time.
    """

    def __init__(
        self,
        roots: Sequence[Path],
        live: Callable[[], Iterable[str]],
        *,
        wanted: Callable[[], Awaitable[Iterable[str]]] = _nothing,
        gathered: Callable[[], Awaitable[Mapping[str, int]]] = _none,
        sharing: SharedRecordings | None = None,
        run_sync: RunSync | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._roots = roots
        self._live = live
        self._wanted = wanted
        self._gathered = gathered
        self._sharing = sharing
        self._now_ms = now_ms
        self.unread: dict[Path, str] = {}
        # A disk that is stuck holds up no other.
        self._run_sync = {root: run_sync or own_threads(_THREADS) for root in roots}
        self._deleting = {root: trio.Lock() for root in roots}
        self._moving: dict[str, trio.Event] = {}

    async def recordings(self) -> list[Recording]:
        """Return all recordings, those of live streams too, the oldest first; but for those in `unread`.

        Raises:
            StorageError: no directory can be read.
        """
        found: list[Recording] = []
        async with trio.open_nursery() as nursery:
            for root in self._roots:
                nursery.start_soon(self._add_to, found, root)
        if len(self.unread) == len(self._roots):
            raise StorageError("; ".join(self.unread.values()))
        return sorted(found, key=lambda recording: (recording.last_ms, recording.name))

    async def _add_to(self, found: list[Recording], root: Path) -> None:
        why = f"{root}: no answer within {_LIST_S:g} s"
        with trio.move_on_after(_LIST_S if len(self._roots) > 1 else math.inf):
            try:
                found += await self._recordings(root)
            except StorageError as error:
                why = str(error)
            else:
                self.unread.pop(root, None)
                return
        if self.unread.get(root) != why:
            log.warning("recordings cannot be listed", error=why)
        self.unread[root] = why

    async def _recordings(self, root: Path) -> list[Recording]:
        try:
            found: list[Recording] = await self._run_sync[root](find_recordings, root, abandon_on_cancel=True)
        except OSError as error:
            raise StorageError(f"{root}: {error.strerror or error}") from error
        return found

    async def remove(self, rtms_stream_id: str) -> None:
        """Delete a recording for good, in whichever directories it is.

        Args:
            rtms_stream_id: unchecked input; it is looked up among the recordings and never becomes a path.

        Raises:
            NoSuchRecording: there is none.
            RecordingInUse: its stream is live.
            StorageError: the disk refuses. What it left is deleted later.
        """
        found = [each for each in await self.recordings() if each.rtms_stream_id == rtms_stream_id]
        if not found and self.unread:
            raise StorageError(f"{rtms_stream_id!r} is not found, but {'; '.join(self.unread.values())}")
        if not found:
            raise NoSuchRecording(f"nothing is recorded under the id {rtms_stream_id!r}")
        for recording in found:
            async with self._deleting[recording.root]:
                try:
                    await self._delete(recording)
                except OSError as error:
                    raise StorageError(f"{recording.directory}: {error.strerror or error}") from error
            log.info("recording removed", rtms_stream_id=rtms_stream_id, why="asked for")

    async def wait_free(self, rtms_stream_id: str) -> None:
        """Wait until no recording of this stream is about to disappear: before its files are opened."""
        name = safe_name(rtms_stream_id)
        if (moving := self._moving.get(name)) is not None:
            await moving.wait()
        if self._sharing is not None:
            await self._sharing.wait_gone(name)

    async def tidy(self, root: Path, rules: RetentionRules) -> None:
        """Finish interrupted deletions in a directory, then delete what is overdue in it by its own rules. Disk errors
        are logged, and retried later.
        """
        async with self._deleting[root]:
            try:
                for leftover in await self._run_sync[root](leftovers, root, abandon_on_cancel=True):
                    await self._finish(leftover)
                if rules.keep_days or rules.keep_bytes:
                    await self._delete_overdue(root, rules)
                    before = date_of(self._now_ms() - QUIET_DAYS * DAY_MS)
                    await self._run_sync[root](remove_empty_days, root, before)
            except (OSError, StorageError) as error:
                log.warning("recordings cannot be tidied", error=str(error))

    async def _finish(self, leftover: Path) -> None:
        try:
            await self._erase(leftover)
        except OSError as error:
            log.warning("interrupted deletion cannot be finished", directory=str(leftover), error=str(error))
        else:
            log.info("interrupted deletion finished", directory=str(leftover))

    async def _delete_overdue(self, root: Path, rules: RetentionRules) -> None:
        recordings = await self._recordings(root)
        live = self._live_names()  # before `wanted`: a stream that ends in between is among those
        if self._sharing is not None:
            live |= await self._sharing.open_names()
        doomed = overdue(
            recordings,
            live | {safe_name(rtms_stream_id) for rtms_stream_id in await self._wanted()},
            keep_days=rules.keep_days,
            keep_bytes=rules.keep_bytes,
            gathered={safe_name(key): at_ms for key, at_ms in (await self._gathered()).items()},
            now_ms=self._now_ms(),
        )
        for recording in doomed:
            try:
                await self._delete(recording)
            except RecordingInUse:  # since a moment ago
                continue
            except OSError as error:
                log.warning("recording cannot be removed", rtms_stream_id=recording.rtms_stream_id, error=str(error))
            else:
                log.info("recording removed", rtms_stream_id=recording.rtms_stream_id, why="kept for long enough")

    async def _delete(self, recording: Recording) -> None:
        """Raises RecordingInUse, OSError, StorageError."""
        async with self._moving_of(recording.name, recording.rtms_stream_id):
            leftover = await self._run_sync[recording.root](set_aside, recording.directory)
        await self._erase(leftover)

    @contextlib.asynccontextmanager
    async def replacing(self, directory: Path, rtms_stream_id: str) -> AsyncIterator[None]:
        """Keep a recording from being opened, or deleted, while another one takes its place.

        Raises:
            RecordingInUse: its stream is live.
            StorageError: that cannot be found out.
        """
        async with self._deleting[root_of(directory)], self._moving_of(directory.name, rtms_stream_id):
            yield

    @contextlib.asynccontextmanager
    async def _moving_of(self, name: str, rtms_stream_id: str) -> AsyncIterator[None]:
        """Keep a recording from being opened meanwhile, in whatever process. Raises as `replacing`."""
        if name in self._live_names():
            raise RecordingInUse(f"{rtms_stream_id} is being recorded")
        moved = self._moving[name] = trio.Event()
        try:
            async with self._entered(name, rtms_stream_id):
                yield
        finally:
            del self._moving[name]
            moved.set()

    @contextlib.asynccontextmanager
    async def _entered(self, name: str, rtms_stream_id: str) -> AsyncIterator[None]:
        """Keep other processes from opening the recording meanwhile.

        Raises:
            RecordingInUse: one has it open, or is deleting it.
            StorageError: that cannot be found out.
        """
        if self._sharing is None:
            yield
            return
        if not await self._sharing.begin(name):
            raise RecordingInUse(f"{rtms_stream_id} is being recorded, or deleted, by another process")
        try:
            yield
        finally:
            await self._sharing.end(name)

    async def _erase(self, leftover: Path) -> None:
        """Delete what was set aside. A stop of the daemon does not wait for that: the next start continues it."""
        await self._run_sync[root_of(leftover)](erase, leftover, abandon_on_cancel=True)

    def _live_names(self) -> frozenset[str]:
        return frozenset(safe_name(rtms_stream_id) for rtms_stream_id in self._live())


async def keep_tidy(librarian: Librarian, root: Path, rules: Callable[[Path], RetentionRules]) -> None:
    """Tidy a directory now and every hour until cancelled.

    Args:
        rules: of the directory, in the configuration in force, asked each time.
    """
    while True:
        await librarian.tidy(root, rules(root))
        await trio.sleep(TIDY_EVERY_S)
