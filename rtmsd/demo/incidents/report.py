"""The report on several streams: what each incident cost, and whether it stayed within its limits."""

from collections.abc import Iterator, Sequence

import attrs
from rich.text import Text

from rtmsd.demo.checks import Check
from rtmsd.demo.incidents.incidents import Incident, Stream, cost_of
from rtmsd.demo.report import all_hold, check_lines, heading, place_lines
from rtmsd.demo.stage import Stage


@attrs.frozen
class StreamsReport:
    """See `rtmsd.demo.performance.Report`. `streams` is empty when files could not be read; then `checks` say so.

    Attributes:
        title: the command.
        summary: what was played.
        daemons: whose logs there are.
    """

    title: str
    summary: str
    stage: Stage
    daemons: Sequence[Stage]
    incidents: Sequence[Incident]
    streams: Sequence[Stream]
    checks: Sequence[Check]

    @property
    def holds(self) -> bool:
        return all_hold(self.checks)

    def lines(self) -> Iterator[Text]:
        yield from heading(f"{self.title}: report")
        yield Text(self.summary)
        if self.streams:
            yield from _incident_lines(self.incidents, self.streams)
            yield from _stream_lines(self.streams, self.stage)
        yield from heading(f"Files in {self.stage.directory}")
        yield from place_lines(self.stage, *self.daemons)
        yield from check_lines(self.checks)


def _incident_lines(incidents: Sequence[Incident], streams: Sequence[Stream]) -> Iterator[Text]:
    yield from heading("Faults, in seconds: of the streams that were hit the slowest, and the most that one lost")
    yield Text(
        f"  {'':24}{'streams':>8}{'dead':>8}{'claimed':>9}{'media up':>10}{'audio lost':>12}{'transcripts lost':>18}"
    )
    for number, incident in enumerate(incidents):
        hit = [cost_of(number, incidents, stream) for stream in streams if stream.rtms_stream_id in incident.hit]
        if not hit:
            yield Text(f"  {incident.name:24}{0:8}   {incident.outcome or 'did not end'}")
            continue
        dead = "never" if incident.dead_ms is None else f"{(incident.dead_ms - incident.from_ms) / 1000:.1f}"
        claimed = max((at_ms for cost in hit for at_ms in cost.claimed_ms), default=None)
        media = [cost.media_ms for cost in hit if cost.media_ms is not None]
        yield Text(
            f"  {incident.name:24}{len(hit):8}{dead:>8}"
            f"{'never' if claimed is None else f'{claimed / 1000:.2f}':>9}"
            f"{f'{max(media) / 1000:.2f}' if len(media) == len(hit) else 'never':>10}"
            f"{max(cost.audio_ms for cost in hit) / 1000:12.1f}{max(cost.transcripts for cost in hit):18}"
        )
    yield Text(
        "  (dead, and claimed by another: after the fault. media up: after the death or stop, or since Zoom let go.)"
    )


def _stream_lines(streams: Sequence[Stream], stage: Stage) -> Iterator[Text]:
    yield from heading("Audio, in seconds of talking, bit for bit against the simulator's record")
    yield Text(f"  {'':12}{'said':>8}{'recorded':>10}{'in gaps':>9}{'gaps':>6}{'transcripts':>13}  directory")
    for stream in streams:
        said = sum(speaker.said_ms for speaker in stream.heard) / 1000
        recorded = sum(speaker.recorded_ms for speaker in stream.heard) / 1000
        missing = sum(packet.duration_ms for speaker in stream.heard for packet in speaker.missing) / 1000
        directory = stream.evidence.directory.relative_to(stage.directory)
        yield Text(
            f"  {stream.name:12}{said:8.1f}{recorded:10.1f}{missing:9.1f}{len(stream.evidence.gaps):6}"
            f"{len(stream.evidence.transcripts):13}  {directory}"
        )
