"""The lock that keeps a second daemon out, and the lock file that names its holder.

The lock that counts is on the directory, or file, itself: deleting the lock file admits no second daemon. The lock file
is locked too, since older versions know only that one.

The kernel ties such a lock to the open file, not to the process: it holds as long as any process has a descriptor that
was inherited from the one that took it.
"""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rtmsd.errors import AlreadyRunningError, StorageError

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF})
"""The errors of file systems that cannot lock a directory (NFS): there the lock file has to do."""

_held: Final[set[tuple[int, int]]] = set()


def is_ours(descriptor: int) -> bool:
    """Whether this process holds the lock on a directory."""
    return _identity(descriptor) in _held


class LockFile:
    """Held from `acquire` to `release`, or to the end of the process however it ends. The file itself stays."""

    def __init__(self, path: Path, what: str, itself: Path | None, descriptors: list[int]) -> None:
        self._path = path
        self._what = what
        self._itself = itself
        self._descriptors = descriptors
        self._locked = _identity(descriptors[0])
        _held.add(self._locked)

    @classmethod
    def acquire(cls, path: Path, what: str, *, itself: Path | None = None) -> "LockFile":
        """Lock `path`, made when missing, and what it protects. It may not be a link; it is written once locked.

        Args:
            what: the protected thing as the configuration names it, for the error of whoever comes second.
            itself: the protected file, made when missing; by default the directory that `path` is in.

        Raises:
            AlreadyRunningError: another process, or this one, holds it.
            StorageError: it cannot be locked.
        """
        descriptors = _take(path, what, itself)
        if os.fstat(descriptors[1]).st_nlink == 1:  # else it is another file as well
            with contextlib.suppress(OSError):  # a full disk: the lock holds, its holder stays unnamed
                os.ftruncate(descriptors[1], 0)
                os.pwrite(descriptors[1], b"%d\n" % os.getpid(), 0)
        return cls(path, what, itself, descriptors)

    @classmethod
    def inherited(cls, path: Path, what: str, descriptors: Sequence[int], *, itself: Path | None = None) -> "LockFile":
        """Take part in a lock that another process acquired. It holds until all that take part have released it.

        Args:
            descriptors: what `descriptors` was there; this process does not pass them on to programs that it starts.

        Raises:
            StorageError: they are not open here.
        """
        try:
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            return cls(path, what, itself, list(descriptors))
        except OSError as exc:
            raise StorageError(f"{what} cannot be locked: an inherited descriptor is not open: {exc.strerror}") from exc

    @property
    def descriptors(self) -> Sequence[int]:
        """What a process has to inherit to take part in this lock."""
        return tuple(self._descriptors)

    @property
    def is_at_path(self) -> bool:
        """Whether what is locked is still at its path."""
        try:
            return _identity(self._path.parent if self._itself is None else self._itself) == self._locked
        except OSError:
            return False

    def follow(self) -> bool:
        """Lock what is at the path now, if the locked one was moved away and made anew. Returns whether it was.

        Raises:
            AlreadyRunningError: another process has locked it.
            StorageError: it cannot be locked.
        """
        if self.is_at_path:
            return False
        if self._has_lock_file:  # stays locked all the while, so that nobody comes in between
            new = _take(self._path, self._what, self._itself, self._descriptors[1])
            os.close(self._descriptors[0])
            _held.discard(self._locked)
            self._descriptors, self._locked = new, _identity(new[0])
            _held.add(self._locked)
            return True
        other = self.acquire(self._path, self._what, itself=self._itself)
        self.release()
        self._descriptors, self._locked = other._descriptors, other._locked
        return True

    @property
    def _has_lock_file(self) -> bool:
        """Whether the held lock file is still at its path."""
        try:
            return _identity(self._path) == _identity(self._descriptors[1])
        except OSError:
            return False

    def release(self) -> None:
        _held.discard(self._locked)
        _close(self._descriptors)


def _take(path: Path, what: str, itself: Path | None, lock_file: int | None = None) -> list[int]:
    """Open and lock as `LockFile.acquire` says; `lock_file` is locked already."""
    descriptors: list[int] = []
    with contextlib.ExitStack() as undo:
        undo.callback(_close, descriptors)
        taken = 0
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            descriptors.append(_open_itself(path.parent if itself is None else itself))
            if lock_file is None:
                descriptors.append(_open(path))
            for taken in descriptors:
                _lock(taken)
        except BlockingIOError:
            holder = _holder(taken, descriptors[1] if lock_file is None else lock_file)
            raise AlreadyRunningError(f"{what} is in use by another rtmsd, process {holder}") from None
        except OSError as exc:
            why = "is a symbolic link" if exc.errno == errno.ELOOP else exc.strerror
            raise StorageError(f"{what} cannot be locked: {exc.filename or path}: {why}") from exc
        undo.pop_all()
    return descriptors if lock_file is None else [*descriptors, lock_file]


def _identity(file: int | Path) -> tuple[int, int]:
    known = os.fstat(file) if isinstance(file, int) else file.stat()
    return known.st_dev, known.st_ino


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _open_itself(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _open(path: Path) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o640)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        descriptor = os.open(path, os.O_RDONLY | flags)  # can be locked, too: a disk may become read-only
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno not in _NO_LOCKS or stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise


def _holder(taken: int, lock_file: int) -> str:
    """Return the process that holds a lock; the kernel knows it even when the lock file was deleted.

    The one that took the lock comes first. Where it is dead, another has inherited the lock from it.
    """
    named = [*_named_by_kernel(taken), *_named_in(lock_file)]
    living = (pid for pid in named if Path("/proc", pid).exists())
    return next(living, None) or next(_inheritors(taken), None) or next(iter(named), "unknown")


def _named_by_kernel(taken: int) -> Iterator[str]:
    inode = str(os.fstat(taken).st_ino)
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # 1: FLOCK  ADVISORY  WRITE 4711 08:02:131090 0 EOF
            if words[1] == "FLOCK" and words[5].rpartition(":")[2] == inode and words[4] != "0":
                yield words[4]


def _named_in(lock_file: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        if pid := os.pread(lock_file, 20, 0).decode(errors="replace").strip():
            yield pid


def _inheritors(taken: int) -> Iterator[str]:
    """Yield the processes through whose descriptors a file is locked, as far as this user may look into them."""
    identity = _identity(taken)
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    info = process / "fdinfo" / descriptor.name
                    if _identity(descriptor) == identity and "FLOCK" in info.read_text():
                        yield process.name
