"""The supervisor of all streams, which hands commands to them and knows what became of each."""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import attrs
import structlog
import trio

from rtmsd.commands import CloseStream, Command, InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.config import secrets_of
from rtmsd.config.media import MediaConfig
from rtmsd.config.model import Config
from rtmsd.errors import StorageError
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.library.librarian import Librarian
from rtmsd.recording.library.sharing import SharedRecordings
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited
from rtmsd.recording.rates import SAMPLE_EVERY_S
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.writers import Writers
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.sinks.registry import build
from rtmsd.state import parts
from rtmsd.state.journal import Journal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.beginning import Beginning, row_after, row_of
from rtmsd.streams.core.outcome import LetGo, Outcome
from rtmsd.streams.descriptors import Descriptors
from rtmsd.streams.drivers.diagnostics import Diagnostics
from rtmsd.streams.drivers.tenure import LocalTenure, Tenure
from rtmsd.streams.finalizer import REMEMBERED, Finalizer, contained
from rtmsd.streams.lost import LostStreams
from rtmsd.streams.managed_stream import ManagedStream
from rtmsd.streams.restart import Restarter
from rtmsd.streams.resuming import longest_out_first
from rtmsd.streams.running import Runner, local_ms
from rtmsd.streams.summary import Tally, reason_label
from rtmsd.system.throttle import Throttle

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

_LOG_REFUSALS_S: Final = 10.0


class Supervisor:
    """Owns every stream's nursery. A crash of one stream, foreseen or not, ends that one only.

    Attributes:
        diagnostics: what Zoom said lately.
        lost: the streams that were refused, given up, cut off or failed.
        deliveries: of finished recordings to sinks; `run` is the daemon's to start.
        librarian: lists recordings, and deletes those of streams that do not live.
        config: used for streams to come; a live one keeps what it started with.
        refuse_starts: why new streams are refused (draining), or None.
        full_directories: those that take no new streams, and why.

    Args:
        tenure: says of which streams this process is the owner; by default, of all.
        on_let_go: called with the id and why, when a stream is let go and its files are suspended.
        redirect: takes webhooks that came for a stream while it was let go, and are in the journal; by default, they
            take it up again.
        sharing: of the recordings with other processes; None: there are none.
        on_recorder: called with each recorder, before anything is written by it.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        writers: Writers,
        *,
        restarter: Restarter,
        on_event: Callable[[dict[str, Any]], None],
        tenure: Tenure | None = None,
        on_let_go: Callable[[str, str], None] = lambda rtms_stream_id, why: None,
        redirect: Callable[[StreamCommand], None] | None = None,
        sharing: SharedRecordings | None = None,
        on_recorder: Callable[[Recorder], None] = lambda recorder: None,
    ) -> None:
        self.config = config
        self.refuse_starts: str | None = None
        self.full_directories: Mapping[Path, str] = {}
        self.journal = journal
        self._writers = writers
        self.diagnostics = Diagnostics()
        self.lost = LostStreams(journal, local_ms, is_shared=journal.is_shared)
        self.deliveries = Deliveries(journal, config.recording.directory, local_ms)
        self.deliveries.configure(build(config.archive_sinks, secrets_of(config)))
        roots = writers.directories
        wanted, gathered = self.deliveries.unfinished, partial(journal.transact, parts.gathered)
        self.librarian = Librarian(roots, lambda: self._streams, wanted=wanted, gathered=gathered, sharing=sharing)
        self._restarter, self._on_event = restarter, on_event
        self._on_let_go, self._redirect = on_let_go, redirect
        tenure = tenure or LocalTenure()
        self._runner = Runner(
            lambda: self.config, self.librarian, writers, self.diagnostics, tenure, on_event, on_recorder
        )
        self._descriptors, self._refusals_logged = Descriptors(), Throttle(_LOG_REFUSALS_S)
        self._streams: dict[str, ManagedStream] = {}
        self._nobody_left = trio.Event()
        self._unexplained: dict[str, StreamRow] = {}  # given up: why they ended, Zoom may still say
        self._finalizer = Finalizer(journal, writers, self.diagnostics, self.deliveries, tenure.takeover_cause)

    async def run(
        self,
        to_resume: Callable[[], Awaitable[Sequence[StreamRow]]] | None = None,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Resume what an earlier run left, then look after streams until cancelled.

        Args:
            to_resume: returns the streams that are this process's to resume; by default, all that are unfinished in the
                journal.
        """
        async with trio.open_nursery() as self._nursery:
            await self.lost.load()
            self._nursery.start_soon(self.lost.keep)
            unfinished, roots = await (to_resume or self.journal.unfinished)(), self._writers.directories
            for row in await longest_out_first(roots, list(unfinished), self._writers[roots[0]].run_sync):
                event = "stream resumes" if row.stop_reason is None else "stream is finished late"
                log.info(event, rtms_stream_id=row.rtms_stream_id)
                self.adopt(row, cause=GapCause.DAEMON_RESTART)
                await trio.lowlevel.checkpoint()  # tasks that begin in one turn may run in either order
            task_status.started()
            await self._sample_rates()

    async def _sample_rates(self) -> NoReturn:
        while True:
            await trio.sleep(SAMPLE_EVERY_S)
            for managed in self._streams.values():
                if managed.recorder is not None:
                    managed.recorder.sample_rates()

    # One stream

    def adopt(
        self,
        row: StreamRow,
        *,
        begun_by: StreamCommand | None = None,
        cause: GapCause | None = None,
        takeover: Mapping[str, Any] | None = None,
        tenure: PartTenure | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        """Begin with a stream now, or go on with it. `run` is running.

        One that is being let go here is taken up when that is done, and its files are continued; so is one that ended
        here, and was started again. One that lives here lives on, and follows what the row says newer.

        Args:
            begun_by: a new webhook, already judged and in the journal.
            cause: why media are missing since somebody else, an earlier process or this one had it; None: it is new.
            takeover, tenure, inherited: see `Beginning`.
        """
        beginning = Beginning(
            row=row, begun_by=begun_by, cause=cause, takeover=takeover, tenure=tenure, inherited=inherited
        )
        if isinstance(begun_by, StartStream):
            self.lost.accepted(row.rtms_stream_id)
        managed = self._streams.get(row.rtms_stream_id)
        if managed is None:
            self._begin(beginning)
        elif managed.end is None or row.event_ts > managed.row.event_ts:
            managed.submit(beginning)
        else:
            why = "its end is known here, and being written down"
            log.info("stream not taken up", rtms_stream_id=row.rtms_stream_id, why=why)

    async def let_go(self, rtms_stream_id: str, why: str) -> None:
        """Leave one stream to somebody else: its sockets are closed, its files suspended, and nothing is ended at Zoom
        or in the journal. Returns when that is done, or at once where its end is decided.
        """
        if (managed := self._streams.get(rtms_stream_id)) is not None:
            managed.let_go(why)
            if managed.letting_go is not None:
                await managed.is_gone.wait()

    # Commands

    async def accept(self, command: StreamCommand) -> Verdict:
        """Make a webhook's command safe in the journal, then act on it. See `Intake`."""
        is_new = command.rtms_stream_id not in self._streams
        if isinstance(command, StopStream) and command.event_ts is None and is_new:
            command = attrs.evolve(command, event_ts=local_ms())  # nothing else says when that stream was
        if not isinstance(command, StartStream) or not is_new:
            return await self._accept(command)
        if (why := self.refusal(command)) is not None:
            self.refuse(command, why)
            return Verdict.REFUSED
        with self._descriptors:
            return await self._accept(command)

    def refusal(self, start: StartStream) -> str | None:
        """Return why a new stream is refused here now; None: it is not."""
        config = self.config.of_app(start.app)
        why = self.refuse_starts or self.full_directories.get(config.recording.directory)
        return why or self.shortage(of=config.media)

    def shortage(self, others: int = 0, of: MediaConfig | None = None) -> str | None:
        """Return why there are too few file descriptors for another stream and some others; None: there are enough.

        Args:
            of: what the stream asks for; by default, as the whole file says.
        """
        media = self.config.media if of is None else of
        links = 1 if media.connections == "unified" else media.requested.bit_count()
        return self._descriptors.shortage(1 + links, self._streams.values(), others)

    async def _accept(self, command: StreamCommand) -> Verdict:
        managed = self._streams.get(command.rtms_stream_id)
        try:
            others = {app.name for app in self.config.apps} - {command.app}
            verdict = await self.journal.record(command, others)
        except StorageError as error:
            if isinstance(command, StartStream):
                self.refuse(command, str(error))
            else:  # Zoom's next try would come too late: act without the journal
                self._submit(command, managed)
            raise
        is_revocation = isinstance(command, StopStream) and command.stop_reason == StopReason.STREAM_REVOKED
        if is_revocation and verdict is not Verdict.FOREIGN:
            self.lost.forget(command.rtms_stream_id)
        elif isinstance(command, StartStream) and verdict is Verdict.NEW:
            self.lost.accepted(command.rtms_stream_id)
        if verdict is Verdict.NEW:
            self._submit(command, managed)
        elif verdict is Verdict.LATE and isinstance(command, StopStream):
            self._explained(command)
        elif verdict is Verdict.FOREIGN:
            log.warning("webhook ignored", rtms_stream_id=command.rtms_stream_id, why="the stream is another app's")
        return verdict

    def refuse(self, start: StartStream, why: str) -> None:
        """Take note that a start is answered with 503. Somebody will look for the stream."""
        if (more := self._refusals_logged.admit()) is not None:
            log.warning("start refused", rtms_stream_id=start.rtms_stream_id, why=why, more_since_last=more)
        self.lost.refused(start, why)
        line = {"at_ms": local_ms(), "kind": "start_refused", "zoom_ms": start.event_ts, "why": why}
        self._on_event({"rtms_stream_id": start.rtms_stream_id, **line})

    def close(self, rtms_stream_id: str) -> None:
        """End a stream politely, if it is still alive."""
        self._apply(CloseStream(rtms_stream_id))

    def _submit(self, command: StreamCommand, to: ManagedStream | None) -> None:
        """Hand a command to the stream that was there when it came; one that has been let go meanwhile is elsewhere."""
        if to is not None and to.letting_go is not None and command.rtms_stream_id not in self._streams:
            self._pass_on(command, to.row)
        else:
            self._apply(command)

    def _pass_on(self, command: StreamCommand, row: StreamRow) -> None:
        """A webhook for a stream that has just been let go, and is nobody's here, is for whoever has it."""
        if self._redirect is not None:
            with contained("webhook for a stream that is let go was lost"):
                self._redirect(command)
        elif isinstance(command, InterruptStream):
            self._apply(command)
        else:
            self.adopt(row_after(row, command), begun_by=command, cause=self._finalizer.takeover_cause)

    def _apply(self, command: Command) -> None:
        managed = self._streams.get(command.rtms_stream_id)
        match command:
            case InterruptStream() if managed is None:
                log.info("interrupted webhook ignored", rtms_stream_id=command.rtms_stream_id, why="no such stream")
            case StartStream() | StopStream() if managed is None:
                self._begin(Beginning(row=row_of(command), begun_by=command))
            case _ if managed is not None:
                managed.submit(command)

    def _begin(self, beginning: Beginning) -> None:
        if self._nursery.cancel_scope.cancel_called:  # it is in the journal, for the next start or another process
            return
        managed = ManagedStream(beginning)
        self._streams[managed.row.rtms_stream_id] = managed
        self._unexplained.pop(managed.row.rtms_stream_id, None)
        self._nursery.start_soon(self._guard, managed)

    async def _guard(self, managed: ManagedStream) -> None:
        row = managed.row
        structlog.contextvars.bind_contextvars(rtms_stream_id=row.rtms_stream_id, app=row.app)  # of this task
        result = await self._runner.run(managed)
        if isinstance(result, LetGo):
            await self._finalizer.suspend(managed)
            self._leave(managed, result)
            return
        managed.finish(result)
        assert managed.outcome is not None
        self._judge(managed, managed.outcome)
        await self._finalizer.finalize(managed)
        if managed.outcome.is_guess:
            self._unexplained[row.rtms_stream_id] = managed.row
            if len(self._unexplained) > REMEMBERED:
                del self._unexplained[next(iter(self._unexplained))]
        self._forget(managed)
        if managed.outcome.reason is not None and not managed.outcome.is_guess:
            await self._start_again(row, managed.outcome.reason)

    def _leave(self, managed: ManagedStream, let_go: LetGo) -> None:
        """The files of a stream that is let go are suspended: notify the owner."""
        log.info("stream let go", why=let_go.why)
        with contained("owner not notified that a stream is let go"):
            self._on_let_go(managed.row.rtms_stream_id, let_go.why)
        self._forget(managed)

    def _forget(self, managed: ManagedStream) -> None:
        """A stream is no longer here; what came too late for it is for the next one of its name."""
        del self._streams[managed.row.rtms_stream_id]
        for order in managed.waiting:
            if isinstance(order, Beginning):
                self.adopt(**attrs.asdict(order, recurse=False))
            elif isinstance(order, CloseStream):
                self._apply(order)
            else:
                self._submit(order, managed)
        if not self._streams:
            self._nobody_left.set()
        managed.is_gone.set()

    def _explained(self, stop: StopStream) -> None:
        """Zoom says why a stream ended that was given up before. A host who stopped it wants no new one."""
        self.lost.explained(stop.rtms_stream_id, stop.stop_reason)
        row = self._unexplained.pop(stop.rtms_stream_id, None)
        if row is not None and not self._nursery.cancel_scope.cancel_called:
            self._nursery.start_soon(self._start_again, row, stop.stop_reason)

    async def _start_again(self, row: StreamRow, reason: int) -> None:
        """Let the policy decide. What goes wrong there is no live stream's trouble."""
        with contained("stream not started again"):
            await self._restarter.consider(row, reason)

    def _judge(self, managed: ManagedStream, outcome: Outcome) -> None:
        """Count the end, and note a stream of which nothing, or not all, could be had."""
        is_failed = outcome.state is RecordingState.FAILED
        if managed.is_revoked:  # said perhaps to a process before this one
            self.lost.forget(managed.row.rtms_stream_id)
        if is_failed or managed.recorder is not None:
            self._finalizer.tally.ended[outcome.state.value, reason_label(outcome.reason)] += 1
            self.lost.ended(managed.row, outcome, recorded=managed.recorder is not None)
        if is_failed or managed.never_connected:
            self.diagnostics.failed(managed.row.app, managed.row.rtms_stream_id, outcome.why)

    # What operators and the daemon ask for

    @property
    def streams(self) -> Mapping[str, ManagedStream]:
        """The streams there are now, by `rtms_stream_id`."""
        return self._streams

    @property
    def ended(self) -> Sequence[dict[str, Any]]:
        """Descriptions of the streams that ended last, the newest at the end."""
        return self._finalizer.ended

    def tally(self) -> Tally:
        """Sums over all streams since the daemon started."""
        tally = copy.deepcopy(self._finalizer.tally)
        for managed in self._streams.values():
            if managed.stream is not None:
                tally.add(managed.stream)
        return tally

    def suspend(self) -> None:
        """Leave all streams with their slots at Zoom, to be resumed by another process: `run` ends, and none begins."""
        for managed in self._streams.values():
            if managed.stream is not None and managed.end is None:
                managed.stream.report(managed.stream.core.suspend)
        self._nursery.cancel_scope.cancel()

    async def suspend_files(self) -> None:
        """Bring the files of all streams to disk, after `run` has ended: for good where the end is known."""
        await self.lost.flush_if_possible()
        for managed in self._streams.values():
            managed.outcome = managed.end
            if managed.outcome is not None:
                self.lost.ended(managed.row, managed.outcome, recorded=managed.recorder is not None)
        await self._finalizer.close_down(list(self._streams.values()))
        await self.lost.flush_if_possible()

    async def end_all(self) -> None:
        """Close all streams politely, and return when their files are finished."""
        for rtms_stream_id in tuple(self._streams):
            self.close(rtms_stream_id)
        self._nobody_left = trio.Event()
        if self._streams:
            await self._nobody_left.wait()
