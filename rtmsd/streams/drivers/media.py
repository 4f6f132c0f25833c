"""One media connection of a stream: opened, kept, lost and opened again, within Zoom's window.

This is where a byte of media enters: `open_media` calls `_consume` with each read's batch of messages, `decode_batch`
hands them to the recorder. Nothing here waits for a disk or for another connection.
"""

import enum
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import structlog
import trio

from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RemoteProtocolError, RtmsdError
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media import MediaConnection, MediaState
from rtmsd.protocol.media_data import Raw, decode_batch
from rtmsd.protocol.media_params import choose_url
from rtmsd.protocol.media_types import REFUSED_TYPE, names_of
from rtmsd.protocol.messages import KeepAliveReq
from rtmsd.protocol.policy import StatusAction
from rtmsd.streams.attempts import Attempts
from rtmsd.streams.core.phase import StreamPhase
from rtmsd.streams.core.reconnect import Backoff, Window
from rtmsd.streams.drivers.backpressure import Room
from rtmsd.streams.refusal import MediaNotGranted, take_note
from rtmsd.transport.websocket import MediaSocket, open_media

if TYPE_CHECKING:
    from rtmsd.streams.drivers.stream import Stream

log = structlog.get_logger()

# For each packet: looking up a member in its class takes 0.4 µs when caches are cold.
_STREAMING: Final = MediaState.STREAMING
_ACTIVE: Final = StreamPhase.ACTIVE

GRANTED_WITHOUT: Final = "Zoom's answer grants other media only"

OVERDUE_S: Final = 15.0  # where nothing else flows, Zoom sends a keep-alive every 10 s


class LinkState(enum.Enum):
    IDLE = "idle"  # signaling is not up
    CONNECTING = "connecting"
    STREAMING = "streaming"
    LOST = "lost"  # waiting for the next attempt
    REFUSED = "refused"  # Zoom will not, or cannot, give these media: no further attempt


class _Suspected(ConnectionLost):
    """We closed it ourselves, perhaps wrongly."""


class MediaLink:
    """A media connection with its retries. It outlives the sockets and the signaling connections under it.

    Attributes:
        types: the media asked for on this connection; a type that Zoom does not give is taken out.
        state: for status and for the stream, which is up as long as one link streams.
        keep_alives: how many requests were answered.
        why: the latest loss or refusal.
        was_up: whether it was ever connected.
        last_heard_s: when the socket last brought a whole frame, in Trio's clock.
        lost_s: when it was last lost other than by a mere suspicion, in Trio's clock.
        is_suspect: whether it is being watched for silence, after Zoom said that some connection broke.
        ignored: what was read and ignored, by kind.
        attempts: to bring it up.
    """

    def __init__(self, stream: "Stream", types: MediaType) -> None:
        self.types = types
        self.state = LinkState.IDLE
        self.keep_alives = 0
        self.ignored: Counter[str] = Counter()
        self.why = ""
        self.last_heard_s = 0.0
        self.lost_s = -math.inf
        self.was_up = False
        self._stream = stream
        self._all_types = types
        self._warned = ""  # of which trouble the log knows
        self._window = Window(stream.settings.streams.media_window_s)
        self.attempts = Attempts(self._window)
        self.is_suspect = False
        self._connection = 0  # number of the recorder's open connection; 0: none
        recorder = stream.recorder
        self._room = Room(recorder.media.backlog, self._wait_room)
        self._intake = recorder.media
        self._arrived = recorder.arrived

    @property
    def media(self) -> frozenset[str]:
        return names_of(self.types)

    @property
    def is_refused(self) -> bool:
        return self.state is LinkState.REFUSED

    @property
    def is_lost(self) -> bool:
        return self.was_up and self.state in {LinkState.LOST, LinkState.CONNECTING}

    @property
    def is_overdue(self) -> bool:
        """Whether it is connected and has been silent for longer than a connection that lives can be."""
        return (
            self.state is LinkState.STREAMING
            and trio.current_time() - self.last_heard_s > OVERDUE_S
            and not self.is_held_back
        )

    @property
    def is_held_back(self) -> bool:
        """Whether it is us who do not listen, for want of room."""
        return self._room.is_shut()

    def forget_loss(self) -> None:
        """Zoom moved the stream to another server, which allows a whole window again, and may give what it refused."""
        self._window.close()
        self.ask_for_all()

    def ask_for_all(self) -> None:
        """Ask for what was refused, too, when the stream is connected next."""
        self.types = self._all_types
        if self.is_refused:
            self.state = LinkState.IDLE

    async def run(self, media_urls: Mapping[str, str]) -> None:
        """Keep this connection up while signaling is. Returns when it is not, or when there shall be no attempt."""
        try:
            await self._stay_connected(media_urls)
        finally:
            if not self.is_refused:
                self.state = LinkState.IDLE

    async def _stay_connected(self, media_urls: Mapping[str, str]) -> None:
        limits = self._stream.settings.streams
        backoff = Backoff(limits.reconnect_delay_s, limits.reconnect_delay_max_s)
        while not self.is_refused:
            if self._stream.expects_end:
                await self._stream.ending.until_called_off()
                if self._stream.ending.outcome is not None:
                    return
            self._window.open(trio.current_time())
            delay_s: float | None = None
            try:
                await self._connect_once(media_urls, backoff)
            except HandshakeRejected as refused:
                delay_s = self._after_refusal(refused)
            except MediaNotGranted as refused:
                delay_s = self._go_on_without(refused.whys)
            except ForbiddenHost as forbidden:
                self._give_up(str(forbidden))
            except (ConnectionLost, RemoteProtocolError) as lost:
                self._not_connected(str(lost))
            if self.is_refused or not self._stream.signaling.is_up:
                return
            self.state = LinkState.LOST
            if not self._stream.expects_end:
                await self._wait(backoff.next_s() if delay_s is None else delay_s)

    async def _wait(self, delay_s: float) -> None:
        """Wait for the next attempt, or for the end of the window."""
        now = trio.current_time()
        self._window.open(now)
        next_s = self._window.next_attempt(now, delay_s, self._stream.settings.streams.connect_timeout_s)
        self.attempts.planned(next_s)
        await trio.sleep_until(next_s)
        if self._window.is_over(trio.current_time()) and not self._stream.expects_end:
            self.state = LinkState.REFUSED
            self._stream.media_given_up(self)

    def _not_connected(self, why: str) -> None:
        """An attempt failed, or a connection was lost; of an attempt the log hears once for each reason."""
        self.why = why
        if self.state is LinkState.CONNECTING and why != self._warned and not self._stream.expects_end:
            self._warned = why
            log.warning("media not connected", media=sorted(self.media), why=why)

    def _give_up(self, why: str, status: int | None = None) -> None:
        self.why = why
        self.state = LinkState.REFUSED
        self._stream.media_refused(self.media, why, status)

    def _go_on_without(self, whys: Mapping[MediaType, str], status: int | None = None) -> float | None:
        """Some of these media are not given: ask at once for the others, if there are any, or never again.

        Returns the delay before the next attempt.
        """
        for bit, why in whys.items():
            if self.types & ~bit:
                self._leave_out(bit, why, status)
            else:
                self._give_up(why, status)
        return 0.0

    def _leave_out(self, bit: MediaType, why: str, status: int | None = None) -> None:
        self._stream.media_refused(names_of(bit & self.types), why, status)
        self.types &= ~bit

    def _after_refusal(self, refused: HandshakeRejected) -> float | None:
        """Return the delay before the next attempt; None: the usual one, unless there shall be none."""
        self.why = str(refused)
        match take_note(self._stream.history, "media", refused, self.media):
            case StatusAction.RETRY | StatusAction.RETRY_STALE | StatusAction.RETRY_DUPLICATE:
                return None
            case StatusAction.DROP_MEDIA if (bit := REFUSED_TYPE[refused.status_code]) & self.types:
                # On a unified connection it is one of several.
                return self._go_on_without({bit: self.why}, refused.status_code)
            case StatusAction.STREAM_GONE:
                # Or signaling is: Zoom noticed that it is dead before we did. A new one will tell.
                self._stream.signaling_gone()
                return None
            case _:
                pass
        self._give_up(str(refused), refused.status_code)
        return None

    async def _connect_once(self, media_urls: Mapping[str, str], backoff: Backoff) -> None:
        """One socket, from TCP to its loss, which it raises."""
        stream, limits = self._stream, self._stream.settings.streams
        self.state = LinkState.CONNECTING
        self.attempts.begun()
        self._protocol = MediaConnection(
            stream.session,
            stream.rtms_stream_id,
            stream.signature,
            self.types,
            stream.media_params,
            also_meeting_uuid=stream.settings.zoom.also_send_meeting_uuid,
        )
        self._failure: RtmsdError | None = None
        self._answer_scope = trio.CancelScope()  # of waiting for the answer to the handshake
        now_s = self.last_heard_s = trio.current_time()
        timeout_s = self._window.allowed(now_s, limits.connect_timeout_s)
        url = choose_url(media_urls, self.types, stream.product)
        if url is None:
            raise RemoteProtocolError("Zoom named no media server")
        why = "closed by us"
        try:
            async with open_media(url, stream.settings.zoom, timeout_s, self._consume, self._room) as self._socket:
                await self._handshake(self._socket)
                backoff.reset()
                self._window.close()
                self.state, self._warned = LinkState.STREAMING, ""
                self.attempts.succeeded()
                self.was_up = True
                stream.watchdog.watch(self, "the media connection")
                stream.media_up(self)
                await self._socket.wait_closed()
        except (ConnectionLost, RemoteProtocolError) as lost:
            why = str(lost)
            if not isinstance(lost, _Suspected):
                self.lost_s = trio.current_time()
            raise
        finally:
            stream.watchdog.forget(self)
            self._protocol.close()
            self.ignored.update(self._protocol.counts)
            if self._connection:
                is_cut_off = why == "closed by us" and stream.ending.cuts_off(self.media & {"audio"} or self.media)
                if is_cut_off:
                    why = "closed by us while media still came after the end"
                stream.recorder.lost(self._connection, "dropped" if is_cut_off else stream.loss_cause, why)
                self._connection = 0
                self.state = LinkState.LOST
                stream.media_down(self, why)

    async def _handshake(self, socket: MediaSocket) -> None:
        if self._failure is not None:  # Zoom spoke first, in one read with the upgrade
            raise self._failure
        now_s, limits = trio.current_time(), self._stream.settings.streams
        self._answer_scope.deadline = now_s + self._window.allowed(now_s, limits.handshake_timeout_s)
        self._protocol.hello()
        try:
            with self._answer_scope:
                for text in self._protocol.to_send():
                    await socket.send(text)
                await socket.wait_closed()
        except ConnectionLost:
            if self._failure is None:  # Zoom closes right behind a refusal: what it said counts
                raise
        if self._failure is not None:
            raise self._failure
        if self._protocol.state is not MediaState.STREAMING:
            raise ConnectionLost("no answer to the media handshake")

    def drop(self, lost: ConnectionLost) -> None:
        """Give the socket up; another one is opened."""
        self._socket.drop(lost)

    async def suspect(self, delay_s: float, *, is_sure: bool) -> None:
        """Zoom says that a media connection broke: if this one stays silent for `delay_s`, it is the one.

        Unless that `is_sure`, another one that is lost meanwhile was meant, and silence proves nothing: nobody spoke.
        """
        if self.state is not LinkState.STREAMING or self.is_suspect:
            return
        self.is_suspect = True
        since_s, heard_s = trio.current_time(), self.last_heard_s
        await trio.sleep(delay_s)
        was_acquitted, self.is_suspect = not self.is_suspect, False
        was_another = was_acquitted or (not is_sure and any(link.lost_s >= since_s for link in self._stream.links))
        if self.state is LinkState.STREAMING and self.last_heard_s == heard_s and not was_another:
            self.drop(_Suspected("Zoom reported the media connection as interrupted"))

    def acquit(self) -> None:
        """Zoom has said by now that it meant another connection."""
        self.is_suspect = False

    async def _wait_room(self) -> None:
        await self._stream.wait_room()
        self.last_heard_s = trio.current_time()  # it was us who did not listen

    # Called synchronously with each read's messages: never waits, and bad content is counted, not raised.

    def _consume(self, batch: Sequence[Raw]) -> None:
        now_s = self.last_heard_s = trio.current_time()
        if self._protocol.state is not _STREAMING:
            try:
                batch = self._read_answer(batch)
            except RtmsdError as error:
                self._failure = error
                self._answer_scope.cancel()
                return
        if batch:
            decode_batch(batch, self._intake, self.control)
            self._arrived(now_s, len(batch))
            if self._stream.phase is not _ACTIVE:
                self._stream.media_arrived()

    def _read_answer(self, batch: Sequence[Raw]) -> Sequence[Raw]:
        """Read the handshake's answer. Returns what is to be read now: what came too early for that, and behind it."""
        for position, raw in enumerate(batch, start=1):
            if isinstance(self._protocol.receive(raw), KeepAliveReq):
                self.keep_alives += 1
                self._socket.send_soon(self._protocol.to_send)
            if self._protocol.state is MediaState.STREAMING:
                self._accept()
                return [*self._protocol.take_early(), *batch[position:]]
        return ()

    def _accept(self) -> None:
        """Take over what the answer grants; raise unless there is something, and all of it can be stored."""
        protocol, stream = self._protocol, self._stream
        if stream.ending.outcome is not None:  # nothing would come any more: it must not count as connected
            raise ConnectionLost("the stream has ended")
        absent, unusable = protocol.absent & self.types, {**protocol.unusable, **stream.negotiated(protocol.negotiated)}
        if unusable or not self.types & ~absent:
            raise MediaNotGranted({bit: GRANTED_WITHOUT for bit in MediaType if bit & absent} | unusable)
        for bit in MediaType:
            if bit & absent:
                self._leave_out(bit, GRANTED_WITHOUT)
        stream.recorder.terms.granted(protocol.negotiated)
        self._connection = stream.recorder.connected("media", self.media)
        self._answer_scope.cancel()

    def control(self, raw: Raw) -> None:
        """A message that is no media: a keep-alive, or something to be counted."""
        message = self._protocol.receive(raw)
        if isinstance(message, KeepAliveReq):
            self.keep_alives += 1
            self._stream.recorder.heard(message.timestamp, self._connection)
            self._socket.send_soon(self._protocol.to_send)
        else:
            self._stream.recorder.media.unknown()
