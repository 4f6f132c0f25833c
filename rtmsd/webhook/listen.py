"""Open the sockets that `webhook.listen` names, or take those that systemd opened."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from rtmsd.config import why_not_bound
from rtmsd.errors import AlreadyRunningError, ListenError
from rtmsd.system.socket_holders import holder_of_socket

BACKLOG: Final = 4096  # the system cuts it to net.core.somaxconn
UNIX: Final = "unix:"


async def open_listeners(listen: str, fds: Sequence[int] = ()) -> list[trio.SocketListener]:
    """Open what to listen on.

    Args:
        listen: "host:port", "[address]:port" or "unix:/path"; a name may stand for several addresses.
        fds: listening sockets inherited from the service manager; with any, `listen` is not looked at.

    Raises:
        AlreadyRunningError: somebody answers on the Unix socket.
        ListenError: for whatever else the system has against it.
    """
    try:
        if fds:
            return [_listener(socket.socket(fileno=fd)) for fd in fds]
        if listen.startswith(UNIX):
            return [_listener(open_unix_socket(Path(listen.removeprefix(UNIX))))]
        host, _, port = listen.rpartition(":")
        return await trio.open_tcp_listeners(int(port), host=host.strip("[]"), backlog=BACKLOG)
    except (OSError, ValueError) as exc:
        if fds:
            raise ListenError(f"webhook.listen: cannot listen on the inherited sockets {fds}: {exc}") from exc
        raise ListenError(f"webhook.listen: {why_not_bound(listen, exc)}") from exc


def open_unix_socket(path: Path) -> socket.socket:
    """Listen on a Unix socket that every local user may connect to, as to a port on loopback.

    A file left behind by a killed daemon is replaced; one that somebody answers on is not.

    Raises:
        AlreadyRunningError: somebody answers on it.
        OSError: the directory is missing, or may not be written.
    """
    if _answers(path):
        raise AlreadyRunningError(f"webhook.listen: {holder_of_socket(path) or 'another process'} answers on {path}")
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def address_of(listener: trio.SocketListener) -> str:
    """Return the bound address, as `webhook.listen` would spell it."""
    name = listener.socket.getsockname()
    if listener.socket.family == socket.AF_UNIX:
        return f"{UNIX}{name}"
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _listener(sock: socket.socket) -> trio.SocketListener:
    try:
        return trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    except ValueError:
        sock.close()
        raise
