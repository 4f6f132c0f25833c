"""What `events.jsonl` gets, live: the daemon publishes, any number of readers follow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol

from rtmsd.admin.messages import NDJSON_TYPE, JsonObject, json_line
from rtmsd.admin.ring import Ring
from rtmsd.http.messages import StreamReply

RING_BYTES: Final = 1 << 20  # a reader, beyond what its socket holds


class EventListener(Protocol):
    def event(self, event: JsonObject) -> None: ...


class EventHub:
    """Hands each event to everybody who listens at that moment; without listeners an event costs nothing."""

    def __init__(self) -> None:
        self._listeners: list[EventListener] = []

    def publish(self, event: JsonObject) -> None:
        """Tell all listeners, without waiting, of a line of `events.jsonl`, which has got its `rtms_stream_id`."""
        for listener in self._listeners:
            listener.event(event)

    @contextmanager
    def heard_by(self, listener: EventListener) -> Iterator[None]:
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)


class _EventSource:
    """NDJSON of all events. A slow reader loses its oldest, and is told `{"kind": "lost", "events": n}`."""

    def __init__(self) -> None:
        self._ring: Ring[bytes] = Ring(RING_BYTES)

    def event(self, event: JsonObject) -> None:
        line = json_line(event)
        self._ring.put(line, len(line))

    async def chunk(self) -> bytes | None:
        batch = await self._ring.take()
        if batch is None:
            return None
        lost = [json_line({"kind": "lost", "events": batch.lost})] if batch.lost else []
        return b"".join(lost + batch.items)

    def trailers(self) -> Mapping[str, str]:
        return {}


def events_reply(hub: EventHub) -> StreamReply:
    @contextmanager
    def follow() -> Iterator[_EventSource]:
        source = _EventSource()
        with hub.heard_by(source):
            yield source

    return StreamReply(content_type=NDJSON_TYPE, open=follow)
