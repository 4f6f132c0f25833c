"""The migration of older tables."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from rtmsd.errors import StorageError
from rtmsd.state.file.schema import MIGRATIONS, migrate, transaction

FIRST = ("CREATE TABLE thing (name TEXT)",)
SECOND = ("ALTER TABLE thing ADD COLUMN size INTEGER", "UPDATE thing SET size = length(name)")
BROKEN = ("ALTER TABLE thing ADD COLUMN colour TEXT", "UPDATE nothing SET x = 1")


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        yield db


def version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_an_old_file_is_upgraded_with_its_rows(db: sqlite3.Connection) -> None:
    migrate(db, [FIRST])
    db.execute("INSERT INTO thing VALUES ('abc')")
    migrate(db, [FIRST, SECOND])
    assert db.execute("SELECT * FROM thing").fetchall() == [("abc", 3)]
    assert version(db) == 2
    migrate(db, [FIRST, SECOND])  # nothing twice
    assert version(db) == 2


def test_a_new_file_takes_all_steps(db: sqlite3.Connection) -> None:
    migrate(db)
    assert version(db) == len(MIGRATIONS)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {
        "delivery",
        "stream",
        "lost_stream",
        "sink_delivery",
        "sqlite_sequence",
        "directory",
        "own",
        "deletion",
        "part",
        "kept_command",
        "revocation_place",
        "gathered",
    }


def test_an_upgrade_that_fails_changes_nothing(db: sqlite3.Connection) -> None:
    migrate(db, [FIRST])
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        migrate(db, [FIRST, SECOND, BROKEN])
    assert version(db) == 1
    assert [column[1] for column in db.execute("PRAGMA table_info(thing)")] == ["name"]
    migrate(db, [FIRST, SECOND])
    assert version(db) == 2


def test_a_newer_file_is_refused(db: sqlite3.Connection) -> None:
    migrate(db, [FIRST, SECOND])
    with pytest.raises(StorageError, match="version 2, this rtmsd knows 1"):
        migrate(db, [FIRST])


def test_a_transaction_is_all_or_nothing(db: sqlite3.Connection) -> None:
    migrate(db, [FIRST])
    with pytest.raises(ZeroDivisionError), transaction(db):
        db.execute("INSERT INTO thing VALUES ('abc')")
        raise ZeroDivisionError
    assert not db.in_transaction
    assert db.execute("SELECT * FROM thing").fetchall() == []


def test_a_writer_waits_for_its_turn_within_its_limit(tmp_path: Path) -> None:
    def wait_and_write() -> None:
        with transaction(second, takes_turns=True):
            second.execute("INSERT INTO thing VALUES ('b')")

    path = tmp_path / "db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as first,
        closing(sqlite3.connect(path, isolation_level=None, timeout=0.05, check_same_thread=False)) as second,
        ThreadPoolExecutor() as pool,
    ):
        migrate(first, [FIRST])
        with transaction(first):
            first.execute("INSERT INTO thing VALUES ('a')")
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                wait_and_write()
            second.execute("PRAGMA busy_timeout = 30000")
            waiting = pool.submit(wait_and_write)
            with pytest.raises(TimeoutError):
                waiting.result(0.2)
        waiting.result(30)
        assert first.execute("SELECT name FROM thing").fetchall() == [("a",), ("b",)]
        assert second.execute("PRAGMA busy_timeout").fetchall() == [(30000,)]
