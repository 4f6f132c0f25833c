"""Incidents that hit several streams: what each costs, its checks, and what is shown of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import attrs
import httpx
import pytest
import trio
from rich.console import Console
from trio.testing import MockClock

from rtmsd.demo.checks import Check
from rtmsd.demo.evidence import Evidence, Gap
from rtmsd.demo.incidents.checks import checks_of, folded, percentile
from rtmsd.demo.incidents.incidents import Cost, Incident, Limits, Stream, cost_of, down_ms, flows_again_ms
from rtmsd.demo.incidents.log import crashes, read_log
from rtmsd.demo.incidents.watch import take, watch
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.speakers import speakers
from rtmsd.demo.stage import FAST
from rtmsd.demo.story import Played
from rtmsd.demo.view import Screen
from rtmsd.protocol.enums import MediaType
from rtmsd.simulator import Fate, Record, SimSession
from rtmsd.simulator.model.record import ConnectionSpan
from tests.demo.test_demo_checks import ANA, PERFECT, T0, evidence_of, pcm_of, record_of, said

AUDIO, TRANSCRIPT, BOTH = 1, 8, 9


def span(media_type: int, opened_ms: int, flows_ms: int | None) -> ConnectionSpan:
    kind = "media" if media_type else "signaling"
    return ConnectionSpan(connection=1, kind=kind, media_type=media_type, opened_ms=opened_ms, flows_ms=flows_ms)


@attrs.define
class Session:
    """The part of a `SimSession` that is read."""

    record: Record
    rtms_stream_id: str = "s"


def stream_of(record: Record, evidence: Evidence, ended_ms: int = T0 + 20_000) -> Stream:
    played = Played(cast("SimSession", Session(record)), connected_ms=T0, ended_ms=ended_ms)
    return Stream("stream 1", played, evidence, speakers(record, evidence, lambda _: "Ana"))


# Costs


def test_media_flow_again_when_the_last_does() -> None:
    record = Record(connections=[span(BOTH, T0, T0 + 100), span(0, T0 + 5000, None), span(AUDIO, T0 + 5100, T0 + 5200)])
    assert flows_again_ms(record, T0) == T0 + 100
    assert flows_again_ms(record, T0 + 1) is None
    record.connections.append(span(TRANSCRIPT, T0 + 5100, T0 + 5300))
    assert flows_again_ms(record, T0 + 1) == T0 + 5300


def test_media_are_down_while_no_connection_brings_them() -> None:
    record = Record(connections=[span(BOTH, T0, T0 + 100), span(AUDIO, T0 + 300, T0 + 400), span(0, T0, None)])
    record.connections[0].closed_ms = T0 + 200
    assert down_ms(record, MediaType.TRANSCRIPT, T0, T0 + 500) == 100 + 300
    assert down_ms(record, MediaType.AUDIO, T0, T0 + 500) == 100 + 200
    assert down_ms(record, MediaType.AUDIO, T0 + 150, T0 + 350) == 150
    assert down_ms(record, MediaType.VIDEO, T0, T0 + 500) == 500
    record.connections.append(span(BOTH, T0, T0 + 50))
    assert down_ms(record, MediaType.AUDIO, T0, T0 + 500) == 50


def test_a_cost_is_counted_from_the_death_until_the_next_incident() -> None:
    record = record_of([Fate.SENT] * 20)
    record.connections += [span(BOTH, T0, T0), span(0, T0 + 1200, None), span(BOTH, T0 + 1300, T0 + 1500)]
    record.connections[0].closed_ms = T0 + 1200
    record.transcripts += [said("kept", T0 + 100), said("lost", T0 + 1100)]
    without = bytearray(PERFECT)
    without[9 * 3200 : 11 * 3200] = bytes(2 * 3200)
    evidence = evidence_of(bytes(without))
    kept = record.transcripts[0].content
    evidence.transcripts.append(
        {"user_id": ANA, "start_ms": kept["start_time"], "end_ms": kept["end_time"], "text": "kept"}
    )
    evidence.events.append({"kind": "stream_state", "at_ms": T0 + 1250, "epoch": 2})
    incidents = [
        Incident(name="killed", from_ms=T0 + 1000, dead_ms=T0 + 1050, hit=frozenset({"s"})),
        Incident(name="reload", from_ms=T0 + 10_000),
    ]
    stream = stream_of(record, evidence)
    killed = cost_of(0, incidents, stream)
    assert killed == Cost(claimed_ms=(250,), media_ms=450, audio_ms=200, transcripts=1, deaf_ms=300, opened=2)
    assert not killed.is_nothing
    assert cost_of(1, incidents, stream).is_nothing
    incidents[0].released_ms = {"s": T0 + 1200}
    assert cost_of(0, incidents, stream).media_ms == 300


def test_what_was_lost_long_before_a_death_is_due_to_it_if_its_gap_says_so() -> None:
    """Of who dies on a slow disk, seconds may be in the memory."""
    record = record_of([Fate.SENT] * 60)
    record.transcripts += [said("lost", T0 + 900)]
    gaps = [
        Gap("audio", ANA, T0 + 500, T0 + 5500, "daemon_restart"),
        Gap("transcript", None, T0 + 600, T0 + 5500, "daemon_restart"),
    ]
    stream = stream_of(record, evidence_of(pcm_of(record.audio_of(ANA), without=range(5, 55)), gaps=gaps))
    incidents = [
        Incident(name="reload", from_ms=T0 + 1000),
        Incident(name="killed", from_ms=T0 + 5000, dead_ms=T0 + 5000, hit=frozenset({"s"})),
    ]
    assert cost_of(0, incidents, stream).is_nothing
    killed = cost_of(1, incidents, stream)
    assert (killed.audio_ms, killed.transcripts) == (5000, 1)


# Checks

GOOD = Cost(claimed_ms=(100,), media_ms=900, audio_ms=400, transcripts=1, deaf_ms=400, opened=2)
NOTHING = Cost(claimed_ms=(), media_ms=None, audio_ms=0, transcripts=0, deaf_ms=0, opened=0)
HANG = Incident(
    name="hang",
    from_ms=T0,
    dead_ms=T0 + 3000,
    over_ms=T0 + 4000,
    hit=frozenset({"a"}),
    limits=Limits(dead_s=4, media_s=1, audio_s=0.5),
)
KILL = attrs.evolve(HANG, dead_ms=T0, limits=Limits(media_s=1, audio_s=0.5))


def failed(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.holds]


@pytest.mark.parametrize("incident", [KILL, HANG])
def test_what_stays_within_its_limits_holds(incident: Incident) -> None:
    checks = [*checks_of(incident, {"a": GOOD, "b": NOTHING})]
    assert len(checks) == 4 + (incident is HANG)
    assert failed(checks) == []


def test_what_has_a_time_says_so() -> None:
    timed = [check.name for check in checks_of(HANG, {"a": GOOD, "b": NOTHING}) if check.is_timed]
    assert [name.partition(" within ")[0] for name in timed] == ["hang: it is killed", "hang: all media flow again"]


@pytest.mark.parametrize(
    ("incident", "hit", "other", "about"),
    [
        (KILL, attrs.evolve(GOOD, claimed_ms=()), NOTHING, "taken over once"),
        (KILL, attrs.evolve(GOOD, claimed_ms=(1, 2)), NOTHING, "taken over once"),
        (KILL, attrs.evolve(GOOD, media_ms=1001), NOTHING, "media flow again"),
        (KILL, attrs.evolve(GOOD, media_ms=None), NOTHING, "media flow again"),
        (KILL, attrs.evolve(GOOD, audio_ms=600), NOTHING, "audio is lost"),
        (HANG, attrs.evolve(GOOD, audio_ms=3600), NOTHING, "audio is lost"),
        (attrs.evolve(HANG, dead_ms=T0 + 4100), GOOD, NOTHING, "it is killed"),
        (attrs.evolve(KILL, limits=Limits(claimed_s=0.05, audio_s=1)), GOOD, NOTHING, "claimed within 0.05 s"),
        (
            attrs.evolve(KILL, limits=Limits(transcripts_s=0.3, audio_s=1)),
            GOOD,
            NOTHING,
            "transcripts again within 0.3 s",
        ),
        (KILL, GOOD, attrs.evolve(NOTHING, audio_ms=100), "other streams lose nothing"),
        (KILL, GOOD, attrs.evolve(NOTHING, opened=1), "other streams lose nothing"),
        (KILL, GOOD, attrs.evolve(NOTHING, transcripts=1), "other streams lose nothing"),
    ],
)
def test_each_limit_can_be_passed(incident: Incident, hit: Cost, other: Cost, about: str) -> None:
    [name] = failed([*checks_of(incident, {"a": hit, "b": other})])
    assert about in name


def test_a_stream_that_was_hit_and_cannot_be_found_is_no_success() -> None:
    assert failed([*checks_of(KILL, {"b": NOTHING})])


def test_checks_of_streams_are_folded_into_one_each() -> None:
    good, bad = Check("x", holds=True, detail="fine"), Check("x", holds=False, detail="2 lost")
    assert [*folded({"one": [good], "two": [good]})] == [Check("x", holds=True, detail="2 streams")]
    assert [*folded({"one": [good], "two": [bad]})] == [Check("x", holds=False, detail="two: 2 lost")]


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([], 0.99) is None
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(1, 201), 0.99) == 198


def test_a_log_has_times_and_crashes(tmp_path: Path) -> None:
    log = tmp_path / "daemon.log"
    log.write_text(
        '{"timestamp": "2026-01-01T00:00:01.5Z", "event": "ready"}\n'
        '{"timestamp": "2026-01-01T00:00:02Z", "event": "oh", "exception": "Traceback"}\n'
        "Fatal Python error\n"
        '{"cut'
    )
    lines = [*read_log(log)]
    assert [line.event for line in lines] == ["ready", "oh", "Fatal Python error"]
    assert lines[0].at_ms % 60_000 == 1500
    assert [line.event for line in crashes(lines)] == ["oh", "Fatal Python error"]


# The view


async def test_processes_that_answer_for_themselves_are_followed_by_name(autojump_clock: MockClock) -> None:
    answers = {"/v1/status": {"pid": 7, "ready": True}, "/v1/streams": [{"rtms_stream_id": "abcdefghij"}]}
    scene, is_up = Scene(noun="member"), True

    async def ask(path: str) -> object:
        if not is_up:
            raise httpx.ConnectError("down")
        return answers[path]

    with trio.move_on_after(1):
        await watch(ask, scene, "a")
    assert (scene.daemon_is_up, scene.processes) == (True, {"a": "process 7"})
    assert scene.streams == {"abcdefghij": {"rtms_stream_id": "abcdefghij", "worker": "a"}}
    is_up = False
    with trio.move_on_after(1):
        await watch(ask, scene, "a")
    assert (scene.daemon_is_up, scene.processes) == (False, {"a": "silent"})
    assert [line.text for line in scene.lines] == ["member a is silent"]


def test_a_process_that_starts_has_yet_to_learn_whose_its_streams_are() -> None:
    scene = Scene(noun="member")
    stream = {"rtms_stream_id": "abcdefghij"}
    take(scene, {"workers": [{"worker": "b", "pid": 12, "ready": True}]}, [{**stream, "worker": "b"}])
    take(scene, {"workers": [{"worker": "a", "pid": 11, "ready": False}]}, [{**stream, "worker": "a"}])
    assert scene.streams["abcdefghij"]["worker"] == "b"
    take(scene, {"workers": [{"worker": "b", "pid": 12, "ready": False, "draining": True}]}, [])
    take(scene, {"workers": [{"worker": "a", "pid": 11, "ready": True}]}, [{**stream, "worker": "a"}])
    assert [line.text for line in scene.lines] == [
        "member b is draining",
        "member a is process 11",
        "stream abcdefgh is at member a",
    ]


def test_a_process_that_was_frozen_has_yet_to_learn_whose_its_streams_are() -> None:
    scene = Scene(noun="member")
    a, b = ({"worker": node, "pid": pid, "ready": True} for node, pid in (("a", 11), ("b", 12)))
    at_a, at_b = ({"rtms_stream_id": "abcdefghij", "worker": node} for node in "ab")
    take(scene, {"workers": [a]}, [at_a])
    take(scene, {"workers": [b]}, [])
    take(scene, {"workers": [b]}, [at_b])
    take(scene, {"workers": [{"worker": "a", "silent": True}]}, [])
    take(scene, {"workers": [a]}, [at_a])
    assert scene.streams["abcdefghij"] == at_b
    take(scene, {"workers": [a]}, [])
    take(scene, {"workers": [a]}, [at_a])
    assert [line.text for line in scene.lines if "stream" in line.text] == [
        "stream abcdefgh is at member b",
        "stream abcdefgh is at member a",
    ]


def test_the_screen_shows_workers_and_their_streams() -> None:
    scene = Scene(daemon_is_up=True)
    ready = {"worker": "1", "pid": 11, "ready": True}
    silent = {"worker": "2", "pid": None, "silent": "no answer"}
    streams = [{"rtms_stream_id": "abcdefghij", "worker": "2", "state": "active", "ended_ms": None}]
    take(scene, {"workers": [ready, {"worker": "2", "pid": 12, "ready": True}]}, streams)
    take(scene, {"workers": [ready, silent]}, [{**streams[0], "worker": "1", "state": "recovering"}])
    assert [(line.kind, line.text) for line in scene.lines] == [
        (Kind.DAEMON, "worker 2 is silent"),
        (Kind.DAEMON, "stream abcdefgh is at worker 1"),
    ]
    console = Console(width=100, height=30)
    with console.capture() as captured:
        console.print(Screen(scene, FAST).draw(3.0, 30))
    for part in ("abcdefgh", "recovering", "process 11", "silent", "1 streams", "worker 2 is silent"):
        assert part in captured.get()
