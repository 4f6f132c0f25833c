"""The takeover of a dead member's streams: each once, by rank, whatever goes wrong with another."""

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import pytest
import structlog
import trio

from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.members import Member
from rtmsd.cluster.records import Why
from rtmsd.cluster.rules import rank
from rtmsd.cluster.takeover import REASONS, able_to_take
from rtmsd.protocol.causes import GapCause
from rtmsd.state.rows import Known
from rtmsd.state.verdicts import judge
from tests.cluster.crew import T0_MS, Crew, a_crew, interrupt, start


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    async with a_crew("1", "2", "3") as crew:
        yield crew


async def record(crew: Crew, number: int) -> None:
    """Have many streams, shared out evenly."""
    for each in range(number):
        await crew.mates["123"[each % 3]].router.accept(start(f"s{each}"))
    await trio.sleep(3)
    crew.tell()


def begun(crew: Crew) -> list[str]:
    """Return the streams that were resumed by those who live."""
    return sorted(name for mate in crew.mates.values() for name, begun_by, _ in mate.lives.begun if begun_by is None)


async def test_what_the_dead_had_lives_on_elsewhere_each_stream_once(crew: Crew) -> None:
    await record(crew, 60)
    before = {mate.node: mate.streams for mate in crew.mates.values()}
    dead_s = trio.current_time()
    await crew.kill("2")
    await trio.sleep(3)
    assert begun(crew) == sorted(before["2"])
    for mate in crew.mates.values():
        assert before[mate.node] <= mate.connected == mate.streams
    assert {cause for mate in crew.mates.values() for *_, cause in mate.lives.begun} == {None, GapCause.DAEMON_RESTART}
    late_s = [at_s for at_s, _, name in crew.zoom.handshakes if name in before["2"] and at_s > dead_s]
    assert max(late_s) - dead_s < 1
    assert sum(mate.takeover.results[Why.DIED, "taken"] for mate in crew.mates.values()) == len(before["2"])
    assert len(crew.mates["1"].streams) > 20 < len(crew.mates["3"].streams)


@pytest.mark.parametrize(("unnoticed_s", "why"), [(0.0, Why.DIED), (1.0, Why.UNREACHABLE)])
async def test_it_is_told_also_where_a_webhook_is_quicker(crew: Crew, unnoticed_s: float, why: Why) -> None:
    """Zoom says that signaling was interrupted as soon as the owner is dead."""
    await record(crew, 30)
    lost = sorted(crew.mates["2"].streams)
    mates = [crew.mates["1"], crew.mates["3"]]
    with structlog.testing.capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(crew.kill, "2", unnoticed_s=unnoticed_s))
            await trio.testing.wait_all_tasks_blocked()
            for name in lost:
                nursery.start_soon(mates[0].router.accept, interrupt(name))
        await trio.sleep(3)
    assert begun(crew) == lost
    told = [line for line in logged if line["event"] == "stream taken over"]
    assert sorted(line["rtms_stream_id"] for line in told) == lost
    assert {line["owner_before"] for line in told} == {"2"}
    counted = {reason: sum(mate.takeover.results[reason, "taken"] for mate in mates) for reason in REASONS}
    assert sum(counted.values()) == len(lost)
    assert counted[why] == Counter(line["why"] for line in told)[why] > 0


async def test_who_is_drained_or_full_takes_none_while_another_can(crew: Crew) -> None:
    await record(crew, 30)
    before = crew.mates["3"].streams
    crew.draining = {"3"}
    crew.tell()
    await crew.kill("2")
    await trio.sleep(3)
    assert len(crew.mates["1"].connected) == 30 - len(before)
    assert crew.mates["3"].streams == before
    await crew.kill("1")
    await trio.sleep(3)
    assert len(crew.mates["3"].connected) == 30


async def test_the_next_by_rank_takes_what_the_first_cannot(crew: Crew) -> None:
    await record(crew, 30)
    lost = sorted(crew.mates["2"].streams)
    firsts = {name: rank(["1", "3"], name)[0] for name in lost}
    crew.engine.fail(Fault.AWAY, "1")
    began_s = trio.current_time()
    await crew.kill("2")
    await trio.sleep(4)
    assert set(lost) <= crew.mates["3"].connected
    for name in lost:
        [at_s] = [at_s for at_s, _, each in crew.zoom.handshakes if each == name and at_s > began_s]
        assert at_s - began_s < (1 if firsts[name] == "3" else 2.5)
    crew.engine.recover("1")
    await trio.sleep(15)
    assert begun(crew) == lost


async def test_at_most_so_many_handshakes_at_a_time() -> None:
    async with a_crew("1", "2") as crew:
        crew.draining = {"1"}
        crew.tell()
        for each in range(200):
            await crew.mates["1"].router.accept(start(f"s{each}"))
        await trio.sleep(1)
        crew.draining = set()
        crew.tell()
        dead_s = trio.current_time()
        await crew.kill("2")
        await trio.sleep(10)
        times_s = sorted(at_s for at_s, *_ in crew.zoom.handshakes if at_s > dead_s)
        assert len(times_s) == 200
        assert all(later - earlier >= 0.2 for earlier, later in zip(times_s, times_s[64:], strict=False))
        assert times_s[-1] - dead_s < 1.5


async def test_a_bug_with_one_stream_is_no_other_streams(crew: Crew) -> None:
    await record(crew, 30)
    lost = sorted(crew.mates["2"].streams)
    for node in ("1", "3"):
        crew.mates[node].lives.broken = {lost[0]}
    await crew.kill("2")
    await trio.sleep(15)
    assert begun(crew) == lost[1:]
    for node in ("1", "3"):
        crew.mates[node].lives.broken = set()
    await trio.sleep(60)
    assert sorted(begun(crew)) == lost


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FULL, Fault.FROZEN, Fault.ANSWER_LOST])
async def test_it_waits_for_an_engine_that_is_away(crew: Crew, fault: Fault) -> None:
    await record(crew, 30)
    lost = sorted(crew.mates["2"].streams)
    with crew.engine.failing(fault):
        await crew.kill("2")
        await trio.sleep(25)
        assert fault is Fault.ANSWER_LOST or not begun(crew)
    await trio.sleep(15)
    assert begun(crew) == lost
    assert all(mate.connected == mate.streams for mate in crew.mates.values())


async def test_a_later_life_of_the_owner_takes_up_what_it_had() -> None:
    """All die, and all come back."""
    async with a_crew("1", "2", "3") as crew:
        await record(crew, 60)
        before = {mate.node: mate.streams for mate in crew.mates.values()}
        async with trio.open_nursery() as nursery:
            for node in tuple(crew.mates):
                nursery.start_soon(crew.kill, node)
        await crew.begin("1", "2", "3")
        await trio.sleep(5)
        assert sorted(name for mate in crew.mates.values() for name in mate.connected) == sorted(
            name for names in before.values() for name in names
        )
        assert len(begun(crew)) == 60
        assert {mate.takeover.results[Why.RESUMED, "taken"] > 0 for mate in crew.mates.values()} == {True}


async def test_a_later_life_of_the_owner_comes_first_also_while_it_starts() -> None:
    """It has the files. If it claims nothing, the others do."""
    async with a_crew("1", "2", "3") as crew:
        await record(crew, 30)
        streams = crew.mates["1"].streams
        before = {node: crew.mates[node].streams for node in "23"}
        mate = crew.mates.pop("1")
        mate.nursery.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        again = Member(node="1", incarnation="again", is_ready=False)
        for other in crew.mates.values():
            other.members.update([*(each.members.me for each in crew.mates.values()), again])
        await trio.sleep(0.9)
        assert {node: crew.mates[node].streams for node in "23"} == before
        await trio.sleep(5)
        assert streams <= crew.mates["2"].streams | crew.mates["3"].streams


async def test_unfinished_streams_of_a_time_without_members_are_resumed() -> None:
    async with a_crew() as crew:
        for each in range(40):
            _, known = judge(Known(), start(f"s{each}"), received_ms=T0_MS)
            crew.engine.tables.know(known)
        await crew.begin("1", "2")
        await trio.sleep(15)
        assert begun(crew) == sorted(f"s{each}" for each in range(40))
        assert all(mate.connected == mate.streams for mate in crew.mates.values())


async def test_a_thousand_takeovers() -> None:
    async with a_crew("1", "2", "3") as crew:
        await record(crew, 150)
        for death in range(20):
            node = "123"[death % 3]
            await crew.kill(node)
            await crew.begin(node)
            await trio.sleep(2)
            lives = sorted(name for mate in crew.mates.values() for name in mate.streams)
            assert lives == sorted(f"s{each}" for each in range(150))
            assert all(mate.connected == mate.streams for mate in crew.mates.values())
        epochs = [crew.engine.tables.read(f"s{each}").own for each in range(150)]
        assert sum(own.epoch - 1 for own in epochs if own is not None) >= 1000


def test_who_is_able_to_take() -> None:
    a, b, c = (
        Member(node="a", incarnation="a", is_ready=False),
        Member(node="b", incarnation="b", is_draining=True),
        Member(node="c", incarnation="c", streams=5, capacity=5),
    )
    assert able_to_take([a, b, c], is_start=True) == ["a"]
    assert able_to_take([a, b, c], is_start=False) == ["c"]
    assert able_to_take([a, b], is_start=False) == ["b"]
    assert able_to_take([a], is_start=False) == ["a"]
