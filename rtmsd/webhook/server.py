"""Serve the webhook app with Hypercorn's HTTP/1.1, inside the daemon's nursery.

`hypercorn.trio.serve` (0.18) takes any number of connections, lets an exception in one end all of them, waits for ever
on a peer that does not read (shielded, so that not even a stop ends it) or that reset a pipelined request, and
switches to HTTP/2 for whoever asks. So each connection is given to its `TCPServer` over a stream and in a task of ours,
which mend that.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, cast

import structlog
import trio
from h2.exceptions import InvalidSettingsValueError
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState
from hypercorn.utils import wrap_app

from rtmsd.config.model import WebhookConfig
from rtmsd.webhook.listen import address_of, open_listeners
from rtmsd.webhook.throttle import Throttle

log = structlog.get_logger(__name__)

KEEP_ALIVE_S: Final = 5.0  # between two requests, and from there until the headers of the next are complete
SEND_TIMEOUT_S: Final = 3.0  # for an answer of a few hundred bytes
GRACE_S: Final = 3.0  # at a stop; Zoom waits as long for an answer
MAX_HEADER_BYTES: Final = 16 * 1024


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
    config = _hypercorn_config(settings)
    context = WorkerContext(max_requests=None)
    asgi = wrap_app(_front(app), config.wsgi_max_body_size, "asgi")
    listeners = await open_listeners(settings.listen, fds)
    slots = trio.Semaphore(settings.max_connections)

    async def handle(connection: _Connection) -> None:
        try:
            with connection.scope:
                # The annotation knows TLS only; the code looks for `do_handshake`, and takes any stream without.
                stream = cast("trio.SSLStream[trio.SocketStream]", connection)
                await TCPServer(asgi, config, context, ConnectionState({}), stream)
        except* InvalidSettingsValueError:
            log.debug("webhook connection closed: it asked for HTTP/2")
        except* Exception:
            log.exception("webhook connection crashed")

    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            limited = [_LimitedListener(listener, slots) for listener in listeners]
            accepting.start_soon(partial(trio.serve_listeners, handle, limited, handler_nursery=connections))
            addresses = [address_of(listener) for listener in listeners]
            log.info("webhook listening", address=", ".join(addresses), path=settings.path)
            task_status.started(addresses)
            await shutdown.wait()
            accepting.cancel_scope.cancel()
        await context.terminated.set()  # idle connections close now
        connections.cancel_scope.deadline = trio.current_time() + GRACE_S


def _hypercorn_config(settings: WebhookConfig) -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.include_server_header = False
    config.h11_max_incomplete_size = MAX_HEADER_BYTES
    config.h2_max_header_list_size = -1  # HTTP/2 is refused: h2 raises for this when Hypercorn switches to it
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 2**31  # there is nothing to gain from Zoom's connecting again
    config.read_timeout = math.ceil(settings.read_timeout_s) + 1  # after the app's own, which answers 408
    return config


class _Connection(trio.abc.HalfCloseableStream):
    """A client's socket that frees its slot when closed, and ends its task (`scope`) when it cannot be written to."""

    def __init__(self, stream: trio.SocketStream, slots: trio.Semaphore) -> None:
        self.socket = stream.socket  # TCPServer reads the addresses off it
        self.scope = trio.CancelScope()
        self._stream = stream
        self._slots: trio.Semaphore | None = slots

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            with trio.fail_after(SEND_TIMEOUT_S):
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.TooSlowError) as exc:
            self.scope.cancel()  # Hypercorn's reader may wait for this answer to be written: it never will
            raise trio.BrokenResourceError from exc

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        slots, self._slots = self._slots, None
        try:
            await self._stream.aclose()
        finally:
            if slots is not None:
                slots.release()


class _LimitedListener(trio.abc.Listener[_Connection]):
    """Accepts while there are slots; whoever comes later waits in the kernel's backlog."""

    def __init__(self, listener: trio.SocketListener, slots: trio.Semaphore) -> None:
        self._listener = listener
        self._slots = slots
        self._complaints = Throttle(interval_s=10.0)

    async def accept(self) -> _Connection:
        if self._slots.value == 0 and self._complaints.admit() is not None:
            log.warning("webhook connections have reached webhook.max_connections")
        await self._slots.acquire()
        try:
            return _Connection(await self._listener.accept(), self._slots)
        except BaseException:
            self._slots.release()
            raise

    async def aclose(self) -> None:
        await self._listener.aclose()


def _front(app: ASGIFramework) -> ASGIFramework:
    """Stand between Hypercorn and Quart where the two do not fit together."""

    async def front(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        async def send_to_the_end(message: Any) -> None:
            # Hypercorn closes a connection, or starts its idle timeout, after the last piece of the answer, and tells
            # Quart before that that the client has gone: cancelled there, it would do neither.
            with trio.CancelScope(shield=True):  # for SEND_TIMEOUT_S at most
                await send(message)

        if scope["type"] == "websocket":
            await send({"type": "websocket.close"})
        elif scope["type"] == "http" and not scope["path"].startswith("/"):  # "*" or a URL: Quart may stumble on it
            await send_to_the_end(
                {"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]}
            )
            await send_to_the_end({"type": "http.response.body"})
        else:
            await app(scope, receive, send_to_the_end)

    return front
