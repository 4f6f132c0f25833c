"""One socket of the load generator: its upgrade to a WebSocket, what is sent on it and what is heard."""

import base64
import contextlib
import hashlib
import json
import socket
import ssl
import time
from collections import deque
from typing import Any, Final, Protocol

from tests.benchmarks.frames import Frames, header

CLOSE: Final = 0x88
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Owner(Protocol):
    """Who has all connections and waits for them."""

    def wants_write(self, connection: "Connection", on: bool) -> None: ...

    def hear(self, connection: "Connection", message: dict[str, Any]) -> None: ...

    def drop(self, connection: "Connection") -> None: ...


class Connection:
    """One accepted socket: HTTP upgrade, then messages. Unsent bytes wait in `_queue`."""

    def __init__(self, zoom: Owner, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.zoom = zoom
        self.sock = sock
        self.path = ""
        self.stream = ""
        self.frames: Frames | None = None  # of a flood that goes on
        self.sent_messages = 0
        self.skipped_messages = 0
        self.asked: dict[int, int] = {}  # keep-alives: timestamp -> when asked
        self._queue: deque[memoryview] = deque()
        self.queued_bytes = 0
        self._in = bytearray()
        self._is_open = False
        self._secured = tls is None
        self._bios = (ssl.MemoryBIO(), ssl.MemoryBIO())
        self._tls = None if tls is None else tls.wrap_bio(*self._bios, server_side=True)

    # Sending

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._tls is not None:
            self._tls.write(data)
            data = self._bios[1].read()
        self._send(data)

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep what the kernel does not take; a buffer that is changed later is copied."""
        sent = 0
        if not self._queue:
            with contextlib.suppress(BlockingIOError):
                sent = self.sock.send(data)
        if sent < len(data):
            self._queue.append(memoryview(bytes(data)[sent:]))
            self.queued_bytes += len(data) - sent
            self.zoom.wants_write(self, True)

    def flood(self, frames: Frames) -> None:
        self.frames = frames
        self.zoom.wants_write(self, True)

    def on_writable(self) -> None:
        while self._queue:
            view = self._queue[0]
            try:
                sent = self.sock.send(view)
            except BlockingIOError:
                return
            self.queued_bytes -= sent
            if sent < len(view):
                self._queue[0] = view[sent:]
                return
            self._queue.popleft()
        frames = self.frames
        if frames is None:
            self.zoom.wants_write(self, False)
            return
        frames.advance()
        frames.stamp(time.monotonic_ns())
        self.sent_messages += frames.count
        if self._tls is None:
            try:
                sent = self.sock.send(frames.view)
            except BlockingIOError:
                sent = 0
                frames.stamp(0)  # it waits here, and not with the client: no time to note
            if sent < len(frames.view):
                self._queue.append(frames.view[sent:])  # sent before the buffer is changed again
                self.queued_bytes += len(frames.view) - sent
        else:  # as Zoom does: each message in a record of its own
            size, write = frames.frame_bytes, self._tls.write
            for at in range(0, len(frames.view), size):
                write(frames.view[at : at + size])
            self._send(self._bios[1].read())

    def say(self, message: dict[str, Any]) -> None:
        text = json.dumps(message, separators=(",", ":")).encode()
        self.write(header(len(text)) + text)

    # Receiving

    def on_readable(self) -> None:
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.zoom.drop(self)
            return
        if self._tls is not None:
            data = self._decrypt(data)
        self._in += data
        if self._in:
            if not self._is_open:
                self._upgrade()
            if self._is_open:
                self._read_frames()

    def _decrypt(self, data: bytes) -> bytes:
        assert self._tls is not None
        self._bios[0].write(data)
        plain = []
        try:
            if not self._secured:
                self._tls.do_handshake()
                self._secured = True
            while piece := self._tls.read(16384):
                plain.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self.zoom.drop(self)
        if self._bios[1].pending:
            self._send(self._bios[1].read())
        return b"".join(plain)

    def _upgrade(self) -> None:
        head, end, rest = bytes(self._in).partition(b"\r\n\r\n")
        if not end:
            return
        lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        accept = base64.b64encode(hashlib.sha1(fields[b"sec-websocket-key"] + _GUID).digest())
        self.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.path = lines[0].split()[1].decode().partition("?")[0]
        self.stream = self.path.rpartition("/")[2]
        self._in[:] = rest
        self._is_open = True

    def _read_frames(self) -> None:
        data = self._in
        while len(data) >= 6:
            length, start = data[1] & 0x7F, 2
            if length == 126:
                length, start = int.from_bytes(data[2:4], "big"), 4
            stop = start + 4 + length
            if len(data) < stop:
                return
            mask = int.from_bytes((data[start : start + 4] * (length // 4 + 1))[:length], "big")
            payload = (int.from_bytes(data[start + 4 : stop], "big") ^ mask).to_bytes(length, "big")
            opcode = data[0] & 0x0F
            del data[:stop]
            if opcode == 8:
                with contextlib.suppress(OSError):
                    self.write(header(len(payload), CLOSE) + payload)
                self.zoom.drop(self)
                return
            if opcode == 9:
                self.write(header(len(payload), 0x8A) + payload)
            elif opcode in {1, 2}:
                self.zoom.hear(self, json.loads(payload))
