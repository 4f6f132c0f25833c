"""Webhooks at a steady rate from one thread, for next to no CPU time: the load generator needs the other core.

Requests are rendered and signed beforehand, each goes over a connection of its own as Zoom's do, and none waits for
the answer to the one before. A thread and `http.client` for each take three times as much.
"""

import select
import socket
import time
from collections.abc import Sequence
from typing import Final

import attrs

_ANSWER_S: Final = 30.0
_HEAD: Final = b"HTTP/1.1 "


@attrs.frozen
class Webhook:
    """A request ready to be sent."""

    stream: str
    request: bytes


@attrs.frozen
class Posted:
    """A webhook, in the monotonic clock. Status 0: given up, since no answer came."""

    stream: str
    posted_ns: int
    answered_ns: int
    status: int


@attrs.define
class _Open:
    webhook: Webhook
    sock: socket.socket
    posted_ns: int
    answer: bytes = b""


class Poster:
    """Delivers webhooks to a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: dict[int, _Open] = {}
        self._posted: list[Posted] = []

    def deliver(self, webhooks: Sequence[Webhook], per_s: float) -> list[Posted]:
        """Deliver them at that rate, and return, in the order of the answers, what came of each."""
        self._posted = []
        began_s = time.monotonic()
        with select.epoll() as epoll:
            for number, webhook in enumerate(webhooks):
                while (wait_s := began_s + number / per_s - time.monotonic()) > 0:
                    self._answers(epoll, wait_s)
                self._send(epoll, webhook)
            deadline_s = time.monotonic() + _ANSWER_S
            while self._open and (wait_s := deadline_s - time.monotonic()) > 0:
                self._answers(epoll, wait_s)
        for waiting in list(self._open.values()):
            self._close(waiting)
        return self._posted

    def _send(self, epoll: select.epoll, webhook: Webhook) -> None:
        posted_ns = time.monotonic_ns()
        sock = socket.socket()
        waiting = _Open(webhook, sock, posted_ns)
        self._open[sock.fileno()] = waiting
        try:
            sock.connect(("127.0.0.1", self._port))
            sock.send(webhook.request)  # fits into an empty socket
        except OSError:
            self._close(waiting)
        else:
            epoll.register(sock, select.EPOLLIN)

    def _answers(self, epoll: select.epoll, wait_s: float) -> None:
        # epoll would round up to whole milliseconds
        if select.select([epoll], [], [], wait_s)[0]:
            for fd, _ in epoll.poll(0):
                waiting = self._open[fd]
                try:
                    piece = waiting.sock.recv(65536)
                except OSError:
                    piece = b""
                waiting.answer += piece
                if not piece or b"\r\n\r\n" in waiting.answer:
                    self._close(waiting)

    def _close(self, waiting: _Open) -> None:
        answer, webhook = waiting.answer, waiting.webhook
        status = int(answer[len(_HEAD) : len(_HEAD) + 3]) if answer.startswith(_HEAD) else 0
        del self._open[waiting.sock.fileno()]
        waiting.sock.close()
        self._posted.append(Posted(webhook.stream, waiting.posted_ns, time.monotonic_ns(), status))
