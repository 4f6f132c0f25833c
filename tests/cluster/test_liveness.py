"""Who is taken for dead: the dead, soon; and nobody because of an outage of the bus, or of who judges."""

from collections import deque
from random import Random
from typing import Final

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rtmsd.cluster.liveness import MAX_PEERS, REMEMBERED, Change, Event, Liveness
from rtmsd.cluster.records import Beat

BEAT_S: Final = 1.0
DEAD_AFTER_BEATS: Final = 3


def beat(node: str, n: int = 0, life: int = 1) -> Beat:
    return Beat(node=node, incarnation=f"{node}-{life}", n=n)


class Judge:
    """Member "a", whose beats come back at once unless a test says otherwise."""

    def __init__(self) -> None:
        self.liveness = Liveness("a", "a-1", beat_s=BEAT_S, dead_after_beats=DEAD_AFTER_BEATS)
        self.now_s = 100.0
        self.n = 0

    def hear(self, node: str, life: int = 1) -> list[Event]:
        return self.liveness.hear(beat(node, life=life), self.now_s)

    def send(self, after_s: float = BEAT_S) -> None:
        self.now_s += after_s
        self.n += 1
        self.liveness.sending(self.n, self.now_s)

    def echo(self, n: int | None = None, after_s: float = 0.001) -> list[Event]:
        self.now_s += after_s
        return self.liveness.hear(beat("a", self.n if n is None else n), self.now_s)

    def beat(self) -> list[Event]:
        self.send()
        return self.echo()


@pytest.fixture
def judge() -> Judge:
    judge = Judge()
    judge.hear("b")
    judge.beat()
    judge.hear("b")
    return judge


DEATH: Final = Event(Change.DIED, "b", "b-1")


def test_a_peer_is_dead_when_own_beats_came_back_for_three_beats(judge: Judge) -> None:
    """The first may have been sent at the same moment as the peer's last."""
    assert [judge.beat() for _ in range(4)] == [[], [], [], [DEATH]]
    assert judge.liveness.living == {}
    assert judge.liveness.is_gone("b-1")
    assert judge.beat() == []  # said once


def test_each_beat_of_a_peer_starts_its_count_anew(judge: Judge) -> None:
    for _ in range(5):
        assert judge.beat() + judge.beat() + judge.beat() + judge.hear("b") == []


def test_an_echo_counts_once(judge: Judge) -> None:
    judge.send()
    assert [judge.echo() for _ in range(9)] == [[]] * 9


def test_no_death_while_own_beats_do_not_come_back(judge: Judge) -> None:
    for _ in range(20):
        judge.send()
    assert judge.liveness.living


def test_a_burst_of_echoes_starts_the_count_anew(judge: Judge) -> None:
    """As after an outage in which the connection stood."""
    judge.beat()
    judge.beat()
    for _ in range(5):
        judge.send()
    assert [judge.echo(n, 0) for n in range(judge.n - 4, judge.n + 1)] == [[]] * 5
    assert [judge.beat() for _ in range(7)] == [[]] * 6 + [[DEATH]]


def test_a_late_echo_of_the_newest_beat_starts_the_count_anew(judge: Judge) -> None:
    judge.beat()
    judge.beat()
    judge.send()
    assert judge.echo(after_s=1.5) == []
    assert [judge.beat() for _ in range(7)] == [[]] * 6 + [[DEATH]]


def test_an_own_loop_that_stood_still_starts_the_count_anew(judge: Judge) -> None:
    judge.beat()
    judge.beat()
    judge.send(after_s=2.1)
    assert judge.echo() == []
    assert [judge.beat() for _ in range(6)] == [[]] * 5 + [[DEATH]]


def test_a_lost_connection_starts_the_count_anew(judge: Judge) -> None:
    judge.beat()
    judge.beat()
    judge.liveness.start_anew()
    assert judge.echo() == []
    assert [judge.beat() for _ in range(7)] == [[]] * 6 + [[DEATH]]


def test_a_new_incarnation_replaces_the_old_at_once(judge: Judge) -> None:
    assert judge.hear("b", life=2) == [Event(Change.REPLACED, "b", "b-1"), Event(Change.APPEARED, "b", "b-2")]
    assert judge.liveness.incarnations == {"a-1", "b-2"}
    assert judge.hear("b", life=1) == []  # it was on its way for long
    assert judge.liveness.incarnations == {"a-1", "b-2"}


def test_who_was_taken_for_dead_may_come_back(judge: Judge) -> None:
    for _ in range(4):
        judge.beat()
    assert judge.hear("b") == [Event(Change.APPEARED, "b", "b-1")]
    assert not judge.liveness.is_gone("b-1")
    assert [judge.beat() for _ in range(4)] == [[]] * 3 + [[DEATH]]


def test_who_is_doubted_to_be_dead_must_be_silent_once_more(judge: Judge) -> None:
    assert [event for _ in range(4) for event in judge.beat()] == [DEATH]
    judge.liveness.doubt("b", "b-1")
    assert "b-1" in judge.liveness.incarnations
    assert [judge.beat() for _ in range(4)] == [[], [], [], [DEATH]]
    judge.liveness.doubt("b", "b-1")
    assert judge.hear("b") == [Event(Change.APPEARED, "b", "b-1")]


def test_a_former_life_is_doubted_no_more(judge: Judge) -> None:
    judge.hear("b", life=2)
    judge.liveness.doubt("b", "b-1")
    assert "b-1" not in judge.liveness.incarnations


def test_who_is_only_named_by_a_record_is_given_time_to_connect() -> None:
    judge = Judge()
    judge.liveness.expect("b", "b-1")
    assert judge.liveness.incarnations == {"a-1", "b-1"}
    assert judge.liveness.living == {}
    assert [judge.beat() for _ in range(7)] == [[]] * 6 + [[DEATH]]
    judge.liveness.expect("b", "b-1")  # is known to be dead
    assert judge.liveness.incarnations == {"a-1"}


def test_who_was_expected_appears_with_its_first_beat(judge: Judge) -> None:
    judge.liveness.expect("c", "c-1")
    judge.liveness.expect("b", "b-1")  # lives: no change
    assert judge.hear("c") == [Event(Change.APPEARED, "c", "c-1")]
    assert judge.liveness.living.keys() == {"b", "c"}


def test_a_namesake_is_said_once(judge: Judge) -> None:
    assert judge.hear("a", life=7) == [Event(Change.NAMESAKE, "a", "a-7")]
    assert judge.hear("a", life=7) == []
    assert judge.liveness.living.keys() == {"b"}


def test_what_is_remembered_is_bounded() -> None:
    judge = Judge()
    for number in range(2 * MAX_PEERS):
        judge.hear(f"node-{number}")
    assert len(judge.liveness.incarnations) == MAX_PEERS + 1
    for life in range(2, REMEMBERED + 100):
        judge.hear("node-1", life)
    assert not judge.liveness.is_gone("node-1-2")
    assert judge.liveness.is_gone(f"node-1-{REMEMBERED + 98}")
    assert judge.liveness.living["node-1"].incarnation == f"node-1-{REMEMBERED + 99}"


# Any outage


@attrs.define(eq=False)
class Member:
    """A process with a loop that beats, and a connection to the bus.

    Attributes:
        frozen_until_s: it stands still; the kernel keeps what comes.
        cut_until_s: it alone has no connection.
        connects_s: when it has a connection again; None: it has one.
        to_bus, from_bus: what is on its way; None: it has been deaf.
        harmed_s: the last time at which others could notice that something is wrong with it alone.
    """

    node: str
    now_s: float
    next_beat_s: float
    life: int = 0
    n: int = 0
    is_killed: bool = False
    frozen_until_s: float = 0.0
    cut_until_s: float = 0.0
    connects_s: float | None = None
    harmed_s: float = -1000.0
    to_bus: deque[Beat] = attrs.field(factory=deque)
    from_bus: deque[Beat | None] = attrs.field(factory=deque)
    liveness: Liveness = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin()

    @property
    def incarnation(self) -> str:
        return f"{self.node}-{self.life}"

    @property
    def is_running(self) -> bool:
        return not self.is_killed and self.now_s >= self.frozen_until_s

    def begin(self) -> None:
        self.life += 1
        self.n, self.is_killed, self.frozen_until_s = 0, False, 0.0
        self.liveness = Liveness(self.node, self.incarnation, beat_s=BEAT_S, dead_after_beats=DEAD_AFTER_BEATS)
        self.disconnect(0)

    def disconnect(self, for_s: float) -> None:
        self.to_bus.clear()
        self.from_bus.clear()
        self.connects_s = self.now_s + for_s

    def connect(self) -> None:
        self.connects_s = None
        self.from_bus.append(None)

    def send(self, jitter_s: float) -> None:
        self.next_beat_s = self.now_s + BEAT_S + jitter_s
        if self.connects_s is None:
            self.n += 1
            self.liveness.sending(self.n, self.now_s)
            self.to_bus.append(Beat(node=self.node, incarnation=self.incarnation, n=self.n))

    def read(self) -> list[Event]:
        events: list[Event] = []
        while self.from_bus:
            heard = self.from_bus.popleft()
            if heard is None:
                self.liveness.start_anew()
            else:
                events += self.liveness.hear(heard, self.now_s)
        return events


class OutageMachine(RuleBasedStateMachine):
    """Members on a bus that freezes and goes away, and that freeze, are cut off, killed and started again.

    Whoever is taken for dead was killed, frozen or cut off by itself a moment ago. When all is calm, everybody knows
    exactly who lives.
    """

    STEP_S: Final = 0.1
    RECONNECTED_WITHIN_S: Final = 2.5
    BLAMED_FOR_S: Final = 2.0 * DEAD_AFTER_BEATS + 2.0

    @initialize(seed=st.integers(0, 2**32), count=st.integers(2, 4))
    def begin(self, seed: int, count: int) -> None:
        self.random = Random(seed)
        self.now_s = 1000.0
        self.frozen_until_s = 0.0
        self.away_until_s = 0.0
        self.members = [Member(node, self.now_s, self.now_s + self.random.random()) for node in "abcd"[:count]]
        self.wrong: list[str] = []

    def step(self) -> None:
        self.now_s += self.STEP_S
        for member in self.members:
            member.now_s = self.now_s
            if not member.is_running or self.now_s < member.cut_until_s:
                member.harmed_s = self.now_s
        self.random.shuffle(self.members)
        for member in self.members:
            if member.is_running:
                self.live(member)
        self.random.shuffle(self.members)
        if self.now_s >= max(self.frozen_until_s, self.away_until_s):
            self.carry()
        for member in self.members:
            if member.is_running:
                self.judge(member, member.read())

    def live(self, member: Member) -> None:
        is_there = self.now_s >= max(self.frozen_until_s, self.away_until_s, member.cut_until_s)
        if member.connects_s is not None and is_there and self.now_s >= member.connects_s:
            member.connect()
        if self.now_s >= member.next_beat_s:
            member.send(self.random.uniform(-0.05, 0.25))

    def carry(self) -> None:
        for sender in self.members:
            while sender.to_bus:
                sent = sender.to_bus.popleft()
                for member in self.members:
                    if member.connects_s is None and not member.is_killed:
                        member.from_bus.append(sent)

    def judge(self, member: Member, events: list[Event]) -> None:
        for event in events:
            if event.change is Change.NAMESAKE:
                self.wrong.append(f"{member.node} has a namesake")
            if event.change not in (Change.DIED, Change.REPLACED):
                continue
            accused = next(each for each in self.members if each.node == event.node)
            if accused.incarnation == event.incarnation and self.now_s - accused.harmed_s > self.BLAMED_FOR_S:
                self.wrong.append(f"{member.node} says {event} at {self.now_s}")

    def pick(self, number: int) -> Member:
        return sorted(self.members, key=lambda each: each.node)[number % len(self.members)]

    @rule(steps=st.integers(1, 250))
    def time_passes(self, steps: int) -> None:
        for _ in range(steps):
            self.step()

    @rule(for_s=st.floats(0.1, 15))
    def bus_freezes(self, for_s: float) -> None:
        """Some give the connection up meanwhile, and make a new one."""
        self.frozen_until_s = max(self.frozen_until_s, self.now_s + for_s)
        for member in self.members:
            if for_s > 4 and self.random.random() < 0.5:
                member.disconnect(for_s + self.random.uniform(0, self.RECONNECTED_WITHIN_S))

    @rule(for_s=st.floats(0.1, 15))
    def bus_goes_away(self, for_s: float) -> None:
        self.away_until_s = max(self.away_until_s, self.now_s + for_s)
        for member in self.members:
            member.disconnect(for_s + self.random.uniform(0, self.RECONNECTED_WITHIN_S))

    @rule(number=st.integers(0, 3), for_s=st.floats(0.1, 15))
    def member_freezes(self, number: int, for_s: float) -> None:
        self.pick(number).frozen_until_s = self.now_s + for_s

    @rule(number=st.integers(0, 3), for_s=st.floats(0.1, 15))
    def member_is_cut_off(self, number: int, for_s: float) -> None:
        member = self.pick(number)
        member.cut_until_s = self.now_s + for_s
        member.disconnect(for_s)

    @rule(number=st.integers(0, 3))
    def member_is_killed(self, number: int) -> None:
        member = self.pick(number)
        member.is_killed = True
        if self.random.random() < 0.5:
            member.to_bus.clear()
        member.from_bus.clear()

    @rule(number=st.integers(0, 3))
    def member_starts(self, number: int) -> None:
        member = self.pick(number)
        if member.is_killed:
            member.harmed_s = self.now_s
            member.begin()

    @rule()
    def all_is_calm(self) -> None:
        self.frozen_until_s = self.away_until_s = self.now_s
        for member in self.members:
            member.frozen_until_s = member.cut_until_s = self.now_s
            if member.connects_s is not None:
                member.connects_s = self.now_s
        self.time_passes(100)
        lives = {each.node: each.incarnation for each in self.members if not each.is_killed}
        for member in self.members:
            if not member.is_killed:
                known = {node: heard.incarnation for node, heard in member.liveness.living.items()}
                assert {member.node: member.incarnation, **known} == lives

    @invariant()
    def nobody_was_wronged(self) -> None:
        assert getattr(self, "wrong", []) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_long_time_with_outages_of_the_bus_alone(seed: int) -> None:
    """Nobody is killed, frozen or cut off by itself: nobody may ever be taken for dead."""
    machine, random = OutageMachine(), Random(seed)
    machine.begin(seed=seed, count=4)
    machine.time_passes(steps=20)
    for _ in range(25):
        outage = random.choice([machine.bus_freezes, machine.bus_freezes, machine.bus_goes_away])
        outage(for_s=random.choice([random.uniform(0.5, 3), random.uniform(0.5, 12)]))
        machine.time_passes(steps=random.randint(1, 200))
        assert machine.wrong == []
        assert all(peer.harmed_s < 0 for peer in machine.members)
    machine.all_is_calm()


TestOutages = OutageMachine.TestCase
TestOutages.settings = settings(max_examples=100, stateful_step_count=30)
