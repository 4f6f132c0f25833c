"""The signaling connection of a stream: handshake, keep-alives, messages, and the media links that depend on it."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import trio

from rtmsd.errors import ConnectionLost, HandshakeRejected, KeepAliveTimeout, RtmsdError
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import EventType, MediaType, VoiceEventType
from rtmsd.protocol.signaling import SignalingConnection, SignalingState
from rtmsd.streams.incoming import on_message
from rtmsd.streams.media import MediaLink
from rtmsd.streams.tasks import Wake, first_of, watch_silence
from rtmsd.transport.websocket import TextWebSocket, open_signaling

if TYPE_CHECKING:
    from rtmsd.streams.stream import Stream

DRAIN_S: Final = 0.1  # after signaling is gone, for media that are already in our socket buffers

# FIRST_PACKET_TIMESTAMP and MEDIA_CONNECTION_INTERRUPTED always come; Zoom warns against subscribing to them.
ROSTER_EVENTS: Final = (EventType.ACTIVE_SPEAKER_CHANGE, EventType.PARTICIPANT_JOIN, EventType.PARTICIPANT_LEAVE)
MEDIA_EVENTS: Final[Mapping[MediaType, tuple[EventType, ...]]] = {
    MediaType.DESKSHARE: (EventType.SHARING_START, EventType.SHARING_STOP),
    MediaType.VIDEO: (EventType.PARTICIPANT_VIDEO_ON, EventType.PARTICIPANT_VIDEO_OFF),
    MediaType.CHAT: tuple(event for event in EventType if event.name.startswith("CHAT_GROUP")),
}
VOICE_EVENTS: Final = tuple(event for event in VoiceEventType if event >= VoiceEventType.CONSUMER_ANSWERED)


def subscription(product: str, requested: MediaType) -> m.EventSubscription:
    """Everything that concerns the media asked for; contact center numbers its events differently from 8 on."""
    if product == "contact_center":
        wanted: tuple[int, ...] = (*ROSTER_EVENTS, *VOICE_EVENTS)
    else:
        wanted = (
            *ROSTER_EVENTS,
            *(event for bit, events in MEDIA_EVENTS.items() if bit & requested for event in events),
        )
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
        self._to_send = Wake()

    @property
    def is_up(self) -> bool:
        return self._protocol is not None and self._protocol.state is SignalingState.UP

    def send(self, message: m.Message) -> None:
        """Queue a message; without a live connection it is dropped: what matters is said anew after a handshake."""
        if self.is_up:
            assert self._protocol is not None
            self._protocol.send(message)
            self._to_send.set()

    async def run(self, url: str, links: tuple[MediaLink, ...], give_up_s: float) -> None:
        """Open the connection, and keep it and its media links up until it is lost.

        Args:
            give_up_s: until when it may be opened, in Trio's clock.

        Raises:
            HandshakeRejected: Zoom refused; the connector asks `on_status` what to do.
            ConnectionLost: it could not be opened, or was lost.
            RemoteProtocolError: the answer to the handshake was unreadable.
            ForbiddenHost: `zoom.allowed_hosts` does not have the host.
        """
        stream, limits = self._stream, self._stream.settings.streams
        protocol = SignalingConnection(
            stream.session,
            stream.rtms_stream_id,
            stream.signature,
            also_meeting_uuid=stream.settings.zoom.also_send_meeting_uuid,
        )
        connection, why = 0, "closed by us"
        self.zoom_ms = None
        try:
            with trio.CancelScope(deadline=give_up_s) as attempt:
                async with open_signaling(url, stream.settings.zoom, limits.connect_timeout_s) as ws:
                    self._protocol, self._to_send = protocol, Wake()
                    media_urls = await self._handshake(ws, protocol)
                    attempt.deadline = math.inf
                    connection = stream.recorder.connected("signaling", frozenset())
                    stream.signaling_up()
                    self.send(subscription(stream.product, stream.settings.media.requested))
                    await self._serve(ws, media_urls, links)
        except (ConnectionLost, HandshakeRejected) as lost:
            why = str(lost)
            raise
        finally:
            self._protocol = None
            self.ignored.update(protocol.counts)
            if connection:
                stream.recorder.lost(connection, stream.loss_cause, why)
        raise ConnectionLost("the window passed while connecting")

    async def _handshake(self, ws: TextWebSocket, protocol: SignalingConnection) -> Mapping[str, str]:
        protocol.hello()
        with trio.move_on_after(self._stream.settings.streams.handshake_timeout_s):
            for text in protocol.to_send():
                await ws.send(text)
            while True:
                answer = protocol.receive(await ws.receive())
                if isinstance(answer, m.SignalingHandshakeResp):
                    return answer.media_urls
        raise ConnectionLost("no answer to the signaling handshake")

    async def _serve(self, ws: TextWebSocket, media_urls: Mapping[str, str], links: tuple[MediaLink, ...]) -> None:
        """Signaling never waits for media: the links run beside it, and outlive it by a short drain."""
        loss: RtmsdError | None = None
        async with trio.open_nursery() as media:
            for link in links:
                media.start_soon(link.run, media_urls)
            try:
                await first_of(lambda: self._read(ws), lambda: self._write(ws), lambda: self._watch(ws))
            except RtmsdError as error:
                loss = error
            self._protocol = None  # a link that loses its socket now does not open another one
            media.cancel_scope.deadline = trio.current_time() + DRAIN_S
        if loss is not None:
            raise loss

    async def _read(self, ws: TextWebSocket) -> None:
        assert self._protocol is not None
        while True:
            message = self._protocol.receive(await ws.receive())
            self._to_send.set()  # the protocol answers keep-alives itself
            if isinstance(message, m.KeepAliveReq):
                self.keep_alives += 1
            if message is not None:
                on_message(self._stream, message)

    async def _write(self, ws: TextWebSocket) -> None:
        assert self._protocol is not None
        while True:
            for text in self._protocol.to_send():
                await ws.send(text)
            await self._to_send.wait()

    async def _watch(self, ws: TextWebSocket) -> None:
        timeout_s = self._stream.settings.streams.keep_alive_timeout_s
        await watch_silence(lambda: ws.last_heard_s, timeout_s, Wake())
        raise KeepAliveTimeout(f"nothing heard on signaling for {timeout_s:g} s")
