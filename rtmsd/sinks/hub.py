"""The fan-out to live sinks: events of all streams, and the media of one."""

from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from typing import Protocol

from rtmsd.sinks.base import JsonObject, LiveSink


class EventSink(Protocol):
    """The part of `LiveSink` that a reader of events alone needs."""

    def event(self, event: JsonObject) -> None: ...


class LiveHub:
    """Passes each event to every sink attached at that moment; without sinks an event costs nothing.

    Media do not take the way over the hub: each recorder calls the sinks in a list of its own, so that a stream that
    nobody listens to pays for one test of an empty list per packet.

    Attributes:
        media_sinks: how many hear media, of whatever stream.
        on_media_sink: called when one more does.
    """

    def __init__(self) -> None:
        self._sinks: list[EventSink] = []
        self.media_sinks = 0
        self.on_media_sink: Callable[[], None] = lambda: None

    def publish(self, event: JsonObject) -> None:
        """Pass on a line of `events.jsonl`, with its `rtms_stream_id`, without waiting."""
        for sink in self._sinks:
            sink.event(event)

    @contextmanager
    def attached(self, sink: EventSink) -> Iterator[None]:
        """Let a sink hear all events."""
        self._sinks.append(sink)
        try:
            yield
        finally:
            self._sinks.remove(sink)

    @contextmanager
    def attached_to(self, listeners: MutableSequence[LiveSink], sink: LiveSink) -> Iterator[None]:
        """Let a sink hear all events, and the media of the recorder whose `listeners` these are."""
        listeners.append(sink)
        self.media_sinks += 1
        self.on_media_sink()
        try:
            with self.attached(sink):
                yield
        finally:
            self.media_sinks -= 1
            listeners.remove(sink)
