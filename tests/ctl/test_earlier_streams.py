"""Streams that the daemon does not remember: ps -a, inspect and logs read their recordings."""

import json
from pathlib import Path
from typing import Any

import pytest

from rtmsd.ctl.errors import Exit

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]

UNKNOWN = (404, {"code": "no_such_stream", "detail": "no stream is called so"})
WHY = "server host 'rtms.evil.test' is not in zoom.allowed_hosts"
LIVE = {"rtms_stream_id": "live", "app": "main", "product": "session", "state": "active", "started_ms": 9000}


def recorded(root: Path, name: str, state: str, **more: Any) -> dict[str, Any]:
    """Put a recording on disk. Returns the daemon's entry of it."""
    directory = root / name
    directory.mkdir()
    listed = {
        "rtms_stream_id": name,
        "product": "session",
        "id": "s",
        "app": "main",
        "state": state,
        "started_ms": 1000,
    }
    listed |= {"ended_ms": None, "stop_reason": None, "why": None} | more
    manifest = listed | {"participants": [], "gaps": [], "counters": {"corrupt": 0}}
    (directory / "stream.json").write_text(json.dumps(manifest))
    event = {"at_ms": 5, "kind": "stream_state", "state": state, "why": listed["why"]}
    (directory / "events.jsonl").write_text(json.dumps(event) + "\n")
    return listed | {"directory": str(directory), "gaps": 0, "bytes": 4096, "changed_ms": 5}


@pytest.fixture
def night(daemon: FakeDaemon, tmp_path: Path) -> list[dict[str, Any]]:
    """The recordings of last night, after a restart; one stream lives."""
    recordings = [
        recorded(tmp_path, "whole", "ended", ended_ms=3000, stop_reason=6, why="stopped webhook"),
        recorded(tmp_path, "failed", "failed", ended_ms=4000, why=WHY),
        recorded(tmp_path, "live", "active"),
        recorded(tmp_path, "left", "recovering"),
    ]
    daemon.answers["GET /v1/recordings"] = recordings
    daemon.answers["GET /v1/streams?all=1"] = [LIVE]
    for name in ("failed", "fail", "left", "l", "zzz"):
        daemon.answers[f"GET /v1/streams/{name}"] = UNKNOWN
    return recordings


@pytest.mark.usefixtures("night")
def test_ps_lists_ended_streams_with_why(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("ps", "-a") == Exit.OK
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[3], row[-1]) for row in rows[1:]] == [
        ("live", "active", "-"),
        ("whole", "ended", "stopped webhook, 6 MEETING_ENDED"),
        ("failed", "failed", WHY),
    ]


@pytest.mark.usefixtures("night")
def test_json_of_ended_streams_is_like_that_of_others(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("ps", "-a", "--json") == Exit.OK
    failed = json.loads(capsys.readouterr().out)[-1]
    assert (failed["rtms_stream_id"], failed["why"], failed["gaps"], failed["participants"]) == ("failed", WHY, [], [])


def test_a_stream_that_the_daemon_remembers_is_listed_once(
    ctl: Ctl, daemon: FakeDaemon, night: list[dict[str, Any]], capsys: Capture
) -> None:
    daemon.answers["GET /v1/streams?all=1"] = [LIVE, night[1] | {"gaps": []}]
    assert ctl("ps", "-a", "--json") == Exit.OK
    assert [each["rtms_stream_id"] for each in json.loads(capsys.readouterr().out)] == ["live", "whole", "failed"]


@pytest.mark.usefixtures("night")
def test_live_streams_are_listed_although_recordings_cannot_be(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/recordings"] = (500, {"code": "failed", "detail": "the disk is gone"})
    assert ctl("ps", "-a", "--json") == Exit.OK
    shown = capsys.readouterr()
    assert [each["rtms_stream_id"] for each in json.loads(shown.out)] == ["live"]
    assert "the disk is gone" in shown.err


@pytest.mark.usefixtures("night")
def test_the_directory_comes_from_the_daemon(ctl: Ctl, night: list[dict[str, Any]], capsys: Capture) -> None:
    directory = next(item["directory"] for item in night if item["rtms_stream_id"] == "failed")
    manifest = Path(directory, "stream.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"directory": "/elsewhere"}))
    assert ctl("inspect", "failed") == Exit.OK
    assert "/elsewhere" not in capsys.readouterr().out


@pytest.mark.usefixtures("night")
@pytest.mark.parametrize("name", ["failed", "fail"])
def test_inspect_says_why_a_stream_failed(ctl: Ctl, capsys: Capture, name: str) -> None:
    assert ctl("inspect", name) == Exit.OK
    shown = capsys.readouterr().out.splitlines()
    assert {"stream\tfailed", "state\tfailed", f"why\t{WHY}"} <= set(shown)


@pytest.mark.parametrize("content", ["{]", "[]", '{"state": "active"}', "[" * 100_000])
def test_inspect_of_a_damaged_recording(
    ctl: Ctl, daemon: FakeDaemon, night: list[dict[str, Any]], capsys: Capture, content: str
) -> None:
    Path(night[-1]["directory"], "stream.json").write_text(content)
    damaged = night[-1] | dict.fromkeys(("started_ms", "gaps", "app", "id", "product")) | {"state": "damaged"}
    daemon.answers["GET /v1/recordings"] = [damaged]
    assert ctl("inspect", "left") == Exit.OK
    assert "state\tdamaged" in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("night")
def test_logs_of_a_stream_that_ended_before_the_daemon_started(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("logs", "fail", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["why"] == WHY


@pytest.mark.usefixtures("night")
def test_a_name_that_neither_knows(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("inspect", "zzz") == Exit.NO_SUCH_STREAM
    assert ctl("logs", "zzz") == Exit.NO_SUCH_STREAM
    assert "no stream is called so" in capsys.readouterr().err


@pytest.mark.usefixtures("night")
def test_a_prefix_of_several_recordings_is_ambiguous(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("inspect", "l") == Exit.USAGE
    assert "left" in capsys.readouterr().err


REFUSED_START = {
    "rtms_stream_id": "late",
    "state": "refused",
    "why": "draining",
    "started_ms": 1000,
    "lost": {"loss": "refused", "times": 2, "first_ms": 1790000000000, "last_ms": 1790000300000},
}


@pytest.mark.usefixtures("night")
def test_a_refused_start_is_listed_inspected_and_logged(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/streams?all=1"] = [LIVE, REFUSED_START]
    daemon.answers["GET /v1/streams/late"] = REFUSED_START
    assert ctl("ps", "-a") == Exit.OK
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ("late", "refused", "draining, refused 2 times") in [(row[0], row[3], row[-1]) for row in rows]
    assert ctl("inspect", "late") == Exit.OK
    assert "2 times" in capsys.readouterr().out
    for arguments in (("logs", "late"), ("logs",)):
        assert ctl(*arguments) == Exit.OK
        lines = [line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()]
        assert ["late", "start_refused", "why=draining"] in lines
        assert ["late", "start_refused", "why=draining times=2"] in lines


def test_a_refused_start_hides_no_earlier_recording(
    ctl: Ctl, daemon: FakeDaemon, night: list[dict[str, Any]], capsys: Capture
) -> None:
    again = REFUSED_START | {"rtms_stream_id": "whole"}
    daemon.answers["GET /v1/streams?all=1"] = [again]
    daemon.answers["GET /v1/streams/whole"] = again
    assert ctl("ps", "-a", "--json") == Exit.OK
    states = {(each["rtms_stream_id"], each["state"]) for each in json.loads(capsys.readouterr().out)}
    assert {("whole", "ended"), ("whole", "refused")} <= states
    assert ctl("inspect", "whole", "--json") == Exit.OK
    known = json.loads(capsys.readouterr().out)
    assert (known["state"], known["lost"]["times"]) == ("ended", 2)


@pytest.mark.usefixtures("night")
def test_a_mistyped_name_finds_the_recording_that_was_meant(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/streams/whloe"] = UNKNOWN
    assert ctl("inspect", "whloe") == Exit.NO_SUCH_STREAM
    assert capsys.readouterr().err == "rtmsctl: no stream is called so; did you mean whole?\n"


@pytest.mark.usefixtures("night")
def test_a_part_that_another_member_went_on_from_is_called_so(
    ctl: Ctl, daemon: FakeDaemon, night: list[dict[str, Any]], capsys: Capture
) -> None:
    night[3]["is_let_go"] = True
    daemon.answers["GET /v1/status"] = {}
    assert ctl("recordings", "ls") == ctl("inspect", "left") == Exit.OK
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in shown[1:5]] == ["ended", "failed", "active", "part"]
    assert "state\tpart" in shown
    assert ctl("recordings", "ls", "--json") == Exit.OK
    left = json.loads(capsys.readouterr().out)[3]
    assert (left["state"], left["is_let_go"]) == ("recovering", True)
