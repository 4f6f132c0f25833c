"""The state file as a file: opened, set aside when damaged, written anew when it was taken away.

Everything here blocks; `journal.py` runs it in a thread.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.errors import StorageError
from rtmsd.state.file.schema import check, migrate, transaction
from rtmsd.state.file.set_aside import FILES, Why, move_aside, remove_containing
from rtmsd.system.lock import LockFile

BUSY_TIMEOUT_S: Final = 5.0  # of a person who looks into the file with sqlite3

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FILE_MODE: Final = 0o640

_Identity: TypeAlias = tuple[int, int]


class DamagedError(StorageError):
    """The file exists, and is not a state file any more."""


@attrs.frozen
class Work:
    """Something to do within a transaction.

    Attributes:
        needs_file: refuse it while the file is not where the next start will look for it.
    """

    do: Callable[[sqlite3.Connection], Any]
    needs_file: bool = False


class Database:
    """Open and locked from `open` to `close`.

    Attributes:
        is_new: there was no file, or an empty one.
        set_aside: where a damaged file was moved at the start; None: it was sound.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: LockFile, *, is_new: bool) -> None:
        self.path = path
        self.is_new = is_new
        self.set_aside: Path | None = None
        self._connection = connection
        self._lock = lock
        self._identities: dict[Path, _Identity] = {}
        self._note_identity()

    @classmethod
    def open(cls, path: Path) -> "Database":
        """Open and lock the file; make it, with its directory, when it is missing.

        Raises:
            AlreadyRunningError: another daemon holds it.
            StorageError: it cannot be read or written, or was written by a newer rtmsd.
        """
        lock = LockFile.acquire(path.with_name(f"{path.name}.lock"), f"state.file: {path}", itself=path)
        set_aside = None
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            try:
                is_new = not path.exists() or path.stat().st_size == 0
                try:
                    connection = _connect(path)
                except DamagedError:
                    set_aside = move_aside(path, Why.DAMAGED)
                    connection = _connect(path)
                    undo.callback(connection.close)
                    lock.follow()
            except (OSError, sqlite3.Error, StorageError) as exc:
                raise StorageError(f"state.file: {path}: {exc}") from exc
            undo.pop_all()
        database = cls(path, connection, lock, is_new=is_new)
        database.set_aside = set_aside
        return database

    def close(self) -> None:
        self._connection.close()
        self._lock.release()

    def run(self, works: Sequence[Work]) -> list[Any]:
        """Do all works in one transaction, and return their results; a StorageError in place of a refused one's.

        Raises:
            StorageError: nothing was done.
        """
        loss = self.loss() if any(work.needs_file for work in works) else None
        try:
            with transaction(self._connection):
                return [
                    StorageError(loss) if loss is not None and work.needs_file else work.do(self._connection)
                    for work in works
                ]
        except sqlite3.Error as exc:
            raise StorageError(f"state.file: {exc}") from exc

    def expunge(self, rtms_stream_id: str) -> list[Path]:
        """Erase a deleted stream from the write-ahead log, and remove set-aside files that contain it.

        Returns:
            The removed files.

        Raises:
            OSError, sqlite3.Error: something is left.
        """
        self._connection.execute("PRAGMA busy_timeout = 0")  # do not wait for a person with sqlite3: webhooks wait
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        return remove_containing(self.path, rtms_stream_id)

    def loss(self) -> str | None:
        """Return why the next start would not find the file; None: it would."""
        for path, identity in self._identities.items():
            found = _identity(path)
            if found is None:
                return f"{path} was removed, moved, or cannot be reached"
            if found != identity:
                return f"{path} was replaced by another file"
        return None

    def write_anew(self) -> None:
        """Write the file anew at its path: SQLite still has the one that was taken away open.

        Another file that is there by now is set aside.

        Raises:
            AlreadyRunningError: another daemon has locked that one.
            StorageError: it cannot be written; nothing is lost, try again.
        """
        path = self.path
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            copy = path.with_name(f"{path.name}.new")
            self._reopen_if_closed(copy)
            for suffix in FILES:
                Path(f"{copy}{suffix}").unlink(missing_ok=True)
            copy.touch(mode=_FILE_MODE)
            self._connection.execute("VACUUM INTO ?", (str(copy),))
            _sync(copy)
            if _identity(path) not in {None, self._identities[path]}:
                self._lock.follow()  # another daemon may be using it
                move_aside(path, Why.REPLACED, beside=())
            # SQLite removes the log by name when it closes: close the old file before the new one is in place.
            self._connection.close()
            self._connection = self._settle(copy)
            self._note_identity()
            self._lock.follow()
        except (OSError, sqlite3.Error) as exc:
            raise StorageError(f"the state file {path} cannot be written anew: {exc}") from exc

    def _settle(self, copy: Path) -> sqlite3.Connection:
        """Rename the copy to the file's name, and open it; where that fails, open it under its own."""
        try:
            for suffix in FILES[1:]:
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            copy.replace(self.path)
            _sync(self.path.parent)
            return _connect(self.path)
        except (OSError, sqlite3.Error):
            self._reopen_if_closed(copy)
            raise

    def _reopen_if_closed(self, copy: Path) -> None:
        try:
            self._connection.execute("SELECT 1")
        except sqlite3.ProgrammingError:
            self._connection = _connect(copy if copy.exists() else self.path)

    def _note_identity(self) -> None:
        paths = (Path(f"{self.path}{suffix}") for suffix in FILES[:2])
        self._identities = {path: found for path in paths if (found := _identity(path)) is not None}


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def probe(db: sqlite3.Connection) -> None:
    """Write without changing anything, to find out whether the disk takes it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=_FILE_MODE)  # SQLite's other files take the same mode
    try:
        return _connect_with(path, locking="NORMAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}:
            raise
        return _connect_with(path, locking="EXCLUSIVE")  # needs no room on a full disk, but excludes sqlite3


def _connect_with(path: Path, *, locking: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute(f"PRAGMA locking_mode = {locking}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")  # a revocation demands that deleted rows are overwritten
        migrate(db)
        _check(db)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise DamagedError(str(error)) from error
        raise
    return db


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
