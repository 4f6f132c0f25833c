"""The state file as a file: opened, shared, set aside when damaged, written anew when it was taken away.

Everything here blocks; `journal.py` runs it in a thread.
"""

import contextlib
import enum
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.errors import StorageError
from rtmsd.state.file.connecting import (
    BUSY_TIMEOUT_S,
    FILE_MODE,
    LEFT_BEHIND,
    DamagedError,
    connect,
    connect_beside,
    generation,
    generation_at,
    set_generation,
)
from rtmsd.state.file.schema import transaction
from rtmsd.state.file.set_aside import FILES, Why, move_aside
from rtmsd.system.lock import LockFile

_LOOK_AGAIN_S: Final = 0.02  # whether the file is there anew


_Identity: TypeAlias = tuple[int, int]


@attrs.frozen
class Work:
    """Something to do within a transaction.

    Attributes:
        needs_file: refuse it while the file is not where the next start will look for it.
    """

    do: Callable[[sqlite3.Connection], Any]
    needs_file: bool = False


class Role(enum.Enum):
    """The part of a process in looking after the file."""

    SOLE = "sole"  # no other process uses it
    PARENT = "parent"  # locks, migrates, repairs and writes anew what its workers use, too
    WORKER = "worker"  # uses what its parent has opened


class Database:
    """Open from `open`, or `join`, to `close`.

    Several processes take turns: a transaction waits for those of the others. When the file is taken away, all of them
    still have it open, and go on in it until the parent writes it anew. It marks the old one then as left behind, so
    that nothing is written there any more; a worker whose transaction finds the mark does its work in the new one.

    Attributes:
        role: of this process.
        is_new: there was no file, or an empty one.
        set_aside: where a damaged file was moved at the start; None: it was sound.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: LockFile, role: Role) -> None:
        self.path = path
        self.role = role
        self.is_new = False
        self.set_aside: Path | None = None
        self._connection = connection
        self._generation = generation(connection)
        self._lock = lock
        self._identities: dict[Path, _Identity] = {}
        self._note_identity()

    @classmethod
    def open(cls, path: Path, role: Role = Role.SOLE) -> "Database":
        """Open and lock the file; make it, with its directory, when it is missing.

        Raises:
            AlreadyRunningError: another daemon holds it.
            StorageError: it cannot be read or written, or was written by a newer rtmsd.
        """
        lock = LockFile.acquire(*_lock_of(path), itself=path)
        is_shared = role is not Role.SOLE
        set_aside = None
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            try:
                is_new = not path.exists() or path.stat().st_size == 0
                try:
                    connection = connect(path, is_shared=is_shared)
                except DamagedError:
                    set_aside = move_aside(path, Why.DAMAGED)
                    connection = connect(path, is_shared=is_shared)
                    undo.callback(connection.close)
                    lock.follow()
                if is_shared and generation(connection) <= 0:  # of an older rtmsd, or left behind
                    set_generation(connection, 1)
            except (OSError, sqlite3.Error, StorageError) as exc:
                raise StorageError(f"state.file: {path}: {exc}") from exc
            undo.pop_all()
        database = cls(path, connection, lock, role)
        database.is_new, database.set_aside = is_new, set_aside
        return database

    @classmethod
    def join(cls, path: Path, descriptors: Sequence[int]) -> "Database":
        """Open, as a worker, the file that the parent has open and locked.

        Args:
            descriptors: `lock_descriptors` of the parent, inherited from it.

        Raises:
            StorageError: it cannot be read or written, or is not at its path; the parent will write it anew.
        """
        lock = LockFile.inherited(*_lock_of(path), descriptors, itself=path)
        try:
            _check_there(path, lock)
            return cls(path, connect_beside(path), lock, Role.WORKER)
        except (OSError, sqlite3.Error, StorageError) as exc:
            lock.release()
            raise StorageError(f"state.file: {path}: {exc}") from exc

    @property
    def lock_descriptors(self) -> Sequence[int]:
        """What a worker has to inherit, for `join`; other ones after the file was written anew."""
        return self._lock.descriptors

    def close(self) -> None:
        self._connection.close()
        self._lock.release()

    def run(self, works: Sequence[Work]) -> list[Any]:
        """Do all works in one transaction, and return their results; a StorageError in place of a refused one's.

        Raises:
            StorageError: nothing was done.
        """
        try:
            while True:
                with transaction(self._connection, takes_turns=self.role is not Role.SOLE):
                    if not self._is_left_behind():
                        loss = self._loss() if any(work.needs_file for work in works) else None
                        return [
                            StorageError(loss) if loss is not None and work.needs_file else work.do(self._connection)
                            for work in works
                        ]
                self._follow()
        except sqlite3.Error as exc:
            raise StorageError(f"state.file: {exc}") from exc

    def truncate_log(self) -> bool:
        """Overwrite what was deleted in the write-ahead log. Returns whether it was: not while another process reads.

        Raises:
            sqlite3.Error: the disk refuses.
        """
        self._connection.execute("PRAGMA busy_timeout = 0")  # do not wait for a person with sqlite3: webhooks wait
        try:
            is_busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        return not is_busy

    def loss(self) -> str | None:
        """Return why the next start would not find the file; None: it would."""
        try:
            if self._is_left_behind():
                self._follow(wait_s=0)
        except (sqlite3.Error, StorageError) as exc:
            return str(exc)
        return self._loss()

    def _loss(self) -> str | None:
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
        path, old = self.path, self._connection
        with contextlib.ExitStack() as undo:
            try:
                path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
                if self.role is Role.PARENT:  # from now on its workers wait
                    undo.callback(_unless_broken, set_generation, old, self._generation)
                    set_generation(old, LEFT_BEHIND)
                copy = self._copy(self._generation + 1)
                if _identity(path) not in {None, self._identities[path]}:
                    self._lock.follow()  # another daemon may be using it
                    move_aside(path, Why.REPLACED, beside=())
                for suffix in FILES[1:]:
                    Path(f"{path}{suffix}").unlink(missing_ok=True)
                copy.replace(path)
                _sync(path.parent)
                new = connect(path, is_shared=self.role is Role.PARENT)
            except (OSError, sqlite3.Error) as exc:
                raise StorageError(f"the state file {path} cannot be written anew: {exc}") from exc
            undo.pop_all()
        self._use(new)
        self._lock.follow()

    def _copy(self, number: int) -> Path:
        """Write what the file has to another one beside it, which is of the next generation."""
        copy = self.path.with_name(f"{self.path.name}.new")
        for suffix in FILES:
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
        copy.touch(mode=FILE_MODE)
        self._connection.execute("VACUUM INTO ?", (str(copy),))
        with contextlib.closing(connect(copy, is_shared=False)) as db:
            set_generation(db, number)
        _sync(copy)
        return copy

    def _is_left_behind(self) -> bool:
        """Whether the parent has begun to write the file anew, or has done so."""
        return self.role is Role.WORKER and generation(self._connection) != self._generation

    def _follow(self, wait_s: float = BUSY_TIMEOUT_S) -> None:
        """Use the file that the parent writes in place of the one that is left behind, once it is there.

        Raises:
            StorageError: it is not.
        """
        give_up_s = time.monotonic() + wait_s
        while self._is_left_behind():
            why = "the one at its path is another"
            try:
                if generation_at(self.path) > self._generation:
                    self._use(connect_beside(self.path))
                    return
            except (OSError, sqlite3.Error, StorageError) as exc:
                why = str(exc)
            if time.monotonic() >= give_up_s:
                raise StorageError(f"the state file {self.path} is being written anew: {why}")
            time.sleep(_LOOK_AGAIN_S)

    def _use(self, connection: sqlite3.Connection) -> None:
        """Go on in another file. SQLite, as it closes the old one, leaves alone the log that is not its own by now."""
        old, self._connection = self._connection, connection
        self._generation = generation(connection)
        self._note_identity()
        old.close()

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


def _check_there(path: Path, lock: LockFile) -> None:
    """Check that the file that the parent has open is at its path, with its log.

    Raises:
        StorageError: it is not.
    """
    if not (lock.is_at_path and Path(f"{path}-wal").exists()):
        raise StorageError("it was taken away, and will be written anew")


def _unless_broken(do: Callable[..., object], *args: object) -> None:
    with contextlib.suppress(sqlite3.Error):
        do(*args)


def _lock_of(path: Path) -> tuple[Path, str]:
    """Return the lock file, and what it protects."""
    return path.with_name(f"{path.name}.lock"), f"state.file: {path}"
