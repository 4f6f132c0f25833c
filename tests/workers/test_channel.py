"""The channel between parent and worker, over real pairs of sockets."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import structlog
import trio

from rtmsd.workers.channel import MAX_WAITING, Channel
from rtmsd.workers.messages import MAX_LINE_BYTES, Died, Due, Held, Hold, Message, Ping, Release, encode


class Ends(NamedTuple):
    ours: Channel
    theirs: socket.socket


@pytest.fixture
async def ends() -> Iterator[Ends]:  # type: ignore[misc]
    one, other = socket.socketpair()
    channel = Channel(one)
    with other:
        yield Ends(channel, other)
    channel.close()


async def received(channel: Channel) -> list[Message]:
    with trio.fail_after(60):
        return [message async for message in channel]


async def test_messages_arrive_in_order(ends: Ends) -> None:
    other = Channel(ends.theirs.dup())
    sent: list[Ping | Died | Hold] = [Ping(1), Died("ab"), Hold("x" * 100_000), Ping(2)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.send_posted)
        assert all(other.post(message) for message in sent)
        arrived: list[Message] = []
        with trio.fail_after(60):
            async for message in ends.ours:
                arrived.append(message)
                if len(arrived) == len(sent):
                    break
        nursery.cancel_scope.cancel()
    other.close()
    assert arrived == sent


async def test_lines_may_come_in_pieces_and_together(ends: Ends) -> None:
    lines = encode(Ping(1)) + encode(Due()) + encode(Ping(2))
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            for at in range(0, len(lines), 7):
                ends.theirs.send(lines[at : at + 7])
                await trio.testing.wait_all_tasks_blocked()
            ends.theirs.shutdown(socket.SHUT_WR)

        nursery.start_soon(send)
        assert await received(ends.ours) == [Ping(1), Due(), Ping(2)]


async def test_garbage_is_passed_over_and_logged_once(ends: Ends) -> None:
    ends.theirs.sendall(b"\n{}\n\xff\n" + encode(Ping(1)) + b'{"what": "stop"}\n' + encode(Ping(2)) + b"no end")
    ends.theirs.shutdown(socket.SHUT_WR)
    with structlog.testing.capture_logs() as logs:
        assert await received(ends.ours) == [Ping(1), Ping(2)]
    assert [line["event"] for line in logs] == ["message between processes unreadable; ignored"]


async def test_a_line_without_end_takes_no_memory(ends: Ends) -> None:
    async def send() -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ends.theirs.dup()))
        async with stream:
            for _ in range(5):
                await stream.send_all(b"x" * MAX_LINE_BYTES)
            await stream.send_all(b"\n" + encode(Ping(1)))
        ends.theirs.shutdown(socket.SHUT_RDWR)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        assert await received(ends.ours) == [Ping(1)]


async def test_the_end_of_the_other_process_ends_the_messages(ends: Ends) -> None:
    ends.theirs.sendall(encode(Ping(1)))
    ends.theirs.close()
    assert await received(ends.ours) == [Ping(1)]
    assert ends.ours.post(Due())
    with trio.fail_after(60):
        await ends.ours.send_posted()  # returns: there is nobody


async def test_all_streams_of_a_worker_may_be_deleted_at_once(ends: Ends) -> None:
    """The parent answers as it does: whatever came in one piece in one turn. A lost answer has it kill the worker."""
    names = [f"stream {number}" for number in range(2000)]
    worker = Channel(ends.theirs.dup())

    async def answer(name: str) -> None:
        assert ends.ours.post(Held(name))

    async def be_parent(nursery: trio.Nursery) -> None:
        async for message in ends.ours:
            if isinstance(message, Hold):
                nursery.start_soon(answer, message.rtms_stream_id)

    held = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.send_posted)
        nursery.start_soon(ends.ours.send_posted)
        nursery.start_soon(be_parent, nursery)
        assert all(worker.post(Hold(name)) for name in names)
        with trio.fail_after(60):
            async for message in worker:
                assert isinstance(message, Held)
                held.append(message.rtms_stream_id)
                if len(held) == len(names):
                    break
        assert all(worker.post(Release(name)) for name in names)
        nursery.cancel_scope.cancel()
    worker.close()
    assert sorted(held) == sorted(names)


async def test_who_does_not_read_is_not_waited_for(ends: Ends) -> None:
    big = Hold("x" * 100_000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ends.ours.send_posted)
        posted = 0
        while ends.ours.post(big):
            posted += 1
            await trio.lowlevel.checkpoint()
            assert posted < 2 * MAX_WAITING
        nursery.cancel_scope.cancel()
    assert posted >= MAX_WAITING
