"""Serve the webhook app with Hypercorn's HTTP/1.1, inside the daemon's nursery.

`hypercorn.trio.serve` (0.18) is not for a port that anybody may connect to. It takes any number of connections, and an
exception in one of them ends them all. It writes to a client that does not read for ever, shielded, so that not even a
stop ends it; it waits for ever for a client that reset a pipelined request; and it switches to HTTP/2, whose streams
and pings no limit here counts, for whoever asks. So its `H11Protocol` is driven from here, where every wait has an end.
"""

import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H2CProtocolRequiredError, H2ProtocolAssumedError, H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app

from rtmsd.config import WebhookConfig
from rtmsd.webhook.listen import address_of, open_listeners
from rtmsd.webhook.throttle import Throttle

log = structlog.get_logger(__name__)

KEEP_ALIVE_S: Final = 5.0  # between two requests, and from there until the headers of the next are complete
ANSWER_S: Final = 5.0  # from a request's last byte to the app's answer, which has a limit of its own
SEND_S: Final = 3.0  # for an answer of a few hundred bytes
GRACE_S: Final = 3.0  # at a stop; Zoom waits as long for an answer
MAX_HEADER_BYTES: Final = 16 * 1024
READ_BYTES: Final = 64 * 1024


async def serve(
    app: ASGIFramework,
    settings: WebhookConfig,
    *,
    fds: Sequence[int] = (),
    shutdown: trio.Event,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown`, then let running requests finish for `GRACE_S`. Started with the bound addresses.

    Args:
        fds: listening sockets from the service manager, which replace `settings.listen`.

    Raises:
        AlreadyRunningError, ListenError: as `open_listeners`.
    """
    listeners = await open_listeners(settings.listen, fds)
    server = _Server(app, settings)
    limited = [_LimitedListener(listener, server.slots) for listener in listeners]
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(partial(trio.serve_listeners, server.handle, limited, handler_nursery=connections))
            addresses = [address_of(listener) for listener in listeners]
            log.info("webhook listening", address=", ".join(addresses), path=settings.path)
            task_status.started(addresses)
            await shutdown.wait()
            accepting.cancel_scope.cancel()
        await server.close_idle()
        connections.cancel_scope.deadline = trio.current_time() + GRACE_S


class _Server:
    """What all connections share, and the set of them.

    Streams share the event loop, and come first: however many webhooks come at once, each pass of the loop takes up no
    more than one, in order of arrival. New connections are accepted one at a time; what comes on them, and on those
    that are kept open, goes through the turnstile.
    """

    def __init__(self, app: ASGIFramework, settings: WebhookConfig) -> None:
        self.config = Config()
        self.config.accesslog = None
        self.config.errorlog = logging.getLogger("hypercorn.error")
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = MAX_HEADER_BYTES
        self.config.keep_alive_max_requests = 2**31  # there is nothing to gain from Zoom's connecting again
        self.app: AppWrapper = wrap_app(_front(app), self.config.wsgi_max_body_size, "asgi")
        self.context = WorkerContext(max_requests=None)
        self.slots = trio.Semaphore(settings.max_connections)
        self.turnstile = trio.Lock()
        self.request_s = settings.read_timeout_s + ANSWER_S
        self._connections: set[_Connection] = set()

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one client. Nothing that happens to it ends more than its connection."""
        connection = _Connection(stream, self)
        self._connections.add(connection)
        try:
            await connection.run()
        except* (H2CProtocolRequiredError, H2ProtocolAssumedError):
            log.debug("webhook connection closed: it asked for HTTP/2")
        except* Exception:
            log.exception("webhook connection crashed")
        finally:
            self._connections.remove(connection)
            self.slots.release()

    async def close_idle(self) -> None:
        """Close connections without a request now, and the others after their answers."""
        await self.context.terminated.set()
        for connection in self._connections:
            connection.close_if_idle()


class _Connection:
    """One client: between Hypercorn's protocol and Trio's stream."""

    def __init__(self, stream: trio.SocketStream, server: _Server) -> None:
        self._stream = stream
        self._server = server
        self._writing = trio.Lock()
        self._reading = trio.CancelScope()
        self._whole = trio.CancelScope()
        self._is_idle = True

    async def run(self) -> None:
        server = self._server
        client = None
        with contextlib.suppress(OSError):  # it may have gone already
            name = self._stream.socket.getpeername()
            client = name[:2] if isinstance(name, tuple) else None
        with self._whole:
            async with TaskGroup() as requests:
                protocol = H11Protocol(
                    server.app,
                    server.config,
                    server.context,
                    requests,
                    ConnectionState({}),
                    False,  # no TLS: that is the front proxy's
                    client,
                    None,
                    self._send,
                )
                self._idle(True)
                with self._reading, contextlib.suppress(trio.BrokenResourceError):
                    while data := await self._stream.receive_some(READ_BYTES):
                        async with server.turnstile:
                            pass
                        await protocol.handle(RawData(bytes(data)))
                await protocol.handle(Closed())

    def close_if_idle(self) -> None:
        if self._is_idle:
            self._reading.cancel()

    async def _send(self, event: Event) -> None:
        """What the protocol wants done: write, close, or note that a request has begun or was answered."""
        match event:
            case RawData() if event.data:  # h11 ends an answer with nothing
                await self._write(event.data)
            case Closed():
                self._reading.cancel()
            case Updated():
                self._idle(event.idle)

    async def _write(self, data: bytes) -> None:
        try:
            async with self._writing:
                with trio.fail_after(SEND_S):
                    await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.TooSlowError):
            self._whole.cancel()  # the protocol's reader may wait for this answer to be out

    def _idle(self, is_idle: bool) -> None:
        now_s = trio.current_time()
        self._is_idle = is_idle
        self._reading.deadline = now_s + KEEP_ALIVE_S if is_idle else math.inf
        self._whole.deadline = math.inf if is_idle else now_s + self._server.request_s


class _LimitedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts while there are slots, one for each connection; who comes later waits in the kernel's backlog."""

    def __init__(self, listener: trio.SocketListener, slots: trio.Semaphore) -> None:
        self._listener = listener
        self._slots = slots
        self._complaints = Throttle(interval_s=10.0)

    async def accept(self) -> trio.SocketStream:
        if self._slots.value == 0 and self._complaints.admit() is not None:
            log.warning("webhook connections have reached webhook.max_connections")
        await self._slots.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._slots.release()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


def _front(app: ASGIFramework) -> ASGIFramework:
    """Stand between Hypercorn and Quart where the two do not fit together."""

    async def front(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif not scope["path"].startswith("/"):  # "*", or a whole URL: Quart may stumble over it
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})
        else:
            await app(scope, receive, send)

    return front
