"""A well-behaved stream on Zoom's side: its connections, their loss and return, its end.

Messages of clients are handled in `conversation.py`; faults are in `faults.py`, the people of the session in
`session.py`.
"""

import functools
import uuid
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import trio

from rtmsd.protocol.enums import DataOption, EventType, MediaType, SessionState, StatusCode, StopReason, StreamState
from rtmsd.protocol.media_params import audio_format
from rtmsd.protocol.signature import handshake_signature
from rtmsd.simulator.media.feed import AudioFeed
from rtmsd.simulator.model.clock import ZoomClock
from rtmsd.simulator.model.crowd import Crowd
from rtmsd.simulator.model.record import Notice, Record
from rtmsd.simulator.model.settings import Dialect, SimRoom, SimulatorSettings
from rtmsd.simulator.stream.announcer import Announcer, people
from rtmsd.simulator.stream.phase import OVER, SimPhase
from rtmsd.simulator.wire.connection import ConnectionKind, ConnectionState, SimConnection
from rtmsd.simulator.wire.links import Links
from rtmsd.simulator.wire.stream_webhooks import StreamWebhooks
from rtmsd.simulator.wire.watch import Watch
from rtmsd.simulator.wire.webhooks import WebhookSender
from rtmsd.simulator.wire.windows import Windows
from rtmsd.simulator.wire.wire import Cut

WebhookOrder: TypeAlias = Literal["after", "before", "never", "only"]

_TICK_MS: Final = 100
_LAST_DRAIN_S: Final = 5.0


class Route(NamedTuple):
    """The target of a URL. `media` is a key of message 2's `server_urls`, "" for signaling."""

    stream: "SimStream"
    generation: int
    media: str


class Host(Protocol):
    """The simulator as a stream uses it."""

    settings: SimulatorSettings
    clock: ZoomClock
    sender: WebhookSender
    nursery: trio.Nursery

    def observe(self, rtms_stream_id: str | None, notice: Notice) -> None:
        """Report a notice at once."""

    def url(self, path: str, route: Route) -> str:
        """Register `path` for `route` and return its URL."""


class SimStream:
    """The server's side of one `rtms_stream_id`.

    Attributes:
        record: of everything sent and received.
        crowd: the people of the session.
        media: the app has scopes for these.
        signaling_url: as in the started webhook; a failover changes it, and counts `generation` up.
        ready: set by the first message 7. ended: set after the end, the stopped webhook included.
        media_news: woken when a media connection starts to stream.
        stop_reason: of the end, once it has begun.
        dialect: of all messages.
        refusals: status codes for the next handshakes that would succeed.
        id_key, speaker_key, protocol_version, addresses: see `SimRoom`.
        video_user_id: the user whose video the client asked for (message 28); a new connection begins without.
        video_refusals: status codes for the next such requests that would succeed; None: no answer.
        answers: what media handshakes are granted instead of what they ask for.
        duplicate_signaling: what a second signaling connection meets.
    """

    def __init__(self, host: Host, room: SimRoom, rtms_stream_id: str) -> None:
        settings = host.settings
        self.id_key = room.id_key
        self.protocol_version = room.protocol_version
        self.addresses = room.addresses
        self.speaker_key = room.speaker_key
        self.session_id = room.session_id
        self.rtms_stream_id = rtms_stream_id
        self.session_key = room.session_key
        self.media = room.media
        self.phase = SimPhase.AWAITING
        self.record = Record(observer=functools.partial(host.observe, rtms_stream_id))
        self.crowd = Crowd()
        self.started_ms = host.clock.now_ms()
        self.rtms_session_id = f"rs-{uuid.uuid4().hex[:8]}"
        self.stop_reason: StopReason | None = None
        self.ready = trio.Event()
        self.ended = trio.Event()
        self.media_news = trio.lowlevel.ParkingLot()
        self.dialect = Dialect()
        self.refusals: dict[ConnectionKind, deque[StatusCode]] = {"signaling": deque(), "media": deque()}
        self.answers = room.answers
        self.duplicate_signaling = room.duplicate_signaling
        self.video_user_id: int | None = None
        self.video_refusals: deque[StatusCode | None] = deque()
        self.signature = handshake_signature(
            settings.client_id, settings.client_secret, room.session_id, rtms_stream_id
        )
        self.host = host
        self.links = Links(self.record, host.clock.now_ms)
        self.windows = Windows(settings.timing, self.started_ms)
        self.watch = Watch(self.links, self.record, settings.timing)
        # Contact center documents `event_ts`; Zoom's SDK drops such an event without `timestamp` (section 18, row 34).
        time_keys = ("event_ts", "timestamp") if room.product == "contact_center" else ("timestamp",)
        self.announcer = Announcer(self.links, self.rtms_session_id, time_keys, self.record, host.clock.now_ms)
        self.feed = AudioFeed(self.started_ms, self.crowd, self.record, settings.tone, self.speaker_key)
        self.webhooks = StreamWebhooks(
            host.sender,
            host.clock,
            self.record.webhooks,
            room,
            rtms_stream_id=rtms_stream_id,
            started_ms=self.started_ms,
        )
        self.generation = 0
        self.signaling_url = self.new_url("signal", "")

    @property
    def signaling(self) -> SimConnection | None:
        return self.links.signaling

    @property
    def now_ms(self) -> int:
        return self.host.clock.now_ms()

    @property
    def paused(self) -> bool:
        return self.announcer.session_state is SessionState.PAUSED

    def connections(self, kind: ConnectionKind | None = None) -> list[SimConnection]:
        """Return the live connections, signaling first, or those of a kind."""
        return [connection for connection in self.links if kind in (None, connection.kind)]

    def streaming(self, media: MediaType) -> SimConnection | None:
        """Return the connection on which this media flows."""
        return self.links.streaming(media)

    async def wait_reconnected(self, media: MediaType = MediaType.AUDIO) -> SimConnection:
        """Return the connection on which this media flows as soon as there is one."""
        while (connection := self.streaming(media)) is None:
            await self.media_news.park()
        return connection

    def people(self, user_ids: Iterable[int], *, named: bool = True) -> list[dict[str, Any]]:
        """Return the `participants` of an event, as this product identifies them: Zoom's SDK wants a `user_id`, too."""
        listed = people(user_ids, self.crowd.name if named else None)
        if self.speaker_key == "user_id":
            return listed
        return [{"channel_id": str(person["user_id"]), **person} for person in listed]

    def offers_individual_video(self) -> bool:
        """Whether video is sent of one participant on request (message 28)."""
        videos = [connection.params.video for connection in self.links.media]
        return any(video and video.data_opt == DataOption.VIDEO_SINGLE_INDIVIDUAL_STREAM for video in videos)

    def violation(self, name: str, detail: str) -> None:
        """Record a breach of the protocol by the client."""
        self.record.violate(name, detail, self.now_ms)

    # Announcements and time

    def new_url(self, path: str, media: str) -> str:
        """Return a fresh URL of this stream's; `media` is as in `Route`."""
        return self.host.url(f"/{path}?s={uuid.uuid4().hex[:12]}", Route(self, self.generation, media))

    async def announce(self) -> int | None:
        """Send the started webhook and return its status, None without an answer."""
        return await self.webhooks.started(self.signaling_url)

    async def interrupt(self) -> int | None:
        """Send the interrupted webhook; nothing is cut."""
        return await self.webhooks.interrupted()

    def move(self) -> None:
        """Move to another URL: the URLs given out so far are invalid, and a new started webhook is due."""
        self.generation += 1
        self.signaling_url = self.new_url("signal", "")
        self.webhooks.renew()

    def advance(self, now_ms: int) -> int:
        """Do what is due and return the time of the next call."""
        if self.phase is SimPhase.ENDED:
            return now_ms + _TICK_MS
        self.feed.advance(now_ms, int(self.host.settings.timing.buffer_s * 1000), flowing=not self.paused)
        self.crowd.forget(self.feed.cursor_ms)
        if self.phase is not SimPhase.TERMINATING:
            for connection in self.watch.keep_alive(now_ms):
                self.drop(connection, "keep-alives unanswered")
            self.watch.check(now_ms)
            missed = self.windows.missed(now_ms)
            if missed is not None:
                self.host.nursery.start_soon(self.stop, missed)
        return max(now_ms + 1, min(self.feed.cursor_ms + self.feed.step_ms, now_ms + _TICK_MS))

    # Connections established and lost

    def signaling_up(self, connection: SimConnection) -> None:
        """Add a signaling connection whose handshake succeeded."""
        self.phase = SimPhase.UP
        self.windows.signaling_back()
        self.links.add(connection)
        self.announcer.unsubscribe()
        self.video_user_id = None

    def media_up(self, connection: SimConnection) -> None:
        """Start media on a connection after message 7."""
        connection.state = ConnectionState.UP
        connection.ready_s = None
        if connection.span is not None:
            connection.span.flows_ms = self.now_ms
        self.media_news.unpark_all()
        if MediaType.AUDIO in connection.media_type and connection.params.audio is not None:
            self.feed.attach(connection, audio_format(connection.params.audio))
        if connection.params.video is not None:
            self.video_user_id = None
        self.windows.media_back(connection.media_type)

    def drop(self, connection: SimConnection, why: str, how: Cut = Cut.EOF, *, announce: bool = True) -> None:
        """Cut a connection on the server's side, with all consequences of its loss.

        Args:
            announce: False sends no interrupted webhook, or no event 7 and message 8.
        """
        self.lose(connection, why, announce=announce)
        connection.wire.cut(how)

    def lose(self, connection: SimConnection, why: str, *, announce: bool = True) -> None:
        """Handle the loss of a connection, once."""
        was_signaling = connection is self.signaling
        if not self._remove(connection, why) or self.phase in OVER:
            return
        if was_signaling:
            for media in self.go_dark("signaling was interrupted"):
                self.host.nursery.start_soon(media.close)
            if announce:
                self.host.nursery.start_soon(self.interrupt)
            return
        self.windows.media_lost(connection.media_type, self.now_ms)
        if announce:
            self.announcer.event(EventType.MEDIA_CONNECTION_INTERRUPTED, media_type=int(connection.media_type))
            self.announcer.stream(StreamState.INTERRUPTED, StopReason.DATA_CONNECTION_INTERRUPTED)
        self.announcer.stream_state = StreamState.INTERRUPTED

    def evict(self) -> None:
        """Close signaling for a newer connection that is about to take its place, and cut its media.

        These are not closed politely: what waits for a frozen client would come to the newer one after what is new.
        """
        for connection in self.go_dark("evicted by a newer signaling connection"):
            if connection.media_type:
                connection.wire.cut(Cut.EOF)
            else:
                self.host.nursery.start_soon(connection.close)

    def go_dark(self, why: str) -> list[SimConnection]:
        """Lose signaling, and media with it; return the connections that were live, for the caller to end."""
        self.phase = SimPhase.INTERRUPTED
        self.announcer.stream_state = StreamState.INTERRUPTED
        self.windows.signaling_lost(self.links.media_types, self.now_ms)
        return self._remove_all(why)

    def _remove_all(self, why: str) -> list[SimConnection]:
        removed = list(self.links)
        for connection in removed:
            self._remove(connection, why)
        return removed

    def _remove(self, connection: SimConnection, why: str) -> bool:
        """Remove a connection; return whether it was live."""
        self.feed.detach(connection)
        return self.links.remove(connection, why)

    # The end

    async def stop(
        self, reason: StopReason = StopReason.MEETING_ENDED, *, webhook: WebhookOrder = "after"
    ) -> int | None:
        """End the stream and return the status of the stopped webhook, None without one.

        Args:
            webhook: "after" or "before" the sockets close; "never"; "only": without messages 8 and 9.
        """
        if self.phase in OVER:
            return None
        self.stop_reason = reason
        now_ms = self.now_ms
        self.advance(now_ms)
        self.crowd.pause(now_ms)
        self.phase = SimPhase.TERMINATING
        status = None
        if webhook in ("before", "only"):
            status = await self.webhooks.stopped(reason)
        if webhook != "only":
            await self._announce_end(reason)
        self.phase = SimPhase.ENDED
        async with trio.open_nursery() as nursery:
            for connection in self._remove_all("the stream has ended"):
                nursery.start_soon(connection.close)
        self.feed.give_up(self.now_ms)  # last: a closing connection may have left some unsent
        if webhook == "after":
            status = await self.webhooks.stopped(reason)
        self.ended.set()
        return status

    async def _announce_end(self, reason: StopReason) -> None:
        """Announce the end, and meanwhile send the last audio and late transcripts."""
        self.announcer.session(SessionState.STOPPED, reason)
        self.announcer.stream(StreamState.TERMINATING, reason)
        await self.host.clock.sleep(self.host.settings.timing.stop_grace_s)
        with trio.move_on_after(_LAST_DRAIN_S):
            while self.feed.is_behind(self.now_ms):
                self.advance(self.now_ms)
                await trio.sleep(0.01)
        self.announcer.stream(StreamState.TERMINATED, reason)
