"""Continuous output: watch, logs and tap."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.events import EventFile, ended
from rtmsd.ctl.formatting import clock

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]


def event(kind: str, at_ms: int = 1, stream: str = "abc1", **fields: Any) -> dict[str, Any]:
    return {"rtms_stream_id": stream, "at_ms": at_ms, "kind": kind, **fields}


def ndjson(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in events)


def test_watch(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    join = event("participant_join", participants=[{"user_id": 7, "user_name": "Ana"}, {"user_id": 8, "user_name": ""}])
    whole = ndjson(join, event("webhook", 2, "xyz", result="new"))
    daemon.answers["GET /v1/events"] = daemon.stream(whole[:50], whole[50:])
    assert ctl("watch") == Exit.OK
    assert capsys.readouterr().out == "1\tabc1\tparticipant_join\tparticipants=Ana,8\n2\txyz\twebhook\tresult=new\n"


def test_an_event_that_is_not_json(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/events"] = daemon.stream(b"not json\n")
    assert ctl("watch") == Exit.FAILED
    assert "sent an event that is not JSON" in capsys.readouterr().err


def test_watch_one_stream_by_its_prefix(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    lost = {"kind": "lost", "events": 3}
    daemon.answers["GET /v1/streams/ab"] = {"rtms_stream_id": "abc1"}
    daemon.answers["GET /v1/events"] = daemon.stream(ndjson(event("one"), event("two", stream="xyz"), lost))
    assert ctl("watch", "ab", "--json") == Exit.OK
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [event("one"), lost]


def test_ctrl_c_ends_a_watch_with_success(daemon: FakeDaemon) -> None:
    daemon.answers["GET /v1/events"] = daemon.stream(ndjson(event("one")), stay=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "rtmsd.ctl", "--socket", str(daemon.path), "watch"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"1\tabc1\tone\t\n"
    child.send_signal(signal.SIGINT)
    assert child.wait() == Exit.OK
    child.stdout.close()


@pytest.fixture
def two_streams(daemon: FakeDaemon, tmp_path: Path) -> tuple[Path, Path]:
    """The event files of the streams abc1 and xyz."""
    streams, files = [], []
    for name, times_ms in (("abc1", (1, 4)), ("xyz", (2, 3))):
        directory = tmp_path / name
        directory.mkdir()
        files.append(directory / "events.jsonl")
        lines = [{"at_ms": at_ms, "kind": f"{name}-{at_ms}"} for at_ms in times_ms]
        files[-1].write_bytes(ndjson(*lines) + b'{"torn')
        streams.append({"rtms_stream_id": name, "directory": str(directory)})
    daemon.answers["GET /v1/streams?all=1"] = streams
    daemon.answers["GET /v1/streams/ab"] = streams[0]
    return files[0], files[1]


@pytest.mark.usefixtures("two_streams")
def test_logs_of_all_streams_in_order(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("logs") == Exit.OK
    kinds = [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["abc1-1", "xyz-2", "xyz-3", "abc1-4"]


@pytest.mark.usefixtures("two_streams")
def test_logs_of_one_stream(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("logs", "ab") == Exit.OK
    assert capsys.readouterr().out == "1\tabc1\tabc1-1\t\n4\tabc1\tabc1-4\t\n"


@pytest.mark.usefixtures("two_streams")
@pytest.mark.parametrize(
    ("number", "kinds"), [("0", []), ("1", ["abc1-4"]), ("9", ["abc1-1", "xyz-2", "xyz-3", "abc1-4"])]
)
def test_the_last_lines(ctl: Ctl, capsys: Capture, number: str, kinds: list[str]) -> None:
    assert ctl("logs", "-n", number, "--json") == Exit.OK
    assert [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()] == kinds


def test_following_ends_with_the_stream(
    ctl: Ctl, two_streams: tuple[Path, Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def more(_seconds: float) -> None:
        with two_streams[0].open("ab") as file:
            file.seek(-len(b'{"torn'), 2)
            file.truncate()
            file.write(ndjson({"at_ms": 9, "kind": "stream_state", "state": "ended"}))

    monkeypatch.setattr("rtmsd.ctl.verbs.live.time.sleep", more)
    assert ctl("logs", "ab", "-f", "-n", "1") == Exit.OK
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["abc1-4", "stream_state"]


def test_a_stream_started_again_has_not_ended() -> None:
    last, active = ({"kind": "stream_state", "state": state} for state in ("ended", "active"))
    assert ended([active, last, {"kind": "webhook"}])
    assert not ended([last, active])
    assert not ended([])


def test_an_event_file_without_events(tmp_path: Path) -> None:
    assert list(EventFile("abc1", str(tmp_path)).new()) == []


def test_an_unreadable_line_is_reported(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text("{]\n")
    assert [each["kind"] for each in EventFile("abc1", str(tmp_path)).new()] == ["unreadable_line"]


@pytest.mark.parametrize(
    ("args", "query"),
    [
        ((), "media=audio&format=wav"),
        (("--json",), "media=audio&format=ndjson"),
        (("--media", "audio,events"), "media=audio,events&format=ndjson"),
        (("--format", "raw", "--user-id", "0"), "media=audio&format=raw&user_id=0"),
    ],
)
def test_tap_copies_every_byte(
    ctl: Ctl, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], query: str
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    daemon.answers[f"GET /v1/streams/abc/tap?{query}"] = daemon.stream(b"RIFF", bytes(range(256)) * 1000)
    assert ctl("tap", "abc", *args) == Exit.OK
    assert out.getvalue() == b"RIFF" + bytes(range(256)) * 1000


def test_audio_does_not_go_to_a_terminal(ctl: Ctl, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", Terminal(io.BytesIO()))
    assert ctl("tap", "abc") == Exit.USAGE
    assert daemon.requests == []
    daemon.answers["GET /v1/streams/abc/tap?media=audio&format=ndjson"] = daemon.stream(b"{}\n")
    assert ctl("tap", "abc", "--format", "ndjson") == Exit.OK


def test_the_first_byte_is_not_held_back(daemon: FakeDaemon) -> None:
    daemon.answers["GET /v1/streams/abc/tap?media=audio&format=wav"] = daemon.stream(b"R", stay=True)
    child = subprocess.Popen(
        [sys.executable, "-m", "rtmsd.ctl", "--socket", str(daemon.path), "tap", "abc"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.read(1) == b"R"
    child.send_signal(signal.SIGINT)
    assert child.wait() == Exit.OK
    child.stdout.close()


def test_logs_have_times_of_day_and_no_nulls(ctl: Ctl, daemon: FakeDaemon, tmp_path: Path, capsys: Capture) -> None:
    event = {"at_ms": 1790000001300, "kind": "connection", "zoom_ms": 1790000001290, "cause": None, "length_ms": 20}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    daemon.answers["GET /v1/streams/abc"] = {"rtms_stream_id": "abc", "state": "ended", "directory": str(tmp_path)}
    assert ctl("logs", "abc") == Exit.OK
    details = capsys.readouterr().out.rstrip("\n").split("\t")[-1]
    assert details == f"zoom={clock(1790000001290)} length_ms=20"
