"""Members that beat over the engine in memory, and judge who lives: at a death, and at every outage."""

import contextlib

import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.engine import Away, Ear
from rtmsd.cluster.engines.memory import Fault, MemoryEngine, MemoryMember
from rtmsd.cluster.liveness import Change, Event, Liveness
from rtmsd.cluster.records import Beat


class Life:
    """A member that beats once a second, and judges who lives."""

    def __init__(self, engine: MemoryEngine, node: str) -> None:
        self.node = node
        self.events: list[tuple[float, Event]] = []
        self.liveness = Liveness(node, f"{node}-1")
        self._engine = engine
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        with self._scope:
            async with self._engine.join(self.node, f"{self.node}-1") as member, trio.open_nursery() as nursery:
                nursery.start_soon(self._beat, member)
                nursery.start_soon(self._hear, member)

    async def _beat(self, member: MemoryMember) -> None:
        n = 0
        while True:
            if member.is_up:
                n += 1
                self.liveness.sending(n, trio.current_time())
                with contextlib.suppress(Away):
                    await member.beat(Beat(node=self.node, incarnation=f"{self.node}-1", n=n))
            await trio.sleep(1)

    async def _hear(self, member: MemoryMember) -> None:
        while True:
            heard = await member.hear()
            if heard is Ear.DEAF:
                self.liveness.start_anew()
            else:
                assert isinstance(heard, Beat)
                self.events += [(trio.current_time(), each) for each in self.liveness.hear(heard, trio.current_time())]

    @property
    def deaths(self) -> list[str]:
        return [event.node for _, event in self.events if event.change is Change.DIED]

    def kill(self) -> None:
        self._scope.cancel()


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
async def lives(engine: MemoryEngine, nursery: trio.Nursery) -> dict[str, Life]:
    lives = {node: Life(engine, node) for node in "abc"}
    for life in lives.values():
        nursery.start_soon(life.run)
        await trio.sleep(0.3)
    await trio.sleep(5)
    return lives


async def test_all_know_of_all(autojump_clock: MockClock, lives: dict[str, Life]) -> None:
    for node, life in lives.items():
        assert life.liveness.living.keys() == lives.keys() - {node}
        assert life.deaths == []


async def test_a_killed_member_is_dead_for_all_within_four_beats(
    autojump_clock: MockClock, lives: dict[str, Life]
) -> None:
    killed_s = trio.current_time()
    lives["a"].kill()
    await trio.sleep(10)
    for node in "bc":
        [(died_s, event)] = [each for each in lives[node].events if each[1].change is Change.DIED]
        assert event == Event(Change.DIED, "a", "a-1")
        assert 2 < died_s - killed_s < 4.1


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN, Fault.DEAF])
@pytest.mark.parametrize("for_s", [0.5, 2.5, 6, 600])
async def test_nobody_is_dead_because_the_engine_was_away(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life], fault: Fault, for_s: float
) -> None:
    with engine.failing(fault):
        await trio.sleep(for_s)
    await trio.sleep(20)
    assert [life.deaths for life in lives.values()] == [[], [], []]


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN])
async def test_who_alone_is_cut_off_is_dead_for_the_others_and_says_so_of_nobody(
    autojump_clock: MockClock, engine: MemoryEngine, lives: dict[str, Life], fault: Fault
) -> None:
    with engine.failing(fault, "a"):
        await trio.sleep(10)
        assert [lives[node].deaths for node in "abc"] == [[], ["a"], ["a"]]
    await trio.sleep(10)
    assert [lives[node].deaths for node in "abc"] == [[], ["a"], ["a"]]
    assert all(len(life.liveness.living) == 2 for life in lives.values())
