"""The faults of the engine in memory: what is done, heard and answered while there is one, and afterwards."""

import json
from collections.abc import AsyncIterator
from typing import Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engine import BEATS_KEPT, Away, Ear, Nobody
from rtmsd.cluster.engines.memory import AWAY_AFTER_S, Fault, MemoryEngine, MemoryMember
from rtmsd.cluster.records import Beat, Log, Revoked
from tests.cluster.contract import known, own

BEAT: Final = Beat(node="a", incarnation="a-1", n=1)


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
async def a(engine: MemoryEngine) -> AsyncIterator[MemoryMember]:
    async with engine.join("a", "a-1") as member:
        yield member


@pytest.fixture
async def b(engine: MemoryEngine) -> AsyncIterator[MemoryMember]:
    async with engine.join("b", "b-1") as member:
        yield member


async def test_away_for_all(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember) -> None:
    with engine.failing(Fault.AWAY):
        begun_s = trio.current_time()
        with pytest.raises(Away):
            await a.claim(own(a, "s"), seen=0)
        assert trio.current_time() - begun_s == pytest.approx(AWAY_AFTER_S)
        for member in (a, b):
            assert not member.is_up
            with pytest.raises(Away):
                await member.read("s")
            with pytest.raises(Away):
                await member.beat(BEAT)
    assert a.is_up
    assert (await a.read("s")).own is None


async def test_away_for_a_moment_only_delays(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, nursery: trio.Nursery
) -> None:
    engine.fail(Fault.AWAY)

    async def recover() -> None:
        await trio.sleep(0.5)
        engine.recover()

    nursery.start_soon(recover)
    assert await a.claim(own(a, "s"), seen=0) > 0
    assert trio.current_time() == pytest.approx(0.5)


async def test_one_member_cut_off(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember
) -> None:
    async def answer(data: bytes) -> bytes:
        return data

    for member in (a, b):
        member.serve("ctl", answer)
    with engine.failing(Fault.AWAY, "b"):
        with pytest.raises(Away):
            await b.read("s")
        with pytest.raises(Away):
            await b.ask("a", "ctl", b"", timeout_s=0.8)
        with pytest.raises(Nobody):
            await a.ask("b", "ctl", b"", timeout_s=0.8)
        await a.claim(own(a, "s"), seen=0)
    assert await b.ask("a", "ctl", b"x", timeout_s=0.8) == b"x"
    assert await a.ask("b", "ctl", b"x", timeout_s=0.8) == b"x"


async def test_a_lost_answer(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember) -> None:
    mine = own(a, "s")
    with engine.failing(Fault.ANSWER_LOST, "a"):
        with pytest.raises(Away):
            await a.claim(mine, seen=0)
        held = await a.read("s")
        assert held.own == mine
        await b.claim(own(b, "t"), seen=0)
    assert await a.claim(mine, seen=0) == held.token


async def test_a_full_disk(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember) -> None:
    token = await a.claim(own(a, "s"), seen=0)
    with engine.failing(Fault.FULL):
        with pytest.raises(Away, match="full"):
            await a.claim(own(a, "s", 2), seen=token)
        assert trio.current_time() == 0
        assert (await a.read("s")).token == token


async def test_a_deaf_member(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember) -> None:
    asked = trio.Event()

    async def answer(data: bytes) -> bytes:
        asked.set()
        return data

    b.serve("ctl", answer)
    with engine.failing(Fault.DEAF, "b"):
        await a.beat(BEAT)
        with pytest.raises(Away):
            await a.ask("b", "ctl", b"", timeout_s=0.8)
        await b.claim(own(b, "s"), seen=0)
        await b.beat(Beat(node="b", incarnation="b-1", n=1))
    await a.beat(Beat(node="a", incarnation="a-1", n=2))
    assert not asked.is_set()
    assert await b.hear() is Ear.DEAF
    assert await b.hear() == Beat(node="a", incarnation="a-1", n=2)
    assert [await a.hear() for _ in range(2)] == [BEAT, Beat(node="b", incarnation="b-1", n=1)]


async def test_what_is_said_to_a_frozen_engine_is_done_when_it_goes_on(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember
) -> None:
    """Also what nobody waits for any longer."""
    mine, cancelled = own(a, "s"), own(a, "t")
    with engine.failing(Fault.FROZEN):
        with pytest.raises(Away):
            await a.claim(mine, seen=0)
        with trio.move_on_after(0.1) as scope:
            await a.claim(cancelled, seen=0)
        assert scope.cancelled_caught
        await a.beat(BEAT)
        with trio.move_on_after(5) as scope:
            await b.hear()
        assert scope.cancelled_caught
    assert (await b.read("s")).own == mine
    assert (await b.read("t")).own == cancelled
    assert await b.hear() == BEAT


async def test_a_frozen_member_answers_when_it_goes_on(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember
) -> None:
    answered = trio.Event()

    async def answer(data: bytes) -> bytes:
        answered.set()
        return data

    b.serve("ctl", answer)
    engine.fail(Fault.FROZEN, "b")
    with pytest.raises(Away):
        await a.ask("b", "ctl", b"", timeout_s=0.8)
    assert not answered.is_set()
    engine.recover("b")
    await answered.wait()


async def test_slow(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember) -> None:
    engine.delay_s = 0.5
    await a.claim(own(a, "s"), seen=0)
    assert trio.current_time() == 0.5
    with trio.move_on_after(0.3) as scope:  # it is done half-way
        await a.claim(own(a, "t"), seen=0)
    assert scope.cancelled_caught
    assert (await a.read("t")).token > 0


async def test_appends_to_a_stream_take_turns(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember) -> None:
    tokens = {stream: await a.claim(own(a, stream), seen=0) for stream in "st"}
    engine.delay_s = 1
    begun_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for stream, token in tokens.items():
            for n in range(2):
                nursery.start_soon(a.append, Log(rtms_stream_id=stream, token=token, n=n, lines={}))
    assert trio.current_time() - begun_s == 2


async def test_a_later_life_of_a_member_stays_when_the_earlier_goes(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, nursery: trio.Nursery
) -> None:
    async def answer(data: bytes) -> bytes:
        return data

    async def live(task_status: trio.TaskStatus[trio.CancelScope]) -> None:
        with trio.CancelScope() as scope:
            async with engine.join("b", "b-1"):
                task_status.started(scope)
                await trio.sleep_forever()

    earlier: trio.CancelScope = await nursery.start(live)
    async with engine.join("b", "b-2") as later:
        later.serve("ctl", answer)
        earlier.cancel()
        await wait_all_tasks_blocked()
        assert await a.ask("b", "ctl", b"x", timeout_s=0.8) == b"x"


async def test_orders_wait_for_a_deaf_member(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember, b: MemoryMember
) -> None:
    engine.fail(Fault.DEAF, "b")
    await a.revoke(Revoked(rtms_stream_id="s", at_ms=1))
    with trio.move_on_after(5) as scope:
        await b.revocations()
    assert scope.cancelled_caught
    engine.recover("b")
    assert [each.record.rtms_stream_id for each in await b.revocations()] == ["s"]


async def test_who_does_not_listen_is_told_so(autojump_clock: MockClock, a: MemoryMember, b: MemoryMember) -> None:
    for n in range(BEATS_KEPT + 1):
        await a.beat(Beat(node="a", incarnation="a-1", n=n))
    assert await b.hear() is Ear.DEAF
    assert await b.hear() == Beat(node="a", incarnation="a-1", n=BEATS_KEPT)


async def test_a_worse_fault_hides_another(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember) -> None:
    engine.fail(Fault.FULL)
    with engine.failing(Fault.AWAY, "a"), pytest.raises(Away, match="connection"):
        await a.claim(own(a, "s"), seen=0)
    with pytest.raises(Away, match="full"):
        await a.claim(own(a, "s"), seen=0)


# What other engines have from elsewhere


async def test_a_stream_from_a_time_without_members(
    autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember
) -> None:
    engine.tables.know(known("s"))
    [held] = await a.orphans([a.incarnation])
    assert (held.own, held.token, held.known) == (None, 0, known("s"))
    assert await a.claim(own(a, "s"), seen=0) > 0
    assert await a.orphans([a.incarnation]) == []


async def test_a_record_of_a_newer_version(autojump_clock: MockClock, engine: MemoryEngine, a: MemoryMember) -> None:
    newer = json.loads(encode(own(a, "s"))) | {"v": 2, "row": "in another form"}
    token = engine.tables.put_own("s", json.dumps(newer).encode())
    held = await a.read("s")
    assert held.own is not None
    assert held.own.is_newer
    assert held.token == token
    assert [each.token for each in await a.orphans([])] == [token]
