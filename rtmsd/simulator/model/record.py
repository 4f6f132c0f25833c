"""The exact record of what a simulated Zoom sent and received: the reference for the daemon's files.

Times ending in `_ms` are Zoom's; those ending in `_s` are `time.monotonic`, which is one clock for all processes of a
machine.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.protocol.enums import MediaType, MsgType
from rtmsd.simulator.model.audio_log import AudioLog
from rtmsd.simulator.model.fate import ARRIVED, Fate


@attrs.frozen(kw_only=True)
class SentItem:
    """A transcript, chat message or picture: `content` is as on the wire, `counter` what a picture shows."""

    content: Mapping[str, Any]
    timestamp_ms: int
    fate: Fate
    connection: int
    counter: int | None = None


@attrs.define(kw_only=True)
class KeepAlive:
    """A keep-alive request.

    Attributes:
        answered_s: None until the right answer is received on the right connection.
        sequence_echoed: whether that answer repeated `sequence`. Zoom's SDK does, none of its samples does: the
            timestamp alone decides (section 18, row 31).
    """

    connection: int
    timestamp_ms: int
    sequence: int | None
    asked_s: float
    answered_s: float | None = None
    sequence_echoed: bool | None = None


@attrs.frozen
class Peer:
    """The client's end of a connection. `pid` is its process, where the settings ask for it and this machine has it."""

    host: str
    port: int
    pid: int | None = None

    def is_another_process(self, other: "Peer") -> bool:
        """Whether the two are known to be different processes."""
        return self.pid is not None and other.pid is not None and self.pid != other.pid

    @property
    def address(self) -> str:
        """Return host and port as a URL has them, IPv6 in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


UNKNOWN: Final = Peer("", 0)
"""The peer of a connection that was gone before it could be asked for its address."""


@attrs.frozen(kw_only=True)
class Handshake:
    """A message 1 or 3 and its answer.

    Attributes:
        media_type: the granted bits, 0 for signaling.
        rival: the number of the signaling connection that was live when this second one came with all that it needs:
            the rival stayed and this one was refused, or this one evicted it.
        lenient: it was refused, and a lenient server (`SimulatorSettings.strict`) would have accepted it.
    """

    connection: int
    kind: str
    media_type: int
    status_code: int
    reason: str
    at_ms: int
    path: str
    lenient: bool = False
    peer: Peer = UNKNOWN
    rival: int | None = None


@attrs.define(kw_only=True)
class ConnectionSpan:
    """A connection whose handshake succeeded, with the time and reason of its end.

    Attributes:
        flows_ms: since when it brings media; None: it did not come to that.
    """

    connection: int
    kind: str
    media_type: int
    opened_ms: int
    flows_ms: int | None = None
    closed_ms: int | None = None
    why: str | None = None
    peer: Peer = UNKNOWN


@attrs.frozen(kw_only=True)
class ControlMessage:
    """A message of signaling, or of a media connection's control, as a JSON object."""

    connection: int
    at_ms: int
    fields: Mapping[str, Any]


@attrs.frozen
class FailedTry:
    """A URL that a balancer gave up for the next one, and why."""

    url: str
    why: str


@attrs.frozen(kw_only=True)
class WebhookDelivery:
    """One POST of a webhook. `kind` is "genuine", "retry", "duplicate", "forged" or "challenge".

    Attributes:
        status: None without an answer; `error` says why.
        url: that this is the outcome of; "" without one.
        failed_tries: those before it (`SimulatorSettings.webhook_failover`).
    """

    event: str
    event_ts: int
    kind: str
    status: int | None
    error: str
    latency_s: float
    body: bytes = attrs.field(repr=False)
    answer: bytes = attrs.field(repr=False, default=b"")
    url: str = ""
    failed_tries: tuple[FailedTry, ...] = ()

    @property
    def is_accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300 and not self.error

    @property
    def outcome(self) -> str:
        """Return the error, or the status, in words."""
        return self.error or f"status {self.status}"


@attrs.frozen
class Violation:
    """A breach of the protocol by the client; `name` is stable, for tests."""

    name: str
    detail: str
    at_ms: int


@attrs.frozen
class StrayConnection:
    """A TCP connection that did not become the WebSocket of a stream, and why."""

    why: str


Notice: TypeAlias = Handshake | Violation | StrayConnection | WebhookDelivery
"""An event to be reported at once: the answer to a handshake or a webhook, a violation, a failed connection."""


@attrs.define
class Record:
    """The record of one stream. Lists are in the order of events.

    Attributes:
        observer: called with each handshake and violation as it happens.
    """

    observer: Callable[[Handshake | Violation], None] = attrs.field(default=lambda notice: None, repr=False, eq=False)

    audio: dict[int, AudioLog] = attrs.field(factory=dict)
    rtp_skipped: Counter[int] = attrs.field(factory=Counter)  # sequence numbers left out on demand, by user id
    transcripts: list[SentItem] = attrs.field(factory=list)
    chats: list[SentItem] = attrs.field(factory=list)
    video: list[SentItem] = attrs.field(factory=list)
    share: list[SentItem] = attrs.field(factory=list)
    others: dict[MediaType, list[SentItem]] = attrs.field(factory=dict)
    sent: list[ControlMessage] = attrs.field(factory=list)  # keep-alives are in `keep_alives`
    received: list[ControlMessage] = attrs.field(factory=list)
    keep_alives: list[KeepAlive] = attrs.field(factory=list)
    handshakes: list[Handshake] = attrs.field(factory=list)
    connections: list[ConnectionSpan] = attrs.field(factory=list)
    webhooks: list[WebhookDelivery] = attrs.field(factory=list)
    hostile: Counter[str] = attrs.field(factory=Counter)  # broken frames sent, by kind
    unknown: Counter[str] = attrs.field(factory=Counter)  # unexpected messages of the client, by kind
    violations: list[Violation] = attrs.field(factory=list)

    def audio_of(self, user_id: int) -> AudioLog:
        """Return the log of a participant (0 is the mix), a new one for a new participant."""
        if user_id not in self.audio:
            self.audio[user_id] = AudioLog(user_id)
        return self.audio[user_id]

    def violate(self, name: str, detail: str, at_ms: int) -> None:
        """Record a breach of the protocol by the client."""
        violation = Violation(name, detail, at_ms)
        self.violations.append(violation)
        self.observer(violation)

    def answered(self, handshake: Handshake) -> None:
        """Record a handshake with its answer."""
        self.handshakes.append(handshake)
        self.observer(handshake)

    def items(self, media: MediaType) -> list[SentItem]:
        """Return the list of a kind of media that is not audio."""
        listed = {
            MediaType.TRANSCRIPT: self.transcripts,
            MediaType.CHAT: self.chats,
            MediaType.VIDEO: self.video,
            MediaType.DESKSHARE: self.share,
        }
        return listed[media] if media in listed else self.others.setdefault(media, [])

    def events(self, event_type: int) -> list[Mapping[str, Any]]:
        """Return the `event` objects of this type in the order sent."""
        return [
            event
            for message in self.sent
            if isinstance(event := message.fields.get("event"), dict) and event.get("event_type") == event_type
        ]

    def messages(self, msg_type: MsgType) -> list[Mapping[str, Any]]:
        """Return the control messages of this type, sent and received."""
        return [m.fields for m in (*self.sent, *self.received) if m.fields.get("msg_type") == msg_type]

    def refusals(self) -> list[Handshake]:
        return [handshake for handshake in self.handshakes if handshake.status_code != 0]

    def keep_alive_latency_s(self) -> list[float]:
        """Return the latency of each answered keep-alive."""
        return [k.answered_s - k.asked_s for k in self.keep_alives if k.answered_s is not None]

    def violation_names(self) -> Counter[str]:
        return Counter(violation.name for violation in self.violations)

    def summary(self) -> dict[str, Any]:
        """Return all counts, for a report or a log line."""
        return {
            "audio_packets": {fate.name.lower(): sum(log.count(fate) for log in self.audio.values()) for fate in Fate},
            "audio_ms": {user_id: log.arrived_ms() for user_id, log in self.audio.items()},
            "transcripts": _arrived(self.transcripts),
            "chats": _arrived(self.chats),
            "video": _arrived(self.video),
            "share": _arrived(self.share),
            "keep_alives": len(self.keep_alives),
            "keep_alives_answered": len(self.keep_alive_latency_s()),
            "handshakes": sum(handshake.status_code == 0 for handshake in self.handshakes),
            "refusals": dict(Counter(handshake.status_code for handshake in self.refusals())),
            "connections": len(self.connections),
            "webhooks": [(delivery.event, delivery.kind, delivery.status) for delivery in self.webhooks],
            "hostile": dict(self.hostile),
            "violations": dict(self.violation_names()),
        }


def _arrived(items: Iterable[SentItem]) -> int:
    return sum(item.fate in ARRIVED for item in items)
