"""TlsStream against trio's, over streams in memory."""

import contextlib
import socket
import ssl
from typing import TypeAlias

import pytest
import trio
import trio.testing
import trustme

from rtmsd.transport.network import READ_BYTES, TcpStream
from rtmsd.transport.tls import TlsStream

MemoryStream: TypeAlias = "trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]"
Server: TypeAlias = "trio.SSLStream[MemoryStream]"

CA = trustme.CA()
RECORD_BYTES = 16 * 1024


def client_context(ca: trustme.CA | None = CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        ca.configure_trust(context)
    return context


def make_pair(host: str = "zoom.test", context: ssl.SSLContext | None = None) -> tuple[TlsStream, Server]:
    near, far = trio.testing.memory_stream_pair()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("zoom.test").configure_cert(server_context)
    return TlsStream(near, context or client_context(), host), trio.SSLStream(far, server_context, server_side=True)


async def connect(client: TlsStream, server: Server) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.do_handshake)
        nursery.start_soon(server.do_handshake)


async def read(stream: TlsStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await stream.receive_some()
        assert more
        data += more
    return data


async def test_both_directions() -> None:
    client, server = make_pair()
    await connect(client, server)
    sent = bytes(range(256)) * 4000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.send_all, sent)
        assert await read(client, len(sent)) == sent
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, b"to you")
        assert await server.receive_some() == b"to you"


async def test_one_read_brings_all_records_that_are_there() -> None:
    client, server = make_pair()
    await connect(client, server)
    for number in range(50):
        await server.send_all(b"record %2d" % number)
    assert await client.receive_some() == b"".join(b"record %2d" % number for number in range(50))


async def test_max_bytes_leaves_the_rest_for_later() -> None:
    client, server = make_pair()
    await connect(client, server)
    await server.send_all(b"abcdef")
    assert [await client.receive_some(4), await client.receive_some(4)] == [b"abcd", b"ef"]


@pytest.mark.parametrize(
    ("host", "context", "says"),
    [
        ("other.test", client_context(), "Hostname mismatch"),
        ("zoom.test", client_context(ca=None), "certificate"),
    ],
)
async def test_bad_certificates(host: str, context: ssl.SSLContext, says: str) -> None:
    client, server = make_pair(host, context)
    alerted = trio.Event()

    async def serve() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await server.do_handshake()
            await server.receive_some()  # TLS 1.3: the client's verdict comes after the server's handshake
        alerted.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with pytest.raises(trio.BrokenResourceError, match=says):
            await client.do_handshake()
    assert alerted.is_set()


async def test_an_end_during_the_handshake() -> None:
    client, server = make_pair()
    await server.transport_stream.send_eof()
    with pytest.raises(trio.BrokenResourceError, match="ended during the TLS handshake"):
        await client.do_handshake()


@pytest.mark.parametrize("with_close_notify", [True, False])
async def test_the_end_with_and_without_close_notify(with_close_notify: bool) -> None:
    client, server = make_pair()
    await connect(client, server)
    await server.send_all(b"last words")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.aclose if with_close_notify else server.transport_stream.aclose)
        assert await client.receive_some() == b"last words"
        assert await client.receive_some() == b""
        assert await client.receive_some() == b""
        await client.aclose()


async def test_tampering_is_found_behind_good_data() -> None:
    client, server = make_pair()
    await connect(client, server)
    await server.send_all(b"genuine")
    await server.transport_stream.send_all(b"\x17\x03\x03\x00\x20" + b"forged" * 6)
    assert await client.receive_some() == b"genuine"
    with pytest.raises(trio.BrokenResourceError, match="TLS"):
        await client.receive_some()


async def test_the_stream_contract(autojump_clock: trio.testing.MockClock) -> None:
    """Checkpoints everywhere, and cancellation."""
    client, server = make_pair()
    await connect(client, server)
    await server.send_all(b"abc")
    with trio.testing.assert_checkpoints():
        await client.receive_some(1)
    with trio.testing.assert_checkpoints():
        await client.receive_some(1)  # from memory
    with trio.testing.assert_checkpoints():
        await client.send_all(b"x")
    await client.receive_some()
    with trio.move_on_after(1) as scope:
        await client.receive_some()
    assert scope.cancelled_caught
    await server.send_all(b"still there")
    assert await client.receive_some() == b"still there"


async def test_a_read_hands_on_all_records_that_it_completes() -> None:
    near, far = socket.socketpair()
    with far:
        far.setblocking(False)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * READ_BYTES)
        server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        CA.issue_cert("zoom.test").configure_cert(server_context)
        to_server, from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context.wrap_bio(to_server, from_server, server_side=True)
        client = TlsStream(
            TcpStream(trio.SocketStream(trio.socket.from_stdlib_socket(near))), client_context(), "zoom.test"
        )

        async def shake_hands() -> None:
            while True:
                await trio.lowlevel.wait_readable(far)
                to_server.write(far.recv(READ_BYTES))
                with contextlib.suppress(ssl.SSLWantReadError):
                    server.do_handshake()
                    return
                far.send(from_server.read())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake_hands)
            nursery.start_soon(client.do_handshake)
        server.write(bytes(RECORD_BYTES))
        begun = from_server.read()
        far.send(begun[:-1])
        with pytest.raises(trio.WouldBlock):
            client.receive_nowait(READ_BYTES)
        server.write(bytes(15 * RECORD_BYTES + RECORD_BYTES // 2))
        far.send(begun[-1:] + from_server.read())  # in one read, which brings more than its size once decrypted
        assert len(client.receive_nowait(READ_BYTES)) == 16 * RECORD_BYTES + RECORD_BYTES // 2
        await client.aclose()
