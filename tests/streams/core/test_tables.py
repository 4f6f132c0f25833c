"""The tables of a stream and its sub-sessions, whatever order the inputs come in."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rtmsd.errors import LocalProtocolError
from rtmsd.protocol.enums import SessionState
from rtmsd.protocol.messages import SessionStateUpdate
from rtmsd.streams.core.phase import (
    MAX_SUB_SESSIONS,
    MOVES,
    RECORDED_AS,
    StreamInput,
    StreamMachine,
    StreamPhase,
    SubSessions,
)

P, In = StreamPhase, StreamInput


def machine_in(phase: StreamPhase) -> StreamMachine:
    machine = StreamMachine()
    machine.phase = phase
    return machine


@pytest.mark.parametrize(
    ("inputs", "phases"),
    [
        # A whole life, with split connections and one media loss
        (
            [
                In.HANDSHAKES_OK,
                In.HANDSHAKES_OK,
                In.MEDIA,
                In.PAUSED,
                In.RESUMED,
                In.MEDIA_LOST,
                In.MEDIA,
                In.HANDSHAKES_OK,
            ],
            [P.READY, P.READY, P.ACTIVE, P.PAUSED, P.ACTIVE, P.RECOVERING_MEDIA, P.RECOVERING_MEDIA, P.READY],
        ),
        # Media loss widens to signaling loss; a failover rescues it; then the end, decided twice
        (
            [
                In.HANDSHAKES_OK,
                In.MEDIA_LOST,
                In.SIGNALING_LOST,
                In.MEDIA_LOST,
                In.STARTED_AGAIN,
                In.DECIDED,
                In.DECIDED,
                In.ENDED,
            ],
            [
                P.READY,
                P.RECOVERING_MEDIA,
                P.RECOVERING_ALL,
                P.RECOVERING_ALL,
                P.CONNECTING,
                P.READING_ON,
                P.READING_ON,
                P.ENDED,
            ],
        ),
        # Stopped while connecting
        ([In.DECIDED, In.ENDED, In.DECIDED], [P.READING_ON, P.ENDED, P.ENDED]),
        # Zoom closes the sockets of a stream it terminates
        (
            [In.HANDSHAKES_OK, In.TERMINATING, In.MEDIA, In.MEDIA_LOST, In.SIGNALING_LOST, In.DECIDED, In.ENDED],
            [P.READY, P.TERMINATING, P.TERMINATING, P.TERMINATING, P.TERMINATING, P.READING_ON, P.ENDED],
        ),
        # A pause that began while we were away does not hide that we are not back
        (
            [In.HANDSHAKES_OK, In.SIGNALING_LOST, In.PAUSED, In.HANDSHAKES_OK, In.PAUSED],
            [P.READY, P.RECOVERING_ALL, P.RECOVERING_ALL, P.READY, P.PAUSED],
        ),
    ],
)
def test_lives(inputs: list[StreamInput], phases: list[StreamPhase]) -> None:
    machine = StreamMachine()
    lived = []
    for what in inputs:
        assert machine.feed(what)
        lived.append(machine.phase)
    assert lived == phases


ENDING = {P.READING_ON, P.ENDED}
LEAVING = {P.LETTING_GO, P.LET_GO}


@pytest.mark.parametrize("phase", [phase for phase in StreamPhase if phase not in LEAVING])
def test_the_end_is_possible_from_everywhere_and_for_good(phase: StreamPhase) -> None:
    assert MOVES[phase, In.DECIDED] in ENDING
    assert MOVES.get((phase, In.STARTED_AGAIN)) is (None if phase in ENDING else P.CONNECTING)


@pytest.mark.parametrize("phase", [phase for phase in StreamPhase if phase not in ENDING | LEAVING])
def test_a_stream_is_let_go_from_everywhere_but_the_end_and_for_good(phase: StreamPhase) -> None:
    assert MOVES[phase, In.LETTING_GO] is P.LETTING_GO
    assert {target for (source, _), target in MOVES.items() if source in LEAVING} == LEAVING
    assert [what for (_, what), target in MOVES.items() if target is P.LET_GO] == [In.LET_GO]


def test_our_illegal_move_is_a_bug_that_names_both_sides() -> None:
    machine = machine_in(P.ENDED)
    with pytest.raises(LocalProtocolError, match=r"our handshakes \(HANDSHAKES_OK\) when the stream is ENDED"):
        machine.feed(In.HANDSHAKES_OK)
    assert machine.phase is P.ENDED


@pytest.mark.parametrize("what", [In.MEDIA, In.PAUSED, In.RESUMED, In.TERMINATING, In.STARTED_AGAIN])
def test_zooms_late_word_on_an_ended_stream_is_ignored(what: StreamInput) -> None:
    machine = machine_in(P.ENDED)
    assert not machine.feed(what)
    assert machine.phase is P.ENDED


ILLEGAL = {
    In.HANDSHAKES_OK: ENDING | LEAVING,
    In.SIGNALING_LOST: {P.LET_GO},
    In.MEDIA_LOST: {P.LET_GO},
    In.DECIDED: LEAVING,
    In.ENDED: set(StreamPhase) - ENDING,
    In.LETTING_GO: ENDING | LEAVING,
    In.LET_GO: set(StreamPhase) - {P.LETTING_GO},
}
"""Moves of ours that are bugs."""


class AnyInputs(RuleBasedStateMachine):
    """Any input in any order: what holds of each phase whatever led there."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = StreamMachine()
        self.decided = self.let_go = False
        self.connected = False

    @rule(what=st.sampled_from(StreamInput))
    def feed(self, what: StreamInput) -> None:
        before = self.machine.phase
        try:
            legal = self.machine.feed(what)
        except LocalProtocolError:
            assert before in ILLEGAL[what]
            assert self.machine.phase is before
            return
        assert before not in ILLEGAL.get(what, set())
        assert legal or self.machine.phase is before
        self.decided = self.decided or what is In.DECIDED
        self.let_go = self.let_go or what is In.LETTING_GO
        if what is In.HANDSHAKES_OK:
            self.connected = True
        elif what in {In.SIGNALING_LOST, In.STARTED_AGAIN}:
            self.connected = False

    @invariant()
    def nothing_leads_out_of_the_end(self) -> None:
        assert (self.machine.phase in ENDING) == self.decided
        assert (self.machine.phase in LEAVING) == self.let_go

    @invariant()
    def nothing_runs_without_a_handshake_since_signaling_was_lost(self) -> None:
        if self.machine.phase in {P.READY, P.ACTIVE, P.PAUSED}:
            assert self.connected


TestAnyInputs = AnyInputs.TestCase
TestAnyInputs.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_words_of_the_manifest() -> None:
    assert {phase.name: state.value for phase, state in RECORDED_AS.items()} == {
        "CONNECTING": "connecting",
        "READY": "active",
        "ACTIVE": "active",
        "PAUSED": "paused",
        "RECOVERING_ALL": "recovering",
        "RECOVERING_MEDIA": "recovering",
        "LETTING_GO": "recovering",
    }


# Sub-sessions


def update(name: str, state: int, stop_reason: int | None = None) -> SessionStateUpdate:
    return SessionStateUpdate(rtms_session_id=name, state=state, stop_reason=stop_reason)


class SubSessionLives(RuleBasedStateMachine):
    """Model: a sub-session is "new", "on", "paused" or "stopped", and stopped for good."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions = SubSessions()
        self.model: dict[str, str] = {}

    @rule(name=st.sampled_from("abc"), state=st.integers(-1, 7))
    def reported(self, name: str, state: int) -> None:
        ignored = self.sessions.counts.total()
        words = {0: "new", 1: "new", 2: "on", 3: "paused", 4: "on", 5: "stopped"}
        legal = self.sessions.update(update(name, state, stop_reason=1))
        assert legal == (self.sessions.counts.total() == ignored)
        if legal:
            self.model[name] = words[state]
        elif state in words and self.model[name] != "stopped":
            assert words[state] == "new" or SessionState(state) is SessionState.STARTED

    @invariant()
    def each_is_where_it_was_told_to_be(self) -> None:
        lefts = [word for word in self.model.values() if word != "stopped"]
        assert self.sessions.all_stopped == (bool(self.model) and not lefts)
        assert self.sessions.all_paused == (bool(lefts) and set(lefts) == {"paused"})
        assert list(self.sessions.states) == list(self.model)


TestSubSessions = SubSessionLives.TestCase
TestSubSessions.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_usual_life_and_skipped_states() -> None:
    sessions = SubSessions()
    assert all(sessions.update(update("a", state)) for state in (1, 2, 3, 4, 3, 4, 5))
    have_stopped = []
    for state in (4, 5):
        assert sessions.update(update("b", state, stop_reason=6))
        have_stopped.append(sessions.all_stopped)
    assert have_stopped == [False, True]
    assert sessions.stop_reason == 6
    assert not sessions.counts


def test_none_comes_back_after_its_end() -> None:
    sessions = SubSessions()
    sessions.update(update("a", 5, stop_reason=1))
    assert not sessions.update(update("a", 2))
    assert sessions.update(update("a", 5, stop_reason=7))
    assert sessions.stop_reason == 1
    assert sessions.counts == {"illegal_state": 1}


def test_there_is_a_bound() -> None:
    sessions = SubSessions()
    for number in range(MAX_SUB_SESSIONS):
        sessions.update(update(str(number), 5 if number == 7 else 2))
    assert sessions.update(update("instead of 7", 2))
    assert "7" not in sessions.states
    assert not sessions.update(update("one too many", 2))
    assert len(sessions.states) == MAX_SUB_SESSIONS
    assert sessions.counts == {"too_many": 1}
