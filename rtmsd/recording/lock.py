"""One daemon to a recording directory. The lock goes with the process, however that ends."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from rtmsd.errors import AlreadyRunningError, StorageError
from rtmsd.recording.disk import DIRECTORY_MODE, FILE_MODE


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Hold the lock of a recording directory, which is made if it is not there.

    Raises:
        AlreadyRunningError: another process has it, by its pid.
        StorageError: the directory cannot be used.
    """
    path = directory / ".lock"
    try:
        directory.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise AlreadyRunningError(f"{directory} is held by another daemon, process {holder}") from None
        with contextlib.suppress(OSError):  # a full disk: the lock holds, only its holder stays unknown
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
