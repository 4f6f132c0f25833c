"""Deletions of recordings under way, which several processes share. Synchronous, within the journal's transactions.

A line stands from before a recording disappears until it has. What a process left behind that died is forgotten with
it: a line without its process would block the stream for ever.
"""

import sqlite3
from collections.abc import Callable


def begin(db: sqlite3.Connection, name: str, process: str, *, name_of: Callable[[str], str]) -> bool:
    """Enter a deletion. Returns False where the stream is not closed, or another process is deleting it.

    Args:
        name: of the recording's directory.
        process: who deletes.
        name_of: the name of a stream's directory.
    """
    unfinished = db.execute("SELECT rtms_stream_id FROM stream WHERE closed_ms IS NULL")
    if any(name_of(rtms_stream_id) == name for (rtms_stream_id,) in unfinished):
        return False
    return db.execute("INSERT OR IGNORE INTO deletion VALUES (?, ?)", (name, process)).rowcount == 1


def end(db: sqlite3.Connection, name: str, process: str) -> None:
    """Take note that the recording is gone, or stays after all."""
    db.execute("DELETE FROM deletion WHERE name = ? AND process = ?", (name, process))


def is_under_way(db: sqlite3.Connection, name: str) -> bool:
    return db.execute("SELECT 1 FROM deletion WHERE name = ?", (name,)).fetchone() is not None


def forget(db: sqlite3.Connection, process: str) -> None:
    """Forget what a dead process was deleting."""
    db.execute("DELETE FROM deletion WHERE process = ?", (process,))


def forget_all(db: sqlite3.Connection) -> None:
    """Forget what processes of an earlier start were deleting."""
    db.execute("DELETE FROM deletion")
