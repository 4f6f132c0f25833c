"""The directories of recordings that were in use, so that what is in them is not forgotten with the configuration."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path


def known(db: sqlite3.Connection) -> list[Path]:
    return [Path(path) for (path,) in db.execute("SELECT path FROM directory ORDER BY path")]


def remember(db: sqlite3.Connection, directories: Iterable[Path]) -> None:
    """Know these, and no others."""
    db.execute("DELETE FROM directory")
    db.executemany("INSERT OR IGNORE INTO directory VALUES (?)", [(str(each),) for each in directories])
