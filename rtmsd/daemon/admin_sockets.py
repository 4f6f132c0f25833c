"""What the admin server listens on, opened before any stream lives: whoever cannot have it has started nothing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from rtmsd.admin.listener import inherited_admin_socket, open_admin_socket, open_metrics_port
from rtmsd.admin.server import serve_admin, serve_metrics
from rtmsd.config import AdminConfig
from rtmsd.daemon.backend import Backend


@attrs.frozen
class AdminSockets:
    """Listening; who connects waits until they are served."""

    admin: Sequence[trio.SocketListener]
    metrics: Sequence[trio.SocketListener]

    async def serve(self, backend: Backend, nursery: trio.Nursery) -> None:
        """Answer from now on, in tasks of `nursery`, and tell the backend the addresses."""
        backend.listening["admin"] = [listener.socket.getsockname() for listener in self.admin]
        await nursery.start(serve_admin, self.admin, backend)
        if self.metrics:
            backend.listening["metrics"] = [_host_and_port(listener.socket.getsockname()) for listener in self.metrics]
            await nursery.start(serve_metrics, self.metrics, backend.metrics)


@asynccontextmanager
async def open_admin_sockets(settings: AdminConfig, fds: Sequence[int]) -> AsyncIterator[AdminSockets]:
    """Open what `[admin]` names, and close it at the end.

    Args:
        fds: listening sockets inherited from the service manager; with any, `admin.socket` is not looked at.

    Raises:
        AlreadyRunningError: another daemon answers on the admin socket.
        ListenError: as `rtmsd.admin.listener`.
    """
    async with AsyncExitStack() as stack:
        if fds:
            admin = [inherited_admin_socket(fd) for fd in fds]
        else:
            admin = [stack.enter_context(open_admin_socket(settings.socket))]
        metrics = await open_metrics_port(settings.metrics_listen) if settings.metrics_listen else []
        for listener in (*admin, *metrics):
            stack.callback(listener.socket.close)
        yield AdminSockets(admin, metrics)


def _host_and_port(name: Any) -> str:
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
