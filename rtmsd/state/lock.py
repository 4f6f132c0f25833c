"""One daemon at a time: a lock file that names its holder."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from rtmsd.errors import AlreadyRunningError, StorageError


class LockFile:
    """Held from `acquire` to `release`, or to the end of the process however it ends. The file itself stays."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path, what: str) -> "LockFile":
        """Lock `path`, which is made when missing, with the directory it is in.

        Args:
            what: what the lock protects, for the message to whoever comes second.

        Raises:
            AlreadyRunningError: another process, or this one, holds it.
            StorageError: the file cannot be written.
        """
        try:
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            fd = _open(path)
        except OSError as exc:
            raise StorageError(f"{path}: {exc.strerror}") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise AlreadyRunningError(f"{what} is in use by another rtmsd, process {holder}") from None
        except OSError as exc:
            os.close(fd)
            raise StorageError(f"{path}: {exc.strerror}") from exc
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its holder stays unknown
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return cls(fd)

    def release(self) -> None:
        os.close(self._fd)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        return os.open(path, os.O_RDONLY)  # locks as well, if it is there: a disk may be read-only for a while
