"""What people and programs see of several workers; of one process alone, nothing is new."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.verbs.top import picture
from tests.ctl.test_delivery_verbs import DEAD
from tests.ctl.test_output import PS_HEAD, STATUS, STREAM, on_terminal

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]

TWO: dict[str, Any] = {
    **STATUS,
    "workers": [
        {
            "worker": "1",
            "pid": 101,
            "streams": 3,
            "version": "1.0",
            "uptime_s": 60.0,
            "pending_bytes": 2048,
            "phase": "serving",
            "ready": True,
            "draining": False,
        },
        {"worker": "2", "pid": None, "streams": None, "silent": "it hangs"},
    ],
    "silent": ["2"],
    "degraded": [
        {"code": "worker_silent", "detail": "worker 2 does not answer: it hangs", "worker": "2"},
        {"code": "no_media", "detail": "connected, but silent: abc", "worker": "1"},
        {"code": "disk_low", "detail": "9 bytes free"},
    ],
}


@pytest.fixture
def of_workers(daemon: FakeDaemon) -> FakeDaemon:
    daemon.fields = {"rtmsd-workers": "1 2"}
    daemon.answers["GET /v1/status"] = TWO
    return daemon


def test_ps_says_which_worker_has_a_stream(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers["GET /v1/streams"] = [{**STREAM, "worker": "2"}]
    assert ctl("ps") == Exit.OK
    head, line = capsys.readouterr().out.splitlines()
    assert dict(zip(head.split("\t"), line.split("\t"), strict=True))["WORKER"] == "2"
    assert head == PS_HEAD.replace("\tWHY", "\tWORKER\tWHY")


def test_ps_has_one_header_for_programs_whatever_is_listed(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers |= {"GET /v1/streams": [], "GET /v1/streams?all=1": [], "GET /v1/recordings": []}
    assert ctl("ps") == ctl("ps", "-a") == Exit.OK
    assert capsys.readouterr().out.splitlines() == [PS_HEAD.replace("\tWHY", "\tWORKER\tWHY")] * 2


def a_recording(worker: str, *, is_part: bool = False, name: str = "abc1") -> dict[str, Any]:
    return {
        "rtms_stream_id": name,
        "app": "main",
        "state": "ended",
        "started_ms": 1000,
        "ended_ms": 5000,
        "bytes": 2048,
        "gaps": 0,
        "is_part": is_part,
        "directory": f"/r/{worker}/{name}",
        "worker": worker,
    }


PARTS = [a_recording("1", is_part=True), a_recording("2", is_part=True)]


def test_recordings_and_deliveries_say_whose_they_are(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers |= {"GET /v1/recordings": PARTS, "GET /v1/deliveries": [{**DEAD, "worker": "2"}]}
    of_workers.answers["GET /v1/deliveries/7"] = {**DEAD, "output": None, "worker": "2"}
    of_workers.fields["rtmsd-silent"] = "3"
    assert ctl("recordings", "ls") == ctl("deliveries", "ls") == Exit.OK
    shown, warned = capsys.readouterr()
    heads, *lines = [line.split("\t") for line in shown.splitlines()]
    assert [heads[-1], *(line[-1] for line in lines)] == ["WORKER", "1", "2", "WORKER", "2"]
    assert warned.count("without worker 3") == 2
    assert ctl("deliveries", "show", "7") == Exit.OK
    assert "WORKER\t2\n" in capsys.readouterr().out


def test_a_stream_in_parts_is_removed_as_one(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers |= {"GET /v1/recordings": PARTS, "DELETE /v1/recordings/abc1": {"rtms_stream_id": "abc1"}}
    assert ctl("recordings", "rm", "abc", "--yes") == Exit.OK
    assert capsys.readouterr().out == "abc1 is deleted\n"


def test_of_a_stream_in_parts_the_joined_recording_is_meant(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers |= {"GET /v1/recordings": PARTS, "GET /v1/streams?all=1": []}
    assert ctl("recordings", "verify", "abc") == Exit.USAGE
    assert "abc1 is in 2 parts" in (refused := capsys.readouterr().err)
    assert "/r/1/abc1\n/r/2/abc1" in refused
    of_workers.answers["GET /v1/recordings"] = [*PARTS[:1], a_recording("3"), *PARTS[1:]]
    ctl("recordings", "verify", "abc", "--json")
    assert [each["directory"] for each in json.loads(capsys.readouterr().out)] == ["/r/3/abc1"]
    assert ctl("ps", "-a", "--json") == Exit.OK
    assert [each["worker"] for each in json.loads(capsys.readouterr().out)] == ["3"]


def test_nothing_is_repaired_that_a_silent_worker_may_be_writing(
    ctl: Ctl, of_workers: FakeDaemon, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "stream.json").write_text("{}")
    of_workers.answers["GET /v1/recordings"] = []
    of_workers.fields["rtmsd-silent"] = "2"
    assert ctl("recordings", "repair", str(tmp_path)) == Exit.TIMED_OUT
    assert "worker 2 does not answer" in capsys.readouterr().err


def test_ps_as_json_is_what_the_daemon_says(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers["GET /v1/streams"] = [{**STREAM, "worker": "2"}]
    assert ctl("--json", "ps") == Exit.OK
    assert json.loads(capsys.readouterr().out) == [{**STREAM, "worker": "2"}]


@pytest.mark.parametrize("verb", ["ps", "metrics"])
def test_a_list_without_a_worker_says_so(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture, verb: str) -> None:
    of_workers.fields["rtmsd-silent"] = "2"
    of_workers.answers |= {"GET /v1/streams": [], "GET /v1/metrics": b"a 1.0\n"}
    assert ctl(verb) == Exit.OK
    assert "without worker 2, which does not answer" in capsys.readouterr().err


def test_status_for_people(ctl: Ctl, of_workers: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    assert ctl("status") == Exit.OK
    _, _, shown = terminal.getvalue().partition("degraded: ")
    assert shown == (
        "worker 2 does not answer: it hangs (worker_silent)\n"
        "degraded: worker 1: connected, but silent: abc (no_media)\n"
        "degraded: 9 bytes free (disk_low)\n"
        "\n"
        "WORKERS\n"
        "WORKER  STATE   PID     UP  STREAMS  TO WRITE  VERSION  WHY\n"
        "1       ok      101  1m00s        3   2.0 KiB  1.0      -\n"
        "2       silent    -      -        -         -  -        it hangs\n"
    )


def test_status_for_programs(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    assert ctl("status") == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        "WORKER\tSTATE\tPID\tUP\tSTREAMS\tTO WRITE\tVERSION\tWHY",
        "1\tok\t101\t60.0\t3\t2048\t1.0\t-",
        "2\tsilent\t-\t-\t-\t-\t-\tit hangs",
    ]


def test_inspect_says_which_worker_has_it(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture) -> None:
    of_workers.answers["GET /v1/streams/9f"] = {**STREAM, "worker": "2"}
    assert ctl("inspect", "9f") == Exit.OK
    assert "worker\t2" in capsys.readouterr().out.splitlines()


def test_top_shows_the_streams_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=150, record=True, file=sys.stdout)
    console.print(picture(TWO, [{**STREAM, "worker": "2"}], 150))
    shown = console.export_text()
    assert "workers   1: 3, 2: silent" in shown
    assert "WORKER" in shown


@pytest.mark.parametrize("verb", ["drain", "undrain", "reload"])
def test_who_has_not_done_it_is_named(ctl: Ctl, of_workers: FakeDaemon, capsys: Capture, verb: str) -> None:
    of_workers.answers[f"POST /v1/{verb}"] = {"changed": [], "not_done": {"2": "it hangs"}}
    assert ctl(verb) == Exit.OK
    assert "worker 2 has not done it yet: it hangs" in capsys.readouterr().err


def test_the_trouble_of_a_silent_worker_is_explained(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("explain", "worker_silent") == Exit.OK
    assert "does not answer" in capsys.readouterr().out
