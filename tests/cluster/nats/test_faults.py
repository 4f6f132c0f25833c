"""Three servers that die, freeze and come back: what was acknowledged is there, and nobody is deaf for good."""

import pytest
import trio

from rtmsd.cluster.engine import Away, Ear
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.records import Beat
from rtmsd.demo.cluster.servers import Servers
from tests.cluster.contract import new_id, own
from tests.cluster.nats.conftest import Opener, reach
from tests.cluster.nats.work import LIMIT_S, Work, holds, member, orphans, until_answered


async def test_a_leader_dies(three: Servers, opened: Opener, name: str) -> None:
    async with opened(three, "a") as a, opened(three, "b") as b:
        work = Work(a, "a")
        async with work.going():
            await work.goes_on()
            leader = three.leader(f"{name.upper()}_00")
            leader.kill()
            try:
                await work.goes_on()
            finally:
                leader.start()
        await work.check(b)
        assert set(work.claimed) <= await orphans(b)
        assert set(work.claimed).isdisjoint(await orphans(b, "of-a"))
        await trio.to_thread.run_sync(three.wait)


async def test_the_server_of_a_member_freezes(three: Servers, opened: Opener) -> None:
    async with opened(three, "a", ping_s=0.5) as a, opened(three, "b") as b:
        work = Work(a, "a")
        async with work.going():
            await work.goes_on()
            server = a.server
            frozen = next(each for each in three.each if server is not None and each.url.endswith(server.address))
            frozen.freeze()
            try:
                await holds(lambda: a.server not in (None, server))
                await work.goes_on()
            finally:
                frozen.thaw()
        await work.check(b)
        await holds(lambda: a.pending == 0)
        await trio.to_thread.run_sync(three.wait)


async def test_all_servers_are_away_and_come_back(three: Servers, opened: Opener) -> None:
    async with opened(three, "a", answer_s=0.5) as a, opened(three, "b") as b:
        for each in (a, b):
            each.bus.serve("ping", _pong)
        await reach(a, "b")
        before, meanwhile = Work(a, "a"), new_id()
        async with before.going():
            await before.goes_on()
        three.kill()
        await holds(lambda: not a.owners.is_up and not b.owners.is_up)
        with pytest.raises(Away):
            await a.owners.claim(own(member("a", a), meanwhile), seen=0)
        with pytest.raises(Away):
            await a.bus.ask("b", "ping", b"", timeout_s=1)
        with pytest.raises(Away):
            await a.beats.beat(Beat(node="a", incarnation="of-a", n=1))
        assert a.trouble
        three.start()
        await trio.to_thread.run_sync(three.wait)
        await holds(lambda: a.owners.is_up and b.owners.is_up)

        await until_answered(lambda: a.owners.claim(own(member("a", a), meanwhile), seen=0))
        await before.check(b)
        assert {*before.claimed, meanwhile} <= await orphans(b)
        await reach(a, "b")
        await reach(b, "a")
        await a.beats.beat(Beat(node="a", incarnation="of-a", n=2))
        with trio.fail_after(LIMIT_S):
            heard = [await b.beats.hear(), await b.beats.hear()]
        assert heard == [Ear.DEAF, Beat(node="a", incarnation="of-a", n=2)]
        await holds(lambda: a.trouble is None)  # servers that elect a leader answer later than in half a second


async def _pong(data: bytes) -> bytes:
    return data


@pytest.mark.long  # servers find each other missing after 10 s
async def test_a_survey_names_the_server_that_is_away(three: Servers, opened: Opener, name: str) -> None:
    stream = f"{name.upper()}_00"
    async with opened(three, "a") as a:
        found = await a.survey(LIMIT_S)
        assert set(found.servers) == {server.name for server in three.each}
        assert sum(found.leaders.values()) == len(found.stores) == 3
        lost = next(server for server in three.each if server is not three.leader(stream))
        lost.kill()
        try:
            with trio.fail_after(2 * LIMIT_S):
                while (stream, lost.name) not in await _behind(a):  # noqa: ASYNC110 servers have no event for it
                    await trio.sleep(0.1)
        finally:
            lost.start()
            await trio.to_thread.run_sync(three.wait)


async def _behind(engine: NatsEngine) -> set[tuple[str, str]]:
    return {(store.name, replica.server) for store, replica in (await engine.survey(LIMIT_S)).behind()}
