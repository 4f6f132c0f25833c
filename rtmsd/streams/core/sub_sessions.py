"""The sub-sessions of a stream, as a table of the states that Zoom reports."""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from rtmsd.protocol.enums import SessionState
from rtmsd.protocol.messages import SessionStateUpdate

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
