"""WebSocket connections to Zoom. The only module that knows trio-websocket.

Errors of the libraries are translated here, and leave no exception group unless they were raised in one:
`ForbiddenHost` before connecting, `ConnectionLost` from then on.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, cast

import h11
import trio
import trio_websocket
import wsproto.utilities
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import CloseConnection

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConnectionLost
from rtmsd.masking import sanitize_remote_text
from rtmsd.transport.dial import Network, Opening, Step, dial
from rtmsd.transport.hosts import Target, check_url
from rtmsd.transport.lifting import Consume, Gate, LiftingStream, SharedLiftingStream, UpgradeStream
from rtmsd.transport.network import socket_set

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

CLOSE_S: Final = 0.5
"""For the close handshake and the server's end of TCP together, while data on their way are read. A failover must not
wait long for a dead server.
"""

_NORMAL: Final = 1000
_ABNORMAL: Final = 1006
_TOO_BIG: Final = 1009
_FAULTS: Final = frozenset({1002, 1007})
"""Close codes for faults of the server that trio-websocket reports, but does not send."""

_LIBRARY_ERRORS: Final = (h11.ProtocolError, wsproto.utilities.ProtocolError)


class WebSocketClosed(ConnectionLost):
    """The connection is closed, or being closed, by whichever side.

    Attributes:
        code: 1006 when there was no close frame.
        reason: the text beside it, "" when there was none.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"closed with code {code}" + (f": {sanitize_remote_text(reason)}" if reason else ""))
        self.code = code
        self.reason = reason


class _Socket:
    """An open connection.

    Attributes:
        lost: why it was dropped; None: it was not.
        was_read_out: whether it was closed by us, and all that the server had sent until it answered was read.
    """

    def __init__(
        self,
        network: Network,
        stream: UpgradeStream,
        ws: trio_websocket.WebSocketConnection,
        nursery: trio.Nursery,
    ) -> None:
        self._network = network
        self._stream = stream
        self._ws = ws
        self._nursery = nursery
        self._close_frame = CloseConnection(_NORMAL)
        self._is_sending = False
        self.lost: ConnectionLost | None = None
        self.was_read_out = False

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
        """Send what `take` returns until it returns nothing, in a task that ends then.

        There is at most one such task; another call adds nothing. A lost connection is reported to the reader alone.
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
        """Give the connection up: its user is cancelled, and `lost` is raised where it was opened."""
        self.lost = lost
        self._nursery.cancel_scope.cancel()

    async def close(self, *, reads_on: bool) -> None:
        """Send the close frame, and end TCP once the server has answered: unread data would make the kernel reset it.

        User and reader have ended by now.

        Args:
            reads_on: whether data on its way from the server are still wanted.
        """
        closed = self._ws.closed
        if closed is not None and closed.code in _FAULTS:
            self._close_frame = CloseConnection(closed.code, closed.reason)
        try:
            with (
                trio.move_on_after(CLOSE_S, shield=True),
                contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
            ):
                close_handshake = Connection(ConnectionType.CLIENT)
                if not self._stream.close_sent:
                    await self._stream.send_all(close_handshake.send(self._close_frame))
                while reads_on and close_handshake.state is not ConnectionState.CLOSED:
                    close_handshake.receive_data(await self._stream.receive_some() or None)
                    for _ in close_handshake.events():  # until the answer changes its state
                        pass
                self.was_read_out = reads_on
        finally:
            self._network.close()


class TextWebSocket(_Socket):
    """A signaling connection."""

    @property
    def last_heard_s(self) -> float:
        """Time of the last complete frame, pings included, in Trio's clock."""
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
    """A media connection; its messages go to the consumer given at its opening."""

    def accepted(self, packets: "Reader | None", on_packets: Callable[[int], None]) -> None:
        """The handshake of RTMS is over: from now on what comes may wait for its turn, see `network`.

        Args:
            packets: sees first what comes then.
            on_packets: hears how many packets it took of each read.
        """
        self._stream.may_rest = True
        if packets is not None and isinstance(self._stream, SharedLiftingStream):
            self._stream.read_packets(packets, on_packets)

    async def wait_closed(self) -> None:
        """Wait for the end of the connection, and raise it.

        Raises:
            WebSocketClosed: always.
        """
        try:
            await self._ws.get_message()
        except trio_websocket.ConnectionClosed as exc:
            raise self._closed(exc) from exc
        # Only a message above the limit is passed up; trio-websocket, which counts characters, let this one through.
        self._close_frame = CloseConnection(_TOO_BIG)
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

    def wrap(network: Network) -> UpgradeStream:
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

    def lift(network: Network) -> UpgradeStream:
        sockets = socket_set()
        if sockets is None:
            return LiftingStream(network, zoom.max_message_bytes, consume, gate)
        return SharedLiftingStream(network, zoom.max_message_bytes, consume, gate, sockets)

    return _open(url, zoom, connect_timeout_s, lift, MediaSocket)


_Wrap: TypeAlias = Callable[[Network], UpgradeStream]
_SocketT = TypeVar("_SocketT", bound=_Socket)


@asynccontextmanager
async def _open(
    url: str, zoom: ZoomConfig, connect_timeout_s: float, wrap: _Wrap, socket_class: type[_SocketT]
) -> AsyncIterator[_SocketT]:
    """Connect, let trio-websocket read beside the user of the connection, and close it when either ends."""
    target = check_url(url, zoom.allowed_hosts, zoom.allow_plain_ws)
    socket: _SocketT | None = None
    user_error: Exception | None = None
    reader_error: Exception | None = None
    opening = Opening()
    try:
        async with trio.open_nursery() as nursery:
            try:
                with trio.fail_after(connect_timeout_s):
                    layers = await _connect(nursery, target, zoom, wrap, opening)
                socket = socket_class(*layers, nursery)
                yield socket
            except Exception as exc:
                user_error = exc
                # A reader with a bug closes the connection before it raises: cancelled in between, it would not raise.
                await trio.lowlevel.cancel_shielded_checkpoint()
            nursery.cancel_scope.cancel()
    except* Exception as group:
        reader_error = group.exceptions[0]
    finally:
        if socket is None:
            failure = _not_connected(target, connect_timeout_s, reader_error or user_error, opening.step)
        else:
            await socket.close(reads_on=reader_error is None)
            failure = _ended(user_error or socket.lost, reader_error)
        if failure is not None:  # out here, since the nursery would raise a group
            raise failure


def _not_connected(target: Target, connect_timeout_s: float, error: Exception | None, step: Step) -> Exception | None:
    """Return the error of an opening that failed; None: it was cancelled."""
    if isinstance(error, trio.TooSlowError):
        lost = ConnectionLost(f"no connection to {target.host_header} within {connect_timeout_s:g} s: {step.value}")
    elif isinstance(error, _LIBRARY_ERRORS):
        cause = error.__context__ or error  # they answer as only a server may, and fail again
        lost = ConnectionLost(f"{target.host_header} did not upgrade to WebSocket: {cause}")
    else:
        return error
    lost.__cause__ = error
    return lost


def _ended(user_error: Exception | None, reader_error: Exception | None) -> Exception | None:
    """Return what to raise at the end of a connection: a bug first."""
    if reader_error is None:
        return user_error
    if not isinstance(reader_error, _LIBRARY_ERRORS):
        return reader_error
    return user_error or WebSocketClosed(_ABNORMAL, "")  # the libraries fail on data behind a close frame


async def _connect(
    nursery: trio.Nursery, target: Target, zoom: ZoomConfig, wrap: _Wrap, opening: Opening
) -> tuple[Network, UpgradeStream, trio_websocket.WebSocketConnection]:
    network = await dial(target, zoom, opening)
    opening.step = Step.UPGRADE
    try:
        stream = wrap(network)
        ws = await trio_websocket.wrap_client_stream(
            nursery,
            cast("trio.SocketStream", stream),  # annotated so, but documented to take any Trio stream
            target.host_header,
            target.resource,
            max_message_size=zoom.max_message_bytes,
            receive_buffer_size=None,
        )
    except BaseException:
        network.close()
        raise
    _forget_upgrade(ws)
    return network, stream, ws


def _forget_upgrade(ws: trio_websocket.WebSocketConnection) -> None:
    """Let go of what trio-websocket keeps of HTTP when that is over: 3 KB for each connection.

    The fields are its own affair. A version that has others keeps what it likes, and works.
    """
    with contextlib.suppress(AttributeError):
        if (upgraded := ws._wsproto.connection) is not None:
            ws._wsproto = cast("wsproto.WSConnection", upgraded)  # which hands on all that is asked of it
            ws._initial_request = ws._connection_proposal = None
