"""One stream as Zoom's servers keep it: handshakes, connections, windows, keep-alives, the end. Well-behaved.

What people do in the session, and everything a network or a server may do wrong, is `session.py`'s.
"""

import enum
import functools
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import trio
from trio_websocket import ConnectionClosed

from rtmsd.protocol.codec import encode
from rtmsd.protocol.enums import (
    DataOption,
    EventType,
    MediaType,
    MsgType,
    SessionState,
    StatusCode,
    StopReason,
    StreamState,
)
from rtmsd.protocol.media_params import audio_format
from rtmsd.protocol.messages import DataHandshakeResp, Message, SignalingHandshakeResp
from rtmsd.protocol.signature import handshake_signature
from rtmsd.simulator import checks
from rtmsd.simulator.announcer import Announcer, Fields, people
from rtmsd.simulator.clock import ZoomClock
from rtmsd.simulator.connection import Connection, ConnectionState
from rtmsd.simulator.crowd import Crowd
from rtmsd.simulator.feed import AudioFeed
from rtmsd.simulator.record import ConnectionSpan, ControlMessage, Handshake, Record, Violation
from rtmsd.simulator.settings import Dialect, Product, SimulatorSettings
from rtmsd.simulator.webhooks import WebhookSender
from rtmsd.simulator.wire import Cut, WireState

Kind: TypeAlias = Literal["signaling", "media"]
WebhookOrder: TypeAlias = Literal["after", "before", "never", "only"]

_TICK_MS: Final = 100
_CONTESTED_S: Final = 2.0  # a client that opens a second connection gets so long to drop the first one
_READY_S: Final = 5.0  # and so long for message 7
_LAST_DRAIN_S: Final = 5.0

MEDIA_NAMES: Final = {
    MediaType.AUDIO: "audio",
    MediaType.VIDEO: "video",
    MediaType.DESKSHARE: "deskshare",
    MediaType.TRANSCRIPT: "transcript",
    MediaType.CHAT: "chat",
}


class StreamPhase(enum.Enum):
    AWAITING = enum.auto()  # rtms_started is out, nobody has attached yet
    UP = enum.auto()  # signaling is up
    INTERRUPTED = enum.auto()  # signaling is lost, the window runs
    TERMINATING = enum.auto()
    ENDED = enum.auto()


OVER: Final = frozenset({StreamPhase.TERMINATING, StreamPhase.ENDED})


class Route(NamedTuple):
    """What a URL leads to. `media` is a key of message 2's `server_urls`, "" for signaling."""

    stream: "Stream"
    generation: int
    media: str


class Host(Protocol):
    """What a stream needs of the simulator."""

    settings: SimulatorSettings
    clock: ZoomClock
    sender: WebhookSender
    nursery: trio.Nursery

    def url(self, path: str, route: Route) -> str:
        """Return the URL of `path`, which leads to `route` from now on."""


class Stream:
    """The server's side of one `rtms_stream_id`.

    Attributes:
        record: all that was sent and received.
        crowd: who is in the session.
        media: what the app has scopes for.
        signaling_url: as in the started webhook; a failover changes it.
        signaling, media_connections: those whose handshake succeeded and that live.
        ready: set by the first message 7. ended: set when all is over, the stopped webhook answered.
        media_news: woken when a media connection starts to stream.
        stop_reason: why it ends or ended.
        asks_alive: False withholds keep-alive requests.
    """

    def __init__(
        self,
        host: Host,
        product: Product,
        *,
        session_id: str,
        rtms_stream_id: str,
        session_key: str,
        media: MediaType,
        details: Fields,
    ) -> None:
        settings = host.settings
        self.product = product
        self.session_id = session_id
        self.rtms_stream_id = rtms_stream_id
        self.session_key = session_key
        self.media = media
        self.phase = StreamPhase.AWAITING
        self.record = Record()
        self.crowd = Crowd()
        self.started_ms = host.clock.now_ms()
        self.rtms_session_id = f"rs-{uuid.uuid4().hex[:8]}"
        self.asks_alive = True
        self.stop_reason: StopReason | None = None
        self.ready = trio.Event()
        self.ended = trio.Event()
        self.media_news = trio.lowlevel.ParkingLot()
        self.media_connections: list[Connection] = []
        self._host = host
        self._timing = settings.timing
        self._details = dict(details)
        self._dialect = Dialect()
        self._signature = handshake_signature(settings.client_id, settings.client_secret, session_id, rtms_stream_id)
        self._announcer = Announcer(self.rtms_session_id, product.id_key, self.record, lambda: self.now_ms)
        self._feed = AudioFeed(self.started_ms, self.crowd, self.record, settings.tone, product.id_key)
        self._event_ts = self.started_ms
        self._generation = 0
        self._forced: dict[Kind, deque[StatusCode]] = {"signaling": deque(), "media": deque()}
        self._acknowledged: Connection | None = None  # the signaling connection that a message 7 came on
        self._last_speaker: int | None = None  # whom the client was told of
        self._lost_media = MediaType(0)
        self._media_deadline_ms: int | None = None
        self._signaling_deadline_ms = self._after(self._timing.attach_window_s)
        self.video_user_id: int | None = None
        self.signaling_url = self._new_url("signal", "")

    @property
    def signaling(self) -> Connection | None:
        return self._announcer.connection

    @property
    def now_ms(self) -> int:
        return self._host.clock.now_ms()

    @property
    def paused(self) -> bool:
        return self._announcer.session_state is SessionState.PAUSED

    def _after(self, delay_s: float) -> int:
        return self.now_ms + int(delay_s * 1000)

    # Time

    def advance(self, now_ms: int) -> int:
        """Do what is due and return when to come again."""
        if self.phase is StreamPhase.ENDED:
            return now_ms + _TICK_MS
        self._feed.advance(now_ms, int(self._timing.buffer_s * 1000), flowing=not self.paused)
        self.crowd.forget(self._feed.cursor_ms)
        if self.phase is not StreamPhase.TERMINATING:
            self._keep_alive(now_ms)
            self._watch_windows(now_ms)
            self._watch_client()
        return max(now_ms + 1, min(self._feed.cursor_ms + self._feed.step_ms, now_ms + _TICK_MS))

    def _watch_windows(self, now_ms: int) -> None:
        signaling_is_due = now_ms >= self._signaling_deadline_ms
        media_is_due = self._media_deadline_ms is not None and now_ms >= self._media_deadline_ms
        if self.phase is StreamPhase.AWAITING and signaling_is_due:
            self._expire(StopReason.CONNECTION_TIMEOUT)
        elif (self.phase is StreamPhase.INTERRUPTED and signaling_is_due) or media_is_due:
            self._expire(StopReason.AWAIT_RECONNECTION_TIMEOUT)

    def _expire(self, reason: StopReason) -> None:
        self._media_deadline_ms = None
        self._signaling_deadline_ms = self._after(self._timing.signaling_window_s)  # `stop` may take a moment
        self._host.nursery.start_soon(self.stop, reason)

    def _keep_alive(self, now_ms: int) -> None:
        """Ask every 10 s on signaling; on media only after 10 s without media."""
        for connection in self.connections():
            if now_ms < connection.quiet_since_ms + int(self._timing.keep_alive_s * 1000):
                continue
            if connection.plays_dead(self._timing):
                self.violation("keep_alives_unanswered", f"{connection.kind} {connection.number}")
                self.drop(connection, "keep-alives unanswered")
            elif self.asks_alive:
                connection.ask_alive(now_ms, self.record)

    def _watch_client(self) -> None:
        """Note what a well-behaved client does not leave so for long."""
        local_s = trio.current_time()
        for connection in self.connections():
            contested_s, ready_s = connection.contested_s, connection.ready_s
            if contested_s is not None and local_s > contested_s + _CONTESTED_S:
                connection.contested_s = None
                if connection.wire.state is WireState.OPEN:
                    self.violation("second_connection", f"{connection.kind} {connection.number} is alive")
            if ready_s is not None and local_s > ready_s + _READY_S:
                connection.ready_s = None
                self.violation("ready_ack_missing", f"media {connection.number} waits for message 7")

    # Webhooks

    async def announce(self, kind: str = "genuine") -> int | None:
        """Send the started webhook and return its status, None when nobody answered."""
        return await self._webhook("started", self._event_ts, self._started(), kind)

    async def interrupt(self) -> int | None:
        """Send the interrupted webhook; nothing is cut."""
        return await self._webhook("interrupted", self.now_ms, self._about())

    def _about(self) -> dict[str, Any]:
        about: dict[str, Any] = {self.product.id_key: self.session_id, "rtms_stream_id": self.rtms_stream_id}
        if self.product.id_key == "session_id":
            about["session_key"] = self.session_key
        return about

    def _started(self) -> dict[str, Any]:
        return self._about() | {"server_urls": self.signaling_url} | self._details

    def _stopped(self, reason: StopReason) -> dict[str, Any]:
        return self._about() | {"stop_reason": int(reason)}

    async def _webhook(self, event: str, event_ts: int, payload: Fields, kind: str = "genuine") -> int | None:
        name = self.product.webhook_prefix + event
        return await self._host.sender.send(name, event_ts, payload, self.record.webhooks, kind)

    # The end

    async def stop(
        self, reason: StopReason = StopReason.MEETING_ENDED, *, webhook: WebhookOrder = "after"
    ) -> int | None:
        """End the stream and return the status of the stopped webhook, None without one.

        Args:
            webhook: "after" or "before" the sockets close; "never"; "only": the sockets are closed with no word.
        """
        if self.phase in OVER:
            return None
        self.stop_reason = reason
        now_ms = self.now_ms
        self.advance(now_ms)
        self.crowd.end(now_ms)
        self.phase = StreamPhase.TERMINATING
        status = None
        if webhook in ("before", "only"):
            status = await self._webhook("stopped", self.now_ms, self._stopped(reason))
        if webhook != "only":
            await self._say_goodbye(reason)
        self.phase = StreamPhase.ENDED
        await self._close_all("the stream has ended")
        self._feed.give_up(self.now_ms)  # last: what a closing connection did not take is discarded too
        if webhook == "after":
            status = await self._webhook("stopped", self.now_ms, self._stopped(reason))
        self.ended.set()
        return status

    async def _say_goodbye(self, reason: StopReason) -> None:
        """Announce the end, sending the last audio, and transcripts that come late, in between."""
        self._announcer.session(SessionState.STOPPED, stop_reason=int(reason))
        self._announcer.stream(StreamState.TERMINATING, reason)
        await self._host.clock.sleep(self._timing.stop_grace_s)
        with trio.move_on_after(_LAST_DRAIN_S):
            while self._feed.is_behind(self.now_ms):
                self.advance(self.now_ms)
                await trio.sleep(0.01)
        self._announcer.stream(StreamState.TERMINATED, reason)

    async def _close_all(self, why: str) -> None:
        async with trio.open_nursery() as nursery:
            for connection in self.connections():
                self._forget(connection, why)
                nursery.start_soon(connection.close)

    # Handshakes

    async def serve(self, connection: Connection, route: Route) -> None:
        """Talk to one client connection until it ends."""
        connection.dialect = self._dialect
        try:
            raw = None
            with trio.move_on_after(self._host.settings.handshake_s):
                raw = await connection.receive()
            if raw is None:
                self.violation("silent_connection", f"{connection.path}: no handshake")
                await connection.close()
            elif (self._meet_media if route.media else self._meet_signaling)(connection, route, raw):
                while True:
                    self._dispatch(connection, await connection.receive())
            else:
                await connection.close()
        except ConnectionClosed:
            pass
        finally:
            self._lost(connection, connection.how_closed)

    def _meet_signaling(self, connection: Connection, route: Route, raw: str | bytes) -> bool:
        """Answer message 1 and say whether the connection stays."""
        occupied = [self.signaling] if self.signaling else []
        answer, fields = checks.signaling_handshake(raw, self._expected(route), occupied=bool(occupied))
        if answer.status is StatusCode.DUPLICATE_SIGNAL_REQUEST:
            self._contest(occupied)
        answer = self._judged(connection, answer, "signaling")
        if answer.status is not StatusCode.OK:
            self._answer(
                connection, SignalingHandshakeResp(status_code=answer.status, reason=answer.reason, protocol_version=1)
            )
            return False
        if self.phase is StreamPhase.AWAITING and fields.get("buffer_data") is False:
            self._feed.give_up(self.now_ms)
        self.phase = StreamPhase.UP
        self._open(connection, ConnectionState.UP)
        self._announcer.attach(connection)
        names = [*(name for bit, name in MEDIA_NAMES.items() if bit in self.media), "all"]
        urls = {name: self._new_url(f"media/{name}", name) for name in names}
        self._answer(connection, SignalingHandshakeResp(status_code=0, media_urls=urls, protocol_version=1, sequence=1))
        return True

    def _meet_media(self, connection: Connection, route: Route, raw: str | bytes) -> bool:
        """Answer message 3 and say whether the connection stays."""
        grant = checks.media_handshake(
            raw,
            self._expected(route, needs_signaling=True),
            allowed=self.media,
            taken=functools.reduce(lambda bits, other: bits | other.media_type, self.media_connections, MediaType(0)),
            strict=self._host.settings.strict,
        )
        if grant.answer.status in _OCCUPIED:
            self._contest(self.media_connections)
        answer = self._judged(connection, grant.answer, "media", int(grant.media_type))
        if answer.status is not StatusCode.OK:
            self._answer(
                connection, DataHandshakeResp(status_code=answer.status, reason=answer.reason, protocol_version=1)
            )
            return False
        connection.media_type, connection.params = grant.media_type, grant.params
        connection.ready_s = trio.current_time()
        self.media_connections.append(connection)
        self._open(connection, ConnectionState.NEGOTIATED)
        self._answer(
            connection, DataHandshakeResp(status_code=0, media_params=grant.params, protocol_version=1, sequence=1)
        )
        if not self._host.settings.strict and self._acknowledged is self.signaling:
            self._media_up(connection)
        return True

    def _expected(self, route: Route, *, needs_signaling: bool = False) -> checks.Expected:
        gone = self.phase in OVER or route.generation != self._generation
        missing = needs_signaling and self.signaling is None
        return checks.Expected(
            id_key=self.product.id_key,
            session_id=self.session_id,
            rtms_stream_id=None if gone or missing else self.rtms_stream_id,
            signature=self._signature,
        )

    def _judged(self, connection: Connection, answer: checks.Answer, kind: Kind, media_type: int = 0) -> checks.Answer:
        """Record how a handshake is answered, with a refusal on demand instead of a success."""
        if answer.status is StatusCode.OK and self._forced[kind]:
            status = self._forced[kind].popleft()
            duplicate = status is StatusCode.DUPLICATE_SIGNAL_REQUEST
            answer = checks.Answer(status, "Duplicate signal request" if duplicate else "refused on demand")
        self.record.handshakes.append(
            Handshake(
                connection=connection.number,
                kind=kind,
                media_type=media_type,
                status_code=int(answer.status),
                reason=answer.reason,
                at_ms=self.now_ms,
                path=connection.path.partition("?")[0],
            )
        )
        return answer

    @staticmethod
    def _contest(holders: Iterable[Connection]) -> None:
        for holder in holders:
            if holder.contested_s is None:
                holder.contested_s = trio.current_time()

    @staticmethod
    def _answer(connection: Connection, message: Message) -> None:
        connection.post(checks.read(encode(message)) or {})

    def _open(self, connection: Connection, state: ConnectionState) -> None:
        connection.state = state
        connection.opened_ms = connection.busy_ms = self.now_ms
        connection.span = ConnectionSpan(
            connection=connection.number,
            kind=connection.kind,
            media_type=int(connection.media_type),
            opened_ms=self.now_ms,
        )
        self.record.connections.append(connection.span)

    def connections(self) -> list[Connection]:
        """Return the live connections, signaling first."""
        return [*([self.signaling] if self.signaling else []), *self.media_connections]

    def _new_url(self, path: str, media: str) -> str:
        return self._host.url(f"/{path}?s={uuid.uuid4().hex[:12]}", Route(self, self._generation, media))

    # Losing connections

    def drop(self, connection: Connection, why: str, how: Cut = Cut.EOF, *, announce: bool = True) -> None:
        """Lose a connection on the server's side, with the consequences this has.

        Args:
            announce: False spares the client the interrupted webhook, or event 7 and message 8.
        """
        self._lost(connection, why, announce=announce)
        connection.wire.cut(how)

    def _lost(self, connection: Connection, why: str, *, announce: bool = True) -> None:
        """Draw the conclusions from a connection that is over, once."""
        was_signaling = connection is self.signaling
        if not self._forget(connection, why) or self.phase in OVER:
            return
        if was_signaling:
            self._interrupted("signaling was interrupted")
            if announce:
                self._host.nursery.start_soon(self.interrupt)
            return
        self._lost_media |= connection.media_type
        if self._media_deadline_ms is None:
            self._media_deadline_ms = self._after(self._timing.media_window_s)
        if announce:
            self._announcer.event(EventType.MEDIA_CONNECTION_INTERRUPTED, media_type=int(connection.media_type))
            self._announcer.stream(StreamState.INTERRUPTED, StopReason.DATA_CONNECTION_INTERRUPTED)
        self._announcer.stream_state = StreamState.INTERRUPTED

    def _interrupted(self, why: str) -> None:
        """Start the window for signaling; media goes down with it."""
        self.phase = StreamPhase.INTERRUPTED
        self._announcer.stream_state = StreamState.INTERRUPTED
        self._signaling_deadline_ms = self._after(self._timing.signaling_window_s)
        self._media_deadline_ms = None
        for connection in self.media_connections.copy():
            self._lost_media |= connection.media_type
            self._forget(connection, why)
            self._host.nursery.start_soon(connection.close)

    def _forget(self, connection: Connection, why: str) -> bool:
        """Take a connection out of service; say whether it was in."""
        if connection is self.signaling:
            self._announcer.connection = None
        elif connection in self.media_connections:
            self.media_connections.remove(connection)
            self._feed.detach(connection)
        else:
            return False
        connection.state = ConnectionState.ENDED
        if connection.span is not None:
            connection.span.closed_ms = self.now_ms
            connection.span.why = why
        return True

    # Messages from the client

    def _dispatch(self, connection: Connection, raw: str | bytes) -> None:
        fields = checks.read(raw) or {}
        msg_type = fields.get("msg_type")
        handlers = _ON_MEDIA if connection.media_type else _ON_SIGNALING
        handler = handlers.get(msg_type) if checks.is_int(msg_type) else None
        if msg_type != MsgType.KEEP_ALIVE_RESP:
            received = ControlMessage(connection=connection.number, at_ms=self.now_ms, fields=fields)
            self.record.received.append(received)
        if handler is None:
            self.record.unknown[f"{connection.kind} {msg_type}"] += 1
            self.violation("unexpected_message", f"{msg_type} on {connection.kind}")
        else:
            handler(self, connection, fields)

    def _on_keep_alive_resp(self, connection: Connection, fields: Fields) -> None:
        wrong = connection.answer(fields)
        if wrong is not None:
            self.violation("keep_alive_answer", f"{connection.kind} {connection.number}: {wrong}")

    def _on_subscription(self, _connection: Connection, fields: Fields) -> None:
        fresh, violation = self._announcer.subscribe(fields.get("events"))
        if violation is not None:
            self.violation(violation, "message 5")
        if EventType.ACTIVE_SPEAKER_CHANGE in fresh:
            self._last_speaker = None
        if EventType.PARTICIPANT_JOIN in fresh and self.crowd.present:
            everybody = people(self.crowd.present, self.crowd.name)
            self._announcer.event(EventType.PARTICIPANT_JOIN, participants=everybody)
        seen = [person.user_id for person in self.crowd.present.values() if person.camera]
        if EventType.PARTICIPANT_VIDEO_ON in fresh and seen:
            self._announcer.event(EventType.PARTICIPANT_VIDEO_ON, participants=people(seen))

    def _on_ready(self, _connection: Connection, fields: Fields) -> None:
        if fields.get("rtms_stream_id") != self.rtms_stream_id:
            self.violation("ready_ack_stream", "message 7 names another stream")
            return
        self._acknowledged = self.signaling
        waiting = [media for media in self.media_connections if media.state is ConnectionState.NEGOTIATED]
        for media in waiting:
            self._media_up(media)
        if not self.ready.is_set():
            self.ready.set()
            self._announcer.event(EventType.FIRST_PACKET_TIMESTAMP, self._feed.cursor_ms)
            self._announcer.stream(StreamState.ACTIVE)
            self._announcer.session(SessionState.INITIALIZE)
            self._announcer.session(SessionState.STARTED)
        elif waiting and not self._lost_media and self._announcer.stream_state is StreamState.INTERRUPTED:
            self._announcer.stream(StreamState.PAUSED if self.paused else StreamState.ACTIVE)
        self.advance(self.now_ms)

    def _media_up(self, media: Connection) -> None:
        media.state = ConnectionState.UP
        media.ready_s = None
        self.media_news.unpark_all()
        if MediaType.AUDIO in media.media_type and media.params.audio is not None:
            self._feed.attach(media, audio_format(media.params.audio))
        self._lost_media &= ~media.media_type
        if not self._lost_media:
            self._media_deadline_ms = None

    def _on_ready_on_media(self, _connection: Connection, _fields: Fields) -> None:
        self.violation("ready_ack_on_media", "message 7 belongs on signaling")

    def _on_session_state(self, _connection: Connection, fields: Fields) -> None:
        self._announcer.answer_session_state(fields.get("rtms_session_id"))

    def _on_stream_state(self, _connection: Connection, fields: Fields) -> None:
        self._announcer.answer_stream_state(fields.get("rtms_stream_id"))

    def _on_close(self, _connection: Connection, fields: Fields) -> None:
        asked = fields.get("rtms_stream_id")
        known = asked == self.rtms_stream_id
        self._announcer.stamped(
            MsgType.STREAM_CLOSE_RESP,
            rtms_stream_id=asked,
            status_code=int(StatusCode.OK if known else StatusCode.INVALID_RTMS_STREAM_ID),
            reason="OK" if known else "no such stream",
        )
        if known:
            self._host.nursery.start_soon(self.stop, StopReason.RECEIVER_REQUEST_CLOSE)

    def _on_video_subscription(self, _connection: Connection, fields: Fields) -> None:
        user_id, subscribe = fields.get("user_id"), fields.get("subscribe")
        status = StatusCode.OK
        if not self.offers_individual_video() or user_id not in self.crowd.present or not isinstance(subscribe, bool):
            status = StatusCode.INVALID_PAYLOAD
        elif subscribe and user_id == self.video_user_id:
            status = StatusCode.DUPLICATE_VIDEO_SUBSCRIPTION
        else:
            self.video_user_id = user_id if subscribe else None
        self._announcer.stamped(
            MsgType.VIDEO_SUBSCRIPTION_RESP,
            user_id=user_id,
            status_code=int(status),
            reason="OK" if status is StatusCode.OK else "refused",
        )

    def offers_individual_video(self) -> bool:
        """Say whether video is sent of one participant on request (message 28)."""
        videos = [connection.params.video for connection in self.media_connections]
        return any(video and video.data_opt == DataOption.VIDEO_SINGLE_INDIVIDUAL_STREAM for video in videos)

    def _on_misplaced_handshake(self, connection: Connection, _fields: Fields) -> None:
        self.violation("misplaced_handshake", "message 3 belongs on a media connection")
        self._answer(
            connection, DataHandshakeResp(status_code=StatusCode.INVALID_MESSAGE_TYPE, reason="not on signaling")
        )

    def violation(self, name: str, detail: str) -> None:
        """Record something no well-behaved client does."""
        self.record.violations.append(Violation(name, detail, self.now_ms))


_OCCUPIED: Final = (StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST, StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION)

_Handlers: TypeAlias = Mapping[int, Callable[[Stream, Connection, Fields], None]]

_ON_SIGNALING: Final[_Handlers] = {
    MsgType.DATA_HAND_SHAKE_REQ: Stream._on_misplaced_handshake,
    MsgType.EVENT_SUBSCRIPTION: Stream._on_subscription,
    MsgType.CLIENT_READY_ACK: Stream._on_ready,
    MsgType.SESSION_STATE_REQ: Stream._on_session_state,
    MsgType.KEEP_ALIVE_RESP: Stream._on_keep_alive_resp,
    MsgType.STREAM_STATE_REQ: Stream._on_stream_state,
    MsgType.STREAM_CLOSE_REQ: Stream._on_close,
    MsgType.VIDEO_SUBSCRIPTION_REQ: Stream._on_video_subscription,
}
_ON_MEDIA: Final[_Handlers] = {
    MsgType.CLIENT_READY_ACK: Stream._on_ready_on_media,
    MsgType.KEEP_ALIVE_RESP: Stream._on_keep_alive_resp,
}
