"""The verbs of deliveries: what is listed and shown, what a program said, and the exit statuses of replay."""

import json
from typing import Any

import pytest

from rtmsd.ctl.errors import Exit
from tests.ctl.test_verbs import Ctl

DEAD = {
    "id": 7,
    "sink": "after",
    "rtms_stream_id": "abc1",
    "event": "finished",
    "state": "dead",
    "runs": 5,
    "tries": 5,
    "created_ms": 1_790_000_000_000,
    "due_ms": None,
    "began_ms": 1_790_000_001_000,
    "ended_ms": 1_790_000_002_000,
    "why": "exit status 3",
    "directory": "/recordings/2026-09-21/abc1",
}
DONE = {**DEAD, "id": 8, "state": "done", "why": None}
OUTPUT = "no room\n\x1b[31mred\n"

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def two(daemon: Any) -> None:
    daemon.answers["GET /v1/deliveries"] = [DEAD, DONE]
    daemon.answers["GET /v1/deliveries/7"] = {**DEAD, "output": OUTPUT}


def test_deliveries_are_listed_and_chosen_by_state(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("deliveries", "ls") == Exit.OK
    titles, *rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert titles == ["ID", "SINK", "STREAM", "EVENT", "STATE", "RUNS", "NEXT", "WHY"]
    assert rows[0] == ["7", "after", "abc1", "finished", "dead", "5", "-", "exit status 3"]
    assert ctl("deliveries", "ls", "--state", "done", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == [DONE]


def test_what_a_program_said_is_shown_and_does_the_terminal_no_harm(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("deliveries", "show", "7") == Exit.OK
    out = capsys.readouterr().out
    assert "DIRECTORY\t/recordings/2026-09-21/abc1\n" in out
    assert "no room\n" in out
    assert "\x1b" not in out
    assert ctl("deliveries", "show", "7", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["output"] == OUTPUT


REFUSALS = {
    "no_such_delivery": (404, Exit.NO_SUCH_STREAM),
    "refused_in_state": (409, Exit.REFUSED),
    "not_permitted": (403, Exit.NOT_PERMITTED),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_replay_that_is_refused(ctl: Ctl, daemon: Any, capsys: Capture, code: str) -> None:
    status, exit_code = REFUSALS[code]
    daemon.answers["POST /v1/deliveries/7/replay"] = (status, {"code": code, "detail": "not this one"})
    assert ctl("deliveries", "replay", "7") == exit_code
    assert "not this one" in capsys.readouterr().err


def test_a_replay(ctl: Ctl, daemon: Any, capsys: Capture) -> None:
    daemon.answers["POST /v1/deliveries/7/replay"] = {"id": 7, "state": "waiting"}
    assert ctl("deliveries", "replay", "7") == Exit.OK
    assert capsys.readouterr().out == "delivery 7 runs again\n"
