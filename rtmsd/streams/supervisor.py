"""All streams: who is alive, what a webhook means for whom, and the boundary at which one stream's failure ends."""

import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from typing import Any, Final, NoReturn

import attrs
import structlog
import trio

from rtmsd.commands import (
    CloseStream,
    Command,
    InterruptStream,
    StartStream,
    StopStream,
    StreamCommand,
    Verdict,
)
from rtmsd.config import secrets_of
from rtmsd.config.model import Config
from rtmsd.errors import LocalProtocolError, RtmsdError, StorageError, leaves
from rtmsd.http.throttle import Throttle
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.library.librarian import Librarian
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.rates import SAMPLE_EVERY_S
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.sinks.registry import build
from rtmsd.state.journal import Journal
from rtmsd.state.ledger import StreamRow
from rtmsd.streams.core.ending import Outcome, outcome_of_stop
from rtmsd.streams.core.outage import Cause
from rtmsd.streams.descriptors import Descriptors
from rtmsd.streams.diagnostics import History
from rtmsd.streams.drivers.stream import Stream, StreamSettings
from rtmsd.streams.finalizer import REMEMBERED, Aftermath
from rtmsd.streams.lost import LostStreams
from rtmsd.streams.managed_stream import Life, info_of, row_of
from rtmsd.streams.restart import Restarter
from rtmsd.streams.summary import Tally, reason_label

log = structlog.get_logger()

_TELL_REFUSALS_S: Final = 10.0

NO_ADDRESS = "the state file was lost, and with it the address of the server: not connected again"


def local_ms() -> int:
    return time.time_ns() // 1_000_000


class Supervisor:
    """Owns every stream's nursery. A crash of one stream, foreseen or not, ends that one only.

    Attributes:
        history: what Zoom said lately.
        lost: the streams that were refused, given up, cut off or failed.
        deliveries: of finished recordings to sinks; `run` is the daemon's to start.
        librarian: lists recordings, and deletes those of streams that do not live.
        config: used for streams to come; a live one keeps what it started with.
        refuse_starts: why new streams are refused (draining, low disk), or None.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        writer: Writer,
        *,
        restarter: Restarter,
        on_event: Callable[[dict[str, Any]], None],
    ) -> None:
        self.config = config
        self.refuse_starts: str | None = None
        self._journal = journal
        self._writer = writer
        self.history = History()
        self.lost = LostStreams(journal, local_ms)
        self.deliveries = Deliveries(journal, config.recording.directory, local_ms)
        self.deliveries.configure(build(config.sinks, secrets_of(config)))
        self.librarian = Librarian(config.recording.directory, lambda: self._lives, wanted=self.deliveries.unfinished)
        self._restarter = restarter
        self._on_event = on_event
        self._descriptors = Descriptors()
        self._refusals_told = Throttle(_TELL_REFUSALS_S)
        self._lives: dict[str, Life] = {}
        self._nobody_left = trio.Event()
        self._unexplained: dict[str, StreamRow] = {}  # given up: why they ended, Zoom may still say
        self._aftermath = Aftermath(journal, writer, self.history, lambda: self.config, self.deliveries)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Resume what an earlier run left, then look after streams until cancelled."""
        async with trio.open_nursery() as self._nursery:
            await self.lost.load()
            self._nursery.start_soon(self.lost.keep)
            for row in await self._journal.unfinished():
                log.info(
                    "stream resumes" if row.stop_reason is None else "stream is finished late",
                    rtms_stream_id=row.rtms_stream_id,
                )
                self._begin(Life(row))
            task_status.started()
            await self._sample_rates()

    async def _sample_rates(self) -> NoReturn:
        while True:
            await trio.sleep(SAMPLE_EVERY_S)
            for life in self._lives.values():
                if life.recorder is not None:
                    life.recorder.sample_rates()

    # Commands

    async def accept(self, command: StreamCommand) -> Verdict:
        """Make a webhook's command safe in the journal, then act on it. See `Intake`."""
        is_new = command.rtms_stream_id not in self._lives
        if isinstance(command, StopStream) and command.event_ts is None and is_new:
            command = attrs.evolve(command, event_ts=local_ms())  # nothing else tells when that stream was
        if not isinstance(command, StartStream) or not is_new:
            return await self._accept(command)
        why = self.refuse_starts or self.shortage()
        if why:
            self._refused(command, why)
            return Verdict.REFUSED
        with self._descriptors:
            return await self._accept(command)

    def shortage(self, others: int = 0) -> str | None:
        """Return why there are too few file descriptors for another stream and some others; None: there are enough."""
        media = self.config.media
        links = 1 if media.connections == "unified" else media.requested.bit_count()
        return self._descriptors.shortage(1 + links, self._lives.values(), others)

    async def _accept(self, command: StreamCommand) -> Verdict:
        try:
            others = {app.name for app in self.config.apps} - {command.app}
            verdict = await self._journal.record(command, others)
        except StorageError as error:
            if isinstance(command, StartStream):
                self._refused(command, str(error))
            else:  # Zoom's next try comes when all is over: act without the journal
                self._apply(command)
            raise
        is_revocation = isinstance(command, StopStream) and command.stop_reason == StopReason.STREAM_REVOKED
        if is_revocation and verdict is not Verdict.FOREIGN:
            self.lost.forget(command.rtms_stream_id)
        elif isinstance(command, StartStream) and verdict is Verdict.NEW:
            self.lost.accepted(command.rtms_stream_id)
        if verdict is Verdict.NEW:
            self._apply(command)
        elif verdict is Verdict.LATE and isinstance(command, StopStream):
            self._explained(command)
        elif verdict is Verdict.FOREIGN:
            log.warning("webhook ignored", rtms_stream_id=command.rtms_stream_id, why="the stream is another app's")
        return verdict

    def _refused(self, start: StartStream, why: str) -> None:
        """A start is answered with 503. Somebody will look for the stream."""
        if (more := self._refusals_told.admit()) is not None:
            log.warning("start refused", rtms_stream_id=start.rtms_stream_id, why=why, more_since_last=more)
        self.lost.refused(start, why)
        line = {"at_ms": local_ms(), "kind": "start_refused", "zoom_ms": start.event_ts, "why": why}
        self._on_event({"rtms_stream_id": start.rtms_stream_id, **line})

    def close(self, rtms_stream_id: str) -> None:
        """End a stream politely, if it is still alive."""
        self._apply(CloseStream(rtms_stream_id))

    def _apply(self, command: Command) -> None:
        life = self._lives.get(command.rtms_stream_id)
        match command:
            case InterruptStream() if life is None:
                log.info("interrupted webhook ignored", rtms_stream_id=command.rtms_stream_id, why="no such stream")
            case StartStream() | StopStream() if life is None:
                self._begin(Life(row_of(command), command))
            case _ if life is not None:
                life.tell(command)

    def _begin(self, life: Life) -> None:
        self._lives[life.row.rtms_stream_id] = life
        self._unexplained.pop(life.row.rtms_stream_id, None)
        self._nursery.start_soon(self._guard, life)

    # The boundary

    async def _guard(self, life: Life) -> None:
        row = life.row
        with structlog.contextvars.bound_contextvars(rtms_stream_id=row.rtms_stream_id, app=row.app):
            outcome = Outcome("failed", None, None, "a bug of ours, see the log")
            try:
                outcome = await self._live(life)
            except* LocalProtocolError as group:
                outcome = _crashed(group)
            except* RtmsdError as group:
                why = "; ".join(dict.fromkeys(str(error) for error in leaves(group)))
                outcome = Outcome("failed", None, None, why)
            except* Exception as group:
                outcome = _crashed(group)
            life.over(outcome)
            assert life.outcome is not None
            self._judge(life, life.outcome)
            await self._aftermath.of(life)
            del self._lives[row.rtms_stream_id]
            if life.outcome.is_guess:
                self._unexplained[row.rtms_stream_id] = row
                if len(self._unexplained) > REMEMBERED:
                    del self._unexplained[next(iter(self._unexplained))]
            for command in life.waiting:
                self._apply(command)
            if not self._lives:
                self._nobody_left.set()
            if life.outcome.reason is not None and not life.outcome.is_guess:
                await self._start_again(row, life.outcome.reason)

    def _explained(self, stop: StopStream) -> None:
        """Zoom says why a stream ended that was given up before. A host who stopped it wants no new one."""
        self.lost.explained(stop.rtms_stream_id, stop.stop_reason)
        if (row := self._unexplained.pop(stop.rtms_stream_id, None)) is not None:
            self._nursery.start_soon(self._start_again, row, stop.stop_reason)

    async def _start_again(self, row: StreamRow, reason: int) -> None:
        """Let the policy decide. What goes wrong there is no live stream's trouble."""
        try:
            await self._restarter.consider(row, reason)
        except* Exception:
            log.exception("stream not started again")

    async def _live(self, life: Life) -> Outcome:
        """Open the files, then the stream, and return how it ended."""
        row, config, resumed = life.row, self.config, life.begun_by is None
        stopped = (
            None if row.stop_reason is None else outcome_of_stop(row.stop_reason, row.stopped_ms, "stopped webhook")
        )
        await self.librarian.wait_free(row.rtms_stream_id)
        if stopped is not None and stopped.state == "revoked":
            return stopped  # what is to be deleted need not be read
        with life.unless_revoked():
            if stopped is None or (resumed and row.started_ms is not None) or await self._has_files(info_of(row)):
                life.recorder = await open_recorder(
                    config.recording, info_of(row), self._writer, local_ms=local_ms, on_event=self._on_event
                )
        if life.outcome is not None:
            return life.outcome
        if life.recorder is None:
            assert stopped is not None
            return stopped
        if life.begun_by is not None:
            life.write_down(life.begun_by)
        else:  # before the end, which closes what is missing
            life.recorder.interrupted(Cause.RESTART, config.media.types)
        if stopped is not None:
            return stopped
        app = next((app for app in config.apps if app.name == row.app), None)
        if app is None:
            return Outcome("failed", None, None, f"app {row.app!r} is no longer in the configuration")
        if not row.server_urls:
            return Outcome("failed", None, None, NO_ADDRESS)
        stream = Stream(
            row,
            (app.client_id, app.client_secret),
            StreamSettings(streams=config.streams, zoom=config.zoom, media=config.media),
            life.recorder,
            history=self.history,
            wait_room=partial(self._wait_room, life.recorder.media.backlog),
            resumed=resumed,
        )
        life.opened(stream)
        return await stream.run()

    async def _has_files(self, info: StreamInfo) -> bool:
        root = self.config.recording.directory
        look = partial(stream_directory, root, info.started_ms, info.rtms_stream_id)
        return await self._writer.retrier.run(lambda: look().is_dir(), info.rtms_stream_id)

    def _judge(self, life: Life, outcome: Outcome) -> None:
        """Count the end, and tell `history` of a stream that nothing, or not all, could be had of."""
        is_failed = outcome.state == "failed"
        if life.is_revoked:  # said perhaps to a process before this one
            self.lost.forget(life.row.rtms_stream_id)
        if is_failed or life.recorder is not None:
            self._aftermath.tally.ended[outcome.state, reason_label(outcome.reason)] += 1
            self.lost.ended(life.row, outcome, recorded=life.recorder is not None)
        if is_failed or life.never_connected:
            self.history.failed(life.row.app, life.row.rtms_stream_id, outcome.why)

    async def _wait_room(self, backlog: Backlog, limit_s: float) -> None:
        with trio.move_on_after(limit_s):
            await self._writer.wait_room(backlog)

    # What operators and the daemon ask for

    @property
    def lives(self) -> Mapping[str, Life]:
        """The streams there are now, by `rtms_stream_id`."""
        return self._lives

    @property
    def journal(self) -> Journal:
        return self._journal

    @property
    def ended(self) -> Sequence[dict[str, Any]]:
        """What is told of the streams that ended last, the newest at the end."""
        return self._aftermath.ended

    def tally(self) -> Tally:
        """Sums over all streams since the daemon started."""
        tally = self._aftermath.tally.copy()
        for life in self._lives.values():
            if life.stream is not None:
                tally.add(life.stream)
        return tally

    def suspend(self) -> None:
        """Prepare all streams for the end of the process: they keep their slots at Zoom, to be resumed."""
        for life in self._lives.values():
            if life.stream is not None and life.end is None:
                life.stream.suspend()

    async def suspend_files(self) -> None:
        """Bring the files of all streams to disk, after `run` was cancelled: for good where the end is known."""
        unfinished = {id_ for id_, life in self._lives.items() if life.recorder is not None or life.end is not None}

        async def finish(life: Life) -> None:
            life.outcome = life.end
            if life.outcome is not None:
                self.lost.ended(life.row, life.outcome, recorded=life.recorder is not None)
            await (self._aftermath.of(life) if life.outcome is not None else self._suspend(life))
            unfinished.remove(life.row.rtms_stream_id)

        await self.lost.flush_if_possible()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_unfinished, unfinished)
            async with trio.open_nursery() as files:
                for rtms_stream_id in unfinished:
                    files.start_soon(finish, self._lives[rtms_stream_id])
            nursery.cancel_scope.cancel()
        await self.lost.flush_if_possible()

    async def _suspend(self, life: Life) -> None:
        try:
            if life.recorder is not None:
                await life.recorder.suspend()
        except* Exception:
            log.exception("stream could not be suspended", rtms_stream_id=life.row.rtms_stream_id)

    async def _tell_unfinished(self, unfinished: Set[str]) -> None:
        """Say what was not written as soon as time is up: a thread that waits for the disk may never come back."""
        try:
            await trio.sleep_forever()
        finally:
            if unfinished:
                log.error(
                    "files not finished in time",
                    streams=sorted(unfinished),
                    pending_bytes=self._writer.pending_bytes,
                )

    async def end_all(self) -> None:
        """Close all streams politely, and return when their files are finished."""
        for rtms_stream_id in tuple(self._lives):
            self.close(rtms_stream_id)
        self._nobody_left = trio.Event()
        if self._lives:
            await self._nobody_left.wait()


def _crashed(group: BaseExceptionGroup[Exception]) -> Outcome:
    """How a stream ends that we drove into a bug: told whole in the log, by its name in the files."""
    log.error("stream crashed", exc_info=group)
    names = ", ".join(dict.fromkeys(type(bug).__name__ for bug in leaves(group)))
    return Outcome("failed", None, None, f"a bug of ours ({names}), see the log")
