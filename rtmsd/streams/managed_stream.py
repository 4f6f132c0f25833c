"""A stream as the supervisor manages it: from its command to its finished files, and when a command is applied."""

from collections.abc import Mapping
from typing import Final, NoReturn

import attrs
import trio

from rtmsd.commands import CloseStream, Command, InterruptStream, StartStream, StopStream, StreamCommand
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.recorder import Recorder
from rtmsd.state.rows import StreamRow
from rtmsd.streams.core.connections import DRAIN_S
from rtmsd.streams.core.outcome import Outcome, outcome_of_stop
from rtmsd.streams.drivers.stream import Stream

EVENTS: Final[Mapping[type[StreamCommand], str]] = {
    StartStream: "rtms_started",
    StopStream: "rtms_stopped",
    InterruptStream: "rtms_interrupted",
}
"""Zoom's names of webhooks, without the product's."""


@attrs.define(eq=False)
class ManagedStream:
    """From before the files of a stream are open until they are finished.

    Attributes:
        row: as the journal has it; a failover brings another server and a newer `event_ts`.
        begun_by: the webhook that it began with; None: an earlier process had the stream.
        recorder: once the files are open.
        stream: while the files are open, and afterwards as it ended.
        waiting: commands that came too early, while the files were being opened, or too late for this one. They are
            a handful at the most.
        is_resumed: an earlier process had the stream, or this one let it go.
        is_gone: set when the supervisor knows it no more.
        release_scope: of all that is done for it before its end: cancelled, it is let go.
        outcome: set when its files are to be finished, or at once deleted.
    """

    row: StreamRow
    begun_by: StreamCommand | None = None
    recorder: Recorder | None = None
    stream: Stream | None = None
    waiting: list[Command] = attrs.field(factory=list)
    outcome: Outcome | None = None
    is_resumed: bool = attrs.field(default=False, kw_only=True)
    is_gone: trio.Event = attrs.field(factory=trio.Event, init=False)
    release_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _disk_scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

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
    def end(self) -> Outcome | None:
        """How the stream ended, as soon as that is decided: it may still be read for a moment."""
        return self.outcome or (None if self.stream is None else self.stream.situation.outcome)

    def finish(self, outcome: Outcome) -> None:
        """Have its files finished, as those of a stream that ended so. That it was revoked no later trouble undoes."""
        known = self.end
        self.outcome = known if known is not None and known.state == "revoked" else outcome

    @property
    def never_connected(self) -> bool:
        """Whether it was given up without ever having had media."""
        reason = None if self.outcome is None else self.outcome.reason
        is_given_up = reason == StopReason.AWAIT_RECONNECTION_TIMEOUT
        return is_given_up and self.stream is not None and not self.stream.situation.outage.was_up

    def record_webhook(self, webhook: StreamCommand) -> None:
        """Write down what Zoom's webhook said, when it is applied."""
        if self.recorder is not None:
            reason = {"stop_reason": webhook.stop_reason} if isinstance(webhook, StopStream) else {}
            name = EVENTS[type(webhook)]
            self.recorder.event("webhook", webhook.event_ts, event=name, app=webhook.app, **reason)

    def submit(self, command: Command) -> None:
        """Apply the command, or keep it for when it can be applied. A bug in that ends the stream, not the caller."""
        try:
            self._take(command)
        except Exception as bug:
            assert self.stream is not None
            self.stream.nursery.start_soon(_crash, bug)

    def release(self) -> None:
        """Let it go as it is. What comes from now on is for the next one that takes it up."""
        if self.stream is not None:
            self.stream.report(self.stream.core.suspend)
        self.release_scope.cancel()

    def opened(self, stream: Stream) -> None:
        """The files are open: what came meanwhile is applied now, in order."""
        commands, self.waiting, self.stream = self.waiting, [], stream
        for command in commands:
            self._take(command)

    def _take(self, command: Command) -> None:
        is_opening = self.stream is None and self.outcome is None
        if self.release_scope.cancel_called:
            self.waiting.append(command)
        elif isinstance(command, StopStream) and command.stop_reason == StopReason.STREAM_REVOKED:
            self._revoke(command)
        elif is_opening or self.waiting or (isinstance(command, StartStream) and self.end is not None):
            self.waiting.append(command)  # to a stream that ends, a new start is for the one after it
            if self.stream is not None:
                self.stream.report(self.stream.situation.ending.cut_short, DRAIN_S)
        elif self.stream is not None and self.outcome is None:
            self._apply(self.stream, command)

    def _revoke(self, command: StopStream) -> None:
        """Have everything deleted, whatever is being done: nothing that was said before matters any more."""
        for start in self.waiting:
            if isinstance(start, StartStream):
                self.row = attrs.evolve(self.row, event_ts=start.event_ts)
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


def row_of(command: StartStream | StopStream) -> StreamRow:
    """Return a stream as the journal will have it after `command` alone."""
    stop = command if isinstance(command, StopStream) else None
    event_ts = command.event_ts or 0
    return StreamRow(
        rtms_stream_id=command.rtms_stream_id,
        product=command.product,
        session=command.session,
        app=command.app,
        server_urls=command.server_urls if isinstance(command, StartStream) else "",
        started_ms=event_ts,
        event_ts=event_ts,
        stop_reason=None if stop is None else stop.stop_reason,
        stopped_ms=None if stop is None else stop.event_ts,
        closed=False,
        details=command.details if isinstance(command, StartStream) else {},
    )


def row_after(row: StreamRow, command: StartStream | StopStream) -> StreamRow:
    """Return a stream that is known as the journal will have it after `command`."""
    if isinstance(command, StopStream):
        return attrs.evolve(row, stop_reason=command.stop_reason, stopped_ms=command.event_ts)
    details = {**row.details, **command.details}
    return attrs.evolve(row, server_urls=command.server_urls, event_ts=command.event_ts, details=details)


def info_of(row: StreamRow) -> StreamInfo:
    """Return what a recording says it is of. Of some streams only the stop was ever heard of."""
    return StreamInfo(
        rtms_stream_id=row.rtms_stream_id,
        product=row.product,
        session=row.session,
        app=row.app,
        started_ms=row.event_ts if row.started_ms is None else row.started_ms,
        started_again_ms=row.event_ts,
        details=row.details,
    )
