"""One stream of a simulated Zoom: its state, its connections, what it says on signaling, and how it ends."""

import enum
import functools
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias

import attrs
import trio
from trio_websocket import ConnectionClosed

from rtmsd.protocol.codec import encode
from rtmsd.protocol.enums import DataOption, EventType, MediaType, MsgType, SessionState, StatusCode, StopReason
from rtmsd.protocol.enums import StreamState
from rtmsd.protocol.media_params import audio_format
from rtmsd.protocol.messages import DataHandshakeResp, MediaParams, SignalingHandshakeResp
from rtmsd.protocol.signature import handshake_signature
from rtmsd.simulator import checks
from rtmsd.simulator.clock import ZoomClock
from rtmsd.simulator.connection import Connection, ConnectionState
from rtmsd.simulator.crowd import Crowd, Utterance
from rtmsd.simulator.feed import AudioFeed
from rtmsd.simulator.record import (
    ARRIVED,
    ConnectionSpan,
    ControlMessage,
    Fate,
    Handshake,
    Record,
    SentItem,
    Violation,
)
from rtmsd.simulator.settings import Dialect, Person, Product, SimulatorSettings
from rtmsd.simulator.webhooks import WebhookSender
from rtmsd.simulator.wire import Cut, WireState

Fields: TypeAlias = Mapping[str, Any]
WebhookOrder: TypeAlias = Literal["after", "before", "never", "only"]

_TICK_MS = 100
_CONTESTED_S = 2.0  # a client that opens a second connection gets so long to drop the first one
_READY_S = 5.0  # and so long for message 7
_LAST_DRAIN_S = 5.0
_ENGLISH = 9
_SENTENCES = (
    "Good morning, everybody.",
    "Shall we begin with the figures?",
    "I had a look at them last night.",
    "That is more than we hoped for.",
    "Could you say that again, please?",
    "Let us come back to it after lunch.",
    "I agree, and I would go a step further.",
    "Then we are through for today.",
)


class StreamPhase(enum.Enum):
    AWAITING = enum.auto()  # rtms_started is out, nobody has attached yet
    UP = enum.auto()  # signaling is up
    INTERRUPTED = enum.auto()  # signaling is lost, the window runs
    TERMINATING = enum.auto()
    ENDED = enum.auto()


class Route(NamedTuple):
    """What a URL leads to. `media` is a key of message 2's `server_urls`, "" for signaling."""

    session: "SimSession"
    generation: int
    media: str


class Host(Protocol):
    """What a session needs of the simulator."""

    settings: SimulatorSettings
    clock: ZoomClock
    sender: WebhookSender
    nursery: trio.Nursery

    def url(self, path: str, route: Route) -> str:
        """Return the URL of `path`, which leads to `route` from now on."""


_URL_NAMES: Final = {
    MediaType.AUDIO: "audio",
    MediaType.VIDEO: "video",
    MediaType.DESKSHARE: "deskshare",
    MediaType.TRANSCRIPT: "transcript",
    MediaType.CHAT: "chat",
}


class SimSession:
    """A stream as Zoom's servers see it.

    Everything that only posts messages is synchronous; what sends webhooks or waits is awaited.

    Attributes:
        record: all that was sent and received.
        crowd: who is here.
        dialect: how messages are written; assign another one at any time.
        repeat_ms: audio sent again after a media reconnection, for clients to drop.
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
        self.rtms_session_id = f"rs-{uuid.uuid4().hex[:8]}"
        self.phase = StreamPhase.AWAITING
        self.record = Record()
        self.crowd = Crowd()
        self.started_ms = host.clock.now_ms()
        self.asks_alive = True
        self.stop_reason: StopReason | None = None
        self.ended = trio.Event()
        self.ready = trio.Event()  # the first message 7 has come
        self.signaling: Connection | None = None
        self.media_connections: list[Connection] = []
        self._host = host
        self._timing = settings.timing
        self._details = dict(details)
        self._dialect = Dialect()
        self._signature = handshake_signature(settings.client_id, settings.client_secret, session_id, rtms_stream_id)
        self._feed = AudioFeed(
            self.started_ms,
            self.crowd,
            self.record,
            settings.tone,
            channels_not_users=product.id_key == "engagement_id",
        )
        self._event_ts = self.started_ms
        self._generation = 0
        self._subscribed: set[int] = set()
        self._last_speaker: int | None = None
        self._sentences = itertools.cycle(_SENTENCES)
        self._session_state = SessionState.INACTIVE
        self._stream_state = StreamState.INACTIVE
        self._lost_media = MediaType(0)
        self._media_deadline_ms: int | None = None
        self._signaling_deadline_ms = self.started_ms + int(self._timing.attach_window_s * 1000)
        self._forced: dict[str, deque[StatusCode]] = {"signaling": deque(), "media": deque()}
        self._asked_ms: dict[int, int] = {}  # by connection: when it was last asked whether it lives
        self._video_user: int | None = None
        self._individual_video = False
        self.signaling_url = self._new_url("signal", "")

    # Time

    def advance(self, now_ms: int) -> int:
        """Do what is due and return when to come again."""
        if self.phase is StreamPhase.ENDED:
            return now_ms + _TICK_MS
        self._feed.advance(now_ms, int(self._timing.buffer_s * 1000), flowing=not self.paused)
        self._transcribe(now_ms - int(self._timing.transcript_lag_s * 1000))
        self.crowd.forget(min(self._feed.cursor_ms, now_ms))
        if self.phase is not StreamPhase.TERMINATING:
            self._watch_speaker(now_ms)
            self._keep_alive(now_ms)
            self._watch_windows(now_ms)
            self._watch_client()
        return max(now_ms + 1, min(self._feed.cursor_ms + self._feed.step_ms, now_ms + _TICK_MS))

    @property
    def paused(self) -> bool:
        return self._session_state is SessionState.PAUSED

    @property
    def now_ms(self) -> int:
        return self._host.clock.now_ms()

    def _watch_windows(self, now_ms: int) -> None:
        if self.phase is StreamPhase.AWAITING and now_ms >= self._signaling_deadline_ms:
            self._expire(StopReason.CONNECTION_TIMEOUT)
        elif (self.phase is StreamPhase.INTERRUPTED and now_ms >= self._signaling_deadline_ms) or (
            self._media_deadline_ms is not None and now_ms >= self._media_deadline_ms
        ):
            self._expire(StopReason.AWAIT_RECONNECTION_TIMEOUT)

    def _expire(self, reason: StopReason) -> None:
        self._media_deadline_ms = None
        self._host.nursery.start_soon(self.stop, reason)

    def _watch_client(self) -> None:
        """Note what a well-behaved client does not leave so for long."""
        local_s = trio.current_time()
        for connection in self._connections():
            contested_s = connection.contested_s
            if contested_s is not None and local_s > contested_s + _CONTESTED_S:
                connection.contested_s = None
                if connection.wire.state is WireState.OPEN:
                    self._violation("second_connection", f"{connection.kind} {connection.number} is alive")
            if connection.ready_s is not None and local_s > connection.ready_s + _READY_S:
                connection.ready_s = None
                self._violation("ready_ack_missing", f"media {connection.number} waits for message 7")

    # Webhooks

    async def announce(self) -> int | None:
        """Send the started webhook and return its status."""
        return await self._webhook("started", self._event_ts, self._started())

    async def duplicate_webhook(self) -> int | None:
        """Send the last started webhook again, as a retry would: same `event_ts`."""
        return await self._webhook("started", self._event_ts, self._started(), "duplicate")

    async def forged_webhook(self, event: str = "stopped") -> int | None:
        """Send an event about this stream that somebody else signed."""
        payload = self._started() if event == "started" else self._about() | {"stop_reason": 1}
        return await self._webhook(event, self.now_ms, payload, "forged")

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

    async def _webhook(self, event: str, event_ts: int, payload: Fields, kind: str = "genuine") -> int | None:
        name = self.product.webhook_prefix + event
        return await self._host.sender.send(name, event_ts, payload, self.record.webhooks, kind)

    # People

    def join(self, person: Person | str) -> int:
        """Let somebody in and return the user id."""
        if isinstance(person, str):
            person = Person(user_name=person)
        participant = self.crowd.join(person, self.now_ms)
        self._people_event(EventType.PARTICIPANT_JOIN, [participant.user_id])
        return participant.user_id

    def leave(self, who: str | int) -> None:
        user_id = self.crowd.find(who)
        self.crowd.leave(user_id, self.now_ms)
        self._people_event(EventType.PARTICIPANT_LEAVE, [user_id], names=False)

    def talk(self, who: str | int) -> None:
        self.crowd.talk(self.crowd.find(who), self.now_ms)

    def hush(self, who: str | int) -> None:
        self.crowd.hush(self.crowd.find(who), self.now_ms)

    def mute(self, who: str | int) -> None:
        self.crowd.mute(self.crowd.find(who), self.now_ms)

    def _people_event(self, event_type: EventType, user_ids: Iterable[int], *, names: bool = True) -> None:
        people = [
            {"user_id": user_id, "user_name": self.crowd.known[user_id].person.user_name}
            if names
            else {"user_id": user_id}
            for user_id in user_ids
        ]
        if people:
            self._event(event_type, participants=people)

    def _watch_speaker(self, now_ms: int) -> None:
        speaker = self.crowd.active_speaker
        if speaker is None or speaker == self._last_speaker or self.paused:
            return
        self._last_speaker = speaker
        name = self.crowd.known[speaker].person.user_name
        self._event(EventType.ACTIVE_SPEAKER_CHANGE, now_ms, user_id=speaker, user_name=name)

    def _transcribe(self, until_ms: int) -> None:
        if MediaType.TRANSCRIPT in self.media and not self.paused:
            for utterance in self.crowd.utterances(until_ms, int(self._timing.utterance_s * 1000)):
                self._transcript(utterance, next(self._sentences))

    def say(self, who: str | int, text: str) -> None:
        """Send a transcript of this text, as if it had been said during the last second."""
        user_id = self.crowd.find(who)
        self._transcript(Utterance(user_id, self.now_ms - 1000, self.now_ms), text)

    def _transcript(self, utterance: Utterance, text: str) -> None:
        content = self._feed.who(utterance.user_id, self._dialect) | {
            "start_time": utterance.start_ms,
            "end_time": utterance.end_ms,
            "timestamp": self.now_ms,
            "language": _ENGLISH,
            "data": text,
        }
        self._item(MediaType.TRANSCRIPT, MsgType.MEDIA_DATA_TRANSCRIPT, content, self.record.transcripts)

    def chat(self, who: str | int, text: str) -> None:
        """Send a chat message to everybody."""
        user_id = self.crowd.find(who)
        data = {
            "chat_session": {"type": 1, "id": "everyone"},
            "operation_type": 1,
            "message_id": uuid.uuid4().hex,
            "sender": {"user_id": user_id, "user_name": self.crowd.known[user_id].person.user_name},
            "receiver": None,
            "data": text,
        }
        content = self._feed.who(user_id, self._dialect) | {"data": data, "timestamp": self.now_ms}
        self._item(MediaType.CHAT, MsgType.MEDIA_DATA_CHAT, content, self.record.chats)

    def _item(self, media: MediaType, msg_type: MsgType, content: dict[str, Any], log: list[SentItem]) -> None:
        """Send one media message that is not audio; without a connection for it, it is discarded."""
        connection = self._streaming(media)
        item = SentItem(
            content=content,
            timestamp_ms=content["timestamp"],
            fate=Fate.DISCARDED,
            connection=connection.number if connection else 0,
        )
        log.append(item)
        if connection is not None:
            connection.post({"msg_type": int(msg_type), "content": content}, _Item(log, len(log) - 1))
            connection.busy_ms = self.now_ms

    def _streaming(self, media: MediaType) -> Connection | None:
        for connection in self.media_connections:
            if connection.state is ConnectionState.UP and media in connection.media_type:
                return connection
        return None

    # Sub-session and stream states

    def pause(self) -> None:
        """Pause as the host does: what is said from now on is never sent."""
        now_ms = self.now_ms
        self.advance(now_ms)
        self.crowd.pause(now_ms)
        self._transcribe(now_ms)
        self._session(SessionState.PAUSED)
        self._stream(StreamState.PAUSED)

    def resume(self) -> None:
        self.crowd.resume(self.now_ms)
        self._session(SessionState.RESUMED)
        self._stream(StreamState.RESUMED)

    async def stop(
        self, reason: StopReason = StopReason.MEETING_ENDED, *, webhook: WebhookOrder = "after"
    ) -> int | None:
        """End the stream and return the status of the stopped webhook, None without one.

        Args:
            webhook: "after" or "before" the sockets close; "never"; "only": the sockets are dropped with no word.
        """
        if self.phase in (StreamPhase.TERMINATING, StreamPhase.ENDED):
            return None
        self.stop_reason = reason
        self._finish_talk()
        self.phase = StreamPhase.TERMINATING
        status = await self._stopped(reason) if webhook in ("before", "only") else None
        if webhook != "only":
            await self._terminate(reason)
        self.phase = StreamPhase.ENDED
        self._feed.give_up(self.now_ms)
        await self._close_all("the stream has ended")
        if webhook == "after":
            status = await self._stopped(reason)
        self.ended.set()
        return status

    def _finish_talk(self) -> None:
        now_ms = self.now_ms
        self.advance(now_ms)
        self.crowd.end(now_ms)

    async def _terminate(self, reason: StopReason) -> None:
        """Say goodbye on signaling, sending the last audio and the late transcripts in between."""
        self._session(SessionState.STOPPED, stop_reason=int(reason))
        self._stream(StreamState.TERMINATING, reason)
        await self._host.clock.sleep(self._timing.stop_grace_s)
        self._transcribe(self.now_ms)
        with trio.move_on_after(_LAST_DRAIN_S):
            while self._feed.is_behind(self.now_ms) and self.phase is StreamPhase.TERMINATING:
                self.advance(self.now_ms)
                await trio.sleep(0.01)
        self._stream(StreamState.TERMINATED, reason)

    async def _stopped(self, reason: StopReason) -> int | None:
        return await self._webhook("stopped", self.now_ms, self._about() | {"stop_reason": int(reason)})

    async def _close_all(self, why: str) -> None:
        async with trio.open_nursery() as nursery:
            for connection in self._connections():
                self._gone(connection)
                nursery.start_soon(connection.close, why)

    def _session(self, state: SessionState, **more: int) -> None:
        self._session_state = state
        self.signal(
            {
                "msg_type": int(MsgType.SESSION_STATE_UPDATE),
                "rtms_session_id": self.rtms_session_id,
                "state": int(state),
                **more,
                "timestamp": self.now_ms,
            }
        )

    def _stream(self, state: StreamState, reason: StopReason | None = None) -> None:
        self._stream_state = state
        because = {} if reason is None else {"reason": int(reason)}
        self.signal(
            {"msg_type": int(MsgType.STREAM_STATE_UPDATE), "state": int(state), **because, "timestamp": self.now_ms}
        )

    def _event(self, event_type: EventType, timestamp_ms: int | None = None, **more: Any) -> None:
        """Send an event if it was asked for, or is one that nobody has to ask for."""
        always = (EventType.FIRST_PACKET_TIMESTAMP, EventType.MEDIA_CONNECTION_INTERRUPTED)
        if event_type in always or event_type in self._subscribed:
            time_key = "event_ts" if self.product.id_key == "engagement_id" else "timestamp"
            event = {"event_type": int(event_type), time_key: timestamp_ms or self.now_ms, **more}
            self.signal({"msg_type": int(MsgType.EVENT_UPDATE), "event": event})

    def signal(self, fields: Fields) -> None:
        """Send any object on signaling; without signaling it is not sent and not recorded."""
        if self.signaling is not None:
            self.signaling.post(fields)
            if self.signaling.wire.state in (WireState.OPEN, WireState.STALLED):
                sent = ControlMessage(connection=self.signaling.number, at_ms=self.now_ms, fields=fields)
                self.record.sent.append(sent)

    # Connections

    @property
    def dialect(self) -> Dialect:
        return self._dialect

    @dialect.setter
    def dialect(self, dialect: Dialect) -> None:
        self._dialect = dialect
        for connection in self._connections():
            connection.dialect = dialect

    @property
    def repeat_ms(self) -> int:
        return self._feed.repeat_ms

    @repeat_ms.setter
    def repeat_ms(self, value: int) -> None:
        self._feed.repeat_ms = value

    def refuse_next(self, status: StatusCode, times: int = 1, *, kind: Literal["signaling", "media"]) -> None:
        """Refuse so many handshakes that would have succeeded."""
        self._forced[kind].extend([status] * times)

    async def serve(self, connection: Connection, route: Route) -> None:
        """Talk to one client connection until it ends."""
        connection.dialect = self._dialect
        try:
            raw = None
            with trio.move_on_after(self._host.settings.handshake_s):
                raw = await connection.receive()
            if raw is None:
                self._violation("silent_connection", f"{connection.path}: no handshake")
                await connection.close("no handshake")
            elif route.media:
                await self._serve_media(connection, route, raw)
            else:
                await self._serve_signaling(connection, route, raw)
        except ConnectionClosed:
            pass
        finally:
            self._lost(connection)

    async def _serve_signaling(self, connection: Connection, route: Route, raw: str | bytes) -> None:
        occupied = self.signaling is not None
        answer, fields = checks.signaling_handshake(raw, self._expected(route), occupied=occupied)
        answer = self._maybe_refuse(answer, "signaling")
        self._note_handshake(connection, answer, "signaling", 0)
        if answer.status is not StatusCode.OK:
            refusal = SignalingHandshakeResp(status_code=answer.status, reason=answer.reason, protocol_version=1)
            connection.post(checks.read(encode(refusal)) or {})
            if occupied and answer.status is StatusCode.DUPLICATE_SIGNAL_REQUEST:
                self._contest([self.signaling])
            await connection.close(f"refused with status {answer.status:d}")
            return
        self._signaling_up(connection, fields)
        while True:
            self._dispatch(connection, await connection.receive(), _ON_SIGNALING)

    def _signaling_up(self, connection: Connection, fields: Fields) -> None:
        connection.state = ConnectionState.UP
        self.signaling = connection
        self._subscribed.clear()
        self._asked_ms[connection.number] = self.now_ms
        if self.phase is StreamPhase.AWAITING and fields.get("buffer_data") is False:
            self._feed.give_up(self.now_ms)
        self.phase = StreamPhase.UP
        self._open_span(connection)
        urls = {name: self._new_url(f"media/{name}", name) for name in self._url_names()}
        answer = SignalingHandshakeResp(status_code=0, media_urls=urls, protocol_version=1, sequence=1)
        connection.post(checks.read(encode(answer)) or {})

    def _url_names(self) -> list[str]:
        return [*(name for bit, name in _URL_NAMES.items() if bit in self.media), "all"]

    async def _serve_media(self, connection: Connection, route: Route, raw: str | bytes) -> None:
        taken = functools.reduce(lambda bits, other: bits | other.media_type, self.media_connections, MediaType(0))
        grant = checks.media_handshake(
            raw,
            self._expected(route, needs_signaling=True),
            allowed=self.media,
            taken=taken,
            strict=self._host.settings.strict,
        )
        answer = self._maybe_refuse(grant.answer, "media")
        self._note_handshake(connection, answer, "media", grant.media_type)
        if answer.status is not StatusCode.OK:
            refusal = DataHandshakeResp(status_code=answer.status, reason=answer.reason, protocol_version=1)
            connection.post(checks.read(encode(refusal)) or {})
            if grant.answer.status in (
                StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST,
                StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION,
            ):
                self._contest(self.media_connections)
            await connection.close(f"refused with status {answer.status:d}")
            return
        self._media_negotiated(connection, grant)
        while True:
            self._dispatch(connection, await connection.receive(), _ON_MEDIA)

    def _media_negotiated(self, connection: Connection, grant: checks.MediaGrant) -> None:
        connection.state = ConnectionState.NEGOTIATED
        connection.media_type = grant.media_type
        connection.params = grant.params
        connection.ready_s = trio.current_time()
        connection.busy_ms = self.now_ms
        self.media_connections.append(connection)
        self._open_span(connection)
        answer = DataHandshakeResp(status_code=0, media_params=grant.params, protocol_version=1, sequence=1)
        connection.post(checks.read(encode(answer)) or {})

    def _expected(self, route: Route, *, needs_signaling: bool = False) -> checks.Expected:
        over = self.phase in (StreamPhase.TERMINATING, StreamPhase.ENDED)
        stale = route.generation != self._generation
        missing = needs_signaling and self.signaling is None
        return checks.Expected(
            id_key=self.product.id_key,
            session_id=self.session_id,
            rtms_stream_id=None if over or stale or missing else self.rtms_stream_id,
            signature=self._signature,
        )

    def _maybe_refuse(self, answer: checks.Answer, kind: str) -> checks.Answer:
        if answer.status is StatusCode.OK and self._forced[kind]:
            status = self._forced[kind].popleft()
            return checks.Answer(status, "Duplicate signal request" if status == 8 else "refused on demand")
        return answer

    def _contest(self, holders: Iterable[Connection | None]) -> None:
        for holder in holders:
            if holder is not None and holder.contested_s is None:
                holder.contested_s = trio.current_time()

    def _note_handshake(self, connection: Connection, answer: checks.Answer, kind: str, media_type: int) -> None:
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

    def _open_span(self, connection: Connection) -> None:
        connection.span = ConnectionSpan(
            connection=connection.number,
            kind=connection.kind,
            media_type=int(connection.media_type),
            opened_ms=self.now_ms,
        )
        self.record.connections.append(connection.span)

    def _connections(self) -> list[Connection]:
        return [*([self.signaling] if self.signaling else []), *self.media_connections]

    def _new_url(self, path: str, media: str) -> str:
        token = uuid.uuid4().hex[:12]
        return self._host.url(f"/{path}?s={token}", Route(self, self._generation, media))

    # Losing connections

    def drop(self, connection: Connection, why: str, how: Cut = Cut.EOF, *, announce: bool = True) -> None:
        """Lose a connection on the server's side, with the consequences this has.

        Args:
            announce: False spares the client the interrupted webhook, or event 7 and message 8.
        """
        connection.end(why)
        connection.wire.cut(how)
        self._lost(connection, announce=announce)

    def _lost(self, connection: Connection, *, announce: bool = True) -> None:
        """Draw the conclusions from a connection that is over, once."""
        was_signaling = connection is self.signaling
        if not self._gone(connection) or self.phase in (StreamPhase.TERMINATING, StreamPhase.ENDED):
            return
        if was_signaling:
            self._signaling_lost(announce=announce)
        else:
            self._media_lost(connection, announce=announce)

    def _gone(self, connection: Connection) -> bool:
        """Forget a connection; say whether it was there."""
        if connection is self.signaling:
            self.signaling = None
        elif connection in self.media_connections:
            self.media_connections.remove(connection)
            self._feed.detach(connection)
        else:
            return False
        self._asked_ms.pop(connection.number, None)
        connection.end("closed by the client")
        if connection.span is not None:
            connection.span.closed_ms = self.now_ms
            connection.span.why = connection.why
        return True

    def _signaling_lost(self, *, announce: bool) -> None:
        self.phase = StreamPhase.INTERRUPTED
        self._stream_state = StreamState.INTERRUPTED
        self._signaling_deadline_ms = self.now_ms + int(self._timing.signaling_window_s * 1000)
        self._media_deadline_ms = None
        for connection in list(self.media_connections):
            self._gone(connection)
            self._host.nursery.start_soon(connection.close, "signaling was interrupted")
        if announce:
            self._host.nursery.start_soon(self.interrupt)

    def _media_lost(self, connection: Connection, *, announce: bool) -> None:
        self._lost_media |= connection.media_type
        if self._media_deadline_ms is None:
            self._media_deadline_ms = self.now_ms + int(self._timing.media_window_s * 1000)
        if announce:
            self._event(EventType.MEDIA_CONNECTION_INTERRUPTED, media_type=int(connection.media_type))
            self._stream(StreamState.INTERRUPTED, StopReason.DATA_CONNECTION_INTERRUPTED)
        else:
            self._stream_state = StreamState.INTERRUPTED

    async def failover(self, *, close: bool = True) -> int | None:
        """Let the server fail: everything moves to another URL, which a second started webhook tells.

        Args:
            close: the old sockets are cut; otherwise they stay half-open.
        """
        for connection in self._connections():
            connection.end("the server failed")
            self._gone(connection)
            if close:
                connection.wire.cut(Cut.EOF)
            else:
                connection.wire.play_dead()
        self._generation += 1
        self.phase = StreamPhase.INTERRUPTED
        self._signaling_deadline_ms = self.now_ms + int(self._timing.signaling_window_s * 1000)
        self._media_deadline_ms = None
        self.signaling_url = self._new_url("signal", "")
        self._event_ts = max(self._event_ts + 1, self.now_ms)
        return await self.announce()

    # Keep-alives

    def _keep_alive(self, now_ms: int) -> None:
        interval_ms = int(self._timing.keep_alive_s * 1000)
        for connection in self._connections():
            quiet_ms = self._asked_ms.get(connection.number, connection.busy_ms)
            if connection is not self.signaling and connection.wire.state is WireState.OPEN:
                quiet_ms = max(quiet_ms, connection.busy_ms)
            if now_ms < quiet_ms + interval_ms:
                continue
            if connection.plays_dead(self._timing):
                self._violation("keep_alives_unanswered", f"{connection.kind} {connection.number}")
                self.drop(connection, "keep-alives unanswered")
            elif self.asks_alive:
                self._asked_ms[connection.number] = now_ms
                connection.ask_alive(now_ms, self.record)

    # Messages from the client

    def _dispatch(self, connection: Connection, raw: str | bytes, handlers: "_Handlers") -> None:
        fields = checks.read(raw)
        if fields is None:
            self.record.unknown["not an object"] += 1
            self._violation("no_message", f"{connection.kind}: not a JSON object")
            return
        msg_type = fields.get("msg_type")
        handler = handlers.get(msg_type) if checks.is_int(msg_type) else None
        if msg_type != MsgType.KEEP_ALIVE_RESP:
            received = ControlMessage(connection=connection.number, at_ms=self.now_ms, fields=fields)
            self.record.received.append(received)
        if handler is None:
            self.record.unknown[f"{connection.kind} {msg_type}"] += 1
            self._violation("unexpected_message", f"{msg_type} on {connection.kind}")
        else:
            handler(self, connection, fields)

    def _on_keep_alive_resp(self, connection: Connection, fields: Fields) -> None:
        wrong = connection.answer(fields)
        if wrong is not None:
            self._violation("keep_alive_answer", f"{connection.kind} {connection.number}: {wrong}")

    def _on_subscription(self, connection: Connection, fields: Fields) -> None:
        choices = fields.get("events")
        if not isinstance(choices, list) or not all(map(_is_choice, choices)):
            self._violation("bad_subscription", "events must be a list of {event_type, subscribe}")
            return
        fresh = {choice["event_type"] for choice in choices if choice["subscribe"]} - self._subscribed
        if fresh & {EventType.FIRST_PACKET_TIMESTAMP, EventType.MEDIA_CONNECTION_INTERRUPTED}:
            self._violation("forbidden_subscription", "1 and 7 come unasked")
        self._subscribed |= fresh
        self._subscribed -= {choice["event_type"] for choice in choices if not choice["subscribe"]}
        if EventType.PARTICIPANT_JOIN in fresh:
            self._people_event(EventType.PARTICIPANT_JOIN, self.crowd.present)
        if EventType.PARTICIPANT_VIDEO_ON in fresh and MediaType.VIDEO in self.media:
            seen = [p.user_id for p in self.crowd.present.values() if p.camera]
            self._people_event(EventType.PARTICIPANT_VIDEO_ON, seen, names=False)

    def _on_ready(self, connection: Connection, fields: Fields) -> None:
        if fields.get("rtms_stream_id") != self.rtms_stream_id:
            self._violation("ready_ack_stream", "message 7 names another stream")
            return
        waiting = [c for c in self.media_connections if c.state is ConnectionState.NEGOTIATED]
        for media in waiting:
            self._media_up(media)
        if not self.ready.is_set():
            self.ready.set()
            self._event(EventType.FIRST_PACKET_TIMESTAMP, self._feed.cursor_ms)
            self._stream(StreamState.ACTIVE)
            self._session(SessionState.INITIALIZE)
            self._session(SessionState.STARTED)
        elif waiting and not self._lost_media and self._stream_state is StreamState.INTERRUPTED:
            self._stream(StreamState.PAUSED if self.paused else StreamState.ACTIVE)
        self.advance(self.now_ms)

    def _media_up(self, media: Connection) -> None:
        media.state = ConnectionState.UP
        media.ready_s = None
        if MediaType.AUDIO in media.media_type and media.params.audio is not None:
            self._feed.attach(media, audio_format(media.params.audio))
        self._lost_media &= ~media.media_type
        if not self._lost_media:
            self._media_deadline_ms = None

    def _on_ready_too_early(self, connection: Connection, fields: Fields) -> None:
        self._violation("ready_ack_on_media", "message 7 belongs on signaling")

    def _on_session_state(self, connection: Connection, fields: Fields) -> None:
        asked = fields.get("rtms_session_id")
        answer = {"msg_type": int(MsgType.SESSION_STATE_RESP), "rtms_session_id": asked}
        if asked == self.rtms_session_id:
            self.signal({**answer, "state": int(self._session_state), "timestamp": self.now_ms})
        else:
            status = {"status_code": int(StatusCode.INVALID_RTMS_SESSION_ID), "reason": "no such session"}
            self.signal({**answer, **status, "timestamp": self.now_ms})

    def _on_stream_state(self, connection: Connection, fields: Fields) -> None:
        self.signal(
            {
                "msg_type": int(MsgType.STREAM_STATE_RESP),
                "rtms_stream_id": fields.get("rtms_stream_id"),
                "state": int(self._stream_state),
                "timestamp": self.now_ms,
            }
        )

    def _on_close(self, connection: Connection, fields: Fields) -> None:
        known = fields.get("rtms_stream_id") == self.rtms_stream_id
        status = StatusCode.OK if known else StatusCode.INVALID_RTMS_STREAM_ID
        self.signal(
            {
                "msg_type": int(MsgType.STREAM_CLOSE_RESP),
                "rtms_stream_id": fields.get("rtms_stream_id"),
                "status_code": int(status),
                "reason": "OK" if known else "no such stream",
                "timestamp": self.now_ms,
            }
        )
        if known:
            self._host.nursery.start_soon(self.stop, StopReason.RECEIVER_REQUEST_CLOSE)

    def _on_video_subscription(self, connection: Connection, fields: Fields) -> None:
        user_id, subscribe = fields.get("user_id"), fields.get("subscribe")
        if not self._has_individual_video() or user_id not in self.crowd.present or not isinstance(subscribe, bool):
            status = StatusCode.INVALID_PAYLOAD
        elif subscribe and user_id == self._video_user:
            status = StatusCode.DUPLICATE_VIDEO_SUBSCRIPTION
        else:
            status = StatusCode.OK
            self._video_user = user_id if subscribe else None
        self.signal(
            {
                "msg_type": int(MsgType.VIDEO_SUBSCRIPTION_RESP),
                "user_id": user_id,
                "status_code": int(status),
                "reason": "OK" if status is StatusCode.OK else "refused",
                "timestamp": self.now_ms,
            }
        )

    def _has_individual_video(self) -> bool:
        return any(
            c.params.video is not None and c.params.video.data_opt == DataOption.VIDEO_SINGLE_INDIVIDUAL_STREAM
            for c in self.media_connections
        )

    def _on_misplaced_handshake(self, connection: Connection, fields: Fields) -> None:
        self._violation("misplaced_handshake", "message 3 belongs on a media connection")
        answer = DataHandshakeResp(status_code=StatusCode.INVALID_MESSAGE_TYPE, reason="not on signaling")
        self.signal(checks.read(encode(answer)) or {})

    def _violation(self, name: str, detail: str) -> None:
        self.record.violations.append(Violation(name, detail, self.now_ms))


@attrs.frozen
class _Item:
    """The token of a `SentItem`: writes its fate into the list that holds it."""

    log: list[SentItem]
    index: int

    def settle(self, fate: Fate) -> None:
        self.log[self.index] = attrs.evolve(self.log[self.index], fate=fate)


def _is_choice(value: object) -> bool:
    return (
        isinstance(value, dict) and checks.is_int(value.get("event_type")) and isinstance(value.get("subscribe"), bool)
    )


_Handlers: TypeAlias = Mapping[int, Callable[[SimSession, Connection, Fields], None]]

_ON_SIGNALING: Final[_Handlers] = {
    MsgType.DATA_HAND_SHAKE_REQ: SimSession._on_misplaced_handshake,
    MsgType.EVENT_SUBSCRIPTION: SimSession._on_subscription,
    MsgType.CLIENT_READY_ACK: SimSession._on_ready,
    MsgType.SESSION_STATE_REQ: SimSession._on_session_state,
    MsgType.KEEP_ALIVE_RESP: SimSession._on_keep_alive_resp,
    MsgType.STREAM_STATE_REQ: SimSession._on_stream_state,
    MsgType.STREAM_CLOSE_REQ: SimSession._on_close,
    MsgType.VIDEO_SUBSCRIPTION_REQ: SimSession._on_video_subscription,
}

_ON_MEDIA: Final[_Handlers] = {
    MsgType.CLIENT_READY_ACK: SimSession._on_ready_too_early,
    MsgType.KEEP_ALIVE_RESP: SimSession._on_keep_alive_resp,
}
