"""Deliveries over a real journal, with sinks that fail as each test says: retries, restarts, revocation, replay."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.config import ExecConfig, SinkConfig
from rtmsd.errors import StorageError
from rtmsd.sinks.base import Recording, Refused, TryAgain, Unusable
from rtmsd.sinks.deliveries import Deliveries, NoSuchDelivery, NotDead, retry_after_s
from rtmsd.state import deliveries as queue
from rtmsd.state.deliveries import DeliveryEvent, DeliveryRow, DeliveryState
from rtmsd.state.journal import LocalJournal

FINISHED, REVOKED = DeliveryEvent.FINISHED, DeliveryEvent.REVOKED
WAITING, RUNNING, DONE, DEAD = DeliveryState


async def at_once(work: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return work()


def now_ms() -> int:
    return 1_790_000_000_000 + round(trio.current_time() * 1000)


class FakeSink:
    """Fails as often as `errors` says, and waits for `let_go` where there is one.

    Attributes:
        given: the time, stream and event of each call.
        directories: of the recording, in each call.
        most: calls at the same time.
    """

    def __init__(self, *errors: Exception, let_go: trio.Event | None = None, **keys: Any) -> None:
        command = {"command": ("/bin/true",), "kind": "exec", "name": "after", "retry_s": (5, 60)}
        self.config: SinkConfig = ExecConfig(**{**command, **keys})
        self.errors = list(errors)
        self.let_go = let_go
        self.given: list[tuple[float, str, DeliveryEvent]] = []
        self.directories: list[Path] = []
        self.most = self._now = 0

    def events(self, stream: str) -> list[DeliveryEvent]:
        return [event for _, given, event in self.given if given == stream]

    async def deliver(self, recording: Recording) -> None:
        self.given.append((trio.current_time(), recording.rtms_stream_id, recording.event))
        self.directories.append(recording.directory)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            if self.let_go is not None:
                await self.let_go.wait()
            if self.errors:
                raise self.errors.pop(0)
        finally:
            self._now -= 1


@attrs.define
class Desk:
    """One state file, with one process at a time."""

    path: Path
    journal: LocalJournal
    deliveries: Deliveries

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path, *sinks: FakeSink) -> AsyncIterator["Desk"]:
        journal = await LocalJournal.open(directory / "state.sqlite", run_sync=at_once, clock_ms=now_ms)
        deliveries = Deliveries(journal, directory, now_ms)
        deliveries.configure({sink.config.name: sink for sink in sinks})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliveries.run)
            await wait_all_tasks_blocked()
            yield cls(directory, journal, deliveries)
            nursery.cancel_scope.cancel()
        await journal.aclose()

    async def finish(self, *streams: str) -> None:
        for stream in streams:
            await self.journal.transact(self.deliveries.closing(stream, self.path / "day" / stream))
            self.deliveries.closed(stream)
        await wait_all_tasks_blocked()

    async def revoke(self, stream: str) -> None:
        await self.deliveries.revoke(stream)
        await self.journal.transact(self.deliveries.closing_revoked(stream))
        self.deliveries.closed(stream)
        await wait_all_tasks_blocked()

    async def rows(self) -> list[DeliveryRow]:
        return list(await self.deliveries.listed())

    async def states(self) -> list[DeliveryState]:
        return [row.state for row in await self.rows()]


def files_with(directory: Path, content: bytes) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_file() and content in path.read_bytes()]


def test_a_retry_comes_later_each_time_and_not_for_ever() -> None:
    again = TryAgain("busy")
    assert [retry_after_s(again, tries, (5, 60)) for tries in range(4)] == [5, 60, None, None]
    assert retry_after_s(Refused("no"), 0, (5, 60)) is None
    assert retry_after_s(again, 0, ()) is None


async def test_a_recording_in_another_directory_goes_by_its_whole_path(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sink = FakeSink()
    async with Desk.open(tmp_path, sink) as desk:
        for directory in (tmp_path / "day" / "one", Path("/srv/care/day/two")):
            await desk.journal.transact(desk.deliveries.closing(directory.name, directory))
            desk.deliveries.closed(directory.name)
            await wait_all_tasks_blocked()
        assert [row.directory for row in await desk.rows()] == ["day/one", "/srv/care/day/two"]
    assert sink.directories == [tmp_path / "day" / "one", Path("/srv/care/day/two")]


async def test_each_sink_gets_a_recording_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    one, two = FakeSink(name="one"), FakeSink(name="two")
    async with Desk.open(tmp_path, one, two) as desk:
        await desk.finish("a", "b")
        for sink in (one, two):
            assert sorted(given[1:] for given in sink.given) == [("a", FINISHED), ("b", FINISHED)]
        assert await desk.states() == [DONE] * 4
        assert desk.deliveries.results == {("one", "done"): 2, ("two", "done"): 2}
        assert await desk.deliveries.unfinished() == set()
    async with Desk.open(tmp_path, one, two):
        assert len(one.given) == 2


async def test_what_fails_is_tried_again_and_then_dead(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(*[TryAgain("busy", "last words")] * 3)
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        assert await desk.states() == [WAITING]
        assert desk.deliveries.counts == {("after", WAITING): 1}
        await trio.sleep(100)
        assert [at_s for at_s, _, _ in sink.given] == pytest.approx([0, 5, 65], abs=0.5)
        (row,) = await desk.rows()
        assert (row.state, row.runs, row.why, row.output) == (DEAD, 3, "busy", "last words")
        assert desk.deliveries.counts == {("after", DEAD): 1}
        assert desk.deliveries.dead_ms == row.ended_ms
        assert desk.deliveries.results == {("after", "retry"): 2, ("after", "dead"): 1}
        assert await desk.deliveries.unfinished() == set()


async def test_what_is_refused_is_dead_at_once_and_can_be_replayed(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(Refused("no"))
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        (row,) = await desk.rows()
        assert row.state is DEAD
        await desk.deliveries.replay(row.id)
        await wait_all_tasks_blocked()
        assert (len(sink.given), await desk.states()) == (2, [DONE])
        with pytest.raises(NotDead, match="is done"):
            await desk.deliveries.replay(row.id)
        with pytest.raises(NoSuchDelivery, match="99"):
            await desk.deliveries.replay(99)


async def test_a_bug_in_a_sink_is_a_failure_like_others(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(ZeroDivisionError(), retry_s=())
    with structlog.testing.capture_logs() as logs:
        async with Desk.open(tmp_path, sink) as desk:
            await desk.finish("a", "b")
            assert sorted(await desk.states()) == [DEAD, DONE]
    assert "delivery crashed" in [line["event"] for line in logs]


async def test_no_more_run_at_once_than_are_allowed(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(let_go=trio.Event(), parallel=2)
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish(*"abcde")
        assert (sink.most, await desk.states()) == (2, [RUNNING] * 2 + [WAITING] * 3)
        assert sink.let_go is not None
        sink.let_go.set()
        await wait_all_tasks_blocked()
        assert (sink.most, await desk.states()) == (2, [DONE] * 5)


async def test_what_ran_when_the_process_died_runs_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    hanging, sink = FakeSink(let_go=trio.Event()), FakeSink()
    async with Desk.open(tmp_path, hanging) as desk:
        await desk.finish("a")
    assert len(hanging.given) == 1
    async with Desk.open(tmp_path, sink) as desk:
        (row,) = await desk.rows()
        assert (row.state, row.runs, len(sink.given)) == (DONE, 2, 1)


async def test_a_stop_begins_nothing_and_waits_for_what_runs(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(let_go=trio.Event(), parallel=1)
    async with Desk.open(tmp_path, sink) as desk:
        await desk.deliveries.until_idle()
        await desk.finish("a", "b")
        desk.deliveries.stop()
        with trio.move_on_after(10) as waited:
            await desk.deliveries.until_idle()
        assert waited.cancelled_caught
        assert sink.let_go is not None
        sink.let_go.set()
        await desk.deliveries.until_idle()
        await wait_all_tasks_blocked()
        assert await desk.states() == [DONE, WAITING]


async def test_a_revocation_kills_drops_and_is_delivered_where_one_had_begun(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    hanging = FakeSink(let_go=trio.Event(), name="hanging")
    quick, failing = FakeSink(name="quick"), FakeSink(TryAgain("busy"), name="failing")
    full = FakeSink(let_go=trio.Event(), name="full", parallel=1)
    async with Desk.open(tmp_path, hanging, quick, failing, full) as desk:
        await desk.finish("other")
        failing.errors = [TryAgain("busy")]
        await desk.finish("a")
        hanging.let_go = None
        await desk.revoke("a")
        assert [sink.events("a") for sink in (hanging, quick, failing)] == [[FINISHED, REVOKED]] * 3
        assert full.events("a") == []
        assert {row.event for row in await desk.rows() if row.rtms_stream_id == "a"} == {REVOKED}
        assert [row.state for row in await desk.rows() if row.sink == "full"] == [RUNNING]  # of the other stream
        await desk.revoke("a")  # Zoom repeats itself
        assert quick.events("a") == [FINISHED, REVOKED]


async def test_nothing_begins_while_a_revocation_is_under_way(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(TryAgain("busy"))
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        await desk.deliveries.revoke("a")
        await trio.sleep(100)
        assert sink.events("a") == [FINISHED]
        await desk.revoke("a")
        assert sink.events("a") == [FINISHED, REVOKED]


async def test_without_sinks_the_end_of_a_stream_costs_no_transaction_of_its_own(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    works: list[object] = []
    async with Desk.open(tmp_path) as desk:
        transact = desk.journal.transact

        async def count(work: Callable[[sqlite3.Connection], Any]) -> Any:
            works.append(work)
            return await transact(work)

        monkeypatch.setattr(desk.journal, "transact", count)
        await desk.finish("one", "two")
    assert len(works) == 2  # of those who close them


async def test_a_revocation_is_durable_and_retried(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink()
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        sink.errors = [TryAgain("busy")]
        await desk.revoke("a")
    async with Desk.open(tmp_path, sink) as desk:
        await trio.sleep(10)
        assert sink.events("a") == [FINISHED, REVOKED, REVOKED]
        assert await desk.states() == [DONE]


async def test_of_what_was_said_on_a_revocation_nothing_is_left_once_it_is_done(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sink = FakeSink()
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        sink.errors = [TryAgain("busy", "cannot delete Ana"), Refused("no", "cannot delete Ana")]
        await desk.revoke("a")
        await trio.sleep(10)
        assert await desk.states() == [DEAD]
        (row,) = await desk.rows()
        await desk.deliveries.replay(row.id)
        await wait_all_tasks_blocked()
        assert await desk.states() == [DONE]
        assert files_with(tmp_path, b"Ana") == []


async def test_a_run_that_outlives_its_section_warns_of_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    old, new = FakeSink(Unusable("cannot be run"), let_go=trio.Event()), FakeSink()
    async with Desk.open(tmp_path, old) as desk:
        await desk.finish("a")
        desk.deliveries.configure({"after": new})
        assert old.let_go is not None
        old.let_go.set()
        await trio.sleep(1)
        assert desk.deliveries.warnings == {}
        await trio.sleep(10)
        assert await desk.states() == [DONE]


async def test_the_deliveries_of_a_sink_that_is_gone_are_dead(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink(TryAgain("busy"))
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        with structlog.testing.capture_logs() as logs:
            desk.deliveries.configure({})
            await wait_all_tasks_blocked()
        (row,) = await desk.rows()
        assert (row.state, row.why) == (DEAD, queue.ORPHANED)
        assert [(line["sink"], line["number"]) for line in logs] == [("after", 1)]
        assert await desk.deliveries.unfinished() == set()
        assert desk.deliveries.dead_ms is None
        with pytest.raises(NotDead, match="not in the configuration"):
            await desk.deliveries.replay(row.id)
        desk.deliveries.configure({"after": sink})
        await desk.deliveries.replay(row.id)
        await wait_all_tasks_blocked()
        assert await desk.states() == [DONE]


async def test_a_program_that_is_missing_is_warned_of_until_it_is_there(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    program = tmp_path / "program"
    sink = FakeSink(command=(str(program),))
    async with Desk.open(tmp_path, sink) as desk:
        assert "is not there" in desk.deliveries.warnings["after"]
        sink.errors = [Unusable("cannot be run")]
        await desk.finish("a")
        assert desk.deliveries.warnings == {"after": "cannot be run"}
        await trio.sleep(10)
        assert desk.deliveries.warnings == {}
        assert await desk.states() == [DONE]


@pytest.mark.parametrize("refusal", [StorageError("disk full"), RuntimeError("can't start new thread")])
async def test_a_state_file_that_refuses_costs_time_alone(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    sink = FakeSink(let_go=trio.Event())
    async with Desk.open(tmp_path, sink) as desk:
        await desk.finish("a")
        transact, refusals = desk.journal.transact, [refusal] * 3

        async def refuse(work: Callable[[sqlite3.Connection], Any]) -> Any:
            if refusals:
                raise refusals.pop()
            return await transact(work)

        monkeypatch.setattr(desk.journal, "transact", refuse)
        assert sink.let_go is not None
        sink.let_go.set()
        await trio.sleep(30)
        assert (len(sink.given), await desk.states()) == (1, [DONE])
