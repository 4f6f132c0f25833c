"""The verbs that only read: their output for a person on a terminal, for a program, and as JSON."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.installation import LIMIT_S, Busy, on_terminal, until
from tests.service.prepared import ROOT


def columns(text: str) -> dict[str, list[str]]:
    """A table as printed on a terminal: its first column to the other cells."""
    return {cells[0]: cells[1:] for line in text.splitlines() if (cells := re.split(r" {2,}", line.strip()))}


def record(text: str) -> dict[str, str]:
    """Lines of a name and a value."""
    head, _, _tables = text.partition("\n\n")
    pairs = (re.split(r" {2,}", line, maxsplit=1) for line in head.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}


def test_status(busy: Busy) -> None:
    daemon = busy.daemon
    shown = record(daemon.seen("status").out)
    assert shown["state"] == "ok"
    assert shown["streams"] == "2 active"
    assert re.fullmatch(r"last [\d.]+s ago; .*\b[34] accepted\b.*", shown["webhooks"])
    assert re.fullmatch(r"\d+ audio(, \d+ transcript)? \(messages\), 0 dropped, in 3 streams", shown["received"])
    assert re.fullmatch(r"[\d.]+ GiB free, [\d.]+ (Ki)?B to write", shown["disk"])
    assert re.fullmatch(
        rf"admin {daemon.admin_socket}, metrics 127\.0\.0\.1:\d+, webhook 127\.0\.0\.1:\d+", shown["listening"]
    )
    assert shown["config"] == str(daemon.config_file)
    plain = dict(line.split("\t") for line in daemon.ctl("status").out.splitlines())
    assert plain.keys() == shown.keys()
    info = daemon.asked("status")
    assert info["pid"] == int(plain["pid"]) == daemon.process.pid if daemon.process else False
    assert info["degraded"] == info["warnings"] == []
    assert info["ready"]
    assert not info["draining"]
    assert daemon.status().keys() == info.keys()


def test_ps(busy: Busy) -> None:
    daemon = busy.daemon
    until(lambda: all(stream["rates"].get("audio", {}).get("messages_per_s") for stream in daemon.asked("ps")))
    printed = daemon.seen("ps").out
    assert printed.split()[:2] == ["STREAM", "APP"]
    [line] = [line for line in printed.splitlines() if line.startswith("cut-one ")]
    assert re.search(r" main +session +active +\d\d-\d\d \d\d:\d\d +[\d.]+s +room-7 ", line)
    assert re.search(r" audio [\d.]+/s [\d.]+ KiB/s ", line)
    assert columns(daemon.seen("ps", "-a").out).keys() >= {"cut-one", "cute-one", "ended-one"}
    head, *plain = [line.split("\t") for line in daemon.ctl("ps").out.splitlines()]
    assert (head[0], head[3]) == ("STREAM", "STATE")
    assert [(cells[0], cells[3], len(cells)) for cells in plain] == [
        ("cut-one", "active", len(head)),
        ("cute-one", "active", len(head)),
    ]
    [cut] = [stream for stream in daemon.asked("ps") if stream["rtms_stream_id"] == "cut-one"]
    assert (len(cut["gaps"]) > 0, len(cut["participants"])) == (True, 2)
    ids = [stream["rtms_stream_id"] for stream in daemon.asked("ps", "-a")]
    assert sorted(ids) == ["cut-one", "cute-one", "ended-one"]
    wanted = {"rtms_stream_id", "product", "app", "state", "started_ms", "rates", "lag_ms", "gaps"}
    assert all(stream.keys() >= wanted for stream in daemon.curl("/v1/streams?all=1").json)


def test_inspect_a_live_stream(busy: Busy) -> None:
    daemon = busy.daemon
    printed = daemon.seen("inspect", "cut-").out
    shown = record(printed)
    assert (shown["stream"], shown["state"], shown["signaling"]) == ("cut-one", "active", "up")
    assert shown["id"] == busy.cut.session_id
    assert Path(shown["directory"], "stream.json").is_file()
    titles = re.findall(r"^[A-Z]+$", printed, re.MULTILINE)
    assert titles == ["PARTICIPANTS", "FILES", "MEDIA", "LINKS", "CONNECTIONS", "GAPS"]
    assert "closed with code 1006" in printed
    assert "media_reconnect" in printed
    info = daemon.asked("inspect", "cut-one")
    assert {person["user_name"] for person in info["participants"]} == {"Ana", "Bo"}
    assert [link["state"] for link in info["links"]] == ["streaming", "streaming"]
    assert info["gaps"][0]["cause"] == "media_reconnect"


def test_inspect_a_stream_that_ended(busy: Busy) -> None:
    shown = record(busy.daemon.seen("inspect", "ended-one").out)
    assert (shown["state"], shown["signaling"], shown["receiving"]) == ("ended", "down", "-")
    assert shown["stop reason"].startswith("6 ")
    assert shown["why"] in {"terminated by Zoom", "stopped webhook"}
    assert Path(shown["directory"], "stream.json").is_file()


def test_a_stream_is_found_by_a_unique_prefix(busy: Busy) -> None:
    ambiguous = busy.daemon.ctl("inspect", "cut")
    assert ambiguous.code == 2
    assert ambiguous.err.splitlines()[1:] == ["cut-one", "cute-one"]
    assert busy.daemon.ctl("inspect", "cute").code == 0
    nobody = busy.daemon.ctl("inspect", "x")
    assert (nobody.code, nobody.out) == (4, "")
    assert nobody.err == "rtmsctl: no stream has the id 'x' or one that begins with it\n"


def test_top(busy: Busy) -> None:
    live = on_terminal(busy.daemon.ctl_command("top", "--interval", "0.1"), {}, until_shown=b"cute-one")
    assert live.code == 0
    for words in ("rtmsd ", "ok", "streams   2 active", "webhooks  last", "received  ", "disk      ", "LAST PACKET"):
        assert words in live.out
    once = busy.daemon.asked("top")
    assert once["status"]["phase"] == "serving"
    assert len(once["streams"]) == 2
    assert len(busy.daemon.ctl("top").out.splitlines()) == 3  # the header, too


def test_watch(busy: Busy, tmp_path: Path) -> None:
    def somebody_joins(*words: str) -> list[str]:
        with (tmp_path / "out").open("w") as out:
            child = subprocess.Popen(busy.daemon.ctl_command(*words), stdout=out, cwd=ROOT)
        with child:

            def lines() -> list[str]:
                busy.zoom.do(lambda: busy.well.join("Eva"))
                busy.zoom.do(lambda: busy.well.leave("Eva"))
                return (tmp_path / "out").read_text().splitlines()

            seen = until(lines)
            child.send_signal(signal.SIGINT)
            assert child.wait(LIMIT_S) == 0
            return seen

    for line in somebody_joins("watch", "cute-one", "--json"):
        event = json.loads(line)
        assert event["rtms_stream_id"] == "cute-one"
        assert event["kind"] in {"participant_join", "participant_leave", "active_speaker_change"}
    at_ms, stream, kind, _ = somebody_joins("watch")[0].split("\t")
    assert int(at_ms) > 0
    assert (stream, kind.split("_")[0]) in {("cute-one", "participant"), ("cute-one", "active")}


def test_logs(busy: Busy) -> None:
    daemon = busy.daemon
    of_one = [json.loads(line) for line in daemon.ctl("logs", "ended-one", "--json").out.splitlines()]
    assert {event["rtms_stream_id"] for event in of_one} == {"ended-one"}
    states = [event["state"] for event in of_one if event["kind"] == "stream_state"]
    assert states == ["connecting", "active", "ended"]
    assert [event["at_ms"] for event in of_one] == sorted(event["at_ms"] for event in of_one)
    of_all = [json.loads(line) for line in daemon.ctl("logs", "--json").out.splitlines()]
    assert {event["rtms_stream_id"] for event in of_all} == {"ended-one", "cut-one", "cute-one"}
    last = daemon.seen("logs", "ended-one", "-n", "1").out
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}  ended-one     \w+  .*\n", last)
    followed = daemon.ctl("logs", "ended-one", "-f")  # it ends with the stream, which has ended
    assert followed.out == daemon.ctl("logs", "ended-one").out


def test_doctor_finds_nothing_wrong(busy: Busy) -> None:
    options = ("--offline",)
    shown = busy.daemon.seen("doctor", *options, "--url", busy.daemon.webhook_url)
    assert shown.code == 0, shown.out
    checks = [line.split()[1] for line in shown.out.splitlines() if line.startswith("ok")]
    assert checks[0] == "daemon"
    assert {"disk", "credentials", "public", "webhook", "signatures", "scopes", "concurrency", "media"} <= set(checks)
    assert "->" not in shown.out
    findings = busy.daemon.asked("doctor", *options, "--url", busy.daemon.webhook_url)
    assert all(finding["ok"] for finding in findings)


def test_doctor_without_a_daemon(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rtmsd.ctl", "--socket", str(tmp_path / "none.sock"), "doctor", "--offline"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 3
    assert done.stdout.startswith("FAILED\tdaemon\tno daemon at")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("18",), ["stop reason 18: AUTHENTICATION_FAILURE", "status code 18: INVALID_MEDIA_AUDIO_PARAMS"]),
        (("stop", "18"), ["stop reason 18: AUTHENTICATION_FAILURE"]),
        (("status", "8"), ["status code 8: DUPLICATE_SIGNAL_REQUEST"]),
        (("recovering",), ["rtmsd state: recovering"]),
        (("daemon_restart",), ["gap cause: daemon_restart"]),
        (("2308",), ["API error 2308: NOT_ALLOWED_TO_START"]),
    ],
    ids=" ".join,
)
def test_explain(busy: Busy, words: tuple[str, ...], lines: list[str]) -> None:
    shown = busy.daemon.seen("explain", *words)
    assert [line for line in shown.out.splitlines() if not line.startswith(" ")] == lines
    for part in ("meaning", "cause", "remedy"):
        assert shown.out.count(f"\n  {part} ") == len(lines)
    assert all(len(line) <= 100 for line in shown.out.splitlines())
    assert len(busy.daemon.asked("explain", *words)) == len(lines)


def test_recordings(busy: Busy) -> None:
    daemon = busy.daemon
    listed = columns(daemon.seen("recordings", "ls").out)
    assert listed.keys() == {"STREAM", "ended-one", "cut-one", "cute-one"}
    assert listed["ended-one"][1] == "ended"
    assert {item["rtms_stream_id"] for item in daemon.asked("recordings", "ls")} == listed.keys() - {"STREAM"}
    *_, line, verdict = daemon.seen("recordings", "verify", "ended-one").out.splitlines()
    assert line.endswith("/ended-one: ok")
    assert verdict == "1 recording, no problems, no gaps"
    (verified,) = daemon.asked("recordings", "verify", "ended")
    assert verified["problems"] == []
    refused = daemon.ctl("recordings", "rm", "cute-one", "--yes")
    assert refused.code == 7, refused
    assert daemon.ctl("recordings", "repair", "cute-one").code == 7
    assert daemon.ctl("recordings", "rm", "ended-one").code == 1  # nobody said yes
    assert daemon.ctl("recordings", "rm", "nobody", "--yes").code == 4


def test_config(busy: Busy) -> None:
    daemon = busy.daemon
    shown = daemon.seen("config", "show").out
    assert 'app[main].client_secret = "***"' in shown
    assert "media.audio.sample_rate_hz = 16000" in shown
    assert daemon.app["client_secret"]["value"] not in shown + daemon.ctl("--json", "config", "show").out
    assert daemon.ctl("config", "check").out == f"{daemon.config_file}: ok\n"
    assert daemon.seen("config", "diff").out == "nothing changed\nsecrets are not compared\n"
    assert daemon.asked("config", "diff") == []


def test_webhook_test(busy: Busy) -> None:
    printed = busy.daemon.seen("webhook", "test")
    assert (printed.code, [line.split()[:2] for line in printed.out.splitlines()]) == (
        0,
        [["ok", "signed"], ["ok", "in"], ["ok", "forged"]],
    )


def test_metrics_and_version(busy: Busy) -> None:
    metrics = busy.daemon.ctl("metrics")
    assert "# TYPE rtmsd_streams gauge" in metrics.out
    assert busy.daemon.asked("metrics")['rtmsd_streams{state="active"}'] == 2
    assert re.fullmatch(r"rtmsctl \d+\.\d+\.\d+\n", busy.daemon.seen("version").out)
    assert busy.daemon.asked("version").keys() == {"version"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(busy: Busy, shell: str) -> None:
    script = busy.daemon.ctl("completion", shell)
    assert script.code == 0
    assert "recordings" in script.out
    assert "rtmsctl ps -a" in script.out


def test_colour_is_only_for_terminals_without_no_color(busy: Busy) -> None:
    assert "\x1b[32mok\x1b[0m" in busy.daemon.seen("status", NO_COLOR="").out
    assert "\x1b" not in busy.daemon.seen("status").out
    assert "\x1b" not in busy.daemon.seen("status", NO_COLOR="", TERM="dumb").out
    assert "\x1b" not in busy.daemon.ctl("status").out
