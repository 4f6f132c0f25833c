"""The report: the audio sent and stored, the gaps, the faults, and whether every check holds."""

import shlex
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import attrs
from rich.console import Console
from rich.text import Text

from rtmsd.demo.checks import Check, fault_of
from rtmsd.demo.evidence import Evidence
from rtmsd.demo.speakers import Speaker
from rtmsd.demo.stage import Pace, Stage
from rtmsd.demo.story import Played

PLAYERS: Final = ("mpv", "ffplay", "vlc", "afplay", "aplay", "paplay")
_QUIET: Final = {"ffplay": "ffplay -autoexit"}


@attrs.frozen
class Report:
    """`evidence` is None when the files could not be read; then `checks` say so."""

    stage: Stage
    pace: Pace
    took_s: float
    played: Played
    evidence: Evidence | None
    speakers: list[Speaker]
    checks: list[Check]

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(check.holds for check in self.checks)


def print_report(report: Report, console: Console | None = None) -> None:
    """Print a report; long lines are not wrapped, so that paths can be copied."""
    console = console or Console(highlight=False)
    for line in _lines(report):
        console.print(line, soft_wrap=True)


def _lines(report: Report) -> Iterator[Text]:
    yield from _heading("rtmsd demo: report")
    session = report.played.session
    length_s = (report.played.ended_ms - session.started_ms) / 1000
    yield Text(f"A session of {length_s:.0f} s, played in {report.took_s:.1f} s of local time with start and stop.")
    if report.evidence is not None:
        yield from _speaker_lines(report)
        yield from _gap_lines(report, report.evidence)
    yield from _fault_lines(report)
    yield from _count_lines(report)
    if report.evidence is not None:
        yield from _file_lines(report, report.evidence)
    yield from _check_lines(report)


def _heading(text: str) -> Iterator[Text]:
    yield Text()
    yield Text(text, style="bold")


def _speaker_lines(report: Report) -> Iterator[Text]:
    yield from _heading("Audio, in seconds of talking")
    yield Text(f"  {'':12}{'said':>9}{'recorded':>10}{'in gaps':>9}   bit for bit against the simulator's record")
    for speaker in report.speakers:
        missing_ms = sum(packet.duration_ms for packet in speaker.missing)
        yield Text(
            f"  {speaker.user_name:12}{speaker.said_ms / 1000:9.1f}{speaker.recorded_ms / 1000:10.1f}"
            f"{missing_ms / 1000:9.1f}"
        )


def _gap_lines(report: Report, evidence: Evidence) -> Iterator[Text]:
    yield from _heading("Gaps in the recording: time in which something may be missing, with its cause")
    started_ms = report.played.session.started_ms
    for gap in evidence.gaps:
        at_s, length_s = (gap.from_ms - started_ms) / 1000, (gap.to_ms - gap.from_ms) / 1000
        fault = fault_of(report.played, gap) or "no injected fault"
        whose = "" if gap.user_id is None else f" of {report.played.session.crowd.name(gap.user_id)}"
        yield Text(f"  {gap.media + whose:16}{at_s:7.1f} s  for{length_s:6.1f} s  {gap.cause:20} {fault}")
    if not evidence.gaps:
        yield Text("  none")
    yield Text(
        "  (Zoom keeps audio while a connection is down, and sends it afterwards; transcripts it does not keep.)"
    )


def _fault_lines(report: Report) -> Iterator[Text]:
    yield from _heading("Injected faults")
    started_ms = report.played.session.started_ms
    for fault in report.played.faults:
        outcome = fault.outcome or "did not recover"
        yield Text(f"  {(fault.from_ms - started_ms) / 1000:7.1f} s  {fault.name:42} {outcome}")


def _count_lines(report: Report) -> Iterator[Text]:
    record = report.played.session.record
    answered = sum(asked.answered_s is not None for asked in record.keep_alives)
    yield from _heading("Counted")
    yield Text(f"  keep-alives      {len(record.keep_alives)} asked, {answered} answered")
    if report.evidence is not None:
        counters = report.evidence.manifest["counters"]
        repeated = sum(speaker.repeated for speaker in report.speakers)
        yield Text(f"  duplicates       {repeated} packets sent twice, {counters['duplicates']} dropped")
    yield Text(f"  connections      {len(record.connections)} opened, {len(record.refusals())} handshakes refused")
    statuses = Counter("no answer" if delivery.status is None else str(delivery.status) for delivery in record.webhooks)
    answers = ", ".join(f"{status} for {times}" for status, times in statuses.items())
    yield Text(f"  webhooks         {len(record.webhooks)} posted; answers: {answers}")


def _file_lines(report: Report, evidence: Evidence) -> Iterator[Text]:
    names = {speaker.user_id: speaker.user_name for speaker in report.speakers}
    yield from _heading(f"Files in {evidence.directory}")
    for track in evidence.tracks:
        start = datetime.fromtimestamp(track.start_ms / 1000, UTC)
        name = names.get(track.user_id, "?")
        yield Text(f"  {track.path:24}{track.duration_ms / 1000:8.1f} s  {name}, from {start:%H:%M:%S} UTC")
    yield Text(f"  {'transcript.vtt':24}{evidence.cues:8} lines; the same with all details in transcript.jsonl")
    yield Text(f"  {'events.jsonl':24}{len(evidence.events):8} events")
    yield Text(f"  {'stream.json':24}{'':8} the manifest")
    if evidence.tracks:
        player = next((name for name in PLAYERS if shutil.which(name)), None)
        first = evidence.directory / evidence.tracks[0].path
        command = _QUIET.get(player or "", player or "any audio player:")
        yield Text(f"  To play one:   {command} {shlex.quote(str(first))}")
    yield Text(f"  The daemon's log:   {report.stage.log}")
    yield Text(f"  To remove all:   rm -r {shlex.quote(str(report.stage.directory))}")


def _check_lines(report: Report) -> Iterator[Text]:
    yield from _heading("Checks: the simulator's record of what it sent, against the files")
    for check in report.checks:
        mark, style = ("ok    ", "green") if check.holds else ("FAILED", "bold red")
        yield Text.assemble("  ", (mark, style), f"  {check.name} ", (f"({check.detail})", "dim"))
    failed = sum(not check.holds for check in report.checks)
    yield Text()
    if failed:
        yield Text(f"{failed} of {len(report.checks)} checks FAILED.", style="bold red")
        if report.pace.speed > 1:
            yield Text("On a busy machine they may fail in compressed time only: run it without --fast.")
    else:
        yield Text(f"All {len(report.checks)} checks hold.", style="bold green")
