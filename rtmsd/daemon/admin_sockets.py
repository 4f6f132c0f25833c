"""The sockets of the admin server, opened before any stream lives: a daemon that cannot have them starts nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs
import trio

from rtmsd.admin.listener import inherited_admin_socket, open_admin_socket
from rtmsd.admin.server import Answer, serve_admin, serve_metrics
from rtmsd.config import AdminConfig
from rtmsd.http.listening import address_of, inherited, open_tcp

METRICS_KEY: Final = "admin.metrics_listen"


@attrs.frozen
class AdminSockets:
    """Listening; clients that connect wait until they are served."""

    admin: Sequence[trio.SocketListener]
    metrics: Sequence[trio.SocketListener]

    async def serve(
        self, answer: Answer, metrics: Callable[[], bytes | Awaitable[bytes]], nursery: trio.Nursery
    ) -> dict[str, list[str]]:
        """Answer from now on, in tasks of `nursery`. Returns the addresses by door."""
        listening = {"admin": [listener.socket.getsockname() for listener in self.admin]}
        await nursery.start(serve_admin, self.admin, answer)
        if self.metrics:
            listening["metrics"] = [address_of(listener) for listener in self.metrics]
            await nursery.start(serve_metrics, self.metrics, metrics)
        return listening


@asynccontextmanager
async def open_admin_sockets(
    settings: AdminConfig, fds: Sequence[int], metrics_fds: Sequence[int] = ()
) -> AsyncIterator[AdminSockets]:
    """Open what `[admin]` names, and close it at the end.

    Args:
        fds: inherited listening sockets, which replace `admin.socket`.
        metrics_fds: the same for `admin.metrics_listen`.

    Raises:
        AlreadyRunningError, ListenError: as `rtmsd.http.listening`.
    """
    async with AsyncExitStack() as stack:
        if fds:
            admin = [inherited_admin_socket(fd) for fd in fds]
        else:
            admin = [stack.enter_context(open_admin_socket(settings.socket))]
        if metrics_fds:
            metrics = [inherited(METRICS_KEY, fd) for fd in metrics_fds]
        else:
            metrics = await open_tcp(METRICS_KEY, settings.metrics_listen) if settings.metrics_listen else []
        for listener in (*admin, *metrics):
            stack.callback(listener.socket.close)
        yield AdminSockets(admin, metrics)
