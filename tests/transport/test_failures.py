"""Causes of failed connections: each has its own words, taken from real sockets where one can be made to fail so."""

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trio
import trustme

from rtmsd.config import ZoomConfig
from rtmsd.errors import ConnectionLost
from rtmsd.transport.failures import http_answer, system_error, tls_failure, why_not_connected
from rtmsd.transport.websocket import open_signaling
from tests.transport.test_websocket import LIMIT_S, Peer, server

ZOOM = ZoomConfig(allowed_hosts=("127.0.0.1", "localhost", "*.invalid"), allow_plain_ws=True)

CA = trustme.CA()


async def why(url: str, timeout_s: float = LIMIT_S) -> str:
    with pytest.raises(ConnectionLost) as caught:
        async with open_signaling(url, ZOOM, timeout_s):
            pytest.fail("not open")
    return str(caught.value)


async def why_from(
    serve: Callable[[trio.SocketStream], Awaitable[None]], scheme: str, timeout_s: float = LIMIT_S
) -> str:
    async with trio.open_nursery() as nursery:
        [listener, *_] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        text = await why(f"{scheme}://127.0.0.1:{listener.socket.getsockname()[1]}/", timeout_s)
        nursery.cancel_scope.cancel()
    return text


async def test_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        text = await why(f"ws://127.0.0.1:{taken.getsockname()[1]}/")
    assert "refused" in text
    assert "sub-exception" not in text


async def test_an_unknown_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
    monkeypatch.setattr("trio._highlevel_open_tcp_stream.getaddrinfo", unknown)
    assert "DNS: the name is not known" in await why("wss://rtms.invalid/")


async def test_reset_during_the_upgrade() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        await stream.aclose()

    assert "reset by the other side" in await why_from(serve, "ws")
    assert "reset by the other side" in await why_from(serve, "wss")


async def test_the_step_that_hangs_is_named() -> None:
    async def serve(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    assert "WebSocket upgrade" in await why_from(serve, "ws", 0.3)
    assert "TLS handshake" in await why_from(serve, "wss", 0.3)


async def test_a_server_without_tls() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert "the server does not speak TLS" in await why_from(serve, "wss")


async def test_a_certificate_of_an_unknown_issuer() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("127.0.0.1").configure_cert(context)

    async def serve(stream: trio.SocketStream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await trio.SSLStream(stream, context, server_side=True).receive_some()

    assert "nobody known here signed it" in await why_from(serve, "wss")


async def test_an_old_tls_version() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("127.0.0.1").configure_cert(context)

    async def serve(stream: trio.SocketStream) -> None:  # an alert, as a server sends that knows no TLS 1.2
        await stream.receive_some()
        await stream.send_all(b"\x15\x03\x01\x00\x02\x02\x46")
        await trio.sleep_forever()

    assert "TLS version" in await why_from(serve, "wss")


async def test_http_instead_of_a_websocket() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n")

    assert "HTTP status 503 (Service Unavailable)" in await why_from(serve, "ws")


async def test_an_end_without_a_close_frame_is_described() -> None:
    async def serve(peer: Peer) -> None:
        await peer.stream.aclose()

    async with server(serve) as url, open_signaling(url, ZOOM, LIMIT_S) as ws:
        with pytest.raises(ConnectionLost, match="1006: the other side ended TCP without a close frame"):
            await ws.receive()


def test_several_addresses_the_last_cause_first() -> None:
    def failed(number: int) -> OSError:
        return OSError(number, f"Error connecting: {number}")

    error = OSError("all attempts to connect failed")
    error.__cause__ = ExceptionGroup(
        "x", [failed(errno.ENETUNREACH), failed(errno.ENETUNREACH), failed(errno.ECONNREFUSED)]
    )
    first, second = why_not_connected(error).split("; ")
    assert first.startswith("refused")
    assert second == "no route to the network"


def test_each_errno_has_its_own_text() -> None:
    numbers = (errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET)
    assert len({system_error(OSError(number, "")) for number in numbers}) == len(numbers)


def test_the_status_of_the_upgrade() -> None:
    assert http_answer(403) == "HTTP status 403 (Forbidden)"
    assert http_answer(799) == "HTTP status 799"


def test_tls_errors_without_a_reason_still_have_a_text() -> None:
    assert tls_failure(ssl.SSLError(1, "strange")).startswith("TLS: ")
