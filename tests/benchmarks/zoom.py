"""A Zoom that does nothing but send as fast as it is taken, or at a steady pace: the benchmark's load generator.

A process of its own, one thread around epoll, driven by JSON lines on stdin and answering on stdout. It knows just
enough of the protocol to be connected to (nothing is verified: that is the simulator's work), and its frames are
rendered beforehand, so that the client is what is measured.

A socket opened at `/bare/...` streams after its media handshake alone, for clients that have no signaling.
"""

import contextlib
import gc
import heapq
import json
import os
import resource
import select
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from tests.benchmarks.connection import CLOSE, Connection
from tests.benchmarks.frames import Frames, header
from tests.benchmarks.keep_alives import KeepAlives
from tests.benchmarks.pacing import Pace, late_ms, no_frames

# What a paced socket may be behind, and all of them together; beyond that frames are skipped and counted.
_BACKLOG_BYTES: Final = 1 << 20
_BACKLOG_OF_ALL_BYTES: Final = 128 << 20


class Zoom:
    """All connections, the clock, and what the driver asks for."""

    def __init__(self, port_tls: tuple[int, ssl.SSLContext | None]) -> None:
        port, self._tls = port_tls
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self.url = f"{'ws' if self._tls is None else 'wss'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._epoll.register(0, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._signaling: dict[str, Connection] = {}
        self._media: dict[str, Connection] = {}
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._timer_number = 0
        self._paces: list[Pace] = []
        self._late = no_frames()
        self._next_ms: dict[str, int] = {}  # by stream: the time of its next paced frame
        self._floods: dict[str, Frames] = {}
        self._backlog_bytes = _BACKLOG_BYTES
        self._keep_alives = KeepAlives(self.at)
        self._ready_ns: dict[str, int] = {}
        self._gone: Counter[str] = Counter()  # by stream: messages sent on media sockets that are closed
        self._flood_ended_ns = 0
        self._commands = b""

    def wants_write(self, connection: Connection, on: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._epoll.modify(connection.sock, select.EPOLLIN | (select.EPOLLOUT if on else 0))

    def drop(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if fd < 0:
            return
        self._connections.pop(fd, None)
        if connection.sent_messages:
            self._gone[connection.stream] += connection.sent_messages
        for known in (self._signaling, self._media):
            if known.get(connection.stream) is connection:
                del known[connection.stream]
                self._ready_ns.pop(connection.stream, None)
        connection.sock.close()

    # The protocol

    def hear(self, connection: Connection, message: dict[str, Any]) -> None:
        stream = connection.stream
        match message["msg_type"]:
            case 1:
                self._signaling[stream] = connection
                url = f"{self.url}/media/{stream}"
                urls = {"audio": url, "video": url, "transcript": url, "all": url}
                connection.say({"msg_type": 2, "status_code": 0, "reason": "", "media_server": {"server_urls": urls}})
            case 3:
                params = message.get("media_params") or {}
                connection.say(
                    {"msg_type": 4, "status_code": 0, "reason": "", "payload_encrypted": False, "media_params": params}
                )
                self._media[stream] = connection
                if connection.path.startswith("/bare/"):
                    self._ready_ns[stream] = time.monotonic_ns()
            case 7:
                self._ready_ns.setdefault(stream, time.monotonic_ns())
            case 13:
                self._keep_alives.answered(connection, message["timestamp"])
            case 19:
                connection.say({"msg_type": 20, "state": 1, "timestamp": time.time_ns() // 1_000_000})
            case _:
                pass

    # Time

    def at(self, when_ns: int, call: Callable[[], None]) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (when_ns, self._timer_number, call))

    # What the driver asks for

    def carry_out(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command, and return the answer."""
        match command["do"]:
            case "ready":
                return {"ready_ns": {s: t for s, t in self._ready_ns.items() if s in self._media}}
            case "pace":
                self._start_pace(command["media"], command["period_ms"], command["streams"])
            case "halt":
                self._paces.clear()
            case "flood":
                self._start_flood(command["media"], command["streams"], int(command["seconds"] * 1e9))
            case "flooding":
                flooding = [c for c in self._media.values() if c.frames is not None]
                return {"flooding": len(flooding), "ended_ns": self._flood_ended_ns}
            case "keep_alives":
                known = self._signaling if command["of"] == "signaling" else self._media
                self._keep_alives.start(known.values(), int(command["period_s"] * 1e9))
            case "report":
                return self._report()
            case "close":
                return self._close(command["code"])
            case "sent":
                return {"sent": sum(connection.sent_messages for connection in self._media.values())}
        return {}

    def _start_pace(self, media: str, period_ms: int, streams: list[str] | None) -> None:
        """Send a frame every period on each stream, the streams evenly spread over the period."""
        names = sorted(self._media) if streams is None else streams
        self._backlog_bytes = min(_BACKLOG_BYTES, _BACKLOG_OF_ALL_BYTES // max(1, len(self._media)))
        begin_ns, now_ms = time.monotonic_ns() + 10_000_000, time.time_ns() // 1_000_000
        for stream in names:
            self._next_ms.setdefault(stream, now_ms)
        if not self._paces:
            self._late = no_frames()
        if names:
            self._paces.append(Pace(Frames(media, period_ms), names, self._next_ms, begin_ns, self._late))

    def _start_flood(self, media: str, streams: list[str] | None, duration_ns: int) -> None:
        for stream in list(self._media) if streams is None else streams:
            if stream not in self._floods:
                self._floods[stream] = Frames.for_flood(media)
            self._media[stream].flood(self._floods[stream])
        self.at(time.monotonic_ns() + duration_ns, self._end_flood)

    def _end_flood(self) -> None:
        """Let each socket finish the frames it is at."""
        for connection in self._media.values():
            connection.frames = None
        self._flood_ended_ns = time.monotonic_ns()

    def _report(self) -> dict[str, Any]:
        """Return what was sent, how late that was, and how late keep-alives were answered."""
        return {
            "sent": {stream: connection.sent_messages for stream, connection in self._media.items()},
            "gone": self._gone,
            "skipped": sum(connection.skipped_messages for connection in self._media.values()),
            "late_ms": {str(percent): late_ms(self._late, percent) for percent in (99, 100)},
            "queued": sum(connection.queued_bytes for connection in self._media.values()),
            **self._keep_alives.report((*self._signaling.values(), *self._media.values())),
        }

    def _close(self, code: int) -> dict[str, Any]:
        """Close all connections as a server does, and forget the streams."""
        self._paces.clear()
        self._floods.clear()
        self._gone.clear()
        self._keep_alives.stop()
        for connection in list(self._connections.values()):
            with contextlib.suppress(OSError, ssl.SSLError):
                connection.write(header(2, CLOSE) + code.to_bytes(2, "big"))
        self._ready_ns.clear()
        return {}

    # The loop

    def run(self) -> None:
        print(json.dumps({"url": self.url}), flush=True)
        fd = self._epoll.fileno()
        listener = self._listener.fileno()
        while True:
            now_ns = time.monotonic_ns()
            while self._timers and self._timers[0][0] <= now_ns:
                heapq.heappop(self._timers)[2]()
            for pace in self._paces:
                pace.send_due(time.monotonic_ns(), self._media, self._backlog_bytes, self.drop)
            due_ns = min(
                (*(pace.due_ns for pace in self._paces), *(timer[0] for timer in self._timers[:1])), default=None
            )
            wait_s = None if due_ns is None else max(0.0, (due_ns - time.monotonic_ns()) / 1e9)
            if wait_s != 0:
                select.select([fd], [], [], wait_s)  # epoll waits in whole milliseconds, this in microseconds
            for ready, events in self._epoll.poll(0, 256):
                if ready == listener:
                    self._accept()
                elif ready == 0:
                    if not self._read_commands():
                        return
                elif (connection := self._connections.get(ready)) is not None:
                    self._serve(connection, events)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(self, sock, self._tls)
                self._epoll.register(sock, select.EPOLLIN)

    def _serve(self, connection: Connection, events: int) -> None:
        try:
            if events & ~select.EPOLLOUT:
                connection.on_readable()
            if events & select.EPOLLOUT and connection.sock.fileno() >= 0:
                connection.on_writable()
        except OSError:
            self.drop(connection)

    def _read_commands(self) -> bool:
        data = os.read(0, 65536)
        if not data:
            return False
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            print(json.dumps(self.carry_out(json.loads(line))), flush=True)
        return True


def main() -> None:
    """`python -m tests.benchmarks.zoom [CERTIFICATE.pem]`: with a certificate and its key, wss."""
    gc.disable()
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    tls = None
    if len(sys.argv) > 1:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(sys.argv[1])
    Zoom((0, tls)).run()


if __name__ == "__main__":
    main()
