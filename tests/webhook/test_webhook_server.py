"""The endpoint over real sockets, with clients that misbehave."""

import contextlib
import math
import os
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

from rtmsd.config import WebhookConfig
from rtmsd.http import places
from rtmsd.http.connection import Connection
from rtmsd.http.server import IN_A_PASS
from rtmsd.webhook import server
from rtmsd.webhook.stats import Result

LIMIT_S = 60.0  # for whatever is waited for; a request may take ten times as long
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"POST /webhook HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST


@attrs.define
class Served:
    """A running server; `endpoint` is what it serves."""

    endpoint: Any
    addresses: list[str]
    shutdown: trio.Event
    stopped: trio.Event

    async def connect(self) -> trio.SocketStream:
        host, _, port = self.addresses[0].rpartition(":")
        return await trio.open_tcp_stream(host, int(port))

    async def ask(self, request: bytes) -> bytes:
        """Send a request on a connection of its own and return all that comes until the server closes, or is idle."""
        async with await self.connect() as client:
            with contextlib.suppress(trio.BrokenResourceError):
                await client.send_all(request)
            return await read(client)


async def read(client: trio.SocketStream, until: bytes = b"\r\n\r\n") -> bytes:
    """Read to `until` and what comes along with it, or to the end."""
    answer = b""
    with trio.fail_after(LIMIT_S):
        while until not in answer and (data := await client.receive_some()):
            answer += data
    return answer


async def is_closed(client: trio.SocketStream) -> bool:
    """Wait for the server to close a connection."""
    with trio.move_on_after(LIMIT_S) as waiting, contextlib.suppress(trio.BrokenResourceError):
        while await client.receive_some():
            pass
    return not waiting.cancelled_caught


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]


@contextlib.asynccontextmanager
async def serving(endpoint: Any) -> AsyncIterator[Served]:
    shutdown, stopped = trio.Event(), trio.Event()

    async def run(*, task_status: trio.TaskStatus[list[str]]) -> None:
        await server.serve(
            endpoint.app(), endpoint.settings, stats=endpoint.stats, shutdown=shutdown, task_status=task_status
        )
        stopped.set()

    addresses = await endpoint.nursery.start(run)
    try:
        yield Served(endpoint, addresses, shutdown, stopped)
    finally:
        shutdown.set()
        with trio.fail_after(LIMIT_S):
            await stopped.wait()


@pytest.fixture
async def served(endpoint: Any) -> AsyncIterator[Served]:
    async with serving(endpoint) as served:
        yield served


async def test_a_webhook_over_the_wire(served: Served) -> None:
    answer = await served.ask(served.endpoint.request(served.endpoint.start()))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (statuses(answer), body) == ([200], b"")
    assert b"server:" not in head
    assert len(served.endpoint.intake.accepted) == 1


async def test_a_connection_is_kept_alive_and_pipelining_is_understood(served: Served) -> None:
    request = served.endpoint.request(served.endpoint.start())
    async with await served.connect() as client:
        for _ in range(3):
            await client.send_all(request)
            assert statuses(await read(client)) == [200]
        await client.send_all(request * 3)
        answer = b""
        while len(statuses(answer)) < 3:
            answer += await read(client)
    assert served.endpoint.stats.results == {Result.ACCEPTED: 6}


@pytest.mark.parametrize("hang_up", ["close", "reset"])
async def test_an_accepted_event_survives_a_client_that_hangs_up(served: Served, hang_up: str) -> None:
    began, disk = trio.Event(), trio.Event()

    async def slow_disk() -> None:
        began.set()
        await disk.wait()

    served.endpoint.intake.before = slow_disk
    client = await served.connect()
    if hang_up == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    await client.send_all(served.endpoint.request(served.endpoint.start()))
    await began.wait()
    await client.aclose()
    assert statuses(await served.ask(HEALTH)) == [200]  # by now the server has seen it go
    disk.set()
    with trio.fail_after(LIMIT_S):
        while not served.endpoint.stats.results:
            await trio.lowlevel.checkpoint()
    assert served.endpoint.stats.results == {Result.ACCEPTED: 1}


@pytest.mark.parametrize("hang_up", ["close", "half-close", "reset"])
async def test_an_event_that_came_whole_is_accepted_although_nobody_waits(served: Served, hang_up: str) -> None:
    stats = served.endpoint.stats
    for count in range(1, 11):
        async with await served.connect() as client:
            if hang_up == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            await client.send_all(served.endpoint.request(served.endpoint.start()))
            if hang_up == "half-close":
                await client.send_eof()
                assert statuses(await read(client)) == [200]
                assert await is_closed(client)
        with trio.fail_after(LIMIT_S):
            while hang_up != "reset" and stats.results[Result.ACCEPTED] < count:
                await trio.lowlevel.checkpoint()
    assert statuses(await served.ask(HEALTH)) == [200]
    assert stats.results.total() == stats.results[Result.ACCEPTED]


async def test_a_client_that_only_listens_any_more_is_answered(served: Served) -> None:
    disk = trio.Event()
    served.endpoint.intake.before = disk.wait
    async with await served.connect() as client:
        await client.send_all(served.endpoint.request(served.endpoint.start()))
        await client.send_eof()
        assert statuses(await served.ask(HEALTH)) == [200]  # by now the server has seen the end
        disk.set()
        assert statuses(await read(client)) == [200]


async def test_an_event_that_broke_off_is_not_accepted_and_holds_no_slot(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SLOW_AFTER_S", math.inf)  # as other requests would make it give way
    request = served.endpoint.request(served.endpoint.start())
    for _ in range(3 * served.endpoint.settings.max_connections):
        async with await served.connect() as client:
            await client.send_all(request[:-1])
    with trio.fail_after(LIMIT_S):
        assert statuses(await served.ask(HEALTH)) == [200]
    assert not served.endpoint.stats.results


@pytest.mark.parametrize(("length", "status"), [(65_536, 401), (65_537, 413), (1_000_000, 413), (10_000_000, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_the_size_of_a_body_is_limited(served: Served, length: int, status: int, *, chunked: bool) -> None:
    if chunked:
        piece = b"1000\r\n" + bytes(0x1000) + b"\r\n"
        rest = length % 0x1000
        last = b"%x\r\n%b\r\n" % (rest, bytes(rest)) if rest else b""
        request = CHUNKED + piece * (length // 0x1000) + last + b"0\r\n\r\n"
    else:
        request = b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % length + bytes(length)
    assert statuses(await served.ask(request)) == [status]


async def test_an_endless_body_is_answered_without_waiting_for_its_end(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(CHUNKED + b"11000\r\n" + bytes(0x11000) + b"\r\n")
        assert statuses(await read(client)) == [413]
        assert await is_closed(client)


async def test_a_body_announced_as_too_large_is_not_waited_for(served: Served) -> None:
    async with await served.connect() as client:
        await client.send_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\n\r\n")
        assert statuses(await read(client)) == [413]
        assert await is_closed(client)


async def test_a_slow_body_is_cut_off(endpoint: Any) -> None:
    endpoint.settings = attrs.evolve(endpoint.settings, read_timeout_s=0.2)
    async with serving(endpoint) as served, await served.connect() as client:
        await client.send_all(b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab")
        assert statuses(await read(client)) == [408]
        assert await is_closed(client)


@pytest.mark.parametrize("begun", [b"", b"GET /heal", HEALTH, HEALTH + b"GET /hea"])
async def test_an_idle_connection_and_dripping_headers_are_cut_off(
    endpoint: Any, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 0.2)
    endpoint.settings = attrs.evolve(endpoint.settings, read_timeout_s=0.2)
    async with serving(endpoint) as served, await served.connect() as client:
        await client.send_all(begun)

        async def drip() -> None:
            with contextlib.suppress(trio.BrokenResourceError):
                while True:
                    await trio.sleep(0.05)
                    await client.send_all(b"x")

        async with trio.open_nursery() as nursery:
            if begun and begun != HEALTH:
                nursery.start_soon(drip)
            assert await is_closed(client)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", [404]),
        (b"OPTIONS /webhook HTTP/1.1\r\nhost: x\r\n\r\n", [405]),
        (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n", [404]),
        (b"GET ?x HTTP/1.1\r\nhost: x\r\n\r\n", [404]),
        (b"GET http://[bad/healthz HTTP/1.1\r\nhost: x\r\n\r\n", [404]),
        (b"GET /%ff%00 HTTP/1.1\r\nhost: x\r\n\r\n", [404]),
        (b"GET /healthz HTTP/1.1\r\nhost: \xff[:\r\n\r\n", [200]),
        (b"GET /healthz HTTP/1.1\r\nhost: ..\r\n\r\n", [200]),
        (b"GET /healthz HTTP/1.1\r\n\r\n", [400]),
        (b"\x00\xff\r\n\r\n", [400]),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 20_000, [431]),
        (b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 5_000, [431]),
        (b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", [400]),
        (b"POST /webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", [400]),
        (b"POST /webhook HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", [501]),
        (CHUNKED + b"zz\r\n", [400]),
        (HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), [200]),
        (HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"), [200]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    ],
)
async def test_hostile_requests_neither_crash_nor_hold_the_server(
    served: Served, capfd: pytest.CaptureFixture[str], request_: bytes, status: list[int]
) -> None:
    assert statuses(await served.ask(request_)) == status
    assert statuses(await served.ask(HEALTH)) == [200]
    assert "Traceback" not in capfd.readouterr().err


async def test_a_crash_in_a_connection_ends_that_connection_only(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(_self: object, _peer: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Connection, "serve", crash)
        with structlog.testing.capture_logs() as logs:
            assert await served.ask(HEALTH) == b""
    assert [entry["event"] for entry in logs] == ["webhook connection crashed"]
    assert statuses(await served.ask(HEALTH)) == [200]


async def test_connections_over_the_limit_wait_while_all_are_busy(served: Served) -> None:
    limit = served.endpoint.settings.max_connections
    disk = trio.Event()
    served.endpoint.intake.before = disk.wait
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await served.connect()) for _ in range(limit)]
        for client in clients:
            await client.send_all(served.endpoint.request(served.endpoint.start()))
        late = await stack.enter_async_context(await served.connect())
        await late.send_all(HEALTH)
        with trio.move_on_after(0.2) as waited:
            await read(late)
        assert waited.cancelled_caught
        disk.set()
        assert statuses(await read(late)) == [200]
        for client in clients[1:]:
            assert statuses(await read(client)) == [200]


async def test_the_oldest_idle_connection_gives_way_to_a_new_one(served: Served) -> None:
    limit = served.endpoint.settings.max_connections
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await served.connect()) for _ in range(limit)]
        for client in (*clients, clients[0]):  # the first is used again: the second is the oldest
            await client.send_all(HEALTH)
            assert statuses(await read(client)) == [200]
        assert statuses(await served.ask(HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))) == [200]
        assert await is_closed(clients.pop(1))
        for client in clients:
            await client.send_all(HEALTH)
            assert statuses(await read(client)) == [200]


async def test_half_a_request_gives_way_only_when_it_takes_long(endpoint: Any) -> None:
    endpoint.settings = attrs.evolve(endpoint.settings, max_connections=2)
    async with serving(endpoint) as served, await served.connect() as one, await served.connect() as two:
        for slow in (one, two):
            await slow.send_all(HEALTH[:-5])
        began_s = trio.current_time()
        assert statuses(await served.ask(HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))) == [200]
        assert 0.5 < trio.current_time() - began_s < LIMIT_S
        assert await is_closed(one)
        await two.send_all(HEALTH[-5:])
        assert statuses(await read(two)) == [200]


async def test_two_thousand_idle_connections_do_not_delay_a_webhook(endpoint: Any) -> None:
    endpoint.settings = attrs.evolve(endpoint.settings, max_connections=WebhookConfig().max_connections)
    async with serving(endpoint) as served, contextlib.AsyncExitStack() as stack:
        for _ in range(2000):
            await stack.enter_async_context(await served.connect())
        began_s = time.thread_time()  # what other processes do delays it as well
        async with await served.connect() as client:
            await client.send_all(endpoint.request(endpoint.start()))
            assert statuses(await read(client)) == [200]
        assert time.thread_time() - began_s < 1


class Passes(trio.abc.Instrument):
    """Counts the passes of the event loop."""

    count = 0

    def before_io_wait(self, _timeout: float) -> None:
        self.count += 1


@pytest.mark.parametrize("kept_open", [False, True])
async def test_a_rush_is_taken_up_a_few_at_a_time(endpoint: Any, *, kept_open: bool) -> None:
    """Streams share the event loop: what many clients want at once must not be one long pass of it."""
    passes = Passes()
    began: Counter[int] = Counter()

    async def note_pass() -> None:
        began[passes.count] += 1

    endpoint.settings = attrs.evolve(endpoint.settings, max_connections=100)
    async with serving(endpoint) as served:
        host, _, port = served.addresses[0].rpartition(":")
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(40)]
            for client in clients if kept_open else ():
                client.sendall(endpoint.request(endpoint.event("something.else")))
                await trio.lowlevel.wait_readable(client)
                assert statuses(client.recv(4096)) == [200]
            endpoint.intake.before = note_pass
            trio.lowlevel.add_instrument(passes)
            ids = [str(number) for number in range(len(clients))]
            for client, stream_id in zip(clients, ids, strict=True):
                client.sendall(endpoint.request(endpoint.event("session.rtms_stopped", rtms_stream_id=stream_id)))
            for client in clients:
                await trio.lowlevel.wait_readable(client)
                assert statuses(client.recv(4096)) == [200]
    accepted = [command.rtms_stream_id for command in endpoint.intake.accepted]
    assert sorted(accepted) == sorted(ids)
    # Of what came on open connections nobody knows the order, and Trio shuffles what it runs in one pass.
    assert kept_open or all(abs(place - int(each)) <= 3 * IN_A_PASS for place, each in enumerate(accepted))
    assert max(began.values()) <= 2 * IN_A_PASS
    assert len(began) <= len(ids) * 2 / 3  # several in a pass, which may be a long one


async def test_http_1_0_as_nginx_speaks_it_holds_no_slot(served: Served) -> None:
    request = served.endpoint.request(served.endpoint.start()).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    for _ in range(3 * served.endpoint.settings.max_connections):
        async with await served.connect() as client:
            await client.send_all(request)
            assert statuses(await read(client)) == [200]
            assert await is_closed(client)


async def test_resets_in_the_middle_hold_no_slot(served: Served) -> None:
    disk = trio.Event()
    served.endpoint.intake.before = disk.wait
    pipelined = served.endpoint.request(served.endpoint.start()) + b"G"
    for request in [pipelined] * (2 * served.endpoint.settings.max_connections):
        client = await served.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await client.send_all(request)
        await client.aclose()
        disk.set()
    assert statuses(await served.ask(HEALTH)) == [200]


async def test_a_client_that_does_not_read_holds_no_slot(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_S", 0.2)
    endpoint.settings = attrs.evolve(endpoint.settings, max_connections=1)
    async with serving(endpoint) as served:
        host, _, port = served.addresses[0].rpartition(":")
        with trio.socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)  # so that few answers fill it
            await deaf.connect((host, int(port)))
            with trio.fail_after(LIMIT_S), contextlib.suppress(ConnectionError):
                while True:  # until the server gives up on its answers
                    await deaf.send(HEALTH * 100)
            assert statuses(await served.ask(HEALTH)) == [200]


async def test_a_stop_lets_requests_finish_and_drops_idle_connections(endpoint: Any) -> None:
    began, disk = trio.Event(), trio.Event()

    async def slow_disk() -> None:
        began.set()
        await disk.wait()

    endpoint.intake.before = slow_disk
    async with serving(endpoint) as served, await served.connect() as idle, await served.connect() as busy:
        await idle.send_all(HEALTH)
        assert statuses(await read(idle)) == [200]
        await busy.send_all(endpoint.request(endpoint.start()))
        await began.wait()
        served.shutdown.set()
        assert await is_closed(idle)
        assert not served.stopped.is_set()
        with pytest.raises(OSError, match="connect"):
            await served.connect()
        disk.set()
        assert statuses(await read(busy)) == [200]
        assert await is_closed(busy)


async def test_a_stop_does_not_wait_for_unfinished_requests(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GRACE_S", 0.1)
    began, disk = trio.Event(), trio.Event()

    async def slow_disk() -> None:
        began.set()
        await disk.wait()

    endpoint.intake.before = slow_disk
    async with serving(endpoint) as served, await served.connect() as busy:
        await busy.send_all(endpoint.request(endpoint.start()))
        await began.wait()
        served.shutdown.set()
        with trio.fail_after(LIMIT_S):
            await served.stopped.wait()
        assert await read(busy) == b""
    disk.set()  # the acceptance itself goes on


async def test_a_unix_socket(endpoint: Any, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    endpoint.settings = attrs.evolve(endpoint.settings, listen=f"unix:{path}")
    async with serving(endpoint) as served:
        assert served.addresses == [f"unix:{path}"]
        async with await trio.open_unix_socket(path) as client:
            await client.send_all(endpoint.request(endpoint.start()))
            assert statuses(await read(client)) == [200]


async def test_inherited_sockets_replace_the_configured_address(endpoint: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as inherited:
        port = inherited.getsockname()[1]
        shutdown = trio.Event()
        settings = WebhookConfig(listen="192.0.2.1:1")
        addresses = await endpoint.nursery.start(
            partial(
                server.serve,
                endpoint.app(),
                settings,
                stats=endpoint.stats,
                fds=[os.dup(inherited.fileno())],
                shutdown=shutdown,
            )
        )
        assert addresses == [f"127.0.0.1:{port}"]
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(HEALTH)
            assert statuses(await read(client)) == [200]
        shutdown.set()
