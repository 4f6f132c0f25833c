"""One HTTP/1.1 connection: h11 between a Trio stream and a handler.

Every wait for a peer has a limit, except the sending of an endless answer: a reader may pause as long as it likes, and
loses only what its own ring cannot hold.
"""

import enum
import select
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import attrs
import h11
import structlog
import trio

from rtmsd.errors import leaves
from rtmsd.http.answer import head_bytes, http_date
from rtmsd.http.head import asks_to_close, check_framing, origin_form, take_head
from rtmsd.http.messages import Fault, HttpRequest, Limits, Peer, Refusal, Reply, Source, StreamReply

log = structlog.get_logger()

READ_BYTES: Final = 64 * 1024
FIRST_REQUEST_S: Final = 1.0
"""At a stop, for the first request of a client whose connection was accepted already: nobody else will answer it."""

_FAULTS: Final = {431: Fault.HEADERS_TOO_LARGE, 413: Fault.HEADERS_TOO_LARGE, 501: Fault.NOT_IMPLEMENTED}


class Phase(enum.Enum):
    IDLE = "idle"  # no byte of a request has come
    READING = "reading"
    ANSWERING = "answering"


class Connection:
    """Answers the requests of one client, in order, until it leaves, misbehaves or exceeds a limit.

    Attributes:
        phase_since_s: of Trio's clock.

    Args:
        note: called at each new phase.
        turnstile: passed by all input.
        is_last: close after one answer.
        server: value of the Server header, if there is to be one.
    """

    def __init__(
        self,
        stream: trio.abc.HalfCloseableStream,
        limits: Limits,
        *,
        note: Callable[["Connection"], None] = lambda _connection: None,
        turnstile: trio.Semaphore | None = None,
        is_last: bool = False,
        server: str | None = None,
    ) -> None:
        self.phase = Phase.IDLE
        self.phase_since_s = trio.current_time()
        self._stream = stream
        self._limits = limits
        self._note = note
        self._turnstile = turnstile
        self._is_last = is_last
        self._common = _COMMON if server is None else {**_COMMON, "server": server}
        self._whole = trio.CancelScope()
        self._patience = trio.CancelScope()  # of waiting for the first bytes of a request
        self._buffer = bytearray()  # received, and not yet given to h11
        self._head: HttpRequest | None = None  # of the latest request
        self._is_queued = False  # at the turnstile
        self._is_to_close = False  # by the client's wish
        self._http: h11.Connection  # a new one for each request: an idle client costs none

    async def serve(self, peer: Peer) -> None:
        """Serve the client, and close the stream."""
        async with self._stream:
            with self._whole, suppress(trio.BrokenResourceError):  # the client is gone
                while await self._serve_one(peer) and not self._is_last:
                    pass

    async def send_away(self, reply: Reply) -> None:
        """Answer without having read a request, and close at once, so that thousands of these hold nothing."""
        self._begin()
        async with self._stream:
            with suppress(trio.BrokenResourceError):
                await self._send_reply(reply, then_close=True)
                if _has_input(self._stream):  # closing on unread bytes would reset the connection under the answer
                    await self._stream.receive_some(READ_BYTES)

    def finish(self) -> None:
        """Close after the answer that is on its way. Where there is none: now, or soon if there was no request yet."""
        self._is_last = True
        if self._head is None and self.phase is Phase.IDLE:
            self._wait_until(trio.current_time() + FIRST_REQUEST_S)
        else:
            self.give_way()

    def give_way(self) -> bool:
        """Close if no request has come, and return whether. Unread bytes count as a request."""
        if self.phase is not Phase.IDLE or _has_input(self._stream):
            return False
        self._whole.cancel()
        return True

    def break_off(self) -> bool:
        """Close, and return whether: not while a request waits at the turnstile, as then it is us who are slow."""
        if self._is_queued:
            return False
        self._whole.cancel()
        return True

    def _enter(self, phase: Phase) -> None:
        if phase is not self.phase:
            self.phase, self.phase_since_s = phase, trio.current_time()
            self._note(self)

    def _begin(self) -> None:
        self._head = None
        self._patience = trio.CancelScope()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=self._limits.header_bytes)

    async def _serve_one(self, peer: Peer) -> bool:
        """Read a request and answer it; return whether another may follow."""
        if not self._buffer and not await self._wait():
            return False
        self._enter(Phase.READING)
        self._begin()
        try:
            request = await self._read_request()
        except Refusal as refusal:
            await self._refuse(peer, refusal)
            return False
        self._enter(Phase.ANSWERING)
        reply = await self._reply_to(request, peer)
        if reply is None:
            return False
        if isinstance(reply, StreamReply):
            await self._send_stream(reply)
            return False
        is_last = self._is_last or self._is_to_close
        await self._send_reply(reply, then_close=is_last)
        if is_last:
            return False
        self._buffer = bytearray(self._http.trailing_data[0]) + self._buffer
        return True

    async def _wait(self) -> bool:
        """Wait for the first bytes of a request; False when none come."""
        self._enter(Phase.IDLE)
        self._wait_until(trio.current_time() + self._limits.idle_s)
        with self._patience:
            return await self._receive()
        # What came at the last moment is answered, also if it was still at the turnstile.
        return bool(self._buffer) or (_has_input(self._stream) and await self._receive())

    def _wait_until(self, deadline_s: float) -> None:
        self._patience.deadline = min(self._patience.deadline, deadline_s)

    async def _receive(self) -> bool:
        """Receive into the buffer; False at the end."""
        data = await self._stream.receive_some(READ_BYTES)
        if not data:
            return False
        self._buffer += data
        self._enter(Phase.READING)
        if self._turnstile is not None:
            self._is_queued = True
            try:
                async with self._turnstile:
                    pass
            finally:
                self._is_queued = False
        return True

    async def _read_request(self) -> HttpRequest:
        """Raises Refusal when the request cannot be read."""
        with trio.move_on_after(self._limits.request_s):
            try:
                head = await self._read_head()
                body = bytearray()
                while isinstance(event := await self._next_event(), h11.Data):
                    body += event.data
                    self._check_size(len(body))
            except h11.RemoteProtocolError as exc:
                fault = _FAULTS.get(exc.error_status_hint, Fault.MALFORMED)
                raise Refusal(fault, str(exc), self._head) from exc
            return attrs.evolve(head, body=bytes(body))
        within = f"the request did not arrive whole within {self._limits.request_s:g} s"
        raise Refusal(Fault.TOO_SLOW, within, self._head)

    async def _read_head(self) -> HttpRequest:
        while (raw := take_head(self._buffer, self._limits.header_bytes)) is None:
            if not await self._receive():
                raise Refusal(Fault.MALFORMED, "the request broke off")
        self._http.receive_data(raw)
        request = self._http.next_event()
        assert isinstance(request, h11.Request)
        check_framing(request)
        self._is_to_close = asks_to_close(request)
        self._head = HttpRequest(
            method=request.method.decode("ascii"),
            target=origin_form(request.target.decode("ascii")),
            headers=list(request.headers),
            http_version=request.http_version.decode("ascii"),
        )
        for name, value in request.headers:
            if name == b"content-length":
                self._check_size(int(value))
        return self._head

    def _check_size(self, body_bytes: int) -> None:
        if body_bytes > self._limits.body_bytes:
            too_large = f"a body may hold {self._limits.body_bytes} bytes"
            raise Refusal(Fault.BODY_TOO_LARGE, too_large, self._head)

    async def _next_event(self) -> h11.Event | None:
        """Returns None when no event can come before something else happens on this connection."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if not self._buffer:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                await self._receive()
            self._http.receive_data(bytes(self._buffer))  # empty at the end of input, which h11 reports
            self._buffer.clear()
        return event if isinstance(event, h11.Event) else None

    async def _reply_to(self, request: HttpRequest, peer: Peer) -> Reply | StreamReply | None:
        """The answer; None when there is none in time."""
        with trio.move_on_after(self._limits.answer_s):
            try:
                return await peer.respond(request)
            except Exception as exc:  # a bug: answered, counted and logged, and the door stays open
                log.exception("request crashed", method=request.method, target=request.target)
                error = next(leaves(exc)) if isinstance(exc, ExceptionGroup) else exc
                return peer.refuse(Refusal(Fault.CRASHED, f"{type(error).__name__}: {error}", request))
        log.error("request not answered in time", method=request.method, target=request.target)
        return None

    async def _refuse(self, peer: Peer, refusal: Refusal) -> None:
        """Answer an unreadable request, and let the client read the answer before the socket closes."""
        await self._send_reply(peer.refuse(refusal), then_close=True)
        with trio.move_on_after(self._limits.linger_s):
            await self._stream.send_eof()
            while await self._stream.receive_some(READ_BYTES):
                pass

    async def _send_reply(self, reply: Reply, *, then_close: bool) -> None:
        more = {"connection": "close"} if then_close else {}
        fields = {"content-type": reply.content_type, "content-length": str(len(reply.body)), **self._always()}
        answer = head_bytes(reply.status, {**fields, **reply.headers, **more})
        if self._head is None or self._head.method != "HEAD":
            answer += reply.body
        with trio.move_on_after(self._limits.send_s) as limit:
            await self._stream.send_all(answer)
        if limit.cancelled_caught:
            raise trio.BrokenResourceError("the client did not read its answer in time")

    async def _send_stream(self, reply: StreamReply) -> None:
        """Send an endless answer. It ends with the connection, so that one cut short is not taken for whole."""
        trailer = {"trailer": ", ".join(reply.trailer_names)} if reply.trailer_names else {}
        fields = {"content-type": reply.content_type, "transfer-encoding": "chunked", **self._always()}
        headers = [*fields.items(), ("connection", "close"), *trailer.items()]
        with reply.open() as source:
            await self._send(h11.Response(status_code=200, headers=headers))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_at_hangup, nursery.cancel_scope)
                with suppress(trio.BrokenResourceError):
                    await self._send_chunks(source)
                nursery.cancel_scope.cancel()

    async def _send_chunks(self, source: Source) -> None:
        while (data := await source.chunk()) is not None:
            await self._send(h11.Data(data=data))
        trailers = {} if self._http.their_http_version == b"1.0" else source.trailers()  # 1.0 has none
        await self._send(h11.EndOfMessage(headers=list(trailers.items())))

    async def _cancel_at_hangup(self, scope: trio.CancelScope) -> None:
        """Cancel when the client closes or shuts its sending side; its input is dropped."""
        with suppress(trio.BrokenResourceError):
            while await self._stream.receive_some():
                pass
        scope.cancel()

    def _always(self) -> Mapping[str, str]:
        """Return the fields of every answer."""
        return {**self._common, "date": http_date()}

    async def _send(self, event: h11.Event) -> None:
        await self._stream.send_all(self._http.send(event) or b"")


_COMMON: Final = {"cache-control": "no-store"}


def _has_input(stream: trio.abc.HalfCloseableStream) -> bool:
    """Whether a read would return at once; the end of input counts."""
    if not isinstance(stream, trio.SocketStream) or stream.socket.fileno() < 0:
        return False
    poll = select.poll()
    poll.register(stream.socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))
