"""Connections to the state file: checked and migrated, or beside those of another process. Blocks."""

import os
import sqlite3
from pathlib import Path
from typing import Final

from rtmsd.errors import StorageError
from rtmsd.state.file.schema import MIGRATIONS, check, migrate

BUSY_TIMEOUT_S: Final = 5.0  # of another process, or a person who looks into the file with sqlite3
FILE_MODE: Final = 0o640
LEFT_BEHIND: Final = -1
"""The generation of a file that is being written anew at its path, or was: nothing is to be written to it."""

_APPLICATION_ID_AT: Final = 68  # in the file's header
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class DamagedError(StorageError):
    """The file exists, and is not a state file any more."""


def connect(path: Path, *, is_shared: bool) -> sqlite3.Connection:
    """Open a file, made when missing, check it, and bring it to today's version.

    Args:
        is_shared: with other processes.

    Raises:
        DamagedError: it is no state file.
        StorageError: it was written by a newer rtmsd.
        OSError, sqlite3.Error: it cannot be read or written.
    """
    path.touch(mode=FILE_MODE)  # SQLite's other files take the same mode
    try:
        return _connect_with(path, locking="NORMAL")
    except sqlite3.OperationalError as error:
        if is_shared or error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}:
            raise
        return _connect_with(path, locking="EXCLUSIVE")  # needs no room on a full disk, but excludes all others


def _connect_with(path: Path, *, locking: str) -> sqlite3.Connection:
    db = _open(path)
    try:
        db.execute(f"PRAGMA locking_mode = {locking}")
        db.execute("PRAGMA journal_mode = WAL")
        _be_safe(db)
        migrate(db)
        _check(db)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise DamagedError(str(error)) from error
        raise
    return db


def connect_beside(path: Path) -> sqlite3.Connection:
    """Open a file that another process has opened before, and of which it is known that it is that one.

    With another file SQLite would take the log at the path for its own, and ruin both.

    Raises:
        sqlite3.Error, StorageError: it is not as expected.
    """
    db = _open(f"{path.absolute().as_uri()}?mode=rw", uri=True)
    try:
        _be_safe(db)
        _check_version(db)
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: sqlite3.Connection) -> None:
    """Raises StorageError."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != len(MIGRATIONS):
        raise StorageError(f"it has version {version}, this rtmsd has {len(MIGRATIONS)}: restart the daemon")


def _open(name: Path | str, *, uri: bool = False) -> sqlite3.Connection:
    db = sqlite3.connect(name, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, uri=uri)
    db.row_factory = sqlite3.Row
    return db


def _be_safe(db: sqlite3.Connection) -> None:
    """Have each commit synced, and deleted rows overwritten, as a revocation demands."""
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA secure_delete = ON")


def _check(db: sqlite3.Connection) -> None:
    """Check the integrity of the file.

    Raises:
        DamagedError: it is damaged.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(str(found))
    try:
        check(db)
    except sqlite3.OperationalError as error:
        raise DamagedError(f"its tables are not those of a state file: {error}") from error


def generation(db: sqlite3.Connection) -> int:
    """Return how often the file was written anew, from 1; `LEFT_BEHIND`; or 0: by an rtmsd that did not count."""
    (number,) = db.execute("PRAGMA application_id").fetchone()
    return int(number)


def set_generation(db: sqlite3.Connection, number: int) -> None:
    db.execute(f"PRAGMA application_id = {number}")


def generation_at(path: Path) -> int:
    """Return the generation of a file that no connection of this process has open, without SQLite.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return int.from_bytes(os.pread(file.fileno(), 4, _APPLICATION_ID_AT), signed=True)
