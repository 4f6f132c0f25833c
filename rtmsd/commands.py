"""The commands to a stream, from a webhook or an operator, free of HTTP; and the verdicts on them."""

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
    """`*.rtms_stopped`. Only the stream's id is required.

    Attributes:
        session: its `id` is empty when the webhook had none.
        event_ts: None when the webhook had none, or an invalid one.
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
    """A polite end, by order of an operator: not an event of Zoom, and not in the journal."""

    rtms_stream_id: str


StreamCommand: TypeAlias = StartStream | StopStream | InterruptStream
Command: TypeAlias = StreamCommand | CloseStream


class Verdict(enum.Enum):
    """The result of handing a command over."""

    NEW = "new"  # taken on
    DUPLICATE = "duplicate"  # delivered before: nothing to do
    LATE = "late"  # a retry that comes after its stream ended: nothing to do
    FOREIGN = "foreign"  # signed by an app that does not own the stream: nothing to do
    REFUSED = "refused"  # a start while draining or short of disk: Zoom will try again later


class Intake(Protocol):
    """The receiver of commands: in the daemon the journal, then the supervisor."""

    async def accept(self, command: StreamCommand) -> Verdict:
        """Make the command safe, and only then return. An exception means that it is not."""
