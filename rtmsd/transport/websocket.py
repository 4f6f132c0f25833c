"""WebSocket connections to Zoom. The only module that knows trio-websocket.

Errors of the libraries below are translated here, and nothing comes out in an exception group unless it was raised in
one: `ForbiddenHost` before connecting, `ConnectionLost` from then on.
"""

import contextlib
import enum
import functools
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, cast

import h11
import trio
import trio_websocket
import wsproto.utilities
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConfigError, ConnectionLost
from rtmsd.masking import sanitize_remote_text
from rtmsd.transport.failures import why_broken, why_not_connected
from rtmsd.transport.hosts import Target, check_url
from rtmsd.transport.lifting import Consume, Gate, LiftingStream, SharedLiftingStream, UpgradeStream
from rtmsd.transport.network import TcpStream, socket_set
from rtmsd.transport.tls import TlsStream

CLOSE_S: Final = 0.5
"""How long the close handshake and the server's end of TCP may take together. What the server had on its way is read
meanwhile; but a failover must not wait long for a server that plays dead.
"""

_NORMAL: Final = 1000
_ABNORMAL: Final = 1006
_TOO_BIG: Final = 1009
_FAULTS: Final = frozenset({1002, 1007})
"""Close codes that trio-websocket reports when it finds the server at fault, but does not send."""

_OF_LIBRARIES: Final = (h11.ProtocolError, wsproto.utilities.ProtocolError)

_Network: TypeAlias = TcpStream | TlsStream


class WebSocketClosed(ConnectionLost):
    """The connection is closed, or being closed, by whichever side.

    Attributes:
        code: RFC 6455's close code; 1006 when there was no close frame.
        reason: the text beside it, "" when there was none.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with code {code}" + (f": {sanitize_remote_text(reason)}" if reason else ""))
        self.code = code
        self.reason = reason


class _Socket:
    """A connection as whoever opened it sees it.

    Attributes:
        lost: why it was dropped; None: it was not.
    """

    def __init__(
        self,
        network: _Network,
        stream: UpgradeStream,
        ws: trio_websocket.WebSocketConnection,
        nursery: trio.Nursery,
    ) -> None:
        self._network = network
        self._stream = stream
        self._ws = ws
        self._nursery = nursery
        self._goodbye = CloseConnection(_NORMAL)
        self._is_sending = False
        self.lost: ConnectionLost | None = None

    async def send(self, text: str) -> None:
        """Send one text message.

        Raises:
            WebSocketClosed: there is no connection any more.
        """
        try:
            await self._ws.send_message(text)
        except trio_websocket.ConnectionClosed as exc:
            raise self._closed(exc) from exc

    def send_soon(self, take: Callable[[], Sequence[str]]) -> None:
        """Send what `take` gives until it gives nothing, in a task that lives no longer than that.

        There is one such task: while it has not done, another call adds nothing. That there is no connection any
        more is told to whoever reads.
        """
        if not self._is_sending and not self._nursery.cancel_scope.cancel_called:
            self._is_sending = True
            self._nursery.start_soon(self._send_all, take)

    async def _send_all(self, take: Callable[[], Sequence[str]]) -> None:
        with contextlib.suppress(WebSocketClosed):
            while texts := take():
                for text in texts:
                    await self.send(text)
        self._is_sending = False

    def _closed(self, exc: trio_websocket.ConnectionClosed) -> WebSocketClosed:
        if exc.reason is None or exc.reason.code == _ABNORMAL:  # no close frame: what TCP said
            return WebSocketClosed(_ABNORMAL, self._stream.broken)
        return WebSocketClosed(exc.reason.code, exc.reason.reason or "")

    def drop(self, lost: ConnectionLost) -> None:
        """Give the connection up: whoever uses it is cancelled, and `lost` is raised where it was opened."""
        self.lost = lost
        self._nursery.cancel_scope.cancel()

    async def hang_up(self, *, reads_on: bool) -> None:
        """Say goodbye, and end TCP when the server has answered: with data unread the kernel would cut our words short.

        Whoever used the connection, or read it, is done by now.

        Args:
            reads_on: whether what the server has on its way is still wanted.
        """
        closed = self._ws.closed
        if closed is not None and closed.code in _FAULTS:
            self._goodbye = CloseConnection(closed.code, closed.reason)
        with trio.CancelScope(shield=True):
            try:
                with (
                    trio.move_on_after(CLOSE_S),
                    contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
                ):
                    farewell = Connection(ConnectionType.CLIENT)
                    if not self._stream.close_sent:
                        await self._stream.send_all(farewell.send(self._goodbye))
                    while reads_on and farewell.state is not ConnectionState.CLOSED:
                        farewell.receive_data(await self._stream.receive_some() or None)
                        for _ in farewell.events():  # until the answer changes its state
                            pass
            finally:
                await trio.aclose_forcefully(self._network)


class TextWebSocket(_Socket):
    """A signaling connection."""

    @property
    def last_heard_s(self) -> float:
        """When the last frame was complete, be it a ping, in Trio's clock."""
        return self._stream.last_heard_s

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebSocketClosed: there will be none.
        """
        try:
            return await self._ws.get_message()
        except trio_websocket.ConnectionClosed as exc:
            raise self._closed(exc) from exc


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
            raise self._closed(exc) from exc
        # Only what exceeds the limit is passed up; and trio-websocket, counting characters, let this one through.
        self._goodbye = CloseConnection(_TOO_BIG)
        raise WebSocketClosed(_TOO_BIG, "message too big")


def open_signaling(url: str, zoom: ZoomConfig, connect_timeout_s: float) -> AbstractAsyncContextManager[TextWebSocket]:
    """Open a signaling connection; on exit close it, within `CLOSE_S`.

    Args:
        url: as Zoom gave it.
        connect_timeout_s: for TCP, TLS and the upgrade together.

    Raises:
        ForbiddenHost: rtmsd must not connect there.
        ConnectionLost: the connection could not be opened, or was dropped.
    """

    def wrap(network: _Network) -> UpgradeStream:
        return UpgradeStream(network, zoom.max_message_bytes)

    return _open(url, zoom, connect_timeout_s, wrap, TextWebSocket)


def open_media(
    url: str, zoom: ZoomConfig, connect_timeout_s: float, consume: Consume, gate: Gate | None = None
) -> AbstractAsyncContextManager[MediaSocket]:
    """Open a media connection, whose text and binary messages go to `consume`; on exit close it, within `CLOSE_S`.

    Args:
        url, connect_timeout_s: as for `open_signaling`.
        consume: called in the reader's task with each read's complete messages, until the connection is closed.
        gate: asked before each read.

    Raises:
        ForbiddenHost: rtmsd must not connect there.
        ConnectionLost: the connection could not be opened, or was dropped.
    """

    def lift(network: _Network) -> UpgradeStream:
        sockets = socket_set()
        if sockets is None:
            return LiftingStream(network, zoom.max_message_bytes, consume, gate)
        return SharedLiftingStream(network, zoom.max_message_bytes, consume, gate, sockets)

    return _open(url, zoom, connect_timeout_s, lift, MediaSocket)


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


class _Step(enum.Enum):
    """How far the opening of a connection has come: where it hangs, when time is up."""

    TCP = "timed out: no answer to TCP, or none of DNS for the name"
    TLS = "timed out in the TLS handshake: TCP was answered"
    UPGRADE = "timed out in the WebSocket upgrade: TCP was answered, HTTP was not"


class _Opening:
    step = _Step.TCP


_Wrap: TypeAlias = Callable[[_Network], UpgradeStream]
_SocketT = TypeVar("_SocketT", bound=_Socket)


@asynccontextmanager
async def _open(
    url: str, zoom: ZoomConfig, connect_timeout_s: float, wrap: _Wrap, socket_class: type[_SocketT]
) -> AsyncIterator[_SocketT]:
    """Connect, let trio-websocket read beside whoever uses the connection, and hang up when either of them is done."""
    target = check_url(url, zoom.allowed_hosts, zoom.allow_plain_ws)
    socket: _SocketT | None = None
    of_user: Exception | None = None
    of_reader: Exception | None = None
    opening = _Opening()
    try:
        async with trio.open_nursery() as nursery:
            try:
                with trio.fail_after(connect_timeout_s):
                    layers = await _connect(nursery, target, zoom, wrap, opening)
                socket = socket_class(*layers, nursery)
                yield socket
            except Exception as exc:
                of_user = exc
                # A reader with a bug closes the connection before it raises: cancelled in between, it would forget.
                await trio.lowlevel.cancel_shielded_checkpoint()
            nursery.cancel_scope.cancel()
    except* Exception as group:
        of_reader = group.exceptions[0]
    finally:
        if socket is None:
            failure = _not_connected(target, connect_timeout_s, of_reader or of_user, opening.step)
        else:
            await socket.hang_up(reads_on=of_reader is None)
            failure = _ended(of_user or socket.lost, of_reader)
        if failure is not None:  # out here, since the nursery would raise a group
            raise failure


def _not_connected(target: Target, connect_timeout_s: float, error: Exception | None, step: _Step) -> Exception | None:
    """Say what went wrong before there was a connection; None: it was cancelled."""
    if isinstance(error, trio.TooSlowError):
        lost = ConnectionLost(f"no connection to {target.host_header} within {connect_timeout_s:g} s: {step.value}")
    elif isinstance(error, _OF_LIBRARIES):
        cause = error.__context__ or error  # they try to answer as only a server may, and fail at that
        lost = ConnectionLost(f"{target.host_header} did not upgrade to WebSocket: {cause}")
    else:
        return error
    lost.__cause__ = error
    return lost


def _ended(of_user: Exception | None, of_reader: Exception | None) -> Exception | None:
    """Return what to raise at the end of a connection: a bug first."""
    if of_reader is None:
        return of_user
    if not isinstance(of_reader, _OF_LIBRARIES):
        return of_reader
    return of_user or WebSocketClosed(_ABNORMAL, "")  # they stumble over what comes behind a close frame


async def _connect(
    nursery: trio.Nursery, target: Target, zoom: ZoomConfig, wrap: _Wrap, opening: _Opening
) -> tuple[_Network, UpgradeStream, trio_websocket.WebSocketConnection]:
    network = await _dial(target, zoom, opening)
    opening.step = _Step.UPGRADE
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
    return network, stream, ws


async def _dial(target: Target, zoom: ZoomConfig, opening: _Opening) -> _Network:
    """Open TCP, and TLS on it."""
    try:
        tcp = TcpStream(await trio.open_tcp_stream(target.host, target.port))
    except OSError as exc:
        raise ConnectionLost(f"no TCP connection to {target.host_header}: {why_not_connected(exc)}") from exc
    if not target.is_tls:
        return tcp
    opening.step = _Step.TLS
    try:
        stream = TlsStream(tcp, ssl_context(zoom), target.host)
        await stream.do_handshake()
    except BaseException as exc:
        await trio.aclose_forcefully(tcp)
        if isinstance(exc, trio.BrokenResourceError):
            raise ConnectionLost(f"no TLS with {target.host_header}: {why_broken(exc) or exc}") from exc
        raise
    return stream
