"""One end of the channel between the parent and a worker."""

import socket
from collections import deque
from typing import Final, Self

import structlog
import trio

from rtmsd.system.throttle import Throttle
from rtmsd.workers.messages import MAX_LINE_BYTES, Message, Unreadable, decode, encode

log = structlog.get_logger()

MAX_WAITING: Final = 16_384
"""Messages: some for each stream of a worker, as all may be deleted at once. One that hangs is killed long before."""

_READ_BYTES: Final = 65536
_LOG_EVERY_S: Final = 10.0


class Channel:
    """Sends and receives messages. It never makes anybody wait: what the other end does not read is bounded."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._stream = trio.SocketStream(trio.socket.from_stdlib_socket(end))
        self._outgoing, self._waiting = trio.open_memory_channel[Message](MAX_WAITING)
        self._rest = bytearray()
        self._is_too_long = False
        self._arrived: deque[Message] = deque()
        self._unreadable = Throttle(_LOG_EVERY_S)

    def post(self, message: Message) -> bool:
        """Send a message, in order. False: it is lost, as the other end has not read `MAX_WAITING` others."""
        try:
            self._outgoing.send_nowait(message)
        except trio.WouldBlock:
            return False
        return True

    async def send_posted(self) -> None:
        """Send what is posted, until cancelled, or the other end is gone."""
        try:
            async for message in self._waiting:
                await self._stream.send_all(encode(message))
        except trio.BrokenResourceError:
            return

    def __aiter__(self) -> Self:
        """Iterate over what comes, to the end of the other process. What is no message is logged and passed over."""
        return self

    async def __anext__(self) -> Message:
        while not self._arrived:
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except trio.BrokenResourceError:
                data = b""
            if not data:
                raise StopAsyncIteration
            self._take(data)
        return self._arrived.popleft()

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        if lines and self._is_too_long:  # this is the end of that
            del lines[0]
            self._is_too_long = False
        for line in lines:
            if (message := self._read(bytes(line))) is not None:
                self._arrived.append(message)
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            if not self._is_too_long:
                self._complain(f"a line of more than {MAX_LINE_BYTES} bytes")
            self._rest, self._is_too_long = bytearray(), True

    def _read(self, line: bytes) -> Message | None:
        try:
            return decode(line)
        except Unreadable as error:
            self._complain(str(error))
            return None

    def _complain(self, why: str) -> None:
        if (more := self._unreadable.admit()) is not None:
            log.error("message between processes unreadable; ignored", why=why, more_since_last=more)

    def close(self) -> None:
        """The other end learns that this process is gone."""
        self._stream.socket.close()
