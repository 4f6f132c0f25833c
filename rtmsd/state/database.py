"""The state file as a file: opened, set aside when it is damaged, and written anew when somebody took it away.

Everything here blocks; `journal.py` runs it in a thread.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.errors import StorageError
from rtmsd.state import ledger
from rtmsd.state.ledger import StreamRow
from rtmsd.state.schema import migrate, transaction
from rtmsd.system.lock import LockFile

BUSY_TIMEOUT_S: Final = 5.0  # of a person who looks into the file with sqlite3

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BESIDE: Final = ("", "-wal", "-shm")  # the file, and what SQLite keeps beside it
_FILE_MODE: Final = 0o640
_PIECE_BYTES: Final = 2**20

_Identity: TypeAlias = tuple[int, int]


class DamagedError(StorageError):
    """The file is there, and is no state file any more."""


@attrs.frozen
class Work:
    """Something to do within a transaction.

    Attributes:
        needs_file: it is refused while the file is not where the next start would look for it.
    """

    do: Callable[[sqlite3.Connection], Any]
    needs_file: bool = False


class Database:
    """Open and locked from `open` to `close`.

    Attributes:
        is_new: there was no file, or an empty one.
        set_aside: where a damaged file was moved to at the start; None: it was well.
        salvaged: the streams that could be read from that.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: LockFile, *, is_new: bool) -> None:
        self.path = path
        self.is_new = is_new
        self.set_aside: Path | None = None
        self.salvaged: list[StreamRow] = []
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
        lock = _lock(path)
        set_aside, salvaged = None, []
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            try:
                is_new = not path.exists() or path.stat().st_size == 0
                try:
                    connection = _connect(path)
                except DamagedError:
                    set_aside = _move_aside(path, "damaged")
                    salvaged = _salvage(set_aside)
                    connection = _connect(path)
                    undo.callback(connection.close)
                    lock.follow()
            except (OSError, sqlite3.Error, StorageError) as exc:
                raise StorageError(f"state.file: {path}: {exc}") from exc
            undo.pop_all()
        database = cls(path, connection, lock, is_new=is_new)
        database.set_aside, database.salvaged = set_aside, salvaged
        return database

    def close(self) -> None:
        self._connection.close()
        self._lock.release()

    def run(self, works: Sequence[Work]) -> list[Any]:
        """Do all works in one transaction, and return their results; in place of one that is refused, a StorageError.

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
            raise StorageError(f"the state file: {exc}") from exc

    def expunge(self, rtms_stream_id: str) -> list[Path]:
        """Leave nothing on disk of what was deleted of a stream: nothing in the log, and no set-aside file of it.

        Returns:
            The files that were removed.

        Raises:
            OSError, sqlite3.Error: something is left.
        """
        self._connection.execute("PRAGMA busy_timeout = 0")  # of a person who looks in: webhooks wait for us
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        needle, removed = rtms_stream_id.encode(), []
        for aside in [path for why in ("damaged", "replaced") for path in self.path.parent.glob(f"*.{why}-*")]:
            if not aside.name.startswith(f"{self.path.name}.") or aside.name.endswith(_BESIDE[1:]):
                continue
            group = [path for suffix in _BESIDE if (path := Path(f"{aside}{suffix}")).is_file()]
            if any(_holds(path, needle) for path in group):
                for path in group:
                    path.unlink(missing_ok=True)
                removed.append(aside)
        return removed

    def loss(self) -> str | None:
        """Return why the next start would not find what is recorded; None: it would."""
        for path, identity in self._identities.items():
            found = _identity(path)
            if found is None:
                return f"{path} was removed, moved, or cannot be reached"
            if found != identity:
                return f"{path} was replaced by another file"
        return None

    def write_anew(self) -> None:
        """Put a file where it belongs, with all that is recorded: SQLite still has the one that was taken away.

        What stands there by now is set aside.

        Raises:
            AlreadyRunningError: another daemon has made itself at home there.
            StorageError: it cannot be written; nothing is lost, try again.
        """
        path = self.path
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            copy = path.with_name(f"{path.name}.new")
            self._reopen_if_closed(copy)
            for suffix in _BESIDE:
                Path(f"{copy}{suffix}").unlink(missing_ok=True)
            copy.touch(mode=_FILE_MODE)
            self._connection.execute("VACUUM INTO ?", (str(copy),))
            _sync(copy)
            if _identity(path) not in {None, self._identities[path]}:
                self._lock.follow()  # whoever put it there may be at work with it
                _move_aside(path, "replaced", beside=())
            # SQLite removes the log by its name when it closes, so that the old must be closed before the new is there.
            self._connection.close()
            self._connection = self._settle(copy)
            self._note_identity()
            self._lock.follow()
        except (OSError, sqlite3.Error) as exc:
            raise StorageError(f"the state file {path} cannot be written anew: {exc}") from exc

    def _settle(self, copy: Path) -> sqlite3.Connection:
        """Rename the copy to what it is to be, and open it; where that fails, open it as it is."""
        try:
            for suffix in _BESIDE[1:]:
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
        paths = (Path(f"{self.path}{suffix}") for suffix in _BESIDE[:2])
        self._identities = {path: found for path in paths if (found := _identity(path)) is not None}


def _lock(path: Path) -> LockFile:
    return LockFile.acquire(path.with_name(f"{path.name}.lock"), f"state.file: {path}", itself=path)


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _holds(path: Path, needle: bytes) -> bool:
    with path.open("rb") as file:
        before = b""
        while piece := file.read(_PIECE_BYTES):
            if needle in before + piece:
                return True
            before = piece[-len(needle) :]
    return False


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=_FILE_MODE)  # SQLite's other files take after it
    try:
        return _connect_with(path, locking="NORMAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}:
            raise
        return _connect_with(path, locking="EXCLUSIVE")  # needs no room on a full disk, but lets nobody else look in


def _connect_with(path: Path, *, locking: str) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.execute(f"PRAGMA locking_mode = {locking}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: a revocation demands it
        migrate(db)
        _check(db)
    except BaseException as error:
        db.close()
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise DamagedError(str(error)) from error
        raise
    return db


def _check(db: sqlite3.Connection) -> None:
    """Look whether the file holds together.

    Raises:
        DamagedError: it does not.
    """
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(str(found))
    try:
        ledger.check(db)
    except (sqlite3.OperationalError, TypeError) as error:
        raise DamagedError(f"its tables are not those of a state file: {error}") from error


def _move_aside(path: Path, why: str, beside: Sequence[str] = _BESIDE[1:]) -> Path:
    """Rename a file, with what SQLite keeps beside it if that is its own, and return its new name."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (path.with_name(f"{path.name}.{why}-{now}{number}") for number in ("", *(f"-{n}" for n in range(2, 1000))))
    aside = next(name for name in names if not os.path.lexists(name))
    path.rename(aside)
    for suffix in beside:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def _salvage(damaged: Path) -> list[StreamRow]:
    """Return the streams that can still be read, from a copy: what was set aside stays as it is."""
    copy = damaged.with_name(f"{damaged.name}.copy")
    try:
        for suffix in _BESIDE[:2]:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(f"{damaged}{suffix}", f"{copy}{suffix}")
        return list(_readable(copy))
    except OSError:
        return []
    finally:
        for suffix in _BESIDE:
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


def _readable(path: Path) -> Iterator[StreamRow]:
    with contextlib.suppress(sqlite3.Error, TypeError), contextlib.closing(sqlite3.connect(path)) as db:
        db.row_factory = sqlite3.Row
        yield from ledger.readable(db)
