"""Ownership records that would age out under a stream that lives."""

import trio
from trio.testing import MockClock

from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.keeping.renewal import Renewal
from rtmsd.cluster.records import Why
from rtmsd.streams.drivers.tenure import Permission
from tests.cluster.crew import Crew, Mate, a_crew, start, stop

KEEP_S = 86_400.0


def renewal_of(crew: Crew, mate: Mate) -> Renewal:
    member = crew.engine.member(mate.node)
    assert member is not None
    return Renewal(mate.ownership, member, incarnation=mate.incarnation, keep_s=KEEP_S)


async def test_a_record_is_written_again_at_half_its_age(autojump_clock: MockClock) -> None:
    async with a_crew("1", "2") as crew, trio.open_nursery() as nursery:
        one = crew.mates["1"]
        await one.ownership.accept(start())
        before = await one.ownership.read("s")
        nursery.start_soon(renewal_of(crew, one).run)
        await trio.sleep(0.45 * KEEP_S)
        assert (await one.ownership.read("s")).token == before.token
        await trio.sleep(0.1 * KEEP_S)
        after = await one.ownership.read("s")
        assert before.own is not None
        assert after.own is not None
        assert after.token > before.token
        assert (after.own.why, after.own.epoch, after.own.node) == (Why.RENEWED, before.own.epoch, "1")
        assert one.ownership.token("s") == after.token
        assert await one.ownership.may_connect("s") is Permission.GRANTED
        assert len(one.lives.begun) == 1
        nursery.cancel_scope.cancel()


async def test_what_has_ended_or_is_anothers_is_left_alone(autojump_clock: MockClock) -> None:
    async with a_crew("1", "2") as crew:
        one = crew.mates["1"]
        await one.ownership.accept(start())
        renewal = renewal_of(crew, one)
        await renewal.look()
        await one.ownership.accept(stop())
        await trio.sleep(KEEP_S)
        held = await one.ownership.read("s")
        await renewal.look()
        assert (await one.ownership.read("s")).token == held.token


async def test_an_engine_that_is_away_is_asked_again(autojump_clock: MockClock) -> None:
    async with a_crew("1", "2") as crew:
        one = crew.mates["1"]
        await one.ownership.accept(start())
        before = await one.ownership.read("s")
        renewal = renewal_of(crew, one)
        await renewal.look()
        await trio.sleep(0.6 * KEEP_S)
        with crew.engine.failing(Fault.AWAY, "1"):
            await renewal.look()
        assert (await one.ownership.read("s")).token == before.token
        await renewal.look()
        assert (await one.ownership.read("s")).token > before.token
