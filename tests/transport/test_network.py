"""The one task that waits for all media sockets, over real socket pairs."""

import contextlib
import math
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import trio
import trio.testing

from rtmsd.transport import network
from rtmsd.transport.lifting import SharedLiftingStream
from rtmsd.transport.network import NOWAIT_BYTES, READ_BYTES, Progress, SocketSet, TcpStream, socket_set
from rtmsd.transport.timer import Timer


class Pair:
    """Two connected sockets, the near one waited for."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.heard: list[bytes] = []
        self.until = b""

    def on_readable(self) -> Progress:
        data = os.read(self.near.fileno(), 100)
        self.heard.append(data)
        if data == b"bug":
            raise ZeroDivisionError
        return Progress.ENOUGH if data == self.until else Progress.DRAINED


@contextmanager
def pair() -> Iterator[Pair]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield Pair(near, far)


@asynccontextmanager
async def running() -> AsyncIterator[SocketSet]:
    sockets = SocketSet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sockets.run)
        yield sockets
        nursery.cancel_scope.cancel()


async def test_each_socket_is_read_by_its_own_reader_until_enough() -> None:
    async with running() as sockets:
        with contextlib.ExitStack() as stack:
            pairs = [stack.enter_context(pair()) for _ in range(40)]
            async with trio.open_nursery() as nursery:
                for number, each in enumerate(pairs):
                    each.until = b"end %d" % number
                    nursery.start_soon(sockets.wait, each.near.fileno(), each.on_readable)
                for word in (b"one", b"two"):
                    for each in pairs:
                        each.far.send(word)
                    await trio.testing.wait_all_tasks_blocked(0.01)
                for number, each in enumerate(pairs):
                    each.far.send(b"end %d" % number)
            assert [each.heard for each in pairs] == [[b"one", b"two", b"end %d" % number] for number in range(40)]


async def test_unread_data_are_reported_again() -> None:
    with pair() as one:
        one.far.send(b"x" * 150)
        one.until = b"x" * 100
        async with running() as sockets:
            await sockets.wait(one.near.fileno(), one.on_readable)
            one.until = b"x" * 50
            await sockets.wait(one.near.fileno(), one.on_readable)
    assert one.heard == [b"x" * 100, b"x" * 50]


async def test_a_bug_in_one_reader_leaves_the_others_alone() -> None:
    with pair() as bad, pair() as good:
        bad.far.send(b"bug")
        async with running() as sockets:
            with pytest.raises(ZeroDivisionError):
                await sockets.wait(bad.near.fileno(), bad.on_readable)
            good.far.send(b"end")
            good.until = b"end"
            await sockets.wait(good.near.fileno(), good.on_readable)


async def test_closing_a_socket_wakes_its_reader() -> None:
    with pair() as one:
        async with running() as sockets, trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await sockets.wait(one.near.fileno(), one.on_readable)

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            sockets.closing(one.near.fileno())
        sockets.closing(one.near.fileno())  # nobody waits any more


async def test_a_cancelled_reader_is_called_no_more() -> None:
    with pair() as one:
        async with running() as sockets:
            with trio.move_on_after(0):
                await sockets.wait(one.near.fileno(), one.on_readable)
            one.far.send(b"late")
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert one.heard == []


async def test_all_sockets_of_a_run_share_one_set() -> None:
    assert socket_set() is socket_set()


async def test_reading_without_waiting() -> None:
    near, far = socket.socketpair()
    tcp = TcpStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)))
    with pytest.raises(trio.WouldBlock):
        tcp.receive_nowait()
    far.send(b"here")
    assert tcp.receive_nowait() == b"here"
    far.close()
    assert tcp.receive_nowait() == b""
    await tcp.aclose()
    with pytest.raises(trio.BrokenResourceError):
        tcp.receive_nowait()


@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_arrived_data_are_taken_before_a_connection_is_given_up(how: str) -> None:
    near, far = socket.socketpair()
    with far:
        far.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        batches: list[list[bytes]] = []
        tcp = TcpStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)))
        sockets = SocketSet()  # which nobody runs: as if there had been no turn between the packet and the end
        stream = SharedLiftingStream(tcp, 1000, batches.append, None, sockets)
        await stream.receive_some()
        stream.may_rest = True
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with contextlib.suppress(trio.ClosedResourceError):
                    await stream.receive_some()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            far.send(b"\x81\x04last")
            if how == "closed":
                await stream.aclose()
            else:
                nursery.cancel_scope.cancel()
        await stream.aclose()
    assert batches == [[b"last"]]


SMALL = [b"%d" % number for number in range(5000)]


@pytest.mark.parametrize("how", ["read on", "cancelled", "closed"])
async def test_a_read_of_many_small_messages_leaves_turns_to_others_and_loses_nothing(how: str) -> None:
    near, far = socket.socketpair()
    taken: list[bytes] = []
    turns: list[int] = []
    with far:
        far.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        tcp = TcpStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)))
        sockets = SocketSet()
        stream = SharedLiftingStream(tcp, 1000, taken.extend, None, sockets)
        await stream.receive_some()
        stream.may_rest = True
        async with trio.open_nursery() as nursery:

            async def look() -> None:
                while len(taken) < len(SMALL):
                    turns.append(len(taken))
                    await trio.lowlevel.checkpoint()

            async def read() -> None:
                with contextlib.suppress(trio.ClosedResourceError):
                    passed = await stream.receive_some()
                    assert passed == b"\x89\x00"
                nursery.cancel_scope.cancel()

            nursery.start_soon(read)
            nursery.start_soon(sockets.run)
            await trio.testing.wait_all_tasks_blocked()
            far.sendall(b"".join(b"\x81%c%s" % (len(each), each) for each in SMALL) + b"\x89\x00")
            nursery.start_soon(look)
            if how != "read on":
                while not taken:
                    await trio.lowlevel.checkpoint()
            if how == "closed":
                await stream.aclose()
            elif how == "cancelled":
                nursery.cancel_scope.cancel()
        await stream.aclose()
    assert taken == SMALL
    if how == "read on":
        assert len({number for number in turns if number > 0}) > 2  # how many depends on what one read brings


async def test_a_reader_at_the_gate_does_not_wait_for_a_closed_descriptor() -> None:
    opened = trio.Event()

    class ShutOnce:
        def is_shut(self) -> bool:
            return not opened.is_set()

        def has_room(self, size_bytes: int) -> bool:
            return False

        async def wait(self) -> None:
            await opened.wait()

    near, far = socket.socketpair()
    with far:
        far.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        tcp = TcpStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)))
        stream = SharedLiftingStream(tcp, 1000, lambda batch: None, ShutOnce(), SocketSet())
        await stream.receive_some()
        stream.may_rest = True
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await stream.aclose()
            opened.set()


class Room:
    """A gate that is open, with so much room."""

    def __init__(self, room_bytes: int) -> None:
        self.room_bytes = room_bytes

    def is_shut(self) -> bool:
        return False

    def has_room(self, size_bytes: int) -> bool:
        return self.room_bytes >= size_bytes

    async def wait(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("message_bytes", "room_bytes", "longest_bytes"),
    [
        (30_000, READ_BYTES, READ_BYTES),
        (30_000, READ_BYTES - 1, NOWAIT_BYTES),  # what finds no room would be dropped
        (1000, READ_BYTES, NOWAIT_BYTES),
    ],
)
async def test_more_is_read_at_once_of_large_messages_if_there_is_room(
    message_bytes: int, room_bytes: int, longest_bytes: int
) -> None:
    asked: list[int] = []

    class Tcp(TcpStream):
        def receive_nowait(self, max_bytes: int = NOWAIT_BYTES) -> bytes:
            asked.append(max_bytes)
            return super().receive_nowait(max_bytes)

    near, far = socket.socketpair()
    taken: list[bytes] = []
    messages = [b"%d" % (number % 10) * message_bytes for number in range(120_000 // message_bytes)]
    with far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 200_000)
        far.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        tcp = Tcp(trio.SocketStream(trio.socket.from_stdlib_socket(near)))
        sockets = SocketSet()
        stream = SharedLiftingStream(tcp, message_bytes, taken.extend, Room(room_bytes), sockets)
        await stream.receive_some()
        stream.may_rest = True
        far.sendall(b"".join(b"\x81\x7e%b%b" % (len(each).to_bytes(2, "big"), each) for each in messages) + b"\x89\x00")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sockets.run)
            assert await stream.receive_some() == b"\x89\x00"
            nursery.cancel_scope.cancel()
        await stream.aclose()
    assert taken == messages
    assert max(asked) == longest_bytes


async def test_busy_turns_rest_in_between_unless_there_is_more_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rests = 0

    async def rest(self: Timer, delay_s: float) -> None:
        nonlocal rests
        rests += 1
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Timer, "rest", rest)
    monkeypatch.setattr(network, "_REST_S", math.inf)  # any two packets come close together
    async with running() as sockets:
        with pair() as first:
            first.until = b"end"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(sockets.wait, first.near.fileno(), first.on_readable)
                for word in (b"one", b"two", b"end"):
                    await trio.testing.wait_all_tasks_blocked()
                    first.far.send(word)
            await trio.testing.wait_all_tasks_blocked()
            assert rests > 0

            rests, read = 0, 0

            def read_on() -> Progress:
                nonlocal read
                read += len(os.read(first.near.fileno(), 100))
                return Progress.MORE if read < 1000 else Progress.ENOUGH

            first.far.send(bytes(1000))
            await sockets.wait(first.near.fileno(), read_on)
            assert read == 1000
            assert rests <= 1  # only when it was enough


class Resting:
    """A set that may rest for 20 ms of virtual time, and a socket whose reader writes down when it was called."""

    def __init__(self, sockets: SocketSet, one: Pair) -> None:
        self.one = one
        self.read_ms: list[int] = []
        self.took_s = 0.0
        self.progress = Progress.DRAINED
        self.after: Callable[[], None] = lambda: None
        self._sockets = sockets

    async def run(self) -> None:
        await self._sockets.wait(self.one.near.fileno(), self._on_readable)

    def _on_readable(self) -> Progress:
        self.read_ms.append(round(trio.current_time() * 1000))
        os.read(self.one.near.fileno(), 100)
        if self.took_s:
            trio.lowlevel.current_clock().jump(self.took_s)  # type: ignore[attr-defined]
        progress = self.progress
        self.after()
        return progress

    async def send(self, after_s: float) -> None:
        await trio.sleep(after_s)
        self.one.far.send(b"x")


@asynccontextmanager
async def resting() -> AsyncIterator[Resting]:
    with pair() as one:
        async with running() as sockets, trio.open_nursery() as nursery:
            sockets.longest_rest_s = lambda: 0.02
            on = Resting(sockets, one)
            nursery.start_soon(on.run)
            yield on
            nursery.cancel_scope.cancel()


async def test_a_resting_set_reads_after_20_ms_at_the_latest(autojump_clock: trio.testing.MockClock) -> None:
    async with resting() as on:
        for after_s in (1.0, 0.005, 0.004, 0.1):
            await on.send(after_s)
        await trio.sleep(0.1)
        assert on.read_ms == [1000, 1020, 1109]  # at once, what came meanwhile together, at once again


async def test_a_sender_of_much_ends_no_later_rest(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between short rests the set may never find nothing to read, and so never wait."""
    short_rests = 0

    async def rest(self: Timer, delay_s: float) -> None:
        nonlocal short_rests
        short_rests += 1
        if short_rests == 3:  # the listener leaves
            on._sockets.longest_rest_s = lambda: 0.02
        if short_rests < 20:  # something always comes meanwhile
            on.progress = Progress.DRAINED
            on.one.far.send(b"x")
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(Timer, "rest", rest)
    monkeypatch.setattr(network, "_REST_S", math.inf)  # every turn is a busy one
    async with resting() as on:
        on._sockets.longest_rest_s = lambda: 0.0
        await on.send(0.1)
        await trio.testing.wait_all_tasks_blocked()
        on.progress = Progress.MORE
        on.one.far.send(bytes(150))  # of which each call reads 100
        on.after = lambda: setattr(on, "progress", Progress.DRAINED)
        await trio.sleep(1)
        assert short_rests == 3


async def test_a_rest_counts_from_the_beginning_of_a_turn(autojump_clock: trio.testing.MockClock) -> None:
    async with resting() as on:
        on.took_s = 0.015
        await on.send(1.0)
        await trio.testing.wait_all_tasks_blocked()
        await on.send(0.001)
        await trio.sleep(0.1)
        assert on.read_ms == [1000, 1020]


async def test_a_listener_ends_the_rest_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with resting() as on:
        await on.send(1.0)
        await on.send(0.005)
        on._sockets.longest_rest_s = lambda: 0.0
        on._sockets.wake()
        await on.send(0.005)
        await trio.sleep(0.1)
        assert on.read_ms == [1000, 1005, 1010]


async def test_nothing_rests_behind_a_read_that_brought_much(autojump_clock: trio.testing.MockClock) -> None:
    async with resting() as on:
        on.progress = Progress.MORE
        await on.send(1.0)
        await on.send(0.005)
        await trio.sleep(0.1)
        assert on.read_ms == [1000, 1005]


async def test_a_stream_waits_by_itself_until_its_handshake_is_over_and_while_it_closes() -> None:
    near, far = socket.socketpair()
    batches: list[list[bytes]] = []
    with far:
        far.send(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        tcp = TcpStream(trio.SocketStream(trio.socket.from_stdlib_socket(near)))
        sockets = SocketSet()  # which nobody runs: as in a rest without end
        stream = SharedLiftingStream(tcp, 1000, batches.append, None, sockets)
        await stream.receive_some()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            far.send(b"\x81\x02hi")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert batches == [[b"hi"]]
            stream.may_rest = True
            far.send(b"\x81\x03and")  # read alone, as it waited so; from now on with all others
            await trio.testing.wait_all_tasks_blocked(0.01)
            far.send(b"\x81\x04rest")
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert batches == [[b"hi"], [b"and"]]
            nursery.cancel_scope.cancel()
        assert batches == [[b"hi"], [b"and"], [b"rest"]]
        await stream.send_all(b"\x88\x00")
        far.send(b"\x88\x00")
        assert await stream.receive_some() == b"\x88\x00"
        await stream.aclose()
