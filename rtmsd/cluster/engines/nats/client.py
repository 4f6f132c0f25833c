"""nats-py's client, with what it leaves undone for us; for the thread of its loop only.

It takes `tls://` for a wish: to a server that does not ask for TLS it would send the password in the clear. And when a
server hangs, closing its TLS connection politely takes 30 s, in which no other server is tried.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

import attrs
from nats import errors
from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport

from rtmsd.cluster.engines.nats.settings import NatsSettings

CONNECT_S: Final = 2
RECONNECT_S: Final = 0.1
PING_S: Final = 2
"""A server that is silent for two pings is given up: 4 to 6 s after it froze."""
_REFUSED_S: Final = 2.0


@attrs.frozen
class Server:
    """A server as it describes itself.

    Attributes:
        max_payload: the largest message that it takes, in bytes.
    """

    address: str
    version: str
    max_payload: int


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
        context: ssl.SSLContext,
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

    @property
    def server(self) -> Server:
        """The one that it is connected to."""
        url = self.connected_url
        version = str(self._server_info.get("version", "unknown"))
        return Server("?" if url is None else url.netloc, version, self.max_payload)

    async def open(self) -> None:
        """Connect, however long that takes."""
        options: dict[str, Any] = {"reconnect_time_wait": RECONNECT_S}
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
            ping_interval=PING_S,
            max_outstanding_pings=2,
            **options,
        )

    async def _on_error(self, error: Exception) -> None:
        text = str(error).removeprefix("nats: ").strip("\r\n'") or type(error).__name__
        if "permissions violation" in text.lower():
            self._denied(text)
            return
        self.refusal = text
        if "authorization" in text.lower() or "authentication" in text.lower():
            await asyncio.sleep(_REFUSED_S)  # it is tried again at once otherwise, and fills the server's log

    async def _on_disconnected(self) -> None:
        self._changed(False)

    async def _on_reconnected(self) -> None:
        self._changed(True)

    async def _on_closed(self) -> None:
        self.closed.set()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, IndexError):  # text that is no text would end the task that reads, and so the connection
            self.unreadable += 1

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
    """TCP whose end waits for nobody."""

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        if self._io_writer is not None:
            self._io_writer.transport.abort()


_make_transport: Final[Callable[[], TcpTransport]] = _Transport
