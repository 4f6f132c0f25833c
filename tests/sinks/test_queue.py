"""The queue against a model: streams end, live again and are revoked, programs fail, and processes die at any point."""

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtmsd.commands import StartStream
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.state import deliveries as queue
from rtmsd.state import ledger
from rtmsd.state.deliveries import DAY_MS, DeliveryEvent, DeliveryRow, DeliveryState
from tests.state.commands import open_memory

SINKS = ("one", "two")
STREAMS = st.sampled_from(("a", "b"))
ROOM = {"one": 2, "two": 1}
UNFINISHED = {DeliveryState.WAITING, DeliveryState.RUNNING}
RETRY_MS = (5_000, 60_000)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(open_memory()) as db:
        yield db


class QueueMachine(RuleBasedStateMachine):
    """Plays the daemon on one database; what a sink was given is in `given`.

    Attributes:
        running: rows that a process of ours runs.
        owed: by stream and sink, what is to be given yet: the latest end, or its revocation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.db = open_memory()
        self.now_ms = 1_000_000
        self.event_ts = 0
        self.live: set[str] = set()
        self.running: dict[int, DeliveryRow] = {}
        self.owed: dict[tuple[str, str], set[DeliveryEvent]] = defaultdict(set)
        self.begun: set[tuple[str, str]] = set()  # since the latest revocation

    # Streams

    @initialize()
    def both_ended_once(self) -> None:
        for stream in ("a", "b"):
            self.start_or_end(stream, is_killed=False)
            self.start_or_end(stream, is_killed=False)

    @rule(stream=STREAMS, is_killed=st.booleans())
    def start_or_end(self, stream: str, is_killed: bool) -> None:
        if stream in self.live:
            self._end(stream, is_killed)
        else:
            self._start(stream)

    def _start(self, stream: str) -> None:
        self.event_ts += 1
        ledger.record(
            self.db,
            StartStream(
                product="session",
                session=SessionRef("session_id", "s"),
                rtms_stream_id=stream,
                server_urls="wss://x",
                app="main",
                event_ts=self.event_ts,
            ),
            self.now_ms,
        )
        self.live.add(stream)

    def _end(self, stream: str, is_killed: bool) -> None:
        """Close a stream; killed before the transaction is through, nothing of it is there."""
        self.db.execute("BEGIN")
        assert ledger.close_stream(self.db, stream, reason=6, ended_ms=1, event_ts=self.event_ts, closed_ms=self.now_ms)
        queue.finished(self.db, sinks=SINKS, rtms_stream_id=stream, directory=f"day/{stream}", now_ms=self.now_ms)
        self.db.execute("ROLLBACK" if is_killed else "COMMIT")
        if is_killed:
            self.restart()
            return
        self.live.remove(stream)
        for sink in SINKS:
            self.owed[stream, sink].add(DeliveryEvent.FINISHED)

    @rule(stream=STREAMS)
    def revoke(self, stream: str) -> None:
        """Programs are killed first, and their rows left as they are."""
        reason = StopReason.STREAM_REVOKED
        self.running = {
            number: row
            for number, row in self.running.items()
            if row.rtms_stream_id != stream or row.event is DeliveryEvent.REVOKED
        }
        ledger.close_stream(self.db, stream, reason=reason, ended_ms=1, event_ts=None, closed_ms=self.now_ms)
        queue.revoked(self.db, rtms_stream_id=stream, now_ms=self.now_ms)
        self.live.discard(stream)
        for sink in SINKS:
            self.owed[stream, sink].discard(DeliveryEvent.FINISHED)
            if (stream, sink) in self.begun:
                self.owed[stream, sink].add(DeliveryEvent.REVOKED)
                self.begun.remove((stream, sink))

    # Programs

    @rule(wait_ms=st.sampled_from((0, *RETRY_MS)))
    def begin(self, wait_ms: int) -> None:
        self.now_ms += wait_ms
        busy = [row.sink for row in self.running.values()]
        room = {sink: most - busy.count(sink) for sink, most in ROOM.items()}
        found = queue.begin(self.db, room=room, held=(), now_ms=self.now_ms)
        for row in found.rows:
            assert row.state is DeliveryState.RUNNING
            assert row.due_ms <= self.now_ms
            assert row.event is DeliveryEvent.REVOKED or row.rtms_stream_id not in self.live
            assert row.event in self.owed[row.rtms_stream_id, row.sink]
            rivals = [
                other
                for other in self.running.values()
                if (other.sink, other.rtms_stream_id) == (row.sink, row.rtms_stream_id)
            ]
            assert not rivals
            if row.event is DeliveryEvent.FINISHED:
                assert DeliveryEvent.REVOKED not in self.owed[row.rtms_stream_id, row.sink]
                self.begun.add((row.rtms_stream_id, row.sink))
            self.running[row.id] = row
        for sink, most in ROOM.items():
            assert sum(row.sink == sink for row in self.running.values()) <= most
        if found.next_due_ms is not None:
            assert found.next_due_ms > self.now_ms or 0 in room.values() or self.running

    @precondition(lambda self: self.running)
    @rule(data=st.data(), ends=st.sampled_from(("done", "again", "dead")))
    def program_ends(self, data: st.DataObject, ends: str) -> None:
        row = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        if ends == "done":
            queue.done(self.db, row.id, now_ms=self.now_ms)
        else:
            retry_ms = RETRY_MS[row.tries] if ends == "again" and row.tries < len(RETRY_MS) else None
            queue.failed(self.db, row.id, retry_ms=retry_ms, why="why", output="", now_ms=self.now_ms)
            if retry_ms is not None:
                return
        if not self._is_waiting(row):  # for a later end
            self.owed[row.rtms_stream_id, row.sink].discard(row.event)

    @rule()
    def restart(self) -> None:
        """SIGKILL, and another process."""
        self.running.clear()
        queue.reset(self.db)

    @rule()
    def replay(self) -> None:
        for row in queue.listed(self.db):
            assert queue.replay(self.db, row.id, now_ms=self.now_ms) == (row.state is DeliveryState.DEAD)
            if row.state is DeliveryState.DEAD:
                self.owed[row.rtms_stream_id, row.sink].add(row.event)

    # What must hold

    @invariant()
    def what_is_queued_is_what_is_owed(self) -> None:
        rows = [row for row in queue.listed(self.db) if row.state in UNFINISHED]
        queued = {(row.rtms_stream_id, row.sink, row.event) for row in rows}
        assert queued == {(*owner, event) for owner, events in self.owed.items() for event in events}
        assert queue.unfinished(self.db) == {row.rtms_stream_id for row in rows}
        new = Counter((row.rtms_stream_id, row.sink, row.event) for row in rows if row.runs == 0)
        assert max(new.values(), default=0) <= 1

    def teardown(self) -> None:
        """Left alone, with programs that succeed, the queue runs empty but for streams that live."""
        queue.reset(self.db)
        while rows := queue.begin(self.db, room=ROOM, held=(), now_ms=self.now_ms + DAY_MS).rows:
            for row in rows:
                queue.done(self.db, row.id, now_ms=self.now_ms)
        assert queue.unfinished(self.db) <= self.live
        self.db.close()

    def _is_waiting(self, row: DeliveryRow) -> bool:
        return any(
            (other.rtms_stream_id, other.sink, other.event, other.state)
            == (row.rtms_stream_id, row.sink, row.event, DeliveryState.WAITING)
            for other in queue.listed(self.db)
        )


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestQueue = QueueMachine.TestCase


def queued(db: sqlite3.Connection, *streams: str, sinks: tuple[str, ...] = ("one",)) -> None:
    for stream in streams:
        queue.finished(db, sinks=sinks, rtms_stream_id=stream, directory=stream, now_ms=0)


def test_what_waits_for_a_sink_that_is_gone_is_dead_and_counted(db: sqlite3.Connection) -> None:
    queued(db, "a", sinks=("one", "two"))
    begun = queue.begin(db, room={"two": 1}, held=(), now_ms=5)
    assert begun.orphaned == {"one": 1}
    assert begun.dead_ms is None  # of a sink that nobody has
    (dead, _) = queue.listed(db)
    assert (dead.state, dead.why, dead.ended_ms) == (DeliveryState.DEAD, queue.ORPHANED, 5)
    assert queue.unfinished(db) == {"a"}  # for the other


def test_a_revocation_that_no_sink_gets_counts(
    db: sqlite3.Connection,
) -> None:
    queued(db, "a")
    queue.begin(db, room={"one": 1}, held=(), now_ms=1)
    queue.revoked(db, rtms_stream_id="a", now_ms=2)
    begun = queue.begin(db, room={"two": 1}, held=(), now_ms=5)
    assert (begun.orphaned, begun.dead_ms) == ({"one": 1}, 5)


def test_nothing_begins_for_a_stream_whose_revocation_is_under_way(db: sqlite3.Connection) -> None:
    queued(db, "a", "b")
    assert [row.rtms_stream_id for row in queue.begin(db, room={"one": 9}, held={"a"}, now_ms=0).rows] == ["b"]


def test_a_clock_that_was_set_back_delays_no_retry_for_long(db: sqlite3.Connection) -> None:
    queued(db, "a")
    db.execute("UPDATE sink_delivery SET due_ms = ?", (10 * DAY_MS,))
    assert len(queue.begin(db, room={"one": 1}, held=(), now_ms=DAY_MS).rows) == 1


def test_a_clock_that_was_set_back_by_an_hour_delays_nothing(db: sqlite3.Connection) -> None:
    hour_ms = 3_600_000
    queue.finished(db, sinks=["one"], rtms_stream_id="a", directory="a", now_ms=2 * hour_ms)
    (row,) = queue.begin(db, room={"one": 1}, held=(), now_ms=hour_ms).rows
    queue.failed(db, row.id, retry_ms=5, why="", output="", now_ms=hour_ms + 1)
    assert queue.begin(db, room={"one": 1}, held=(), now_ms=hour_ms + 2).next_due_ms == hour_ms + 6
    assert len(queue.begin(db, room={"one": 1}, held=(), now_ms=1).rows) == 1


def test_what_is_done_and_dead_has_bounds(db: sqlite3.Connection) -> None:
    queued(db, *map(str, range(6)))
    for row in queue.begin(db, room={"one": 6}, held=(), now_ms=0).rows:
        if row.id % 2:
            queue.done(db, row.id, now_ms=row.id)
        else:
            queue.failed(db, row.id, retry_ms=None, why="", output="", now_ms=row.id)
    queue.prune(db, now_ms=queue.KEEP_DONE_MS + 2)
    assert [row.id for row in queue.listed(db)] == [2, 3, 4, 5, 6]
    queue.prune(db, now_ms=queue.KEEP_DEAD_MS + 3)
    assert [row.id for row in queue.listed(db)] == [4, 6]


def test_a_list_that_is_cut_has_what_is_dead(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MAX_LISTED", 3)
    queued(db, "dead")
    (row,) = queue.begin(db, room={"one": 1}, held=(), now_ms=0).rows
    queue.failed(db, row.id, retry_ms=None, why="", output="", now_ms=0)
    queued(db, *map(str, range(5)))
    assert [(row.rtms_stream_id, row.state.value) for row in queue.listed(db)] == [
        ("dead", "dead"),
        ("3", "waiting"),
        ("4", "waiting"),
    ]


def test_the_latest_death_counts_whatever_its_reason(db: sqlite3.Connection) -> None:
    queued(db, "a", "b", sinks=("one", "two"))
    for row in queue.begin(db, room={"one": 1, "two": 0}, held=(), now_ms=5).rows:
        queue.failed(db, row.id, retry_ms=None, why="", output="", now_ms=7)
    assert queue.begin(db, room={"one": 0, "two": 0}, held=(), now_ms=8).dead_ms == 7
    queue.begin(db, room={"one": 0}, held=(), now_ms=9)
    assert queue.begin(db, room={"one": 0, "two": 0}, held=(), now_ms=10).dead_ms == 9


def number_of_next(db: sqlite3.Connection, stream: str) -> int:
    queued(db, stream)
    return max(row.id for row in queue.listed(db))


def test_each_worker_has_numbers_of_its_own(db: sqlite3.Connection) -> None:
    queue.number_from(db, 1)
    assert number_of_next(db, "a") == 1
    queue.number_from(db, 3)
    assert number_of_next(db, "b") == 2 * queue.NUMBERS + 1
    queue.number_from(db, 3)  # at each start
    queue.number_from(db, 2)  # and where another worker had the file before
    assert number_of_next(db, "c") == 2 * queue.NUMBERS + 2


def test_a_file_that_is_written_anew_goes_on_with_its_numbers(db: sqlite3.Connection, tmp_path: Path) -> None:
    queue.number_from(db, 2)
    db.execute("VACUUM INTO ?", (str(tmp_path / "new"),))
    with closing(sqlite3.connect(tmp_path / "new")) as new:
        new.row_factory = sqlite3.Row
        assert number_of_next(new, "a") == queue.NUMBERS + 1
