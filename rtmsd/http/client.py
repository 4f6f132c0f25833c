"""The HTTP/1.1 client for servers on Unix sockets of this machine: the other workers.

Each request has a connection of its own: on a Unix socket one is opened within microseconds, and there is none whose
server may have ended since the last answer.
"""

import errno
import math
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import h11
import trio

from rtmsd.errors import RtmsdError
from rtmsd.http.messages import Reply

READ_BYTES: Final = 64 * 1024
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 2**20
"""Of a reply that is read whole, unless the caller knows better."""

CONNECT_AGAIN_S: Final = 0.01  # while the server's queue of connections is full

_FRAMING: Final = frozenset({"connection", "content-length", "content-type", "date", "trailer", "transfer-encoding"})


class ClientError(RtmsdError):
    """No usable reply: one of those below, or the system does not let us connect (no permission, no descriptor)."""


class NobodyThere(ClientError):
    """No process listens on that socket: the request was not received."""


class TimedOut(ClientError):
    """No reply in time: the request may have been received, and be carried out."""


class BrokenReply(ClientError):
    """The connection ended before the reply did, or the reply is no HTTP or too large. Nothing is known beyond that."""


class _Connection:
    """A connection for one request."""

    def __init__(self, path: Path, stream: trio.SocketStream) -> None:
        self._path = path
        self._stream = stream
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Raises NobodyThere, or ClientError."""
        try:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as exc:
            raise ClientError(f"cannot connect to {path}: {exc.strerror or exc}") from exc
        try:
            sock.setblocking(False)
            await _connect(sock, path)
        except BaseException as exc:
            sock.close()
            if not isinstance(exc, OSError):
                raise
            if exc.errno in {errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR}:
                raise NobodyThere(f"nobody listens on {path}") from exc
            raise ClientError(f"cannot connect to {path}: {exc.strerror or exc}") from exc
        return cls(path, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))

    def close(self) -> None:
        self._stream.socket.close()

    async def send(self, request: h11.Request, body: bytes) -> None:
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        raw = b"".join(self._http.send(event) or b"" for event in events)
        with suppress(trio.BrokenResourceError):  # a large body may be refused unread: the reply says why
            await self._stream.send_all(raw)

    async def next_event(self) -> h11.Event:
        """Raises BrokenReply."""
        ended = False
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await self._stream.receive_some(READ_BYTES)
                ended = not data
                self._http.receive_data(data)
        except h11.RemoteProtocolError as exc:
            raise BrokenReply(f"{self._path}: {'the reply was cut off' if ended else exc}") from exc
        except trio.BrokenResourceError as exc:
            raise BrokenReply(f"{self._path}: the reply was cut off") from exc
        assert isinstance(event, h11.Event)
        return event

    async def response(self) -> h11.Response:
        """Raises BrokenReply."""
        while not isinstance(event := await self.next_event(), h11.Response):
            pass  # "continue" and the like
        return event


async def _connect(sock: socket.socket, path: Path) -> None:
    """Connect, when the server's queue has room. Raises OSError.

    Trio would take a full queue for a connection on its way. One to a Unix socket never is: it is decided at once.
    """
    while True:
        try:
            return sock.connect(os.fspath(path))
        except BlockingIOError:
            await trio.sleep(CONNECT_AGAIN_S)


class LiveReply:
    """A reply whose body is read as it comes. Close it, or leave it as a context manager, to end the connection.

    It is a `Source`, so that it can be passed on: `StreamReply(open=lambda: reply, ...)`.

    Attributes:
        headers: with names in lower case, and without those of the connection and of the body's form.
        trailer_names: of `trailers`, as the head announced them.
    """

    def __init__(self, connection: _Connection, response: h11.Response) -> None:
        fields = _texts(response.headers)
        self.status = response.status_code
        self.content_type = fields.get("content-type", "")
        self.headers = {name: value for name, value in fields.items() if name not in _FRAMING}
        self.trailer_names = tuple(fields.get("trailer", "").replace(",", " ").split())
        self._connection = connection
        self._trailers: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    async def chunk(self) -> bytes | None:
        """Return the next bytes of the body, never empty; None at its end, once.

        Raises:
            BrokenReply: it was cut off.
        """
        event = await self._connection.next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        self._trailers = _texts(event.headers)
        return None

    def trailers(self) -> Mapping[str, str]:
        """Return the fields sent after the last chunk."""
        return self._trailers

    async def read(self, max_bytes: int = MAX_BODY_BYTES) -> bytes:
        """Return the whole body.

        Raises:
            BrokenReply: it was cut off, or is larger.
        """
        body = bytearray()
        while (data := await self.chunk()) is not None:
            body += data
            if len(body) > max_bytes:
                raise BrokenReply(f"the reply is larger than {max_bytes} bytes")
        return bytes(body)


def _texts(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return header fields as text; the values of one that came several times are joined."""
    texts: dict[str, str] = {}
    for name, value in fields:
        key, text = name.decode("ascii"), value.decode("latin1")
        texts[key] = f"{texts[key]}, {text}" if key in texts else text
    return texts


async def request(
    path: Path,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    max_bytes: int = MAX_BODY_BYTES,
) -> Reply:
    """Send a request, and return the whole reply, whatever its status.

    Args:
        path: of the Unix socket.
        target: path and query, percent-encoded.
        timeout_s: for everything, from the connection to the last byte.
        max_bytes: of the reply's body.

    Raises:
        ClientError: NobodyThere, TimedOut or BrokenReply, mostly.
    """
    with trio.move_on_after(timeout_s):
        with await open_stream(path, method, target, body, headers=headers, timeout_s=math.inf) as reply:
            whole = await reply.read(max_bytes)
            return Reply(status=reply.status, content_type=reply.content_type, body=whole, headers=reply.headers)
    raise TimedOut(f"{path}: no reply within {timeout_s:g} s")


async def open_stream(
    path: Path,
    method: str,
    target: str,
    body: bytes = b"",
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
) -> LiveReply:
    """Send a request, and return the reply as soon as its head is there, whatever its status. The caller closes it.

    Args:
        timeout_s: until the head is there; the body may take for ever.

    Raises:
        ClientError: NobodyThere, TimedOut or BrokenReply, mostly.
    """
    fields = {"host": "localhost", "content-length": str(len(body)), "connection": "close", **(headers or {})}
    head = h11.Request(method=method, target=target, headers=list(fields.items()))
    with trio.move_on_after(timeout_s):
        connection = await _Connection.open(path)
        try:
            await connection.send(head, body)
            return LiveReply(connection, await connection.response())
        except BaseException:
            connection.close()
            raise
    raise TimedOut(f"{path}: no reply within {timeout_s:g} s")
