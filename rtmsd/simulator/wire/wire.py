"""The stream of bytes between a socket and trio-websocket, on the server's side, with faults on demand.

All that a connection sends goes through one queue: the bytes of trio-websocket (upgrade, pong, close) and the frames
that the session puts here without waiting. On a plain socket they are written at once as far as the kernel has room,
which makes hundreds of paced sessions cheap; the rest, and all of TLS, is left to the writer task. The wire knows which
frames were handed to the kernel whole, and so the fate of each.
"""

import array
import contextlib
import enum
import fcntl
import os
import socket
import struct
import termios
from collections import deque
from itertools import islice
from typing import Protocol, TypeAlias

import trio

from rtmsd.simulator.model.fate import Fate

SocketOrTls: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"

_IOV = 64  # buffers in one system call
_TLS_CHUNK_BYTES = 65536
_REMEMBERED = 4096  # frames whose fate a reset may still change
_FLUSH_S = 1.0


class WireState(enum.Enum):
    OPEN = enum.auto()
    STALLED = enum.auto()  # nothing moves in either direction until `resume`
    DEAD = enum.auto()  # half-open: nothing is sent or read, and the peer's TCP stays up
    CLOSING = enum.auto()  # a close frame was put; nothing may follow it
    CLOSED = enum.auto()


_MOVING = (WireState.OPEN, WireState.CLOSING)
_HOLDING = (WireState.OPEN, WireState.STALLED, WireState.CLOSING)  # the queue may still be sent
_CLOSE_FRAME = b"\x88"


class Cut(enum.Enum):
    """Ways to lose a connection without a close frame."""

    EOF = "eof"  # TCP ends in order: 1006 at the client
    RESET = "reset"  # TCP RST; the kernel discards its buffer
    TRUNCATED = "truncated"  # half a frame, then the end


class Token(Protocol):
    """Accompanies a frame and gets its fate: SENT once handed to the kernel whole, which a reset may still change to
    IN_FLIGHT; LOST on a dead wire; DISCARDED when still queued at the end.
    """

    def settle(self, fate: Fate) -> None: ...


def socket_of(stream: SocketOrTls) -> trio.socket.SocketType:
    """Return the socket under a stream."""
    return (stream if isinstance(stream, trio.SocketStream) else stream.transport_stream).socket


class Wire(trio.abc.Stream):
    """A stream for trio-websocket, and `put` for frames."""

    def __init__(self, stream: SocketOrTls) -> None:
        self.state = WireState.OPEN
        self.queued_bytes = 0
        self._stream = stream
        self._socket = socket_of(stream)
        self._plain = isinstance(stream, trio.SocketStream)
        self._queue: deque[tuple[bytes, Token | None]] = deque()
        self._offset = 0  # bytes of the first queued piece that are sent already
        self._encrypting = 0  # pieces handed to TLS: they may or may not be sent
        self._handed_over = 0  # bytes in total
        self._recent: deque[tuple[int, Token]] = deque(maxlen=_REMEMBERED)  # (offset of its end, token)
        self._changed = trio.Event()  # the queue got its first piece, or emptied, or the state changed

    @property
    def is_closing(self) -> bool:
        """Whether a frame that is put now is DISCARDED."""
        return self.state in (WireState.CLOSING, WireState.CLOSED)

    # Sending

    def put(self, data: bytes, token: Token | None = None) -> None:
        """Send `data` after all that was put before, without waiting. A closing or closed wire DISCARDs it."""
        if self.state is WireState.DEAD:
            self._settle(token, Fate.LOST)
        elif self.is_closing:
            self._settle(token, Fate.DISCARDED)
        else:
            self._queue.append((data, token))
            self.queued_bytes += len(data)
            if len(self._queue) == 1:
                self._flush()
                if self._queue:
                    self._notify()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Put `data` and wait until it is sent.

        Raises:
            BrokenResourceError: the wire is closed, or was before the data was sent.
        """
        self.put(bytes(data))
        if data[:1] == _CLOSE_FRAME and self.state is WireState.OPEN:  # trio-websocket makes one call for each frame
            self._enter(WireState.CLOSING)
        await self._until_empty()
        if self.state is WireState.CLOSED:
            raise trio.BrokenResourceError("the wire is closed")

    async def wait_send_all_might_not_block(self) -> None:
        await self._until_empty()

    async def run_writer(self) -> None:
        """Send what the kernel had no room for, until the wire is closed."""
        while self.state is not WireState.CLOSED:
            if self.state in _MOVING and self._queue:
                with contextlib.suppress(trio.ClosedResourceError):
                    await self._write_some()
            else:
                await self._changed.wait()

    async def _write_some(self) -> None:
        if self._plain:
            await trio.lowlevel.wait_writable(self._socket)
            if self.state in _MOVING:
                self._flush()
        else:
            await self._send_encrypted()
        if not self._queue:
            self._notify()

    async def _send_encrypted(self) -> None:
        count = size = 0
        while count < len(self._queue) and size < _TLS_CHUNK_BYTES:
            size += len(self._queue[count][0])
            count += 1
        self._encrypting = count
        try:
            await self._stream.send_all(b"".join(data for data, _ in islice(self._queue, count)))
        except trio.BrokenResourceError:
            self._close()
        else:
            if self.state in _HOLDING:
                self._pop(size)
        finally:
            self._encrypting = 0

    def _flush(self) -> None:
        """Hand over as much as the kernel takes now."""
        while self._plain and self._queue and self.state in _MOVING:
            buffers: list[bytes | memoryview] = [data for data, _ in islice(self._queue, _IOV)]
            if self._offset:
                buffers[0] = memoryview(buffers[0])[self._offset :]
            try:
                written = os.writev(self._socket.fileno(), buffers)
            except BlockingIOError:
                return
            except OSError:
                self._close()
                return
            self._pop(written)

    def _pop(self, size: int) -> None:
        """Take `size` bytes off the queue, reporting each piece sent whole."""
        self._offset += size
        self.queued_bytes -= size
        self._handed_over += size
        while self._queue and self._offset >= len(self._queue[0][0]):
            data, token = self._queue.popleft()
            self._offset -= len(data)
            if token is not None:
                self._recent.append((self._handed_over - self._offset, token))
                token.settle(Fate.SENT)

    async def _until_empty(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._queue and self.state in _HOLDING:
            await self._changed.wait()

    async def wait_closed(self) -> None:
        while self.state is not WireState.CLOSED:
            await self._changed.wait()

    # Receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        await self._while_frozen()
        data = await self._stream.receive_some(max_bytes)
        await self._while_frozen()
        return data

    async def _while_frozen(self) -> None:
        while self.state in (WireState.STALLED, WireState.DEAD):
            await self._changed.wait()
        if self.state is WireState.CLOSED:
            raise trio.ClosedResourceError

    # Faults

    def stall(self) -> None:
        """Stop moving bytes until `resume`; nothing is lost."""
        if self.state is WireState.OPEN:
            self._enter(WireState.STALLED)

    def resume(self) -> None:
        if self.state is WireState.STALLED:
            self._enter(WireState.OPEN)
            self._flush()

    def play_dead(self) -> None:
        """Become half-open: the peer's TCP stays up, and nothing is sent any more. The queue is LOST."""
        if self.state in _HOLDING:
            self._enter(WireState.DEAD)
            self._give_up(Fate.LOST)

    def cut(self, how: Cut) -> None:
        """Close the connection at once. The queue is DISCARDED, so that it can be sent again."""
        if self.state is WireState.CLOSED:
            return
        if how is Cut.TRUNCATED and self._plain and self.state is WireState.OPEN:
            self._send_half_a_frame()
        if how is Cut.RESET:
            self._mark_in_flight()
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def _send_half_a_frame(self) -> None:
        """Leave the peer in the middle of a message: the rest of the one half sent, or a fresh one."""
        half = b"" if self._offset else b'\x81\x7e\x03\xe8{"msg_type":14,"content":{"user_id":1677'
        with contextlib.suppress(OSError):
            os.write(self._socket.fileno(), half)

    def _mark_in_flight(self) -> None:
        outstanding = array.array("i", [0])
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, outstanding)
        acknowledged = self._handed_over - outstanding[0]
        for end, token in self._recent:
            if end > acknowledged:
                token.settle(Fate.IN_FLIGHT)

    # Ending

    async def aclose(self) -> None:
        """Send what is queued, for a second at most, and close."""
        try:
            if self.state in _MOVING:
                with trio.move_on_after(_FLUSH_S):
                    await self._until_empty()
                    if not self._plain and self.state in _MOVING:
                        await self._stream.aclose()
        finally:
            self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if self.state is not WireState.CLOSED:
            self._enter(WireState.CLOSED)
            self._socket.close()
            self._give_up(Fate.DISCARDED)

    def _give_up(self, fate: Fate) -> None:
        queue, self._queue, self._offset, self.queued_bytes = self._queue, deque(), 0, 0
        for index, (_, token) in enumerate(queue):
            self._settle(token, Fate.IN_FLIGHT if index < self._encrypting else fate)
        self._notify()

    @staticmethod
    def _settle(token: Token | None, fate: Fate) -> None:
        if token is not None:
            token.settle(fate)

    def _enter(self, state: WireState) -> None:
        self.state = state
        self._notify()

    def _notify(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
