"""`rtmsd simulate` with right and wrong arguments."""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio

from rtmsd.simulator import SimulatorSettings, built_in
from rtmsd.simulator.cli import command
from rtmsd.simulator.cli.command import main


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_it_lists_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--json"]) == 0
    assert [about["name"] for about in said(capsys)] == list(built_in())


def test_it_plays_several_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revoked", "--speed", "100", "--sessions", "2", "--marked", "--json"]) == 0
    lines = said(capsys)
    assert [line["message"] for line in lines].count("session ended") == 2
    assert len({line["rtms_stream_id"] for line in lines if "rtms_stream_id" in line}) == 2


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--sessions", "0"], "argument --sessions: '0' is no number of sessions"),
        (["--sessions", "two"], "argument --sessions: 'two' is no number of sessions"),
        (["--speed", "0"], "argument --speed: '0' is no speed"),
        (["--speed", "inf"], "argument --speed: 'inf' is no speed"),
        (["--speed", "fast"], "argument --speed: 'fast' is no speed"),
        (["--port", "99999"], "argument --port: '99999' is no port"),
        (["--port", "-1"], "argument --port: '-1' is no port"),
        (["--webhook-url", "notaurl"], "argument --webhook-url: 'notaurl' is no http"),
        (["--webhook-url", "ftp://example.com/"], "argument --webhook-url: 'ftp://example.com/' is no http"),
        (["--webhook-url", "http://["], "argument --webhook-url: 'http://[': "),
        (["--webhook-url", "http://x:99999/"], "argument --webhook-url: 'http://x:99999/': Port out of range"),
        (["--webhook-ca", "/nope"], "argument --webhook-ca: /nope: No such file"),
        (["--webhook-ca", __file__], f"argument --webhook-ca: {__file__} holds no certificate"),
        (["--hos", "x"], "unrecognized arguments: --hos"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert f"rtmsd simulate: error: {why}" in capsys.readouterr().err


def test_a_failure_at_start_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["--port", port]) == 2
    assert main(["nothing"]) == 2
    assert main(["--host", "a..b"]) == 2
    assert main(["--tls", str(tmp_path / "gone" / "ca.pem")]) == 2
    assert main(["--tls", str(tmp_path)]) == 2
    output = capsys.readouterr()
    port_line, scenario_line, host_line, *tls_lines = output.err.splitlines()
    assert port_line == f"rtmsd simulate: 127.0.0.1:{port}: [Errno 98] Address already in use"
    assert scenario_line.startswith("rtmsd simulate: no scenario 'nothing'")
    assert host_line.startswith("rtmsd simulate: a..b:0: ")
    assert tls_lines == [
        f"rtmsd simulate: {tmp_path / 'gone' / 'ca.pem'}: No such file or directory",
        f"rtmsd simulate: {tmp_path}: Is a directory",
    ]
    assert output.out == ""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_the_totals(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play(simulator: Any, *_: object) -> NoReturn:
        await simulator.start_session()
        os.kill(os.getpid(), how)
        await trio.sleep_forever()

    monkeypatch.setattr(command, "play", play)
    assert main(["--json"]) == 0
    assert said(capsys)[-1]["message"] == "session left open"


def test_a_chosen_secret_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revoked", "--speed", "100", "--marked", "--webhook-secret", "of-my-own"]) == 0
    output = capsys.readouterr().out
    assert "of-my-own" not in output
    assert SimulatorSettings().client_secret in output
