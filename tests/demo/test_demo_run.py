"""The demo as a user starts it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtmsd import demo
from rtmsd.cli import main
from rtmsd.demo.performance import DemoError

LIMIT_S = 300  # far more than it takes: this machine may be busy


@contextmanager
def started(*options: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a demo. A test that fails leaves neither its processes nor its pipe to the next one."""
    with subprocess.Popen(
        [sys.executable, "-m", "rtmsd", "demo", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(LIMIT_S)
            finally:
                process.kill()


def read_to(process: subprocess.Popen[str], text: str) -> str:
    """Read what a demo prints up to the line with `text`, and return that line."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return line
    raise AssertionError("".join(lines))


def test_the_fast_demo_holds_all_its_checks_and_keeps_the_files(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    too_long_for_a_socket = tmp_path / ("temporary" * 12)
    too_long_for_a_socket.mkdir()
    with started("--fast", "--keep", str(kept), tmp_path=too_long_for_a_socket) as process:
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    assert "FAILED" not in output
    assert "checks hold." in output
    assert "\x1b" not in output
    wavs = list(kept.glob("recordings/*/*/audio/*.wav"))
    assert len(wavs) == 3
    assert all(str(wav.relative_to(wav.parents[1])) in output for wav in wavs)


def test_ctrl_c_ends_it_and_removes_all_files(tmp_path: Path) -> None:
    with started("--fast", tmp_path=tmp_path) as process:
        first = read_to(process, "The daemon is up (process ")
        assert "the simulated Zoom is at 127.0.0.1:" in first
        daemon_pid = int(first.split("(process ")[1].split(")")[0])
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == demo.EXIT_INTERRUPTED, output
    assert "stopped before its end" in output
    assert "Traceback" not in output
    with pytest.raises(ProcessLookupError):
        os.kill(daemon_pid, 0)
    assert list(tmp_path.iterdir()) == []


def test_without_trustme_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert demo.main(fast=True) == demo.EXIT_FAILED
    assert "pip install '.[demo]'" in capsys.readouterr().err


def test_a_directory_with_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("mine")
    with pytest.raises(DemoError, match="not empty"):
        demo.main(fast=True, keep=tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("config.toml", "mine")]


def test_a_full_disk_is_reported_before_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=3 << 20))
    with pytest.raises(DemoError, match="3 MB are free, and the demo needs 50"):
        demo.main(fast=True, keep=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_to_make_a_temporary_directory_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(DemoError, match="No such file"):
        demo.main(fast=True, keep=tmp_path / "kept")


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--fast", "--keep", str(tmp_path / "file" / "below")]) == demo.EXIT_FAILED
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"rtmsd: {tmp_path / 'file' / 'below'} cannot be used: Not a directory"
