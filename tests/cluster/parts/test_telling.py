"""What the engine is told of parts: the newest, once, soon, and for as long as it takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from msgspec import UNSET
from trio.testing import MockClock

from rtmsd.cluster.engines.memory import Fault, MemoryEngine, MemoryMember
from rtmsd.cluster.parts import telling
from rtmsd.cluster.parts.describing import part_of
from rtmsd.cluster.parts.telling import TIMES_EVERY_S, PartTeller
from rtmsd.cluster.records import Part, PartState
from rtmsd.commands import Verdict
from rtmsd.recording.manifest.part import PartTenure
from tests.cluster.parts.manifests import PAUSED, T, manifest
from tests.streams.harness import STREAM, open_bench
from tests.streams.zoom import zoom_ms

FAULTS: Final = [Fault.AWAY, Fault.FROZEN, Fault.FULL, Fault.ANSWER_LOST]


@asynccontextmanager
async def telling_to(engine: MemoryEngine, node: str = "a") -> AsyncIterator[PartTeller]:
    async with engine.join(node, f"{node}-1") as member, trio.open_nursery() as nursery:
        teller = PartTeller(member)
        await nursery.start(teller.run)
        yield teller
        nursery.cancel_scope.cancel()


def told(engine: MemoryEngine, rtms_stream_id: str = "s") -> Part:
    [part] = engine.tables.parts(rtms_stream_id)
    return part


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Part]]:
    """What was written, and when."""
    found: list[tuple[float, Part]] = []
    put_part = MemoryMember.put_part

    async def noted(self: MemoryMember, part: Part) -> None:
        found.append((trio.current_time(), part))
        await put_part(self, part)

    monkeypatch.setattr(MemoryMember, "put_part", noted)
    return found


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({}, PartState.RECORDING),
        ({"state": "recovering", "to_ms": T + 5}, PartState.LET_GO),
        ({"state": "ended", "to_ms": T + 5, "ended_ms": T + 5}, PartState.ENDED),
        ({"state": "failed", "to_ms": T + 5, "ended_ms": T + 5}, PartState.ENDED),
    ],
)
def test_a_part_is_what_its_manifest_says(known: dict[str, Any], state: PartState) -> None:
    part = part_of(manifest(clock_ms=T + 900, **PAUSED, **known))
    assert part is not None
    assert (part.rtms_stream_id, part.node, part.epoch, part.token, part.state) == ("s", "a", 2, 7, state)
    assert (part.clock_ms, part.paused_since_ms, part.bytes) == (T + 900, T + 50, 32_544)


def test_what_nobody_owned_is_no_part() -> None:
    assert part_of(manifest(part=UNSET)) is None


async def test_structure_is_told_at_once_and_times_now_and_then(
    autojump_clock: MockClock, writes: list[tuple[float, Part]]
) -> None:
    engine = MemoryEngine()
    async with telling_to(engine) as teller:
        for number in range(20):
            teller.saved(manifest(clock_ms=T + 750 * number))
            await trio.sleep(0.75)
        await trio.sleep(5)
        assert [at_s for at_s, _ in writes] == [0, TIMES_EVERY_S, 2 * TIMES_EVERY_S, 3 * TIMES_EVERY_S]
        assert [part.clock_ms for _, part in writes] == [T, T + 4500, T + 9750, T + 14_250]
        teller.saved(manifest(clock_ms=T + 20_000, people=2))
        await teller.wait_told("s")
        assert (trio.current_time(), told(engine).clock_ms) == (20, T + 20_000)


async def test_times_of_many_are_told_one_after_the_other_and_structure_still_at_once(
    autojump_clock: MockClock, writes: list[tuple[float, Part]]
) -> None:
    async with telling_to(MemoryEngine()) as teller:
        for people in (1, 2):
            for number in range(100):
                teller.saved(manifest(rtms_stream_id=f"s{number}", clock_ms=T + people))
            teller.saved(manifest(rtms_stream_id="s7", people=people))
            await trio.sleep(TIMES_EVERY_S)
        assert [at_s for at_s, _ in writes[:100]] == [0.0] * 100
        at_s = {part.rtms_stream_id: at_s - TIMES_EVERY_S for at_s, part in writes[100:]}
        assert at_s.pop("s7") == 0
        assert sorted(at_s.values()) == pytest.approx([TIMES_EVERY_S / 2 / 100 * turn for turn in range(99)])


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_newest_is_told_when_the_engine_is_back(
    autojump_clock: MockClock, fault: Fault, writes: list[tuple[float, Part]]
) -> None:
    engine = MemoryEngine()
    async with telling_to(engine) as teller:
        with engine.failing(fault):
            for number in range(50):
                teller.saved(manifest(people=number))
                await trio.sleep(1)
            with trio.move_on_after(1) as waiting:
                await teller.wait_told("s")
            assert waiting.cancelled_caught
        with trio.fail_after(2 * TIMES_EVERY_S):
            await teller.wait_told("s")
        assert len(told(engine).participants) == 49
        assert teller.dropped == 0
        at_s = [at_s for at_s, _ in writes]
        assert all(second - first >= 1 for first, second in pairwise(at_s))  # one in flight


async def test_one_that_is_too_large_goes_without_what_only_people_look_at(autojump_clock: MockClock) -> None:
    engine = MemoryEngine()
    async with telling_to(engine) as teller:
        gaps = manifest().gaps * 5000
        teller.saved(manifest(people=100, gaps=gaps))
        await teller.wait_told("s")
        assert (len(told(engine).participants), told(engine).gaps, told(engine).files) == (100, (), ())
        teller.saved(manifest(people=5000, clock_ms=T + 7))
        await teller.wait_told("s")
        assert (told(engine).participants, told(engine).clock_ms) == ((), T + 7)
        assert teller.dropped == 0


async def test_one_that_the_engine_cannot_take_is_counted_and_holds_up_nothing(autojump_clock: MockClock) -> None:
    engine = MemoryEngine()
    async with telling_to(engine) as teller:
        teller.saved(manifest(node="no node"))
        await teller.wait_told("s")
        assert (engine.tables.parts("s"), teller.dropped) == ([], 1)
        teller.saved(manifest())
        await teller.wait_told("s")
        assert told(engine).node == "a"


async def test_no_more_are_remembered_than_there_is_room_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "MAX_STREAMS", 3)
    engine = MemoryEngine()
    async with telling_to(engine) as teller:
        with engine.failing(Fault.AWAY):
            for number in range(5):
                teller.saved(manifest(rtms_stream_id=f"s{number}"))
            await trio.sleep(5)
        for number in range(5):
            await teller.wait_told(f"s{number}")
        assert [len(engine.tables.parts(f"s{number}")) for number in range(5)] == [0, 0, 1, 1, 1]
        assert teller.dropped == 2


async def test_a_bug_in_it_is_no_recordings_trouble(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trio.open_nursery() as closed:
        pass
    no_engine: Any = None
    teller = PartTeller(no_engine)
    teller._nursery = closed
    async with open_bench(tmp_path, monkeypatch, on_recorder=teller.follow) as bench:
        await bench.up()
        bench.supervisor.streams[STREAM].owned(PartTenure(node="a", epoch=1, token=1))
        await trio.sleep(6)
        assert bench.logged("part not described")
        await bench.stop()
        await bench.until_gone()
        assert bench.manifest()["state"] == "ended"


async def test_who_asks_as_this_process_ends_finds_nothing_broken(autojump_clock: MockClock) -> None:
    engine = MemoryEngine()
    async with telling_to(engine) as teller:
        pass
    teller.tell(Part(rtms_stream_id="s", node="a", token=1, epoch=1, state=PartState.GATHERED))
    assert engine.tables.parts("s") == []


async def test_a_stream_is_told_from_its_claim_to_its_end(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = MemoryEngine()
    async with telling_to(engine) as teller, open_bench(tmp_path, monkeypatch, on_recorder=teller.follow) as bench:
        assert await bench.start() is Verdict.NEW
        await bench.until_up()
        await trio.sleep(6)
        assert engine.tables.parts(STREAM) == []  # begun without the engine, and not claimed yet
        bench.supervisor.streams[STREAM].owned(PartTenure(node="a", epoch=1, token=5))
        await bench.zoom.last("audio").audio(zoom_ms())
        await trio.sleep(6)
        part = told(engine, STREAM)
        assert (part.state, part.epoch, part.token) == (PartState.RECORDING, 1, 5)
        assert part.clock_ms is not None
        assert zoom_ms() - part.clock_ms < 12_000
        await bench.supervisor.let_go(STREAM, "another's")
        await teller.wait_told(STREAM)
        assert told(engine, STREAM).state is PartState.LET_GO
        [row] = await bench.journal.unfinished()
        bench.supervisor.adopt(row, tenure=PartTenure(node="a", epoch=3, token=9))
        await bench.until_up()
        await bench.stop()
        await bench.until_gone()
        await teller.wait_told(STREAM)
        part = told(engine, STREAM)
        assert (part.state, part.epoch, part.clock_ms) == (PartState.ENDED, 3, bench.manifest()["clock_ms"])
