"""Webhooks that are kept for other members: in order, once each, and no more than there is room for."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from rtmsd.errors import StorageError
from rtmsd.state import parts
from tests.state.commands import open_memory


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
