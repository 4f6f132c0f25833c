"""Zoom's servers on memory streams, under a clock that jumps: a real WebSocket on both ends, scripted answers.

What the simulator does over real sockets and in real time, this does in none: it says what a test wants it to say, and
writes down who dialled when, and what was sent.
"""

import base64
import contextlib
import json
import math
from collections import defaultdict, deque
from typing import Any, Final, cast

import trio
import trio_websocket
from trio.testing import memory_stream_pair

T0: Final = 1_790_000_000_000  # Zoom's time when Trio's is 0
HOST: Final = "rtms1.zoom.test"
OTHER_HOST: Final = "rtms2.zoom.test"
KEEP_ALIVE_EVERY_S: Final = 10.0
NOTICED_S: Final = 1.0  # so soon everybody notices that a connection was closed
CLOSED_S: Final = 0.5  # a server does not wait longer for the client's close frame
ASK: Final = "a keep-alive"
SILENT: Final = -1  # in place of a status: no answer
LOOK_EVERY_S: Final = 1 / 16  # exact in binary, so that times add up


def zoom_ms() -> int:
    """Zoom's time."""
    return T0 + round(trio.current_time() * 1000)


class Peer:
    """Zoom's end of one connection.

    Attributes:
        kind: "signaling", or the media of its URL.
        received: (time, message) of all that the client sent.
        closed_s: when it was seen to be gone.
        speaks: whether keep-alives are sent.
        numbers: whether keep-alives have a `sequence`.
        unanswered: keep-alives that were sent, the oldest first.
        answered: how many were.
    """

    def __init__(self, kind: str, host: str, raw: "Any", client_end: "Any") -> None:
        self.kind = kind
        self.host = host
        self.opened_s = trio.current_time()
        self.closed_s: float | None = None
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.rtms_stream_id = ""
        self.speaks = True
        self.numbers = True
        self.unanswered: list[dict[str, Any]] = []
        self.answered = 0
        self.ws: Any = None
        self._raw = raw
        self._client_end = client_end

    async def say(self, msg_type: int, **fields: Any) -> None:
        """Send a message, unless the client is gone."""
        await self.send(json.dumps({"msg_type": msg_type, **fields}))

    async def send(self, text: str | bytes) -> None:
        with contextlib.suppress(trio_websocket.ConnectionClosed):
            await self.ws.send_message(text)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes past the WebSocket."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._raw.send_all(data)

    async def audio(self, timestamp_ms: int, user_id: int = 7, data: bytes = b"\1\0" * 1600) -> None:
        """Send 100 ms of audio."""
        content = {"user_id": user_id, "data": base64.b64encode(data).decode(), "timestamp": timestamp_ms}
        await self.say(14, content=content)

    async def ask(self, **request: Any) -> None:
        """Send a keep-alive request, with a `timestamp` or, as Zoom does now and then, without."""
        if self.numbers:
            request["sequence"] = self.answered + len(self.unanswered) + 1
        self.unanswered.append(request)
        await self.say(12, **request)

    async def event(self, event_type: int, **fields: Any) -> None:
        await self.say(6, event={"event_type": event_type, "timestamp": zoom_ms(), **fields})

    async def stream_state(self, state: int, reason: int | None = None) -> None:
        await self.say(8, state=state, timestamp=zoom_ms(), **({} if reason is None else {"reason": reason}))

    async def session_state(self, session: str, state: int, **fields: Any) -> None:
        await self.say(9, rtms_session_id=session, state=state, timestamp=zoom_ms(), **fields)

    async def cut(self) -> None:
        """The connection is gone, without a close frame."""
        await trio.aclose_forcefully(self._raw)

    async def close(self) -> None:
        """End the connection in order, with code 1000."""
        with trio.move_on_after(CLOSED_S):
            await self.ws.aclose()

    def stall(self) -> None:
        """Read nothing any more: what the client sends from now on blocks it, until it closes the connection."""
        way = self._client_end.send_stream
        pump = way.close_hook

        def pump_all() -> None:
            pump()  # what was not read
            pump()  # the end

        way.send_all_hook, way.close_hook = trio.sleep_forever, pump_all

    def sent(self, msg_type: int) -> list[dict[str, Any]]:
        """The messages of a type that the client sent."""
        return [message for _, message in self.received if message["msg_type"] == msg_type]

    @property
    def is_open(self) -> bool:
        return self.closed_s is None


class MemoryTcp(trio.abc.Stream):
    """The client's end of a connection, with as much of a socket as is asked for."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.socket = self

    def fileno(self) -> int:
        return -1

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    def close(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError):  # the server's end is closed: no matter to a socket
            self._stream.send_stream.close()
        self._stream.receive_stream.close()

    async def aclose(self) -> None:
        await self._stream.aclose()


class FakeZoom:
    """All servers of Zoom. `open_tcp_stream` takes the place of Trio's.

    Attributes:
        dialled: (time, host) of each TCP connection.
        peers: of each WebSocket whose first message came, in order.
        answers: for each kind of connection, the statuses of its next handshakes; 0 when there are none left.
        always: for a kind of connection, the status of all its handshakes.
        echoes: `media_params` of the next answers to media handshakes.
        slow: for a kind of connection, how many seconds its handshakes take.
        hasty: for a kind of connection, what is sent before anything was asked; ASK: a keep-alive.
        down: hosts that refuse TCP.
        deaf: hosts that never answer TCP.
        violations: what a client must never do, with the time of it.
        stream_state: what a request for it is answered with; None: no answer.
        media_host: whom message 2 names.
        grants: for a kind of media connection, the parameters that its handshake is answered with.
        misses: so many keep-alives may go unanswered.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self.dialled: list[tuple[float, str]] = []
        self.peers: list[Peer] = []
        self.answers: defaultdict[str, deque[int]] = defaultdict(deque)
        self.always: dict[str, int] = {}
        self.grants: dict[str, dict[str, int]] = {}
        self.echoes: list[dict[str, dict[str, int]]] = []
        self.slow: dict[str, float] = {}
        self.hasty: dict[str, str] = {}
        self.down: set[str] = set()
        self.deaf: set[str] = set()
        self.violations: list[tuple[float, str]] = []
        self.stream_state: int | None = 1
        self.media_host: str | None = None
        self.misses = 3
        self.unified = False
        self.closes_politely = True
        self._nursery = nursery

    async def open_tcp_stream(self, host: str, port: int, **_: Any) -> trio.SocketStream:
        self.dialled.append((trio.current_time(), host))
        await trio.lowlevel.checkpoint()
        if host in self.deaf:
            await trio.sleep_forever()
        if host in self.down:
            raise OSError("refused")
        client, server = memory_stream_pair()
        self._nursery.start_soon(self._serve, host, server, client)
        return cast("trio.SocketStream", MemoryTcp(client))

    def open(self, kind: str) -> list[Peer]:
        return [peer for peer in self.peers if peer.kind == kind and peer.is_open]

    def last(self, kind: str) -> Peer:
        return next(peer for peer in reversed(self.peers) if peer.kind == kind)

    def hellos(self, kind: str) -> list[float]:
        """The times at which handshakes of a kind were asked for."""
        return [round(peer.opened_s, 2) for peer in self.peers if peer.kind == kind]

    async def _serve(self, host: str, server: Any, client: Any) -> None:
        async with trio.open_nursery() as nursery:
            with contextlib.suppress(trio_websocket.HandshakeError, trio_websocket.ConnectionClosed):
                request = await trio_websocket.wrap_server_stream(nursery, server)
                peer = Peer(request.path.strip("/"), host, server, client)
                peer.ws = await request.accept()
                if peer.kind in self.hasty:
                    await (peer.ask(timestamp=1) if self.hasty[peer.kind] == ASK else peer.send(self.hasty[peer.kind]))
                await self._converse(peer, nursery)
            nursery.cancel_scope.cancel()

    async def _converse(self, peer: Peer, nursery: trio.Nursery) -> None:
        try:
            hello = json.loads(await peer.ws.get_message())
            peer.received.append((trio.current_time(), hello))
            peer.rtms_stream_id = hello["rtms_stream_id"]
            self._check_place(peer)
            self.peers.append(peer)
            answers = self.answers[peer.kind]
            status = answers.popleft() if answers else self.always.get(peer.kind, 0)
            while status == SILENT:
                await peer.ws.get_message()  # until the client has had enough
            await trio.sleep(self.slow.get(peer.kind, 0.0))
            await peer.say(**self._answer(peer, status))
            if status != 0:
                await peer.ws.aclose()
                return
            nursery.start_soon(self._keep_alive, peer)
            while True:
                message = json.loads(await peer.ws.get_message())
                peer.received.append((trio.current_time(), message))
                await self._react(peer, message)
        finally:
            peer.closed_s = trio.current_time()

    def _check_place(self, peer: Peer) -> None:
        """There is one connection of each kind, and none for media without signaling."""
        others = [other for other in self.peers if other.rtms_stream_id == peer.rtms_stream_id]
        if any(other.kind == peer.kind and other.is_open for other in others):
            self._complain(f"a second {peer.kind} connection beside a live one")
        ended_s = [
            trio.current_time() if other.closed_s is None else other.closed_s
            for other in others
            if other.kind == "signaling"
        ]
        if peer.kind != "signaling" and max(ended_s, default=-math.inf) < trio.current_time() - NOTICED_S:
            self._complain(f"{peer.kind} without signaling")

    def _complain(self, what: str) -> None:
        self.violations.append((trio.current_time(), what))

    def _answer(self, peer: Peer, status: int) -> dict[str, Any]:
        if peer.kind != "signaling":
            if status == 0 and self.echoes:
                return {"msg_type": 4, "status_code": 0, "media_params": self.echoes.pop(0)}
            granted = self.grants.get(peer.kind)
            return {"msg_type": 4, "status_code": status} | (
                {"media_params": {peer.kind: granted}} if granted is not None else {}
            )
        media_host = self.media_host or peer.host
        names = ["all"] if self.unified else ["audio", "transcript", "video"]
        urls = {name: f"ws://{media_host}/{name}" for name in names}
        return {"msg_type": 2, "status_code": status, "media_server": {"server_urls": urls}}

    async def _react(self, peer: Peer, message: dict[str, Any]) -> None:
        match message["msg_type"]:
            case 19 if self.stream_state is not None:
                await peer.say(20, state=self.stream_state, timestamp=zoom_ms())
            case 21 if self.closes_politely:
                await peer.say(22, status_code=0)
                await peer.stream_state(4, 20)
            case 13:
                asked = {name: value for name, value in message.items() if name != "msg_type"}
                if asked in peer.unanswered:
                    peer.unanswered.remove(asked)
                    peer.answered += 1
                else:
                    self._complain(f"{message} on {peer.kind}, where {list(peer.unanswered)} wait for their answer")

    async def _keep_alive(self, peer: Peer) -> None:
        while True:
            await trio.sleep(KEEP_ALIVE_EVERY_S)
            if peer.speaks:
                if len(peer.unanswered) >= self.misses:
                    await peer.cut()
                await peer.ask(timestamp=zoom_ms())
