"""Requests and subscriptions over one client after another; for the thread of its loop only.

nats-py comes back from most losses by itself, but not from an error that the server sends before it hangs up: then a
new client takes over, with the same subscriptions. And it lets a request wait for its time-out where it is known that
no answer comes: here it fails at once when the connection is lost, or the subject forbidden.
"""

import asyncio
import contextlib
import itertools
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

import attrs
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.client import NatsClient, Server
from rtmsd.cluster.engines.nats.settings import NatsSettings

log = structlog.stdlib.get_logger()

AGAIN_S: Final = 1.0
_DENIED: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)
_MAX_DENIED: Final = 64


class Denied(Away):
    """The servers forbid it: permissions of this member's user are missing."""


class NoResponders(Away):
    """Nobody listens on the subject: no such member, or no leader of a stream yet."""


@attrs.frozen
class Message:
    """What was received; `headers` has the status of a message without content as "Status"."""

    subject: str
    data: bytes = attrs.field(repr=False)
    headers: Mapping[str, str]
    reply: str


class Receiver(Protocol):
    """Where the messages of a subscription go."""

    def put(self, message: Message) -> None: ...

    def gap(self) -> None:
        """Messages may be missing here: the connection was lost."""


@attrs.define(eq=False)
class _Wanted:
    """A subscription as it is to be renewed with each client."""

    subject: str
    receiver: Receiver
    current: Subscription | None = None


class Link:
    """What `Connection` drives by `AsyncioThread.call` and `post`."""

    def __init__(
        self, settings: NatsSettings, *, changed: Callable[[Server | None], None], denied: Callable[[str], None]
    ) -> None:
        """Prepare it.

        Args:
            settings: checked.
            changed: called with the server when a connection is there, with None when it is lost.
            denied: called once a connection with each permission that turns out to be missing.

        Raises:
            ConfigError: a file of certificates cannot be used.
        """
        self._settings = settings
        self._changed = changed
        self._denied = denied
        self._context = settings.tls_context()
        self._newest: NatsClient | None = None  # perhaps not yet open
        self._client: NatsClient | None = None
        self._unreadable = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox = f"_INBOX_{settings.name}.{settings.node}.{secrets.token_hex(8)}"
        self._inbox_denied: str | None = None
        self._numbers = itertools.count(1)
        self._waiting: dict[str, tuple[str, asyncio.Future[Message]]] = {}
        self._wanted: dict[int, _Wanted] = {-1: _Wanted(f"{self._inbox}.*", self)}
        self._told: set[str] = set()

    @property
    def refusal(self) -> str:
        """The reason for which there is no connection."""
        return self._newest.refusal if self._newest is not None else "not yet connected"

    @property
    def unreadable(self) -> int:
        """Messages that the protocol does not allow."""
        return self._unreadable + (self._newest.unreadable if self._newest is not None else 0)

    @property
    def pending(self) -> int:
        """Requests that wait for their answer."""
        return len(self._waiting)

    async def run(self) -> None:
        """Keep a client connected until cancelled."""
        while True:
            client = NatsClient(self._settings, self._context, changed=self._on_changed, denied=self._on_denied)
            self._newest = client
            try:
                await client.open()
                self._client = client
                for number in [*self._wanted]:
                    await self._subscribe(number)
                self._on_changed(True)
                await client.closed.wait()
            except Exception as exc:  # nats-py may raise anything for what a server sends: another attempt
                client.refusal = str(exc) or type(exc).__name__
                log.warning("engine client failed", error=repr(exc))
            finally:
                self._client = None
                self._on_changed(False)
                await _close(client)
            self._unreadable += client.unreadable
            self._newest.unreadable = 0
            await asyncio.sleep(AGAIN_S)

    async def request(self, subject: str, data: bytes, headers: Mapping[str, str] | None, timeout_s: float) -> Message:
        """Return the answer.

        Raises:
            NoResponders: at once.
            Denied: at once.
            Away: not connected, or no answer in time.
            ValueError: it is larger than the servers take.
        """
        client = self._connected(data)
        if self._inbox_denied is not None:
            raise Denied(self._inbox_denied)
        number = str(next(self._numbers))
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = (subject, answer)
        try:
            async with asyncio.timeout(timeout_s):
                await client.publish(subject, data, f"{self._inbox}.{number}", dict(headers) if headers else None)
                message = await answer
        except TimeoutError:
            raise Away(f"no answer within {timeout_s:g} s") from None
        except NatsError as exc:
            raise Away(str(exc)) from exc
        finally:
            del self._waiting[number]
        if message.headers.get("Status") == "503" and not message.data:
            raise NoResponders(f"nobody listens on {subject}")
        return message

    async def publish(self, subject: str, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send without waiting for anything.

        Raises:
            Away: not connected: nats-py would keep it for later.
            ValueError: it is larger than the servers take.
        """
        try:
            await self._connected(data).publish(subject, data, headers=dict(headers) if headers else None)
        except NatsError as exc:
            raise Away(str(exc)) from exc

    async def flush(self, timeout_s: int) -> None:
        """Wait until the server has taken all that was said so far; not where there is none."""
        if self._client is not None and self._client.is_connected:
            with contextlib.suppress(NatsError, OSError):
                await self._client.flush(timeout_s)

    def _connected(self, data: bytes) -> NatsClient:
        client = self._client
        if client is None or not client.is_connected:
            raise Away(f"not connected to any server: {self.refusal}")
        if len(data) > client.max_payload:
            raise ValueError(f"{len(data)} bytes are more than the {client.max_payload} that the servers take")
        return client

    def subscribe(self, number: int, subject: str, receiver: Receiver) -> None:
        """Have all messages on a subject received, from now on, or from when there is a connection."""
        self._wanted[number] = _Wanted(subject, receiver)
        if self._client is not None:
            self._spawn(self._subscribe(number))

    def unsubscribe(self, number: int) -> None:
        """End a subscription."""
        wanted = self._wanted.pop(number)
        if wanted.current is not None:
            self._spawn(_unsubscribe(wanted.current))

    async def _subscribe(self, number: int) -> None:
        if (wanted := self._wanted.get(number)) is None or self._client is None:
            return

        async def received(msg: Msg) -> None:
            wanted.receiver.put(_message(msg))

        # While nats-py reconnects it takes this too, and sends it later.
        wanted.current = await self._client.subscribe(wanted.subject, cb=received)
        if self._wanted.get(number) is not wanted:
            await _unsubscribe(wanted.current)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("engine subscription failed", error=repr(error))

    def put(self, message: Message) -> None:
        """Take an answer to one of our requests."""
        _, answer = self._waiting.get(message.subject.rpartition(".")[2], ("", None))
        if answer is not None and not answer.done():
            answer.set_result(message)

    def gap(self) -> None:
        """Fail what waits for answers that will not come."""
        self._fail(lambda _: True, Away, "the connection was lost; whether it was done is unknown")

    def _on_changed(self, is_up: bool) -> None:
        if is_up:
            self._told.clear()
            self._inbox_denied = None
        else:
            for wanted in self._wanted.values():
                wanted.receiver.gap()
        self._changed(self._client.server if is_up and self._client is not None else None)

    def _on_denied(self, text: str) -> None:
        found = _DENIED.search(text)
        what, subject = found.groups() if found else ("", text)
        verb = "subscribe to" if what == "subscription" else "publish to"
        words = f"the servers deny the user of {self._settings.node} the permission to {verb} {subject}: grant it"
        if what == "subscription" and subject == f"{self._inbox}.*".lower():
            self._inbox_denied = words
            self._fail(lambda _: True, Denied, words)
        elif what == "publish":
            self._fail(lambda waiting: waiting.lower() == subject, Denied, words)
        if words not in self._told and len(self._told) < _MAX_DENIED:
            self._told.add(words)
            self._denied(words)

    def _fail(self, concerns: Callable[[str], bool], error: type[Away], words: str) -> None:
        for subject, answer in self._waiting.values():
            if concerns(subject) and not answer.done():
                answer.set_exception(error(words))


def _message(msg: Msg) -> Message:
    # nats-py has its own enumeration as key of the description alone.
    headers = {str(getattr(key, "value", key)): value for key, value in (msg.headers or {}).items()}
    return Message(msg.subject, msg.data, headers, msg.reply)


async def _unsubscribe(subscription: Subscription) -> None:
    with contextlib.suppress(NatsError):  # it is gone with its connection
        await subscription.unsubscribe()


async def _close(client: NatsClient) -> None:
    with contextlib.suppress(NatsError, OSError):  # the server may be away
        await client.close()
