"""Ownership records that would age out under a stream that lives."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.engines.memory import Fault, MemoryEngine
from rtmsd.cluster.keeping.renewal import Renewal
from rtmsd.cluster.records import Holding, Why
from rtmsd.commands import Verdict
from tests.cluster.crew import start, stop
from tests.cluster.keeping.keeper import Keeper, live

KEEP_S = 86_400.0


@attrs.define
class Streams:
    """The streams of a member, as its ownership has them."""

    mine: Mapping[str, Holding]

    def hold(self, rtms_stream_id: str, token: int, epoch: int) -> None:
        self.mine = {**self.mine, rtms_stream_id: Holding(token, epoch)}


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


async def streams_of(keeper: Keeper) -> Streams:
    return Streams({"s": Holding(await keeper.begin(start()), 1)})


def renewal_of(keeper: Keeper, streams: Streams) -> Renewal:
    return Renewal(streams, keeper.store, incarnation=keeper.incarnation, keep_s=KEEP_S)


async def test_a_record_is_written_again_at_half_its_age(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, trio.open_nursery() as nursery:
        streams = await streams_of(a)
        before = await a.store.read("s")
        nursery.start_soon(renewal_of(a, streams).run)
        await trio.sleep(0.45 * KEEP_S)
        assert (await a.store.read("s")).token == before.token
        await trio.sleep(0.1 * KEEP_S)
        after = await a.store.read("s")
        assert before.own is not None
        assert after.own is not None
        assert after.token > before.token
        assert (after.own.why, after.own.epoch, after.own.node) == (Why.RENEWED, 1, "a")
        assert streams.mine == {"s": Holding(after.token, 1)}
        assert await a.journal.token("s") == after.token
        assert await a.journal.record(stop()) is Verdict.NEW  # with the new token
        assert a.lost == []
        nursery.cancel_scope.cancel()


async def test_a_webhook_that_comes_meanwhile_is_not_forgotten(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        streams = await streams_of(a)
        renewal = renewal_of(a, streams)
        await renewal.look()
        await trio.sleep(0.6 * KEEP_S)
        engine.delay_s = 0.5
        async with trio.open_nursery() as nursery:
            nursery.start_soon(renewal.look)
            await trio.sleep(0.3)
            nursery.start_soon(partial(a.journal.record, stop()))
        engine.delay_s = 0.0
        await trio.sleep(5)
        for known in ((await a.store.read("s")).known, await a.journal.known("s")):
            assert known.row is not None
            assert known.row.stop_reason is not None
        assert a.lost == []


async def test_what_is_anothers_by_now_is_left_alone(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        streams = await streams_of(a)
        renewal = renewal_of(a, streams)
        await renewal.look()
        taken = await b.claim("s", Why.DIED)
        await trio.sleep(KEEP_S)
        await renewal.look()
        assert (await b.store.read("s")).token == taken


async def test_a_record_whose_renewal_crashes_holds_up_no_other(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(engine, tmp_path) as a:
        streams = Streams({each: Holding(await a.begin(start(each)), 1) for each in ("s", "t")})
        before, renew = streams.mine, a.store.renew

        async def crash_for_s(rtms_stream_id: str, incarnation: str) -> tuple[int, int] | None:
            if rtms_stream_id == "s":
                raise ZeroDivisionError("a bug")
            return await renew(rtms_stream_id, incarnation)

        monkeypatch.setattr(a.store, "renew", crash_for_s)
        renewal = renewal_of(a, streams)
        await renewal.look()
        await trio.sleep(0.6 * KEEP_S)
        await renewal.look()
        assert streams.mine["s"] == before["s"]
        assert streams.mine["t"].token > before["t"].token


async def test_an_engine_that_is_away_is_asked_again(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        streams = await streams_of(a)
        before = await a.store.read("s")
        renewal = renewal_of(a, streams)
        await renewal.look()
        await trio.sleep(0.6 * KEEP_S)
        with engine.failing(Fault.AWAY, "a"):
            await renewal.look()
        assert (await a.store.read("s")).token == before.token
        await renewal.look()
        assert (await a.store.read("s")).token > before.token
