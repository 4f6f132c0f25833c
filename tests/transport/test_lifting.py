"""The streams under trio-websocket, over streams in memory: what is lifted, what is passed on, and when it is read."""

import pytest
import trio
import trio.testing

from rtmsd.errors import ConnectionLost
from rtmsd.transport.lifting import LiftingStream, UpgradeStream

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
PING = b"\x89\x01p"


def text(payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([0x81, len(payload)]) + payload


class FakeGate:
    def __init__(self) -> None:
        self.opened = trio.Event()
        self.opened.set()

    def shut(self) -> None:
        self.opened = trio.Event()

    def is_shut(self) -> bool:
        return not self.opened.is_set()

    def has_room(self, size_bytes: int) -> bool:
        return True

    async def wait(self) -> None:
        await self.opened.wait()


class Media:
    """A lifting stream, the server's end of it, and what was lifted, by read."""

    def __init__(self) -> None:
        near, self.server = trio.testing.memory_stream_pair()
        self.batches: list[list[bytes]] = []
        self.gate = FakeGate()
        self.stream = LiftingStream(near, 1000, self.batches.append, self.gate)


async def opened() -> Media:
    media = Media()
    await media.server.send_all(HEAD)
    assert await media.stream.receive_some() == HEAD
    return media


@pytest.mark.parametrize("place", range(1, len(HEAD) + 4))
async def test_the_head_passes_whole_and_messages_behind_it_are_lifted(place: int) -> None:
    media = Media()
    sent = HEAD + text(b"first") + PING + text(b"second")
    passed = b""
    await media.server.send_all(sent[:place])
    passed += await media.stream.receive_some()
    await media.server.send_all(sent[place:])
    while len(passed) < len(HEAD + PING):
        passed += await media.stream.receive_some()
    assert passed == HEAD + PING
    assert [message for batch in media.batches for message in batch] == [b"first", b"second"]


async def test_bare_newlines_end_a_head_too() -> None:
    media = Media()
    await media.server.send_all(b"HTTP/1.1 101 \nUpgrade: websocket\n\n" + text(b"a"))
    assert await media.stream.receive_some() == b"HTTP/1.1 101 \nUpgrade: websocket\n\n"
    assert media.batches == [[b"a"]]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\nno", "HTTP status 403"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "HTTP status 100"),
        (b"SSH-2.0-server\r\n\r\n", "is not HTTP"),
        (b"HTTP/1.1 101 \xff\r\n\r\n", "is not HTTP"),
        (b"x" * 20_000, "is not HTTP"),
    ],
)
async def test_other_answers_are_a_lost_connection(answer: bytes, says: str) -> None:
    media = Media()
    await media.server.send_all(answer)
    with pytest.raises(ConnectionLost, match=says):
        await media.stream.receive_some()


@pytest.mark.parametrize("sent", [b"", HEAD[:20]])
async def test_an_end_within_the_head_is_a_lost_connection(sent: bytes) -> None:
    media = Media()
    await media.server.send_all(sent)
    await media.server.send_eof()
    with pytest.raises(ConnectionLost, match="ended during the WebSocket upgrade"):
        assert await media.stream.receive_some() == sent
        await media.stream.receive_some()


async def test_a_break_within_the_head_is_a_lost_connection() -> None:
    media = Media()
    await media.server.aclose()
    with pytest.raises(ConnectionLost, match="ended during the WebSocket upgrade"):
        await media.stream.send_all(b"GET / HTTP/1.1\r\n\r\n")


async def test_messages_alone_pass_nothing_and_the_end_is_passed() -> None:
    media = await opened()
    await media.server.send_all(text(b"a") + text(b"b") + text(b"c")[:2])
    received: list[bytes] = []

    async def receive() -> None:
        received.append(await media.stream.receive_some())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        assert media.batches == [[b"a", b"b"]]
        await media.server.send_all(text(b"c")[2:])
        await media.server.send_eof()
    assert media.batches == [[b"a", b"b"], [b"c"]]
    assert received == [b""]


async def test_violations_are_passed() -> None:
    media = await opened()
    oversized = b"\x81\x7e\x04\x00" + b"x" * 1024
    await media.server.send_all(text(b"a") + oversized)
    assert await media.stream.receive_some() == oversized
    assert media.batches == [[b"a"]]


async def test_nothing_is_read_while_the_gate_is_shut() -> None:
    media = await opened()
    media.gate.shut()
    await media.server.send_all(text(b"a") + PING)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(media.stream.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        assert media.batches == []
        media.gate.opened.set()
    assert media.batches == [[b"a"]]


async def test_the_gate_does_not_hold_up_the_upgrade() -> None:
    media = Media()
    media.gate.shut()
    await media.server.send_all(HEAD)
    assert await media.stream.receive_some() == HEAD


async def test_a_flood_leaves_turns_to_other_tasks() -> None:
    media = await opened()
    await media.server.send_all(text(b"x") * 5000 + PING)
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        assert await media.stream.receive_some() == PING
        nursery.cancel_scope.cancel()
    assert sum(map(len, media.batches)) == 5000
    assert len(media.batches) >= 9
    assert turns >= 9


async def test_being_cancelled_in_a_flood_loses_nothing() -> None:
    near, server = trio.testing.memory_stream_pair()
    lifted: list[bytes] = []
    await server.send_all(HEAD + text(b"x") * 5000)
    with trio.CancelScope() as scope:

        def take_and_cancel(batch: list[bytes]) -> None:
            lifted.extend(batch)
            scope.cancel()

        await LiftingStream(near, 1000, take_and_cancel).receive_some()
    assert len(lifted) == 5000


async def test_signaling_passes_everything_and_notes_a_close_frame() -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = UpgradeStream(near, 1000)
    await far.send_all(HEAD + text(b"a") + PING)
    assert await stream.receive_some() == HEAD + text(b"a") + PING
    await stream.send_all(b"\x89\x80mask")
    close_sent = [stream.close_sent]
    await stream.send_all(b"\x88\x80mask")
    assert [*close_sent, stream.close_sent] == [False, True]
    await far.send_eof()
    assert await stream.receive_some() == b""
