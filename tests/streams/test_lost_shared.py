"""Lost streams in the state file: what changed is written, and other processes' lines are left alone and seen."""

import itertools
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from rtmsd.commands import StartStream
from rtmsd.errors import StorageError
from rtmsd.protocol.messages import SessionRef
from rtmsd.state import lost as table
from rtmsd.state.journal import LocalJournal
from rtmsd.state.lost import MAX_LOST, Changes, LostStream
from rtmsd.streams import lost as lost_module
from rtmsd.streams.lost import SHARE_EVERY_S, LostStreams
from tests.state.commands import open_memory
from tests.streams.harness import at_once


def start(number: int) -> StartStream:
    return StartStream(
        product="session",
        session=SessionRef("session_id", "s"),
        rtms_stream_id=f"stream-{number}",
        server_urls="wss://x",
        app="main",
        event_ts=number,
    )


def names(streams: Sequence[LostStream]) -> list[str]:
    return [each.rtms_stream_id for each in streams]


class Memory:
    """A journal's lost streams, in a state file in memory that can refuse."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.refuses = False
        self.written = 0

    async def lost_streams(self) -> list[LostStream]:
        await trio.lowlevel.checkpoint()
        return table.read(self.db)

    async def change_lost_streams(self, changes: Changes) -> None:
        await trio.lowlevel.checkpoint()
        if self.refuses:
            raise StorageError("full")
        self.written += len(changes)
        table.change(self.db, changes)


STEPS = st.lists(
    st.tuples(st.sampled_from(["refused", "accepted", "forget", "flush", "full", "free"]), st.integers(0, 8)),
    max_size=40,
)


@given(STEPS)
@settings(deadline=None)
def test_the_file_has_what_memory_has(steps: list[tuple[str, int]]) -> None:
    now = [0]

    async def play() -> None:
        with closing(open_memory()) as db, pytest.MonkeyPatch.context() as patch:
            patch.setattr(lost_module, "MAX_LOST", 5)
            journal: Any = Memory(db)
            lost = LostStreams(journal, lambda: now[0])
            for step, number in steps:
                now[0] += 1
                match step:
                    case "refused":
                        lost.refused(start(number), "draining")
                    case "accepted":
                        lost.accepted(f"stream-{number}")
                    case "forget":
                        lost.forget(f"stream-{number}")
                    case "flush":
                        await lost.flush_if_possible()
                    case _:
                        journal.refuses = step == "full"
            journal.refuses = False
            await lost.flush()
            assert table.read(db) == lost.all()
            written = journal.written
            await lost.flush()
            assert journal.written == written, "nothing changed since"

    trio.run(play)


async def test_a_file_with_too_many_is_cut_to_the_newest() -> None:
    with closing(open_memory()) as db:
        journal: Any = Memory(db)
        clock_ms = itertools.count()
        many = LostStreams(journal, clock_ms.__next__)
        for number in range(MAX_LOST):
            many.refused(start(number), "draining")
        await many.flush()
        more = LostStreams(journal, clock_ms.__next__)
        more.refused(start(MAX_LOST), "draining")
        await more.flush()  # as another process does, which does not know of those
        await many.load()
        await many.flush()
        assert names(table.read(db)) == names(many.all()) == [f"stream-{number}" for number in range(1, MAX_LOST + 1)]


async def test_what_a_cancelled_task_was_writing_is_written_later() -> None:
    with closing(open_memory()) as db:
        journal: Any = Memory(db)
        lost = LostStreams(journal, lambda: 0)
        lost.refused(start(1), "draining")
        with trio.CancelScope() as scope:
            scope.cancel()
            await lost.flush()
        assert table.read(db) == []
        await lost.flush()
        assert names(table.read(db)) == ["stream-1"]


async def test_what_another_process_lost_is_seen_and_not_overwritten(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    path = tmp_path / "state.sqlite"
    parent = await LocalJournal.open(path, is_shared=True, run_sync=at_once)
    journals = [
        await LocalJournal.join(path, [os.dup(each) for each in parent.lock_descriptors], run_sync=at_once)
        for _ in range(2)
    ]
    one, other = (LostStreams(journal, lambda: 7, is_shared=journal.is_shared) for journal in journals)
    nursery.start_soon(one.keep)
    nursery.start_soon(other.keep)
    one.refused(start(1), "draining")
    one.refused(start(2), "draining")
    other.refused(start(3), "draining")
    other.accepted("stream-1")  # Zoom came with the next try to the other process, before it heard of the first
    await trio.sleep(1)
    assert "stream-3" in names(await parent.lost_streams())
    await trio.sleep(2 * SHARE_EVERY_S)
    other.accepted("stream-1")
    await trio.sleep(2 * SHARE_EVERY_S)
    assert set(names(one.all())) == set(names(other.all())) == {"stream-2", "stream-3"}
    one.forget("stream-3")
    await trio.sleep(2 * SHARE_EVERY_S)
    assert names(one.all()) == names(other.all()) == names(await parent.lost_streams()) == ["stream-2"]
    nursery.cancel_scope.cancel()
    for journal in (*journals, parent):
        journal.database.close()


async def test_a_start_refused_here_and_accepted_there_at_once_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    parent = await LocalJournal.open(path, is_shared=True)
    worker = await LocalJournal.join(path, [os.dup(each) for each in parent.lock_descriptors])
    one, other = LostStreams(parent, lambda: 7, is_shared=True), LostStreams(worker, lambda: 7, is_shared=True)
    one.refused(start(1), "draining")
    await one.flush()
    other.accepted("stream-1")
    await other.flush()
    await one.load()
    assert one.all() == other.all() == await parent.lost_streams() == []
    await worker.aclose()
    await parent.aclose()
