"""The connection to the servers, as Trio sees it: requests, messages that come in, and whether there is one."""

import contextlib
import itertools
import threading
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

import outcome
import structlog
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.asyncio_thread import AsyncioThread, open_thread
from rtmsd.cluster.engines.nats.client import Message, Server
from rtmsd.cluster.engines.nats.link import Link
from rtmsd.cluster.engines.nats.settings import NatsSettings

log = structlog.stdlib.get_logger()

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
MAILBOX_MESSAGES: Final = 4096
DENIED_KEPT: Final = 31
FLUSH_S: Final = 1
MAILBOX_BYTES: Final = 16 * 1024 * 1024


class Mailbox:
    """What came on one subscription and nobody has taken yet, with the gaps in it.

    Bounded: when it is full, all that is in it is dropped and counted, and a gap is left in its place.

    Attributes:
        lost: messages.
    """

    def __init__(self, token: trio.lowlevel.TrioToken, capacity: int) -> None:
        self._token = token
        self._capacity = capacity
        self._lock = threading.Lock()
        self._messages: deque[Message | None] = deque()
        self._bytes = 0
        self._waiting = trio.lowlevel.ParkingLot()
        self.lost = 0

    def put(self, message: Message) -> None:
        """Add a message; for asyncio's thread."""
        with self._lock:
            if len(self._messages) >= self._capacity or self._bytes + len(message.data) > MAILBOX_BYTES:
                self.lost += 1 + sum(each is not None for each in self._messages)
                self._messages.clear()
                self._bytes = 0
                self._messages.append(None)
            else:
                self._messages.append(message)
                self._bytes += len(message.data)
        self._token.run_sync_soon(self._wake, idempotent=True)

    def gap(self) -> None:
        """Add a gap, unless there is one already; for asyncio's thread."""
        with self._lock:
            if not self._messages or self._messages[-1] is not None:
                self._messages.append(None)
        self._token.run_sync_soon(self._wake, idempotent=True)

    def _wake(self) -> None:
        self._waiting.unpark_all()

    def rest(self) -> Sequence[Message]:
        """Take all that is there."""
        with self._lock:
            messages = [message for message in self._messages if message is not None]
            self._messages.clear()
            self._bytes = 0
        return messages

    async def take(self) -> Message | None:
        """Wait for the next message. None: messages may be missing here."""
        await trio.lowlevel.checkpoint()
        while not self._messages:
            await self._waiting.park()
        with self._lock:
            message = self._messages.popleft()
            self._bytes -= 0 if message is None else len(message.data)
        return message


class Connection:
    """One connection, renewed for as long as it is open.

    Attributes:
        node: whose it is.
        server: the one that it leads to; None: there is no connection, as far as is known.
        number: of connections that there have been.
        denied: permissions that turned out to be missing since it was last lost, the newest last.
    """

    def __init__(self, settings: NatsSettings, thread: AsyncioThread) -> None:
        soon = thread.token.run_sync_soon
        self._thread = thread
        self._link = Link(
            settings,
            changed=lambda server: soon(self._on_changed, server),
            denied=lambda words: soon(self._on_denied, words),
            answered=lambda number, answer: soon(self._on_answered, number, answer),
        )
        self._numbers = itertools.count()
        self._waiting: dict[int, trio.lowlevel.Task] = {}
        self._change = trio.Event()
        self._is_closing = False
        self._nowhere = f"_INBOX_{settings.name}.{settings.node}.nobody"
        self.node = settings.node
        self.server: Server | None = None
        self.number = 0
        self.denied: tuple[str, ...] = ()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: NatsSettings) -> AsyncIterator["Connection"]:
        """Connect in the background, for as long as the block lasts.

        Raises:
            ConfigError: a file of certificates cannot be used.
        """
        async with open_thread("nats") as thread:
            connection = cls(settings, thread)
            thread.start(connection._link.run)
            try:
                yield connection
            finally:
                connection._is_closing = True

    @property
    def refusal(self) -> str:
        """The reason for which there is no connection."""
        return self._link.refusal

    @property
    def unreadable(self) -> int:
        """Messages that came and are no messages."""
        return self._link.unreadable

    @property
    def pending(self) -> int:
        """Requests that are neither answered nor given up."""
        return len(self._waiting)

    async def request(
        self, subject: str, data: bytes = b"", headers: Mapping[str, str] = NO_HEADERS, *, timeout_s: float
    ) -> Message:
        """Return what is answered. Nothing is left behind when it is cancelled, but it may have been received.

        Raises:
            NoResponders: at once.
            Denied: at once: the error names the permission.
            Away: not connected, the connection was lost, no answer came in time, or it is larger than the server takes.
        """
        self._check(data)
        await trio.lowlevel.checkpoint_if_cancelled()
        number = next(self._numbers)
        self._waiting[number] = trio.lowlevel.current_task()
        self._thread.post(self._link.request, number, subject, data, headers)

        def abort(_: object) -> trio.lowlevel.Abort:
            del self._waiting[number]
            self._thread.post(self._link.forget, number)
            return trio.lowlevel.Abort.SUCCEEDED

        with trio.move_on_after(timeout_s):
            message: Message = await trio.lowlevel.wait_task_rescheduled(abort)
            return message
        raise Away(f"no answer within {timeout_s:g} s")

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Send a message that nobody confirms.

        Raises:
            Away: not connected, or it is larger than the server takes; nothing is kept for later.
        """
        await trio.lowlevel.checkpoint()
        self._check(data)
        self._thread.post(self._link.publish, subject, data, headers)

    async def flush(self) -> None:
        """Wait until the server has taken all that was said, subscriptions too; not for long."""
        with contextlib.suppress(Away):  # among them the server's answer, that nobody listens there
            await self.request(self._nowhere, timeout_s=FLUSH_S)

    def _check(self, data: bytes) -> None:
        if self.server is None:
            raise Away(f"not connected to any server: {self.refusal}")
        if len(data) > self.server.max_payload:
            raise Away(f"{len(data)} bytes are more than the {self.server.max_payload} that the server takes")

    @asynccontextmanager
    async def subscribe(self, subject: str, capacity: int = MAILBOX_MESSAGES) -> AsyncIterator[Mailbox]:
        """Receive messages for as long as the block lasts, over all connections that there are meanwhile."""
        number = next(self._numbers)
        mailbox = Mailbox(self._thread.token, capacity)
        self._thread.post(self._link.subscribe, number, subject, mailbox)
        try:
            yield mailbox
        finally:
            self._thread.post(self._link.unsubscribe, number)

    async def up(self, *, after: int = 0) -> int:
        """Wait until there is a connection with a number above `after`. Returns its number."""
        while self.server is None or self.number <= after:
            await self._change.wait()
        return self.number

    def _on_changed(self, server: Server | None) -> None:
        if server is not None:
            self.number += 1
            log.info("engine connected", server=server.address, version=server.version)
        elif self.server is not None and not self._is_closing:
            log.warning("engine connection lost", server=self.server.address, reason=self.refusal)
        if server is None:
            self.denied = ()  # a server that still denies them says so anew
        self.server = server
        change, self._change = self._change, trio.Event()
        change.set()

    def _on_answered(self, number: int, answer: Message | Away) -> None:
        if (task := self._waiting.pop(number, None)) is not None:
            trio.lowlevel.reschedule(task, outcome.Error(answer) if isinstance(answer, Away) else outcome.Value(answer))

    def _on_denied(self, words: str) -> None:
        if words not in self.denied:
            self.denied = (*self.denied[-DENIED_KEPT:], words)
            log.error("engine permission missing", error=words)
