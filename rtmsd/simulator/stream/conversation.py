"""The conversation on one connection: a handshake, then messages to be answered."""

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import trio
from trio_websocket import ConnectionClosed

from rtmsd.protocol.enums import EventType, MsgType, SessionState, StatusCode, StopReason, StreamState
from rtmsd.protocol.messages import DataHandshakeResp
from rtmsd.protocol.reading import Fields
from rtmsd.simulator.model.record import ControlMessage
from rtmsd.simulator.stream import checks
from rtmsd.simulator.stream.announcer import people
from rtmsd.simulator.stream.handshakes import shake_hands
from rtmsd.simulator.stream.stream import Route, SimStream
from rtmsd.simulator.wire.connection import ConnectionState, SimConnection


async def converse(connection: SimConnection, route: Route) -> None:
    """Serve one connection until it ends."""
    stream = route.stream
    connection.dialect = stream.dialect
    try:
        raw = None
        with trio.move_on_after(stream.host.settings.handshake_s):
            raw = await connection.receive()
        if raw is None:
            stream.violation("silent_connection", f"{connection.path}: no handshake")
        elif shake_hands(connection, route, raw):
            while True:
                _dispatch(stream, connection, await connection.receive())
        await connection.close()
    except ConnectionClosed:
        pass
    finally:
        stream.lose(connection, connection.how_closed)


def _dispatch(stream: SimStream, connection: SimConnection, raw: str | bytes) -> None:
    fields = checks.read(raw) or {}
    msg_type = fields.get("msg_type")
    handlers = _ON_MEDIA if connection.media_type else _ON_SIGNALING
    handler = handlers.get(msg_type) if checks.is_int(msg_type) else None
    if msg_type != MsgType.KEEP_ALIVE_RESP:
        received = ControlMessage(connection=connection.number, at_ms=stream.now_ms, fields=fields)
        stream.record.received.append(received)
    if connection.state is ConnectionState.ENDED:
        return  # closed or evicted by the server: what the client said before it knew has no effect any more
    if handler is None:
        stream.record.unknown[f"{connection.kind} {msg_type}"] += 1
        stream.violation("unexpected_message", f"{msg_type} on {connection.kind}")
    else:
        handler(stream, connection, fields)


def _on_keep_alive_resp(stream: SimStream, connection: SimConnection, fields: Fields) -> None:
    wrong = connection.answer(fields)
    if wrong is not None:
        stream.violation("keep_alive_answer", f"{connection.kind} {connection.number}: {wrong}")


def _on_subscription(stream: SimStream, _connection: SimConnection, fields: Fields) -> None:
    fresh, violation = stream.announcer.subscribe(fields.get("events"), strict=stream.host.settings.strict)
    if violation is not None:
        stream.violation(violation, "message 5")
    crowd = stream.crowd
    if EventType.PARTICIPANT_JOIN in fresh and crowd.present:
        stream.announcer.event(EventType.PARTICIPANT_JOIN, participants=stream.people(crowd.present))
    seen = [person.user_id for person in crowd.present.values() if person.camera]
    if EventType.PARTICIPANT_VIDEO_ON in fresh and seen:
        stream.announcer.event(EventType.PARTICIPANT_VIDEO_ON, participants=people(seen))


def _on_ready(stream: SimStream, connection: SimConnection, fields: Fields) -> None:
    if fields.get("rtms_stream_id") != stream.rtms_stream_id:
        stream.violation("ready_ack_stream", "message 7 names another stream")
        return
    if connection is stream.signaling:
        connection.state = ConnectionState.UP
    waiting = [media for media in stream.links.media if media.state is ConnectionState.NEGOTIATED]
    for media in waiting:
        stream.media_up(media)
    announcer = stream.announcer
    if not stream.ready.is_set():
        stream.ready.set()
        announcer.event(EventType.FIRST_PACKET_TIMESTAMP, stream.feed.cursor_ms)
        announcer.stream(StreamState.ACTIVE)
        announcer.session(SessionState.INITIALIZE)
        announcer.session(SessionState.STARTED)
    elif waiting and not stream.windows.lost_media and announcer.stream_state is StreamState.INTERRUPTED:
        announcer.stream(StreamState.PAUSED if stream.paused else StreamState.ACTIVE)
    stream.advance(stream.now_ms)


def _on_ready_on_media(stream: SimStream, _connection: SimConnection, _fields: Fields) -> None:
    stream.violation("ready_ack_on_media", "message 7 belongs on signaling")


def _on_session_state(stream: SimStream, _connection: SimConnection, fields: Fields) -> None:
    stream.announcer.answer_session_state(fields.get("rtms_session_id"))


def _on_stream_state(stream: SimStream, _connection: SimConnection, fields: Fields) -> None:
    stream.announcer.answer_stream_state(fields.get("rtms_stream_id"))


def _on_close(stream: SimStream, _connection: SimConnection, fields: Fields) -> None:
    asked = fields.get("rtms_stream_id")
    known = asked == stream.rtms_stream_id
    stream.announcer.stamped(
        MsgType.STREAM_CLOSE_RESP,
        rtms_stream_id=asked,
        status_code=int(StatusCode.OK if known else StatusCode.INVALID_RTMS_STREAM_ID),
        reason="OK" if known else "no such stream",
    )
    if known:
        stream.host.nursery.start_soon(stream.stop, StopReason.RECEIVER_REQUEST_CLOSE)


def _on_video_subscription(stream: SimStream, _connection: SimConnection, fields: Fields) -> None:
    user_id, subscribe = fields.get("user_id"), fields.get("subscribe")
    status = StatusCode.OK
    if not (stream.ready.is_set() and stream.announcer.tells_of_cameras):
        stream.violation("early_video_subscription", "message 28 before message 7, or without events 8 and 9")
    if not stream.offers_individual_video() or user_id not in stream.crowd.present or not isinstance(subscribe, bool):
        status = StatusCode.INVALID_PAYLOAD
    elif stream.video_refusals:
        if (refused := stream.video_refusals.popleft()) is None:
            return
        status = refused
    elif subscribe and user_id == stream.video_user_id:
        status = StatusCode.DUPLICATE_VIDEO_SUBSCRIPTION
    else:
        stream.video_user_id = user_id if subscribe else None
    stream.announcer.stamped(
        MsgType.VIDEO_SUBSCRIPTION_RESP,
        user_id=user_id,
        status_code=int(status),
        reason="OK" if status is StatusCode.OK else "refused",
    )


def _on_misplaced_handshake(stream: SimStream, connection: SimConnection, _fields: Fields) -> None:
    stream.violation("misplaced_handshake", "message 3 belongs on a media connection")
    connection.send(DataHandshakeResp(status_code=StatusCode.INVALID_MESSAGE_TYPE, reason="not on signaling"))


_Handlers: TypeAlias = Mapping[int, Callable[[SimStream, SimConnection, Fields], None]]

_ON_SIGNALING: Final[_Handlers] = {
    MsgType.DATA_HAND_SHAKE_REQ: _on_misplaced_handshake,
    MsgType.EVENT_SUBSCRIPTION: _on_subscription,
    MsgType.CLIENT_READY_ACK: _on_ready,
    MsgType.SESSION_STATE_REQ: _on_session_state,
    MsgType.KEEP_ALIVE_RESP: _on_keep_alive_resp,
    MsgType.STREAM_STATE_REQ: _on_stream_state,
    MsgType.STREAM_CLOSE_REQ: _on_close,
    MsgType.VIDEO_SUBSCRIPTION_REQ: _on_video_subscription,
}
_ON_MEDIA: Final[_Handlers] = {
    MsgType.CLIENT_READY_ACK: _on_ready_on_media,
    MsgType.KEEP_ALIVE_RESP: _on_keep_alive_resp,
}
