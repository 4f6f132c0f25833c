"""Gathering for somebody who asks: the answer describes the joined recording, or says why there is none."""

import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.parts.asked import gather_now
from rtmsd.recording.gather.errors import GatherError
from tests.cluster.parts.gathering import STREAM, Cluster, Node, record


async def ask(node: Node) -> dict[str, object]:
    return await gather_now(node.gatherer, node.bench.writers, STREAM)


async def test_the_answer_says_what_was_joined_also_when_asked_again(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    first = await record(cluster.root, "a", 1, range(100))
    cluster.engine.tables.put_part(await record(cluster.root, "b", 2, range(100, 200), first, ends=True))
    cluster.engine.tables.put_part(first)
    async with cluster.live("b") as b:
        b.tasks.start_soon(b.gatherer.run)
        await b.bench.until(lambda: b.gatherer.ungathered == [STREAM])
        with pytest.raises(GatherError, match="node a: it is away"):
            await ask(b)
        assert b.gatherer.ungathered == [STREAM]
        async with cluster.live("a") as a:
            answer = await ask(b)
            assert answer == {
                "rtms_stream_id": STREAM,
                "directory": str(b.directory),
                "parts": ["a", "b"],
                "gaps": 0,
                "missing_ms": {},
                "elsewhere_ms": {},
                "media_ms": {},
            }
            assert b.gatherer.ungathered == []
            assert await ask(b) == answer
            with pytest.raises(GatherError, match="did not end there"):
                await ask(a)
        async with cluster.live("c") as c:
            with pytest.raises(GatherError, match="no recording of the stream"):
                await ask(c)


async def test_who_is_away_for_a_week_is_named(autojump_clock: MockClock, cluster: Cluster) -> None:
    first = await record(cluster.root, "a", 1, range(60))
    second = await record(cluster.root, "c", 2, range(60, 100), first)
    cluster.engine.tables.put_part(await record(cluster.root, "b", 3, range(100, 200), second, ends=True))
    cluster.engine.tables.put_part(first)
    cluster.days = 7.1
    async with cluster.live("b") as b:
        with pytest.raises(GatherError, match="no other member has a part of it any more"):
            await ask(b)
        async with cluster.live("c"):
            answer = await ask(b)
    assert (answer["parts"], answer["elsewhere_ms"]) == (["c", "b"], {"a": 1200})


async def test_a_stream_that_one_member_recorded_has_nothing_to_join(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    cluster.engine.tables.put_part(await record(cluster.root, "b", 1, range(50), ends=True))
    async with cluster.live("b") as b:
        with pytest.raises(GatherError, match="there is nothing to join"):
            await ask(b)
        await b.bench.stop(reason=8, rtms_stream_id=STREAM)
        await trio.sleep(70)
        with pytest.raises(GatherError, match="Zoom revoked the stream"):
            await ask(b)
