"""WebSocket connections to Zoom. The only module that knows trio-websocket.

Errors of the libraries below are translated here, and nothing comes out in an exception group unless it was raised in
one: `ForbiddenHost` before connecting, `ConnectionLost` from then on.
"""

import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias, cast

import attrs
import h11
import trio
import trio_websocket
import wsproto.utilities
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConfigError, ConnectionLost
from rtmsd.transport.hosts import Target, check_url
from rtmsd.transport.lifting import Consume, Gate, LiftingStream, SharedLiftingStream, UpgradeStream
from rtmsd.transport.network import TcpStream, socket_set
from rtmsd.transport.tls import TlsStream

CLOSE_S: Final = 0.5
"""How long the close handshake and the server's end of TCP may take together. What the server had on its way is read
meanwhile; but a failover must not wait long for a server that plays dead.
"""

_ABNORMAL: Final = 1006
_VIOLATIONS: Final = frozenset({1002, 1007})
"""Close codes that trio-websocket reports when it finds the server at fault, but does not send."""


class WebSocketClosed(ConnectionLost):
    """The connection is closed, or being closed, by whichever side.

    Attributes:
        code: RFC 6455's close code; 1006 when there was no close frame.
        reason: the text beside it, "" when there was none.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with code {code}" + (f": {reason}" if reason else ""))
        self.code = code
        self.reason = reason


class _Socket:
    def __init__(self, ws: trio_websocket.WebSocketConnection) -> None:
        self._ws = ws

    async def send(self, text: str) -> None:
        """Send one text message.

        Raises:
            WebSocketClosed: there is no connection any more.
        """
        try:
            await self._ws.send_message(text)
        except trio_websocket.ConnectionClosed as exc:
            raise _closed(exc) from exc


class TextWebSocket(_Socket):
    """A signaling connection."""

    def __init__(self, link: "_Link") -> None:
        super().__init__(link.ws)
        self._stream = link.stream

    @property
    def last_heard_s(self) -> float:
        """When anything came, be it a ping or part of a frame, in Trio's clock."""
        return self._stream.last_heard_s

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebSocketClosed: there will be none.
        """
        try:
            return await self._ws.get_message()
        except trio_websocket.ConnectionClosed as exc:
            raise _closed(exc) from exc


class MediaSocket(_Socket):
    """A media connection, whose messages go to the consumer it was opened with."""

    async def wait_closed(self) -> None:
        """Wait for the end of the connection, and raise it.

        Raises:
            WebSocketClosed: always.
        """
        try:
            await self._ws.get_message()
        except trio_websocket.ConnectionClosed as exc:
            raise _closed(exc) from exc
        # Only what exceeds the limit is passed up; and trio-websocket, counting characters, let this one through.
        with trio.move_on_after(CLOSE_S):
            await self._ws.aclose(code=1009)
        raise WebSocketClosed(1009, "message too big")


@asynccontextmanager
async def open_signaling(url: str, zoom: ZoomConfig, connect_timeout_s: float) -> AsyncIterator[TextWebSocket]:
    """Open a signaling connection; on exit close it, within `CLOSE_S`.

    Args:
        url: as Zoom gave it.
        connect_timeout_s: for TCP, TLS and the upgrade together.

    Raises:
        ForbiddenHost: rtmsd must not connect there.
        ConnectionLost: the connection could not be opened.
    """
    async with _open(url, zoom, connect_timeout_s, UpgradeStream) as link:
        yield TextWebSocket(link)


@asynccontextmanager
async def open_media(
    url: str, zoom: ZoomConfig, connect_timeout_s: float, consume: Consume, gate: Gate | None = None
) -> AsyncIterator[MediaSocket]:
    """Open a media connection, whose text and binary messages go to `consume`; on exit close it, within `CLOSE_S`.

    Args:
        url, connect_timeout_s: as for `open_signaling`.
        consume: called in the reader's task with each read's complete messages, until the connection is closed.
        gate: asked before each read.

    Raises:
        ForbiddenHost: rtmsd must not connect there.
        ConnectionLost: the connection could not be opened.
    """

    sockets = socket_set()

    def lift(stream: TcpStream | TlsStream) -> UpgradeStream:
        if sockets is None:
            return LiftingStream(stream, zoom.max_message_bytes, consume, gate)
        return SharedLiftingStream(stream, zoom.max_message_bytes, consume, gate, sockets)

    async with _open(url, zoom, connect_timeout_s, lift) as link:
        yield MediaSocket(link.ws)


def ssl_context(zoom: ZoomConfig) -> ssl.SSLContext:
    """Return the context for all connections: TLS 1.2 or later, the system's certificates and `zoom.ca_file`.

    Raises:
        ConfigError: `zoom.ca_file` cannot be read.
    """
    return _ssl_context(zoom.ca_file)


@functools.lru_cache(maxsize=4)  # loading the system's certificates takes 20 ms, and they take 1 MB
def _ssl_context(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # so that writing never has to wait for reading
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as exc:  # ssl.SSLError is one
            raise ConfigError([f"zoom.ca_file: {ca_file} cannot be loaded: {exc}"]) from exc
    return context


def _closed(exc: trio_websocket.ConnectionClosed) -> WebSocketClosed:
    if exc.reason is None:
        return WebSocketClosed(_ABNORMAL, "")
    return WebSocketClosed(exc.reason.code, exc.reason.reason or "")


_Wrap: TypeAlias = Callable[[TcpStream | TlsStream], UpgradeStream]


@attrs.define
class _Link:
    """The layers of one connection, the scope of the task that reads it, and what it raised that it should not."""

    network: trio.abc.Stream
    stream: UpgradeStream
    ws: trio_websocket.WebSocketConnection
    reading: trio.CancelScope
    close_deadline: float | None = None
    bug: Exception | None = None


@asynccontextmanager
async def _open(url: str, zoom: ZoomConfig, connect_timeout_s: float, wrap: _Wrap) -> AsyncIterator[_Link]:
    target = check_url(url, zoom.allowed_hosts, zoom.allow_plain_ws)
    link: _Link | None = None
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            try:
                link = await nursery.start(_run, target, zoom, connect_timeout_s, wrap)
                link.reading.shield = True  # cancelling the user must leave us the close handshake
                try:
                    yield link
                finally:
                    link.close_deadline = trio.current_time() + CLOSE_S
                    with trio.CancelScope(deadline=link.close_deadline, shield=True):
                        await link.ws.aclose()
                    link.reading.cancel()
            except Exception as exc:
                failure = exc
    finally:  # out here, since the nursery would raise a group
        if link is not None and link.bug is not None:
            raise link.bug from failure
        if failure is not None:
            raise failure


async def _run(
    target: Target,
    zoom: ZoomConfig,
    connect_timeout_s: float,
    wrap: _Wrap,
    *,
    task_status: trio.TaskStatus[_Link],
) -> None:
    """Connect, let trio-websocket read, hang up. To whoever uses the connection a failing reader is a closed one."""
    link: _Link | None = None
    failure: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(connect_timeout_s):
                link = await _connect(nursery, target, zoom, wrap)
            task_status.started(link)
    except* Exception as group:
        failure = group.exceptions[0]
    finally:
        if link is not None:
            await _hang_up(link)
    if failure is None:
        return
    is_of_libraries = isinstance(failure, h11.ProtocolError | wsproto.utilities.ProtocolError)
    if link is not None:
        # The libraries stumble over a ping that comes behind our own close frame: no harm.
        link.bug = None if is_of_libraries else failure
    elif isinstance(failure, trio.TooSlowError):
        raise ConnectionLost(f"no connection to {target.host_header} within {connect_timeout_s:g} s") from failure
    elif is_of_libraries:
        cause = failure.__context__ or failure  # they try to answer as only a server may, and fail at that
        raise ConnectionLost(f"{target.host_header} did not upgrade to WebSocket: {cause}") from failure
    else:
        raise failure


async def _connect(nursery: trio.Nursery, target: Target, zoom: ZoomConfig, wrap: _Wrap) -> _Link:
    network = await _dial(target, zoom)
    try:
        stream = wrap(network)
        ws = await trio_websocket.wrap_client_stream(
            nursery,
            cast(trio.SocketStream, stream),  # annotated so, but documented to take any Trio stream
            target.host_header,
            target.resource,
            max_message_size=zoom.max_message_bytes,
            receive_buffer_size=None,
        )
    except BaseException:
        await trio.aclose_forcefully(network)
        raise
    return _Link(network, stream, ws, nursery.cancel_scope)


async def _dial(target: Target, zoom: ZoomConfig) -> TcpStream | TlsStream:
    """Open TCP, and TLS on it."""
    try:
        tcp = TcpStream(await trio.open_tcp_stream(target.host, target.port))
    except OSError as exc:
        raise ConnectionLost(f"no TCP connection to {target.host_header}: {exc.__cause__ or exc}") from exc
    if not target.is_tls:
        return tcp
    try:
        stream = TlsStream(tcp, ssl_context(zoom), target.host)
        await stream.do_handshake()
    except BaseException as exc:
        await trio.aclose_forcefully(tcp)
        if isinstance(exc, trio.BrokenResourceError):
            raise ConnectionLost(f"no TLS with {target.host_header}: {exc}") from exc
        raise
    return stream


async def _hang_up(link: _Link) -> None:
    """End TCP, but let the server read our close frame first: with data unread the kernel would cut it short."""
    closed = link.ws.closed
    with (
        trio.CancelScope(deadline=link.close_deadline or trio.current_time() + CLOSE_S, shield=True),
        contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
    ):
        if closed is not None and closed.code in _VIOLATIONS and not link.stream.close_sent:
            await link.stream.send_all(
                Connection(ConnectionType.CLIENT).send(CloseConnection(closed.code, closed.reason))
            )
        if link.stream.close_sent:
            while await link.network.receive_some():
                pass
    await trio.aclose_forcefully(link.network)
