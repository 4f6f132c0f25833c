"""The exact record of what a simulated Zoom sent and got: what a test holds the daemon's files against.

All times ending in `_ms` are Zoom's; those ending in `_s` are `time.monotonic`, which is one clock for all processes
of a machine.
"""

import enum
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import attrs

from rtmsd.protocol.enums import MediaType, MsgType
from rtmsd.simulator.media.audio import AudioSource


class Fate(enum.IntEnum):
    """What became of something that was to be sent."""

    SENT = 0  # handed to the kernel in time
    BUFFERED = 1  # handed to the kernel late, out of the buffer
    IN_FLIGHT = 2  # handed to the kernel, which was then told to drop what had not left: it may have arrived
    LOST = 3  # given to a connection that played dead: it cannot have arrived
    DISCARDED = 4  # never sent: too old, not wanted (`buffer_data` false), or nobody connected


ARRIVED = frozenset({Fate.SENT, Fate.BUFFERED})


class AudioPacket(NamedTuple):
    """One packet as it went, or did not go, out. `number` counts packets on the session's time grid."""

    user_id: int
    number: int
    timestamp_ms: int
    duration_ms: int
    fate: Fate
    connection: int
    sent_s: float
    data: bytes


class AudioLog:
    """All packets of one participant in the order of their fate, 33 bytes each: what they held is made again."""

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self._numbers = array("q")
        self._timestamps_ms = array("q")
        self._fates = bytearray()
        self._connections = array("q")
        self._sent_s = array("d")
        self._sources: list[tuple[int, AudioSource]] = []  # from which row on, who made the data

    def add(self, number: int, timestamp_ms: int, fate: Fate, connection: int, source: AudioSource) -> None:
        if not self._sources or self._sources[-1][1] is not source:
            self._sources.append((len(self._fates), source))
        self._numbers.append(number)
        self._timestamps_ms.append(timestamp_ms)
        self._fates.append(fate)
        self._connections.append(connection)
        self._sent_s.append(time.monotonic())

    def revise(self, number: int, connection: int, fate: Fate) -> None:
        """Correct the fate of a packet that was sent on `connection` lately."""
        for row in range(len(self._fates) - 1, -1, -1):
            if self._numbers[row] == number and self._connections[row] == connection:
                self._fates[row] = fate
                return

    def __len__(self) -> int:
        return len(self._fates)

    @property
    def newest_ms(self) -> int:
        """When the last packet was spoken; 0 when there was none."""
        return self._timestamps_ms[-1] if self._timestamps_ms else 0

    def __iter__(self) -> Iterator[AudioPacket]:
        bounds = [*(first for first, _ in self._sources[1:]), len(self)]
        row = 0
        for (_, source), end in zip(self._sources, bounds, strict=True):
            for row in range(row, end):  # noqa: B020 - each source goes on where the one before ended
                number = self._numbers[row]
                yield AudioPacket(
                    self.user_id,
                    number,
                    self._timestamps_ms[row],
                    source.format.send_rate_ms,
                    Fate(self._fates[row]),
                    self._connections[row],
                    self._sent_s[row],
                    source.packet(number),
                )
            row = end

    def arrived(self) -> list[AudioPacket]:
        """Return what must be in the files: packets whose every byte reached the other side's kernel."""
        return [packet for packet in self if packet.fate in ARRIVED]

    def count(self, *fates: Fate) -> int:
        """Return how many packets met one of `fates`, or how many arrived when none is given."""
        wanted = fates or ARRIVED
        return sum(self._fates.count(fate) for fate in wanted)

    def intervals(self, *fates: Fate) -> list[tuple[int, int]]:
        """Return the time covered by packets of these fates (default: arrived), merged, as [from_ms, to_ms)."""
        wanted = fates or ARRIVED
        spans = sorted((p.timestamp_ms, p.timestamp_ms + p.duration_ms) for p in self if p.fate in wanted)
        merged: list[tuple[int, int]] = []
        for start, end in spans:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def arrived_ms(self) -> int:
        """Return how much time the arrived packets cover, each instant counted once."""
        return sum(end - start for start, end in self.intervals())

    def timeline(self) -> tuple[int, bytes]:
        """Return (start_ms, PCM) of what arrived, silence where nothing did: what a perfect L16 recording holds."""
        packets = sorted(self.arrived(), key=lambda packet: packet.timestamp_ms)
        if not packets:
            return 0, b""
        start_ms = packets[0].timestamp_ms
        track = bytearray()
        for packet in packets:
            bytes_per_ms = len(packet.data) // packet.duration_ms
            at = (packet.timestamp_ms - start_ms) * bytes_per_ms
            if at > len(track):
                track.extend(bytes(at - len(track)))
            track[at : at + len(packet.data)] = packet.data
        return start_ms, bytes(track)


@attrs.frozen(kw_only=True)
class SentItem:
    """A transcript, chat message or picture: `content` is as on the wire."""

    content: Mapping[str, Any]
    timestamp_ms: int
    fate: Fate
    connection: int


@attrs.define(kw_only=True)
class KeepAlive:
    """One request.

    Attributes:
        answered_s: None until the right answer came on the right connection.
        sequence_echoed: whether that answer repeated `sequence`. Zoom's SDK does, none of its samples does: the
            timestamp alone decides (section 18, row 31).
    """

    connection: int
    timestamp_ms: int
    sequence: int | None
    asked_s: float
    answered_s: float | None = None
    sequence_echoed: bool | None = None


@attrs.frozen(kw_only=True)
class Handshake:
    """A message 1 or 3 and how it was answered.

    Attributes:
        media_type: the granted bits, 0 for signaling.
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


@attrs.define(kw_only=True)
class ConnectionSpan:
    """A connection whose handshake succeeded, until and why it ended."""

    connection: int
    kind: str
    media_type: int
    opened_ms: int
    closed_ms: int | None = None
    why: str | None = None


@attrs.frozen(kw_only=True)
class ControlMessage:
    """A message of signaling, or of a media connection's control, as a JSON object."""

    connection: int
    at_ms: int
    fields: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class WebhookDelivery:
    """One POST. `kind` is "genuine", "retry", "duplicate", "forged" or "challenge".

    Attributes:
        status: None: nobody answered, and `error` says why.
    """

    event: str
    event_ts: int
    kind: str
    status: int | None
    error: str
    latency_s: float
    body: bytes = attrs.field(repr=False)
    answer: bytes = attrs.field(repr=False, default=b"")


@attrs.frozen
class Violation:
    """Something no well-behaved client does; `name` is stable, for tests."""

    name: str
    detail: str
    at_ms: int


@attrs.frozen
class StrayConnection:
    """A TCP connection that became no WebSocket of ours, and why."""

    why: str


Notice: TypeAlias = Handshake | Violation | StrayConnection | WebhookDelivery
"""Something to be reported at once: a handshake and its answer, an offence, a failed connection, a webhook's answer."""


@attrs.define
class Record:
    """Everything of one stream. Lists are in the order in which things happened.

    Attributes:
        observer: called with each handshake and violation as it happens.
    """

    observer: Callable[[Handshake | Violation], None] = attrs.field(default=lambda notice: None, repr=False, eq=False)

    audio: dict[int, AudioLog] = attrs.field(factory=dict)
    transcripts: list[SentItem] = attrs.field(factory=list)
    chats: list[SentItem] = attrs.field(factory=list)
    video: list[SentItem] = attrs.field(factory=list)
    share: list[SentItem] = attrs.field(factory=list)
    sent: list[ControlMessage] = attrs.field(factory=list)  # keep-alives are in `keep_alives`
    received: list[ControlMessage] = attrs.field(factory=list)
    keep_alives: list[KeepAlive] = attrs.field(factory=list)
    handshakes: list[Handshake] = attrs.field(factory=list)
    connections: list[ConnectionSpan] = attrs.field(factory=list)
    webhooks: list[WebhookDelivery] = attrs.field(factory=list)
    hostile: Counter[str] = attrs.field(factory=Counter)  # broken frames sent, by kind
    unknown: Counter[str] = attrs.field(factory=Counter)  # messages the client sent that are no message
    violations: list[Violation] = attrs.field(factory=list)

    def audio_of(self, user_id: int) -> AudioLog:
        """Return the log of a participant (0 is the mix), empty when nothing was to be sent yet."""
        if user_id not in self.audio:
            self.audio[user_id] = AudioLog(user_id)
        return self.audio[user_id]

    def violate(self, name: str, detail: str, at_ms: int) -> None:
        """Record something no well-behaved client does."""
        violation = Violation(name, detail, at_ms)
        self.violations.append(violation)
        self.observer(violation)

    def answered(self, handshake: Handshake) -> None:
        """Record how a handshake was answered."""
        self.handshakes.append(handshake)
        self.observer(handshake)

    def items(self, media: MediaType) -> list[SentItem]:
        """Return the list of a kind of media that is not audio."""
        return {
            MediaType.TRANSCRIPT: self.transcripts,
            MediaType.CHAT: self.chats,
            MediaType.VIDEO: self.video,
            MediaType.DESKSHARE: self.share,
        }[media]

    def events(self, event_type: int) -> list[Mapping[str, Any]]:
        """Return the `event` objects of this type in the order sent."""
        return [
            event
            for message in self.sent
            if isinstance(event := message.fields.get("event"), dict) and event["event_type"] == event_type
        ]

    def messages(self, msg_type: MsgType) -> list[Mapping[str, Any]]:
        """Return the control messages of this type, sent and received."""
        return [m.fields for m in (*self.sent, *self.received) if m.fields.get("msg_type") == msg_type]

    def refusals(self) -> list[Handshake]:
        return [handshake for handshake in self.handshakes if handshake.status_code != 0]

    def keep_alive_latency_s(self) -> list[float]:
        """Return how long each answered keep-alive took."""
        return [k.answered_s - k.asked_s for k in self.keep_alives if k.answered_s is not None]

    def violation_names(self) -> Counter[str]:
        return Counter(violation.name for violation in self.violations)

    def summary(self) -> dict[str, Any]:
        """Return the counts of everything, for a report or a log line."""
        return {
            "audio_packets": {fate.name.lower(): sum(log.count(fate) for log in self.audio.values()) for fate in Fate},
            "audio_ms": {user_id: log.arrived_ms() for user_id, log in self.audio.items()},
            "transcripts": sum(item.fate in ARRIVED for item in self.transcripts),
            "keep_alives": len(self.keep_alives),
            "keep_alives_answered": len(self.keep_alive_latency_s()),
            "handshakes": sum(handshake.status_code == 0 for handshake in self.handshakes),
            "refusals": dict(Counter(handshake.status_code for handshake in self.refusals())),
            "connections": len(self.connections),
            "webhooks": [(delivery.event, delivery.kind, delivery.status) for delivery in self.webhooks],
            "hostile": dict(self.hostile),
            "violations": dict(self.violation_names()),
        }
