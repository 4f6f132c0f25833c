"""Whatever fails between a line's being written and its append: it is somewhere, or counted, and nowhere twice."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rtmsd.cluster.engine import Away, Fenced, Placed
from rtmsd.cluster.engines.memory import MemoryEngine, MemoryMember
from rtmsd.cluster.keeping.appender import CRASHES, PATIENCE, Appender, Result
from rtmsd.cluster.keeping.spool import Spool
from rtmsd.cluster.records import Held, Log
from rtmsd.cluster.rules import without_repeats
from rtmsd.errors import StorageError
from tests.cluster.contract import own

Failure = Callable[[], Exception]
FAILURES: Mapping[str, Failure] = {
    "away": lambda: Away("no answer"),
    "crash": lambda: ZeroDivisionError("a bug"),
    "disk": lambda: StorageError("disk full"),
    "fenced": lambda: Fenced("claimed anew"),
}


@attrs.define(eq=False)
class Failing:
    """An engine, a spool and a state file that fail as they are told, each for as many calls as it has failures.

    Attributes:
        after: whether a call that fails is done all the same.
    """

    member: MemoryMember
    spool: Spool
    failures: dict[str, list[str]] = attrs.field(factory=dict)
    always: Callable[[str, Sequence[Any]], str | None] = lambda what, args: None
    after: bool = False
    is_up: bool = True

    async def append(self, log: Log) -> None:
        await self._call("append", self.member.append, log)

    async def read(self, rtms_stream_id: str) -> Held:
        held: Held = await self._call("read", self.member.read, rtms_stream_id)
        return held

    async def read_log(self, rtms_stream_id: str, *, after: int = 0) -> Sequence[Placed[Log]]:
        read_log = partial(self.member.read_log, after=after)
        page: Sequence[Placed[Log]] = await self._call("read_log", read_log, rtms_stream_id)
        return page

    def __getattr__(self, name: str) -> Any:
        """The spool's methods, and what of the engine the appender does not use."""
        if hasattr(Spool, name):
            return partial(self._call, name, getattr(self.spool, name))
        return getattr(self.member, name)

    async def _call(self, what: str, do: Callable[..., Any], *args: Any) -> Any:
        waiting = self.failures.get(what)
        failure = waiting.pop(0) if waiting else self.always(what, args)
        if failure is None:
            return await do(*args)
        if self.after and what == "append" and failure != "fenced":
            await do(*args)
        await trio.lowlevel.checkpoint()
        raise FAILURES[failure]()


@attrs.define(eq=False)
class Writer:
    """A member that writes lines of one stream. Each says how many were written before it."""

    engine: MemoryEngine
    failing: Failing
    appender: Appender
    tokens: dict[str, int]
    last_tokens: dict[str, int]
    fenced: list[str]
    written: int = 0

    async def claim(self, epoch: int) -> None:
        member = self.failing.member
        held = await member.read("s")
        self.tokens["s"] = await member.claim(own(member, "s", epoch), seen=held.token)

    async def write(self, count: int, every_s: float = 0.1) -> None:
        for _ in range(count):
            self.appender.write("s", "events", json.dumps({"n": self.written}))
            self.written += 1
            await trio.sleep(every_s)

    @property
    def numbers(self) -> list[int]:
        logs = self.engine.tables.read_log("s", 0)
        while page := self.engine.tables.read_log("s", logs[-1].place if logs else 0):
            logs += page
        return [json.loads(line)["n"] for each in without_repeats(logs) for line in each.lines["events"]]

    @property
    def results(self) -> Counter[Result]:
        return Counter({result: n for result, n in self.appender.results.items() if n and result is not Result.SPOOLED})


async def _in_place(work: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return work()


@asynccontextmanager
async def live(directory: Path, engine: MemoryEngine | None = None, life: int = 1) -> AsyncIterator[Writer]:
    engine = engine or MemoryEngine()
    tokens: dict[str, int] = {}
    last_tokens: dict[str, int] = {}
    fenced: list[str] = []

    def lose(rtms_stream_id: str, _why: str) -> None:
        fenced.append(rtms_stream_id)

    async def last_token(rtms_stream_id: str) -> int | None:
        token: int | None = await failing._call("last_token", _answer, last_tokens.get(rtms_stream_id))
        return token

    async with (
        engine.join("a", f"a-{life}") as member,
        aclosing(await Spool.open(directory / "spool", _in_place, limit_bytes=2**20)) as spool,
        trio.open_nursery() as nursery,
    ):
        failing = Failing(member, spool)
        appender = Appender(
            failing, cast("Spool", failing), node="a", token=tokens.get, last_token=last_token, on_fenced=lose
        )
        await nursery.start(appender.run)
        yield Writer(engine, failing, appender, tokens, last_tokens, fenced)
        nursery.cancel_scope.cancel()


async def _answer(value: int | None) -> int | None:
    await trio.lowlevel.checkpoint()
    return value


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("failure", ["away", "crash"])
async def test_lines_whose_append_fails_once_are_appended_once(
    autojump_clock: MockClock, tmp_path: Path, failure: str, after: bool
) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        a.failing.failures["append"], a.failing.after = [failure], after
        await a.write(20)
        await trio.sleep(5)
        assert a.numbers == list(range(20))
        assert a.results == {Result.APPENDED: 20}
        assert not a.appender.has_lines("s")


@pytest.mark.parametrize("failure", ["crash", "disk"])
async def test_lines_of_a_stream_that_was_let_go_wait_for_the_state_file(
    autojump_clock: MockClock, tmp_path: Path, failure: str
) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        await a.write(5)
        a.last_tokens["s"] = a.tokens.pop("s")
        a.failing.failures["last_token"] = [failure] * 3
        await trio.sleep(10)
        assert a.numbers == list(range(5))
        assert a.results[Result.DROPPED] == 0


async def test_lines_wait_in_memory_while_neither_engine_nor_disk_takes_them(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        a.failing.always = lambda what, _args: {"append": "away", "add": "disk"}.get(what)
        await a.write(50)
        a.failing.always = lambda what, _args: {"add": "disk"}.get(what)  # the engine is enough
        await trio.sleep(5)
        assert a.numbers == list(range(50))
        assert a.results[Result.DROPPED] == 0


async def test_lines_on_the_disk_go_first_though_it_takes_no_more(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        a.failing.failures["append"] = ["away"] * 3
        await a.write(12)
        a.failing.failures["add"] = ["disk"] * 100
        await a.write(30)
        await trio.sleep(5)
        assert a.numbers == list(range(42))
        assert a.failing.failures["add"]  # it still takes none


@pytest.mark.parametrize("spooled", [False, True])
async def test_lines_that_crash_each_time_are_given_up_and_counted_and_the_others_go_on(
    autojump_clock: MockClock, tmp_path: Path, caplog: pytest.LogCaptureFixture, spooled: bool
) -> None:
    def crash(what: str, args: Sequence[Any]) -> str | None:
        return "crash" if what == "append" and '{"n": 3}' in args[0].lines["events"] else None

    async with live(tmp_path) as a:
        await a.claim(1)
        a.failing.failures["append"] = ["away"] if spooled else []
        a.failing.always = crash
        await a.write(20)
        assert a.appender.has_lines("s")
        await trio.sleep(5 + 2 * CRASHES)
        dropped = a.results[Result.DROPPED]
        assert 0 < dropped < 20
        assert a.numbers == [*range(20)][dropped:]
        assert a.results == {Result.APPENDED: 20 - dropped, Result.DROPPED: dropped}
        assert not a.appender.has_lines("s")
        assert a.failing.spool.waiting_bytes == 0


async def test_a_spool_that_always_fails_does_not_hold_up_the_end(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        a.failing.failures["append"] = ["away"]
        a.failing.always = lambda what, _args: {"head": "disk", "drop_oldest": "disk"}.get(what)
        await a.write(5)
        await trio.sleep(PATIENCE / 2)
        assert a.appender.has_lines("s")
        await trio.sleep(PATIENCE)
        assert not a.appender.has_lines("s")
        a.failing.always = lambda what, _args: None
        await trio.sleep(3)
        assert a.numbers == list(range(5))


async def test_all_that_another_has_is_counted(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        a.failing.failures["append"] = ["away"] * 20
        await a.write(60)
        a.failing.failures["append"] = ["fenced"] * 9
        await trio.sleep(3)
        assert a.results == {Result.ANOTHERS: 60}
        assert a.fenced == ["s"]


async def test_lines_of_streams_that_are_delivered_side_by_side_are_all_counted(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with live(tmp_path) as a:
        for n in range(20):
            a.appender.write(f"s{n}", "events", "{}")
            a.tokens[f"s{n}"] = 0
        await trio.sleep(0.9)
        a.tokens.clear()  # nobody's, as far as the engine knows
        await trio.sleep(5)
        assert a.results == {Result.ANOTHERS: 20}
        assert a.failing.spool.waiting_bytes == 0


async def test_lines_that_are_forgotten_on_their_way_to_the_disk_are_not_there(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with live(tmp_path) as a:
        a.tokens["s"] = 0
        a.appender.write("s", "events", "secret words")
        async with a.failing.spool._adding:
            await trio.sleep(1)
            await a.appender.forget("s")
        await trio.sleep(0.2)
        assert await a.failing.spool.streams() == []


async def test_the_next_life_goes_on_with_the_numbers_of_a_stream_that_has_ended(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    async with live(tmp_path) as a:
        await a.claim(1)
        await a.write(20)
        await trio.sleep(1)
        a.failing.always = lambda what, _args: {"append": "away"}.get(what)
        await a.write(20)
        a.failing.always = lambda what, _args: {"mark": "disk"}.get(what)  # the first of them are appended
        await trio.sleep(3)
        token = a.tokens["s"]
        assert a.failing.spool.waiting_bytes
    async with live(tmp_path, a.engine, 2) as b:
        b.last_tokens["s"] = token
        await trio.sleep(3)
        assert b.numbers == list(range(40))


@given(
    failures=st.dictionaries(
        st.sampled_from(["append", "read", "read_log", "add", "head", "mark", "remove", "drop", "last_token"]),
        st.lists(st.sampled_from(sorted(FAILURES)), min_size=1, max_size=CRASHES + 2),
    ),
    after=st.booleans(),
    steps=st.lists(st.sampled_from(["write", "wait", "claim", "let go", "unclaimed"]), max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_every_line_is_appended_or_counted(failures: dict[str, list[str]], after: bool, steps: Sequence[str]) -> None:
    """Lines, as written, are appended + another's + refused + dropped; in their order, and none twice."""

    async def play() -> None:
        with TemporaryDirectory(prefix="rtmsd") as directory:
            async with live(Path(directory)) as a:
                epoch = 1
                await a.claim(epoch)
                a.failing.failures, a.failing.after = _fit(failures), after
                for step in steps:
                    match step:
                        case "write":
                            await a.write(6, 0.2)
                        case "wait":
                            await trio.sleep(2)
                        case "claim":
                            await a.claim(epoch := epoch + 1)
                        case "unclaimed":
                            a.tokens["s"] = 0
                        case "let go":
                            a.last_tokens["s"] = a.tokens.pop("s", 0)
                await a.claim(epoch + 1)
                await a.write(3)
                await trio.sleep(200)
                assert not a.appender.has_lines("s")
                assert (a.failing.spool.waiting_bytes, await a.failing.spool.streams()) == (0, [])
                assert a.results.total() == a.written
                assert a.numbers == sorted(set(a.numbers))
                assert len(a.numbers) >= a.results[Result.APPENDED]

    trio.run(play, clock=MockClock(autojump_threshold=0))


def _fit(failures: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return what each call may raise, of these."""
    may = {"append": {"away", "crash", "fenced"}, "read": {"away", "crash"}, "read_log": {"away", "crash"}}
    return {what: [each for each in of if each in may.get(what, {"disk", "crash"})] for what, of in failures.items()}
