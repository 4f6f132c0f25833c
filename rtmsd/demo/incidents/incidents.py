"""What was done to who records, what it may cost each stream, and what it did cost. Pure.

Times are Zoom's, whose clock runs with the local one in this demo: those of the daemon are the same.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from rtmsd.demo.checks import missing_transcripts
from rtmsd.demo.evidence import Evidence, Gap
from rtmsd.demo.speakers import Speaker
from rtmsd.demo.story import Fault, Played
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import MediaType
from rtmsd.simulator import Record

BEFORE_MS: Final = 2000  # Zoom goes on where it was, a little before the incident: there the gap ends that it left


@attrs.frozen(kw_only=True)
class Limits:
    """The most that an incident may cost a stream that it hits; None: no limit is stated.

    Attributes:
        dead_s: until whoever had the stream is dead.
        claimed_s: until another has it.
        media_s: from the death until its media flow again.
        audio_s: of audio lost, beside what came until the death, if that has a limit.
        transcripts_s: without a connection that brings transcripts.
    """

    dead_s: float | None = None
    claimed_s: float | None = None
    media_s: float | None = None
    audio_s: float = 0.0
    transcripts_s: float | None = None


@attrs.define
class Incident:
    """Something done on purpose to who records.

    Attributes:
        hit: the streams whose connections it ends. Others may lose nothing.
        cause: of the gaps that it may leave in them.
        dead_ms: when whoever had them was dead, or left them, or the daemon that goes on with them was started.
        released_ms: by stream, when Zoom let go of it, if time counts from then.
        death: what it counts from, in words.
        over_ms: when the media of all flowed again; None: they never did.
        outcome: in words, for the report.
    """

    name: str
    from_ms: int
    hit: frozenset[str] = frozenset()
    limits: Limits = Limits()
    cause: GapCause = GapCause.DAEMON_RESTART
    dead_ms: int | None = None
    released_ms: Mapping[str, int] = attrs.field(factory=dict)
    death: str = "death"
    over_ms: int | None = None
    outcome: str = ""

    def fault_of(self, rtms_stream_id: str) -> Fault:
        """Return what it is to one stream, as the cause of gaps."""
        return Fault(self.name, self.cause if rtms_stream_id in self.hit else None, self.from_ms, self.over_ms)


@attrs.frozen
class Stream:
    """One stream, examined.

    Attributes:
        name: for people.
        twins: pairs of its connections that were live at one instant, and must not be.
    """

    name: str
    played: Played
    evidence: Evidence
    heard: Sequence[Speaker]
    twins: int = 0

    @property
    def rtms_stream_id(self) -> str:
        return self.played.session.rtms_stream_id

    @property
    def claims_ms(self) -> list[int]:
        """When a process took it over."""
        return [event["at_ms"] for event in self.evidence.events if "epoch" in event]


@attrs.frozen(kw_only=True)
class Cost:
    """The cost of an incident for a stream.

    Attributes:
        claimed_ms: from the incident to each claim.
        media_ms: from the death until all its media flowed; None: they never did.
        audio_ms: lost of the participant that lost most.
        transcripts: lost.
        deaf_ms: without a connection that brought transcripts.
        opened: connections opened because of it.
    """

    claimed_ms: tuple[int, ...]
    media_ms: int | None
    audio_ms: int
    transcripts: int
    deaf_ms: int
    opened: int

    @property
    def is_nothing(self) -> bool:
        return not (self.claimed_ms or self.audio_ms or self.transcripts or self.opened)


def cost_of(number: int, incidents: Sequence[Incident], stream: Stream) -> Cost:
    """Return what the incident of this number cost a stream: all that was lost until the next one began.

    What was in the memory of who died came before, on a slow disk long before. It is in the gap that the death left.
    """
    incident, is_last = incidents[number], number + 1 == len(incidents)
    later_ms = stream.played.ended_ms if is_last else incidents[number + 1].from_ms
    lost_from_ms, lost_to_ms = incident.from_ms - BEFORE_MS, math.inf if is_last else later_ms - BEFORE_MS

    def is_due_to_it(gaps: Iterable[Gap], at_ms: int) -> bool:
        return lost_from_ms <= _over_ms(gaps, at_ms) < lost_to_ms

    dead_ms = incident.from_ms if incident.dead_ms is None else incident.dead_ms
    since_ms = incident.released_ms.get(stream.rtms_stream_id, dead_ms)
    record = stream.played.session.record
    flows_ms = flows_again_ms(record, incident.from_ms)
    lost = missing_transcripts(record, stream.played.connected_ms, stream.evidence)
    return Cost(
        claimed_ms=tuple(
            at_ms - incident.from_ms for at_ms in stream.claims_ms if incident.from_ms <= at_ms < later_ms
        ),
        media_ms=None if flows_ms is None or flows_ms >= later_ms else max(0, flows_ms - since_ms),
        audio_ms=max(
            (
                sum(
                    packet.duration_ms
                    for packet in speaker.missing
                    if is_due_to_it(stream.evidence.gaps_of("audio", speaker.user_id), packet.timestamp_ms)
                )
                for speaker in stream.heard
            ),
            default=0,
        ),
        transcripts=sum(is_due_to_it(stream.evidence.gaps_of("transcript"), item.timestamp_ms) for item in lost),
        deaf_ms=down_ms(record, MediaType.TRANSCRIPT, incident.from_ms, later_ms),
        opened=sum(incident.from_ms <= span.opened_ms < later_ms for span in record.connections),
    )


def _over_ms(gaps: Iterable[Gap], at_ms: int) -> int:
    """Return when the gap ends that a time is in; the time itself, if it is in none."""
    return max((gap.to_ms for gap in gaps if gap.from_ms <= at_ms < gap.to_ms), default=at_ms)


def flows_again_ms(record: Record, since_ms: int) -> int | None:
    """Return when audio and transcript both flowed on connections opened since then; None: they did not."""
    first = [min(_flows(record, media, since_ms), default=None) for media in (MediaType.AUDIO, MediaType.TRANSCRIPT)]
    known = [at_ms for at_ms in first if at_ms is not None]
    return max(known) if len(known) == len(first) else None


def _flows(record: Record, media: MediaType, since_ms: int) -> Iterator[int]:
    for span in record.connections:
        if span.flows_ms is not None and span.opened_ms >= since_ms and media in MediaType(span.media_type):
            yield span.flows_ms


def down_ms(record: Record, media: MediaType, from_ms: int, to_ms: int) -> int:
    """Return for how much of a time no connection brought a kind of media."""
    spans = [span for span in record.connections if media in MediaType(span.media_type)]
    up = sorted((s.flows_ms, to_ms if s.closed_ms is None else s.closed_ms) for s in spans if s.flows_ms is not None)
    down, up_to_ms = 0, from_ms
    for flows_ms, closed_ms in (*up, (to_ms, to_ms)):
        down += max(0, min(flows_ms, to_ms) - up_to_ms)
        up_to_ms = max(up_to_ms, closed_ms)
    return down
