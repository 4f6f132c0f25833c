"""Log lines get to the engine joined, in order and once: also when it was away, and when this member was."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.engine import Placed
from rtmsd.cluster.engines.memory import Fault, MemoryEngine, MemoryMember
from rtmsd.cluster.keeping.appender import JOIN_BYTES, WAITING_BYTES, Appender, Result
from rtmsd.cluster.keeping.spool import Spool
from rtmsd.cluster.records import Log, TenureState
from rtmsd.cluster.rules import without_repeats
from tests.cluster.contract import own

FAULTS: Final = [Fault.AWAY, Fault.FROZEN, Fault.FULL, Fault.ANSWER_LOST]


async def in_place(work: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return work()


@attrs.define(eq=False)
class Writer:
    """One life of a member that writes lines. Each says how many were written before it."""

    member: MemoryMember
    appender: Appender
    spool: Spool
    tokens: dict[str, int]
    fenced: list[str]
    written: int = 0

    async def claim(self, rtms_stream_id: str = "s", epoch: int = 1) -> None:
        held = await self.member.read(rtms_stream_id)
        claim = own(self.member, rtms_stream_id, epoch)
        self.tokens[rtms_stream_id] = await self.member.claim(claim, seen=held.token)

    async def write(self, count: int, every_s: float = 0.1) -> None:
        for _ in range(count):
            self.appender.write("s", "events", json.dumps({"n": self.written}))
            self.written += 1
            await trio.sleep(every_s)


@asynccontextmanager
async def live(
    engine: MemoryEngine, directory: Path, node: str = "a", life: int = 1, *, limit_bytes: int = 2**20
) -> AsyncIterator[Writer]:
    tokens: dict[str, int] = {}
    fenced: list[str] = []

    def lose(rtms_stream_id: str, _why: str) -> None:
        fenced.append(rtms_stream_id)
        tokens.pop(rtms_stream_id, None)

    async with (
        engine.join(node, f"{node}-{life}") as member,
        aclosing(await Spool.open(directory / f"{node}.spool", in_place, limit_bytes=limit_bytes)) as spool,
        trio.open_nursery() as nursery,
    ):
        appender = Appender(member, spool, node=node, token=tokens.get, last_token=_none, on_fenced=lose)
        await nursery.start(appender.run)
        yield Writer(member, appender, spool, tokens, fenced)
        nursery.cancel_scope.cancel()


async def _none(_rtms_stream_id: str) -> None:
    return None


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


def appended(engine: MemoryEngine) -> list[Placed[Log]]:
    found: list[Placed[Log]] = []
    while page := engine.tables.read_log("s", found[-1].place if found else 0):
        found += page
    return found


def numbers(logs: Sequence[Placed[Log]]) -> list[int]:
    return [json.loads(line)["n"] for each in without_repeats(logs) for line in each.lines.get("events", ())]


def is_anywhere(text: bytes, directory: Path) -> bool:
    return any(text in path.read_bytes() for path in directory.iterdir())


async def test_lines_are_joined_for_half_a_second(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        await a.write(20)
        a.appender.write("s", "transcript", "{}")
        await trio.sleep(2)
        logs = appended(engine)
        assert numbers(logs) == list(range(20))
        assert 4 <= len(logs) <= 6
        assert logs[-1].record.lines["transcript"] == ("{}",)
        assert a.appender.results[Result.APPENDED] == 21
        assert not a.appender.has_lines("s")


async def test_much_goes_at_once_in_pieces(autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        for n in range(30):
            a.appender.write("s", "events", json.dumps({"n": n, "text": "x" * 10_000}))
        await trio.sleep(0.2)
        assert numbers(appended(engine)) == list(range(24))
        await trio.sleep(0.5)  # the last piece waits for more
        logs = appended(engine)
        assert numbers(logs) == list(range(30))
        assert all(sum(map(len, each.record.lines["events"])) <= JOIN_BYTES for each in logs)


async def test_one_append_is_in_flight(autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path) -> None:
    engine.delay_s = 0.8
    async with live(engine, tmp_path) as a:
        await a.claim()
        await a.write(100)
        await trio.sleep(3)
        logs = appended(engine)
        assert numbers(logs) == list(range(100))
        assert len(logs) < 10


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_came_while_the_engine_was_away_is_there_within_ten_seconds(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        await a.write(10)
        with engine.failing(fault):
            await a.write(600)
            assert a.appender.has_lines("s")
        await a.write(20)
        await trio.sleep(8)
        assert numbers(appended(engine)) == list(range(630))
        assert not a.appender.has_lines("s")
        assert (a.spool.waiting_bytes, a.appender.results[Result.DROPPED], a.fenced) == (0, 0, [])


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_next_life_appends_what_was_left_and_nothing_twice(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        await a.write(10)
        await trio.sleep(1)
        with engine.failing(fault):
            await a.write(50)
            await trio.sleep(5)
    async with live(engine, tmp_path, life=2) as a:
        await trio.sleep(5)  # the stream is still to be claimed
        a.written = 60
        await a.claim(epoch=2)
        await a.write(10)
        await trio.sleep(5)
        assert numbers(appended(engine)) == list(range(70))


async def test_spooled_lines_whose_answer_was_lost_are_not_appended_again_by_the_next_life(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        a.tokens["s"] = 0
        await a.write(10)
        await trio.sleep(3)
        await a.claim()
        with engine.failing(Fault.ANSWER_LOST):
            await trio.sleep(3)
            assert numbers(appended(engine)) == list(range(10))
            assert a.spool.waiting_bytes > 0
    async with live(engine, tmp_path, life=2) as a:
        await a.claim(epoch=2)
        await trio.sleep(5)
        assert a.spool.waiting_bytes == 0
        assert numbers(appended(engine)) == list(range(10))


async def test_an_unclaimed_stream_is_appended_when_it_is_claimed(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        a.tokens["s"] = 0
        with engine.failing(Fault.AWAY):
            await a.write(30)
        await trio.sleep(3)
        assert appended(engine) == []
        await a.claim()
        await a.write(5)
        await trio.sleep(5)
        assert numbers(appended(engine)) == list(range(35))


async def test_who_is_fenced_lets_go_and_keeps_nothing(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        await a.claim()
        await a.write(10)
        await trio.sleep(1)
        with engine.failing(Fault.AWAY, "a"):
            await a.write(10)
            await b.claim(epoch=2)
        await trio.sleep(3)
        assert a.fenced == ["s"]
        assert (a.spool.waiting_bytes, await a.spool.streams()) == (0, [])
        assert a.appender.results[Result.ANOTHERS] > 0
        await a.write(10)  # on the way to being let go
        await trio.sleep(3)
        assert numbers(appended(engine)) == list(range(10))
        assert not a.appender.has_lines("s")


async def test_lines_of_a_stream_that_another_took_meanwhile_are_dropped_by_the_next_life(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        with engine.failing(Fault.AWAY):
            await a.write(10)
            await trio.sleep(2)
    async with live(engine, tmp_path, "b") as b:
        await b.claim(epoch=2)
        async with live(engine, tmp_path, life=2) as a:
            await trio.sleep(3)
            assert await a.spool.streams() == []
            assert a.fenced == []
    assert appended(engine) == []


async def test_past_the_bound_of_the_spool_the_oldest_go_and_are_counted(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path, limit_bytes=2000) as a:
        await a.claim()
        with engine.failing(Fault.AWAY):
            await a.write(500)
            await trio.sleep(2)
            assert 1000 < a.spool.waiting_bytes <= 2000
        await trio.sleep(5)
        there = numbers(appended(engine))
        assert there == list(range(500 - len(there), 500))
        assert a.appender.results[Result.DROPPED] == 500 - len(there) > 0


async def test_past_the_bound_of_memory_the_oldest_go_and_are_counted(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        count = 3 * WAITING_BYTES // 10_000
        for n in range(count):
            a.appender.write("s", "events", json.dumps({"n": n, "text": "x" * 10_000}))
        await trio.sleep(5)
        there = numbers(appended(engine))
        assert there == list(range(count - len(there), count))
        assert a.appender.results[Result.DROPPED] == count - len(there) > 0


async def test_a_line_that_no_reader_would_take_holds_up_nothing(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        a.appender.write("s", "events", "x" * 300_000)
        await a.write(5)
        await trio.sleep(2)
        assert numbers(appended(engine)) == list(range(5))
        assert a.appender.results[Result.REFUSED] == 1


async def test_streams_that_are_let_go_are_forgotten(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        for number in range(300):
            await a.claim(f"s{number}")
            a.appender.write(f"s{number}", "events", "{}")
            await trio.sleep(1)
            del a.tokens[f"s{number}"]
        assert len(a.appender._streams) < 150


async def test_lines_of_a_stream_that_has_ended_are_dropped(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        with engine.failing(Fault.AWAY):
            await a.write(5)
            await trio.sleep(1)
        held = engine.tables.read("s")
        assert held.own is not None
        engine.tables.claim(attrs.evolve(held.own, state=TenureState.ENDED, nonce="end"), held.token)
        del a.tokens["s"]
        await trio.sleep(3)
        assert await a.spool.streams() == []


@pytest.mark.parametrize("in_flight", [False, True])
async def test_lines_of_a_revoked_stream_are_nowhere(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, in_flight: bool
) -> None:
    async with live(engine, tmp_path) as a:
        await a.claim()
        with engine.failing(Fault.FROZEN if in_flight else Fault.AWAY):
            a.appender.write("s", "transcript", "secret words")
            await trio.sleep(0.8 if in_flight else 3)
            assert in_flight or is_anywhere(b"secret words", tmp_path)
            a.appender.write("s", "transcript", "secret words")
            await a.appender.forget("s")
            await trio.sleep(3)
            assert (a.spool.waiting_bytes, await a.spool.streams()) == (0, [])
            assert not is_anywhere(b"secret words", tmp_path)
            assert not a.appender.has_lines("s") or not in_flight
