"""Standard streams in any state, and text from outside on its way to a terminal."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.ctl.cli import VERBS
from rtmsd.terminal import printable

FakeDaemon = Any
HOSTILE = "x\x1b]0;owned\x07\x9b31m\u202e\nM\xfcller\t\udc80"
COMMANDS = (
    "rtmsd --help",
    "rtmsd check --config c.toml",
    "rtmsd simulate --list",
    "rtmsctl --help",
    "rtmsctl explain 18",
)
CONFIG = """
[[app]]
client_id = "abc"
client_secret = { value = "client-secret" }
webhook_secret = { value = "webhook-secret" }
[webhook]
listen = "127.0.0.1:0"
[recording]
directory = "recordings"
[state]
file = "state.sqlite"
[admin]
socket = "a.sock"
"""


@given(st.text(st.characters()))
def test_printable_text_has_one_line_and_no_controls(text: str) -> None:
    shown = printable(text)
    assert all(unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in shown)
    if text.isprintable():
        assert shown == text


def shell(directory: Path, command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    tools = Path(sys.executable).parent
    return subprocess.run(
        ["/bin/bash", "-c", command],
        cwd=directory,
        env={"PATH": f"{tools}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_stream_is_the_null_device(tmp_path: Path, command: str, closed: str) -> None:
    (tmp_path / "c.toml").touch(0o600)
    (tmp_path / "c.toml").write_text(CONFIG)
    done = shell(tmp_path, f"{command} {closed}")
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) is ("1>" not in closed)


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-", "2>/dev/full"])
def test_the_daemon_runs_without_a_log(tmp_path: Path, closed: str) -> None:
    """And nothing that it opens takes the number of standard error, where a traceback would be written into it."""
    (tmp_path / "c.toml").touch(0o600)
    (tmp_path / "c.toml").write_text(CONFIG)
    script = (
        f"rtmsd run --config c.toml {closed} & pid=$!; "
        "for _ in $(seq 100); do rtmsctl --socket a.sock status --json >status 2>/dev/null; "
        "grep -q '\"ready\": true' status && break; sleep 0.1; done; "
        "readlink /proc/$pid/fd/2; kill -TERM $pid; wait $pid"
    )
    done = shell(tmp_path, script)
    assert done.returncode == 0
    assert done.stdout.strip() in ("/dev/null", "/dev/full")
    assert json.loads((tmp_path / "status").read_text())["ready"] is True


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_named(tmp_path: Path, command: str) -> None:
    (tmp_path / "c.toml").touch(0o600)
    (tmp_path / "c.toml").write_text(CONFIG)
    done = shell(tmp_path, f"{command} >/dev/full")
    assert done.returncode == 1
    assert done.stderr == f"{command.split(maxsplit=1)[0]}: standard output: No space left on device\n"


@pytest.mark.parametrize("command", ["rtmsctl --help", "rtmsctl explain 18", "rtmsctl completion bash"])
def test_a_reader_that_left_is_no_failure(tmp_path: Path, command: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    argv = [str(Path(sys.executable).parent / "rtmsctl"), *command.split()[1:]]
    done = subprocess.run(argv, cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


ARGUMENTS = {
    "explain": ["18"],
    "completion": ["bash"],
    "doctor": ["--offline"],
    "tap": ["abc", "--media", "events"],
    "recordings rm": ["abc", "--yes"],
    "config check": [],
    **{f"deliveries {action}": ["7"] for action in ("show", "replay")},
    **{f"session {action}": ["abc"] for action in ("start", "stop", "pause", "resume")},
    **{verb: ["abc"] for verb in ("inspect", "stop", "reconnect", "video")},
}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("verb", [verb.name for verb in VERBS if verb.name not in ("top", "tap")])
def test_every_verb_escapes_text_of_hostile_participants(
    daemon: FakeDaemon, tmp_path: Path, verb: str, encoding: str
) -> None:
    (tmp_path / "events.jsonl").write_text(json.dumps({"at_ms": 1, "kind": HOSTILE, HOSTILE: HOSTILE}) + "\n")
    stream = {
        "rtms_stream_id": f"abc{HOSTILE}",
        "directory": str(tmp_path),
        "app": HOSTILE,
        "product": HOSTILE,
        "state": HOSTILE,
        "why": HOSTILE,
        "started_ms": 1,
        "participants": [{"user_id": HOSTILE, "user_name": HOSTILE, "joined_ms": 1, "left_ms": None}],
        "gaps": [{"media": HOSTILE, "user_id": HOSTILE, "from_ms": 1, "to_ms": 2, "cause": HOSTILE}],
        "counters": {HOSTILE: 1},
        "connections": [{"kind": HOSTILE, "why": HOSTILE}],
    }
    problem = {"code": HOSTILE, "detail": HOSTILE}
    finding = {"check": HOSTILE, "ok": False, "detail": HOSTILE, "hint": HOSTILE}
    change = {"path": HOSTILE, "old": HOSTILE, "new": HOSTILE, "needs_restart": True}
    delivery = {"id": 7, "sink": HOSTILE, "rtms_stream_id": HOSTILE, "event": HOSTILE, "state": HOSTILE, "why": HOSTILE}
    daemon.answers |= {
        "GET /v1/status": {"warnings": [HOSTILE], "degraded": [problem], "listening": {"webhook": [HOSTILE]}},
        "GET /v1/streams": [stream],
        "GET /v1/streams?all=1": [stream],
        "GET /v1/streams/abc": stream,
        "POST /v1/streams/abc/stop": stream,
        "POST /v1/streams/abc/reconnect": (409, problem),
        "GET /v1/streams/abc/video": {
            "user_id": 7,
            "user_name": HOSTILE,
            "chosen_by": "operator",
            "choice": HOSTILE,
            "cameras": [{"user_id": HOSTILE, "user_name": HOSTILE}],
            "latest": {"user_id": 7, "why": HOSTILE, "result": HOSTILE, "status_text": HOSTILE},
        },
        "GET /v1/recordings": [{**stream, "ended_ms": 2, "bytes": 1, "gaps": 1}],
        "GET /v1/deliveries": [delivery],
        "GET /v1/deliveries/7": {**delivery, "output": HOSTILE},
        "GET /v1/doctor": [finding],
        "GET /v1/config": {HOSTILE: HOSTILE},
        "GET /v1/metrics": f'a{{b="{HOSTILE}"}} 1\n'.encode("utf-8", "replace"),
        "GET /v1/events": daemon.stream(json.dumps({"at_ms": 1, "kind": HOSTILE, "why": HOSTILE}).encode() + b"\n"),
        "POST /v1/reload": {"changed": [change]},
    }
    done = subprocess.run(
        [Path(sys.executable).parent / "rtmsctl", "--socket", daemon.path, *verb.split(), *ARGUMENTS.get(verb, [])],
        env={"PYTHONIOENCODING": encoding, "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    printed = (done.stdout + done.stderr).decode(encoding)
    assert "Traceback" not in printed
    assert not [char for char in printed if char not in "\n\t" and not char.isprintable()]
