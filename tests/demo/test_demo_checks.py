"""The report's checks on files: right files pass, and each kind of damage fails its check."""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import attrs
import pytest

from rtmsd.demo.checks import Check, audio_checks, fault_of, repetition_check, transcript_checks
from rtmsd.demo.evidence import Evidence, Gap, Track, collect, find_directory
from rtmsd.demo.report import check_lines
from rtmsd.demo.speakers import Speaker, speakers
from rtmsd.demo.stage import FAST
from rtmsd.demo.story import Fault, Played
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.simulator import Fate, Person, Record, SimSession, Tone
from rtmsd.simulator.media.audio import source_for
from rtmsd.simulator.model.audio_log import AudioLog
from rtmsd.simulator.model.record import SentItem

T0 = 1_790_000_000_000
ANA = 16778240
STEP_MS = 100
BYTES_PER_MS = 32
FORMAT = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=False, send_rate_ms=STEP_MS)


def record_of(fates: Sequence[Fate], again: Sequence[int] = ()) -> Record:
    """Ana said one packet for each fate; those numbered in `again` arrived once more."""
    record = Record()
    source = source_for(Person(user_name="Ana"), ANA, 0, FORMAT, Tone.MARKED)
    log = record.audio_of(ANA)
    for number, fate in enumerate(fates):
        log.add(number, T0 + number * STEP_MS, fate, 1, source)
    for number in again:
        log.add(number, T0 + number * STEP_MS, Fate.BUFFERED, 2, source)
    return record


def pcm_of(log: AudioLog, without: Sequence[int] = ()) -> bytes:
    """Return what a perfect recording holds, with silence instead of the packets numbered."""
    return b"".join(bytes(len(p.data)) if p.number in without else p.data for p in log)


def evidence_of(pcm: bytes, *, start_ms: int = T0, gaps: Sequence[Gap] = (), duplicates: int = 0) -> Evidence:
    track = Track("audio/1.wav", ANA, start_ms, T0, BYTES_PER_MS, pcm)
    manifest = {"counters": {"duplicates": duplicates}}
    return Evidence(Path(), manifest, [track], list(gaps), [], [], 0)


def failed(record: Record, evidence: Evidence) -> list[int]:
    """Return the numbers of the audio checks that fail: 0 complete, 1 nothing else, 2 aligned, 3 duplicates."""
    said = heard(record, evidence)
    checks = [*audio_checks(said, evidence), repetition_check(said, evidence)]
    return [number for number, check in enumerate(checks) if not check.holds]


def heard(record: Record, evidence: Evidence) -> list[Speaker]:
    return speakers(record, evidence, lambda _: "Ana")


GOOD = record_of([Fate.SENT] * 20, again=[3, 4])
PERFECT = pcm_of(record_of([Fate.SENT] * 20).audio_of(ANA))
SESSION = cast("SimSession", None)  # never read here
GAP = Gap("audio", None, T0 + 500, T0 + 700, "daemon_restart")


def test_a_perfect_recording_passes() -> None:
    evidence = evidence_of(PERFECT, duplicates=2)
    assert failed(GOOD, evidence) == []
    [ana] = heard(GOOD, evidence)
    assert (ana.said_ms, ana.recorded_ms, ana.repeated, ana.unsent_ms) == (2000, 2000, 2, 0)


def test_a_lost_packet_needs_a_gap() -> None:
    holed = pcm_of(record_of([Fate.SENT] * 20).audio_of(ANA), without=[5, 6])
    assert failed(GOOD, evidence_of(holed, duplicates=2)) == [0]
    assert failed(GOOD, evidence_of(holed, duplicates=2, gaps=[GAP])) == []


@pytest.mark.parametrize(
    "gap",
    [
        attrs.evolve(GAP, to_ms=T0 + 650),
        attrs.evolve(GAP, from_ms=T0 + 510),
        attrs.evolve(GAP, media="transcript"),
        attrs.evolve(GAP, user_id=ANA + 1),
    ],
)
def test_a_gap_elsewhere_explains_nothing(gap: Gap) -> None:
    holed = pcm_of(record_of([Fate.SENT] * 20).audio_of(ANA), without=[5, 6])
    assert failed(GOOD, evidence_of(holed, duplicates=2, gaps=[gap])) == [0]


def test_two_gaps_that_touch_explain_together() -> None:
    holed = pcm_of(record_of([Fate.SENT] * 20).audio_of(ANA), without=[5, 6])
    gaps = [attrs.evolve(GAP, from_ms=T0 + 550), attrs.evolve(GAP, to_ms=T0 + 550)]
    assert failed(GOOD, evidence_of(holed, duplicates=2, gaps=gaps)) == []


def test_unsent_speech_needs_a_gap_too() -> None:
    record = record_of([*[Fate.SENT] * 10, Fate.DISCARDED, *[Fate.SENT] * 9], again=[0])
    holed = pcm_of(record_of([Fate.SENT] * 20).audio_of(ANA), without=[10])
    assert failed(record, evidence_of(holed, duplicates=1)) == [0]


def one_bit_wrong(pcm: bytes) -> bytes:
    return pcm[:1000] + bytes([pcm[1000] ^ 1]) + pcm[1001:]


def swapped(pcm: bytes) -> bytes:
    return pcm[3200:6400] + pcm[:3200] + pcm[6400:]


@pytest.mark.parametrize("damage", [one_bit_wrong, swapped, lambda pcm: pcm[2:] + bytes(2)])
def test_wrong_sound_is_found(damage: Callable[[bytes], bytes]) -> None:
    assert failed(GOOD, evidence_of(damage(PERFECT), duplicates=2)) == [0, 1]


def test_unsent_sound_is_found() -> None:
    assert failed(GOOD, evidence_of(PERFECT + PERFECT[:3200], duplicates=2)) == [1]


def test_a_file_without_a_participant_is_found() -> None:
    evidence = evidence_of(PERFECT, duplicates=2)
    evidence.tracks.append(attrs.evolve(evidence.tracks[0], path="audio/2.wav", user_id=ANA + 1))
    assert failed(GOOD, evidence) == [1]


def test_a_file_that_starts_at_another_time_is_found() -> None:
    assert failed(GOOD, evidence_of(PERFECT, start_ms=T0 + 1, duplicates=2)) == [0, 1, 2]


@pytest.mark.parametrize("counted", [0, 1, 3])
def test_duplicates_must_be_counted(counted: int) -> None:
    assert failed(GOOD, evidence_of(PERFECT, duplicates=counted)) == [3]


def test_a_packet_cut_halfway_may_count_as_the_first_of_two() -> None:
    fates = [Fate.SENT] * 20
    fates[3] = Fate.IN_FLIGHT
    record = record_of(fates, again=[3, 4])
    assert failed(record, evidence_of(PERFECT, duplicates=1)) == []
    assert failed(record, evidence_of(PERFECT, duplicates=2)) == []


def test_nothing_recorded_is_no_success() -> None:
    evidence = attrs.evolve(evidence_of(b""), tracks=[])
    assert 0 in failed(GOOD, evidence)
    assert 0 in failed(Record(), evidence)


# Transcripts


def said(text: str, at_ms: int, fate: Fate = Fate.SENT) -> SentItem:
    content = {"user_id": ANA, "start_time": at_ms - 2000, "end_time": at_ms - 500, "data": text, "timestamp": at_ms}
    return SentItem(content=content, timestamp_ms=at_ms, fate=fate, connection=1)


def line(item: SentItem) -> dict[str, object]:
    content = item.content
    return {
        "user_id": content["user_id"],
        "start_ms": content["start_time"],
        "end_ms": content["end_time"],
        "text": content["data"],
    }


def failed_transcripts(
    items: Sequence[SentItem], written: Sequence[SentItem], gaps: Sequence[Gap] = (), cues: int | None = None
) -> list[int]:
    evidence = attrs.evolve(
        evidence_of(b"", gaps=gaps),
        transcripts=[line(item) for item in written],
        cues=len(written) if cues is None else cues,
    )
    checks = transcript_checks(Record(transcripts=list(items)), T0, evidence)
    return [number for number, check in enumerate(checks) if not check.holds]


ONE, TWO, EARLY = said("one", T0 + 5000), said("two", T0 + 9000), said("early", T0 - 1, Fate.DISCARDED)
SILENT = Gap("transcript", None, T0 + 8000, T0 + 9500, "media_reconnect")


def test_transcripts_all_there() -> None:
    assert failed_transcripts([EARLY, ONE, TWO], [ONE, TWO]) == []


def test_a_transcript_that_is_missing_needs_a_gap() -> None:
    assert failed_transcripts([ONE, TWO], [ONE]) == [0]
    assert failed_transcripts([ONE, TWO], [ONE], [SILENT]) == []
    assert failed_transcripts([ONE, TWO], [ONE], [attrs.evolve(SILENT, media="audio")]) == [0]
    assert failed_transcripts([ONE, TWO], [TWO], [SILENT]) == [0]


def test_a_transcript_twice_or_from_nowhere_is_found() -> None:
    assert failed_transcripts([ONE], [ONE, ONE]) == [1]
    assert failed_transcripts([ONE], [ONE, TWO]) == [1]
    assert failed_transcripts([ONE], [ONE], cues=2) == [1]


# Gaps


@pytest.mark.parametrize(
    ("gap", "name"),
    [
        (GAP, "killed"),
        (attrs.evolve(GAP, cause="media_reconnect"), None),
        (attrs.evolve(GAP, from_ms=T0 + 60_000, to_ms=T0 + 61_000), None),
        (attrs.evolve(GAP, from_ms=T0 - 60_000, to_ms=T0 - 50_000), None),
    ],
)
def test_a_gap_belongs_to_the_fault_of_its_cause_and_time(gap: Gap, name: str | None) -> None:
    faults = [Fault("forged", None, T0), Fault("killed", GapCause.DAEMON_RESTART, T0 + 450, T0 + 3000)]
    assert fault_of(Played(SESSION, faults=faults), gap) == name


def test_late_packets_may_leave_a_gap_before_the_fault() -> None:
    """In compressed time a busy machine lags seconds of Zoom's time behind."""
    faults = [Fault("killed", GapCause.DAEMON_RESTART, T0 + 30_000, T0 + 40_000)]
    assert fault_of(Played(SESSION, faults=faults), GAP) is None
    assert fault_of(Played(SESSION, faults=faults, late_ms=FAST.late_ms), GAP) == "killed"


# Reading files


def write_wav(path: Path, start_ms: int, pcm: bytes) -> None:
    """Write a WAV whose `bext` says when it starts, by hand: independent of reader and writer."""
    midnight = datetime.fromtimestamp(start_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since_ms = start_ms - int(midnight.timestamp() * 1000)
    bext = bytes(338) + struct.pack("<Q", since_ms * 16) + bytes(602 - 346)
    chunks = b"bext" + struct.pack("<I", len(bext)) + bext
    chunks += b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    chunks += b"data" + struct.pack("<I", len(pcm)) + pcm
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)


def test_files_are_read_back(tmp_path: Path) -> None:
    directory = tmp_path / "2026-09-21" / "abc"
    (directory / "audio").mkdir(parents=True)
    write_wav(directory / "audio" / "1.wav", T0 + 7, PERFECT)
    (directory / "stream.json").write_text(
        f'{{"started_ms": {T0}, "files": [{{"path": "audio/1.wav", "media": "audio", "user_id": {ANA}, '
        f'"start_ms": {T0 + 7}}}], "gaps": [{{"media": "audio", "user_id": null, "from_ms": 1, "to_ms": 2, '
        '"cause": "corrupt"}]}'
    )
    (directory / "events.jsonl").write_text('{"kind": "stream_state"}\n')
    (directory / "transcript.vtt").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n")
    evidence = collect(find_directory(tmp_path, "abc"))
    assert evidence.tracks == [Track("audio/1.wav", ANA, T0 + 7, T0 + 7, BYTES_PER_MS, PERFECT)]
    assert evidence.gaps == [Gap("audio", None, 1, 2, "corrupt")]
    assert (evidence.transcripts, len(evidence.events), evidence.cues) == ([], 1, 1)


def test_a_missing_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no recording of abc"):
        find_directory(tmp_path, "abc")


@pytest.mark.parametrize("is_timed", [True, False])
def test_only_what_a_busy_machine_can_fail_is_put_down_to_it(is_timed: bool) -> None:
    check = Check("media flow again", False, "1.2 s", is_timed)
    lines = [line.plain for line in check_lines([check, Check("named", True, "", is_timed=True)])]
    assert "1 of 2 checks FAILED." in lines
    assert ("load" in lines[-1]) is is_timed
