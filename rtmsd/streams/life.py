"""One stream's time in the supervisor, and which of the commands to it are obeyed when."""

import attrs

from rtmsd.protocol.enums import StopReason
from rtmsd.recording.recorder import Recorder
from rtmsd.state.ledger import StreamRow
from rtmsd.streams.commands import CloseStream, Command, InterruptStream, StartStream, StopStream
from rtmsd.streams.ending import Outcome
from rtmsd.streams.stream import Stream


@attrs.define(eq=False)
class Life:
    """From before the files of a stream are open until they are finished.

    Attributes:
        row: as the journal has it; a failover brings another server and a newer `event_ts`.
        recorder: once the files are open.
        stream: while the files are open, and afterwards as it ended.
        waiting: commands that came too early, while the files were being opened, or too late for this life. They are
            a handful at the most.
        outcome: set when its files are to be finished.
    """

    row: StreamRow
    recorder: Recorder | None = None
    stream: Stream | None = None
    waiting: list[Command] = attrs.field(factory=list)
    outcome: Outcome | None = None

    @property
    def end(self) -> Outcome | None:
        """How the stream ended, as soon as that is decided: it may still be read for a moment."""
        return self.outcome or (None if self.stream is None else self.stream.ending.outcome)

    def tell(self, command: Command) -> None:
        """Obey, or keep the command for when it can be obeyed."""
        is_opening = self.stream is None and self.outcome is None
        if is_opening or self.waiting or _is_for_later(command, self.end, is_over=self.outcome is not None):
            self.waiting.append(command)
        elif self.stream is not None and self.outcome is None:
            self._obey(self.stream, command)

    def opened(self, stream: Stream) -> None:
        """The files are open: what came meanwhile is obeyed now, in order."""
        commands, self.waiting, self.stream = self.waiting, [], stream
        for command in commands:
            self.tell(command)

    def _obey(self, stream: Stream, command: Command) -> None:
        match command:
            case StartStream():
                self.row = attrs.evolve(self.row, server_urls=command.server_urls, event_ts=command.event_ts)
                stream.failover(command)
            case InterruptStream():
                stream.interrupted(command)
            case StopStream():
                stream.ending.stopped(command.stop_reason, command.event_ts, "stopped webhook")
            case CloseStream():
                stream.close()


def _is_for_later(command: Command, end: Outcome | None, *, is_over: bool) -> bool:
    """Whether a command to a stream that ends is for the life after it: a new start, or, too late for this life to
    obey, that everything must be deleted.
    """
    match command:
        case StartStream():
            return end is not None
        case StopStream(stop_reason=StopReason.STREAM_REVOKED):
            return is_over and end is not None and end.state != "revoked"
        case _:
            return False
