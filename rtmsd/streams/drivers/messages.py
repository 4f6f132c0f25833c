"""Zoom's messages on signaling, written down. What follows from them for the stream, the core decides."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import EventType
from rtmsd.protocol.products import product_of
from rtmsd.protocol.reading import Raw
from rtmsd.protocol.times import time_ms
from rtmsd.protocol.unknown import (
    UNEXPECTED,
    event_name,
    unknown_event,
    unknown_message,
    unknown_parts,
)
from rtmsd.protocol.unknown_media import unknown_in_sample
from rtmsd.protocol.variants import MAX_PEOPLE
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.unknown import MAX_KEPT

OURS: Final = frozenset({"self", "kind", "at_ms", "zoom_ms", "rtms_stream_id"})
"""Names of an event's own fields that a line of ours, or a call, has for something else."""

_SHOWN_OTHERWISE: Final = frozenset({"event_type", "timestamp", "event_ts"})

MAX_FROM_MEDIA: Final = 100
"""Unknown messages of one type that are kept of those on media connections: they may be media, at full rate."""


class MessageWriter:
    """Writes down what the messages of one stream say. The fields of an event are Zoom's, and bounded."""

    def __init__(self, recorder: Recorder, product: str) -> None:
        self._recorder = recorder
        self._events = product_of(product).events

    def write(self, message: m.Message) -> m.Message:
        """Take in one message, and return it with its time made milliseconds since the epoch, or None."""
        zoom_ms = time_ms(getattr(message, "timestamp", None))  # of a keep-alive it may be anything
        is_past = isinstance(message, m.EventUpdate) and message.event_type == EventType.FIRST_PACKET_TIMESTAMP
        if zoom_ms is not None and not is_past:
            self._recorder.heard(zoom_ms)
        timed = _timed(message, zoom_ms)
        self.keep_unknown(timed)
        match timed:
            case m.EventUpdate():
                self._event(timed)
            case m.StreamStateUpdate():
                self._recorder.events.stream_state_update(timed.state, timed.reason, zoom_ms)
            case m.SessionStateUpdate():
                self._recorder.events.session_state(timed.rtms_session_id, timed.state, timed.stop_reason, zoom_ms)
                if timed.rtms_session_id is None:
                    self._recorder.media.unknown(UNEXPECTED)
            case _:
                pass
        return timed

    def keep_unknown(self, message: m.Message, most: int = MAX_KEPT) -> None:
        """Keep what is unknown of any message but an event, which is known, or not, as a whole.

        Args:
            most: so many whole messages of one type.
        """
        unknown = self._recorder.unknown
        if isinstance(message, m.UnknownMessage | m.MetaData):
            fields = message.fields if isinstance(message, m.UnknownMessage) else {"content": message.content}
            fields = _renamed({**fields, **message.extra})
            unknown.take(unknown_message(message), fields, time_ms(fields.get("timestamp")), most=most)
            return
        most = 1 if isinstance(message, m.KeepAliveReq) else MAX_KEPT  # the same in each of them would fill the file
        for what, part in unknown_parts(message):
            unknown.take(what, part, kind=f"unknown_{what.kind}", most=most)

    def keep_unknown_of(self, raw: Raw) -> None:
        """Keep what is unknown of a sample of media, once of each name: all the others are the same."""
        for what, part in unknown_in_sample(raw):
            self._recorder.unknown.take(what, part, kind=f"unknown_{what.kind}", most=1)

    def _event(self, message: m.EventUpdate) -> None:
        recorder = self._recorder
        details = _renamed({key: value for key, value in message.details.items() if key not in _SHOWN_OTHERWISE})
        listed = message.details.get("participants")
        if isinstance(listed, list) and len(listed) > MAX_PEOPLE:
            details = {"participants_left_out": len(listed) - MAX_PEOPLE, **details}
        if (unknown := unknown_event(message, self._events)) is not None:
            recorder.unknown.take(unknown, details, message.timestamp)
        else:
            recorder.event(event_name(message, self._events), message.timestamp, **details)
        events = self._events
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


def _renamed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"zoom_{key}" if key in OURS else key: value for key, value in fields.items()}


def _timed(message: Any, zoom_ms: int | None) -> m.Message:
    timed: m.Message = attrs.evolve(message, timestamp=zoom_ms) if hasattr(message, "timestamp") else message
    return timed
