"""The ASGI 3 call of an application for one request.

The body is complete before the call. The application never hears of a disconnect, which must not cancel what an event
began.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

import attrs
import trio

from rtmsd.http.messages import HttpRequest, Reply

Message: TypeAlias = MutableMapping[str, Any]


class AsgiApp(Protocol):
    """The public interface of Quart-Trio, and of any other."""

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]], /
    ) -> None: ...


async def call(app: AsgiApp, request: HttpRequest, client: tuple[str, int] | None) -> Reply:
    """Return the application's answer.

    Args:
        client: address and port; None on a Unix socket.

    Raises:
        Exception: whatever the application raises.
    """
    if not request.target.startswith("/"):  # "*", or an authority: no path of the application
        return Reply(status=404, content_type="text/plain", body=b"Not Found\n")
    exchange = _Exchange(request.body)
    await app(_scope(request, client), exchange.receive, exchange.send)
    return exchange.reply()


def _scope(request: HttpRequest, client: tuple[str, int] | None) -> dict[str, Any]:
    path, _, query = request.target.partition("?")
    # The host is the proxy's business; a malformed one would be an error inside the application.
    headers = [(name, value) for name, value in request.headers if name != b"host"]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version,
        "method": request.method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [*headers, (b"host", b"localhost")],
        "client": client,
        "server": None,
        "extensions": {},
    }


@attrs.define
class _Exchange:
    """Both ends of one call."""

    body: bytes
    is_received: bool = False
    start: Message | None = None
    answer: bytearray = attrs.field(factory=bytearray)
    is_complete: bool = False

    async def receive(self) -> Message:
        if self.is_received:
            await trio.sleep_forever()
        self.is_received = True
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self.start = message
            case "http.response.body":
                self.answer += message.get("body", b"")
                self.is_complete = not message.get("more_body", False)

    def reply(self) -> Reply:
        """Raises RuntimeError when the application has not answered to the end."""
        if self.start is None or not self.is_complete:
            raise RuntimeError("the application gave no answer")
        headers = {bytes(name).lower().decode(): bytes(value).decode("latin1") for name, value in self.start["headers"]}
        headers.pop("content-length", None)
        content_type = headers.pop("content-type", "text/plain")
        return Reply(status=self.start["status"], content_type=content_type, body=bytes(self.answer), headers=headers)
