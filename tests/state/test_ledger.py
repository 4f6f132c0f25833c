"""The verdict on each command, given the commands recorded before it, and what the file has then."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import attrs
import pytest

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.protocol.messages import SessionRef
from rtmsd.state import ledger
from rtmsd.state.rows import Delivery, Known, StreamRow
from tests.state.commands import open_memory

NEW, DUPLICATE, LATE = Verdict.NEW, Verdict.DUPLICATE, Verdict.LATE
NOW_MS = 5_000_000


def start(event_ts: int, stream: str = "stream", url: str = "wss://one") -> StartStream:
    return StartStream(
        product="session",
        session=SessionRef("session_id", "a+b/c=="),
        rtms_stream_id=stream,
        server_urls=url,
        app="main",
        event_ts=event_ts,
    )


def stop(event_ts: int, reason: int = 6, stream: str = "stream") -> StopStream:
    return StopStream(
        product="session",
        session=SessionRef("session_id", "a+b/c=="),
        rtms_stream_id=stream,
        app="main",
        event_ts=event_ts,
        stop_reason=reason,
    )


def interrupt(event_ts: int, url: str | None = None) -> InterruptStream:
    return InterruptStream(
        product="session",
        session=SessionRef("session_id", "a+b/c=="),
        rtms_stream_id="stream",
        app="main",
        event_ts=event_ts,
        server_urls=url,
    )


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(open_memory()) as db:
        yield db


def close(db: sqlite3.Connection, ended_ms: int, *, event_ts: int | None = None, reason: int = 19) -> None:
    ledger.close_stream(db, "stream", reason=reason, ended_ms=ended_ms, event_ts=event_ts, closed_ms=NOW_MS)


def test_a_live_stream_is_stored_whole(db: sqlite3.Connection) -> None:
    assert ledger.record(db, start(100), NOW_MS) is NEW
    assert ledger.unfinished(db) == [
        StreamRow(
            rtms_stream_id="stream",
            product="session",
            session=SessionRef("session_id", "a+b/c=="),
            app="main",
            server_urls="wss://one",
            started_ms=100,
            event_ts=100,
            stop_reason=None,
            stopped_ms=None,
            closed=False,
        )
    ]


Step = tuple[StreamCommand | int, Verdict | None]  # a number closes the stream at that Zoom time


STORIES: dict[str, list[Step]] = {
    "retry": [(start(100), NEW), (start(100), DUPLICATE)],
    "retry with another url": [(start(100), NEW), (start(100, url="wss://two"), DUPLICATE)],
    "failover, then a retry": [(start(100), NEW), (start(200), NEW), (start(100), DUPLICATE)],
    "failover overtakes the first start": [(start(200), NEW), (start(100), LATE)],
    "stop": [(start(100), NEW), (stop(200), NEW), (stop(200), DUPLICATE)],
    "stop before start": [(stop(200), NEW), (start(100), LATE)],
    "stop and start at once": [(stop(200), NEW), (start(200), LATE)],
    "start before the stop": [(start(100), NEW), (stop(200), NEW), (start(150), LATE)],
    "started again": [(start(100), NEW), (stop(200), NEW), (start(201), NEW)],
    "old stop": [(start(100), NEW), (stop(200), NEW), (start(300), NEW), (stop(250), LATE)],
    "second stop": [(start(100), NEW), (stop(200), NEW), (stop(300), LATE)],
    "started again after closing": [(start(100), NEW), (stop(200), NEW), (250, None), (start(201), NEW)],
    "ended without a webhook": [(start(100), NEW), (250, None), (start(200), LATE), (start(251), NEW)],
    "ended before it was heard of": [(start(100), NEW), (50, None), (start(90), LATE)],
    "stop after the end": [(start(100), NEW), (250, None), (stop(300), LATE)],
    "revoked after a stop": [(start(100), NEW), (stop(200), NEW), (stop(300, 8), NEW)],
    "revoked after the end": [(start(100), NEW), (250, None), (stop(200, 8), NEW), (stop(201, 8), LATE)],
    "interruption": [(start(100), NEW), (interrupt(150), NEW), (interrupt(150), DUPLICATE)],
    "interruption before the failover": [(start(200), NEW), (interrupt(150), LATE)],
    "interruption of an ended stream": [(start(100), NEW), (stop(200), NEW), (interrupt(150), LATE)],
    "interruption of an unknown stream": [(interrupt(150), NEW)],
}


@pytest.mark.parametrize("steps", STORIES.values(), ids=STORIES.keys())
def test_verdicts(db: sqlite3.Connection, steps: list[Step]) -> None:
    for step, verdict in steps:
        if isinstance(step, int):
            close(db, step)
        else:
            assert ledger.record(db, step, NOW_MS) is verdict


@pytest.mark.parametrize("command", [start(200), stop(200, 8), interrupt(200), start(100)])
def test_a_command_of_another_app_changes_nothing(db: sqlite3.Connection, command: StreamCommand) -> None:
    ledger.record(db, start(100), NOW_MS)
    before = ledger.find(db, "stream")
    other = attrs.evolve(command, app="b")
    assert ledger.record(db, other, NOW_MS, {"main"}) is Verdict.FOREIGN
    assert ledger.find(db, "stream") == before
    assert ledger.record(db, command, NOW_MS, {"b"}) is (DUPLICATE if command == start(100) else NEW)


def test_the_stream_of_a_renamed_app_can_be_stopped(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    assert ledger.record(db, attrs.evolve(stop(200), app="renamed"), NOW_MS, {"b"}) is NEW


@pytest.mark.parametrize("field", ["event_ts", "session", "rtms_stream_id", "product"])
def test_each_part_of_the_key_makes_another_event(db: sqlite3.Connection, field: str) -> None:
    ledger.record(db, stop(100), NOW_MS)
    other: dict[str, Any] = {
        "event_ts": 101,
        "session": SessionRef("session_id", "x"),
        "rtms_stream_id": "x",
        "product": "meeting",
    }
    assert ledger.record(db, attrs.evolve(stop(100), **{field: other[field]}), NOW_MS) is not DUPLICATE


def test_a_failover_moves_the_url_and_keeps_the_beginning(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    ledger.record(db, start(200, url="wss://two"), NOW_MS)
    (row,) = ledger.unfinished(db)
    assert (row.server_urls, row.started_ms, row.event_ts) == ("wss://two", 100, 200)
    ledger.record(db, interrupt(300), NOW_MS)
    assert ledger.unfinished(db) == [row]
    ledger.record(db, interrupt(301, "wss://three"), NOW_MS)
    assert ledger.unfinished(db) == [attrs.evolve(row, server_urls="wss://three")]


def test_reason_and_time_of_the_stop_webhook_stay(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    ledger.record(db, stop(200), NOW_MS)
    (row,) = ledger.unfinished(db)
    assert (row.stop_reason, row.stopped_ms) == (6, 200)
    close(db, 999)
    assert ledger.unfinished(db) == []
    assert ledger.find(db, "stream") == attrs.evolve(row, closed=True)


def test_a_stream_started_again_keeps_its_directory(db: sqlite3.Connection) -> None:
    for command in (start(100), stop(200)):
        ledger.record(db, command, NOW_MS)
    close(db, 200)
    ledger.record(db, start(300), NOW_MS)
    (row,) = ledger.unfinished(db)
    assert (row.started_ms, row.event_ts, row.stop_reason, row.stopped_ms) == (100, 300, None, None)


def test_a_stream_started_again_meanwhile_is_not_closed(db: sqlite3.Connection) -> None:
    for command in (start(100), stop(200), start(300)):
        ledger.record(db, command, NOW_MS)
    close(db, 200, event_ts=100)
    assert len(ledger.unfinished(db)) == 1
    close(db, 400, event_ts=300)
    assert ledger.unfinished(db) == []


def test_a_revocation_is_work_to_be_finished_also_of_an_unknown_stream(db: sqlite3.Connection) -> None:
    ledger.record(db, stop(200, 6, "other"), NOW_MS)
    assert ledger.unfinished(db) == []
    ledger.record(db, stop(200, 8), NOW_MS)
    (row,) = ledger.unfinished(db)
    assert (row.stop_reason, row.started_ms, row.server_urls) == (8, None, None)
    close(db, 200)  # the end of a life before it: nothing is deleted yet
    assert ledger.unfinished(db) == [row]
    close(db, 200, reason=8)
    assert ledger.unfinished(db) == []


def test_a_revocation_from_signaling_alone_is_work_to_be_finished(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    ledger.revoke(db, "stream", stopped_ms=150, event_ts=100)
    [row] = ledger.unfinished(db)
    assert (row.stop_reason, row.stopped_ms) == (8, 150)
    assert ledger.record(db, stop(151, 8), NOW_MS) is LATE
    close(db, 150, event_ts=100, reason=8)
    assert ledger.unfinished(db) == []


def test_an_earlier_revocation_does_not_concern_a_stream_started_again(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    ledger.record(db, stop(150), NOW_MS)
    ledger.record(db, start(200), NOW_MS)
    ledger.revoke(db, "stream", stopped_ms=150, event_ts=100)
    [row] = ledger.unfinished(db)
    assert row.stop_reason is None


def test_pruning_forgets_old_deliveries_and_tombstones(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    ledger.record(db, start(100, "ended"), NOW_MS)
    ledger.close_stream(db, "ended", reason=6, ended_ms=200, event_ts=None, closed_ms=NOW_MS)
    ledger.prune(db, NOW_MS)
    assert ledger.record(db, start(100, "ended"), NOW_MS) is DUPLICATE
    ledger.prune(db, NOW_MS + 1)
    assert [row.rtms_stream_id for row in ledger.unfinished(db)] == ["stream"]
    assert ledger.record(db, start(100, "ended"), NOW_MS) is NEW
    assert ledger.record(db, start(100), NOW_MS) is LATE  # its row still knows


def test_what_is_known_is_what_was_delivered_and_the_row(db: sqlite3.Connection) -> None:
    assert ledger.known(db, "stream") == Known()
    ledger.record(db, start(100), NOW_MS)
    ledger.record(db, start(100, "other"), NOW_MS)
    ledger.record(db, stop(200), NOW_MS + 1)
    ledger.record(db, start(150), NOW_MS + 2)
    delivered = [("started", 100), ("stopped", 200), ("started", 150)]
    assert ledger.known(db, "stream") == Known(
        ledger.find(db, "stream"), tuple(Delivery(f"session.rtms_{what}", at, "a+b/c==") for what, at in delivered)
    )


def test_storing_again_what_is_known_changes_nothing(db: sqlite3.Connection) -> None:
    ledger.record(db, start(100), NOW_MS)
    known = ledger.known(db, "stream")
    changes = db.total_changes
    ledger.store(db, "stream", known, known, NOW_MS)
    assert db.total_changes == changes
