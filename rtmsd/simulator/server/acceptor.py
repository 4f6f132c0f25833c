"""The TCP connections of clients: TLS, the upgrade to WebSocket, then the stream that the URL leads to."""

import itertools
import ssl
from collections.abc import Callable
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

from rtmsd.simulator.model.record import Peer, StrayConnection
from rtmsd.simulator.server.authority import failure_of
from rtmsd.simulator.stream.conversation import converse
from rtmsd.simulator.stream.stream import Route
from rtmsd.simulator.wire.connection import SimConnection
from rtmsd.simulator.wire.peers import PeerFinder
from rtmsd.simulator.wire.wire import SocketOrTls, Wire, socket_of

_UPGRADE_S: Final = 10.0
_READER_END_S: Final = 1.0
_MAX_CLIENT_MESSAGE_BYTES: Final = 1 << 20


class Acceptor:
    """Serves every TCP connection of one simulator.

    Args:
        close_s: for a client's answer to a close frame.
        name_processes: see `SimulatorSettings`.
        report_stray: called with each connection that does not become one of a stream.

    Attributes:
        scheme: of its URLs, "ws" or "wss".
    """

    def __init__(
        self, *, tls: bool, close_s: float, name_processes: bool, report_stray: Callable[[StrayConnection], None]
    ) -> None:
        self.scheme = "wss" if tls else "ws"
        self._routes: dict[str, Route] = {}
        self._close_s = close_s
        self._peers = PeerFinder(name_processes=name_processes)
        self._report_stray = report_stray
        self._numbers = itertools.count(1)

    def register(self, path: str, route: Route) -> None:
        """Serve `route` at the URL path `path` from now on."""
        self._routes[path] = route

    async def serve(self, stream: SocketOrTls) -> None:
        """Handle one TCP connection; nothing a client does here ends the simulator."""
        peer = self._peers.peer_of(socket_of(stream))
        if isinstance(stream, trio.SSLStream) and not await self._shake_hands(stream):
            return
        wire = Wire(stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.run_writer)
            with trio.move_on_after(_UPGRADE_S) as upgrade:
                nursery.start_soon(_cancel_once_closed, wire, upgrade)
                websocket = await self._upgrade(nursery, wire)
            if upgrade.cancelled_caught:  # trio-websocket answers a request without upgrade, and then waits without end
                self._stray(f"it asked for no WebSocket; our URLs begin with {self.scheme}://")
            elif websocket is not None:
                await self._serve_websocket(websocket, wire, peer)
            await wire.aclose()
            # The reader ends by itself now; cancelled before that, it would leave a task waiting for the close.
            nursery.cancel_scope.deadline = trio.current_time() + _READER_END_S

    async def _shake_hands(self, stream: trio.SSLStream[trio.SocketStream]) -> bool:
        """Negotiate TLS and return whether it succeeded; after a failure the connection is closed and reported."""
        try:
            with trio.fail_after(_UPGRADE_S):
                await stream.do_handshake()
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            self._stray(f"TLS failed: {failure_of(error)}")
            await trio.aclose_forcefully(stream)
            return False
        return True

    async def _upgrade(self, nursery: trio.Nursery, wire: Wire) -> WebSocketConnection | None:
        try:
            request = await wrap_server_stream(nursery, wire, max_message_size=_MAX_CLIENT_MESSAGE_BYTES)
            if request.path not in self._routes:
                self._stray(f"no stream has the URL path {request.path}")
                await request.reject(404, body=b"no such stream")
                return None
            return await request.accept()
        except (ConnectionClosed, trio.BrokenResourceError, ssl.SSLError) as error:
            self._stray(f"closed before its WebSocket was up: {type(error).__name__}")
            return None

    async def _serve_websocket(self, websocket: WebSocketConnection, wire: Wire, peer: Peer) -> None:
        path = websocket.path or ""
        route = self._routes[path]
        connection = SimConnection(next(self._numbers), websocket, wire, peer=peer, path=path, close_s=self._close_s)
        try:
            await converse(connection, route)
        finally:
            await connection.close()

    def _stray(self, why: str) -> None:
        self._report_stray(StrayConnection(why))


async def _cancel_once_closed(wire: Wire, scope: trio.CancelScope) -> None:
    await wire.wait_closed()
    scope.cancel()


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Listen on all addresses of a host, on one port: a name may stand for an IPv4 and an IPv6 address."""
    listeners = await trio.open_tcp_listeners(port, host=host)
    ports = {listener.socket.getsockname()[1] for listener in listeners}
    if len(ports) > 1:  # port 0: each address got its own
        for listener in listeners:
            await listener.aclose()
        listeners = await trio.open_tcp_listeners(ports.pop(), host=host)
    return listeners


def in_url(host: str, port: int) -> str:
    """Return host and port as a URL has them, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
