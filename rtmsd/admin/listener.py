"""Where the admin server listens: a path taken without pushing a live daemon off it, and the port for metrics.

Also who connects.
"""

import fcntl
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

from rtmsd.admin.messages import Caller
from rtmsd.config import why_not_bound
from rtmsd.errors import AlreadyRunningError, ListenError
from rtmsd.system.lock import is_ours
from rtmsd.system.socket_holders import holder_of_socket

SOCKET_MODE: Final = 0o660
BACKLOG: Final = 128
_UCRED: Final = struct.Struct("3i")  # pid, uid, gid


def caller_of(stream: trio.SocketStream) -> Caller:
    """Who connected, from the kernel: it cannot be forged, and holds even when the process is already gone."""
    pid, uid, _gid = _UCRED.unpack(stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Caller(pid=pid, uid=uid)


@contextmanager
def open_admin_socket(path: Path) -> Iterator[trio.SocketListener]:
    """Listen on `path`, mode 0660; the file is removed at the end if it is still ours.

    A socket file on which nobody answers is left over from a killed daemon, and replaced.

    Raises:
        AlreadyRunningError: somebody answers on it, or another daemon is taking it at this moment.
        ListenError: another kind of file is there, or for whatever else the system has against it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with sock:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _directory_lock(path):
                _remove_stale(path)
                # On Linux the file takes the socket's own mode less the umask: it is at no instant open to others.
                os.fchmod(sock.fileno(), SOCKET_MODE)
                sock.bind(os.fspath(path))
                path.chmod(SOCKET_MODE)
                sock.listen(BACKLOG)
                ours = _identity(path)
        except OSError as exc:
            raise ListenError(f"admin.socket: cannot listen on {path}: {exc.strerror or exc}") from exc
        try:
            yield trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        finally:
            if _identity(path) == ours:
                path.unlink(missing_ok=True)


def inherited_admin_socket(fd: int) -> trio.SocketListener:
    """The listening socket that systemd passed as `fd`. Its file belongs to systemd and is never removed.

    Raises:
        ListenError: it is not a listening Unix stream socket.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        raise ListenError(f"admin.socket: the inherited descriptor {fd} is no socket: {exc.strerror}") from exc
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or not listening:
        sock.detach()  # not ours to close: we do not know what it is
        raise ListenError(f"admin.socket: the inherited descriptor {fd} is no listening Unix stream socket")
    sock.set_inheritable(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def open_metrics_port(listen: str) -> list[trio.SocketListener]:
    """Listen on "host:port", where a name may stand for several addresses.

    Raises:
        ListenError: for whatever the system has against it.
    """
    host, _, port = listen.rpartition(":")
    try:
        return await trio.open_tcp_listeners(int(port), host=host.strip("[]"))
    except OSError as exc:
        raise ListenError(f"admin.metrics_listen: {why_not_bound(listen, exc)}") from exc


@contextmanager
def _directory_lock(path: Path) -> Iterator[None]:
    """Keep two daemons that start together from both finding the file stale; held for one bind, and no file is left."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            if not is_ours(directory):  # the recording directory, it may be: then nobody else is let in anyway
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunningError(f"admin.socket: another process is starting on {path}") from exc
        yield
    finally:
        os.close(directory)


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"admin.socket: {path} exists and is no socket: move it away, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a Unix connect is decided at once; EAGAIN is a full backlog, so somebody lives
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise AlreadyRunningError(f"admin.socket: {holder_of_socket(path) or 'another daemon'} answers on {path}")


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Which file this is; inode numbers are used again at once, the time of creation is not."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
