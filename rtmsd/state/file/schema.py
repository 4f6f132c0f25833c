"""The tables of the state file, and the migration from older versions of them."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Final

from rtmsd.errors import StorageError

LOOK_AGAIN_S: Final = 0.0005  # whether another process still writes

# Each entry leads from the version that is its index to the next. Written once, never changed.
MIGRATIONS: Final[Sequence[Sequence[str]]] = (
    (
        # Accepted events, so that a repeated delivery is recognized.
        """CREATE TABLE delivery (
            event TEXT NOT NULL,
            event_ts INTEGER NOT NULL,
            session_id TEXT NOT NULL,
            rtms_stream_id TEXT NOT NULL,
            received_ms INTEGER NOT NULL,
            PRIMARY KEY (rtms_stream_id, event, event_ts, session_id)
        ) WITHOUT ROWID""",
        # One row a stream: live (stopped_ms is null), stopped, closed (closed_ms is set; then it is a tombstone).
        """CREATE TABLE stream (
            rtms_stream_id TEXT PRIMARY KEY,
            product TEXT NOT NULL,
            id_key TEXT NOT NULL,
            session_id TEXT NOT NULL,
            app TEXT NOT NULL,
            server_urls TEXT,
            started_ms INTEGER,
            event_ts INTEGER NOT NULL,
            stop_reason INTEGER,
            stopped_ms INTEGER,
            closed_ms INTEGER
        ) WITHOUT ROWID""",
        "CREATE INDEX delivery_received ON delivery (received_ms)",
    ),
    (
        # Streams that were lost, or not recorded to their end: see `lost.py`.
        """CREATE TABLE lost_stream (
            rtms_stream_id TEXT NOT NULL,
            loss TEXT NOT NULL,
            product TEXT NOT NULL,
            session_id TEXT NOT NULL,
            session_key TEXT,
            app TEXT NOT NULL,
            event_ts INTEGER NOT NULL,
            first_ms INTEGER NOT NULL,
            last_ms INTEGER NOT NULL,
            times INTEGER NOT NULL,
            why TEXT NOT NULL,
            recorded INTEGER NOT NULL,
            PRIMARY KEY (rtms_stream_id, loss)
        ) WITHOUT ROWID""",
    ),
    (
        # JSON of the started webhook's other fields, until the stream has ended.
        "ALTER TABLE stream ADD COLUMN details TEXT",
    ),
    (
        # What is delivered to sinks: see `deliveries.py`. Ids are never used again.
        """CREATE TABLE sink_delivery (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            sink TEXT NOT NULL,
            rtms_stream_id TEXT NOT NULL,
            event TEXT NOT NULL,
            directory TEXT NOT NULL,
            state TEXT NOT NULL DEFAULT 'waiting',
            runs INTEGER NOT NULL DEFAULT 0,
            tries INTEGER NOT NULL DEFAULT 0,
            created_ms INTEGER NOT NULL,
            due_ms INTEGER NOT NULL,
            began_ms INTEGER,
            ended_ms INTEGER,
            why TEXT,
            output TEXT
        )""",
        "CREATE INDEX sink_delivery_state ON sink_delivery (state, sink, due_ms)",
        "CREATE INDEX sink_delivery_stream ON sink_delivery (rtms_stream_id)",
        """CREATE INDEX sink_delivery_dead_revocation ON sink_delivery (due_ms)
            WHERE state = 'dead' AND event = 'revoked'""",
    ),
    (
        # Directories of recordings that were in use: see `directories.py`.
        "CREATE TABLE directory (path TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
    (
        # Who owns a stream: see `owners.py`. Tokens only grow, and are never used again.
        """CREATE TABLE own (
            token INTEGER PRIMARY KEY AUTOINCREMENT,
            rtms_stream_id TEXT NOT NULL UNIQUE,
            node TEXT NOT NULL,
            incarnation TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            nonce TEXT NOT NULL,
            why TEXT NOT NULL,
            state TEXT NOT NULL,
            version INTEGER NOT NULL,
            more TEXT NOT NULL
        )""",
        # It is forgotten with the stream's tombstone.
        """CREATE TRIGGER own_forgotten AFTER DELETE ON stream
            BEGIN DELETE FROM own WHERE rtms_stream_id = OLD.rtms_stream_id; END""",
    ),
    (
        # Recordings that a process is deleting: see `deletions.py`.
        "CREATE TABLE deletion (name TEXT PRIMARY KEY, process TEXT NOT NULL) WITHOUT ROWID",
    ),
    (
        # Streams of this member of a cluster: see `parts.py`.
        """CREATE TABLE part (
            rtms_stream_id TEXT PRIMARY KEY,
            token INTEGER NOT NULL,
            nonce TEXT NOT NULL,
            is_pending INTEGER NOT NULL
        ) WITHOUT ROWID""",
        # A tombstone stays until the engine knows of it.
        """CREATE TRIGGER part_pending BEFORE DELETE ON stream
            WHEN EXISTS (SELECT 1 FROM part WHERE rtms_stream_id = OLD.rtms_stream_id AND is_pending)
            BEGIN SELECT RAISE(IGNORE); END""",
        """CREATE TRIGGER part_forgotten AFTER DELETE ON stream
            BEGIN DELETE FROM part WHERE rtms_stream_id = OLD.rtms_stream_id; END""",
        # Webhooks of which other members, or the engine, do not know yet.
        """CREATE TABLE kept_command (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            rtms_stream_id TEXT NOT NULL,
            command BLOB NOT NULL,
            is_judged INTEGER NOT NULL
        )""",
        "CREATE INDEX kept_command_stream ON kept_command (rtms_stream_id)",
    ),
    (
        # How far this member has carried out what the engine orders: see `parts.py`.
        "CREATE TABLE revocation_place (place INTEGER NOT NULL)",
        # Parts of this member that are in a joined recording of another's.
        "CREATE TABLE gathered (rtms_stream_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID",
    ),
)

_READS: Final = (
    """SELECT rtms_stream_id, product, id_key, session_id, app, server_urls, started_ms, event_ts, stop_reason,
        stopped_ms, closed_ms, details FROM stream""",
    "SELECT event, event_ts, session_id, rtms_stream_id, received_ms FROM delivery LIMIT 1",
)


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring an open state file to today's version, all steps or none.

    Raises:
        StorageError: the file was written by a newer rtmsd.
        sqlite3.Error: it cannot be read or written, or is not a state file.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise StorageError(
            f"it has version {version}, this rtmsd knows {len(migrations)}: it was written by a newer one"
        )
    if version == len(migrations):
        return
    with transaction(db):
        for step in migrations[version:]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(migrations)}")


def check(db: sqlite3.Connection) -> None:
    """Read from the tables that streams cannot do without.

    Raises:
        sqlite3.OperationalError: these are other tables.
    """
    for statement in _READS:
        db.execute(statement).fetchone()


@contextlib.contextmanager
def transaction(db: sqlite3.Connection, *, takes_turns: bool = False) -> Iterator[None]:
    """Everything inside is on disk when this ends, or, after an exception, nothing is. `db` is in autocommit mode.

    Args:
        takes_turns: with other processes that write often.
    """
    if takes_turns:
        _begin_in_turn(db)
    else:
        db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            db.execute("ROLLBACK")
        raise


def _begin_in_turn(db: sqlite3.Connection) -> None:
    """Begin to write as soon as no other process does, or raise when `busy_timeout` is over.

    SQLite itself looks at longer and longer intervals, up to 100 ms, and who has just come is quicker: of four busy
    processes, one waited 0.7 s.
    """
    (timeout_ms,) = db.execute("PRAGMA busy_timeout").fetchone()
    give_up_s = time.monotonic() + timeout_ms / 1000
    db.execute("PRAGMA busy_timeout = 0")
    try:
        while not _begins(db, is_last=time.monotonic() >= give_up_s):
            time.sleep(LOOK_AGAIN_S)
    finally:
        db.execute(f"PRAGMA busy_timeout = {timeout_ms}")


def _begins(db: sqlite3.Connection, *, is_last: bool) -> bool:
    """Begin to write; False while another process does. Raises sqlite3.Error."""
    try:
        db.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if is_last or error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True
