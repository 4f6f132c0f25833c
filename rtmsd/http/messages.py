"""The messages of a door: requests, answers, refusals, and the limits of a client."""

import enum
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias

import attrs
import trio

JSON_TYPE: Final = "application/json"


@attrs.frozen(kw_only=True)
class HttpRequest:
    """A request as received: nothing decoded, `body` complete.

    Attributes:
        target: in origin form (a path and a query) also where it was sent with scheme and host.
        headers: with names in lower case.
    """

    method: str
    target: str
    headers: Sequence[tuple[bytes, bytes]] = ()
    http_version: str = "1.1"
    body: bytes = b""


@attrs.frozen(kw_only=True)
class Reply:
    """A complete answer."""

    status: int = 200
    content_type: str = JSON_TYPE
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict)


class Source(Protocol):
    """The body of an endless answer."""

    async def chunk(self) -> bytes | None:
        """The next bytes, never empty; None at the end."""

    def trailers(self) -> Mapping[str, str]:
        """Header fields sent after the last chunk."""


@attrs.frozen(kw_only=True)
class StreamReply:
    """An answer in chunks. `open` is entered before the headers are sent: a reader who sees them misses nothing."""

    content_type: str
    open: Callable[[], AbstractContextManager[Source]]
    trailer_names: tuple[str, ...] = ()


class Fault(enum.Enum):
    """The reasons why a request does not reach a handler, or gets no answer from it; the value is the HTTP status."""

    MALFORMED = HTTPStatus.BAD_REQUEST
    TOO_SLOW = HTTPStatus.REQUEST_TIMEOUT
    BODY_TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    HEADERS_TOO_LARGE = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    NOT_IMPLEMENTED = HTTPStatus.NOT_IMPLEMENTED
    CRASHED = HTTPStatus.INTERNAL_SERVER_ERROR  # the handler raised an exception


class Refusal(Exception):
    """A request that was not, or could not be, answered.

    Attributes:
        head: method, target and headers, as far as they came; None without them.
    """

    def __init__(self, fault: Fault, why: str, head: HttpRequest | None = None) -> None:
        super().__init__(why)
        self.fault = fault
        self.why = why
        self.head = head


IDLE_S: Final = 150.0


@attrs.frozen(kw_only=True)
class Limits:
    """The limits of a client at a door.

    Attributes:
        connections: of one peer, at the same time.
        request_s: from a request's first byte to its last.
        answer_s: from there to the answer of the handler.
        send_s: for the client to take an answer; an endless one has no limit.
        idle_s: between two requests. Longer than the 60 s for which nginx keeps connections to a server, and the 2
            minutes of others, so that they are the ones to close.
        linger_s: for which input is dropped after a refusal: closing on unread bytes would reset the connection, and
            the client might not see the reason.
    """

    connections: int
    body_bytes: int
    request_s: float
    answer_s: float
    send_s: float
    header_bytes: int = 16 * 1024
    idle_s: float = IDLE_S
    linger_s: float = 1.0


Respond: TypeAlias = Callable[[HttpRequest], Awaitable[Reply | StreamReply]]
Refuse: TypeAlias = Callable[[Refusal], Reply]


@attrs.frozen(kw_only=True)
class Peer:
    """The client of a connection, and its handler.

    Attributes:
        share: peers with the same share count together against `Limits.connections`.
    """

    share: Hashable
    respond: Respond
    refuse: Refuse


@attrs.frozen(kw_only=True)
class Door:
    """The configuration of one server.

    Attributes:
        name: for the log.
        welcome: identifies who has connected.
        when_full: the answer to a peer beyond its share; None: it waits in the kernel's backlog, and all after it.
        server: the Server header of each answer, for clients that check who answers; None to send none.
    """

    name: str
    limits: Limits
    welcome: Callable[[trio.SocketStream], Peer]
    when_full: Reply | None = None
    server: str | None = None
