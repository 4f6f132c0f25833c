"""HTTP/1.1 on one connection: h11 between a Trio stream and a function that answers requests.

Every wait for a peer has a limit, except the sending of an endless answer: a reader may pause as long as it likes, and
loses only what its own ring cannot hold.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, TypeAlias

import h11
import trio

from rtmsd.admin.messages import AdminError, Code, HttpRequest, Reply, Source, StreamReply

MAX_HEADER_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 64 * 1024
REQUEST_TIMEOUT_S: Final = 30.0  # from the end of the last answer to the last byte of the next request
SEND_TIMEOUT_S: Final = 30.0
LINGER_S: Final = 1.0

Respond: TypeAlias = Callable[[HttpRequest], Awaitable[Reply | StreamReply]]


async def serve_connection(stream: trio.abc.HalfCloseableStream, respond: Respond) -> None:
    """Answer the requests of one client, in order, until it leaves, misbehaves or keeps us waiting. Closes `stream`.

    Args:
        respond: raises AdminError for nothing: it answers refusals too.
    """
    connection = _Connection(stream)
    async with stream:
        with suppress(trio.BrokenResourceError):  # the client is gone: nobody is left to tell
            while await connection.serve_one(respond):
                pass


async def refuse_connection(stream: trio.abc.HalfCloseableStream, refusal: AdminError) -> None:
    """Answer without having read a request, and close at once: who opens thousands of these holds nothing of ours."""
    connection = _Connection(stream)
    async with stream:
        with suppress(trio.BrokenResourceError):
            await connection.send_reply(refusal.reply(), {"connection": "close"})


class _Connection:
    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._stream = stream
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)

    async def serve_one(self, respond: Respond) -> bool:
        """Read a request and answer it; say whether another may follow."""
        try:
            request = await self._read_request()
        except AdminError as exc:
            await self.refuse(exc.reply())
            return False
        if request is None:
            return False
        reply = await respond(request)
        if isinstance(reply, StreamReply):
            await self._send_stream(reply)
            return False
        await self.send_reply(reply, with_body=request.method != "HEAD")
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def refuse(self, reply: Reply) -> None:
        """Answer what could not be read to its end, and let the client read the answer before the socket closes."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        await self.send_reply(reply, {"connection": "close"})
        with trio.move_on_after(LINGER_S):  # closing with unread input would reset the connection under the answer
            await self._stream.send_eof()
            while await self._stream.receive_some():
                pass

    async def _read_request(self) -> HttpRequest | None:
        """Returns None when the client has no more to ask. Raises AdminError for a request that cannot be read."""
        with trio.move_on_after(REQUEST_TIMEOUT_S):
            try:
                head = await self._next_event()
                if not isinstance(head, h11.Request):
                    return None
                body = bytearray()
                while isinstance(event := await self._next_event(), h11.Data):
                    body += event.data
                    if len(body) > MAX_BODY_BYTES:
                        raise AdminError(Code.TOO_LARGE, f"a body may hold {MAX_BODY_BYTES} bytes")
            except h11.RemoteProtocolError as exc:
                too_large = exc.error_status_hint == 431
                raise AdminError(Code.TOO_LARGE if too_large else Code.BAD_REQUEST, str(exc)) from exc
            return HttpRequest(method=head.method.decode("ascii"), target=head.target.decode("ascii"), body=bytes(body))
        if self._h11.their_state is h11.IDLE and not self._h11.trailing_data[0]:
            return None  # an idle client: nothing was asked
        raise AdminError(Code.REQUEST_TIMEOUT, f"the request did not arrive whole within {REQUEST_TIMEOUT_S:g} s")

    async def _next_event(self) -> h11.Event | None:
        """Returns None when no event can come before something else happens on this connection."""
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._h11.receive_data(bytes(await self._stream.receive_some()))
        return event if isinstance(event, h11.Event) else None

    async def send_reply(
        self, reply: Reply, headers: Mapping[str, str] | None = None, *, with_body: bool = True
    ) -> None:
        fields = {
            "content-type": reply.content_type,
            "content-length": str(len(reply.body)),
            "cache-control": "no-store",
            **reply.headers,
            **(headers or {}),
        }
        with trio.move_on_after(SEND_TIMEOUT_S) as limit:
            await self._send(h11.Response(status_code=reply.status, headers=list(fields.items())))
            if with_body:
                await self._send(h11.Data(data=reply.body))
            await self._send(h11.EndOfMessage())
        if limit.cancelled_caught:
            raise trio.BrokenResourceError("the client does not read its answer")

    async def _send_stream(self, reply: StreamReply) -> None:
        """Send an endless answer. It ends with the connection, so that one cut short is not taken for whole."""
        fields = {
            "content-type": reply.content_type,
            "transfer-encoding": "chunked",
            "cache-control": "no-store",
            "connection": "close",
        }
        if reply.trailer_names:
            fields["trailer"] = ", ".join(reply.trailer_names)
        with reply.open() as source:
            await self._send(h11.Response(status_code=200, headers=list(fields.items())))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_at_hangup, nursery.cancel_scope)
                with suppress(trio.BrokenResourceError):
                    await self._send_chunks(source)
                nursery.cancel_scope.cancel()

    async def _send_chunks(self, source: Source) -> None:
        while (data := await source.chunk()) is not None:
            await self._send(h11.Data(data=data))
        trailers = {} if self._h11.their_http_version == b"1.0" else source.trailers()  # which knows none
        await self._send(h11.EndOfMessage(headers=list(trailers.items())))

    async def _cancel_at_hangup(self, scope: trio.CancelScope) -> None:
        """A client that closes, or shuts its sending side, wants no more; what it still says is not listened to."""
        with suppress(trio.BrokenResourceError):
            while await self._stream.receive_some():
                pass
        scope.cancel()

    async def _send(self, event: h11.Event) -> None:
        await self._stream.send_all(self._h11.send(event) or b"")
