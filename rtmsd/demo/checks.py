"""The checks of the report: a recording against the exact record of what was sent. Each can fail, and says why."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from rtmsd.demo.evidence import Evidence, Gap
from rtmsd.demo.speakers import Speaker
from rtmsd.demo.story import Played
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StatusCode
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator.model.audio_log import AudioPacket
from rtmsd.simulator.model.record import KeepAlive, Record, SentItem

ANSWER_MS: Final = 10_000  # Zoom's interval of keep-alives: a request this old must have been answered
SEEN_MS: Final = 10_000  # a gap begins with the last message before the fault: up to a sentence or keep-alive ago


@attrs.frozen
class Check:
    """One line of the report.

    Attributes:
        detail: the figures, or the mistakes.
        is_timed: whether something has to happen within a time, which a busy machine may be too slow for.
    """

    name: str
    holds: bool
    detail: str
    is_timed: bool = False


def unreadable(error: Exception) -> Check:
    return Check("the files can be read", False, f"{type(error).__name__}: {error}")


def all_checks(played: Played, evidence: Evidence, heard: Sequence[Speaker]) -> list[Check]:
    """Return every check of the report."""
    return [
        *stream_checks(played, evidence, heard),
        repetition_check(heard, evidence),
        _pause_check(played, evidence),
        *_webhook_checks(played),
        _malformed_check(played, evidence.manifest),
        _recovery_check(played),
        exit_check(played.daemon_status),
    ]


def stream_checks(played: Played, evidence: Evidence, heard: Sequence[Speaker]) -> list[Check]:
    """Return what must hold for a stream whatever was done to it. The names are the same for each."""
    return [
        *audio_checks(heard, evidence),
        *transcript_checks(played.session.record, played.connected_ms, evidence),
        _gap_check(played, evidence),
        _people_check(played, evidence.manifest),
        *_protocol_checks(played.session.record),
        _end_check(played, evidence.manifest),
        _verify_check(evidence),
    ]


def audio_checks(heard: Sequence[Speaker], evidence: Evidence) -> Iterator[Check]:
    """Judge the audio of all speakers together."""
    unexplained = [packet for speaker in heard for packet in speaker.unexplained]
    missing_ms = sum(packet.duration_ms for speaker in heard for packet in speaker.missing)
    recorded_ms = sum(speaker.recorded_ms for speaker in heard)
    yield Check(
        "everything said is in the audio files at its time, or in a gap that says why not",
        bool(heard) and recorded_ms > 0 and not unexplained,
        f"{_s(recorded_ms)} bit for bit, {_s(missing_ms)} in gaps"
        if not unexplained
        else f"{len(unexplained)} packets are missing without a gap, the first at {unexplained[0].timestamp_ms}; "
        f"the simulator says of them: {_fates(unexplained)}",
    )
    unsent_ms = sum(speaker.unsent_ms for speaker in heard)
    unclaimed = {track.path for track in evidence.tracks} - {track.path for s in heard for track in s.tracks}
    yield Check(
        "nothing is in the audio files that was not sent, and nothing twice",
        unsent_ms == 0 and not unclaimed,
        "all else is silence" if not (unsent_ms or unclaimed) else f"{unsent_ms} ms too many; {sorted(unclaimed)}",
    )
    off = [track.path for track in evidence.tracks if track.start_ms != track.listed_start_ms]
    yield Check(
        "the WAV files line up: their own start times (bext) agree with the manifest",
        not off,
        ", ".join(off) or f"{len(evidence.tracks)} files",
    )


def repetition_check(heard: Sequence[Speaker], evidence: Evidence) -> Check:
    """Judge what Zoom sent twice, which it must have done."""
    repeated, dropped = sum(s.repeated for s in heard), evidence.manifest["counters"]["duplicates"]
    return Check(
        "packets that Zoom repeated were dropped and counted",
        0 < repeated <= dropped <= sum(s.perhaps_repeated for s in heard),
        f"{repeated} sent, {dropped} counted",
    )


def _fates(packets: Iterable[AudioPacket]) -> str:
    counted = Counter(packet.fate.name.lower() for packet in packets)
    return ", ".join(f"{times} {fate}" for fate, times in counted.items())


def transcript_checks(record: Record, connected_ms: int, evidence: Evidence) -> Iterator[Check]:
    """Compare transcripts with transcript.jsonl; before the first connection Zoom sends none."""
    written = Counter(_key(line) for line in evidence.transcripts)
    gaps = evidence.gaps_of("transcript")
    missing = missing_transcripts(record, connected_ms, evidence)
    lost = [item for item in missing if not _touches(gaps, item)]
    yield Check(
        "every transcript is in the file, or touches a gap that says why not",
        bool(written) and not lost,
        f"{written.total()} lines, {len(missing)} in gaps"
        if not lost
        else f"{len(lost)} lost, the first {lost[0].content['data']!r}",
    )
    sent = Counter(_sent_key(item) for item in record.transcripts)
    extra = written - sent
    yield Check(
        "no transcript is there twice, and none that was not sent",
        not extra and evidence.cues == len(evidence.transcripts),
        f"{evidence.cues} cues in transcript.vtt" if not extra else f"too many: {list(extra)[:3]}",
    )


def missing_transcripts(record: Record, connected_ms: int, evidence: Evidence) -> list[SentItem]:
    """Return what was said since the first connection, and is not in the file."""
    written = {_key(line) for line in evidence.transcripts}
    since = (item for item in record.transcripts if item.timestamp_ms >= connected_ms)
    return [item for item in since if _sent_key(item) not in written]


def _touches(gaps: Iterable[Gap], item: SentItem) -> bool:
    """Whether a gap overlaps the time from the first word to the sending of a transcript."""
    return any(gap.from_ms <= item.timestamp_ms and gap.to_ms > item.content["start_time"] for gap in gaps)


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["user_id"], line["start_ms"], line["end_ms"], line["text"]


def _sent_key(item: SentItem) -> tuple[Any, ...]:
    content = item.content
    return content["user_id"], content["start_time"], content["end_time"], content["data"]


def _gap_check(played: Played, evidence: Evidence) -> Check:
    stray = [gap for gap in evidence.gaps if fault_of(played, gap) is None]
    return Check(
        "each gap has an injected fault behind it, and names it",
        not stray,
        f"{len(evidence.gaps)} gaps" if not stray else f"{len(stray)} without: {stray[0]}",
    )


def fault_of(played: Played, gap: Gap) -> str | None:
    """Return the name of the fault that explains a gap by its cause and its time."""
    for fault in played.faults:
        recovered_ms = fault.recovered_ms if fault.recovered_ms is not None else gap.to_ms
        near = gap.from_ms <= recovered_ms and gap.to_ms >= fault.from_ms - SEEN_MS - played.late_ms
        if fault.cause == gap.cause and (near or gap.cause == GapCause.CORRUPT):  # a malformed message names any time
            return fault.name
    return None


def _people_check(played: Played, manifest: dict[str, Any]) -> Check:
    known = {user_id: person.person.user_name for user_id, person in played.session.crowd.known.items()}
    named = {person["user_id"]: person["user_name"] for person in manifest["participants"]}
    return Check("everybody is named", named == known, ", ".join(known.values()) if named == known else str(named))


def _pause_check(played: Played, evidence: Evidence) -> Check:
    listed = [(pause["from_ms"], pause["to_ms"]) for pause in evidence.manifest.get("pauses", [])]
    near = len(listed) == len(played.pauses) and all(
        abs(listed_from - from_ms) <= 1000 and abs(listed_to - to_ms) <= 1000
        for (listed_from, listed_to), (from_ms, to_ms) in zip(listed, played.pauses, strict=True)
    )
    missing = [
        gap for gap in evidence.gaps if any(gap.from_ms < to_ms and gap.to_ms > from_ms for from_ms, to_ms in listed)
    ]
    return Check(
        "the pause is in the manifest, and is no gap",
        bool(listed) and near and not missing,
        ", ".join(_s(to_ms - from_ms) for from_ms, to_ms in listed) or "none",
    )


def _webhook_checks(played: Played) -> Iterator[Check]:
    yield Check(
        "a webhook that came twice was answered 200, and opened no second connection",
        played.duplicate_status == 200 and "second_connection" not in played.session.record.violation_names(),
        f"status {played.duplicate_status}",
    )
    yield Check("a forged webhook was refused", played.forged_status == 401, f"status {played.forged_status}")


def _malformed_check(played: Played, manifest: dict[str, Any]) -> Check:
    counters = manifest["counters"]
    counted = counters["corrupt"] + counters["unknown"]
    return Check(
        "broken messages were counted one by one",
        played.malformed > 0 and counted == played.malformed,
        f"{played.malformed} sent, {counters['corrupt']} corrupt and {counters['unknown']} unknown counted",
    )


def _recovery_check(played: Played) -> Check:
    stuck = [fault.name for fault in played.faults if fault.recovered_ms is None]
    holds = bool(played.faults) and not stuck
    return Check("every fault was recovered from", holds, ", ".join(stuck) or f"{len(played.faults)} faults")


def _protocol_checks(record: Record) -> Iterator[Check]:
    late = [asked for asked in record.keep_alives if asked.answered_s is None and not _was_cut(asked, record)]
    answered = sum(asked.answered_s is not None for asked in record.keep_alives)
    yield Check(
        "every keep-alive was answered with its timestamp, unless its connection was cut first",
        answered > 0 and not late,
        f"{answered} of {len(record.keep_alives)}",
    )
    breaches = [*(f"{v.name}: {v.detail}" for v in record.violations), *map(str, record.unknown.items())]
    yield Check(
        "the simulator, which is strict, saw nothing that a client must not do",
        not breaches,
        ", ".join(breaches) or "no violations",
    )
    others = [
        f"{refusal.kind} with {refusal.status_code} {refusal.reason}"
        for refusal in record.refusals()
        if refusal.status_code != StatusCode.DUPLICATE_SIGNAL_REQUEST
    ]
    detail = ", ".join(others) or f"{len(record.refusals())} refused"
    yield Check("handshakes were refused only on demand", not others, detail)


def _was_cut(asked: KeepAlive, record: Record) -> bool:
    """Whether the connection ended before the answer was due."""
    for span in record.connections:
        if span.connection == asked.connection:
            return span.closed_ms is not None and span.closed_ms - asked.timestamp_ms < ANSWER_MS
    return False


def _end_check(played: Played, manifest: dict[str, Any]) -> Check:
    reason = played.session.stop_reason
    return Check(
        "the manifest says that the stream has ended, and why",
        manifest["state"] == "ended" and manifest["ended_ms"] is not None and manifest["stop_reason"] == reason,
        f"{manifest['state']}, reason {manifest['stop_reason']}",
    )


def exit_check(status: int | None) -> Check:
    return Check("the daemon stopped cleanly", status == 0, f"exit status {status}")


def _verify_check(evidence: Evidence) -> Check:
    problems = verify(evidence.directory)
    return Check(
        "`rtmsctl recordings verify` finds nothing: connections, pauses and gaps account for every instant",
        not problems,
        "; ".join(f"{p.path}: {p.detail}" for p in problems[:5]) or "no problems",
    )


def _s(ms: float) -> str:
    return f"{ms / 1000:.1f} s"
