"""The core against a model of Zoom, in any order: connections, windows, causes and the end."""

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rtmsd.errors import ForbiddenHost, HandshakeRejected, RtmsdError, UnspokenProtocol
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.enums import EventType, MediaType, StatusCode
from rtmsd.protocol.messages import EventUpdate, Message, SessionStateUpdate, StreamStateUpdate
from rtmsd.streams.core import situation, stream_core
from rtmsd.streams.core.actions import End, RecordLost
from rtmsd.streams.core.connections import MediaLink, MediaNotGranted, Uplink, UplinkState
from rtmsd.streams.core.media import MediaDecisions
from rtmsd.streams.core.outcome import Outcome
from rtmsd.streams.core.reconnect import Permission, Window
from rtmsd.streams.core.signaling import SignalingDecisions
from rtmsd.streams.core.situation import Situation
from tests.streams.core.model import LOST, TRANSFERRED, Model

SPLIT = (MediaType.AUDIO, MediaType.VIDEO, MediaType.TRANSCRIPT)
UNIFIED = (MediaType.AUDIO | MediaType.VIDEO | MediaType.TRANSCRIPT,)
REFUSALS = [
    *[StatusCode.INTERNAL_EXCEPTION] * 8,
    StatusCode.DUPLICATE_SIGNAL_REQUEST,
    StatusCode.INVALID_RTMS_STREAM_ID,
    StatusCode.MEDIA_TYPE_VIDEO_NOT_SUPPORT,
    StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION,
    StatusCode.INVALID_SIGNATURE,
]
HELD = StatusCode.DUPLICATE_SIGNAL_REQUEST
PERMISSIONS = [*[Permission.GRANTED] * 4, Permission.BLIND, Permission.BLIND, Permission.LOST, None]
LINKS = st.integers(0, 2)
LOSSES = [LOST, TRANSFERRED]
UNSPOKEN = UnspokenProtocol("Zoom answered with protocol version 2")


def refusal(status: int) -> RtmsdError:
    return HandshakeRejected(status, "no")


ANSWERS = [*[None] * 12, *[LOST] * 4, ForbiddenHost("evil.test"), UNSPOKEN, *map(refusal, REFUSALS)]


class CoreMachine(RuleBasedStateMachine):
    """Zoom, the network, webhooks and operators, as they come."""

    @initialize(connections=st.sampled_from([SPLIT, UNIFIED]), resumed=st.booleans(), transfers=st.booleans())
    def begin(self, connections: tuple[MediaType, ...], resumed: bool, transfers: bool = False) -> None:
        self.model = Model(connections, resumed=resumed, transfers=transfers)
        self.model.start()

    def link(self, number: int, *stages: str | None) -> MediaLink | None:
        """One of the links that are in one of these stages."""
        found = [link for link, stage in self.model.media.items() if stage in stages]
        return found[number % len(found)] if found else None

    @rule()
    def another_stream(self) -> None:
        """One that has ended says no more."""
        if self.model.is_over:
            self.settle()
            self.begin(SPLIT if len(self.model.media) == 1 else UNIFIED, self.model.now_s > 30)

    # The network

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0, 3.0, 7.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.model.pass_time(seconds)

    @rule()
    def sockets_are_closed(self) -> None:
        self.model.finish_closing()

    @rule()
    @precondition(lambda self: self.model.signaling == "connecting" and None not in self.model.dropped)
    def all_come_up(self) -> None:
        self.model.signaling_up()
        for number in range(len(self.model.media)):
            if (link := self.link(number, "connecting")) is not None and link not in self.model.dropped:
                self.model.grant(link, MediaType(0))
                self.model.media_up(link)

    @rule(permission=st.sampled_from(PERMISSIONS), odds=st.integers(0, 1))
    def the_tenure_says(self, permission: Permission | None, odds: int) -> None:
        """For one answer, or from now on."""
        self.model.permission = permission
        if self.model.signaling == "asking" and None not in self.model.dropped and permission is not None:
            self.model.permit(permission)
            if odds == 0:
                self.model.permission = Permission.GRANTED

    @rule(odds=st.integers(0, 9))
    def it_is_let_go(self, odds: int) -> None:
        if odds == 0:
            self.model.report(self.model.core.signaling.let_go, "drained", GapCause.NODE_TAKEOVER)

    @rule(answer=st.sampled_from(ANSWERS))
    @precondition(lambda self: self.model.signaling == "connecting")
    def signaling_is_answered(self, answer: RtmsdError | None) -> None:
        if answer is not None:
            self.model.close_signaling(answer)
        elif None not in self.model.dropped:
            self.model.signaling_up()

    @rule(by_zoom=st.booleans(), error=st.sampled_from(LOSSES))
    @precondition(lambda self: self.model.signaling == "up")
    def signaling_is_lost(self, by_zoom: bool, error: RtmsdError) -> None:
        self.model.close_signaling(error, by_zoom=by_zoom)

    @rule(number=LINKS, absent=st.sampled_from([MediaType(0), MediaType.TRANSCRIPT]))
    def media_are_granted(self, number: int, absent: MediaType) -> None:
        link = self.link(number, "connecting")
        if link is None or link in self.model.dropped or self.model.core.situation.outcome is not None:
            return
        if link.types & ~absent:
            self.model.grant(link, absent)
            self.model.media_up(link)
        else:
            self.model.close_media(link, MediaNotGranted({MediaType.TRANSCRIPT: "no"}))

    @rule(number=LINKS, status=st.sampled_from(REFUSALS))
    def media_are_refused(self, number: int, status: int) -> None:
        if (link := self.link(number, "connecting")) is not None:
            self.model.close_media(link, refusal(status))

    @rule(number=LINKS)
    def media_are_lost(self, number: int) -> None:
        if (link := self.link(number, "connecting", "granted", "up")) is not None:
            self.model.close_media(link, LOST)

    @rule(goes_on=st.booleans(), paused_ms=st.sampled_from([None, 1]))
    @precondition(lambda self: any(stage == "up" for stage in self.model.media.values()))
    def media_arrive(self, goes_on: bool, paused_ms: int | None) -> None:
        recording = self.model.recording
        recording.media_go_on, recording.heard_in_pause_ms = goes_on, paused_ms
        recording.messages["audio"] += 1
        self.model.report(self.model.core.media.arrived)

    # Zoom's words

    @rule(
        state=st.sampled_from([1, 2, 3, 4, 5, 6, 9]),
        reason=st.sampled_from([None, 6, 8, 12]),
        timestamp=st.sampled_from([None, 1, 10**6]),
    )
    @precondition(lambda self: self.model.signaling == "up")
    def zoom_reports_the_stream(self, state: int, reason: int | None, timestamp: int | None) -> None:
        self.hear(StreamStateUpdate(state=state, reason=reason, timestamp=timestamp))

    @rule(name=st.sampled_from("aab"), state=st.sampled_from([0, 2, 3, 4, 5, 5]))
    @precondition(lambda self: self.model.signaling == "up")
    def zoom_reports_a_sub_session(self, name: str, state: int) -> None:
        self.hear(SessionStateUpdate(rtms_session_id=name, state=state, stop_reason=6, timestamp=None))

    @rule(details=st.sampled_from([{}, {}, {"media_type": 1}, {"media_type": "2"}]))
    @precondition(lambda self: self.model.signaling == "up")
    def zoom_reports_a_loss(self, details: dict[str, object]) -> None:
        self.hear(EventUpdate(event_type=EventType.MEDIA_CONNECTION_INTERRUPTED, details=details))

    def hear(self, message: Message) -> None:
        self.model.report(self.model.core.message, message)

    @rule(what=st.sampled_from(["failover", "interrupt", "reconnect", "close", "cut short"]), odds=st.integers(0, 3))
    def somebody_asks(self, what: str, odds: int) -> None:
        model = self.model
        match what:
            case "failover":
                model.fail_over()
            case "interrupt":
                model.interrupt(10**9)
            case "reconnect":
                model.report(model.core.reconnect)
            case "close" if odds == 0:
                model.report(model.core.close)
            case "cut short" if model.core.situation.outcome is not None:
                model.report(model.core.situation.ending.cut_short, 0.1)
            case _:
                pass

    @rule(reason=st.sampled_from([6, 8, 19]), zoom_ms=st.sampled_from([None, 5]), odds=st.integers(0, 9))
    def zoom_stops_it(self, reason: int, zoom_ms: int | None, odds: int) -> None:
        if odds == 0:
            self.model.report(self.model.core.stopped, reason, zoom_ms, "stopped webhook")

    @rule(seed=st.integers(0, 2**32))
    def a_long_course(self, seed: int) -> None:
        """Many of these, of which Hypothesis sees one number: cheap, where single rules are not."""
        chance = random.Random(seed)
        for _ in range(60):
            chance.choice(COURSE)(self, chance)
            self.another_stream()

    def teardown(self) -> None:
        if hasattr(self, "model") and not self.model.is_broken:
            self.settle()

    def settle(self) -> None:
        """Whatever came before: left alone, the stream ends or is let go, with all of it accounted for."""
        model = self.model
        self.the_tenure_says(Permission.GRANTED, 1)
        for _ in range(40):
            if model.is_over:
                break
            if model.signaling is not None:
                model.close_signaling(LOST)
            for link in [each for each, stage in model.media.items() if stage is not None]:
                model.close_media(link, LOST)
            model.pass_time(20.0)
        assert model.is_over, "it neither recovers nor ends"
        for link in [each for each, stage in model.media.items() if stage is not None]:
            model.close_media(link, None)
        if model.signaling is not None:
            model.close_signaling(None)
        assert not model.up


Chance = random.Random


def sometimes(act: Callable[[CoreMachine, Chance], None], stage: str) -> Callable[[CoreMachine, Chance], None]:
    """Let it happen only while signaling is that far."""

    def play(machine: CoreMachine, chance: Chance) -> None:
        if machine.model.signaling == stage and None not in machine.model.dropped:
            act(machine, chance)

    return play


COURSE: list[Callable[[CoreMachine, Chance], None]] = [
    lambda machine, chance: machine.time_passes(chance.choice([0.05, 0.3, 2.0, 3.0, 7.0])),
    lambda machine, chance: machine.time_passes(chance.choice([0.05, 3.0, 3.0, 20.0])),
    lambda machine, chance: machine.sockets_are_closed(),
    lambda machine, chance: machine.media_are_granted(chance.randrange(3), MediaType(0)),
    lambda machine, chance: machine.media_are_lost(chance.randrange(3)),
    lambda machine, chance: machine.media_are_refused(chance.randrange(3), StatusCode.INTERNAL_EXCEPTION),
    lambda machine, chance: machine.the_tenure_says(chance.choice(PERMISSIONS), chance.randrange(2)),
    lambda machine, chance: machine.the_tenure_says(Permission.GRANTED, 1),
    lambda machine, chance: machine.it_is_let_go(chance.randrange(100)),
    lambda machine, chance: machine.somebody_asks(chance.choice(["failover", "interrupt", "reconnect"]), 1),
    sometimes(lambda machine, chance: machine.all_come_up(), "connecting"),
    sometimes(lambda machine, chance: machine.all_come_up(), "connecting"),
    sometimes(lambda machine, chance: machine.signaling_is_answered(LOST), "connecting"),
    sometimes(lambda machine, chance: machine.signaling_is_answered(refusal(HELD)), "connecting"),
    sometimes(lambda machine, chance: machine.signaling_is_lost(chance.random() < 0.5, chance.choice(LOSSES)), "up"),
    sometimes(lambda machine, chance: machine.zoom_reports_the_stream(chance.choice([1, 2, 5, 6]), 12, None), "up"),
    sometimes(
        lambda machine, chance: machine.zoom_reports_a_sub_session(chance.choice("ab"), chance.randrange(6)), "up"
    ),
    sometimes(lambda machine, chance: machine.zoom_reports_a_loss({}), "up"),
]

TestCore = CoreMachine.TestCase
TestCore.settings = settings(
    max_examples=200, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck)
)


# Each invariant can fail: the core with one thing broken


def always_anew(window: Window, now_s: float) -> None:
    window.deadline_s = now_s + window.length_s


def twice(
    media: MediaDecisions, now_s: float, link: MediaLink, error: RtmsdError | None, *, was_read_out: bool
) -> None:
    for _ in range(2):
        media._s.emit(RecordLost(link, GapCause.MEDIA_RECONNECT, "lost"))


def without_cause(situation: Situation) -> None:
    return None


def open_again(media: MediaDecisions, now_s: float) -> None:
    for link in media._s.links:
        media._open(now_s, link)


CHECK_DRAINED = SignalingDecisions.check_drained


def without_waiting(decisions: SignalingDecisions, now_s: float, delay_s: float | None = None) -> None:
    if decisions._s.uplink.state is UplinkState.DRAINING and not decisions._s.expects_end:
        decisions._s.uplink.plan(now_s, 0.0, 5.0)
    else:
        CHECK_DRAINED(decisions, now_s, delay_s)


def without_reason(reason: int, zoom_ms: int | None, why: str) -> Outcome:
    return Outcome(RecordingState.ENDED, reason, zoom_ms, "")


def with_what_was_planned(uplink: Uplink, now_s: float, delay_s: float, attempt_s: float) -> None:
    uplink.move(UplinkState.WAITING)


def without_notice(uplink: Uplink, now_s: float) -> None:
    pass


def unasked(decisions: SignalingDecisions, now_s: float, permission: Permission) -> None:
    pass


def left_at_once(decisions: SignalingDecisions, now_s: float, why: str, cause: GapCause | None = None) -> None:
    if decisions._s.let_go(why):
        decisions._s.leave()


def as_any(uplink: Uplink, now_s: float) -> bool:
    return False


DECIDE = Situation.decide


def for_others(situation: Situation, now_s: float, outcome: Outcome) -> None:
    if situation.letting_go is None:
        DECIDE(situation, now_s, outcome)
    else:
        situation.emit(End(outcome))


def at_once(decisions: SignalingDecisions, now_s: float, *, by_zoom: bool) -> None:
    decisions._s.uplink.state = UplinkState.WAITING
    decisions.connect()


BROKEN: dict[str, tuple[object, str, object, str]] = {
    "signaling is connected beside the one of before": (
        SignalingDecisions,
        "went_down",
        at_once,
        "a second signaling connection",
    ),
    "signaling is connected beside media of before": (
        SignalingDecisions,
        "check_drained",
        without_waiting,
        "media of before are still open|a timer that never is done",
    ),
    "media are opened twice": (MediaDecisions, "arrived", open_again, "second connection for the same media"),
    "a loss opens a new window": (Window, "open", always_anew, "extended the window"),
    "a slot that another has runs the window down": (
        Uplink,
        "slot_held",
        without_notice,
        "a held slot runs the window down",
    ),
    "the stream is another's": (SignalingDecisions, "permitted", unasked, "although the stream is another's"),
    "it is left with sockets open": (SignalingDecisions, "let_go", left_at_once, "left with something open"),
    "it is thrown out and comes back": (Uplink, "is_on_trial", as_any, "stands against who has the stream"),
    "it is let go and ends": (Situation, "decide", for_others, "done to a stream that is let go"),
    "a loss is reported twice": (MediaDecisions, "_lost", twice, "reported before"),
    "a loss has no cause": (Situation, "loss_cause", property(without_cause), "without a cause"),
    "an end has no reason": (stream_core, "outcome_of_stop", without_reason, "an end without a reason"),
    "messages are sent after the end": (situation, "OUTGOING", (), "after the end"),
    "no attempt is planned": (Uplink, "plan", with_what_was_planned, "waits for nothing"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_core_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, broken, complaint = BROKEN[name]
    monkeypatch.setattr(owner, attribute, broken)
    briefly = settings(
        max_examples=6000,  # it ends with the first that fails; which come first depends on what was imported before
        stateful_step_count=60,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises(AssertionError, match=complaint):
        run_state_machine_as_test(CoreMachine, settings=briefly)
