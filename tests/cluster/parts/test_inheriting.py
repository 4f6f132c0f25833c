"""What a member inherits that takes a stream over: how far the owner before it has come, whatever its record says."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engines.memory import Fault, MemoryEngine
from rtmsd.cluster.parts.describing import part_of
from rtmsd.cluster.parts.inheriting import Inheritance
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import Own, Part, PartState, Why
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited
from rtmsd.recording.verify.verify import verify
from rtmsd.state.rows import StreamRow
from tests.cluster.parts.manifests import PAUSED, T, manifest
from tests.cluster.strategies import PARTS
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import zoom_ms


def part(node: str, epoch: int, clock_ms: int | None, state: PartState = PartState.LET_GO) -> Part:
    found = part_of(manifest(node, **PAUSED))
    assert found is not None
    return attrs.evolve(found, epoch=epoch, clock_ms=clock_ms, state=state)


def own(epoch: int, node: str = "c", rtms_stream_id: str = "s") -> Own:
    return Own(rtms_stream_id=rtms_stream_id, node=node, incarnation=f"{node}-1", epoch=epoch, nonce="n", why=Why.DIED)


async def inherited(*parts: Part, epoch: int = 4, node: str = "c") -> Inherited | None:
    engine = MemoryEngine()
    for each in parts:
        engine.tables.put_part(each)
    async with engine.join(node, f"{node}-1") as member:
        prepared = await Inheritance(member, lambda: T + 60_000).prepare(own(epoch, node), 9)
    assert prepared["tenure"] == PartTenure(node=node, epoch=epoch, token=9)
    found: Inherited | None = prepared["inherited"]
    return found


async def test_the_latest_owner_counts(autojump_clock: MockClock) -> None:
    found = await inherited(part("a", 1, T + 1000), part("b", 3, T + 3000), part("d", 2, T + 2000))
    assert found is not None
    assert (found.node, found.epoch, found.clock_ms, found.paused_since_ms) == ("b", 3, T + 3000, T + 50)
    assert [person.user_id for person in found.participants] == [0]
    assert not found.has_ended


async def test_one_that_recorded_nothing_does_not_count_before_one_that_did(autojump_clock: MockClock) -> None:
    found = await inherited(part("a", 1, T + 1000), part("b", 3, None))
    assert found is not None
    assert (found.node, found.clock_ms) == ("a", T + 1000)


async def test_an_end_that_was_none_is_known(autojump_clock: MockClock) -> None:
    found = await inherited(part("a", 1, T + 1000, PartState.ENDED), epoch=2)
    assert found is not None
    assert found.has_ended


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [part("a", 1, T + 1000), part("c", 3, T + 3000)],  # the newest is in the own directory
        [part("a", 4, T + 1000)],  # of a tenure that is not before this one
        [part("a", 3, T + 13 * 3_600_000)],
        [part("a", 3, T + 1000, PartState.DELETED)],
    ],
)
async def test_else_nothing_is_inherited(autojump_clock: MockClock, parts: Sequence[Part]) -> None:
    assert await inherited(*parts) is None


async def test_the_first_owner_asks_nobody(autojump_clock: MockClock) -> None:
    engine = MemoryEngine()
    async with engine.join("c", "c-1") as member:
        with engine.failing(Fault.AWAY):
            assert (await Inheritance(member, lambda: T).prepare(own(1), 9))["inherited"] is None
        assert trio.current_time() == 0


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN])
async def test_an_engine_that_is_away_holds_up_nobody_for_longer_than_a_second(
    autojump_clock: MockClock, fault: Fault
) -> None:
    engine = MemoryEngine()
    engine.tables.put_part(part("a", 1, T))
    async with engine.join("c", "c-1") as member:
        with engine.failing(fault):
            prepared = await Inheritance(member, lambda: T).prepare(own(2), 9)
        assert prepared == {"tenure": PartTenure(node="c", epoch=2, token=9), "inherited": None}
        assert trio.current_time() <= 1


async def test_what_cannot_be_read_is_ignored(autojump_clock: MockClock) -> None:
    engine = MemoryEngine()
    engine.tables.put_part(part("a", 1, T + 1000))
    engine.tables.put_garbage("s", "b", encode(part("b", 3, T + 3000)).replace(b'"epoch":3', b'"epoch":"3"'))
    async with engine.join("c", "c-1") as member:
        prepared = await Inheritance(member, lambda: T).prepare(own(4), 9)
    assert prepared["inherited"].node == "a"
    assert engine.tables.unreadable == 1


@settings(max_examples=20)
@given(parts=st.lists(PARTS, max_size=4), epoch=st.integers(1, 2**53), now_ms=st.integers(0, 2**42))
def test_no_record_does_harm(parts: list[Part], epoch: int, now_ms: int) -> None:
    """Whatever is in a record that can be read, the time inherited is one, and of an earlier tenure of another."""

    async def prepare() -> None:
        engine = MemoryEngine()
        for each in parts:
            engine.tables.put_part(attrs.evolve(each, rtms_stream_id="s"))
        async with engine.join("c", "c-1") as member:
            found = (await Inheritance(member, lambda: now_ms).prepare(own(epoch), 9))["inherited"]
        if found is not None:
            assert found.node != "c"
            assert 1 <= found.epoch < epoch
            assert found.clock_ms is None or found.clock_ms <= now_ms + 12 * 3_600_000

    trio.run(prepare)


# Whole streams


@attrs.frozen
class Crew:
    """Members that have a stream in turn, each with directories of its own."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    engine: MemoryEngine = attrs.field(factory=MemoryEngine)

    async def join(self, stack: AsyncExitStack, node: str) -> tuple[Bench, Inheritance]:
        """Begin a member that lives until the stack is closed."""
        member = await stack.enter_async_context(self.engine.join(node, f"{node}-1"))
        nursery = await stack.enter_async_context(trio.open_nursery())
        stack.callback(nursery.cancel_scope.cancel)
        teller = PartTeller(member)
        await nursery.start(teller.run)
        bench = await stack.enter_async_context(
            open_bench(self.root / node, self.monkeypatch, to_resume=_nothing, on_recorder=teller.follow)
        )
        return bench, Inheritance(member, zoom_ms)


async def _nothing() -> Sequence[StreamRow]:
    await trio.lowlevel.checkpoint()
    return []


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Crew:
    return Crew(tmp_path, monkeypatch)


async def take(bench: Bench, inheritance: Inheritance, row: StreamRow, epoch: int, node: str) -> None:
    """Take a stream over as `Ownership` does."""
    prepared = await inheritance.prepare(own(epoch, node, STREAM), epoch)
    bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER, **prepared)
    await bench.until_up()


def gaps(bench: Bench) -> list[tuple[str, int]]:
    return [(gap["cause"], gap["from_ms"]) for gap in bench.manifest()["gaps"] if gap["media"] == "audio"]


async def test_a_part_begins_where_the_one_of_the_dead_owner_has_come(autojump_clock: MockClock, crew: Crew) -> None:
    async with AsyncExitStack() as stack:
        a, inheritance = await crew.join(stack, "a")
        await a.start()
        [row] = await a.journal.unfinished()
        a.supervisor.streams[STREAM].owned(PartTenure(node="a", epoch=1, token=1))
        await a.until_up()
        for _ in range(60):
            await a.zoom.last("audio").audio(zoom_ms())
            await trio.sleep(0.1)
    [known] = crew.engine.tables.parts(STREAM)
    assert known.state is PartState.LET_GO
    assert known.clock_ms is not None
    await trio.sleep(2)
    async with AsyncExitStack() as stack:
        b, inheritance = await crew.join(stack, "b")
        await take(b, inheritance, row, 2, "b")
        await b.zoom.last("audio").audio(zoom_ms())
        await trio.sleep(11)
        await b.stop()
        await b.until_gone()
        found = b.manifest()
        assert [(each["node"], each["epoch"]) for each in found["part"]["elsewhere"]] == [("a", 1)]
        assert gaps(b)[0] == ("node_takeover", known.clock_ms)
        assert verify(b.recording()) == []


async def test_without_any_record_all_is_missing_since_the_stream_began(autojump_clock: MockClock, crew: Crew) -> None:
    async with AsyncExitStack() as stack:
        a, _ = await crew.join(stack, "a")
        with crew.engine.failing(Fault.AWAY):
            began_ms = zoom_ms()
            await a.start()
            [row] = await a.journal.unfinished()
            await trio.sleep(0.5)
    await trio.sleep(3)
    async with AsyncExitStack() as stack:
        b, inheritance = await crew.join(stack, "b")
        await take(b, inheritance, row, 2, "b")
        await b.zoom.last("audio").audio(zoom_ms())
        await trio.sleep(11)
        await b.stop()
        await b.until_gone()
        assert "elsewhere" not in b.manifest()["part"] or b.manifest()["part"]["elsewhere"] == []
        assert gaps(b)[0] == ("node_takeover", began_ms)
        assert verify(b.recording()) == []


async def test_a_stream_that_comes_back_goes_on_in_the_same_directory(autojump_clock: MockClock, crew: Crew) -> None:
    row: Any = None
    for epoch, node in enumerate("aba", 1):
        async with AsyncExitStack() as stack:
            bench, inheritance = await crew.join(stack, node)
            if row is None:
                await bench.start()
                [row] = await bench.journal.unfinished()
                bench.supervisor.streams[STREAM].owned(PartTenure(node="a", epoch=1, token=1))
                await bench.until_up()
            else:
                await take(bench, inheritance, row, epoch, node)
            for _ in range(20):
                await bench.zoom.last("audio").audio(zoom_ms())
                await trio.sleep(0.1)
            await trio.sleep(11)
            if epoch == 3:
                await bench.stop()
                await bench.until_gone()
    found = bench.manifest()
    assert [each["epoch"] for each in found["part"]["tenures"]] == [1, 3]
    assert [each["node"] for each in found["part"]["elsewhere"]] == ["b"]
    assert verify(bench.recording()) == []
