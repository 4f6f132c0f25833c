"""The signaling driver: one connection after another, as the core asks for them."""

from collections.abc import Mapping
from functools import lru_cache

import trio

from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RemoteProtocolError, RtmsdError
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.products import product_of
from rtmsd.protocol.reading import Raw
from rtmsd.protocol.signaling import SignalingConnection, SignalingState
from rtmsd.protocol.unknown import UNEXPECTED
from rtmsd.streams.core.actions import Connect
from rtmsd.streams.core.reconnect import remaining
from rtmsd.streams.drivers.context import Context
from rtmsd.transport.websocket import TextWebSocket, open_signaling


@lru_cache(maxsize=32)  # one for all streams of an app
def subscription(product: str, requested: MediaType, event_codes: tuple[int, ...] = ()) -> m.EventSubscription:
    """Return everything that concerns the media asked for, and these codes."""
    wanted = product_of(product).events.wanted(requested)
    by_type = (m.EventChoice(event_type=int(number), subscribe=True) for number in wanted)
    by_code = (m.EventChoice(event_code=code, subscribe=True) for code in event_codes)
    return m.EventSubscription(events=(*by_type, *by_code))


class SignalingDriver:
    """The signaling connection of a stream, from TCP to its loss, each time the core asks for one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._core, self._report = context.core, context.report
        self._writer = context.writer
        self._protocol: SignalingConnection | None = None
        self._scope = trio.CancelScope()
        self._ws: TextWebSocket

    @property
    def _is_up(self) -> bool:
        return self._protocol is not None and self._protocol.state is SignalingState.UP

    def send(self, message: m.Message) -> None:
        """Queue a message; without a live connection it is dropped: what matters is said anew after a handshake."""
        if self._is_up:
            assert self._protocol is not None
            self._protocol.send(message)
            self._ws.send_soon(self._protocol.to_send)

    def open(self, nursery: trio.Nursery, action: Connect) -> None:
        self._scope = trio.CancelScope()
        nursery.start_soon(self._run, action)

    def drop(self) -> None:
        self._scope.cancel()

    async def _run(self, action: Connect) -> None:
        """One connection, whose end the core hears of whatever it was."""
        error: RtmsdError | None = None
        try:
            with self._scope:
                await self._live(action)
        except HandshakeRejected as refused:
            self._context.diagnostics.refused(refused.status_code)
            error = refused
        except (ConnectionLost, ForbiddenHost, RemoteProtocolError) as lost:
            error = lost
        finally:
            self._report(self._core.signaling.closed, error)

    async def _live(self, action: Connect) -> None:
        """One socket, from TCP to its loss, which it raises."""
        context, settings = self._context, self._context.settings
        protocol = SignalingConnection(
            context.row.session,
            context.row.rtms_stream_id,
            context.signature,
            also_meeting_uuid=settings.zoom.also_send_meeting_uuid,
            protocol_version=context.app.protocol_version,
        )
        self._report(self._core.signaling.permitted, await context.tenure.may_connect(context.row.rtms_stream_id))
        await trio.lowlevel.checkpoint_if_cancelled()  # where it was refused, nothing is dialled
        timeout_s = remaining(action.deadline_s, trio.current_time(), settings.streams.connect_timeout_s)
        try:
            async with open_signaling(action.url, settings.zoom, timeout_s) as ws:
                self._ws, self._protocol = ws, protocol
                media_urls = await self._handshake(ws, protocol, action.deadline_s)
                context.diagnostics.accepted()
                context.watchdog.watch(ws, "signaling")
                by_zoom = False
                try:
                    self._report(self._core.signaling_up, media_urls)
                    for early in protocol.take_early():
                        self._take(ws, protocol, early)
                    while True:
                        self._take(ws, protocol, await ws.receive())
                except ConnectionLost:
                    by_zoom = True
                    raise
                finally:
                    self._protocol = None
                    context.watchdog.forget(ws)
                    self._report(self._core.signaling.went_down, by_zoom=by_zoom)
        finally:
            self._protocol = None
            protocol.close()
            self._core.situation.uplink.ignored.update(protocol.counts)

    async def _handshake(
        self, ws: TextWebSocket, protocol: SignalingConnection, deadline_s: float
    ) -> Mapping[str, str]:
        protocol.hello()
        timeout_s = remaining(deadline_s, trio.current_time(), self._context.settings.streams.handshake_timeout_s)
        with trio.move_on_after(timeout_s):
            for text in protocol.to_send():
                await ws.send(text)
            while True:
                answer = protocol.receive(await ws.receive())
                if answer is not None:
                    self._writer.keep_unknown(answer)
                if isinstance(answer, m.SignalingHandshakeResp):
                    return answer.media_urls
                if isinstance(answer, m.KeepAliveReq):
                    self._core.situation.uplink.keep_alives += 1
                    ws.send_soon(protocol.to_send)
        raise ConnectionLost("no answer to the signaling handshake")

    def _take(self, ws: TextWebSocket, protocol: SignalingConnection, raw: Raw) -> None:
        message = protocol.receive(raw)
        if isinstance(message, m.KeepAliveReq):
            self._core.situation.uplink.keep_alives += 1
            ws.send_soon(protocol.to_send)  # the protocol answers by itself
        if message is None:
            self._context.recorder.media.unknown(UNEXPECTED)
        else:
            self._report(self._core.message, self._writer.write(message))
