"""One HTTP connection over a memory stream: order, limits, deadlines, and clients that misbehave or leave."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import h11
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rtmsd.admin.server import LIMITS, refuse
from rtmsd.http.connection import FIRST_REQUEST_S, Connection
from rtmsd.http.messages import HttpRequest, Peer, Reply, Respond, StreamReply
from rtmsd.http.places import SLOW_AFTER_S, Places

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


class Echo:
    """Echoes each request."""

    def __init__(self) -> None:
        self.requests: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest) -> Reply:
        self.requests.append(request)
        return Reply(body=f"{request.method} {request.target} {len(request.body)}".encode())


class Script:
    """A source that gives `chunks` and, after them, ends or waits for ever."""

    def __init__(self, chunks: list[bytes], *, then_waits: bool = False) -> None:
        self.left = list(chunks)
        self.then_waits = then_waits
        self.is_open = False

    async def chunk(self) -> bytes | None:
        if self.left:
            return self.left.pop(0)
        if self.then_waits:
            await trio.sleep_forever()
        return None

    def trailers(self) -> Mapping[str, str]:
        return {"x-lost": "3"}

    @contextmanager
    def open(self) -> Iterator["Script"]:
        self.is_open = True
        try:
            yield self
        finally:
            self.is_open = False

    async def __call__(self, request: HttpRequest) -> StreamReply:
        return StreamReply(content_type="text/plain", open=self.open, trailer_names=("x-lost",))


async def serve_connection(stream: trio.abc.HalfCloseableStream, respond: Respond) -> None:
    await Connection(stream, LIMITS).serve(Peer(share=None, respond=respond, refuse=refuse))


async def talk(respond: Respond, *sent: bytes, hang_up: bool = True) -> bytes:
    """Send all, hang up (or not), and return the answers until the server closes."""
    client, server = trio.testing.memory_stream_pair()
    heard = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server, respond)
        for part in sent:
            await client.send_all(part)
            await trio.testing.wait_all_tasks_blocked()
        if hang_up:
            await client.send_eof()
        while data := await client.receive_some():
            heard += data
    return heard


def answers(raw: bytes, *methods: str) -> list[tuple[int, dict[str, str], bytes]]:
    """Read the answers to requests of these methods the way an HTTP client does."""
    client = h11.Connection(h11.CLIENT)
    found = []
    client.receive_data(raw)
    client.receive_data(b"")
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        client.send(h11.EndOfMessage())
        response = client.next_event()
        assert isinstance(response, h11.Response)
        body = b""
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
        assert isinstance(event, h11.EndOfMessage)
        headers = [*response.headers, *event.headers]
        found.append((response.status_code, {k.decode(): v.decode() for k, v in headers}, body))
        if client.our_state is h11.DONE and client.their_state is h11.DONE:
            client.start_next_cycle()
    return found


def problem(raw: bytes) -> dict[str, Any]:
    [(status, headers, body)] = answers(raw, "GET")
    assert headers["content-type"] == "application/problem+json"
    assert headers["connection"] == "close"
    parsed = json.loads(body)
    assert isinstance(parsed, dict)
    assert parsed["status"] == status
    return parsed


async def test_one_connection_serves_request_after_request_also_when_they_come_together() -> None:
    raw = await talk(Echo(), GET + b"POST /b?c=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + GET, GET)
    assert [body for _, _, body in answers(raw, "GET", "POST", "GET", "GET")] == [
        b"GET /a 0",
        b"POST /b?c=%20 3",
        b"GET /a 0",
        b"GET /a 0",
    ]


async def test_a_request_may_come_byte_by_byte() -> None:
    raw = await talk(Echo(), *(bytes([byte]) for byte in GET))
    assert [status for status, _, _ in answers(raw, "GET")] == [200]


async def test_connection_close_is_respected() -> None:
    echo = Echo()
    raw = await talk(echo, b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + GET, hang_up=False)
    assert len(answers(raw, "GET")) == len(echo.requests) == 1


async def test_head_gets_no_body() -> None:
    raw = await talk(Echo(), b"HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    assert [body for _, _, body in answers(raw, "HEAD", "GET")] == [b"", b"GET /a 0"]


async def test_a_chunked_body_is_read_and_a_waiting_client_gets_100_continue() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
    raw = await talk(Echo(), head, b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 100 ")
    assert raw.endswith(b"POST /a 3")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LIMITS.body_bytes + 1)
        + b"x" * (LIMITS.body_bytes + 1),
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"10000\r\n"
        + b"x" * 0x10000
        + b"\r\n1\r\nx",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20_000,
    ],
    ids=["length", "chunked", "header"],
)
async def test_what_is_too_large_is_refused_without_waiting_for_its_end(request_bytes: bytes) -> None:
    echo = Echo()
    assert problem(await talk(echo, request_bytes))["code"] == "too_large"
    assert echo.requests == []


async def test_the_largest_body_allowed_is_read_whole() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % LIMITS.body_bytes
    [(status, _, body)] = answers(await talk(Echo(), head + b"x" * LIMITS.body_bytes), "POST")
    assert (status, body) == (200, b"POST /a %d" % LIMITS.body_bytes)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 hello\r\n\r\n",
        b"GET /a HTTP/1.1\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
    ids=["tls", "no host", "negative length"],
)
async def test_what_is_not_http_is_refused_and_closed(sent: bytes, autojump_clock: MockClock) -> None:
    assert problem(await talk(Echo(), sent, hang_up=False))["code"] == "bad_request"


async def test_an_idle_client_is_closed_without_an_answer(autojump_clock: MockClock) -> None:
    start_s = trio.current_time()
    assert await talk(Echo(), hang_up=False) == b""
    assert trio.current_time() - start_s == pytest.approx(LIMITS.idle_s)


@pytest.mark.parametrize("part", [GET[:-5], b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"])
async def test_half_a_request_times_out_with_an_answer(part: bytes, autojump_clock: MockClock) -> None:
    start_s = trio.current_time()
    assert problem(await talk(Echo(), part, hang_up=False))["code"] == "request_timeout"
    assert trio.current_time() - start_s == pytest.approx(LIMITS.request_s, abs=2)


async def test_a_client_that_trickles_bytes_gets_no_more_time(autojump_clock: MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    start_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server, Echo())
        with pytest.raises(trio.BrokenResourceError):
            for byte in GET * 10:
                await client.send_all(bytes([byte]))
                await trio.sleep(5)
    assert trio.current_time() - start_s < LIMITS.request_s + 10


async def test_a_client_that_does_not_read_its_answer_is_dropped(autojump_clock: MockClock) -> None:
    client, server = trio.testing.lockstep_stream_pair()
    start_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, GET)
        await serve_connection(server, Echo())
    assert trio.current_time() - start_s == pytest.approx(LIMITS.send_s)


async def test_an_endless_answer_comes_in_chunks_and_ends_with_its_trailers_and_the_connection() -> None:
    script = Script([b"one", b"two"])
    [(status, headers, body)] = answers(await talk(script, GET + GET, hang_up=False), "GET")
    assert (status, body, headers["x-lost"], headers["trailer"]) == (200, b"onetwo", "3", "x-lost")
    assert headers["connection"] == "close"
    assert not script.is_open


async def test_a_client_of_http_1_0_gets_the_same_bytes_without_chunks_or_trailers() -> None:
    raw = await talk(Script([b"one", b"two"]), b"GET /a HTTP/1.0\r\n\r\n", hang_up=False)
    assert raw.endswith(b"\r\n\r\nonetwo")


async def test_a_follower_that_leaves_closes_its_source_at_once() -> None:
    script = Script([b"one"], then_waits=True)
    client, server = trio.testing.memory_stream_pair()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_connection, server, script)
            await client.send_all(GET)
            await trio.testing.wait_all_tasks_blocked()
            assert script.is_open
            await client.aclose()
    assert not script.is_open


async def test_input_during_an_endless_answer_is_ignored() -> None:
    script = Script([b"one"], then_waits=True)
    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server, script)
        await client.send_all(GET)
        await client.send_all(b"noise" * 1000)
        await trio.testing.wait_all_tasks_blocked()
        assert script.is_open
        nursery.cancel_scope.cancel()


async def test_a_client_that_leaves_does_not_stop_what_it_began() -> None:
    done = trio.Event()

    async def slow(request: HttpRequest) -> Reply:
        await trio.testing.wait_all_tasks_blocked()
        done.set()
        return Reply()

    client, server = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, server, slow)
        await client.send_all(GET)
        await client.aclose()
    assert done.is_set()


@pytest.mark.parametrize("is_served", [False, True])  # the stop may come before its task had a turn
async def test_a_stop_waits_a_moment_for_the_first_request(autojump_clock: MockClock, is_served: bool) -> None:
    late, silent, kept = (trio.testing.memory_stream_pair() for _ in range(3))
    connections = [Connection(server, LIMITS) for _, server in (late, silent, kept)]
    closed_s: list[float] = []

    async def serve(connection: Connection) -> None:
        await connection.serve(Peer(share=None, respond=Echo(), refuse=refuse))
        closed_s.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, connections[2])
        await kept[0].send_all(GET)
        assert (await kept[0].receive_some()).endswith(b"GET /a 0")
        for connection in connections[:2]:
            nursery.start_soon(serve, connection)
        if is_served:
            await trio.testing.wait_all_tasks_blocked()
        began_s = trio.current_time()
        for connection in connections:
            connection.finish()
        await trio.sleep(FIRST_REQUEST_S / 2)
        await late[0].send_all(GET)
        answer = await late[0].receive_some()
        assert answer.endswith(b"GET /a 0")
        assert b"connection: close" in answer
    assert [at_s - began_s for at_s in closed_s] == pytest.approx([0, FIRST_REQUEST_S / 2, FIRST_REQUEST_S])


async def test_a_request_that_waits_for_its_turn_when_the_patience_ends_is_answered(autojump_clock: MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    connection = Connection(server, LIMITS, turnstile=trio.Semaphore(0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.serve, Peer(share=None, respond=Echo(), refuse=refuse))
        await trio.testing.wait_all_tasks_blocked()
        connection.finish()
        await client.send_all(GET)
        assert (await client.receive_some()).endswith(b"GET /a 0")


@given(sent=st.binary(max_size=200) | st.builds(lambda cut, noise: GET[:cut] + noise, st.integers(0, 40), st.binary()))
async def test_no_bytes_crash_the_server(sent: bytes) -> None:
    await talk(Echo(), sent + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ("http://host/webhook?x=1", "/webhook?x=1"),
        ("HTTPS://host:8080/a//b", "/a//b"),
        ("http://[::1]:80/a", "/a"),
        ("http://host", "/"),
        ("http://host?x", "/?x"),
        ("http:///a", "http:///a"),
        ("http://[bad/a", "http://[bad/a"),
        ("http://user@host/a", "http://user@host/a"),
        ("ftp://host/a", "ftp://host/a"),
        ("//host/a", "//host/a"),
        ("*", "*"),
    ],
)
async def test_a_target_with_scheme_and_host_is_its_path(sent: str, arrived: str) -> None:
    echo = Echo()
    await talk(echo, f"GET {sent} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert [request.target for request in echo.requests] == [arrived]


@given(target=st.from_regex(r"[!-~]{1,50}", fullmatch=True).filter(lambda text: "://" not in text))
async def test_a_target_arrives_as_it_was_sent(target: str) -> None:
    echo = Echo()
    await talk(echo, f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert [request.target for request in echo.requests] == [target]


async def test_what_waits_at_the_turnstile_does_not_give_way_as_slow(autojump_clock: MockClock) -> None:
    """A loop under load is no fault of the client's: its event has come whole."""
    client, server = trio.testing.memory_stream_pair()
    places, turnstile = Places(1), trio.Semaphore(0)
    connection = Connection(server, LIMITS, note=places.note, turnstile=turnstile)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.serve, Peer(share=None, respond=Echo(), refuse=refuse))
        await client.send_all(GET)
        await trio.sleep(SLOW_AFTER_S + 1)
        assert not places.make_room()
        turnstile.release()
        assert b"GET /a 0" in await client.receive_some()
        await client.send_all(GET[:4])
        await trio.sleep(SLOW_AFTER_S + 1)
        assert places.make_room()
