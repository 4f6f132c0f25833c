"""What can be told of streams: one as a person sees it, and all of them as sums for the metrics."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from rtmsd.recording.revoke import receipt
from rtmsd.streams.media import LinkState

if TYPE_CHECKING:
    from rtmsd.streams.life import Life
    from rtmsd.streams.stream import Stream


def told(life: "Life") -> dict[str, Any]:
    """Everything known of one stream: its manifest, and what is only true now. Of an ended one, what stays true."""
    row = life.row
    known: dict[str, Any] = {
        "rtms_stream_id": row.rtms_stream_id,
        "product": row.product,
        "id": row.session.id,
        "app": row.app,
        "state": state_of(life),
        "started_ms": row.started_ms,
        "ended_ms": None,
        "stop_reason": None,
        "participants": [],
        "gaps": [],
    }
    if life.recorder is not None:
        known |= life.recorder.snapshot() | {"directory": str(life.recorder.directory)}
    if life.stream is not None:
        known |= _connections(life.stream)
    if life.outcome is not None:
        known |= {"rates": {}, "lag_ms": None, "why": life.outcome.why}
        if life.outcome.state == "revoked":
            known = {**receipt(known), "directory": known.get("directory"), "why": life.outcome.why}
    return known


def state_of(life: "Life") -> str:
    """The stream's state, as the manifest names it."""
    if life.recorder is not None:
        return life.recorder.state_name
    return "connecting" if life.outcome is None else life.outcome.state


def _connections(stream: "Stream") -> dict[str, Any]:
    """The connections of a stream, beside what its recorder knows."""
    return {
        "keep_alives": keep_alives(stream),
        "signaling_up": stream.signaling.is_up,
        "links": [
            {"media": sorted(link.media), "state": link.state.value, "why": link.why, "ignored": dict(link.ignored)}
            for link in stream.links
        ],
        "ignored": dict(stream.signaling.ignored),
        "why": stream.why,
    }


def keep_alives(stream: "Stream") -> dict[str, int]:
    """How many requests were answered, by kind of connection."""
    return {"signaling": stream.signaling.keep_alives, "media": sum(link.keep_alives for link in stream.links)}


def is_silent(stream: "Stream", for_s: float) -> bool:
    """Whether a connected link heard neither media nor keep-alives for so long."""
    now = trio.current_time()
    return any(link.state is LinkState.STREAMING and now - link.last_heard_s > for_s for link in stream.links)


@attrs.define
class Tally:
    """Sums over streams, under the labels of the metrics; `ended` is by the final state."""

    streams: int = 0
    ended: Counter[str] = attrs.field(factory=Counter)
    messages: Counter[str] = attrs.field(factory=Counter)
    media_bytes: Counter[str] = attrs.field(factory=Counter)
    dropped: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    reconnects: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    keep_alives: Counter[str] = attrs.field(factory=Counter)

    def add(self, stream: "Stream") -> None:
        recorder = stream.recorder
        self.streams += 1
        self.messages.update(recorder.messages)
        self.media_bytes.update(recorder.media_bytes)
        self.dropped.update(recorder.dropped)
        self.reconnects.update(stream.outage.recoveries)
        self.keep_alives.update(keep_alives(stream))

    def copy(self) -> "Tally":
        return Tally(**{field.name: _copied(getattr(self, field.name)) for field in attrs.fields(Tally)})


def _copied(value: Any) -> Any:
    return Counter(value) if isinstance(value, Counter) else value
