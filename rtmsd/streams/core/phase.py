"""The phase of a stream, and its sub-sessions, as tables.

An illegal move of ours raises, one of Zoom's is ignored.
"""

import enum
from collections import Counter
from collections.abc import Mapping
from typing import Final

from rtmsd.errors import LocalProtocolError
from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import SessionState
from rtmsd.protocol.messages import SessionStateUpdate


class StreamPhase(enum.Enum):
    """The client's view of one `rtms_stream_id`."""

    CONNECTING = enum.auto()
    READY = enum.auto()  # message 7 is sent
    ACTIVE = enum.auto()  # media flow
    PAUSED = enum.auto()
    RECOVERING_ALL = enum.auto()  # signaling is lost, and media with it
    RECOVERING_MEDIA = enum.auto()  # signaling is up, a media connection is lost
    TERMINATING = enum.auto()  # Zoom said that the end is near; media may still come
    READING_ON = enum.auto()  # the end is decided; media that are on their way are still read
    ENDED = enum.auto()
    LETTING_GO = enum.auto()  # it goes on without us; what is in our sockets is still read
    LET_GO = enum.auto()


class StreamInput(enum.Enum):
    """What moves a stream. Its value says whose move it is, in the words of the error."""

    HANDSHAKES_OK = "our handshakes"  # message 7 is sent: after the first media handshake, or when none is missing now
    SIGNALING_LOST = "our loss of signaling"  # noticed by us, or reported by the interrupted webhook
    MEDIA_LOST = "our loss of media"  # noticed by us, or reported by event 7 or message 8 state 2
    DECIDED = "our decision on the end"  # message 8 state 4, the stopped webhook, the window passed, or we gave up
    ENDED = "our end"  # nothing is read any more
    LETTING_GO = "our letting go"  # somebody else has the stream, or shall have it
    LET_GO = "our leaving"  # nothing of it is open any more
    MEDIA = "Zoom's media"  # or message 8 state 1
    PAUSED = "Zoom's pause"
    RESUMED = "Zoom's resumption"
    TERMINATING = "Zoom's announcement of the end"
    STARTED_AGAIN = "Zoom's new start"  # a started webhook with a newer `event_ts`


_ZOOMS: Final = frozenset(
    {
        StreamInput.MEDIA,
        StreamInput.PAUSED,
        StreamInput.RESUMED,
        StreamInput.TERMINATING,
        StreamInput.STARTED_AGAIN,
    }
)


def _moves() -> Mapping[tuple[StreamPhase, StreamInput], StreamPhase]:
    p = StreamPhase
    running = (p.READY, p.ACTIVE, p.PAUSED)
    recovering = (p.RECOVERING_ALL, p.RECOVERING_MEDIA)
    alive = (p.CONNECTING, *running, *recovering)
    ending = (p.TERMINATING, p.READING_ON, p.ENDED)

    def to(target: StreamPhase, *sources: StreamPhase) -> dict[StreamPhase, StreamPhase]:
        return dict.fromkeys(sources, target)

    def stay(*phases: StreamPhase) -> dict[StreamPhase, StreamPhase]:
        return {phase: phase for phase in phases}

    by_input = {
        # With split connections each further media handshake says so again.
        StreamInput.HANDSHAKES_OK: to(p.READY, p.CONNECTING, *recovering) | stay(*running, p.TERMINATING),
        # Sockets of a stream that ends are closed by Zoom: no loss.
        StreamInput.SIGNALING_LOST: to(p.RECOVERING_ALL, *alive) | stay(*ending, p.LETTING_GO),
        StreamInput.MEDIA_LOST: to(p.RECOVERING_MEDIA, *running)
        | stay(p.CONNECTING, *recovering, *ending, p.LETTING_GO),
        StreamInput.DECIDED: to(p.READING_ON, *alive, p.TERMINATING) | stay(p.READING_ON, p.ENDED),
        StreamInput.ENDED: to(p.ENDED, p.READING_ON, p.ENDED),
        # A stream of which the end is known is not let go; one that is let go has no end here.
        StreamInput.LETTING_GO: to(p.LETTING_GO, *alive, p.TERMINATING),
        StreamInput.LET_GO: to(p.LET_GO, p.LETTING_GO),
        # Media of another type, or still in a buffer, do not mean that what was lost is back.
        StreamInput.MEDIA: to(p.ACTIVE, *running) | stay(p.CONNECTING, *recovering, p.TERMINATING),
        # A pause while not connected is remembered, and fed again after the handshakes.
        StreamInput.PAUSED: to(p.PAUSED, *running) | stay(p.CONNECTING, *recovering),
        StreamInput.RESUMED: to(p.ACTIVE, p.PAUSED) | stay(p.CONNECTING, p.READY, p.ACTIVE, *recovering),
        StreamInput.TERMINATING: to(p.TERMINATING, *alive, p.TERMINATING),
        StreamInput.STARTED_AGAIN: to(p.CONNECTING, *alive, p.TERMINATING),
    }
    return {(source, what): target for what, row in by_input.items() for source, target in row.items()}


MOVES: Final = _moves()

OVER: Final = frozenset({StreamPhase.ENDED, StreamPhase.LET_GO})
"""Nothing is done for the stream here any more."""

RECORDED_AS: Final[Mapping[StreamPhase, RecordingState]] = {
    StreamPhase.CONNECTING: RecordingState.CONNECTING,
    StreamPhase.READY: RecordingState.ACTIVE,
    StreamPhase.ACTIVE: RecordingState.ACTIVE,
    StreamPhase.PAUSED: RecordingState.PAUSED,
    StreamPhase.RECOVERING_ALL: RecordingState.RECOVERING,
    StreamPhase.RECOVERING_MEDIA: RecordingState.RECOVERING,
    StreamPhase.LETTING_GO: RecordingState.RECOVERING,
}
"""The `state` of the manifest. It changes no more while a stream terminates; its final word is in the outcome."""


class StreamMachine:
    """The phase of one stream."""

    def __init__(self) -> None:
        self.phase = StreamPhase.CONNECTING

    def feed(self, what: StreamInput) -> bool:
        """Make a move; False when it was Zoom's and illegal: then the phase stays.

        Raises:
            LocalProtocolError: the move was ours and illegal.
        """
        target = MOVES.get((self.phase, what))
        if target is not None:
            self.phase = target
        elif what not in _ZOOMS:
            raise LocalProtocolError(f"{what.value} ({what.name}) when the stream is {self.phase.name}")
        return target is not None


# Sub-sessions

MAX_SUB_SESSIONS: Final = 1000  # remembered in one stream; beyond, stopped ones are forgotten, then new ones ignored

# States may be skipped, and reported again after a reconnection, but none comes after STOPPED.
_NEXT_STATES: Final[Mapping[SessionState, frozenset[SessionState]]] = {
    SessionState.INACTIVE: frozenset(SessionState),
    SessionState.INITIALIZE: frozenset(SessionState) - {SessionState.INACTIVE},
    SessionState.STARTED: frozenset(SessionState) - {SessionState.INACTIVE, SessionState.INITIALIZE},
    SessionState.PAUSED: frozenset(SessionState) - {SessionState.INACTIVE, SessionState.INITIALIZE},
    SessionState.RESUMED: frozenset({SessionState.RESUMED, SessionState.PAUSED, SessionState.STOPPED}),
    SessionState.STOPPED: frozenset({SessionState.STOPPED}),
}


class SubSessions:
    """The sub-sessions of one stream (`rtms_session_id`), normally one for each user who shares media with the app.

    Attributes:
        states: by `rtms_session_id`, in order of appearance.
        others: there are some whose start was never heard, as a restart or a lost connection hid it.
        stop_reason: of the sub-session that stopped last, if Zoom gave one.
        counts: ignored messages: "no_id", "unknown_state", "illegal_state", and "too_many" beyond `MAX_SUB_SESSIONS`.
    """

    def __init__(self) -> None:
        self.states: dict[str, SessionState] = {}
        self.others = False
        self.stop_reason: int | None = None
        self.counts: Counter[str] = Counter()

    def update(self, message: SessionStateUpdate) -> bool:
        """Follow message 9. False when it was ignored and counted: of no sub-session, unknown, or illegal now."""
        if message.rtms_session_id is None:
            self.counts["no_id"] += 1
            return False
        try:
            state = SessionState(message.state)
        except ValueError:
            self.counts["unknown_state"] += 1
            return False
        before = self.states.get(message.rtms_session_id, SessionState.INACTIVE)
        if state not in _NEXT_STATES[before]:
            self.counts["illegal_state"] += 1
            return False
        if message.rtms_session_id not in self.states and not self._make_room():
            self.counts["too_many"] += 1
            return False
        self.states[message.rtms_session_id] = state
        if state is SessionState.STOPPED and before is not SessionState.STOPPED:
            self.stop_reason = message.stop_reason
        return True

    @property
    def all_stopped(self) -> bool:
        """Whether there was a sub-session and none is left."""
        return not self.others and bool(self.states) and set(self.states.values()) == {SessionState.STOPPED}

    @property
    def all_paused(self) -> bool:
        """Whether of the sub-sessions that are left, at least one, each is paused."""
        return not self.others and set(self.states.values()) - {SessionState.STOPPED} == {SessionState.PAUSED}

    def _make_room(self) -> bool:
        if len(self.states) < MAX_SUB_SESSIONS:
            return True
        stopped = next((name for name, state in self.states.items() if state is SessionState.STOPPED), None)
        if stopped is None:
            return False
        del self.states[stopped]
        return True
