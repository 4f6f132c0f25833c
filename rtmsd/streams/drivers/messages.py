"""What Zoom says on signaling, message by message: written down as an event, and followed by the stream."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs

from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import EventType, StopReason, StreamState
from rtmsd.protocol.products import product_of
from rtmsd.protocol.reading import read_int
from rtmsd.protocol.times import time_ms
from rtmsd.protocol.variants import MAX_PEOPLE

if TYPE_CHECKING:
    from rtmsd.streams.drivers.stream import Stream

OURS: Final = frozenset({"self", "kind", "at_ms", "zoom_ms", "rtms_stream_id"})
"""Names of an event's own fields that a line of ours, or a call, has for something else."""

_MAX_CODE_CHARS: Final = 64

UNKNOWN: Final = "event_"
"""What the names of events begin with that this version has no name for."""

MAX_UNKNOWN_EVENTS: Final = 10_000
"""So many of one stream are written down; the rest are counted."""


def event_name(product: str, event: m.EventUpdate) -> str:
    """`snake_case` of Zoom's name.

    Of the protocol's second version only that it has codes is known, so that such an event has its code for a name.
    """
    if event.event_type is None:
        code = re.sub(r"[^A-Za-z0-9_]", "_", (event.event_code or "")[:_MAX_CODE_CHARS])
        return f"event_code_{code}" if code else "event_without_type"
    try:
        return product_of(product).events.names(event.event_type).name.lower()
    except ValueError:
        return f"event_{event.event_type}"


def on_message(stream: "Stream", message: m.Message) -> None:
    """Take in one message, its time made milliseconds since the epoch. It also tells how far the stream has come."""
    zoom_ms = time_ms(getattr(message, "timestamp", None))  # of a keep-alive it may be anything
    is_past = isinstance(message, m.EventUpdate) and message.event_type == EventType.FIRST_PACKET_TIMESTAMP
    if zoom_ms is not None and not is_past:
        stream.signaling.zoom_ms = zoom_ms
        stream.recorder.heard(zoom_ms)
    handler = HANDLERS.get(type(message))
    if handler is not None:
        handler(stream, _timed(message, zoom_ms))


def _timed(message: Any, zoom_ms: int | None) -> Any:
    return attrs.evolve(message, timestamp=zoom_ms)


def _on_event(stream: "Stream", message: m.EventUpdate) -> None:
    recorder = stream.recorder
    details: dict[str, Any] = {
        f"zoom_{key}" if key in OURS else key: value
        for key, value in message.details.items()
        if key not in {"event_type", "timestamp", "event_ts"}
    }
    listed = message.details.get("participants")
    if isinstance(listed, list) and len(listed) > MAX_PEOPLE:
        details = {"participants_left_out": len(listed) - MAX_PEOPLE, **details}
    name = event_name(stream.product, message)
    if not name.startswith(UNKNOWN) or stream.unknown_events < MAX_UNKNOWN_EVENTS:
        stream.unknown_events += name.startswith(UNKNOWN)
        recorder.event(name, message.timestamp, **details)
    elif message.event_type is not None:
        recorder.media.unknown()
    if message.event_type is None:
        recorder.media.unknown()
    events = product_of(stream.product).events
    match message.event_type:
        case EventType.FIRST_PACKET_TIMESTAMP:
            recorder.first_packet(message.timestamp)
        case number if number in events.leaves:
            recorder.participants_left(message.participants, message.timestamp)
        case number if number in events.joins:
            recorder.participants_joined(message.participants, message.timestamp)
        case EventType.MEDIA_CONNECTION_INTERRUPTED:
            stream.suspect_media(_media_type(message.details.get("media_type")))
        case _:
            recorder.participants_named(message.participants)


def _media_type(value: object) -> int | None:
    """No field that names a lost connection is documented: what is no number names none."""
    try:
        return read_int(value)
    except TypeError:
        return None


def _on_stream_state(stream: "Stream", message: m.StreamStateUpdate) -> None:
    stream.recorder.events.stream_state_update(message.state, message.reason, message.timestamp)
    _follow(stream, message.state, message.reason, message.timestamp)


def _on_stream_state_answer(stream: "Stream", message: m.StreamStateResp) -> None:
    if message.state is not None:
        _follow(stream, message.state, None, message.timestamp)


def _follow(stream: "Stream", state: int, reason: int | None, zoom_ms: int | None) -> None:
    """Follow the stream's state as Zoom has it, told (message 8) or asked for (message 20)."""
    match state:
        case StreamState.ACTIVE | StreamState.RESUMED:
            stream.pause(False, zoom_ms)
        case StreamState.PAUSED:
            stream.pause(True, zoom_ms)
        case StreamState.INTERRUPTED if reason == StopReason.DATA_CONNECTION_INTERRUPTED:
            stream.suspect_media(None)
        case StreamState.TERMINATING:
            stream.ending.announced(reason, stream.settings.streams.signaling_window_s)
        case StreamState.TERMINATED:
            stream.ending.terminated(reason, zoom_ms)
        case _:
            pass


def _on_session_state(stream: "Stream", message: m.SessionStateUpdate) -> None:
    stream.recorder.events.session_state(message.rtms_session_id, message.state, message.stop_reason, message.timestamp)
    if message.rtms_session_id is None:
        stream.recorder.media.unknown()
    sub_sessions = stream.sub_sessions
    was_over = sub_sessions.all_stopped
    if not sub_sessions.update(message):
        return
    if not sub_sessions.all_stopped:
        if was_over:
            stream.ending.call_off()
        stream.pause(sub_sessions.all_paused, message.timestamp)
    elif not was_over:
        stream.ending.last_session_stopped()


HANDLERS: Final[Mapping[type[m.Message], Callable[["Stream", Any], None]]] = {
    m.EventUpdate: _on_event,
    m.StreamStateUpdate: _on_stream_state,
    m.StreamStateResp: _on_stream_state_answer,
    m.SessionStateUpdate: _on_session_state,
}
