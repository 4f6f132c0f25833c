"""The same hostile clients at both doors, over real sockets: the webhook's port and the admin socket."""

import contextlib
import errno
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

from rtmsd.admin.listener import open_admin_socket
from rtmsd.admin.server import serve_metrics
from rtmsd.commands import StreamCommand, Verdict
from rtmsd.config import WebhookConfig
from rtmsd.http import reserve
from rtmsd.webhook import server
from rtmsd.webhook.app import make_app
from rtmsd.webhook.stats import Result, WebhookStats

Open = Callable[[], Any]


class Intake:
    async def accept(self, command: StreamCommand) -> Verdict:
        raise AssertionError(command)


@attrs.define
class At:
    """One door; `path` is what answers 200 to GET there."""

    connect: Open
    path: str
    body_bytes: int = 65_536


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", answer)]


async def ask(at: At, request: bytes) -> bytes:
    """Send, shut the sending side, and return the answers until the server closes."""
    answer = b""
    async with await at.connect() as client:
        with contextlib.suppress(trio.BrokenResourceError):
            await client.send_all(request)
            await client.send_eof()
            with trio.fail_after(60):
                while data := await client.receive_some():
                    answer += data
    return answer


@contextlib.asynccontextmanager
async def at_webhook() -> AsyncIterator[At]:
    settings = WebhookConfig(listen="127.0.0.1:0", read_timeout_s=600)
    stats = WebhookStats()
    shutdown = trio.Event()
    async with trio.open_nursery() as nursery:
        app = make_app(settings, lambda: (), Intake(), nursery, lambda: True, stats=stats)
        [address] = await nursery.start(partial(server.serve, app, settings, stats=stats, shutdown=shutdown))
        port = int(address.rpartition(":")[2])
        yield At(partial(trio.open_tcp_stream, "127.0.0.1", port), "/healthz")
        shutdown.set()


@contextlib.asynccontextmanager
async def at_admin(path: Path) -> AsyncIterator[At]:
    with open_admin_socket(path) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_metrics, [listener], lambda: b"rtmsd_streams 1\n")
            yield At(partial(trio.open_unix_socket, path), "/metrics")
            nursery.cancel_scope.cancel()


@pytest.fixture(params=["webhook", "admin"])
async def at(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[At]:
    async with at_webhook() if request.param == "webhook" else at_admin(tmp_path / "a.sock") as door:
        yield door


POST = b"POST /x HTTP/1.1\r\nhost: x\r\n"
GET = b"GET %s HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
        POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        POST + b"content-length: 1\r\ncontent-length: 1\r\n\r\na",
        POST + b"content-length: 1, 1\r\n\r\na",
        POST + b"content-length: +1\r\n\r\na",
        POST + b"content-length: -1\r\n\r\n",
        POST + b"content-length: 0x1\r\n\r\na",
        POST + b"content-length: 1_0\r\n\r\n" + b"a" * 10,
        POST + b"content-length: " + b"9" * 30 + b"\r\n\r\n",
        POST + b"content-length:\r\n 1\r\n\r\na",
        POST + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n1;\na\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n",
        POST.replace(b"/1.1", b"/1.0") + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"x: a\rb\r\n\r\n",
        POST + b"x: a\nb: c\r\n\r\n",
        POST + b"x: a\x00b\r\n\r\n",
        POST.replace(b"\r\n", b"\n") + b"\n",
        POST + b"host: y\r\n\r\n",
        b"POST /x HTTP/1.1\r\n\r\n",
        b" " + POST + b"\r\n",
        b"GET /x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\x01",
    ],
)
async def test_an_ambiguous_request_is_refused_and_the_connection_closed(at: At, request_: bytes) -> None:
    smuggled = GET % at.path.encode() + b"\r\n"
    answer = await ask(at, request_ + smuggled)
    assert statuses(answer) == [400]
    assert b"connection: close" in answer.lower()
    assert statuses(await ask(at, smuggled)) == [200]


@pytest.mark.parametrize("value", [b"gzip, chunked", b"chunked, identity", b"chunked\r\ntransfer-encoding: chunked"])
async def test_an_unknown_transfer_encoding_is_not_implemented(at: At, value: bytes) -> None:
    assert statuses(await ask(at, POST + b"transfer-encoding: " + value + b"\r\n\r\n0\r\n\r\n")) == [501]


@pytest.mark.parametrize(
    "headers",
    [
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        b"upgrade: h2c\r\n",
    ],
)
async def test_an_upgrade_is_ignored_and_the_connection_goes_on(at: At, headers: bytes) -> None:
    request = GET % at.path.encode() + headers + b"\r\n"
    assert statuses(await ask(at, request * 2)) == [200, 200]


async def test_a_target_with_scheme_and_host_is_answered_like_its_path(at: At) -> None:
    assert statuses(await ask(at, GET % (b"http://host:80" + at.path.encode()) + b"\r\n")) == [200]


async def test_an_empty_line_before_a_request_is_skipped(at: At) -> None:
    assert statuses(await ask(at, b"\r\n\r\n" + GET % at.path.encode() + b"\r\n")) == [200]


async def test_head_has_no_body(at: At) -> None:
    head = (GET % at.path.encode()).replace(b"GET", b"HEAD") + b"\r\n"
    answer = await ask(at, head + GET % at.path.encode() + b"connection: close\r\n\r\n")
    assert statuses(answer) == [200, 200]
    assert answer.split(b"\r\n\r\n")[1].startswith(b"HTTP/1.1 200")


async def test_options_is_405(at: At) -> None:
    options = (GET % at.path.encode()).replace(b"GET", b"OPTIONS") + b"connection: close\r\n\r\n"
    assert statuses(await ask(at, options)) == [405]


async def test_sizes_are_limited(at: At) -> None:
    big = at.body_bytes + 1
    assert statuses(await ask(at, POST + b"content-length: %d\r\n\r\n" % big)) == [413]
    assert statuses(await ask(at, POST + b"content-length: %d\r\n\r\n" % big + bytes(big))) == [413]
    chunk = b"%x\r\n%b\r\n" % (big, bytes(big))
    assert statuses(await ask(at, POST + b"transfer-encoding: chunked\r\n\r\n" + chunk)) == [413]
    assert statuses(await ask(at, GET % at.path.encode() + b"x: " + b"y" * 20_000)) == [431]
    assert statuses(await ask(at, GET % at.path.encode() + b"a: b\r\n" * 5_000)) == [431]


async def test_http_1_0_is_answered_and_closed(at: At) -> None:
    answer = await ask(at, (GET % at.path.encode()).replace(b"/1.1", b"/1.0") + b"\r\n" + b"GET")
    assert statuses(answer) == [200]


async def test_without_descriptors_the_door_answers_and_logs_it_once(
    at: At, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The kernel refuses as it does at the limit: as long as no spare descriptor was given up."""
    real = trio.SocketListener.accept
    freed: list[bool] = []
    attempts = 0

    async def accept(listener: trio.SocketListener) -> trio.SocketStream:
        nonlocal attempts
        stream = await real(listener)
        attempts += 1
        while not freed:
            await stream.aclose()
            raise OSError(errno.EMFILE, "Too many open files")
        freed.pop()
        return stream

    release = reserve.Reserve.release

    def counted(one: reserve.Reserve) -> bool:
        is_free = release(one)
        if is_free:
            freed.append(True)
        return is_free

    monkeypatch.setattr(reserve.Reserve, "release", counted)
    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(trio.SocketListener, "accept", accept)
        request = GET % at.path.encode() + b"\r\n"
        assert statuses(await ask(at, request)) == [200]  # the door was waiting for it before
        assert await ask(at, request) == b""  # this one's descriptor was the last
        answer = await ask(at, request)
        assert statuses(answer) == [200]
        assert b"connection: close" in answer.lower()
        for _ in range(5):
            await ask(at, request)
    assert len([entry for entry in logs if "descriptor" in entry["event"]]) == 1
    assert attempts < 50
    assert "Traceback" not in capfd.readouterr().err


async def test_a_bug_in_the_application_is_counted_and_answered_500() -> None:
    stats = WebhookStats()
    settings = WebhookConfig(listen="127.0.0.1:0")
    shutdown = trio.Event()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise AttributeError("'TrioBody' object has no attribute 'append'")

    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(server.serve, broken, settings, stats=stats, shutdown=shutdown))
        port = int(address.rpartition(":")[2])
        with structlog.testing.capture_logs() as logs:
            async with await trio.open_tcp_stream("127.0.0.1", port) as client:
                await client.send_all(POST + b"content-length: 0\r\n\r\n")
                assert statuses(bytes(await client.receive_some())) == [500]
        shutdown.set()
    assert stats.results == {Result.CRASHED: 1}
    assert stats.last_crash == "AttributeError: 'TrioBody' object has no attribute 'append'"
    assert [entry["event"] for entry in logs] == ["request crashed"]


async def test_a_bug_behind_the_route_is_one_too() -> None:
    stats = WebhookStats()
    settings = WebhookConfig(listen="127.0.0.1:0")
    shutdown = trio.Event()

    def ready() -> bool:
        raise ZeroDivisionError("no readiness")

    async with trio.open_nursery() as nursery:
        app = make_app(settings, lambda: (), Intake(), nursery, ready, stats=stats)
        [address] = await nursery.start(partial(server.serve, app, settings, stats=stats, shutdown=shutdown))
        port = int(address.rpartition(":")[2])
        async with await trio.open_tcp_stream("127.0.0.1", port) as client:
            await client.send_all(GET % b"/readyz" + b"\r\n")
            assert statuses(bytes(await client.receive_some())) == [500]
        shutdown.set()
    assert stats.last_crash == "ZeroDivisionError: no readiness"
    assert stats.crashed_lately(stats.last_s[Result.CRASHED] + 3599)
