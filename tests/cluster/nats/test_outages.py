"""One server that hangs, comes late, or forgets who follows it."""

import asyncio
import json
from functools import partial

import attrs
import nats
import pytest
import trio
from nats.aio.client import Client

from rtmsd.cluster.engine import Away, Nobody
from rtmsd.cluster.records import Log, Revoked
from rtmsd.demo.cluster.servers import Servers
from tests.cluster.contract import known, new_id, own
from tests.cluster.nats.conftest import Opener
from tests.cluster.nats.work import LIMIT_S, holds, member, orphans, until_answered


async def test_what_is_cancelled_while_a_server_hangs_leaves_nothing_behind(one: Servers, opened: Opener) -> None:
    async with opened(one, "a", ping_s=LIMIT_S) as a:
        stream = new_id()
        token = await a.owners.claim(own(member("a", a), stream), seen=0)
        await orphans(a)  # the watch has begun
        one.each[0].freeze()
        try:
            async with trio.open_nursery() as nursery:
                for n in range(200):
                    log = Log(rtms_stream_id=new_id(), token=token, n=n, lines={})
                    nursery.start_soon(a.log.append, log)
                    nursery.start_soon(a.owners.read, stream)
                await holds(lambda: a.pending == 400)
                began = trio.current_time()
                nursery.cancel_scope.cancel()
            assert a.pending == 0
            assert trio.current_time() - began < LIMIT_S / 3  # not after the server was given up
            assert a.owners.is_up  # it was not yet given up
        finally:
            one.each[0].thaw()
        assert (await a.owners.read(stream)).token == token


async def test_a_hanging_server_is_given_up_and_comes_back(one: Servers, opened: Opener) -> None:
    async with opened(one, "a") as a:
        stream, mine = new_id(), None
        one.each[0].freeze()
        try:
            async with trio.open_nursery() as nursery:
                mine = own(member("a", a), stream)
                nursery.start_soon(lambda: a.owners.claim(mine, seen=0))
                await holds(lambda: not a.owners.is_up)
                one.each[0].thaw()  # the claim goes on, and is repeated where it must be
        finally:
            one.each[0].thaw()
        held = await a.owners.read(stream)
        assert held.own == mine
        assert held.token > 0
        await holds(lambda: a.pending == 0)


async def test_a_member_starts_before_the_servers(one: Servers, opened: Opener) -> None:
    server = one.each[0]
    server.kill()
    async with opened(one, "late", start_s=0.05, answer_s=0.5) as late:
        assert not late.owners.is_up
        with pytest.raises(Away, match="not connected"):
            await late.owners.read(new_id())
        with pytest.raises((Away, Nobody)):
            await late.bus.ask("late", "ping", b"", timeout_s=0.1)
        server.start()
        await trio.to_thread.run_sync(one.wait)
        await holds(lambda: late.owners.is_up)
        stream = new_id()
        await until_answered(lambda: late.owners.claim(own(member("late", late), stream), seen=0))
        assert stream in await orphans(late)


async def test_a_watch_whose_consumer_is_gone_begins_anew(one: Servers, opened: Opener, name: str) -> None:
    async with opened(one, "a") as a:
        first, second = new_id(), new_id()
        await a.owners.claim(own(member("a", a), first), seen=0)
        assert first in await orphans(a)
        before = a.renewals
        await trio.to_thread.run_sync(asyncio.run, drop_consumers(one, name.upper()))
        await a.owners.claim(own(member("a", a), second), seen=0)
        assert {first, second} <= await orphans(a)
        assert a.renewals > before


async def test_a_snapshot_that_is_larger_than_what_servers_send_at_once(one: Servers, opened: Opener) -> None:
    """They wait until we say that we have come so far."""
    async with opened(one, "a") as a:
        streams = [new_id() for _ in range(300)]
        async with trio.open_nursery() as nursery:
            for stream in streams:
                what = known(stream)
                assert what.row is not None
                large = attrs.evolve(what, row=attrs.evolve(what.row, details={"x": "y" * 50_000}))
                nursery.start_soon(partial(a.owners.claim, own(member("a", a), stream, what=large), seen=0))
        async with opened(one, "b") as b:
            assert set(streams) <= await orphans(b)
            assert set(streams).isdisjoint(await orphans(b, "of-a"))
            assert b.renewals == 0


async def drop_consumers(servers: Servers, prefix: str) -> None:
    """Delete all consumers of JetStream's streams whose names begin so. Runs in asyncio."""
    client = await nats.connect([*servers.urls])
    for name in await _names(client, "STREAM.NAMES", "streams"):
        if name.startswith(prefix):
            for consumer in await _names(client, f"CONSUMER.NAMES.{name}", "consumers"):
                await client.request(f"$JS.API.CONSUMER.DELETE.{name}.{consumer}", timeout=LIMIT_S)
    await client.close()


async def _names(client: Client, what: str, key: str) -> list[str]:
    answer = await client.request(f"$JS.API.{what}", timeout=LIMIT_S)
    return [str(name) for name in json.loads(answer.data)[key] or []]


async def test_orders_to_delete_are_followed_where_servers_have_lost_their_disks(one: Servers, opened: Opener) -> None:
    """They count from 1 again, and the member remembers a place that was far beyond that."""
    order = Revoked(rtms_stream_id=new_id(), at_ms=1)
    async with opened(one, "a") as engine:
        await engine.log.revoke(order)
        with trio.fail_after(LIMIT_S):
            found = await engine.log.revocations(after=1_000_000)
        assert order in [placed.record for placed in found]
