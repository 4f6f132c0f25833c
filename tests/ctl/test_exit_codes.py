"""Exit statuses, as scripts see them."""

import grp
import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rtmsd.ctl.client import permission_hint
from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.zoom_api import TOTAL_TIMEOUT_S
from tests.ctl.nobody import unprivileged

Ctl = Any
FakeDaemon = Any


def test_an_answer_is_ok(ctl: Ctl, daemon: FakeDaemon) -> None:
    daemon.answers["GET /v1/streams"] = []
    assert ctl("ps") == Exit.OK


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ((400, "bad_request"), Exit.USAGE),
        ((409, "ambiguous"), Exit.USAGE),
        ((404, "no_such_stream"), Exit.NO_SUCH_STREAM),
        ((404, "no_such_recording"), Exit.NO_SUCH_STREAM),
        ((409, "no_such_participant"), Exit.REFUSED),
        ((404, "no_such_path"), Exit.FAILED),
        ((403, "not_permitted"), Exit.NOT_PERMITTED),
        ((408, "timed_out"), Exit.TIMED_OUT),
        ((409, "refused_in_state"), Exit.REFUSED),
        ((422, "bad_configuration"), Exit.FAILED),
        ((500, "internal"), Exit.FAILED),
        ((502, "zoom_refused"), Exit.FAILED),
        ((503, "too_many_connections"), Exit.FAILED),
        ((418, "of_a_newer_daemon"), Exit.FAILED),
    ],
)
def test_a_refusal_by_its_code(
    ctl: Ctl, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], refusal: tuple[int, str], expected: Exit
) -> None:
    daemon.answers["POST /v1/streams/abc/stop"] = (refusal[0], {"code": refusal[1], "detail": "why it was refused"})
    assert ctl("stop", "abc") == expected
    captured = capsys.readouterr()
    assert captured.err == "rtmsctl: why it was refused\n"
    assert captured.out == ""


@pytest.mark.parametrize(
    ("args", "verb", "wrong"),
    [
        (["recordings", "ls", "some"], "recordings ls", "some"),
        (["ps", "--jsn"], "ps", "--jsn; did you mean --json?"),
    ],
)
def test_what_is_too_much_is_shown_with_the_usage_of_its_verb(
    ctl: Ctl, capsys: pytest.CaptureFixture[str], args: list[str], verb: str, wrong: str
) -> None:
    assert ctl(*args) == Exit.USAGE
    error = capsys.readouterr().err
    assert error.startswith(f"usage: rtmsctl {verb} ")
    assert error.endswith(f"rtmsctl {verb}: error: unrecognized arguments: {wrong}\n")


def test_candidates_and_mistakes_are_listed(ctl: Ctl, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    problem = {"code": "ambiguous", "detail": "2 streams", "candidates": ["abc1", "abc2"]}
    daemon.answers["GET /v1/streams/abc"] = (409, problem)
    assert ctl("inspect", "abc") == Exit.USAGE
    assert capsys.readouterr().err == "rtmsctl: 2 streams\nabc1\nabc2\n"
    problem = {"code": "bad_configuration", "detail": "refused", "mistakes": ["media.types: none"]}
    daemon.answers["POST /v1/reload"] = (422, problem)
    assert ctl("reload") == Exit.FAILED
    assert capsys.readouterr().err == "rtmsctl: refused\nmedia.types: none\n"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b""])
def test_a_refusal_that_is_no_problem_object(ctl: Ctl, daemon: FakeDaemon, body: bytes) -> None:
    daemon.answers["GET /v1/streams"] = (500, body)
    assert ctl("ps") == Exit.FAILED


@pytest.mark.parametrize("body", [b"<html>", b""])
def test_an_answer_that_is_no_json(
    ctl: Ctl, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], body: bytes
) -> None:
    daemon.answers["GET /v1/streams"] = body
    assert ctl("ps") == Exit.FAILED
    assert "invalid JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("juggle",),
        ("config",),
        ("ps", "--bogus"),
        ("--timeout", "0", "ps"),
        ("--timeout", "nan", "ps"),
        ("--timeout", "soon", "ps"),
        ("--time", "3", "ps"),
        ("inspect",),
        ("inspect", ""),
        ("stop", ""),
        ("tap", "abc", "--format", "mp3"),
        ("tap", "abc", "--media", "audio,events", "--format", "wav"),
        ("logs", "-n", "-1"),
        ("doctor", "--url", "ftp://x"),
        ("doctor", "--url", "https://x:port"),
        ("recordings", "rm", ""),
        ("session", "start"),
        ("completion", "ksh"),
    ],
)
def test_usage(ctl: Ctl, daemon: FakeDaemon, args: tuple[str, ...]) -> None:
    assert ctl(*args) == Exit.USAGE
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--timeout", "soon", "ps"), "'soon' is not a positive number of seconds"),
        (("--timeout", "nan", "ps"), "'nan' is not a positive number of seconds"),
        (("logs", "-n", "-1"), "'-1' is not a whole number from 0 on"),
        (("logs", "-n", "many"), "'many' is not a whole number from 0 on"),
        (("doctor", "--url", "rtms.example.com"), "'rtms.example.com' is not an http or https URL"),
        (("webhook", "test", "https://[x/"), "'https://[x/' is not an http or https URL"),
        (("webhook", "test", "https://x:port"), "'https://x:port' is not an http or https URL"),
    ],
)
def test_usage_errors_are_in_words(
    ctl: Ctl, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], why: str
) -> None:
    assert ctl(*args) == Exit.USAGE
    assert why in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["start", "stop", "pause", "resume"])
@pytest.mark.parametrize(("before", "after", "waits_s"), [(["3"], [], 3), ([], ["4"], 4), ([], [], None)])
def test_session_verbs_wait_longer_than_the_daemon_waits_for_zoom(
    monkeypatch: pytest.MonkeyPatch, verb: str, before: list[str], after: list[str], waits_s: float | None
) -> None:
    """The option --timeout wins, before or after the verb."""
    calls: list[Context] = []

    def remember(_action: str, context: Context) -> Exit:
        calls.append(context)
        return Exit.OK

    monkeypatch.setattr(f"rtmsd.ctl.verbs.session.{verb}", partial(remember, verb))
    options = [["--timeout", *given] if given else [] for given in (before, after)]
    assert main([*options[0], "session", verb, "an-id", *options[1]]) == Exit.OK
    if waits_s is None:
        assert calls[0].timeout_s > TOTAL_TIMEOUT_S
    else:
        assert calls[0].timeout_s == waits_s


@pytest.mark.parametrize(
    ("verb", "line"),
    [
        ("shutdown", "systemctl stop rtmsd-webhook.socket rtmsd-admin.socket rtmsd.service"),
        ("completion", 'eval "$(rtmsctl completion zsh)"'),
    ],
)
def test_commands_in_a_help_are_not_wrapped(ctl: Ctl, capsys: pytest.CaptureFixture[str], verb: str, line: str) -> None:
    assert ctl(verb, "--help") == Exit.OK
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("args", [("--help",), ("--version",), ("ps", "--help"), ("config", "--help")])
def test_help_and_version_are_ok(ctl: Ctl, args: tuple[str, ...]) -> None:
    assert ctl(*args) == Exit.OK


def test_no_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--socket", str(tmp_path / "none"), "ps"]) == Exit.UNREACHABLE
    assert "systemctl status rtmsd" in capsys.readouterr().err


def test_a_socket_that_nobody_listens_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert main(["--socket", str(path), "ps"]) == Exit.UNREACHABLE
    assert "the socket is there, but nobody listens" in capsys.readouterr().err


def test_a_file_that_is_no_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file"
    path.touch()
    assert main(["--socket", str(path), "ps"]) == Exit.UNREACHABLE
    assert f"{path} is no socket" in capsys.readouterr().err


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    assert main(["--socket", str(tmp_path / ("x" * 200)), "ps"]) == Exit.UNREACHABLE


def test_a_socket_that_we_may_not_open(ctl: Ctl, daemon: FakeDaemon) -> None:
    daemon.path.chmod(0)
    with unprivileged():
        assert ctl("ps") == Exit.NOT_PERMITTED


@pytest.mark.parametrize(
    ("mode", "gid", "words"),
    [
        (0o660, 1, f"the socket's group ({grp.getgrgid(1).gr_name})"),
        (0o660, 54321, "the socket's group (54321)"),
        (0o660, 0, "it is root's"),
        (0o600, 1, "Only its owner may open it"),
    ],
)
def test_the_hint_names_the_group_that_the_socket_has(tmp_path: Path, mode: int, gid: int, words: str) -> None:
    path = tmp_path / "socket"
    path.touch()
    os.chown(path, -1, gid)
    path.chmod(mode)
    assert words in permission_hint(str(path))


@pytest.mark.parametrize(
    ("args", "meant"),
    [
        (("staus",), "status"),
        (("recordings", "verfy"), "verify"),
        (("ps", "--al"), "--all"),
        (("tap", "abc", "--media", "audio", "--format", "wave"), "wav"),
        (("completion", "bsh"), "bash"),
    ],
)
def test_the_nearest_name_is_suggested(
    ctl: Ctl, capsys: pytest.CaptureFixture[str], args: tuple[str, ...], meant: str
) -> None:
    assert ctl(*args) == Exit.USAGE
    assert capsys.readouterr().err.endswith(f"; did you mean {meant}?\n")


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[socket.socket]:
    """A daemon that is stopped: it listens and does not accept."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent"))
        listener.listen(0)
        yield listener


def test_a_daemon_that_does_not_answer(silent: socket.socket) -> None:
    assert main(["--socket", silent.getsockname(), "--timeout", "0.05", "ps"]) == Exit.TIMED_OUT


def test_a_daemon_that_does_not_even_accept(silent: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.connect(silent.getsockname())  # takes the only place
        assert main(["--socket", silent.getsockname(), "--timeout", "0.05", "ps"]) == Exit.TIMED_OUT


def test_a_daemon_that_hangs_up(silent: socket.socket) -> None:
    silent.shutdown(socket.SHUT_RDWR)
    assert main(["--socket", silent.getsockname(), "ps"]) == Exit.UNREACHABLE


def test_a_stream_that_is_cut_off(ctl: Ctl, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]) -> None:
    line = b'{"kind":"webhook","at_ms":1}\n'
    daemon.answers["GET /v1/events"] = daemon.stream(line)
    assert ctl("watch") == Exit.OK
    daemon.answers["GET /v1/events"] = daemon.stream(line, cut_off=True)
    assert ctl("watch") == Exit.UNREACHABLE
    assert capsys.readouterr().out.count("webhook") == 2


def test_the_socket_comes_from_the_environment(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RTMSD_SOCKET", str(daemon.path))
    daemon.answers["GET /v1/streams"] = []
    assert main(["ps", "--json"]) == Exit.OK
    assert capsys.readouterr().out == "[]\n"
    monkeypatch.setenv("RTMSD_SOCKET", "")
    assert main(["--timeout", "0.1", "ps"]) == Exit.UNREACHABLE
    assert "/run/rtmsd/admin.sock" in capsys.readouterr().err


def test_global_options_hold_before_and_after_the_verb(
    ctl: Ctl, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.answers["GET /v1/streams"] = []
    assert ctl("--json", "ps") == Exit.OK
    assert ctl("ps", "--json", "--timeout", "1") == Exit.OK
    assert capsys.readouterr().out == "[]\n[]\n"


@pytest.mark.parametrize("answer", [b"<html></html>", {}, [1], 3, (404, {"message": "page not found"}), (401, b"")])
@pytest.mark.parametrize(
    "verb",
    ["ps -a", "status", "inspect 9", "logs 9", "watch", "stop 9", "drain", "top", "tap 9", "shutdown", "config show"],
)
def test_a_socket_of_another_server(
    ctl: Ctl, daemon: FakeDaemon, capsys: pytest.CaptureFixture[str], verb: str, answer: Any
) -> None:
    daemon.server = "nginx"
    daemon.answers = {
        f"{method} /v1/{path}": answer
        for method, path in [
            ("GET", "streams"),
            ("GET", "streams?all=1"),
            ("GET", "status"),
            ("GET", "streams/9"),
            ("GET", "events"),
            ("POST", "streams/9/stop"),
            ("POST", "drain"),
            ("GET", "streams/9/tap?media=audio&format=wav"),
            ("POST", "shutdown"),
            ("GET", "config"),
        ]
    }
    assert ctl(*verb.split()) == Exit.UNREACHABLE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "is no admin socket of rtmsd: something else answers\n--socket or RTMSD_SOCKET" in shown.err


def test_a_socket_that_does_not_speak_http(silent: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    def answer() -> None:
        connection, _ = silent.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"-ERR unknown command\r\n")

    peer = threading.Thread(target=answer)
    peer.start()
    assert main(["--socket", silent.getsockname(), "ps"]) == Exit.UNREACHABLE
    peer.join()
    assert "does not speak HTTP" in capsys.readouterr().err
