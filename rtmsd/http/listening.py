"""Listening sockets of both doors: TCP ports, Unix sockets, and sockets passed by systemd.

A Unix socket file that nobody answers on is left over from a killed daemon, and replaced; a live one never is. Errors
begin with the configuration key.
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

from rtmsd.config import why_not_bound
from rtmsd.errors import AlreadyRunningError, ListenError
from rtmsd.system.lock import is_ours
from rtmsd.system.socket_holders import holder_of_socket

_UCRED: Final = struct.Struct("3i")  # pid, uid, gid


async def open_tcp(key: str, listen: str, backlog: int | None = None) -> list[trio.SocketListener]:
    """Listen on "host:port" or "[address]:port"; a name may stand for several addresses.

    Raises:
        ListenError: with the cause.
    """
    host, _, port = listen.rpartition(":")
    try:
        return await trio.open_tcp_listeners(int(port), host=host.strip("[]"), backlog=backlog)
    except (OSError, ValueError) as exc:
        raise ListenError(f"{key}: {why_not_bound(listen, exc)}") from exc


def open_unix(key: str, path: Path, *, mode: int, backlog: int) -> trio.SocketListener:
    """Listen on a Unix socket with these permissions. Its file stays when the listener is closed.

    Raises:
        AlreadyRunningError: a process answers on it, or is binding it at this moment.
        ListenError: another kind of file is there, or the system refused.
    """
    try:
        with _directory_lock(key, path):
            _remove_stale(key, path)
            return _bind(path, mode, backlog)
    except OSError as exc:
        raise _not_bound(key, path, exc) from exc


def replace_unix(key: str, path: Path, *, mode: int, backlog: int) -> trio.SocketListener:
    """Listen on a Unix socket that no other process may listen on by now: a file that is there is left over.

    Raises:
        ListenError: the system refused.
    """
    try:
        path.unlink(missing_ok=True)
        return _bind(path, mode, backlog)
    except OSError as exc:
        raise _not_bound(key, path, exc) from exc


def inherited(key: str, fd: int, family: socket.AddressFamily | None = None) -> trio.SocketListener:
    """Return the listening socket that systemd passed as `fd`. A Unix socket's file is systemd's to remove.

    Raises:
        ListenError: it is not a listening stream socket, or not of the required family.
    """
    try:
        sock = socket.socket(fileno=fd)
    except OSError as exc:
        raise ListenError(f"{key}: inherited descriptor {fd} is not a socket: {exc.strerror}") from exc
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != (family or sock.family) or sock.type != socket.SOCK_STREAM or not listening:
        sock.detach()  # not ours to close: its purpose is unknown
        unix = "Unix " if family == socket.AF_UNIX else ""
        raise ListenError(f"{key}: inherited descriptor {fd} is not a listening {unix}stream socket")
    sock.set_inheritable(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def address_of(listener: trio.SocketListener) -> str:
    """Return the bound address, as the configuration would spell it."""
    name = listener.socket.getsockname()
    if listener.socket.family == socket.AF_UNIX:
        return f"unix:{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def credentials(stream: trio.SocketStream) -> tuple[int, int]:
    """Return process and user id of who connected to a Unix socket, or else bound it.

    The kernel noted them then: they cannot be forged, and outlive the process.
    """
    pid, uid, _gid = _UCRED.unpack(stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def _bind(path: Path, mode: int, backlog: int) -> trio.SocketListener:
    """Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # On Linux the file takes the socket's own mode less the umask: it is at no instant open to others.
        os.fchmod(sock.fileno(), mode)
        sock.bind(os.fspath(path))
        path.chmod(mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _not_bound(key: str, path: Path, exc: OSError) -> ListenError:
    return ListenError(f"{key}: cannot listen on {path}: {exc.strerror or exc}")


@contextmanager
def _directory_lock(key: str, path: Path) -> Iterator[None]:
    """Keep two daemons that start together from both finding the file stale. No file is left behind."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            if not is_ours(directory):  # else it is the recording directory, which this process has locked
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunningError(f"{key}: another process is starting on {path}") from exc
        yield
    finally:
        os.close(directory)


def _remove_stale(key: str, path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{key}: {path} exists and is not a socket: move it away, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a Unix connect is decided at once; EAGAIN means a full backlog: a live process
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass
    raise AlreadyRunningError(f"{key}: {holder_of_socket(path) or 'another process'} answers on {path}")
