"""The client of Unix sockets: against the project's own server, and against servers that misbehave."""

import math
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from rtmsd.admin.server import refuse
from rtmsd.http.client import (
    MAX_HEAD_BYTES,
    BrokenReply,
    ClientError,
    NobodyThere,
    TimedOut,
    open_stream,
    request,
)
from rtmsd.http.listening import open_unix
from rtmsd.http.messages import Door, HttpRequest, Limits, Peer, Reply, Respond, Source, StreamReply
from rtmsd.http.server import serve

LIMITS = Limits(connections=100, body_bytes=2**22, request_s=60, answer_s=math.inf, send_s=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@asynccontextmanager
async def served(path: Path, respond: Respond) -> AsyncIterator[None]:
    door = Door(
        name="test", limits=LIMITS, welcome=lambda _: Peer(share=0, respond=respond, refuse=refuse), server="me"
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, door, [open_unix("test", path, mode=0o600, backlog=10)])
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def answered_raw(path: Path, answer: bytes) -> AsyncIterator[None]:
    """Answer whatever comes with these bytes, and close."""

    async def handle(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listener = open_unix("test", path, mode=0o600, backlog=10)
        await nursery.start(trio.serve_listeners, handle, [listener])
        yield
        nursery.cancel_scope.cancel()


async def echo(asked: HttpRequest) -> Reply:
    names = ",".join(sorted(name.decode() for name, _ in asked.headers))
    return Reply(
        status=int(asked.target.rpartition("=")[2]),
        content_type="text/x",
        body=asked.body,
        headers={"x-method": asked.method, "x-target": asked.target, "x-names": names},
    )


@pytest.mark.parametrize("body", [b"", b"a", bytes(range(256)) * 4096])
async def test_a_reply_is_returned_whole_whatever_its_status(path: Path, body: bytes) -> None:
    async with served(path, echo):
        for status in (200, 404, 503):
            reply = await request(path, "POST", f"/a%20b?s={status}", body, headers={"x-mine": "1"}, timeout_s=60)
            assert reply == Reply(
                status=status,
                content_type="text/x",
                body=body,
                headers={
                    "cache-control": "no-store",
                    "server": "me",
                    "x-method": "POST",
                    "x-target": f"/a%20b?s={status}",
                    "x-names": "connection,content-length,host,x-mine",
                },
            )


async def test_a_body_that_the_server_refuses_unread_is_answered(path: Path) -> None:
    async with served(path, echo):
        reply = await request(path, "POST", "/", bytes(LIMITS.body_bytes * 4), timeout_s=60)
    assert reply.status == 413


@pytest.mark.parametrize("where", ["missing", "missing/s", "stale", "stale/s"])
async def test_nobody_there(tmp_path: Path, where: str) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "stale"))
    with pytest.raises(NobodyThere, match=f"nobody listens on .*{where}"):
        await request(tmp_path / where, "GET", "/", timeout_s=60)


async def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match="too long") as raised:
        await request(tmp_path / ("x" * 108), "GET", "/", timeout_s=60)
    assert type(raised.value) is ClientError


@contextmanager
def hung(path: Path, *, backlog: int) -> Iterator[None]:
    """Listen, and accept nobody."""
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen(backlog)
        yield


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("ask", [request, open_stream])
async def test_a_server_that_hangs_costs_no_more_than_the_time_limit(
    path: Path, autojump_clock: MockClock, ask: Callable[..., Awaitable[object]]
) -> None:
    before = open_files()
    with hung(path, backlog=5):
        began_s = trio.current_time()
        with pytest.raises(TimedOut, match=r"no reply within 0\.3 s"):
            await ask(path, "GET", "/", timeout_s=0.3)
        assert trio.current_time() - began_s == pytest.approx(0.3)
    assert open_files() == before


async def test_a_full_queue_is_waited_for(path: Path, autojump_clock: MockClock) -> None:
    replies: list[Reply] = []

    async def ask() -> None:
        replies.append(await request(path, "GET", "/?s=200", timeout_s=60))

    with closing(socket.socket(socket.AF_UNIX)) as listening, closing(socket.socket(socket.AF_UNIX)) as first:
        listening.bind(str(path))
        listening.listen(0)
        first.connect(str(path))  # the queue is full
        with pytest.raises(TimedOut):
            await request(path, "GET", "/", timeout_s=1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(10)
            listening.accept()[0].close()
            await trio.sleep(10)
            listening.settimeout(60)
            with listening.accept()[0] as accepted:
                assert accepted.recv(1000).startswith(b"GET /?s=200 HTTP/1.1\r\n")
                accepted.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
    assert [reply.body for reply in replies] == [b"hi"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the reply was cut off"),
        (b"HTTP/1.1 200", "the reply was cut off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcd", "the reply was cut off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n", "the reply was cut off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\nabcde\r\n0\r\n\r\n", "illegal chunk header"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the reply was cut off"),
        (b"\x16\x03\x01\x00" * 9, "illegal"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"x" * (2 * MAX_HEAD_BYTES), "too large|too long"),
    ],
)
async def test_a_broken_reply(path: Path, answer: bytes, why: str) -> None:
    async with answered_raw(path, answer):
        with pytest.raises(BrokenReply, match=why):
            await request(path, "GET", "/", timeout_s=60)


async def test_a_connection_that_is_reset(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen(5)

        async def hang_up() -> None:
            await trio.lowlevel.wait_readable(listening)
            listening.accept()[0].close()  # on unread bytes

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang_up)
            with pytest.raises(BrokenReply, match="cut off"):
                await request(path, "POST", "/", b"x" * 2**20, timeout_s=60)


async def test_a_reply_may_be_bounded(path: Path) -> None:
    async with served(path, echo):
        assert len((await request(path, "POST", "/?s=200", b"x" * 1000, timeout_s=60, max_bytes=1000)).body) == 1000
        with pytest.raises(BrokenReply, match="larger than 1000 bytes"):
            await request(path, "POST", "/?s=200", b"x" * 1001, timeout_s=60, max_bytes=1000)


async def test_an_interim_response_is_passed_over(path: Path) -> None:
    answer = b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 201 Created\r\nx: 1\r\nx: 2\r\n\r\nto the end"
    async with answered_raw(path, answer):
        reply = await request(path, "GET", "/", timeout_s=60)
    assert reply == Reply(status=201, content_type="", body=b"to the end", headers={"x": "1, 2"})


class Feed:
    """A live source: what is sent to it, until it is closed; notes that its reader has left."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[bytes](100)
        self.left = trio.Event()

    async def chunk(self) -> bytes | None:
        try:
            return await self._receive.receive()
        except trio.EndOfChannel:
            return None

    def trailers(self) -> Mapping[str, str]:
        return {"x-lost": "3"}

    @contextmanager
    def open(self) -> Iterator[Source]:
        try:
            yield self
        finally:
            self.left.set()

    async def respond(self, asked: HttpRequest) -> Reply | StreamReply:
        if asked.target == "/early":
            return Reply(status=409, body=b"{}")
        return StreamReply(content_type="audio/wav", open=self.open, trailer_names=("x-lost", "x-more"))


async def test_a_live_reply_comes_piece_by_piece_and_its_trailers_last(path: Path) -> None:
    feed = Feed()
    async with served(path, feed.respond):
        with await open_stream(path, "GET", "/", timeout_s=60) as reply:
            assert (reply.status, reply.content_type) == (200, "audio/wav")
            assert reply.headers == {"cache-control": "no-store", "server": "me"}
            assert reply.trailer_names == ("x-lost", "x-more")
            for piece in (b"a", b"bc"):
                feed.send.send_nowait(piece)
                assert await reply.chunk() == piece
            feed.send.close()
            assert await reply.chunk() is None
            assert reply.trailers() == {"x-lost": "3"}
        await feed.left.wait()


async def test_silence_of_a_live_reply_is_not_limited(path: Path, autojump_clock: MockClock) -> None:
    feed = Feed()
    async with served(path, feed.respond):
        with await open_stream(path, "GET", "/", timeout_s=60) as reply, trio.move_on_after(1000) as limit:
            await reply.chunk()
    assert limit.cancelled_caught


async def test_closing_a_live_reply_is_seen_by_the_server(path: Path) -> None:
    feed = Feed()
    async with served(path, feed.respond):
        reply = await open_stream(path, "GET", "/", timeout_s=60)
        assert not feed.left.is_set()
        reply.close()
        with trio.fail_after(60):
            await feed.left.wait()


async def test_a_live_reply_that_is_cut_off(path: Path) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n"
    async with answered_raw(path, answer):
        with await open_stream(path, "GET", "/", timeout_s=60) as reply:
            assert await reply.chunk() == b"abcde"
            with pytest.raises(BrokenReply, match="cut off"):
                await reply.chunk()


async def test_a_live_reply_can_be_passed_on(path: Path, tmp_path: Path) -> None:
    """As one worker does with the tap of another."""
    feed = Feed()
    behind = tmp_path / "behind"

    async def pass_on(asked: HttpRequest) -> Reply | StreamReply:
        reply = await open_stream(behind, asked.method, asked.target, timeout_s=60)
        if reply.status != 200:
            with reply:
                return Reply(status=reply.status, body=await reply.read())
        return StreamReply(content_type=reply.content_type, open=lambda: reply, trailer_names=reply.trailer_names)

    async with served(behind, feed.respond), served(path, pass_on):
        assert await request(path, "GET", "/early", timeout_s=60) == Reply(
            status=409, body=b"{}", headers={"cache-control": "no-store", "server": "me"}
        )
        with await open_stream(path, "GET", "/", timeout_s=60) as reply:
            feed.send.send_nowait(b"RIFF")
            assert await reply.chunk() == b"RIFF"
            assert not feed.left.is_set()
            feed.send.close()
            assert await reply.chunk() is None
            assert reply.trailers() == {"x-lost": "3"}
        with trio.fail_after(60):
            await feed.left.wait()


async def test_without_a_free_descriptor_the_request_is_refused_like_others(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(ClientError, match="Too many open files") as raised:
            await request(path, "GET", "/", timeout_s=60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert type(raised.value) is ClientError  # it is not known that nobody listens


async def test_a_request_that_is_cancelled_leaves_nothing_behind(path: Path) -> None:
    arrived, left = trio.Event(), trio.Event()
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen(5)

        async def watch() -> None:
            await trio.lowlevel.wait_readable(listening)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(listening.accept()[0]))
            async with stream:
                await stream.receive_some()
                arrived.set()
                assert await stream.receive_some() == b""
                left.set()

        async with trio.open_nursery() as watching:
            watching.start_soon(watch)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(request, path, "GET", "/", timeout_s=math.inf))
                await arrived.wait()
                nursery.cancel_scope.cancel()
            with trio.fail_after(60):
                await left.wait()
