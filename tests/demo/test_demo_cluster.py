"""The demo of a cluster: its own checks, and whole runs as a user starts them."""

import json
import signal
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest

from rtmsd import demo
from rtmsd.cli import build_parser
from rtmsd.demo.checks import Check
from rtmsd.demo.cluster.checks import own_checks
from rtmsd.demo.cluster.members import ClusterCast, Member, copies_of, is_receipt, whole_of
from rtmsd.demo.cluster.servers import Servers
from rtmsd.demo.cluster.story import ClusterPerformance
from rtmsd.demo.incidents.incidents import Incident, Stream
from rtmsd.demo.stage import Stage
from rtmsd.demo.story import Played
from rtmsd.simulator import Record, SimSession, Simulator
from rtmsd.simulator.model.record import ConnectionSpan, Handshake, Peer
from tests.demo.test_demo_checks import T0, evidence_of
from tests.demo.test_demo_run import LIMIT_S, read_to, started


def session_of(rtms_stream_id: str, record: Record | None = None) -> SimSession:
    return cast("SimSession", SimpleNamespace(rtms_stream_id=rtms_stream_id, record=record or Record()))


def stages(directory: Path) -> list[Stage]:
    (directory / "run").mkdir()
    return [Stage(directory, directory / "run").part(node) for node in "abc"]


def record_in(stage: Stage, rtms_stream_id: str, state: str, *others: str) -> Path:
    place = stage.recordings / "2026-01-01" / rtms_stream_id
    place.mkdir(parents=True)
    (place / "stream.json").write_text(json.dumps({"state": state}))
    for name in others:
        (place / name).touch()
    return place


def test_a_stream_has_a_copy_at_each_member_that_recorded_it(tmp_path: Path) -> None:
    a, b, c = stages(tmp_path)
    copies = [record_in(a, "x", "revoked"), record_in(b, "x", "revoked", "a.wav"), record_in(c, "y", "ended")]
    assert copies_of([a, b, c], "x") == copies[:2]
    assert [*map(is_receipt, copies)] == [True, False, False]


def test_the_whole_of_a_stream_is_its_only_part_or_the_joined_one(tmp_path: Path) -> None:
    a, b, c = stages(tmp_path)
    assert whole_of([a, b, c], "x") is None
    only = record_in(a, "x", "ended")
    assert whole_of([a, b, c], "x") == only
    joined = record_in(b, "x", "ended")
    assert whole_of([a, b, c], "x") is None
    (joined / "stream.json").write_text(json.dumps({"state": "ended", "parts": []}))
    assert whole_of([a, b, c], "x") == joined
    (joined / "stream.json").unlink()
    assert whole_of([a, b, c], "x") is None


def test_the_owner_is_whose_process_holds_signaling() -> None:
    record = Record()
    members = {
        node: cast("Member", SimpleNamespace(node=node, webhook_url=f"http://{node}", process=SimpleNamespace(pid=pid)))
        for node, pid in (("a", 1), ("b", 2))
    }
    cast_ = ClusterCast(cast("Simulator", None), members, Servers([]))
    assert cast_.owner(record) is None
    for number, (kind, pid, closed_ms) in enumerate([("signaling", 1, T0), ("signaling", 2, None), ("media", 1, None)]):
        record.connections.append(
            ConnectionSpan(
                connection=number, kind=kind, media_type=0, opened_ms=T0, closed_ms=closed_ms, peer=Peer("h", 1, pid)
            )
        )
    assert cast_.owner(record) == "b"
    record.connections[1].closed_ms = T0
    assert cast_.owner(record) is None
    assert cast_.receiver("http://b") == "b"


# Checks


def performance() -> ClusterPerformance:
    return ClusterPerformance(
        sync_interval_s=0.5,
        incidents=[Incident(name="a freezes 10 s", from_ms=T0, over_ms=T0 + 9000, hit=frozenset({"x"}))],
        shares=Counter(a=4, b=3, c=2),
        revoked=Played(session_of("r")),
        led_s=3.0,
        statuses=[0, 0, 0],
    )


def stream(rtms_stream_id: str, *, knocked_ms: int) -> Stream:
    handshake = Handshake(
        connection=2, kind="signaling", media_type=0, status_code=8, reason="", at_ms=knocked_ms, path="/", rival=1
    )
    played = Played(session_of(rtms_stream_id, Record(handshakes=[handshake])))
    evidence = evidence_of(b"")
    evidence.manifest["parts"] = [{"node": "a"}, {"node": "b"}]
    return Stream(rtms_stream_id, played, evidence, [])


def failed(checks: list[Check]) -> str:
    return "; ".join(check.name for check in checks if not check.holds)


@pytest.fixture
def revoked(tmp_path: Path) -> list[Stage]:
    """Members of which two had the stream that was revoked."""
    a, b, c = stages(tmp_path)
    for stage in (a, b):
        record_in(stage, "r", "revoked")
    return [a, b, c]


def test_a_good_play_holds(revoked: list[Stage]) -> None:
    assert failed([*own_checks(performance(), [stream("x", knocked_ms=T0 + 4000)], revoked)]) == ""


@pytest.mark.parametrize(
    ("changes", "about"),
    [
        ({"shares": Counter(a=9)}, "shared out"),
        ({"led_s": 8.1}, "recorded within 8 s"),
        ({"statuses": [0, 0, 1]}, "stopped cleanly"),
        ({"statuses": [0, 0]}, "stopped cleanly"),
        ({"incidents": []}, "nobody connected"),
    ],
)
def test_each_check_can_fail(revoked: list[Stage], changes: dict[str, Any], about: str) -> None:
    played = attrs.evolve(performance(), **changes)
    assert about in failed([*own_checks(played, [stream("x", knocked_ms=T0 + 4000)], revoked)])


@pytest.mark.parametrize(("rtms_stream_id", "knocked_ms"), [("y", T0 + 4000), ("x", T0 + 9001), ("x", T0 - 1)])
def test_only_who_takes_over_from_a_frozen_member_may_knock(
    revoked: list[Stage], rtms_stream_id: str, knocked_ms: int
) -> None:
    checks = own_checks(performance(), [stream(rtms_stream_id, knocked_ms=knocked_ms)], revoked)
    assert failed([*checks]).startswith("nobody connected")


def test_what_nobody_joined_is_seen(revoked: list[Stage]) -> None:
    alone = stream("x", knocked_ms=T0 + 4000)
    del alone.evidence.manifest["parts"]
    assert failed([*own_checks(performance(), [alone], revoked)]).startswith("what several members recorded")


def test_a_copy_of_a_revoked_stream_that_is_left_is_seen(revoked: list[Stage]) -> None:
    (copies_of(revoked, "r")[1] / "events.jsonl").touch()
    good = [stream("x", knocked_ms=T0 + 4000)]
    assert failed([*own_checks(performance(), good, revoked)]).startswith("of the revoked stream")


def test_a_revoked_stream_that_one_member_had_alone_proves_nothing(tmp_path: Path) -> None:
    a, b, c = stages(tmp_path)
    record_in(a, "r", "revoked")
    good = [stream("x", knocked_ms=T0 + 4000)]
    assert failed([*own_checks(performance(), good, [a, b, c])]).startswith("of the revoked stream")


# Whole runs


@pytest.mark.long
def test_all_that_is_no_matter_of_speed_holds(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    with started("--cluster", "--keep", str(kept), tmp_path=tmp_path) as process:
        output, _ = process.communicate(timeout=LIMIT_S)
    failures = [line for line in output.splitlines() if line.startswith("  FAILED")]
    assert not [line for line in failures if " within " not in line and " more than " not in line], output
    assert process.returncode == int(bool(failures)), output
    assert sum(line.startswith(("  ok ", "  FAILED")) for line in output.splitlines()) > 40, output
    assert len([*kept.glob("[abc]/recordings/*/*/stream.json")]) > 9


def test_ctrl_c_while_members_start_leaves_no_process(tmp_path: Path) -> None:
    with started("--cluster", tmp_path=tmp_path) as process:
        read_to(process, "sessions start at once")
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == demo.EXIT_INTERRUPTED, output
    assert "Traceback" not in output
    assert [*tmp_path.iterdir()] == []
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path) in _text(path)]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def test_the_cluster_is_one_of_the_kinds_of_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_parser().parse_args(["demo", "--cluster"]).cluster
    with pytest.raises(SystemExit):
        build_parser().parse_args(["demo", "--cluster", "--workers"])
    assert "not allowed with argument" in capsys.readouterr().err
