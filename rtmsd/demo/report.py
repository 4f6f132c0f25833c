"""The report: the audio sent and stored, the gaps, the faults, and whether every check holds."""

import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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


def print_report(lines: Iterable[Text], console: Console | None = None) -> None:
    """Print a report; long lines are not wrapped, so that paths can be copied."""
    console = console or Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


@attrs.frozen
class SessionReport:
    """Of one session. `evidence` is None when the files could not be read; then `checks` say so."""

    stage: Stage
    pace: Pace
    took_s: float
    played: Played
    evidence: Evidence | None
    speakers: list[Speaker]
    checks: list[Check]

    @property
    def holds(self) -> bool:
        return all_hold(self.checks)

    def lines(self) -> Iterator[Text]:
        yield from heading("rtmsd demo: report")
        session = self.played.session
        length_s = (self.played.ended_ms - session.started_ms) / 1000
        yield Text(f"A session of {length_s:.0f} s, played in {self.took_s:.1f} s of local time with start and stop.")
        if self.evidence is not None:
            yield from _speaker_lines(self)
            yield from _gap_lines(self, self.evidence)
        yield from _fault_lines(self)
        yield from _count_lines(self)
        if self.evidence is not None:
            yield from _file_lines(self, self.evidence)
        yield from check_lines(self.checks)
        if not self.holds and self.pace.speed > 1:
            yield Text("On a busy machine they may fail in compressed time only: run it without --fast.")


def all_hold(checks: Sequence[Check]) -> bool:
    return bool(checks) and all(check.holds for check in checks)


def heading(text: str) -> Iterator[Text]:
    yield Text()
    yield Text(text, style="bold")


def _speaker_lines(report: SessionReport) -> Iterator[Text]:
    yield from heading("Audio, in seconds of talking")
    yield Text(f"  {'':12}{'said':>9}{'recorded':>10}{'in gaps':>9}   bit for bit against the simulator's record")
    for speaker in report.speakers:
        missing_ms = sum(packet.duration_ms for packet in speaker.missing)
        yield Text(
            f"  {speaker.user_name:12}{speaker.said_ms / 1000:9.1f}{speaker.recorded_ms / 1000:10.1f}"
            f"{missing_ms / 1000:9.1f}"
        )


def _gap_lines(report: SessionReport, evidence: Evidence) -> Iterator[Text]:
    yield from heading("Gaps in the recording: time in which something may be missing, with its cause")
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


def _fault_lines(report: SessionReport) -> Iterator[Text]:
    yield from heading("Injected faults")
    started_ms = report.played.session.started_ms
    for fault in report.played.faults:
        outcome = fault.outcome or "did not recover"
        yield Text(f"  {(fault.from_ms - started_ms) / 1000:7.1f} s  {fault.name:42} {outcome}")


def _count_lines(report: SessionReport) -> Iterator[Text]:
    record = report.played.session.record
    answered = sum(asked.answered_s is not None for asked in record.keep_alives)
    yield from heading("Counted")
    yield Text(f"  keep-alives      {len(record.keep_alives)} asked, {answered} answered")
    if report.evidence is not None:
        counters = report.evidence.manifest["counters"]
        repeated = sum(speaker.repeated for speaker in report.speakers)
        yield Text(f"  duplicates       {repeated} packets sent twice, {counters['duplicates']} dropped")
    yield Text(f"  connections      {len(record.connections)} opened, {len(record.refusals())} handshakes refused")
    statuses = Counter("no answer" if delivery.status is None else str(delivery.status) for delivery in record.webhooks)
    answers = ", ".join(f"{status} for {times}" for status, times in statuses.items())
    yield Text(f"  webhooks         {len(record.webhooks)} posted; answers: {answers}")


def _file_lines(report: SessionReport, evidence: Evidence) -> Iterator[Text]:
    names = {speaker.user_id: speaker.user_name for speaker in report.speakers}
    yield from heading(f"Files in {evidence.directory}")
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
    yield from place_lines(report.stage, report.stage)


def place_lines(stage: Stage, *daemons: Stage) -> Iterator[Text]:
    """Return where more is to be read, and how to remove it all."""
    for daemon in daemons:
        yield Text(f"  The daemon's log:   {daemon.log}")
    yield Text(f"  To remove all:   rm -r {shlex.quote(str(stage.directory))}")


def check_lines(checks: Sequence[Check]) -> Iterator[Text]:
    """Return each check with its result, and the sum."""
    yield from heading("Checks: the simulator's record of what it sent, against the files")
    for check in checks:
        mark, style = ("ok    ", "green") if check.holds else ("FAILED", "bold red")
        yield Text.assemble("  ", (mark, style), f"  {check.name} ", (f"({check.detail})", "dim"))
    failed = [check for check in checks if not check.holds]
    yield Text()
    if failed:
        yield Text(f"{len(failed)} of {len(checks)} checks FAILED.", style="bold red")
    else:
        yield Text(f"All {len(checks)} checks hold.", style="bold green")
    if any(check.is_timed for check in failed):
        load = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        yield Text(
            f"What is to happen within a time needs a machine with nothing else to do; this one's load is {load}."
        )
