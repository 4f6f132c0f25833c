"""The signaling connection of a stream: handshake, keep-alives, messages, and the media links that depend on it."""

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import trio

from rtmsd.errors import ConnectionLost, HandshakeRejected, RtmsdError
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.products import product_of
from rtmsd.protocol.reading import Raw
from rtmsd.protocol.signaling import SignalingConnection, SignalingState
from rtmsd.streams.core.reconnect import Window
from rtmsd.streams.drivers.media import MediaLink
from rtmsd.streams.drivers.messages import on_message
from rtmsd.transport.websocket import TextWebSocket, open_signaling

if TYPE_CHECKING:
    from rtmsd.streams.drivers.stream import Stream

DRAIN_S: Final = 0.1  # after signaling is gone, for media that are already in our socket buffers


def subscription(product: str, requested: MediaType) -> m.EventSubscription:
    """Everything that concerns the media asked for."""
    wanted = product_of(product).events.wanted(requested)
    return m.EventSubscription(events=tuple(m.EventChoice(event_type=int(e), subscribe=True) for e in wanted))


class SignalingLink:
    """One signaling connection, from TCP to its loss. The stream opens another one when it is lost.

    Attributes:
        keep_alives: how many requests were answered on all signaling connections of the stream.
        zoom_ms: Zoom's time in the latest message of the present connection; None: there was none yet.
        ignored: what was read and ignored, by kind.
    """

    def __init__(self, stream: "Stream") -> None:
        self.keep_alives = 0
        self.zoom_ms: int | None = None
        self.ignored: Counter[str] = Counter()
        self._stream = stream
        self._protocol: SignalingConnection | None = None
        self._ws: TextWebSocket

    @property
    def is_up(self) -> bool:
        return self._protocol is not None and self._protocol.state is SignalingState.UP

    def send(self, message: m.Message) -> None:
        """Queue a message; without a live connection it is dropped: what matters is said anew after a handshake."""
        if self.is_up:
            assert self._protocol is not None
            self._protocol.send(message)
            self._ws.send_soon(self._protocol.to_send)

    async def run(self, url: str, links: tuple[MediaLink, ...], window: Window) -> None:
        """Open the connection, and keep it and its media links up until it is lost.

        Signaling never waits for media: the links run beside it, and outlive it by a short drain.

        Args:
            window: in which it may be opened.

        Raises:
            HandshakeRejected: Zoom refused; the connector asks `on_status` what to do.
            ConnectionLost: it could not be opened, or was lost.
            RemoteProtocolError: the answer to the handshake was unreadable.
            ForbiddenHost: `zoom.allowed_hosts` does not have the host.
        """
        loss: RtmsdError | None = None
        async with trio.open_nursery() as media:
            try:
                await self._live(url, links, window, media)
            except RtmsdError as error:
                loss = error
        if loss is not None:  # out here, since the nursery would raise a group
            raise loss

    async def _live(self, url: str, links: tuple[MediaLink, ...], window: Window, media: trio.Nursery) -> None:
        """One socket, from TCP to its loss, which it raises."""
        stream, limits = self._stream, self._stream.settings.streams
        protocol = SignalingConnection(
            stream.session,
            stream.rtms_stream_id,
            stream.signature,
            also_meeting_uuid=stream.settings.zoom.also_send_meeting_uuid,
        )
        connection, why = 0, "closed by us"
        self.zoom_ms = None
        timeout_s = window.allowed(trio.current_time(), limits.connect_timeout_s)
        try:
            async with open_signaling(url, stream.settings.zoom, timeout_s) as ws:
                self._ws, self._protocol = ws, protocol
                media_urls = await self._handshake(ws, protocol, window)
                connection = stream.recorder.connected("signaling", frozenset())
                stream.watchdog.watch(ws, "signaling")
                stream.signaling_up()
                self.send(subscription(stream.product, stream.settings.media.requested))
                for link in links:
                    media.start_soon(link.run, media_urls)
                try:
                    for early in protocol.take_early():
                        self._take(ws, protocol, early)
                    while True:
                        self._take(ws, protocol, await ws.receive())
                except ConnectionLost:
                    self._protocol = None
                    if stream.expects_end:
                        stream.ending.closed_by_zoom()
                    raise
                finally:
                    self._protocol = None  # a link that loses its socket now does not open another one
                    if not stream.ending.reads_on:
                        media.cancel_scope.deadline = trio.current_time() + DRAIN_S
                    stream.watchdog.forget(ws)
        except (ConnectionLost, HandshakeRejected) as lost:
            why = str(lost)
            raise
        finally:
            self._protocol = None
            protocol.close()
            self.ignored.update(protocol.counts)
            if connection:
                stream.recorder.lost(connection, stream.loss_cause, why)

    async def _handshake(self, ws: TextWebSocket, protocol: SignalingConnection, window: Window) -> Mapping[str, str]:
        protocol.hello()
        with trio.move_on_after(window.allowed(trio.current_time(), self._stream.settings.streams.handshake_timeout_s)):
            for text in protocol.to_send():
                await ws.send(text)
            while True:
                answer = protocol.receive(await ws.receive())
                if isinstance(answer, m.SignalingHandshakeResp):
                    return answer.media_urls
                if isinstance(answer, m.KeepAliveReq):
                    self.keep_alives += 1
                    ws.send_soon(protocol.to_send)
        raise ConnectionLost("no answer to the signaling handshake")

    def _take(self, ws: TextWebSocket, protocol: SignalingConnection, raw: Raw) -> None:
        message = protocol.receive(raw)
        if isinstance(message, m.KeepAliveReq):
            self.keep_alives += 1
            ws.send_soon(protocol.to_send)  # the protocol answers by itself
        if message is not None:
            on_message(self._stream, message)
