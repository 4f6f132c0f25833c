"""Deliveries of finished recordings to archive sinks: begun, judged, retried, and stopped by a revocation.

The queue is in the state file (`rtmsd/state/deliveries.py`). A delivery is marked as running before its sink is
called, and as done or failed after: a process that dies in between leaves it to the next one.

Where several processes share a state file, one of them runs the deliveries. The others queue theirs, and notify it
(`Elsewhere`).
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Final, Protocol, TypeVar

import attrs
import structlog
import trio

from rtmsd.errors import RtmsdError, StorageError
from rtmsd.sinks.base import ArchiveSink, DeliveryError, Recording, TryAgain, Unusable
from rtmsd.state import deliveries as queue
from rtmsd.state.deliveries import Begun, DeliveryEvent, DeliveryRow, DeliveryState

log = structlog.get_logger()

T = TypeVar("T")

REFUSED_S: Final = 5.0  # until the state file is asked again
PRUNE_EVERY_S: Final = 3600.0
_LOCATE_S: Final = 2.0
LOOK_EVERY_S: Final = 60.0  # while something waits for its time: the clock may be set
GAUGED: Final = (DeliveryState.WAITING, DeliveryState.RUNNING, DeliveryState.DEAD)
RESULTS: Final = ("done", "retry", "dead")


class NoSuchDelivery(RtmsdError):
    """No delivery has this id."""


class NotDead(RtmsdError):
    """A delivery that is not dead, or whose sink is gone, cannot be replayed."""


class Transactions(Protocol):
    """The part of the journal that is needed here."""

    async def transact(self, work: Callable[[Connection], T]) -> T: ...
    async def expunge(self, rtms_stream_id: str) -> None: ...


class Elsewhere(Protocol):
    """The process that runs the deliveries, for one that only queues some. It may be notified twice."""

    def due(self) -> None:
        """Begin what is due."""

    async def hold(self, rtms_stream_id: str) -> None:
        """Do what `Deliveries.revoke` does."""

    def release(self, rtms_stream_id: str) -> None:
        """Do what `Deliveries.closed` does."""


@attrs.frozen
class Figures:
    """How deliveries stand, as the process that runs them knows it.

    Attributes:
        counts, dead_ms, warnings: as those of `Deliveries`.
        results: how deliveries ended since these figures were given last.
    """

    counts: Sequence[tuple[str, str, int]]
    dead_ms: int | None
    warnings: Mapping[str, str]
    results: Sequence[tuple[str, str, int]]


@attrs.frozen
class _Run:
    """A delivery under way."""

    row: DeliveryRow
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)


class Deliveries:
    """All deliveries of a daemon. Failures are logged and counted; they end neither a stream nor the daemon.

    Attributes:
        results: how deliveries ended since the start, by sink and one of `RESULTS`.
        counts: how many there are, by sink and state, of those that are not done.
        dead_ms: local time at which the latest delivery of a configured sink, or revocation, died; None without any.
        warnings: by sink, what is wrong with what its section names.
        elsewhere: the process that runs what is queued here; None: this one.
    """

    def __init__(self, journal: Transactions, root: Path, local_ms: Callable[[], int]) -> None:
        self.results: Counter[tuple[str, str]] = Counter()
        self.counts: Mapping[tuple[str, DeliveryState], int] = {}
        self.dead_ms: int | None = None
        self.warnings: dict[str, str] = {}
        self.elsewhere: Elsewhere | None = None
        self._journal = journal
        self._root = root
        self._local_ms = local_ms
        self._sinks: Mapping[str, ArchiveSink] = {}
        self._running: dict[int, _Run] = {}
        self._held: set[str] = set()  # streams whose revocation is under way
        self._is_stopping = False
        self._wake = trio.Event()
        self._idle = trio.Event()

    def configure(self, sinks: Mapping[str, ArchiveSink]) -> None:
        """Use these sinks from now on; what runs goes on as it began."""
        self._sinks = sinks
        self.warnings = {
            name: f"{unusable[0]}: {unusable[1]}"
            for name, sink in sinks.items()
            if (unusable := sink.config.unusable()) is not None
        }
        for name, why in self.warnings.items():
            log.warning("sink not usable; tried again", sink=name, why=why)
        self._wake.set()

    @property
    def sinks(self) -> Sequence[str]:
        return list(self._sinks)

    # For the streams

    def closing(self, rtms_stream_id: str, directory: Path | None) -> Callable[[Connection], None]:
        """Return what queues the recording, in the transaction in which the journal closes the stream.

        Args:
            directory: of the recording; None: there is none.
        """
        if directory is None:
            return lambda db: None
        return partial(
            queue.finished,
            sinks=self.sinks,
            rtms_stream_id=rtms_stream_id,
            directory=str(directory.relative_to(self._root) if directory.is_relative_to(self._root) else directory),
            now_ms=self._local_ms(),
        )

    def closing_revoked(self, rtms_stream_id: str) -> Callable[[Connection], None]:
        """Return what queues the revocation where a delivery had begun, in the transaction that closes the stream."""
        return partial(queue.revoked, rtms_stream_id=rtms_stream_id, now_ms=self._local_ms())

    async def revoke(self, rtms_stream_id: str) -> None:
        """Kill what runs for a stream, and begin nothing for it until `closed`: what is stored is to be deleted."""
        if self.elsewhere is not None:
            await self.elsewhere.hold(rtms_stream_id)
            return
        self._held.add(rtms_stream_id)
        runs = [
            run
            for run in self._running.values()
            if run.row.rtms_stream_id == rtms_stream_id and run.row.event is DeliveryEvent.FINISHED
        ]
        for run in runs:
            run.scope.cancel()
        for run in runs:
            await run.ended.wait()

    def closed(self, rtms_stream_id: str) -> None:
        """Begin what is due, as the journal has closed a stream."""
        if self.elsewhere is not None:
            self.elsewhere.release(rtms_stream_id)
            return
        if rtms_stream_id in self._held or self._sinks:  # else, as a rule, nothing was queued
            self._wake.set()
        self._held.discard(rtms_stream_id)

    async def unfinished(self) -> frozenset[str]:
        """Return the streams with a delivery that is neither done nor dead.

        Raises:
            StorageError: the state file refuses.
        """
        return await self._journal.transact(queue.unfinished)

    async def locate(self, directories: Sequence[Path]) -> None:
        """Find again, below one of these, what is not below `recording.directory`: the configuration named another one.

        Raises:
            StorageError: the state file refuses.
        """
        relative = await self._journal.transact(queue.below_root) if len(directories) > 1 else []
        if relative:
            places: dict[str, Path] = {}
            with trio.move_on_after(_LOCATE_S):  # a disk that is stuck holds up no start
                look = partial(_moved, self._root, relative, directories)
                places = await trio.to_thread.run_sync(look, abandon_on_cancel=True)
            await self._journal.transact(partial(queue.moved, places=places))

    # For operators

    async def listed(self) -> Sequence[DeliveryRow]:
        """Return the deliveries, the oldest first.

        Raises:
            StorageError: the state file refuses.
        """
        return await self._journal.transact(queue.listed)

    async def find(self, number: int) -> DeliveryRow:
        """Raises NoSuchDelivery, StorageError."""
        row = await self._journal.transact(partial(queue.find, number=number))
        if row is None:
            raise NoSuchDelivery(f"no delivery has the id {number}")
        return row

    async def replay(self, number: int) -> None:
        """Queue a dead delivery again.

        Raises:
            NoSuchDelivery, NotDead, StorageError: it cannot.
        """
        row = await self.find(number)
        if row.sink not in self._sinks:
            raise NotDead(f"sink {row.sink!r} of delivery {number} is not in the configuration")
        if not await self._journal.transact(partial(queue.replay, number=number, now_ms=self._local_ms())):
            raise NotDead(f"delivery {number} is {row.state}: only a dead one can be replayed")
        log.info("delivery replayed", sink=row.sink, delivery=number, rtms_stream_id=row.rtms_stream_id)
        self.due()

    def due(self) -> None:
        """Begin what is due, as something was queued."""
        if self.elsewhere is not None:
            self.elsewhere.due()
        self._wake.set()

    # Where several processes queue deliveries

    def figures(self, results: Mapping[tuple[str, str], int]) -> Figures:
        """Return how deliveries stand here; `results` are those that ended since the last time."""
        return Figures(
            counts=[(sink, state.value, number) for (sink, state), number in self.counts.items()],
            dead_ms=self.dead_ms,
            warnings=dict(self.warnings),
            results=[(sink, result, number) for (sink, result), number in results.items()],
        )

    def learn(self, figures: Figures) -> None:
        """Take over how deliveries stand elsewhere."""
        self.counts = {(sink, DeliveryState(state)): number for sink, state, number in figures.counts}
        self.dead_ms, self.warnings = figures.dead_ms, dict(figures.warnings)
        for sink, result, number in figures.results:
            self.results[sink, result] += number

    # Running

    async def run(self) -> None:
        """Deliver until cancelled; what still runs then is killed, and runs again after the next start."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._prune_regularly)
            await self._persist(queue.reset)
            while True:
                self._wake = trio.Event()
                wait_s = await self._begin_due(nursery)
                with trio.move_on_after(wait_s):
                    await self._wake.wait()

    def stop(self) -> None:
        """Begin nothing more."""
        self._is_stopping = True

    async def until_idle(self) -> None:
        """Return when nothing runs."""
        while self._running:
            self._idle = trio.Event()
            await self._idle.wait()

    async def _begin_due(self, nursery: trio.Nursery) -> float:
        """Begin what is due, and return how long to wait, unless woken."""
        if self._is_stopping:
            return float("inf")
        busy = Counter(run.row.sink for run in self._running.values())
        room = {name: max(0, sink.config.parallel - busy[name]) for name, sink in self._sinks.items()}
        sinks = self._sinks
        begin = partial(queue.begin, room=room, held=frozenset(self._held), now_ms=self._local_ms())
        begun: Begun = await self._persist(begin)
        self.counts, self.dead_ms = begun.counts, begun.dead_ms
        for name, number in begun.orphaned.items():
            log.warning("deliveries dead", sink=name, number=number, why=queue.ORPHANED)
        for row in begun.rows:
            if row.rtms_stream_id not in self._held or row.event is DeliveryEvent.REVOKED:
                run = self._running[row.id] = _Run(row)
                nursery.start_soon(self._deliver, sinks[row.sink], run)
        if begun.next_due_ms is None:
            return float("inf")
        return min(LOOK_EVERY_S, max(0, begun.next_due_ms - self._local_ms()) / 1000)

    async def _deliver(self, sink: ArchiveSink, run: _Run) -> None:
        row = run.row
        with structlog.contextvars.bound_contextvars(
            sink=row.sink, delivery=row.id, rtms_stream_id=row.rtms_stream_id, delivered=row.event.value
        ):
            try:
                with run.scope:
                    error = await self._attempt(sink, row)
                    await self._note(sink, row, error)
            except* Exception:
                log.exception("delivery crashed")
            finally:
                del self._running[row.id]
                run.ended.set()
                self._idle.set()
                self._wake.set()

    async def _attempt(self, sink: ArchiveSink, row: DeliveryRow) -> DeliveryError | None:
        """Return why it failed, or None."""
        recording = Recording(event=row.event, rtms_stream_id=row.rtms_stream_id, directory=self._root / row.directory)
        try:
            await sink.deliver(recording)
        except DeliveryError as error:
            if isinstance(error, Unusable) and self._sinks.get(row.sink) is sink:  # else a reload gave another
                self.warnings[row.sink] = str(error)
            return error
        except Exception as bug:
            log.exception("delivery crashed")
            return TryAgain(f"a bug of ours ({type(bug).__name__}), see the log")
        self.warnings.pop(row.sink, None)
        return None

    async def _note(self, sink: ArchiveSink, row: DeliveryRow, error: DeliveryError | None) -> None:
        """Record the result, trying again for as long as the state file refuses."""
        if error is None:
            self.results[row.sink, "done"] += 1
            log.info("delivered", runs=row.runs)
            await self._persist(partial(queue.done, number=row.id, now_ms=self._local_ms()))
            if row.event is DeliveryEvent.REVOKED and row.output:
                await self._journal.expunge(row.rtms_stream_id)  # what was said before, perhaps with names
            return
        retry_s = retry_after_s(error, row.tries, sink.config.retry_s)
        self.results[row.sink, "dead" if retry_s is None else "retry"] += 1
        log.warning("delivery failed", why=str(error), retry_s=retry_s)
        failed = partial(
            queue.failed,
            number=row.id,
            retry_ms=None if retry_s is None else round(retry_s * 1000),
            why=str(error),
            output=error.output,
            now_ms=self._local_ms(),
        )
        await self._persist(failed)

    async def _persist(self, work: Callable[[Connection], T]) -> T:
        """Do something in the state file as soon as that accepts it, and a thread can be had."""
        is_refused = False
        while True:
            try:
                return await self._journal.transact(work)
            except StorageError as error:
                if not is_refused:
                    log.warning("deliveries wait: the state file refuses", error=str(error))
            except Exception:
                if not is_refused:
                    log.exception("deliveries crashed; tried again")
            is_refused = True
            await trio.sleep(REFUSED_S)

    async def _prune_regularly(self) -> None:
        while True:
            await self._persist(partial(queue.prune, now_ms=self._local_ms()))
            await trio.sleep(PRUNE_EVERY_S)


def retry_after_s(error: DeliveryError, tries: int, retry_s: Sequence[float]) -> float | None:
    """Return how long to wait for the next try after `tries` failed ones before this; None: there is none."""
    if isinstance(error, TryAgain) and tries < len(retry_s):
        return retry_s[tries]
    return None


def _moved(root: Path, relative: Sequence[str], directories: Sequence[Path]) -> dict[str, Path]:
    """Return where those recordings are that are in another directory than the root. Blocks; for a thread."""
    missing = [name for name in relative if not os.path.lexists(root / name)]
    found = ((name, each / name) for name in missing for each in directories)
    return {name: place for name, place in found if os.path.lexists(place)}
