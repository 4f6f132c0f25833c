"""One request and its answer, in one task.

Quart-Trio takes two: while one handles the request, the other goes on receiving, and cancels the first when the client
hangs up. Here the whole body is received first. A client that hangs up after that is no news, for its event came whole;
and each webhook takes two tasks and three passes of the event loop less, which counts when streams share the loop.
"""

import math
from typing import Final, cast

import trio
from hypercorn.typing import (
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPResponseBodyEvent,
    HTTPResponseStartEvent,
)
from quart import Request, Response
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.datastructures import Headers

READ_ON_S: Final = 0.2  # after the limit of a body was passed


class Exchange(TrioASGIHTTPConnection):
    """To be a Quart-Trio app's `asgi_http_class`."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = self._request()
        if not await self._read_body(request, receive):
            return
        # Ours are Quart's own, also those of errors: there is a handler for all of them.
        response = cast("Response", await self.app.handle_request(request))
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        body = await response.get_data(as_text=False)
        start = {"type": "http.response.start", "status": response.status_code, "headers": headers}
        await send(cast("HTTPResponseStartEvent", start))
        await send(cast("HTTPResponseBodyEvent", {"type": "http.response.body", "body": body}))

    def _request(self) -> Request:
        scope, config = self.scope, self.app.config
        headers = Headers([(name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"]])
        headers["Remote-Addr"] = (scope.get("client") or ["<local>"])[0]  # where Quart looks for it
        headers["Host"] = ""  # nobody asks for it, and what is no host name would raise where there is no handler yet
        return self.app.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            headers,
            scope["root_path"],
            scope["http_version"],
            scope,
            max_content_length=config["MAX_CONTENT_LENGTH"],
            body_timeout=config["BODY_TIMEOUT"],
            send_push_promise=_no_push,
        )

    async def _read_body(self, request: Request, receive: ASGIReceiveCallable) -> bool:
        """Receive the body, and say whether there is anything to answer: no, when the client hung up before its end.

        A body that is too large, or takes too long, is an error that `Request.get_data` raises.
        """
        limit_bytes = self.app.config["MAX_CONTENT_LENGTH"]
        declared_bytes, received_bytes = request.content_length or 0, 0
        with trio.move_on_after(self.app.config["BODY_TIMEOUT"]) as reading:
            while True:
                if max(declared_bytes, received_bytes) > limit_bytes:
                    # What still comes is read and dropped for a moment. Closing a connection that is being written to
                    # resets it, and the client may not get to see the answer.
                    limit_bytes = math.inf
                    reading.deadline = trio.current_time() + READ_ON_S
                message = await receive()
                if message["type"] != "http.request":
                    return False
                data = message.get("body", b"")
                received_bytes += len(data)
                request.body.append(data)
                if not message.get("more_body", False):
                    request.body.set_complete()
                    return True
        request.body_timeout = 0  # time is up
        return True


async def _no_push(_path: str, _headers: Headers) -> None:
    """HTTP/1.1 has none, and nobody asks for it."""
