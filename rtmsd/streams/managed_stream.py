"""A stream as the supervisor manages it: from its command to its finished files, and when a command is applied."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, NoReturn, TypeAlias

import attrs
import trio

from rtmsd.commands import CloseStream, Command, InterruptStream, StartStream, StopStream, StreamCommand
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.recorder import Recorder
from rtmsd.state.rows import StreamRow
from rtmsd.streams.beginning import Beginning, row_after
from rtmsd.streams.core.connections import DRAIN_S
from rtmsd.streams.core.outcome import LetGo, Outcome, outcome_of_stop
from rtmsd.streams.core.phase import StreamPhase
from rtmsd.streams.drivers.stream import Stream

EVENTS: Final[Mapping[type[StreamCommand], str]] = {
    StartStream: "rtms_started",
    StopStream: "rtms_stopped",
    InterruptStream: "rtms_interrupted",
}
"""Zoom's names of webhooks, without the product's."""


Order: TypeAlias = Command | Beginning


@attrs.define(eq=False)
class ManagedStream:
    """From before the files of a stream are open until they are finished, or suspended because it is let go.

    Attributes:
        beginning: as it began.
        row: as the journal has it; a failover brings another server and a newer `event_ts`.
        recorder: once the files are open.
        stream: while the files are open, and afterwards as it ended.
        waiting: orders that came too early, while the files were being opened, or too late for this one. They are
            a handful at the most.
        is_gone: set when the supervisor knows it no more.
        opening_scope: of opening the files: cancelled when the stream is let go before they are.
        outcome: set when its files are to be finished, or at once deleted.
    """

    beginning: Beginning
    row: StreamRow = attrs.field(init=False)
    recorder: Recorder | None = None
    stream: Stream | None = None
    waiting: list[Order] = attrs.field(factory=list)
    outcome: Outcome | None = None
    is_gone: trio.Event = attrs.field(factory=trio.Event, init=False)
    opening_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _disk_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _let_go: LetGo | None = attrs.field(default=None, init=False)  # while its files are being opened

    @row.default
    def _row_at_first(self) -> StreamRow:
        return self.beginning.row

    @property
    def is_revoked(self) -> bool:
        """Whether all that is left to do is to delete what was stored."""
        return self.outcome is not None and self.outcome.state == "revoked"

    def unless_revoked(self) -> trio.CancelScope:
        """Return a scope for what waits for the disk: a revocation ends it, however long the disk refuses."""
        self._disk_scope = trio.CancelScope()
        if self.is_revoked:
            self._disk_scope.cancel()
        return self._disk_scope

    @property
    def letting_go(self) -> LetGo | None:
        """Why it is let go, as soon as that is decided: its files are not suspended yet."""
        return self._let_go or (None if self.stream is None else self.stream.situation.letting_go)

    @property
    def end(self) -> Outcome | None:
        """How the stream ended, as soon as that is decided: it may still be read for a moment."""
        return self.outcome or (None if self.stream is None else self.stream.situation.outcome)

    def finish(self, outcome: Outcome) -> None:
        """Have its files finished, as those of a stream that ended so. That it was revoked no later trouble undoes."""
        known = self.end
        self.outcome = known if known is not None and known.state == "revoked" else outcome

    @property
    def is_connecting(self) -> bool:
        """Whether it has no signaling connection yet, or again, and may get one."""
        phase = StreamPhase.CONNECTING if self.stream is None else self.stream.situation.phase
        return self.outcome is None and phase in {StreamPhase.CONNECTING, StreamPhase.RECOVERING_ALL}

    @property
    def never_connected(self) -> bool:
        """Whether it was given up without ever having had media."""
        reason = None if self.outcome is None else self.outcome.reason
        is_given_up = reason == StopReason.AWAIT_RECONNECTION_TIMEOUT
        return is_given_up and self.stream is not None and not self.stream.situation.outage.was_up

    def owned(self, tenure: PartTenure) -> None:
        """It was begun before this member of a cluster could claim it, and is claimed now."""
        self.beginning = attrs.evolve(self.beginning, tenure=tenure)
        if self.recorder is not None:
            self.recorder.owned(tenure)

    def record_beginning(self) -> None:
        """Write down how it began: the files are open."""
        assert self.recorder is not None
        if self.beginning.tenure is not None:  # known only since they were being opened, perhaps
            self.recorder.owned(self.beginning.tenure)
        if self.beginning.takeover is not None:
            self.recorder.event("stream_state", None, **{"state": self.recorder.state_name, **self.beginning.takeover})
        if self.beginning.begun_by is not None:
            self.record_webhook(self.beginning.begun_by)

    def record_webhook(self, webhook: StreamCommand) -> None:
        """Write down what Zoom's webhook said, when it is applied."""
        if self.recorder is not None:
            reason = {"stop_reason": webhook.stop_reason} if isinstance(webhook, StopStream) else {}
            name = EVENTS[type(webhook)]
            self.recorder.event("webhook", webhook.event_ts, event=name, app=webhook.app, **reason)

    def submit(self, order: Order) -> None:
        """Apply the order, or keep it for when it can be applied."""
        with self._bounded():
            self._take(order)

    def let_go(self, why: str) -> None:
        """Leave it to somebody else, unless its end is decided. What comes from now on is for who has it next."""
        if self.letting_go is not None:  # and perhaps was to be taken up again
            self.waiting = [order for order in self.waiting if not isinstance(order, Beginning)]
        elif self.stream is not None:
            with self._bounded():
                self.stream.let_go(why)
        elif self.outcome is None:
            self._let_go = LetGo(why)
            self.opening_scope.cancel()

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """A bug ends the stream, not the caller."""
        try:
            yield
        except Exception as bug:
            assert self.stream is not None
            self.stream.nursery.start_soon(_crash, bug)

    def opened(self, stream: Stream) -> None:
        """The files are open: what came meanwhile is applied now, in order."""
        orders, self.waiting, self.stream = self.waiting, [], stream
        for order in orders:
            self._take(order)

    def _take(self, order: Order) -> None:
        is_opening = self.stream is None and self.outcome is None
        if self.letting_go is not None:
            self.waiting.append(order)
        elif isinstance(order, StopStream) and order.stop_reason == StopReason.STREAM_REVOKED:
            self._revoke(order)
        elif is_opening or self.waiting or (isinstance(order, StartStream | Beginning) and self.end is not None):
            self.waiting.append(order)  # to a stream that ends, a new start is for the one after it
            if self.stream is not None:
                self.stream.report(self.stream.situation.ending.cut_short, DRAIN_S)
        elif isinstance(order, Beginning):  # it goes on
            if order.tenure is not None:
                self.owned(order.tenure)
            for command in tuple(order.news(self.row)):
                self._take(command)
        elif self.stream is not None and self.outcome is None:
            self._apply(self.stream, order)

    def _revoke(self, command: StopStream) -> None:
        """Have everything deleted, whatever is being done: nothing that was said before matters any more."""
        for order in self.waiting:
            if isinstance(order, StartStream):
                self.row = attrs.evolve(self.row, event_ts=order.event_ts)
            elif isinstance(order, Beginning):
                self.row = attrs.evolve(self.row, event_ts=order.row.event_ts)
        self.waiting.clear()
        if self.stream is not None and self.outcome is None:
            self._apply(self.stream, command)
        elif not self.is_revoked:
            self.outcome = outcome_of_stop(command.stop_reason, command.event_ts, "stopped webhook")
            self._disk_scope.cancel()

    def _apply(self, stream: Stream, command: Command) -> None:
        try:
            if not isinstance(command, CloseStream):
                self.record_webhook(command)
        finally:  # a revocation that cannot be written down is one
            match command:
                case StartStream():
                    self.row = row_after(self.row, command)
                    stream.report(stream.core.failover, command)
                case InterruptStream():
                    stream.report(stream.core.interrupted, command)
                case StopStream():
                    stream.report(stream.core.stopped, command.stop_reason, command.event_ts, "stopped webhook")
                case CloseStream():
                    stream.report(stream.core.close)


async def _crash(bug: Exception) -> NoReturn:
    raise bug


def info_of(row: StreamRow) -> StreamInfo:
    """Return what a recording says it is of. Of some streams only the stop was ever heard of."""
    return StreamInfo(
        rtms_stream_id=row.rtms_stream_id,
        product=row.product,
        session=row.session,
        app=row.app,
        started_ms=row.event_ts if row.started_ms is None else row.started_ms,
        started_again_ms=row.event_ts if row.server_urls else 0,
        details=row.details,
    )
