"""The admin socket, its file, and the identity of who connects."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from rtmsd.admin.messages import Caller
from rtmsd.errors import ListenError
from rtmsd.http.listening import credentials, inherited, open_unix

KEY: Final = "admin.socket"
SOCKET_MODE: Final = 0o660
BACKLOG: Final = 128


def caller_of(stream: trio.SocketStream) -> Caller:
    """Return who connected."""
    pid, uid = credentials(stream)
    return Caller(pid=pid, uid=uid)


@contextmanager
def open_admin_socket(path: Path) -> Iterator[trio.SocketListener]:
    """Listen on `path`, whose directory is made when missing; remove the file at the end if it is still ours.

    Raises:
        AlreadyRunningError, ListenError: as `open_unix`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ListenError(f"{KEY}: cannot make the directory of {path}: {exc.strerror}") from exc
    listener = open_unix(KEY, path, mode=SOCKET_MODE, backlog=BACKLOG)
    ours = _identity(path)
    try:
        yield listener
    finally:
        listener.socket.close()
        if _identity(path) == ours:
            path.unlink(missing_ok=True)


def inherited_admin_socket(fd: int) -> trio.SocketListener:
    """Return the admin socket that systemd passed.

    Raises:
        ListenError: it is not a listening Unix stream socket.
    """
    return inherited(KEY, fd, socket.AF_UNIX)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Return what identifies a file: inode numbers are used again at once, the time of creation is not."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
