"""Zoom's messages on signaling, written down. What follows from them for the stream, the core decides."""

import re
from typing import Any, Final

import attrs

from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import EventType
from rtmsd.protocol.products import product_of
from rtmsd.protocol.times import time_ms
from rtmsd.protocol.variants import MAX_PEOPLE
from rtmsd.recording.recorder import Recorder

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


class MessageWriter:
    """Writes down what the messages of one stream say. The fields of an event are Zoom's, and bounded."""

    def __init__(self, recorder: Recorder, product: str) -> None:
        self._recorder = recorder
        self._product = product
        self._unknown_events = 0

    def write(self, message: m.Message) -> m.Message:
        """Take in one message, and return it with its time made milliseconds since the epoch, or None."""
        zoom_ms = time_ms(getattr(message, "timestamp", None))  # of a keep-alive it may be anything
        is_past = isinstance(message, m.EventUpdate) and message.event_type == EventType.FIRST_PACKET_TIMESTAMP
        if zoom_ms is not None and not is_past:
            self._recorder.heard(zoom_ms)
        timed = _timed(message, zoom_ms)
        match timed:
            case m.EventUpdate():
                self._event(timed)
            case m.StreamStateUpdate():
                self._recorder.events.stream_state_update(timed.state, timed.reason, zoom_ms)
            case m.SessionStateUpdate():
                self._recorder.events.session_state(timed.rtms_session_id, timed.state, timed.stop_reason, zoom_ms)
                if timed.rtms_session_id is None:
                    self._recorder.media.unknown()
            case _:
                pass
        return timed

    def _event(self, message: m.EventUpdate) -> None:
        recorder = self._recorder
        details: dict[str, Any] = {
            f"zoom_{key}" if key in OURS else key: value
            for key, value in message.details.items()
            if key not in {"event_type", "timestamp", "event_ts"}
        }
        listed = message.details.get("participants")
        if isinstance(listed, list) and len(listed) > MAX_PEOPLE:
            details = {"participants_left_out": len(listed) - MAX_PEOPLE, **details}
        name = event_name(self._product, message)
        if not name.startswith(UNKNOWN) or self._unknown_events < MAX_UNKNOWN_EVENTS:
            self._unknown_events += name.startswith(UNKNOWN)
            recorder.event(name, message.timestamp, **details)
        elif message.event_type is not None:
            recorder.media.unknown()
        if message.event_type is None:
            recorder.media.unknown()
        events = product_of(self._product).events
        match message.event_type:
            case EventType.FIRST_PACKET_TIMESTAMP:
                recorder.first_packet(message.timestamp)
            case number if number in events.leaves:
                recorder.participants_left(message.participants, message.timestamp)
            case number if number in events.joins:
                recorder.participants_joined(message.participants, message.timestamp)
            case EventType.MEDIA_CONNECTION_INTERRUPTED:
                pass
            case _:
                recorder.participants_named(message.participants)


def _timed(message: Any, zoom_ms: int | None) -> m.Message:
    timed: m.Message = attrs.evolve(message, timestamp=zoom_ms) if hasattr(message, "timestamp") else message
    return timed
