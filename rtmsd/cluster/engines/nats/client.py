"""nats-py's client, with what it leaves undone for us; for the thread of its loop only.

It takes `tls://` for a wish: to a server that does not ask for TLS it would send the password in the clear. And when a
server hangs, closing its TLS connection politely takes 30 s, in which no other server is tried.
"""

import asyncio
import contextlib
import errno
import os
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import ParseResult

import attrs
import structlog
from nats import errors
from nats.aio.client import Client, Srv
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.command import hpub_cmd, pub_cmd

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.settings import NatsSettings

log = structlog.stdlib.get_logger()

CONNECT_S: Final = 2
RECONNECT_S: Final = 0.1
MAX_UNSENT_BYTES: Final = 4 * 1024 * 1024
_REFUSED_S: Final = 2.0
_NO_SUBJECT: Final = re.compile(r"\s")


@attrs.frozen
class Server:
    """A server as it describes itself.

    Attributes:
        max_payload: the largest message that it takes, in bytes.
    """

    address: str
    version: str
    max_payload: int


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


class NatsClient(Client):
    """One connection, that is renewed until `closed` is set; then it is over for good.

    Attributes:
        closed: set when the server has thrown us out in a way that nats-py does not come back from.
        refusal: the last reason for which there is no connection.
        unreadable: messages that are not as the protocol wants them.
    """

    def __init__(
        self,
        settings: NatsSettings,
        context: ssl.SSLContext | None,
        *,
        changed: Callable[[bool], None],
        denied: Callable[[str], None],
    ) -> None:
        """Prepare it.

        Args:
            changed: called with True when a connection is there, with False when it is lost.
            denied: called with the server's words when it forbids a subject.
        """
        super().__init__()
        self._settings = settings
        self._context = context
        self._changed = changed
        self._denied = denied
        self.closed = asyncio.Event()
        self.refusal = "not yet connected"
        self.unreadable = 0
        self._receivers: dict[int, Receiver] = {}

    @property
    def server(self) -> Server:
        """The one that it is connected to."""
        url = self.connected_url
        version = str(self._server_info.get("version", "unknown"))
        return Server("?" if url is None else url.netloc, version, self.max_payload)

    async def open(self) -> None:
        """Connect, however long that takes."""
        options: dict[str, Any] = {"reconnect_time_wait": RECONNECT_S, "ping_interval": self._settings.ping_s}
        settings = self._settings
        if settings.nkey:
            options["nkeys_seed_str"] = settings.nkey
        elif settings.user:
            options |= {"user": settings.user, "password": settings.password}
        await self.connect(
            list(settings.servers),
            name=f"rtmsd {settings.node}",
            inbox_prefix=f"_INBOX_{settings.name}.{settings.node}",
            tls=self._context,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            connect_timeout=CONNECT_S,
            max_reconnect_attempts=-1,
            max_outstanding_pings=2,
            **options,
        )

    async def receive(self, subject: str, receiver: Receiver) -> Subscription:
        """Subscribe. What comes is handed on where it is read, without nats-py's queue and task."""
        self._receivers[self._sid + 1] = receiver  # the number that it is about to get
        return await self.subscribe(subject)

    async def release(self, subscription: Subscription) -> None:
        """End a subscription."""
        self._receivers.pop(subscription._id, None)
        with contextlib.suppress(errors.Error):  # it is gone with its connection
            await subscription.unsubscribe()

    def send(self, subject: str, data: bytes, reply: str, headers: Mapping[str, str]) -> None:
        """Publish, now or not at all: nats-py would keep what it cannot send, and take three turns of the loop.

        Raises:
            Away: not connected, the server does not take what it is sent, or a subject is none.
        """
        transport = self._transport
        if not self.is_connected or not isinstance(transport, _Transport):
            raise Away(f"not connected to any server: {self.refusal}")
        if transport.unsent_bytes > MAX_UNSENT_BYTES:
            raise Away("the server does not take what it is sent")
        if _NO_SUBJECT.search(subject) or _NO_SUBJECT.search(reply):
            raise Away("a subject with blanks")
        if headers:
            lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            command = hpub_cmd(subject, reply, f"NATS/1.0\r\n{lines}\r\n".encode(), data)
        else:
            command = pub_cmd(subject, reply, data)
        # A subscription that nats-py has yet to flush must not come after what is to be answered on it.
        transport.send([*self._pending, command])
        self._pending, self._pending_data_size = [], 0

    async def _on_error(self, error: Exception) -> None:
        text = self._in_words(error)
        if "permissions violation" in text.lower():
            self._denied(text)
            return
        self.refusal = text
        if "authorization" in text.lower() or "authentication" in text.lower():
            await asyncio.sleep(_REFUSED_S)  # it is tried again at once otherwise, and fills the server's log

    def _in_words(self, error: Exception) -> str:
        server = self._current_server
        match error:
            case OSError(errno=int(number)) if number in errno.errorcode and not isinstance(error, ssl.SSLError):
                where = "" if server is None else f"{server.uri.hostname}:{server.uri.port}: "
                return f"{where}{os.strerror(number)}"
        return str(error).removeprefix("nats: ").strip("\r\n'") or type(error).__name__

    async def _on_disconnected(self) -> None:
        self._changed(False)

    async def _on_reconnected(self) -> None:
        self._changed(True)

    async def _on_closed(self) -> None:
        self.closed.set()

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" not in err_msg.lower():  # after which the server hangs up
            log.warning("engine server refused", reason=err_msg.strip("'"))
        await super()._process_err(err_msg)

    async def _process_op_err(self, e: Exception) -> None:
        self.refusal = str(e).removeprefix("nats: ")  # of a server that hangs, no callback tells
        await super()._process_op_err(e)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        receiver = self._receivers.get(sid)
        if receiver is None:
            return
        try:
            named = await self._process_headers(headers) if headers else None
            # nats-py has its own enumeration as key of the description alone.
            plain = {str(getattr(key, "value", key)): value for key, value in named.items()} if named else {}
            message = Message(subject.decode(), data, plain, reply.decode())
        except (ValueError, IndexError):  # text that is no text would end the task that reads, and so the connection
            self.unreadable += 1
        else:
            receiver.put(message)

    async def _connect_to_server(self, s: Srv) -> None:
        # Servers announce each other: what the configuration may not name, they may not either.
        if objection := self._settings.objection(s.uri.geturl()):
            raise errors.Error(objection)
        if not isinstance(self._transport, _Transport):
            self._transport = _make_transport()
        await super()._connect_to_server(s)

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise errors.Error(f"{server.uri.netloc} does not offer TLS: configure tls in the server")
        return super()._connect_command()


class _Transport(TcpTransport):
    """TCP that leaves no connection behind, and whose end waits for nobody."""

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._io_writer is None else self._io_writer.transport.get_write_buffer_size()

    def __bool__(self) -> bool:
        return True

    def send(self, commands: Sequence[bytes]) -> None:
        if self._io_writer is not None:
            self._io_writer.writelines(commands)

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        self.close()  # nats-py forgets one whose server says nothing
        await super().connect(uri, buffer_size, connect_timeout)

    def close(self) -> None:
        for writer in (self._io_writer, self._bare_io_writer):
            if writer is not None:
                writer.transport.abort()


_make_transport: Final[Callable[[], TcpTransport]] = _Transport
