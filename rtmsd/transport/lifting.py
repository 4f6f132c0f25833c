"""The streams between trio-websocket and the network.

trio-websocket takes 28-33 µs for each message it reads. On media connections messages are therefore lifted out of the
bytes before it sees them, and handed on at once, a batch for each read: 2 µs each, decoded. It still opens and closes
the connection and answers pings.
"""

import contextlib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import trio

from rtmsd.errors import ConnectionLost
from rtmsd.transport.failures import http_answer, why_broken
from rtmsd.transport.frames import FrameSplitter
from rtmsd.transport.network import DRAINED, MORE, NOWAIT_BYTES, READ_BYTES, Progress, SocketSet, TcpStream
from rtmsd.transport.tls import TlsStream

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

Consume: TypeAlias = Callable[[list[bytes]], None]
"""Takes the complete messages of a read, in order; none, if it brought only control frames. Not called for a read that
completed no frame. Must not block, and not raise because of their content.
"""


class Gate(Protocol):
    """Backpressure: while it is shut nothing is read, and TCP holds the sender back."""

    def is_shut(self) -> bool:
        """Asked before each read."""

    def has_room(self, size_bytes: int) -> bool:
        """Whether so much may be read at once; asked before a read that is larger than usual."""

    async def wait(self) -> None:
        """Return when it may be worth asking again."""


_MAX_HEAD_BYTES: Final = 16 * 1024
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")  # as h11 finds it
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")

_BROKEN_UPGRADE: Final = "the connection ended during the WebSocket upgrade"

_ENDED: Final = "the other side ended TCP without a close frame"

_CLOSE_FRAME: Final = b"\x88"
_REST_READS: Final = 16  # of 64 KiB: more than that is no rest, and would keep others waiting
_FULL_READ_BYTES: Final = NOWAIT_BYTES // 2  # TLS makes a read a little less than was asked for
_LARGE_MESSAGE_BYTES: Final = 16 * 1024
"""Where a full read brought larger messages than this, the next one takes `READ_BYTES`. In a flood of video of 30 KB it
takes 0.8 of the CPU, and no longer a turn than 64 KiB of audio.
"""
_BATCH_MESSAGES: Final = 512  # handed on before other tasks get their turn: 1-2 ms


class UpgradeStream(trio.abc.Stream):
    """Passes everything on, but turns a failed upgrade into an error.

    trio-websocket would wait for ever behind a truncated answer, and fail in many ways on other answers.

    Attributes:
        close_sent: a WebSocket close frame was sent.
        may_rest: what comes may wait for its turn: the handshake of the protocol above is over.
        last_heard_s: time of the last complete frame, in Trio's clock. Bytes that complete none are no sign of life.
        broken: why there is nothing more to read, unless by a close frame; "" while that is not known.
    """

    def __init__(self, stream: trio.abc.Stream, max_message_bytes: int) -> None:
        self._stream = stream
        self._head: bytearray | None = bytearray()  # of the answer to the upgrade; None once it is complete
        self.close_sent = self.may_rest = False
        self.broken = ""
        self.last_heard_s = trio.current_time()
        self._splitter = FrameSplitter(max_message_bytes)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes for trio-websocket, b"" at the end.

        Args:
            max_bytes: ignored: what is returned is in memory already.

        Raises:
            ConnectionLost: the server did not switch to WebSocket.
            BrokenResourceError: the connection broke.
        """
        while True:
            try:
                data = await self._read()
            except trio.BrokenResourceError as exc:
                if self._head is None:
                    self.broken = why_broken(exc)
                    raise
                raise _broken_upgrade(exc) from exc
            if not data:
                self.broken = _ENDED
            head_bytes = 0 if self._head is None else self._read_head(data)
            if head_bytes == len(data):  # nothing but head, or the end
                return data
            passed = data[:head_bytes] + await self._pass(data[head_bytes:])
            if passed:
                return passed

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`; trio-websocket makes one call for each frame."""
        self.close_sent |= data[:1] == _CLOSE_FRAME
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError as exc:
            if self._head is None:
                raise
            raise _broken_upgrade(exc) from exc

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _read(self) -> bytes:
        return bytes(await self._stream.receive_some(READ_BYTES))  # no copy, except from streams of tests

    async def _pass(self, frames: bytes) -> bytes:
        """Return what of `frames` trio-websocket is to see."""
        messages, others = self._splitter.feed(frames)
        if messages or others:
            self.last_heard_s = trio.current_time()
        return frames

    def _read_head(self, data: bytes) -> int:
        """Return how many bytes of `data` belong to the head of the answer, which they may complete."""
        if not data:
            raise ConnectionLost(_BROKEN_UPGRADE)
        assert self._head is not None
        earlier_bytes = len(self._head)
        self._head += data
        end = _END_OF_HEAD.search(self._head)
        if end is None and len(self._head) <= _MAX_HEAD_BYTES:
            return len(data)
        status = _STATUS.match(self._head)
        if status is None or end is None or not self._head[: end.end()].isascii():
            raise ConnectionLost("the server's answer to the WebSocket upgrade is not HTTP")
        if status[1] != b"101":
            raise ConnectionLost(f"the server answered the WebSocket upgrade with {http_answer(int(status[1]))}")
        self._head = None
        return end.end() - earlier_bytes


def _broken_upgrade(error: trio.BrokenResourceError) -> ConnectionLost:
    why = why_broken(error)
    return ConnectionLost(f"{_BROKEN_UPGRADE}: {why}" if why else _BROKEN_UPGRADE)


class LiftingStream(UpgradeStream):
    """Hands text and binary messages to `consume`, until the connection is closed, and passes the rest up."""

    def __init__(
        self, stream: trio.abc.Stream, max_message_bytes: int, consume: Consume, gate: Gate | None = None
    ) -> None:
        super().__init__(stream, max_message_bytes)
        self._consume = consume
        self._gate = gate
        self._left: list[bytes] = []  # of a read that brought more messages than fit in a turn

    async def _read(self) -> bytes:
        if self._gate is not None and self._head is None:  # the upgrade brings nothing that needs room
            while self._gate.is_shut():
                await self._gate.wait()
        return await super()._read()

    async def _pass(self, frames: bytes) -> bytes:
        messages, passed = self._splitter.feed(frames)
        if messages or passed:
            self._take(messages)
            await self._take_left()
        return passed

    def _take(self, messages: list[bytes]) -> None:
        """Hand on a batch, and keep what exceeds one turn."""
        if len(messages) > _BATCH_MESSAGES:
            messages, self._left = messages[:_BATCH_MESSAGES], messages[_BATCH_MESSAGES:]
        elif self._left:
            self._left = []
        self._consume(messages)

    async def _take_left(self) -> None:
        while self._left:
            await trio.lowlevel.cancel_shielded_checkpoint()  # not to be cancelled: the rest would be lost
            self._take(self._left)


class SharedLiftingStream(LiftingStream):
    """A lifting stream that is read by the task that waits for all such sockets, see `network`, while it `may_rest`.

    Until then, and once a close frame was sent, somebody waits for what it brings next, so it waits by itself.
    """

    def __init__(
        self,
        stream: TcpStream | TlsStream,
        max_message_bytes: int,
        consume: Consume,
        gate: Gate | None,
        sockets: SocketSet,
    ) -> None:
        super().__init__(stream, max_message_bytes, consume, gate)
        self._socket = stream
        self._sockets = sockets
        self._is_large = False  # what comes: see `_LARGE_MESSAGE_BYTES`
        self._passed: bytes | None = None  # what trio-websocket is to see next; b"" is the end
        self._is_closed = False
        self._packets: Reader | None = None
        self._on_packets: Callable[[int], None]

    def read_packets(self, packets: "Reader", on_packets: Callable[[int], None]) -> None:
        """Let `packets` see first what comes from now on. `on_packets` hears how many it took of each read."""
        self._packets, self._on_packets = packets, on_packets

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As `UpgradeStream`."""
        if self._head is not None:
            return await super().receive_some(max_bytes)
        while self._passed is None:
            if self._gate is not None and self._gate.is_shut():
                await self._gate.wait()
            if self._is_closed:  # meanwhile: its descriptor may be another socket's by now
                raise trio.ClosedResourceError
            try:
                if self.may_rest and not self.close_sent:
                    await self._sockets.wait(self._socket.fileno(), self._on_readable)
                else:
                    await trio.lowlevel.wait_readable(self._socket.fileno())
                    self._on_readable()
            except trio.Cancelled:
                self._read_rest()
                raise
            except trio.BrokenResourceError as exc:
                self.broken = why_broken(exc)
                raise
            await self._take_left()
        passed, self._passed = self._passed, None
        return passed

    async def aclose(self) -> None:
        if self._head is None and not self._is_closed:
            self._read_rest()
            self._sockets.closing(self._socket.fileno())
        self._is_closed = True
        await super().aclose()

    def _on_readable(self) -> Progress:
        """Read once. ENOUGH gives the turn to the reader: to pass something up, to wait at the gate, or to hand on the
        rest of a large read.
        """
        if self._gate is not None and self._gate.is_shut():
            return Progress.ENOUGH
        is_large = self._is_large and (self._gate is None or self._gate.has_room(READ_BYTES))
        try:
            data, read_bytes = self._receive_nowait(READ_BYTES if is_large else NOWAIT_BYTES)
        except trio.WouldBlock:
            return DRAINED
        if data == b"":
            self._passed, self.broken = data, _ENDED
            return Progress.ENOUGH
        if data is not None:
            messages, passed = self._splitter.feed(data)
            self._is_large = len(data) >= _FULL_READ_BYTES and len(data) > len(messages) * _LARGE_MESSAGE_BYTES
            if messages or passed:
                self._take(messages)
            self._hand_over()
            if passed:
                self._passed = passed
            if passed or self._left:
                return Progress.ENOUGH
        return DRAINED if read_bytes < _FULL_READ_BYTES else MORE

    def _receive_nowait(self, max_bytes: int = NOWAIT_BYTES) -> tuple[bytes | None, int]:
        """Read once. Returns what is to be split, None if nothing is left to be, and how much was read."""
        packets = self._packets
        if packets is None or self._is_large or not self._splitter.is_between:
            data = self._socket.receive_nowait(max_bytes)
            return data, len(data)
        rest = self._socket.take_nowait(packets)
        if packets.taken:
            self._on_packets(packets.taken)
        return rest, packets.read_bytes

    def _hand_over(self) -> None:
        """Let `packets` go on with the message that the splitter has the beginning of. But what is large is read past
        it, in larger pieces.
        """
        if self._packets is not None and not self._is_large:
            self._splitter.hand_over(self._packets.hold)

    def _read_rest(self) -> None:
        """Take what has arrived by now, before the connection is given up."""
        if self._left:
            left, self._left = self._left, []
            self._consume(left)
        with contextlib.suppress(trio.WouldBlock, trio.BrokenResourceError):
            for _ in range(_REST_READS):
                if self._gate is not None and self._gate.is_shut():
                    return
                data, _ = self._receive_nowait()
                if data is None:
                    continue
                if not data:
                    return
                messages, _ = self._splitter.feed(data)
                if messages:
                    self._consume(messages)
                self._hand_over()
