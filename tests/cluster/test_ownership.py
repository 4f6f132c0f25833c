"""Ownership: who may connect, what becomes of a stream that was let go, and what is left to newer members."""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from rtmsd.cluster.engine import Elsewhere, EngineError, TooNew
from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.ownership import READ_S
from rtmsd.cluster.records import MAX_COUNT, Held, Own, Why
from rtmsd.commands import Verdict
from rtmsd.streams.drivers.tenure import Permission
from tests.cluster.crew import Crew, a_crew, start, stop


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    """Two members, of which "1" has a stream."""
    async with a_crew("1", "2") as crew:
        await crew.mates["1"].ownership.accept(start())
        await trio.sleep(1)
        yield crew


async def test_the_owner_may_connect_and_nobody_else(crew: Crew) -> None:
    assert await crew.mates["1"].ownership.may_connect("s") is Permission.GRANTED
    assert await crew.mates["2"].ownership.may_connect("s") is Permission.LOST
    assert await crew.mates["1"].ownership.may_connect("another") is Permission.LOST


async def test_a_claim_that_was_won_is_an_answer_for_a_second(crew: Crew) -> None:
    two = crew.mates["2"]
    assert await two.ownership.take(crew.engine.tables.read("s"), Why.HANDED_OVER)
    with crew.engine.failing(Fault.AWAY, "2"):
        assert await two.ownership.may_connect("s") is Permission.GRANTED
        await trio.sleep(READ_S)
        assert await two.ownership.may_connect("s") is Permission.BLIND


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN])
async def test_without_an_answer_it_is_waited_for_and_then_dialled_blind(crew: Crew, fault: Fault) -> None:
    began_s = trio.current_time()
    with crew.engine.failing(fault, "1"):
        assert await crew.mates["1"].ownership.may_connect("s") is Permission.BLIND
        assert 20 <= trio.current_time() - began_s <= 21.5
        assert await crew.mates["1"].ownership.may_connect("s") is Permission.BLIND  # the same outage
        assert trio.current_time() - began_s < 23
    assert await crew.mates["1"].ownership.may_connect("s") is Permission.GRANTED
    with crew.engine.failing(fault, "1"):
        again_s = trio.current_time()
        assert await crew.mates["1"].ownership.may_connect("s") is Permission.BLIND
        assert trio.current_time() - again_s >= 20


async def test_each_loss_of_a_connection_is_waited_for_anew(crew: Crew) -> None:
    """Also where the engine came back and went without a question: somebody may have taken the stream meanwhile."""
    one = crew.mates["1"].ownership
    for _ in range(2):
        with crew.engine.failing(Fault.AWAY, "1"):
            began_s = trio.current_time()
            assert await one.may_connect("s") is Permission.BLIND
            assert 20 <= trio.current_time() - began_s <= 21.5
        await trio.sleep(300)


async def test_an_answer_that_comes_in_time_counts(crew: Crew) -> None:
    answers: list[Permission] = []

    async def ask() -> None:
        answers.append(await crew.mates["1"].ownership.may_connect("s"))

    crew.engine.fail(Fault.AWAY, "1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(5)
        crew.engine.recover("1")
    assert answers == [Permission.GRANTED]


async def test_a_stream_that_was_let_go_and_is_mine_is_resumed(crew: Crew) -> None:
    one = crew.mates["1"]
    with crew.engine.failing(Fault.AWAY, "1"):
        await one.lives.let_go("s", "lost after a blind connection")
        await trio.sleep(10)
        assert not one.streams
    await trio.sleep(5)
    assert one.connected == {"s"}
    assert one.ownership.mine["s"].epoch == 2


async def test_a_stream_that_was_let_go_and_is_anothers_is_left_to_it(crew: Crew) -> None:
    held = crew.engine.tables.read("s")
    assert await crew.mates["2"].ownership.take(held, held.own.why) if held.own else False
    await trio.sleep(10)
    assert crew.owners("s") == ["2"]
    assert crew.mates["2"].connected == {"s"}


async def test_a_stream_is_not_taken_on_a_record_that_is_no_longer_the_newest(crew: Crew) -> None:
    old = crew.engine.tables.read("s")
    assert old.own is not None
    assert await crew.mates["2"].ownership.take(old, old.own.why)
    await trio.sleep(10)
    assert not await crew.mates["1"].ownership.take(attrs.evolve(old, token=old.token - 1), old.own.why)


async def test_who_is_not_the_owner_acts_on_nothing(crew: Crew) -> None:
    with pytest.raises(Elsewhere, match="member 1"):
        await crew.mates["2"].ownership.accept(stop())
    assert await crew.mates["1"].ownership.accept(stop()) is Verdict.NEW


async def test_a_newer_versions_record_is_left_alone(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    held = crew.engine.tables.read("s")
    assert held.own is not None
    newer = Held(attrs.evolve(held.own, version=2, incarnation="dead"), held.token)

    async def read(rtms_stream_id: str) -> Held:
        await trio.lowlevel.checkpoint()
        return newer

    two = crew.mates["2"]
    monkeypatch.setattr(two.ownership._store, "read", read)
    with pytest.raises(TooNew, match="update rtmsd"):
        await two.ownership.accept(stop())
    with pytest.raises(TooNew):
        await two.ownership.revive("s")
    with pytest.raises(TooNew):
        await two.ownership.take(newer, Why.DIED)
    assert not two.streams


async def test_a_record_that_names_no_stream_is_nobodys(crew: Crew) -> None:
    """An owner writes what it knows of the stream: who wrote this did not own it, and a start must not fail by it."""
    crew.engine.tables.claim(Own(rtms_stream_id="t", node="3", incarnation="i", epoch=5, nonce="n", why=Why.STARTED), 0)
    assert await crew.mates["2"].router.accept(start("t")) is Verdict.NEW
    await trio.sleep(1)
    [owner] = crew.owners("t")
    assert crew.mates[owner].connected >= {"t"}
    held = crew.engine.tables.read("t")
    assert held.own is not None
    assert (held.own.node, held.own.epoch) == (owner, 6)


async def test_a_forged_epoch_keeps_nobody_from_claiming(crew: Crew) -> None:
    held = await crew.mates["1"].ownership.read("s")
    assert held.own is not None
    forged = attrs.evolve(held.own, node="2", incarnation="of-nobody", epoch=MAX_COUNT, nonce="forged")
    crew.engine.tables.claim(forged, held.token)
    await trio.sleep(30)
    found = await crew.mates["2"].ownership.read("s")
    assert found.own is not None
    assert (found.own.node, found.own.epoch) == (crew.owners("s")[0], 1)
    assert crew.state("s")[1]


async def test_it_forgets_what_ended(crew: Crew) -> None:
    one = crew.mates["1"]
    for number in range(300):
        assert await one.ownership.accept(start(f"s{number}")) is Verdict.NEW
        await one.ownership.accept(stop(f"s{number}"))
        await trio.sleep(1)
    assert set(one.ownership.mine) == {"s"}
    assert len(one.ownership._mine) < 100
    assert not one.ownership.turns
    assert not one.ownership._unsure


async def test_a_stream_whose_life_cannot_begin_is_not_taken_for_mine(crew: Crew) -> None:
    one = crew.mates["1"]
    one.lives.broken = {"t"}
    with pytest.raises(ValueError, match="bug"):
        await one.ownership.accept(start("t"))
    assert "t" not in one.ownership.mine
    await trio.sleep(10)  # it is tried again, and crashes again
    assert "t" not in one.ownership.mine
    one.lives.broken = set()
    with pytest.raises(EngineError):
        await crew.mates["2"].ownership.accept(stop("t"))
    assert await one.ownership.accept(stop("t")) is Verdict.NEW


async def test_a_stream_whose_life_crashed_as_it_began_is_begun_again(crew: Crew) -> None:
    """No webhook comes for it, and no other member takes it: this one is its owner."""
    one = crew.mates["1"]
    one.lives.broken = {"t"}
    with pytest.raises(ValueError, match="bug"):
        await one.ownership.accept(start("t"))
    one.lives.broken = set()
    await trio.sleep(5)
    assert one.connected == {"s", "t"}
    assert crew.owners("t") == ["1"]


async def test_a_bug_while_its_owner_is_found_out_is_no_streams_end(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = crew.mates["1"]
    with crew.engine.failing(Fault.AWAY, "1"):
        await one.lives.let_go("s", "lost after a blind connection")
    with monkeypatch.context() as broken:
        broken.setattr(one.ownership, "_resume", None)
        await trio.sleep(10)
        assert not one.streams
    await trio.sleep(20)
    assert one.connected == {"s"}
