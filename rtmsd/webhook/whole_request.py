"""Quart-Trio for requests whose body is complete before the call, and whose client's hang-up is not reported.

By itself it runs two tasks for each request, one of which waits for the hang-up, and makes an asynchronous iterator of
the answer; this takes half the time. It uses the documented interface only.
"""

from typing import Any

from quart import Response
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers


class WholeRequestApp(QuartTrio):
    """An application that serves HTTP alone: no WebSocket, no lifespan."""

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        client = scope.get("client") or ("<local>",)
        headers = Headers([(name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"]])
        headers["Remote-Addr"] = client[0]  # where Quart looks for it
        request = self.request_class(
            scope["method"],
            scope["scheme"],
            scope["path"],
            scope["query_string"],
            headers,
            scope.get("root_path", ""),
            scope["http_version"],
            scope,
            max_content_length=self.config["MAX_CONTENT_LENGTH"],
            send_push_promise=_no_push,
        )
        body, is_complete = b"", False
        while not is_complete:
            message = await receive()
            body += message.get("body", b"")
            is_complete = not message.get("more_body", False)
        request.body.set_result(body)  # the one way that all versions of Quart have
        response = await self.handle_request(request)
        assert isinstance(response, Response)
        fields = [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in response.headers]
        await send({"type": "http.response.start", "status": response.status_code, "headers": fields})
        await send({"type": "http.response.body", "body": await response.get_data(as_text=False)})


async def _no_push(_path: str, _headers: Headers) -> None:
    """HTTP/1.1 has no push; Quart drops one, too, where its server has none."""
