"""The bus of the workers: questions over real Unix sockets."""

import os
import socket
import stat
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import pytest
import structlog
import trio
from trio.testing import MockClock

from rtmsd.cluster.engine import Away, EngineError, Nobody, Refused
from rtmsd.cluster.engines import sockets
from rtmsd.cluster.engines.memory import MemoryEngine
from rtmsd.cluster.engines.sockets import CONNECTIONS, MAX_ASKED, SocketBus, open_socket
from rtmsd.config.model import worker_socket
from rtmsd.errors import ListenError
from rtmsd.http.client import request
from rtmsd.http.messages import HttpRequest, Reply, Respond
from tests.cluster.contract import LIMIT_S, BusContract, Join, Member


@pytest.fixture
def admin_socket() -> Iterator[Path]:
    """Yield a path as short as a Unix socket's must be, wherever temporary files are."""
    with tempfile.TemporaryDirectory(prefix="rtmsd") as directory:
        yield Path(directory) / "run" / "admin.sock"


@asynccontextmanager
async def joined(admin_socket: Path, node: str) -> AsyncIterator[SocketBus]:
    bus = SocketBus(partial(worker_socket, admin_socket))
    with open_socket(worker_socket(admin_socket, node)) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.run, listener)
            yield bus
            nursery.cancel_scope.cancel()


@pytest.fixture
def join(admin_socket: Path) -> Join:
    memory = MemoryEngine()

    @asynccontextmanager
    async def join(node: str) -> AsyncIterator[Member]:
        incarnation = uuid.uuid4().hex
        async with joined(admin_socket, node) as bus, memory.join(node, incarnation) as store:
            yield Member(node=node, incarnation=incarnation, store=store, bus=bus)

    return join


class TestBus(BusContract):
    pass


@pytest.fixture
async def two(admin_socket: Path) -> AsyncIterator[tuple[SocketBus, SocketBus]]:
    async with joined(admin_socket, "1") as one, joined(admin_socket, "2") as other:
        yield one, other


async def echo(data: bytes) -> bytes:
    return data


def test_sockets_are_beside_that_of_the_admin_api() -> None:
    assert worker_socket(Path("/run/rtmsd/admin.sock"), "12") == Path("/run/rtmsd/admin.sock.worker-12")


async def test_a_member_may_ask_itself(two: tuple[SocketBus, SocketBus]) -> None:
    two[0].serve("ctl", echo)
    assert await two[0].ask("1", "ctl", b"x", timeout_s=LIMIT_S) == b"x"


@pytest.mark.parametrize("what", ["a/../b", "a b", "a%2Fb", "ä", ""])
async def test_any_name_of_a_kind_can_be_asked(two: tuple[SocketBus, SocketBus], what: str) -> None:
    two[1].serve("b", echo)
    with pytest.raises(Nobody, match="nobody answers"):
        await two[0].ask("2", what, b"", timeout_s=LIMIT_S)
    two[1].serve(what, echo)
    assert await two[0].ask("2", what, b"x", timeout_s=LIMIT_S) == b"x"


async def test_a_socket_is_its_users_alone_and_removed_at_the_end(admin_socket: Path) -> None:
    path = worker_socket(admin_socket, "1")
    old_umask = os.umask(0)
    try:
        with open_socket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(old_umask)
    assert not path.exists()


async def test_what_a_killed_worker_left_is_nobody_and_replaced(admin_socket: Path) -> None:
    async with joined(admin_socket, "1") as one:
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(worker_socket(admin_socket, "2")))
            killed.listen()
        with pytest.raises(Nobody, match="2 is not there"):
            await one.ask("2", "ctl", b"", timeout_s=LIMIT_S)
        async with joined(admin_socket, "2") as other:
            other.serve("ctl", echo)
            assert await one.ask("2", "ctl", b"x", timeout_s=LIMIT_S) == b"x"


async def test_workers_may_start_at_the_same_time(admin_socket: Path) -> None:
    """No lock of the directory stands between them."""
    with open_socket(worker_socket(admin_socket, "1")), open_socket(worker_socket(admin_socket, "2")):
        pass


@pytest.mark.parametrize("obstacle", ["file", "long"])
def test_where_nobody_can_listen(tmp_path: Path, obstacle: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "x" if obstacle == "file" else tmp_path / ("x" * 120)
    why = r"^admin\.socket: cannot .*(Not a directory|File exists|too long)"
    with pytest.raises(ListenError, match=why), open_socket(path):
        pass


@pytest.fixture
def hung(admin_socket: Path) -> Iterator[socket.socket]:
    """Worker 2 accepts nobody, as one that is stopped."""
    admin_socket.parent.mkdir()
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(worker_socket(admin_socket, "2")))
        listening.listen(1000)
        yield listening


async def test_a_worker_that_hangs_is_away(hung: socket.socket, admin_socket: Path, autojump_clock: MockClock) -> None:
    bus = SocketBus(partial(worker_socket, admin_socket))
    began_s = trio.current_time()
    with pytest.raises(Away, match=r"2 did not answer within 0\.8 s"):
        await bus.ask("2", "hook", b"", timeout_s=0.8)
    assert trio.current_time() - began_s == pytest.approx(0.8)


async def test_a_worker_that_dies_while_it_is_asked_is_away(hung: socket.socket, admin_socket: Path) -> None:
    """It may have done it."""
    bus = SocketBus(partial(worker_socket, admin_socket))

    async def die() -> None:
        await trio.lowlevel.wait_readable(hung)
        hung.accept()[0].close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(die)
        with pytest.raises(Away, match=r"2 did not answer: .*cut off"):
            await bus.ask("2", "hook", b"", timeout_s=LIMIT_S)


async def test_questions_to_one_worker_are_bound_and_the_rest_waits(
    hung: socket.socket, admin_socket: Path, autojump_clock: MockClock
) -> None:
    bus = SocketBus(partial(worker_socket, admin_socket))
    ends: list[tuple[float, str]] = []

    async def ask(node: str, timeout_s: float) -> None:
        try:
            await bus.ask(node, "ctl", b"", timeout_s=timeout_s)
        except EngineError as exc:
            ends.append((round(trio.current_time() - began_s, 3), type(exc).__name__))

    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(MAX_ASKED):
            nursery.start_soon(ask, "2", 2.0)
        await trio.sleep(0.5)
        for _ in range(10):
            nursery.start_soon(ask, "2", 1.0)
        await trio.sleep(0.5)
        connections = [hung.accept()[0] for _ in range(MAX_ASKED)]
        with pytest.raises(BlockingIOError):
            hung.setblocking(False)
            hung.accept()
        await ask("3", 1.0)  # another worker is none of their business
        assert ends == [(1.0, "Nobody")]
    assert sorted(ends) == [(1.0, "Nobody"), *[(1.5, "Away")] * 10, *[(2.0, "Away")] * MAX_ASKED]
    for connection in connections:
        connection.close()
    hung.close()
    async with joined(admin_socket, "2") as other:
        other.serve("ctl", echo)
        assert await bus.ask("2", "ctl", b"x", timeout_s=LIMIT_S) == b"x"


async def test_a_worker_that_is_full_is_away(two: tuple[SocketBus, SocketBus], admin_socket: Path) -> None:
    all_asked, go_on = trio.Event(), trio.Event()
    asked: list[bytes] = []
    answers: list[bytes] = []

    async def wait(data: bytes) -> bytes:
        asked.append(data)
        if len(asked) == CONNECTIONS:
            all_asked.set()
        await go_on.wait()
        return data

    async def ask(number: int) -> None:
        bus = SocketBus(partial(worker_socket, admin_socket))
        answers.append(await bus.ask("2", "ctl", b"%d" % number, timeout_s=LIMIT_S))

    two[1].serve("ctl", wait)
    async with trio.open_nursery() as nursery:
        for number in range(CONNECTIONS):
            nursery.start_soon(ask, number)
        await all_asked.wait()
        with pytest.raises(Away, match="too many connections"):
            await two[0].ask("2", "ctl", b"one more", timeout_s=LIMIT_S)
        go_on.set()
    assert sorted(map(int, answers)) == [*range(CONNECTIONS)]
    assert await two[0].ask("2", "ctl", b"x", timeout_s=LIMIT_S) == b"x"
    assert b"one more" not in asked


async def test_other_users_are_refused(
    two: tuple[SocketBus, SocketBus], admin_socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, for one, can connect in spite of the mode."""
    asked: list[bytes] = []

    async def note(data: bytes) -> bytes:
        asked.append(data)
        return data

    two[1].serve("ctl", note)
    monkeypatch.setattr(sockets, "credentials", lambda _stream: (1, os.geteuid() + 1))
    with pytest.raises(Refused, match="only the daemon's own user"):
        await two[0].ask("2", "ctl", b"x", timeout_s=LIMIT_S)
    reply = await request(worker_socket(admin_socket, "2"), "GET", "/v1/status", timeout_s=LIMIT_S)
    assert reply.status == 403
    assert asked == []


async def test_the_local_view_is_served_beside_the_questions(admin_socket: Path) -> None:
    path = worker_socket(admin_socket, "1")
    bus = SocketBus(partial(worker_socket, admin_socket))
    bus.serve("ctl", echo)

    def local(stream: trio.SocketStream) -> Respond:
        assert stream.socket.family == socket.AF_UNIX

        async def respond(asked: HttpRequest) -> Reply:
            return Reply(status=201, body=f"{asked.method} {asked.target} {asked.body!r}".encode())

        return respond

    with open_socket(path) as listener:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(bus.run, listener, local, server="rtmsd-admin"))
            reply = await request(path, "POST", "/v1/streams?x=y", b"abc", timeout_s=LIMIT_S)
            assert (reply.status, reply.body) == (201, b"POST /v1/streams?x=y b'abc'")
            assert reply.headers["server"] == "rtmsd-admin"
            assert await bus.ask("1", "ctl", b"x", timeout_s=LIMIT_S) == b"x"
            nursery.cancel_scope.cancel()


async def test_without_a_local_view_nothing_else_is_there(two: tuple[SocketBus, SocketBus], admin_socket: Path) -> None:
    reply = await request(worker_socket(admin_socket, "1"), "GET", "/v1/status", timeout_s=LIMIT_S)
    assert (reply.status, reply.body) == (404, b"nothing is at /v1/status")
    reply = await request(worker_socket(admin_socket, "1"), "GET", "/", b"x" * 2**20, timeout_s=LIMIT_S)
    assert reply.status == 413


async def test_a_bug_is_logged_and_named(two: tuple[SocketBus, SocketBus]) -> None:
    async def crash(data: bytes) -> bytes:
        raise KeyError("x")

    two[1].serve("ctl", crash)
    with structlog.testing.capture_logs() as logs, pytest.raises(Refused, match=r"a bug: KeyError: 'x'"):
        await two[0].ask("2", "ctl", b"", timeout_s=LIMIT_S)
    assert [(entry["event"], entry["what"]) for entry in logs] == [("answering a question crashed", "ctl")]
