"""The policy of one participant's video against a model of Zoom, in any order; and its rules, one by one."""

import math
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from rtmsd.streams.core.video.choice import Choice, ChoiceKind, Follow
from rtmsd.streams.core.video.people import MAX_PEOPLE, MAX_SPEAKERS, People
from rtmsd.streams.core.video.policy import AFTER, VideoPolicy
from rtmsd.streams.core.video.policy import Phase as PolicyPhase
from rtmsd.streams.core.video.requests import ANSWER_S, Ask, Chosen, Result, Settled

SWITCH_S = 2.0
ANA, BO, CLEO, DAN = PEOPLE = (1, 2, 3, 4)
USERS = st.sampled_from(PEOPLE)
STRANGER = 9


class PolicyMachine(RuleBasedStateMachine):
    """A Zoom that answers late, wrongly or not at all, people, operators and a network that fails.

    What Zoom knows (`present`, `on`, `sends`) and what it told us (`cameras`, `spoke`) are two things.
    """

    is_sound = False

    @initialize(follow=st.sampled_from(Follow), lapses=st.booleans())
    def begin(self, follow: Follow, lapses: bool) -> None:
        self.policy, self.is_sound = VideoPolicy(follow, SWITCH_S), True
        self.lapses = lapses  # whether a subscription ends with the camera
        self.now_s = 0.0
        self.is_up = False
        self.present: set[int] = set()
        self.on: set[int] = set()
        self.sends: int | None = None
        self.cameras: dict[int, None] = {}
        self.spoke: list[int] = []
        self.gone: set[int] = set()
        self.asked: tuple[Ask, float, Choice] | None = None  # since when, and for which choice
        self.answer_is_lost = False
        self.late: Ask | None = None  # the latest request, not answered in time
        self.has_failed = self.has_reason = False  # the latest request; to look again since it was made
        self.held = self.before = self.policy.choice
        self.open_choice: Choice | None = None
        self.followed: int | None = None
        self.seen: int | None = None  # as far as we can know
        self.settled_s = -math.inf

    # What the policy does

    def take(self, *, is_operators: bool = False) -> None:
        """Hold what the policy asks for against what it may ask for."""
        self.is_sound = False
        for effect in self.policy.take_effects():
            match effect:
                case Ask():
                    self._check_ask(effect, is_operators=is_operators)
                    self.asked, self.late = (effect, self.now_s, self.held), None
                    self.has_failed = self.has_reason = False
                case Settled(choice):
                    assert choice is self.open_choice, "a choice settled that nobody waits for"
                    self.open_choice = None
                case Chosen():
                    assert effect.why
        assert self.policy.choice is self.held, "an operator's choice did not hold"
        assert self.policy.due_s > self.now_s, "a timer that never is done"
        assert self.policy.seen == self.seen, "somebody else is shown as seen"
        is_asking = self.policy.phase in {PolicyPhase.ASKING, PolicyPhase.OUTDATED}
        assert is_asking == (self.policy.request is not None), "a request in the wrong phase"
        has_looked = self.has_reason or not self.has_failed
        if self.is_up and self.asked is None and self.policy.due_s == math.inf and has_looked:
            self._check_rest()
        self.is_sound = True

    def _check_rest(self) -> None:
        """Nothing is waited for, not even a reason to try again: Zoom was asked for who should be seen."""
        followed = set(self.cameras) - self.gone
        match self.held.kind:
            case ChoiceKind.OFF:
                assert self.policy.subscribed is None, "somebody is seen, although nobody shall be"
            case ChoiceKind.USER:
                assert self.policy.subscribed == self.held.user_id or self.held.user_id in self.gone, "not asked for"
                followed &= {self.held.user_id or 0}
                assert not followed or self.seen in followed, "not asked for again"
            case _ if self.policy.follow is Follow.MANUAL:
                assert self.policy.subscribed is None, "somebody is seen, although nobody was chosen"
            case _ if followed:
                assert self.seen is not None, "nobody is asked for, although there is somebody"
                self._check_followed(self.seen)
            case _:
                assert self.seen is None

    def _check_ask(self, ask: Ask, *, is_operators: bool) -> None:
        assert self.is_up, "asked while not connected"
        assert self.asked is None, "a second request beside one that waits"
        assert self.has_reason or not self.has_failed, "tried again without a reason"
        choice = self.held
        match choice.kind:
            case ChoiceKind.OFF:
                assert not ask.subscribe
            case ChoiceKind.USER:
                assert ask == Ask(choice.user_id or 0, subscribe=True), "an operator's choice did not hold"
            case _ if ask.subscribe:
                assert ask.user_id in self.cameras, "chosen without a camera"
                assert ask.user_id not in self.gone, "chosen although gone"
                self._check_followed(ask.user_id)
                is_switch = self.has_failed or self.seen not in {None, ask.user_id}
                if is_switch and not is_operators and self.open_choice is None:
                    assert self.now_s >= self.settled_s + SWITCH_S, "switched too soon"
            case _:
                is_nobody = not set(self.cameras) - self.gone
                assert is_nobody or self.policy.follow is Follow.MANUAL, "nobody wanted, although there is somebody"

    def _check_followed(self, user_id: int) -> None:
        can_be_seen = [each for each in self.cameras if each not in self.gone]
        speakers = [each for each in reversed(self.spoke) if each in can_be_seen]
        match self.policy.follow:
            case Follow.ACTIVE_SPEAKER:
                assert not speakers or user_id == speakers[0], "not the active speaker"
            case Follow.FIRST_CAMERA:
                assert self.followed in {None, user_id}, "not the first camera, which is still on"
            case Follow.MANUAL:
                raise AssertionError("chosen by nobody")
        self.followed = user_id

    # The network and Zoom

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.9, 2.0, 5.0, 10.5]))
    def time_passes(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.policy.due_s <= until_s:
            self.now_s = max(self.now_s, self.policy.due_s)
            if self.asked is not None and self.now_s >= self.asked[1] + ANSWER_S:
                if self.answer_is_lost:
                    self._obey(self.asked[0])
                self.late = self.asked[0] if self.asked[0].subscribe else None
                self.asked, self.settled_s, self.seen, self.has_failed = None, self.now_s, None, True
            self.policy.tick(self.now_s)
            self.take()
        self.now_s = until_s

    @rule(status=st.sampled_from([None, None, None, None, 4, 45, 999]), is_named=st.booleans())
    @precondition(lambda self: self.asked is not None)
    def zoom_answers(self, status: int | None, is_named: bool) -> None:
        """As it should, or with a refusal."""
        assert self.asked is not None
        ask, _, choice = self.asked
        status = (0 if ask.user_id in self.present else 4) if status is None else status
        self.asked, self.settled_s = None, self.now_s
        if status == 0:
            self._obey(ask)
            self.seen = ask.user_id if ask.subscribe and ask.user_id in self.cameras else None
        if status == 4 and self.sends == ask.user_id:
            self.sends = None  # of somebody whom it does not know it sends nothing
        if status == 4:
            self.seen = None if self.seen == ask.user_id else self.seen
        if status == 4 and ask.subscribe:
            self.gone.add(ask.user_id)
            self.followed = None
        is_refused = status != 0 and (status != 4 or ask.subscribe)
        if is_refused and choice is self.open_choice and choice.kind is not ChoiceKind.AUTO:
            self.held, self.has_reason = self.before, True
        self.has_failed = is_refused and status != 4
        self.policy.answered(self.now_s, ask.user_id if is_named else None, status)
        self.take()

    @rule()
    @precondition(lambda self: self.late is not None)
    def zoom_answers_too_late(self) -> None:
        """It did as it was asked, and says so when nobody waits any more."""
        assert self.late is not None
        late, self.late = self.late, None
        self._obey(late)
        self.seen = late.user_id if late.user_id in self.cameras else None
        self.policy.answered(self.now_s, late.user_id, 0)
        self.take()

    def _obey(self, ask: Ask) -> None:
        self.sends = ask.user_id if ask.subscribe and ask.user_id in self.present else None

    @rule(user_id=USERS, status=st.sampled_from([0, 4, 45]))
    def zoom_answers_what_was_not_asked(self, user_id: int, status: int) -> None:
        waiting = self.late if self.asked is None else self.asked[0]
        if waiting is None or user_id != waiting.user_id or (waiting is self.late and status != 0):
            self.policy.answered(self.now_s, user_id, status)
            assert self.policy.take_effects() == []

    @rule(is_lost=st.booleans())  # if a request is not answered: Zoom did as it was asked all the same, or did not
    def answers_are_lost(self, is_lost: bool) -> None:
        self.answer_is_lost = is_lost

    @rule(is_repeated=st.booleans())
    @precondition(lambda self: not self.is_up)
    def video_is_connected(self, is_repeated: bool) -> None:
        self.is_up = True
        self.sends = self.seen = None
        self.has_failed = False
        self.gone.clear()
        self.policy.up(self.now_s)
        self.take()
        if self.cameras and self.held.kind is ChoiceKind.AUTO and self.policy.follow is not Follow.MANUAL:
            assert self.asked is not None, "nobody is asked for on a new connection"
        if is_repeated:
            for user_id in sorted(self.present):
                self._event("joined", user_id)
            for user_id in sorted(self.on):
                self._event("on", user_id)

    @rule()
    @precondition(lambda self: self.is_up)
    def video_is_lost(self) -> None:
        self.is_up = False
        self.asked = self.late = self.sends = self.seen = None
        self.policy.down()
        self.take()

    # People

    @rule(user_id=USERS)
    def joins(self, user_id: int) -> None:
        self.present.add(user_id)
        self._event("joined", user_id)

    @rule(user_id=USERS)
    def leaves(self, user_id: int) -> None:
        self.present.discard(user_id)
        self.on.discard(user_id)
        self.sends = None if self.sends == user_id else self.sends
        self._event("left", user_id)

    @rule(user_id=USERS, on=st.booleans())
    def turns_the_camera(self, user_id: int, on: bool) -> None:
        self.present.add(user_id)
        if on:
            self.on.add(user_id)
        else:
            self.on.discard(user_id)
            self.sends = None if self.sends == user_id and self.lapses else self.sends
        self._event("on" if on else "off", user_id)

    @rule(user_id=USERS)
    def speaks(self, user_id: int) -> None:
        self.present.add(user_id)
        self._event("spoke", user_id)

    def _event(self, what: str, user_id: int) -> None:
        """Zoom says so, unless signaling is down."""
        if not self.is_up:
            return
        self.has_reason = True
        if what in {"off", "left"}:
            self.cameras.pop(user_id, None)
            self.seen = None if self.seen == user_id else self.seen
            self.followed = None if self.followed == user_id else self.followed
        if what == "left":
            self.spoke = [each for each in self.spoke if each != user_id]
        if what != "off":
            self.gone.discard(user_id)
        match what:
            case "on":
                self.cameras.setdefault(user_id)
                self.policy.camera(self.now_s, user_id, on=True)
            case "off":
                self.policy.camera(self.now_s, user_id, on=False)
            case "spoke":
                self.spoke.append(user_id)
                self.policy.spoke(self.now_s, user_id)
            case "joined":
                self.policy.joined(self.now_s, user_id)
            case _:
                self.policy.left(self.now_s, user_id)
        self.take()

    # Operators

    @rule(kind=st.sampled_from(ChoiceKind), user_id=USERS)
    def an_operator_chooses(self, kind: ChoiceKind, user_id: int) -> None:
        choice = Choice(kind, user_id if kind is ChoiceKind.USER else None)
        replaced, self.open_choice = self.open_choice, None
        if replaced is None:
            self.before = self.held
        self.held, self.open_choice, self.followed, self.has_reason = choice, choice, None, True
        self.gone = set() if choice.user_id is None else self.gone - {choice.user_id}
        self.policy.choose(self.now_s, choice)
        if replaced is not None:
            assert self.policy._effects.pop(0) == Settled(replaced, Result.REPLACED)
        self.take(is_operators=True)

    @rule(seed=st.integers(0, 2**32))
    def a_lively_meeting(self, seed: int) -> None:
        """Many steps, of which Hypothesis sees one number: cheap, where single rules are not."""
        chance = random.Random(seed)
        for _ in range(40):
            user_id = chance.choice(PEOPLE)
            match chance.randrange(8):
                case 0 | 1:
                    self.speaks(user_id)
                case 2:
                    self.turns_the_camera(user_id, on=chance.random() < 0.7)
                case 3 if not self.is_up:
                    self.video_is_connected(is_repeated=chance.random() < 0.5)
                case 4 | 5 | 6 if self.asked is not None:
                    self.zoom_answers(chance.choice([None, None, None, None, 4, 45]), is_named=True)
                case _:
                    self.time_passes(chance.choice([0.1, 0.5, 1.9]))

    # The end

    def teardown(self) -> None:
        if self.is_sound:  # what failed is not to be covered by what fails because of it
            self.settle()

    def settle(self) -> None:
        """Whatever came before: as soon as Zoom answers, the right one is seen, and nobody waits."""
        self.answer_is_lost = False
        if not self.is_up:
            self.video_is_connected(is_repeated=False)
        for _ in range(3):
            self._event("joined", STRANGER)  # a reason to try again what failed
            for _ in range(len(PEOPLE) + 2):
                if self.asked is not None:
                    self.zoom_answers(None, is_named=True)
                self.time_passes(SWITCH_S)
        assert self.asked is None
        assert self.open_choice is None, "an operator waits for ever"
        choice, can_be_seen = self.held, [each for each in self.cameras if each not in self.gone]
        match choice.kind:
            case ChoiceKind.OFF:
                assert self.sends is None, "somebody is seen, although nobody shall be"
            case ChoiceKind.USER:
                is_there = choice.user_id in self.present and choice.user_id not in self.gone
                if is_there and (not self.lapses or choice.user_id in self.cameras):
                    assert self.sends == choice.user_id or choice.user_id not in self.cameras
            case _ if self.policy.follow is Follow.MANUAL:
                assert self.sends is None, "somebody is seen, although nobody was chosen"
            case _ if can_be_seen:
                speakers = [each for each in reversed(self.spoke) if each in can_be_seen]
                expected = speakers[:1] if speakers and self.policy.follow is Follow.ACTIVE_SPEAKER else can_be_seen
                assert self.policy.subscribed in expected
                assert self.sends == self.policy.subscribed, "somebody else is seen"
            case _:
                assert self.sends not in self.on, "somebody is seen who was not asked for"


TestPolicy = PolicyMachine.TestCase
TestPolicy.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


# Each rule can be broken, and the machine finds out


def never(*_: object, **__: object) -> bool:
    return False


def consider_at_once(policy: VideoPolicy, now_s: float) -> None:
    policy.request = None
    CONSIDER(policy, now_s)


def choose_nothing(policy: VideoPolicy, now_s: float, choice: Choice) -> None:
    CHOOSE(policy, now_s, Choice(choice.kind, choice.user_id))


def forget_to_ask_again(policy: VideoPolicy, now_s: float) -> None:
    policy.phase = PolicyPhase.FREE


def notice_nothing(policy: VideoPolicy, now_s: float) -> None:
    if policy.request is None:
        CONSIDER(policy, now_s)


CONSIDER, CHOOSE = VideoPolicy._consider, VideoPolicy.choose
BROKEN: dict[str, tuple[type[Any], str, object, str]] = {
    "two requests at a time": (VideoPolicy, "_consider", consider_at_once, "a second request"),
    "switches at any time": (VideoPolicy, "_must_wait", never, "switched too soon"),
    "reasons are lost": (VideoPolicy, "_consider", notice_nothing, "not asked for|although|not the (active|first)"),
    "choices are lost": (VideoPolicy, "choose", choose_nothing, "nobody waits for|did not hold"),
    "the gone are chosen": (People, "gone", never, "although gone|a timer that never is done"),
    "lost cameras are not noticed": (
        People,
        "camera_off",
        never,
        "without a camera|not the active speaker|not the first|a timer",
    ),
    "nothing is asked for anew": (VideoPolicy, "up", forget_to_ask_again, "nobody is asked for"),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_policy_is_found_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, attribute, broken, complaint = BROKEN[name]
    monkeypatch.setattr(owner, attribute, broken)
    find_out(complaint)


@pytest.mark.parametrize("result", [result for result, phase in AFTER.items() if phase is PolicyPhase.FAILED])
def test_a_failure_that_is_forgotten_is_found_out(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AFTER, result, PolicyPhase.FREE)
    find_out("tried again without a reason|switched too soon")


def find_out(complaint: str) -> None:
    """Let the machine find a fault in the policy."""
    briefly = settings(
        max_examples=600,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises((AssertionError, RecursionError), match=complaint):
        run_state_machine_as_test(PolicyMachine, settings=briefly)


# The rules, one by one


def asks(policy: VideoPolicy) -> list[tuple[int, bool]]:
    return [(effect.user_id, effect.subscribe) for effect in policy.take_effects() if isinstance(effect, Ask)]


def connected(follow: Follow, *cameras: int) -> VideoPolicy:
    """A policy that knows these cameras, and has nobody subscribed yet."""
    policy = VideoPolicy(follow, SWITCH_S)
    for user_id in cameras:
        policy.camera(0.0, user_id, on=True)
    policy.up(0.0)
    return policy


def test_the_first_choice_comes_at_once_and_a_switch_after_its_time() -> None:
    policy = connected(Follow.ACTIVE_SPEAKER, ANA, BO)
    assert asks(policy) == [(ANA, True)]  # nobody has spoken: the camera on the longest
    policy.answered(1.0, ANA, 0)
    policy.spoke(1.5, CLEO)  # without a camera
    policy.spoke(1.6, BO)
    assert asks(policy) == []
    assert policy.due_s == 3.0
    policy.tick(3.0)
    assert asks(policy) == [(BO, True)]


def test_a_camera_that_goes_off_is_replaced_at_once() -> None:
    policy = connected(Follow.FIRST_CAMERA, ANA, BO, CLEO)
    policy.answered(1.0, ANA, 0)
    policy.spoke(1.0, CLEO)
    assert asks(policy) == [(ANA, True)]
    policy.camera(1.1, ANA, on=False)
    assert asks(policy) == [(BO, True)]
    policy.answered(1.2, BO, 0)
    policy.camera(1.3, ANA, on=True)
    policy.tick(100.0)
    assert asks(policy) == []  # the first one until it goes off, and then it was Bo's


def test_who_is_asked_for_is_asked_for_again_when_the_camera_comes_back() -> None:
    policy = connected(Follow.MANUAL)
    policy.choose(0.0, Choice(ChoiceKind.USER, ANA))
    policy.answered(0.1, ANA, 0)
    assert asks(policy) == [(ANA, True)]
    for at_s in (1.0, 2.0):
        policy.camera(at_s, ANA, on=True)
        assert asks(policy) == [(ANA, True)]
        policy.answered(at_s, ANA, 44)
        assert policy.seen == ANA
        policy.camera(at_s + 0.5, ANA, on=False)
        assert policy.seen != ANA
        assert asks(policy) == []


@pytest.mark.parametrize(("status", "result"), [(45, Result.REFUSED), (None, Result.NO_ANSWER)])
def test_what_failed_is_tried_again_at_the_next_reason(status: int | None, result: Result) -> None:
    policy = connected(Follow.ACTIVE_SPEAKER, ANA)
    assert asks(policy) == [(ANA, True)]
    if status is not None:
        policy.answered(ANSWER_S, ANA, status)
    else:
        policy.tick(ANSWER_S)
    (failed,) = [effect for effect in policy.take_effects() if isinstance(effect, Chosen)]
    assert (failed.result, failed.status, failed.user_id) == (result, status, ANA)
    policy.tick(60.0)
    assert asks(policy) == []
    policy.joined(60.0, DAN)
    assert asks(policy) == [(ANA, True)]


def test_an_answer_that_comes_too_late_counts() -> None:
    policy = connected(Follow.ACTIVE_SPEAKER, ANA)
    policy.tick(ANSWER_S)
    assert policy.seen is None
    policy.answered(ANSWER_S + 1, ANA, 0)
    assert policy.seen == ANA


def test_video_of_before_a_request_without_an_answer_is_ended_too() -> None:
    policy = connected(Follow.FIRST_CAMERA, ANA)
    policy.answered(1.0, ANA, 0)
    policy.choose(2.0, Choice(ChoiceKind.USER, BO))
    policy.tick(2.0 + ANSWER_S)  # Zoom may send Ana's still
    policy.choose(13.0, Choice(ChoiceKind.OFF))
    policy.answered(13.1, BO, 4)
    assert asks(policy)[-1] == (ANA, False)


def test_video_of_whom_nobody_chose_is_ended_with_the_camera_off_too() -> None:
    policy = connected(Follow.MANUAL, ANA)
    policy.choose(0.0, Choice(ChoiceKind.USER, ANA))
    policy.answered(0.1, ANA, 0)
    policy.camera(1.0, ANA, on=False)
    policy.choose(2.0, Choice(ChoiceKind.AUTO))
    assert asks(policy) == [(ANA, True), (ANA, False)]  # before the camera goes on again


def test_an_end_without_an_answer_is_asked_for_again() -> None:
    policy = connected(Follow.FIRST_CAMERA)
    policy.choose(0.0, Choice(ChoiceKind.USER, ANA))  # as far as we know without a camera
    policy.answered(0.1, ANA, 0)
    policy.choose(1.0, Choice(ChoiceKind.OFF))
    policy.tick(1.0 + ANSWER_S)
    policy.choose(20.0, Choice(ChoiceKind.AUTO))
    assert asks(policy) == [(ANA, True), (ANA, False), (ANA, False)]


def test_who_is_gone_is_not_chosen_until_there_is_an_event_of_that_participant() -> None:
    policy = connected(Follow.FIRST_CAMERA, ANA, BO)
    policy.answered(0.1, ANA, 4)
    assert asks(policy) == [(ANA, True), (BO, True)]
    policy.answered(0.2, BO, 4)
    policy.joined(5.0, DAN)
    assert asks(policy) == []
    policy.camera(6.0, BO, on=True)
    assert asks(policy) == [(BO, True)]


def test_who_is_gone_is_not_asked_for_again_at_once_after_however_many() -> None:
    policy = connected(Follow.FIRST_CAMERA)
    for user_id in range(1, MAX_PEOPLE + 10):
        policy.camera(1.0, user_id, on=True)
        policy.answered(1.0, user_id, 4)
        assert asks(policy) == [(user_id, True)]
        policy.camera(1.0, user_id, on=False)


def test_an_operators_choice_that_is_refused_is_not_taken() -> None:
    policy = connected(Follow.ACTIVE_SPEAKER, ANA, BO)
    policy.answered(0.0, ANA, 0)
    choice = Choice(ChoiceKind.USER, BO)
    policy.choose(0.1, choice)
    policy.take_effects()
    policy.answered(0.2, BO, 17)
    settled = [effect for effect in policy.take_effects() if isinstance(effect, Settled)]
    assert settled == [Settled(choice, Result.REFUSED, 17)]
    assert policy.describe()["chosen_by"] == "auto"
    assert policy.seen == ANA
    assert asks(policy) == []


def test_a_choice_made_while_not_connected_is_asked_for_later() -> None:
    policy = connected(Follow.ACTIVE_SPEAKER, ANA, BO)
    policy.down()
    choice = Choice(ChoiceKind.USER, BO)
    policy.choose(1.0, choice)
    policy.take_effects()
    policy.up(5.0)
    assert asks(policy) == [(BO, True)]
    policy.answered(5.1, None, 0)
    assert Settled(choice, Result.OK, 0) in policy.take_effects()


def test_what_is_known_survives_a_restart_and_a_manifest_changed_by_hand() -> None:
    before = connected(Follow.ACTIVE_SPEAKER, ANA, BO)
    before.choose(0.0, Choice(ChoiceKind.USER, BO))
    policy = VideoPolicy(Follow.ACTIVE_SPEAKER, SWITCH_S)
    policy.restore(before.known)
    policy.up(0.0)
    assert asks(policy) == [(BO, True)]
    assert list(policy.people.cameras) == [ANA, BO]
    broken: list[Any] = [None, 7, [], {"choice": "x", "cameras": 7}, {"choice": 2**40, "cameras": [True, "1", -1, 1.5]}]
    for nonsense in broken:
        policy = VideoPolicy(Follow.ACTIVE_SPEAKER, SWITCH_S)
        policy.restore(nonsense)
        assert policy.known == {"choice": "auto", "cameras": []}


def test_a_flood_of_people_needs_bounded_memory() -> None:
    policy = connected(Follow.ACTIVE_SPEAKER)
    for user_id in range(1, 3 * MAX_PEOPLE):
        policy.camera(0.0, user_id, on=True)
        policy.spoke(0.0, user_id)
        policy.people.gone(user_id)
        policy.take_effects()
    assert len(policy.people.cameras) == len(policy.people._gone) == MAX_PEOPLE
    assert len(policy.people._spoke) == MAX_SPEAKERS
