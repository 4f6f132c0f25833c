"""Every check of the report: it holds for a good run, and fails alone when its subject is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from rtmsd.demo import checks
from rtmsd.demo.checks import all_checks
from rtmsd.demo.evidence import Evidence, Gap, Track
from rtmsd.demo.speakers import speakers
from rtmsd.demo.story import Fault, Played
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType, StopReason
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.recording.verify.times import Problem
from rtmsd.simulator import Fate, Person, Record, SimSession, Tone
from rtmsd.simulator.media.audio import source_for
from rtmsd.simulator.model.crowd import Crowd
from rtmsd.simulator.model.record import ConnectionSpan, Handshake, KeepAlive, SentItem, Violation

T0 = 1_790_000_000_000
ANA = 16778240
FORMAT = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=False, send_rate_ms=100)


@attrs.define
class Session:
    """The part of a `SimSession` that the checks read."""

    record: Record = attrs.field(factory=Record)
    crowd: Crowd = attrs.field(factory=Crowd)
    stop_reason: StopReason = StopReason.MEETING_ENDED


@attrs.define
class Run:
    played: Played
    evidence: Evidence
    problems: list[Problem] = attrs.field(factory=list)

    @property
    def record(self) -> Record:
        return self.played.session.record

    def failed(self) -> list[str]:
        heard = speakers(self.record, self.evidence, self.played.session.crowd.name)
        return [check.name for check in all_checks(self.played, self.evidence, heard) if not check.holds]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run in which everything is right: one speaker, one sentence, one repeated packet, one fault, one pause."""
    session = Session()
    session.crowd.join(Person(user_name="Ana"), T0)
    record = session.record
    log, source = record.audio_of(ANA), source_for(Person(user_name="Ana"), ANA, 0, FORMAT, Tone.MARKED)
    for number in (*range(10), 4):
        log.add(number, T0 + number * 100, Fate.SENT, 2, source)
    sentence = {"user_id": ANA, "start_time": T0 + 100, "end_time": T0 + 900, "data": "hello", "timestamp": T0 + 1500}
    record.transcripts.append(SentItem(content=sentence, timestamp_ms=T0 + 1500, fate=Fate.SENT, connection=3))
    record.keep_alives.append(
        KeepAlive(connection=1, timestamp_ms=T0 + 10_000, sequence=1, asked_s=1.0, answered_s=1.1)
    )
    record.keep_alives.append(KeepAlive(connection=1, timestamp_ms=T0 + 20_000, sequence=2, asked_s=2.0))
    record.connections.append(
        ConnectionSpan(connection=1, kind="signaling", media_type=0, opened_ms=T0, closed_ms=T0 + 21_000)
    )
    played = Played(
        cast("SimSession", session),
        connected_ms=T0,
        faults=[Fault("signaling cut", GapCause.SIGNALING_RECONNECT, T0 + 21_000, T0 + 24_000, "back")],
        pauses=[(T0 + 30_000, T0 + 40_000)],
        malformed=5,
        duplicate_status=200,
        forged_status=401,
        daemon_status=0,
    )
    manifest = {
        "state": "ended",
        "ended_ms": T0 + 50_000,
        "stop_reason": int(StopReason.MEETING_ENDED),
        "participants": [{"user_id": ANA, "user_name": "Ana"}],
        "pauses": [{"from_ms": T0 + 30_000, "to_ms": T0 + 40_000}],
        "counters": {"duplicates": 1, "corrupt": 4, "unknown": 1},
    }
    written = {"user_id": ANA, "start_ms": T0 + 100, "end_ms": T0 + 900, "text": "hello"}
    evidence = Evidence(
        directory=Path(),
        manifest=manifest,
        tracks=[Track("audio/1.wav", ANA, T0, T0, 32, b"".join(source.packet(number) for number in range(10)))],
        gaps=[Gap("transcript", None, T0 + 20_500, T0 + 24_000, "signaling_reconnect")],
        transcripts=[written],
        events=[],
        cues=1,
    )
    good = Run(played, evidence)
    monkeypatch.setattr(checks, "verify", lambda _directory: good.problems)
    return good


def test_a_good_run_holds_every_check(run: Run) -> None:
    assert run.failed() == []


def manifest(key: str, value: Any) -> Callable[[Run], None]:
    return lambda run: run.evidence.manifest.update({key: value})


def played(name: str, value: Any) -> Callable[[Run], None]:
    return lambda run: setattr(run.played, name, value)


def more(what: str, item: Any) -> Callable[[Run], None]:
    return lambda run: getattr(run.record, what).append(item)


def gap(cause: str, from_ms: int, to_ms: int) -> Callable[[Run], None]:
    return lambda run: run.evidence.gaps.append(Gap("audio", None, T0 + from_ms, T0 + to_ms, cause))


def unanswered(run: Run) -> None:
    run.record.connections[0].closed_ms = T0 + 31_000


def second_connection(run: Run) -> None:
    run.record.violations.append(Violation("second_connection", "signaling 1 is alive", T0))


def refused(status_code: int) -> Handshake:
    return Handshake(
        connection=9, kind="media", media_type=0, status_code=status_code, reason="", at_ms=T0, path="/media"
    )


@pytest.mark.parametrize(
    ("tamper", "about"),
    [
        (lambda run: run.evidence.tracks.clear(), ["everything said"]),
        (lambda run: run.evidence.transcripts.clear(), ["every transcript", "no transcript is there twice"]),
        (gap("daemon_restart", 21_000, 22_000), ["each gap has an injected fault"]),
        (gap("signaling_reconnect", 60_000, 61_000), ["each gap has an injected fault"]),
        (gap("signaling_reconnect", 23_000, 31_000), ["the pause is"]),
        (manifest("participants", [{"user_id": ANA, "user_name": None}]), ["everybody is named"]),
        (manifest("pauses", []), ["the pause is"]),
        (manifest("pauses", [{"from_ms": T0 + 30_000, "to_ms": T0 + 45_000}]), ["the pause is"]),
        (played("duplicate_status", 503), ["a webhook that came twice"]),
        (second_connection, ["the simulator, which is strict", "a webhook that came twice"]),
        (played("forged_status", 200), ["a forged webhook"]),
        (played("malformed", 6), ["broken messages"]),
        (played("malformed", 0), ["broken messages"]),
        (lambda run: setattr(run.played.faults[0], "recovered_ms", None), ["every fault was recovered"]),
        (unanswered, ["every keep-alive"]),
        (lambda run: run.record.unknown.update(["media 99"]), ["the simulator, which is strict"]),
        (more("handshakes", refused(3)), ["handshakes were refused"]),
        (manifest("state", "recovering"), ["the manifest says"]),
        (manifest("stop_reason", 19), ["the manifest says"]),
        (played("daemon_status", 1), ["the daemon stopped"]),
        (played("daemon_status", None), ["the daemon stopped"]),
        (
            lambda run: run.problems.append(Problem("stream.json", "unexplained", "1 s")),
            ["`rtmsctl recordings verify`"],
        ),
    ],
)
def test_each_check_can_fail(tamper: Callable[[Run], None], about: list[str], run: Run) -> None:
    tamper(run)
    failed = run.failed()
    assert len(failed) == len(about), failed
    for name, start in zip(failed, about, strict=True):
        assert name.startswith(start)


def test_a_refusal_on_demand_fails_no_check(run: Run) -> None:
    run.record.handshakes.append(refused(8))
    assert run.failed() == []
