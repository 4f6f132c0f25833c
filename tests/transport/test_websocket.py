"""WebSocket connections over loopback sockets, against a server of a few lines that can also misbehave."""

import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import h11
import pytest
import trio
import trio.testing
import trustme
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConfigError, ConnectionLost, ForbiddenHost
from rtmsd.transport import websocket
from rtmsd.transport.dial import ssl_context
from rtmsd.transport.websocket import MediaSocket, WebSocketClosed, open_media, open_signaling

LIMIT = 5000
LIMIT_S = 60.0  # for whatever is waited for
ZOOM = ZoomConfig(allowed_hosts=("127.0.0.1", "localhost"), allow_plain_ws=True, max_message_bytes=LIMIT)


class Peer:
    """The server's end of a connection, upgraded."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.path = ""
        self._ws = WSConnection(ConnectionType.SERVER)

    async def upgrade(self) -> None:
        request = await self.receive()
        assert isinstance(request, Request)
        self.path = request.target
        await self.send(AcceptConnection())

    async def send(self, *events: Event) -> None:
        await self.stream.send_all(b"".join(self._ws.send(event) for event in events))

    async def receive(self) -> Event:
        while True:
            for event in self._ws.events():
                return event
            self._ws.receive_data(bytes(await self.stream.receive_some()) or None)

    async def close_handshake(self) -> None:
        """Read on to the client's close frame and answer it."""
        while not isinstance(closing := await self.receive(), CloseConnection):
            pass
        await self.send(closing.response())


Serve: TypeAlias = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve, *, context: ssl.SSLContext | None = None, upgrade: bool = True) -> AsyncIterator[str]:
    """Serve one connection with `serve`; gives the URL. What `serve` raises fails the test."""
    [listener, *_] = await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def accept() -> None:
        stream: trio.abc.Stream = await listener.accept()
        if context is not None:
            stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        async with stream:
            peer = Peer(stream)
            if upgrade:
                await peer.upgrade()
            await serve(peer)

    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        host = "127.0.0.1" if context is None else "localhost"
        yield f"{'ws' if context is None else 'wss'}://{host}:{listener.socket.getsockname()[1]}/signal?a=b"


async def end_of(socket: MediaSocket) -> WebSocketClosed:
    with pytest.raises(WebSocketClosed) as closed:
        await socket.wait_closed()
    return closed.value


# Well-behaved


async def test_signaling_both_ways() -> None:
    async def serve(peer: Peer) -> None:
        assert peer.path == "/signal?a=b"
        greeting = await peer.receive()
        assert isinstance(greeting, TextMessage)
        await peer.send(TextMessage(data=greeting.data.upper()), BytesMessage(data=b"\x00\x01"))
        await peer.close_handshake()

    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S) as ws:
        await ws.send("hello")
        assert [await ws.receive(), await ws.receive()] == ["HELLO", b"\x00\x01"]


async def test_nothing_is_kept_of_the_upgrade() -> None:
    async with server(Peer.close_handshake) as url, open_signaling(url, ZOOM, LIMIT_S):
        gc.collect()
        http = [each for each in gc.get_objects() if type(each) is h11.Connection and each.our_role is h11.CLIENT]
        assert not http


async def test_a_library_with_other_fields_of_its_own_works_as_well() -> None:
    class Other:
        __slots__ = ("_proto",)

    websocket._forget_upgrade(Other())  # type: ignore[arg-type]


async def test_media_are_lifted_in_order_and_pings_answered() -> None:
    taken: list[bytes] = []

    async def serve(peer: Peer) -> None:
        await peer.send(
            TextMessage(data="a"),
            BytesMessage(data=b"b"),
            TextMessage(data="c", message_finished=False),
            Ping(payload=b"are you there?"),
            TextMessage(data="d"),
            TextMessage(data="\u00e9" * (LIMIT // 2)),
        )
        answers = [await peer.receive(), await peer.receive()]  # in either order: nothing makes one wait for the other
        assert [each.payload for each in answers if isinstance(each, Pong)] == [b"are you there?"]
        assert [each.data for each in answers if isinstance(each, TextMessage)] == ["hello"]
        await peer.send(CloseConnection(code=1000, reason="enough"))
        assert isinstance(await peer.receive(), CloseConnection)

    async with server(serve) as url, open_media(url, ZOOM, LIMIT_S, taken.extend) as socket:
        await socket.send("hello")
        closed = await end_of(socket)
        with pytest.raises(WebSocketClosed):
            await socket.send("anybody?")
        assert (await end_of(socket)).code == 1000
    assert (closed.code, closed.reason) == (1000, "enough")
    assert taken == [b"a", b"b", b"cd", b"\xc3\xa9" * (LIMIT // 2)]


async def test_media_behind_the_upgrade_in_one_packet() -> None:
    taken: list[bytes] = []

    async def serve(peer: Peer) -> None:
        request = await peer.receive()
        assert isinstance(request, Request)
        await peer.send(AcceptConnection(), TextMessage(data="early"), CloseConnection(code=1001))
        assert isinstance(await peer.receive(), CloseConnection)

    async with server(serve, upgrade=False) as url, open_media(url, ZOOM, LIMIT_S, taken.extend) as socket:
        assert (await end_of(socket)).code == 1001
    assert taken == [b"early"]


async def test_messages_that_arrive_while_closing_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", LIMIT_S)
    taken: list[bytes] = []

    async def serve(peer: Peer) -> None:
        closing = await peer.receive()
        assert isinstance(closing, CloseConnection)
        assert closing.code == 1000
        await peer.stream.send_all(b"\x81\x04late")
        await peer.send(closing.response())

    async with server(serve) as url, open_media(url, ZOOM, LIMIT_S, taken.extend) as socket:
        pass
    assert taken == [b"late"]
    assert socket.was_read_out


class ShutGate:
    def __init__(self) -> None:
        self.opened = trio.Event()

    def is_shut(self) -> bool:
        return not self.opened.is_set()

    def has_room(self, size_bytes: int) -> bool:
        return False

    async def wait(self) -> None:
        await self.opened.wait()


async def test_the_gate_holds_back_reading() -> None:
    taken: list[bytes] = []
    gate = ShutGate()
    sent = trio.Event()

    async def serve(peer: Peer) -> None:
        await peer.receive()
        await peer.send(TextMessage(data="a"))
        sent.set()
        await peer.close_handshake()

    async with server(serve) as url, open_media(url, ZOOM, LIMIT_S, taken.extend, gate) as socket:
        await socket.send("still able to send")
        await sent.wait()
        assert taken == []
        gate.opened.set()
        while not taken:
            await trio.lowlevel.checkpoint()
    assert taken == [b"a"]


async def test_tls(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(ca_file)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    zoom = ZoomConfig(allowed_hosts=("localhost",), ca_file=ca_file)
    taken: list[bytes] = []

    async def serve(peer: Peer) -> None:
        await peer.send(*(TextMessage(data=str(number)) for number in range(1000)), CloseConnection(code=1000))
        assert isinstance(await peer.receive(), CloseConnection)

    async with server(serve, context=context) as url, open_media(url, zoom, LIMIT_S, taken.extend) as socket:
        await end_of(socket)
    assert taken == [str(number).encode() for number in range(1000)]
    assert ssl_context(zoom.ca_file) is ssl_context(zoom.ca_file)
    assert ssl_context(zoom.ca_file).minimum_version is ssl.TLSVersion.TLSv1_2

    async def refused(peer: Peer) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await peer.upgrade()

    async with server(refused, context=context, upgrade=False) as url:
        with pytest.raises(ConnectionLost, match="certificate is not good"):
            async with open_signaling(url, ZOOM, LIMIT_S):
                pytest.fail("the test's own CA is not among the system's")


def test_a_ca_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=r"zoom\.ca_file: .*cannot be loaded"):
            ssl_context(tmp_path / name)


# Misbehaving


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(b"\x82\x7e\x13\x89" + b"x" * (LIMIT + 1), 1009, id="too large"),
        pytest.param(b"\x82\x7f" + (2**40).to_bytes(8, "big") + b"x" * (LIMIT + 1), 1009, id="announced as huge"),
        pytest.param(b"\x81\x7e\x13\x8a" + "\u00e9".encode() * (LIMIT // 2 + 1), 1009, id="large in bytes only"),
        pytest.param(b"\x01\x7e\x13\x88" + b"x" * LIMIT + b"\x80\x01x", 1009, id="too large in fragments"),
        pytest.param(b"\x81\x81mask\x00", 1002, id="masked"),
        pytest.param(b"\xc1\x01a", 1002, id="reserved bit"),
        pytest.param(b"\x83\x01a", 1002, id="reserved opcode"),
        pytest.param(b"\x80\x01a", 1002, id="continuation of nothing"),
        pytest.param(b"\x01\x01a\x81\x01b", 1002, id="message within a message"),
    ],
)
@pytest.mark.parametrize("behind_it", [b"", b"\x81\x01x" * 20_000])
async def test_the_close_code_names_the_fault_of_the_server(sent: bytes, code: int, behind_it: bytes) -> None:
    taken: list[bytes] = []

    async def serve(peer: Peer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.stream.send_all, b"\x81\x02ok" + sent + behind_it)
            closing = await peer.receive()
        assert isinstance(closing, CloseConnection)
        assert closing.code == code

    async with server(serve) as url, open_media(url, ZOOM, LIMIT_S, taken.extend) as socket:
        assert (await end_of(socket)).code == code
    assert taken == [b"ok"]


@pytest.mark.parametrize(
    ("sent", "code"), [(b"\x81\x01\xff", 1007), (b"\x83\x01a", 1002), (b"\x82\x7e\x13\x89" + b"x" * (LIMIT + 1), 1009)]
)
async def test_signaling_closes_with_the_same_codes(sent: bytes, code: int) -> None:
    async def serve(peer: Peer) -> None:
        await peer.stream.send_all(sent)
        closing = await peer.receive()
        assert isinstance(closing, CloseConnection)
        assert closing.code == code

    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S) as ws:
        with pytest.raises(WebSocketClosed) as closed:
            await ws.receive()
    assert closed.value.code == code


async def test_tcp_ends_without_a_close_frame() -> None:
    async def serve(peer: Peer) -> None:
        await peer.stream.send_all(b"\x81\x04pa")

    async with server(serve) as url, open_media(url, ZOOM, LIMIT_S, lambda _: None) as socket:
        assert (await end_of(socket)).code == 1006
    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S) as ws:
        with pytest.raises(WebSocketClosed, match="1006"):
            await ws.receive()


async def test_a_server_that_never_answers_the_close_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.05)
    done = trio.Event()

    async def serve(_: Peer) -> None:
        await done.wait()

    async with server(serve) as url:
        with trio.fail_after(LIMIT_S):
            async with open_media(url, ZOOM, LIMIT_S, lambda _: None) as socket:
                pass
            assert not socket.was_read_out
            done.set()


async def test_a_server_that_answers_our_close_but_keeps_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", LIMIT_S)
    done = trio.Event()

    async def serve(peer: Peer) -> None:
        await peer.close_handshake()
        await done.wait()

    async with server(serve) as url:
        with trio.CancelScope() as slow:
            async with open_media(url, ZOOM, LIMIT_S, lambda _: None):
                slow.deadline = trio.current_time() + websocket.CLOSE_S / 2
            await trio.lowlevel.checkpoint()
        assert not slow.cancelled_caught
        done.set()


async def test_a_ping_while_we_close_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "CLOSE_S", 0.05)

    async def serve(peer: Peer) -> None:
        closing = await peer.receive()
        assert isinstance(closing, CloseConnection)
        await peer.stream.send_all(b"\x89\x01p")
        await peer.send(closing.response())

    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S):
        pass


# Not connected at all


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 503 Busy\r\ncontent-length: 5\r\n\r\nsorry", "HTTP status 503"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", "did not upgrade"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "did not upgrade"),
        (b"HTTP/1.1 101 Switching\r\n bad header\r\n\r\n", "did not upgrade"),
        (b"", "ended during the WebSocket upgrade"),
    ],
)
async def test_an_upgrade_that_fails(answer: bytes, says: str) -> None:
    async def serve(peer: Peer) -> None:
        assert isinstance(await peer.receive(), Request)
        await peer.stream.send_all(answer)

    async with server(serve, upgrade=False) as url:
        with pytest.raises(ConnectionLost, match=says):
            async with open_media(url, ZOOM, LIMIT_S, lambda _: None):
                pytest.fail("not open")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_silent_server(scheme: str) -> None:
    done = trio.Event()

    async def serve(_: Peer) -> None:
        await done.wait()

    async with server(serve, upgrade=False) as url:
        with pytest.raises(ConnectionLost, match=r"no connection to 127\.0\.0\.1:\d+ within 0\.3 s"):
            async with open_signaling(url.replace("ws", scheme), ZOOM, 0.3):
                pytest.fail("not open")
        done.set()


async def test_nobody_listens() -> None:
    [listener, *_] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(ConnectionLost, match=r"no TCP connection to 127\.0\.0\.1"):
        async with open_signaling(f"ws://127.0.0.1:{port}/", ZOOM, LIMIT_S):
            pytest.fail("not open")


async def test_a_forbidden_host() -> None:
    with pytest.raises(ForbiddenHost, match=r"zoom\.allowed_hosts"):
        async with open_signaling("ws://elsewhere.example/", ZOOM, LIMIT_S):
            pytest.fail("not open")


# Whoever uses the connection


class Surprise(Exception):
    pass


async def test_send_soon_sends_in_order_from_one_task() -> None:
    received: list[str] = []
    waiting = [str(number) for number in range(50)]
    calls = 0

    def take() -> list[str]:
        nonlocal calls
        calls += 1
        taken, waiting[:] = waiting[:10], waiting[10:]
        return taken

    async def serve(peer: Peer) -> None:
        while not isinstance(event := await peer.receive(), CloseConnection):
            assert isinstance(event, TextMessage)
            received.append(event.data)
            if event.data == "last":
                await peer.send(TextMessage(data="enough"))
        await peer.send(event.response())

    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S) as ws:
        ws.send_soon(take)
        ws.send_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        assert calls == 6
        waiting.append("last")
        ws.send_soon(take)
        assert await ws.receive() == "enough"
    assert received == [*(str(number) for number in range(50)), "last"]
    ws.send_soon(take)
    assert calls == 8


async def test_a_failed_send_soon_is_reported_to_the_reader() -> None:
    async def serve(peer: Peer) -> None:
        await peer.send(TextMessage(data="last words"), CloseConnection(code=1001))
        assert isinstance(await peer.receive(), CloseConnection)

    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S) as ws:
        await trio.testing.wait_all_tasks_blocked()
        ws.send_soon(lambda: ["too late"])
        assert await ws.receive() == "last words"
        with pytest.raises(WebSocketClosed, match="1001"):
            await ws.receive()


async def test_dropping_a_connection_closes_it_with_the_reason() -> None:
    lost = ConnectionLost("nothing heard")
    async with server(Peer.close_handshake) as url:
        with pytest.raises(ConnectionLost) as raised:
            async with open_media(url, ZOOM, LIMIT_S, lambda _: None) as socket:
                socket.drop(lost)
                await socket.wait_closed()
    assert raised.value is lost


async def test_errors_of_the_body_are_raised_unchanged() -> None:
    surprise = Surprise()
    async with server(Peer.close_handshake) as url:
        with pytest.raises(Surprise) as raised:
            async with open_media(url, ZOOM, LIMIT_S, lambda _: None):
                raise surprise
    assert raised.value is surprise


async def test_cancelling_the_body_closes_with_a_handshake() -> None:
    async with server(Peer.close_handshake) as url:
        with trio.CancelScope() as scope:
            async with open_signaling(url, ZOOM, LIMIT_S) as ws:
                scope.cancel()
                await ws.receive()
        assert scope.cancelled_caught


@pytest.mark.parametrize("in_one_packet", [True, False])
async def test_a_bug_in_the_consumer_is_not_swallowed(in_one_packet: bool) -> None:
    surprise = Surprise()

    def consume(_: list[bytes]) -> None:
        raise surprise

    async def serve(peer: Peer) -> None:
        if not in_one_packet:
            await peer.upgrade()
            assert isinstance(await peer.receive(), TextMessage)
            await peer.send(TextMessage(data="a"))
        else:
            await peer.receive()
            await peer.send(AcceptConnection(), TextMessage(data="a"))
        while not isinstance(await peer.receive(), CloseConnection):
            pass

    async with server(serve, upgrade=False) as url:
        with pytest.raises(Surprise) as raised:
            async with open_media(url, ZOOM, LIMIT_S, consume) as socket:
                await socket.send("now")
                await socket.wait_closed()
    assert raised.value is surprise


async def test_an_error_of_a_cancelled_body_is_not_lost() -> None:
    async with server(Peer.close_handshake) as url:
        with pytest.raises(Surprise), trio.CancelScope() as scope:
            async with open_signaling(url, ZOOM, LIMIT_S):
                scope.cancel()
                raise Surprise


async def test_being_cancelled_while_connecting() -> None:
    done = trio.Event()

    async def serve(_: Peer) -> None:
        await done.wait()

    async with server(serve, upgrade=False) as url:
        with trio.move_on_after(0.05) as scope:
            async with open_signaling(url, ZOOM, LIMIT_S):
                pytest.fail("not open")
        assert scope.cancelled_caught
        done.set()
