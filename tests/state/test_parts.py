"""Webhooks that are kept for other members: in order, once each, and no more than there is room for; and how far orders
to delete streams are carried out.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import pytest

from rtmsd.errors import StorageError
from rtmsd.state import deliveries, ledger, parts
from tests.state.commands import open_memory, start

Change = Callable[[sqlite3.Connection], object]
ID: Final = "stream-1"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(open_memory()) as db:
        yield db


def test_what_is_kept_comes_back_in_order_and_once(db: sqlite3.Connection) -> None:
    assert parts.keep(db, "s", b"2")
    assert parts.keep(db, "s", b"1")
    assert not parts.keep(db, "s", b"2")
    assert parts.keep(db, "t", b"2")
    assert parts.kept(db) == [b"2", b"1", b"2"]
    parts.forget_kept(db, "s", b"2")
    assert parts.kept(db) == [b"1", b"2"]


def test_more_than_there_is_room_for_is_refused(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_KEPT", 2)
    assert parts.keep(db, "s", b"1")
    assert parts.keep(db, "s", b"2")
    with pytest.raises(StorageError, match="2 webhooks wait"):
        parts.keep(db, "s", b"3")
    assert not parts.keep(db, "s", b"2")  # it is safe


def test_the_last_place_is_remembered(db: sqlite3.Connection) -> None:
    assert parts.revocation_place(db) == 0
    for place in (3, 9):
        parts.revocations_done(db, place)
        assert parts.revocation_place(db) == place


def deliver(db: sqlite3.Connection, *, is_revoked: bool = False) -> None:
    deliveries.finished(db, sinks=["s"], rtms_stream_id=ID, directory="d", now_ms=0)
    if is_revoked:
        deliveries.revoked(db, rtms_stream_id=ID, now_ms=0)


def close(db: sqlite3.Connection, reason: int) -> None:
    ledger.record(db, start(), 0)
    if reason == 8:
        ledger.revoke(db, ID, stopped_ms=5, event_ts=1)
    ledger.close_stream(db, ID, reason=reason, ended_ms=5, event_ts=1, closed_ms=5)


@pytest.mark.parametrize(
    ("change", "is_known"),
    [
        (lambda db: None, False),
        (lambda db: ledger.record(db, start(), 0), True),
        (lambda db: ledger.record(db, start(2), 0), False),
        (lambda db: close(db, 6), True),
        (lambda db: close(db, 8), False),
        (lambda db: parts.keep(db, ID, b"{}"), True),
        (deliver, True),
        (lambda db: deliver(db, is_revoked=True), False),
    ],
)
def test_a_stream_is_known_until_nothing_is_left(db: sqlite3.Connection, change: Change, is_known: bool) -> None:
    change(db)
    assert parts.has_traces(db, ID) is is_known


def test_webhooks_that_wait_for_others_are_forgotten(db: sqlite3.Connection) -> None:
    parts.keep(db, ID, b"1")
    parts.keep(db, "other", b"2")
    parts.forget_commands(db, ID)
    assert parts.kept(db) == [b"2"]


def test_what_was_gathered_is_remembered_for_a_while(db: sqlite3.Connection) -> None:
    parts.note_gathered(db, "old", now_ms=1)
    parts.note_gathered(db, ID, now_ms=2)
    parts.note_gathered(db, ID, now_ms=3)
    assert parts.gathered(db) == {"old": 1, ID: 3}
    parts.note_gathered(db, "other", now_ms=parts.KEEP_GATHERED_MS + 2)
    assert set(parts.gathered(db)) == {ID, "other"}
