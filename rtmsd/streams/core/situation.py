"""The situation of a stream: all its state, what follows from it, and the actions that are due."""

import math
from collections.abc import Iterable

from rtmsd.config.model import StreamsConfig
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.enums import MediaType
from rtmsd.streams.core.actions import OUTGOING, Action, End, Leave, Log, RecordState, Wait
from rtmsd.streams.core.connections import LinkState, MediaLink, Uplink, UplinkState
from rtmsd.streams.core.ending import Ending, Recording
from rtmsd.streams.core.outcome import LetGo, Outcome, given_up
from rtmsd.streams.core.phase import OVER, RECORDED_AS, StreamInput, StreamMachine, StreamPhase, SubSessions
from rtmsd.streams.core.reconnect import Backoff, Outage, Window


class Situation:
    """Shared by the parts of the core, which all change it.

    Attributes:
        machine: the phase of the stream.
        uplink, links: its connections.
        outage: what is lost now, and how earlier losses ended.
        recorded: its state, as the recording has it.
        why: what the latest change of state, or the latest failed attempt to connect, came from.
        letting_go: set when it is decided that somebody else has the stream, or shall have it: there is no end then.
        is_paused: by Zoom's latest word, which holds over a loss.
        video_due_s: when it is next looked whose video to ask for.

    Args:
        url: of the signaling server.
        connections: the media of each media connection.
        recorded: the state that the recording is in.
        cause: why media are missing since somebody else, or an earlier process, had the stream; None: it is new.
        transfers: see `Product.transfers`.
    """

    def __init__(
        self,
        url: str,
        limits: StreamsConfig,
        recording: Recording,
        *,
        connections: Iterable[MediaType],
        recorded: RecordingState,
        cause: GapCause | None,
        transfers: bool = False,
    ) -> None:
        self.limits = limits
        self.transfers = transfers
        self.recording = recording
        self.machine = StreamMachine()
        self.uplink = Uplink(url, limits)
        delays_s = limits.reconnect_delay_s, limits.reconnect_delay_max_s
        self.links = tuple(MediaLink(types, Window(limits.media_window_s), Backoff(*delays_s)) for types in connections)
        self.ending = Ending(limits.stop_grace_s)
        self.outage = Outage(cause)
        self.sub_sessions = SubSessions()
        self.recorded = recorded
        self.why = ""
        self.letting_go: LetGo | None = None
        self.is_paused = False
        self.video_due_s = math.inf
        self._actions: list[Action] = []
        self._wake_s = math.inf
        if cause is not None:
            self.machine.feed(StreamInput.SIGNALING_LOST)

    @property
    def phase(self) -> StreamPhase:
        return self.machine.phase

    @property
    def outcome(self) -> Outcome | None:
        return self.ending.outcome

    @property
    def expects_end(self) -> bool:
        """Whether a connection that closes now is the end and no loss."""
        if self.letting_go is not None:
            return False
        return self.outcome is not None or self.phase is StreamPhase.TERMINATING or self.sub_sessions.all_stopped

    @property
    def loss_cause(self) -> GapCause | None:
        """The cause of the gap that a connection lost now opens; None when the stream is ending anyway."""
        if self.expects_end:
            return None
        return self.uplink.dropping or (GapCause.MEDIA_RECONNECT if self.uplink.is_up else GapCause.SIGNALING_RECONNECT)

    # Changes

    def emit(self, *actions: Action) -> None:
        """Have this done. After the end, or when it is let go, nothing is opened or sent, whatever a socket brings."""
        is_over = self.phase is StreamPhase.ENDED or self.letting_go is not None
        self._actions += (each for each in actions if not (is_over and isinstance(each, OUTGOING)))

    def feed(self, what: StreamInput, why: str) -> None:
        """Move the phase, and where the recorded state changes with it, say so once."""
        self.machine.feed(what)
        state = RECORDED_AS.get(self.phase) if self.outcome is None else self.outcome.state
        if state is None or state is self.recorded:
            return
        self.why = why
        self.emit(RecordState(state, why))
        if self.outcome is None:  # a final one counts, and is logged, when the files are finished
            self.emit(Log("info", "stream state", {"state": state.value, "was": self.recorded.value, "why": why}))
            self.recorded = state

    def decide(self, now_s: float, outcome: Outcome) -> None:
        """Decide how the stream ends, unless it is let go. A revocation, or a failure, ends reading at once."""
        if self.letting_go is not None:
            return
        if self.ending.take(outcome):
            self.feed(StreamInput.DECIDED, outcome.why)
        can_read = self.uplink.is_up or any(link.state is LinkState.STREAMING for link in self.links)
        if outcome.state is RecordingState.ENDED and can_read:
            self.ending.read_on(now_s, outcome, self.recording.messages, is_short=self.recording.is_short)
        else:
            self.ending.cut_short(now_s, 0.0)

    def let_go(self, why: str) -> bool:
        """Decide that the stream goes on without us. Returns whether it does: an end that is decided is kept."""
        if self.outcome is not None or self.letting_go is not None:
            return False
        self.letting_go = LetGo(why)
        self.ending.announced = self.ending.last_stopped = None
        self.emit(Log("info", "letting the stream go", {"why": why}))
        self.feed(StreamInput.LETTING_GO, why)
        return True

    def leave(self) -> None:
        """Nothing of a stream that is let go is open any more."""
        if self.phase is StreamPhase.LETTING_GO:
            self.machine.feed(StreamInput.LET_GO)
            self.emit(Leave())

    def look(self, now_s: float) -> None:
        """See what media came since the end was decided, if reading went on."""
        if not math.isinf(self.ending.look_s):
            heard_s = {name: link.heard_s for link in self.links if link.is_open for name in link.media}
            self.ending.look(now_s, self.recording.messages, heard_s, is_short=self.recording.is_short)

    def window_passed(self, now_s: float, why: str) -> None:
        self.outage.failed()
        self.decide(now_s, given_up(why))

    def take_actions(self, now_s: float) -> list[Action]:
        """Return, and forget, what is to be done, the end and the next time to `tick` included."""
        outcome = self.outcome
        if outcome is not None and self.phase is StreamPhase.READING_ON and now_s >= self.ending.end_s:
            self.machine.feed(StreamInput.ENDED)
            self.emit(End(outcome))
        if (wake_s := self._due_s()) != self._wake_s:
            self._wake_s = wake_s
            self.emit(Wait(wake_s))
        actions, self._actions = self._actions, []
        return actions

    def _due_s(self) -> float:
        if self.phase in OVER:
            return math.inf
        due_s = min(
            self.ending.due_s, self.uplink.drop_s, self.uplink.drain_s, self.uplink.asked_until_s, self.video_due_s
        )
        if self.uplink.state is UplinkState.WAITING:
            due_s = min(due_s, self.uplink.attempts.next_s)
        for link in self.links:
            if link.suspicion is not None:
                due_s = min(due_s, link.suspicion.due_s)
            if link.state is LinkState.LOST:
                due_s = min(due_s, link.attempts.next_s)
        return due_s
