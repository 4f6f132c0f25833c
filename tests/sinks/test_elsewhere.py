"""Deliveries that one process queues and another one runs."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rtmsd.sinks.deliveries import Deliveries
from rtmsd.state import deliveries as queue
from rtmsd.state.deliveries import DeliveryEvent, DeliveryState
from rtmsd.state.journal import LocalJournal
from tests.sinks.test_deliveries import FakeSink, at_once, now_ms

FINISHED, REVOKED = DeliveryEvent.FINISHED, DeliveryEvent.REVOKED


class ToOther:
    """The `Elsewhere` of a process that reaches the one that runs deliveries at once."""

    def __init__(self, running: Deliveries) -> None:
        self._running = running

    def due(self) -> None:
        self._running.due()

    async def hold(self, rtms_stream_id: str) -> None:
        await self._running.revoke(rtms_stream_id)

    def release(self, rtms_stream_id: str) -> None:
        self._running.closed(rtms_stream_id)


@asynccontextmanager
async def two_processes(root: Path, sink: FakeSink) -> AsyncIterator[tuple[LocalJournal, Deliveries, Deliveries]]:
    """Yield the journal, who queues, and who runs."""
    journal = await LocalJournal.open(root / "state.sqlite", run_sync=at_once)
    queueing, running = Deliveries(journal, root, now_ms), Deliveries(journal, root, now_ms)
    for each in (queueing, running):
        each.configure({"after": sink})
    queueing.elsewhere = ToOther(running)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.run)
        yield journal, queueing, running
        nursery.cancel_scope.cancel()
    await journal.aclose()


async def end(journal: LocalJournal, queueing: Deliveries, root: Path, stream: str) -> None:
    await journal.transact(queueing.closing(stream, root / stream))
    queueing.closed(stream)
    await wait_all_tasks_blocked()


async def test_what_one_queues_the_other_runs_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink()
    async with two_processes(tmp_path, sink) as (journal, queueing, _):
        began_s = trio.current_time()
        await end(journal, queueing, tmp_path, "a")
        assert sink.given == [(began_s, "a", FINISHED)]


async def test_a_revocation_waits_until_the_other_has_killed_what_runs(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    sink = FakeSink(let_go=trio.Event())
    async with two_processes(tmp_path, sink) as (journal, queueing, running):
        await end(journal, queueing, tmp_path, "a")
        await queueing.revoke("a")
        with trio.fail_after(1):
            await running.until_idle()
        await journal.transact(queueing.closing_revoked("a"))
        assert sink.let_go is not None
        sink.let_go.set()
        queueing.closed("a")
        await wait_all_tasks_blocked()
        assert sink.events("a") == [FINISHED, REVOKED]


async def test_a_dead_one_is_replayed_by_the_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    sink = FakeSink()
    async with two_processes(tmp_path, sink) as (journal, queueing, _):
        await end(journal, queueing, tmp_path, "a")

        def kill(db: sqlite3.Connection) -> None:
            queue.failed(db, number=1, retry_ms=None, why="broken", output="", now_ms=now_ms())

        await journal.transact(kill)
        await queueing.replay(1)
        await wait_all_tasks_blocked()
        assert sink.events("a") == [FINISHED, FINISHED]


@pytest.mark.parametrize("times", [1, 2])
async def test_figures_are_taken_over_and_results_added(tmp_path: Path, autojump_clock: MockClock, times: int) -> None:
    sink = FakeSink()
    async with two_processes(tmp_path, sink) as (journal, queueing, running):
        await end(journal, queueing, tmp_path, "a")
        running.warnings["after"] = "missing"
        running.counts = {("after", DeliveryState.DEAD): 3}
        for _ in range(times):
            queueing.learn(running.figures(running.results))
        assert (queueing.counts, queueing.warnings) == (running.counts, running.warnings)
        assert queueing.results == {("after", "done"): times}
