"""What a webhook, or an operator, asks of a stream, free of HTTP, and how the asking ended."""

import enum
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

import attrs

from rtmsd.protocol.messages import SessionRef


@attrs.frozen(kw_only=True)
class StartStream:
    """`*.rtms_started`: a new stream, or a live one whose RTMS server moved (a newer `event_ts`).

    Attributes:
        product: the webhook's prefix: "session", "meeting", "webinar", "contact_center", "phone".
        server_urls: the first usable URL of the webhook's comma list.
        app: name of the configured app whose secret verified the event.
        event_ts: Zoom's time of the event, in milliseconds since the Unix epoch; a retry repeats it.
        details: the payload's other fields (`session_key`, `operator_id`, `account_id`, ...), within bounds.
    """

    product: str
    session: SessionRef
    rtms_stream_id: str
    server_urls: str = attrs.field(repr=False)
    app: str
    event_ts: int
    details: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class StopStream:
    """`*.rtms_stopped`. The stream's id is all that it needs.

    Attributes:
        session: its `id` is empty when the webhook had none.
        event_ts: None when the webhook had none, or one that is no time.
        stop_reason: the wire's number, known to `StopReason` or not; 0 when there was none.
    """

    product: str
    session: SessionRef
    rtms_stream_id: str
    app: str
    event_ts: int | None
    stop_reason: int


@attrs.frozen(kw_only=True)
class InterruptStream:
    """`*.rtms_interrupted`: signaling was lost. Today's schema has no URL: None means the stored one."""

    product: str
    session: SessionRef
    rtms_stream_id: str
    app: str
    event_ts: int
    server_urls: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class CloseStream:
    """An operator asks for the polite end. This is no event of Zoom's, and not kept in the journal."""

    rtms_stream_id: str


StreamCommand: TypeAlias = StartStream | StopStream | InterruptStream
Command: TypeAlias = StreamCommand | CloseStream


class Verdict(enum.Enum):
    """What became of a command that was handed over."""

    NEW = "new"  # taken on
    DUPLICATE = "duplicate"  # delivered before: nothing to do
    LATE = "late"  # a retry that comes after its stream ended: nothing to do
    FOREIGN = "foreign"  # signed by another app than the one whose stream it is: nothing to do
    REFUSED = "refused"  # a start while draining or short of disk: Zoom shall try again later


class Intake(Protocol):
    """Who takes commands on: for the daemon, the journal and then the supervisor."""

    async def accept(self, command: StreamCommand) -> Verdict:
        """Make the command safe, and only then return. An exception means that it is not."""
        ...
