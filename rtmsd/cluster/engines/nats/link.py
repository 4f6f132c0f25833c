"""Requests and subscriptions over one client after another; for the thread of its loop only.

nats-py comes back from most losses by itself, but not from an error that the server sends before it hangs up: then a
new client takes over, with the same subscriptions. And it lets a request wait for its time-out where it is known that
no answer comes: here it fails at once when the connection is lost, or the subject forbidden.
"""

import asyncio
import contextlib
import re
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

import attrs
import structlog
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.client import Message, NatsClient, Receiver, Server
from rtmsd.cluster.engines.nats.settings import NatsSettings

log = structlog.stdlib.get_logger()

AGAIN_S: Final = 1.0
_DENIED: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]*)"', re.IGNORECASE)
_RANDOM: Final = re.compile(r"(?<=\.)[0-9a-f]{16}(?=\.|$)")  # of our own inboxes and consumers


class Denied(Away):
    """The servers forbid it: permissions of this member's user are missing."""


class NoResponders(Away):
    """Nobody listens on the subject: no such member, or no leader of a stream yet."""


@attrs.define(eq=False)
class _Wanted:
    """A subscription as it is to be renewed with each client."""

    subject: str
    receiver: Receiver
    current: Subscription | None = None


class Link:
    """What `Connection` drives by `AsyncioThread.post`."""

    def __init__(
        self,
        settings: NatsSettings,
        *,
        changed: Callable[[Server | None], object],
        denied: Callable[[str], object],
        answered: Callable[[int, Message | Away], object],
    ) -> None:
        """Prepare it.

        Args:
            settings: of this member.
            changed: called with the server when a connection is there, with None when it is lost.
            denied: called with each permission that turns out to be missing.
            answered: called with the number of a request, once, unless it was forgotten.

        Raises:
            ConfigError: a file of certificates cannot be used.
        """
        self._settings = settings
        self._changed = changed
        self._denied = denied
        self._tell_answer = answered
        self._context = settings.tls_context()
        self._newest: NatsClient | None = None  # perhaps not yet open
        self._client: NatsClient | None = None
        self._unreadable = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox = f"_INBOX_{settings.name}.{settings.node}.{secrets.token_hex(8)}"
        self._inbox_denied: str | None = None
        self._waiting: dict[int, str] = {}  # subjects of requests
        self._wanted: dict[int, _Wanted] = {-1: _Wanted(f"{self._inbox}.*", self)}

    @property
    def refusal(self) -> str:
        """The reason for which there is no connection."""
        return self._newest.refusal if self._newest is not None else "not yet connected"

    @property
    def unreadable(self) -> int:
        """Messages that the protocol does not allow."""
        return self._unreadable + (self._newest.unreadable if self._newest is not None else 0)

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
                for wanted in self._wanted.values():
                    wanted.current = None
                self._on_changed(False)
                await _close(client)
            self._unreadable += client.unreadable
            client.unreadable = 0
            await asyncio.sleep(AGAIN_S)

    # Messages

    def request(self, number: int, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Ask, and have the answer told: a message, or `NoResponders`, `Denied` or `Away`."""
        self._waiting[number] = subject
        if self._inbox_denied is not None:
            self._answer(number, Denied(self._inbox_denied))
            return
        try:
            self._send(subject, data, f"{self._inbox}.{number}", headers)
        except Away as exc:
            self._answer(number, exc)

    def forget(self, number: int) -> None:
        """Ignore the answer to a request."""
        self._waiting.pop(number, None)

    def publish(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Send what nobody confirms; it is dropped where it cannot be sent."""
        with contextlib.suppress(Away):
            self._send(subject, data, "", headers)

    def _send(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str]) -> None:
        if self._client is None:
            raise Away(f"not connected to any server: {self.refusal}")
        self._client.send(subject, data, reply, headers)

    def _answer(self, number: int, answer: Message | Away) -> None:
        if self._waiting.pop(number, None) is not None:
            self._tell_answer(number, answer)

    def put(self, message: Message) -> None:
        """Take an answer to one of our requests."""
        try:
            number = int(message.subject.rpartition(".")[2])
        except ValueError:
            return
        if message.headers.get("Status") == "503" and not message.data:
            self._answer(number, NoResponders(f"nobody listens on {self._waiting.get(number)}"))
        else:
            self._answer(number, message)

    def gap(self) -> None:
        """Fail what waits for answers that will not come."""
        self._fail(lambda _: True, Away, "the connection was lost; whether it was done is unknown")

    def _fail(self, concerns: Callable[[str], bool], error: type[Away], words: str) -> None:
        for number in [number for number, subject in self._waiting.items() if concerns(subject)]:
            self._answer(number, error(words))

    # Subscriptions

    def subscribe(self, number: int, subject: str, receiver: Receiver) -> None:
        """Have all messages on a subject received, from now on, or from when there is a connection."""
        self._wanted[number] = _Wanted(subject, receiver)
        if self._client is not None:
            self._spawn(self._subscribe(number))

    def unsubscribe(self, number: int) -> None:
        """End a subscription."""
        wanted = self._wanted.pop(number)
        if wanted.current is not None and self._client is not None:
            self._spawn(self._client.release(wanted.current))

    async def _subscribe(self, number: int) -> None:
        client = self._client
        if (wanted := self._wanted.get(number)) is None or client is None:
            return
        # While nats-py reconnects it takes this too, and sends it later.
        wanted.current = await client.receive(wanted.subject, wanted.receiver)
        if self._wanted.get(number) is not wanted:
            await client.release(wanted.current)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._spawned)

    def _spawned(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("engine subscription failed", error=repr(error))

    # What the client reports

    def _on_changed(self, is_up: bool) -> None:
        if is_up:
            self._inbox_denied = None
        else:
            for wanted in self._wanted.values():
                wanted.receiver.gap()
        self._changed(self._client.server if is_up and self._client is not None else None)

    def _on_denied(self, text: str) -> None:
        found = _DENIED.search(text)
        what, subject = found.groups() if found else ("", text)
        named = _RANDOM.sub("*", subject)
        verb = "subscribe to" if what == "subscription" else "publish to"
        words = f"the servers deny the user of {self._settings.node} the permission to {verb} {named}: grant it"
        if what == "subscription" and subject == f"{self._inbox}.*".lower():
            self._inbox_denied = words
            self._fail(lambda _: True, Denied, words)
        elif what == "publish":
            self._fail(lambda waiting: waiting.lower() == subject, Denied, words)
        self._denied(words)


async def _close(client: NatsClient) -> None:
    with contextlib.suppress(NatsError, OSError):  # the server may be away
        await client.close()
