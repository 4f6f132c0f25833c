"""Members that beat over the engine in memory: who is taken for dead, at a death and at every outage."""

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engines.memory import Fault, MemoryEngine
from rtmsd.cluster.life.heart import Heart
from rtmsd.cluster.liveness import Change, Liveness
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.records import Beat, MemberState, Own, Why

T0_MS = 1_790_000_000_000


class Life:
    """A member with a heart.

    Attributes:
        beat: what it says of itself.
        ahead_ms: of its clock.
        gone: when it was noticed that members had gone, by node.
    """

    def __init__(self, engine: MemoryEngine, node: str, incarnation: str = "") -> None:
        self.node = node
        self.incarnation = incarnation or f"{node}-1"
        self.beat = Beat(node=node, incarnation=self.incarnation, n=0, capacity=10)
        self.ahead_ms = 0
        self.gone: dict[str, float] = {}
        liveness = Liveness(node, self.incarnation)
        self.members = Members(Member(node=node, incarnation=self.incarnation), lambda: self.beat.streams, liveness)
        self.heart: Heart
        self._liveness, self._engine = liveness, engine
        self._scope = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        with self._scope:
            async with self._engine.join(self.node, self.incarnation) as member, trio.open_nursery() as nursery:
                self.heart = Heart(
                    member, self.members, self._liveness, describe=lambda: self.beat, clock_ms=self._local_ms
                )
                nursery.start_soon(self._watch)
                nursery.start_soon(self.heart.run)
                task_status.started()

    async def _watch(self) -> None:
        deaths = 0
        while True:
            deaths = await self.members.wait_death(deaths)
            for node, sighting in self.heart.sightings.items():
                if sighting.fate is not Change.APPEARED:
                    self.gone.setdefault(node, trio.current_time())

    def _local_ms(self) -> int:
        return T0_MS + int(trio.current_time() * 1000) + self.ahead_ms

    @property
    def living(self) -> set[str]:
        return {*self.members.living()}

    def kill(self) -> None:
        self._scope.cancel()


def own(node: str, incarnation: str) -> Own:
    return Own(rtms_stream_id="s", node=node, incarnation=incarnation, epoch=1, nonce="n", why=Why.STARTED)


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
async def lives(engine: MemoryEngine, nursery: trio.Nursery) -> dict[str, Life]:
    lives = {node: Life(engine, node) for node in "abc"}
    for life in lives.values():
        await nursery.start(life.run)
        await trio.sleep(0.3)
    await trio.sleep(5)
    return lives


async def test_all_know_of_all(autojump_clock: MockClock, lives: dict[str, Life]) -> None:
    for life in lives.values():
        assert life.living == {"a", "b", "c"}
        assert life.members.deaths == 0
        assert not life.heart.is_alone
        assert life.heart.has_listened.is_set()
        assert life.heart.clocks.off_s == {}


async def test_what_a_member_says_of_itself_is_known_a_beat_later(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    says = Beat(node="a", incarnation="a-1", n=0, state=MemberState.DRAINING, streams=7, capacity=9, release="2")
    lives["a"].beat = says
    await trio.sleep(1.1)
    expected = Member(node="a", incarnation="a-1", streams=7, capacity=9, is_draining=True)
    assert [life.members.living()["a"] for life in lives.values()] == [expected] * 3
    assert lives["a"].members.me == expected
    assert lives["b"].heart.sightings["a"].beat.release == "2"


async def test_a_change_is_known_at_once_and_hastens_no_death(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    lives["c"].kill()
    died_s = trio.current_time()
    for n in range(20):
        lives["a"].beat = Beat(node="a", incarnation="a-1", n=0, streams=n, capacity=30)
        lives["a"].heart.changed()
        await trio.sleep(0.05)
        assert lives["b"].members.living()["a"].streams == n
    await trio.sleep(10)
    assert 3 <= lives["a"].gone["c"] - died_s <= 4.5
    assert lives["a"].heart.deaths[Change.DIED] == lives["b"].heart.deaths[Change.DIED] == 1


async def test_a_member_knows_its_own_load_without_the_engine(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life]
) -> None:
    with engine.failing(Fault.AWAY):
        lives["a"].beat = Beat(node="a", incarnation="a-1", n=0, streams=7)
        await trio.sleep(1.1)
        assert lives["a"].members.me.streams == 7


async def test_who_takes_streams_again_does_not_refuse_them_for_another_beat(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    for state in (MemberState.DRAINING, MemberState.UP) * 5:
        lives["a"].beat = Beat(node="a", incarnation="a-1", n=0, state=state)
        lives["a"].heart.changed()
        await trio.sleep(0.05)
        for life in (lives["a"], lives["b"]):
            assert life.members.living()["a"].is_draining == (state is MemberState.DRAINING)


async def test_a_killed_member_is_dead_for_all_within_four_beats(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    killed_s = trio.current_time()
    lives["a"].kill()
    await trio.sleep(10)
    for node in "bc":
        life = lives[node]
        assert 2 < life.gone["a"] - killed_s < 4.1
        assert life.members.deaths == 1
        assert life.living == {"b", "c"}
        assert life.members.owner(own("a", "a-1")) is None
        assert life.heart.sightings["a"].fate is Change.DIED
        assert life.heart.deaths == {Change.DIED: 1, Change.REPLACED: 0}


async def test_a_new_life_ends_the_old_one_at_once(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life], nursery: trio.Nursery
) -> None:
    lives["a"].kill()
    again = Life(engine, "a", "a-2")
    await nursery.start(again.run)
    await trio.sleep(0.1)
    for node in "bc":
        members = lives[node].members
        assert members.deaths == 1
        assert members.owner(own("a", "a-1")) is None
        assert members.owner(own("a", "a-2")) is not None
    assert again.members.owner(own("a", "a-1")) is None
    await trio.sleep(20)
    assert [lives[node].members.deaths for node in "bc"] == [1, 1]


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN, Fault.DEAF])
@pytest.mark.parametrize("for_s", [0.5, 2.5, 6, 600])
async def test_nobody_is_dead_because_the_engine_was_away(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life], fault: Fault, for_s: float
) -> None:
    with engine.failing(fault):
        await trio.sleep(for_s)
    await trio.sleep(20)
    for life in lives.values():
        assert life.members.deaths == 0
        assert life.living == {"a", "b", "c"}
        assert life.heart.clocks.off_s == {}


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN])
async def test_who_alone_is_cut_off_is_dead_for_the_others_and_says_so_of_nobody(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life], fault: Fault
) -> None:
    with engine.failing(fault, "a"):
        await trio.sleep(10)
        assert [life.members.deaths for life in lives.values()] == [0, 1, 1]
        assert lives["a"].living == {"a", "b", "c"}
        assert lives["b"].living == {"b", "c"}
    await trio.sleep(10)
    assert [life.members.deaths for life in lives.values()] == [0, 1, 1]
    for life in lives.values():
        assert life.living == {"a", "b", "c"}
        assert life.heart.clocks.off_s == {}


async def test_outages_without_end_kill_nobody(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life]
) -> None:
    """Each is over before the count is, and each ends in another way."""
    for number in range(60):
        with engine.failing([Fault.AWAY, Fault.FROZEN, Fault.DEAF][number % 3]):
            await trio.sleep(0.3 + number % 7 * 0.7)
        await trio.sleep(0.2 + number % 5 * 0.9)
    await trio.sleep(10)
    assert [life.members.deaths for life in lives.values()] == [0, 0, 0]


async def test_an_owner_that_was_not_heard_yet_is_taken_for_living_until_it_had_the_time_to_beat(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    members = lives["a"].members
    seen = members.deaths
    owner = members.owner(own("d", "d-1"))
    assert owner == Member(node="d", incarnation="d-1", capacity=0, is_ready=False)
    assert "d-1" in members.incarnations()
    assert "d" not in members.living()  # it is given nothing
    asked_s = trio.current_time()
    await members.wait_death(seen)
    assert 5 < trio.current_time() - asked_s < 8.1
    assert members.owner(own("d", "d-1")) is None
    assert "d-1" not in members.incarnations()


async def test_nobody_is_dead_for_a_member_that_has_no_engine_yet(
    autojump_clock: MockClock, engine: MemoryEngine, nursery: trio.Nursery
) -> None:
    alone = Life(engine, "a")
    with engine.failing(Fault.AWAY):
        await nursery.start(alone.run)
        await trio.sleep(100)
        assert alone.heart.is_alone
        assert not alone.heart.has_listened.is_set()
        assert alone.members.owner(own("b", "b-1")) is not None
        await trio.sleep(100)
        assert alone.members.owner(own("b", "b-1")) is not None
    await trio.sleep(4)
    assert alone.heart.has_listened.is_set()


async def test_a_clock_that_differs_is_a_trouble_until_it_is_set(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    lives["a"].ahead_ms = 45_000
    await trio.sleep(3)
    assert lives["b"].heart.clocks.off_s.keys() == {"a"}
    assert 43 < lives["b"].heart.clocks.off_s["a"] < 47
    assert lives["a"].heart.clocks.off_s.keys() == {"b", "c"}
    assert [life.members.deaths for life in lives.values()] == [0, 0, 0]
    lives["a"].ahead_ms = 0
    await trio.sleep(3)
    assert [dict(life.heart.clocks.off_s) for life in lives.values()] == [{}, {}, {}]


async def test_a_namesake_is_noticed(autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life]) -> None:
    engine.publish(encode(Beat(node="a", incarnation="a-9", n=1)))
    engine.changed()
    await trio.sleep(0.1)
    assert lives["a"].heart.namesake == "a-9"
    assert lives["a"].living == {"a", "b", "c"}
    assert lives["a"].members.me.incarnation == "a-1"


async def test_a_namesake_keeps_its_streams_for_as_long_as_it_lives(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life]
) -> None:
    """Else the two would take them from each other again and again."""
    members = lives["a"].members
    own = Own(rtms_stream_id="s", node="a", incarnation="a-9", epoch=1, nonce="n", why=Why.STARTED)
    assert members.owner(own) is None
    for n in range(20):
        engine.publish(encode(Beat(node="a", incarnation="a-9", n=n)))
        engine.changed()
        await trio.sleep(1)
        assert members.owner(own) is not None
        assert "a-9" in members.incarnations()
    deaths = members.deaths
    await trio.sleep(5)
    assert members.owner(own) is None
    assert members.deaths == deaths + 1


async def test_who_begins_with_the_name_of_a_living_member_has_an_elder(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life], nursery: trio.Nursery
) -> None:
    second = Life(engine, "a", "a-2")
    await nursery.start(second.run)
    with trio.fail_after(5):
        await second.heart.has_elder.wait()


async def test_who_was_there_first_has_no_elder(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life]
) -> None:
    """Nor has, once it has begun, who meets one that was there for longer and not heard."""
    await hear_again(engine, Beat(node="a", incarnation="a-9", n=0))
    await hear_again(engine, Beat(node="b", incarnation="b-9", n=10_000))
    assert [life.heart.namesake for life in lives.values()] == ["a-9", "b-9", None]
    assert not any(life.heart.has_elder.is_set() for life in lives.values())


async def hear_again(engine: MemoryEngine, beat: Beat) -> None:
    """Have the members hear another process beat for a while."""
    for n in range(10):
        engine.publish(encode(attrs.evolve(beat, n=beat.n + n)))
        engine.changed()
        await trio.sleep(1)


async def test_an_earlier_life_whose_last_beats_come_late_is_no_elder(
    autojump_clock: MockClock, engine: MemoryEngine, nursery: trio.Nursery
) -> None:
    """The servers stood still: they hand out at once what it sent them before its death."""
    life = Life(engine, "a", "a-2")
    await nursery.start(life.run)
    await trio.sleep(0.5)
    for n in range(100, 120):
        engine.publish(encode(Beat(node="a", incarnation="a-1", n=n)))
    engine.changed()
    await trio.sleep(30)
    assert life.heart.namesake == "a-1"
    assert not life.heart.has_elder.is_set()


async def test_of_two_that_begin_at_once_one_has_an_elder(
    autojump_clock: MockClock, engine: MemoryEngine, nursery: trio.Nursery
) -> None:
    lives = [Life(engine, node, node) for node in ("a", "b")]
    for life in lives:
        life.beat = Beat(node="twin", incarnation=life.incarnation, n=0)
        await nursery.start(life.run)
    await trio.sleep(20)
    assert [life.heart.has_elder.is_set() for life in lives] == [True, False]


async def test_a_beat_that_cannot_be_described_stops_nothing(autojump_clock: MockClock, lives: dict[str, Life]) -> None:
    said, lives["a"].beat = lives["a"].beat, Beat(node="a", incarnation="a-1", n=0, zone="z" * 100)
    await trio.sleep(2)
    lives["a"].beat = said
    await trio.sleep(5)
    assert lives["b"].living == {"a", "b", "c"}
    assert [life.members.deaths for life in lives.values()] == [0, 0, 0]
