"""A stream as the state file, or the engine of a cluster, has it."""

from collections.abc import Mapping
from typing import Any

import attrs

from rtmsd.protocol.messages import SessionRef


@attrs.frozen(kw_only=True)
class StreamRow:
    """A stream as it is stored; Zoom's times in milliseconds since the Unix epoch.

    Attributes:
        server_urls, started_ms: None when only a stop was received.
        started_ms: `event_ts` of the first start, which names the recording's directory.
        event_ts: of the latest start, or of the stop when there was no start.
        stop_reason, stopped_ms: of the end; None while the stream lives.
        closed: its files are finished; the row is a tombstone.
        details: the latest start's other fields.
    """

    rtms_stream_id: str
    product: str
    session: SessionRef
    app: str
    server_urls: str | None = attrs.field(repr=False)
    started_ms: int | None
    event_ts: int
    stop_reason: int | None
    stopped_ms: int | None
    closed: bool
    details: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen
class Delivery:
    """The key of an accepted webhook, by which a repeated one is recognized.

    Attributes:
        event: Zoom's name with the product's: "session.rtms_started".
        event_ts: Zoom's time of it; of a stop without one, that of the latest start.
        session_id: empty when the webhook had none.
    """

    event: str
    event_ts: int
    session_id: str


@attrs.frozen
class Known:
    """What is known of one stream before a command is judged: see `verdicts`.

    Attributes:
        row: None: nothing but, perhaps, deliveries.
        delivered: accepted webhooks of the last 90 minutes, the newest last.
    """

    row: StreamRow | None = None
    delivered: tuple[Delivery, ...] = ()
