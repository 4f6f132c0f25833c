"""The command line: arguments, and exit status."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import rtmsd
from rtmsd.cli import main
from rtmsd.config import Config, DaemonConfig
from rtmsd.errors import AlreadyRunningError, ConfigError

GOOD = """
[[app]]
client_id = "abc"
client_secret = { value = "client-secret" }
webhook_secret = { value = "webhook-secret" }
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.touch(0o600)
    path.write_text(
        f'{GOOD}[webhook]\nlisten = "127.0.0.1:0"\n[recording]\ndirectory = "{tmp_path}"\n'
        f'[state]\nfile = "state.sqlite"\n[admin]\nsocket = "a.sock"\n'
    )
    return path


class Fake(ModuleType):
    """Replaces a module of the package, and records its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, outcome: int | Exception) -> None:
        super().__init__(f"rtmsd.{name}")
        self.calls: list[tuple[object, ...]] = []
        self._outcome = outcome
        monkeypatch.setitem(sys.modules, self.__name__, self)
        package, _, own_name = self.__name__.rpartition(".")
        monkeypatch.setattr(importlib.import_module(package), own_name, self, raising=False)

    def _called(self, *args: object, **options: object) -> int:
        self.calls.append((*args, options))
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    run = main = _called


def test_check_of_a_good_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert out == f"ok: app main; audio, transcript; recordings in {config.parent}\n"
    assert err == ""


def test_check_names_the_member_of_a_cluster(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By default after its machine, as other members will know it."""
    with config.open("a") as file:
        file.write('[cluster]\nnode = "n1"\nservers = ["tls://s1:4222", "tls://s2"]')
    assert main(["check", "--config", str(config)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "ok: member n1 of cluster rtms; servers tls://s1:4222, tls://s2"
    ]


def test_check_prints_warnings(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.chmod(0o644)
    assert main(["check", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("ok: ")
    assert [line.split(":")[:2] for line in err.splitlines()] == [
        ["warning", " app[0].client_secret"],
        ["warning", " app[0].webhook_secret"],
    ]


def test_check_prints_one_mistake_a_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(GOOD + "[media.audio]\nsample_rate_hz = 44100\n[streams]\nconect_timeout_s = 5")
    assert main(["check", "--config", str(config)]) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "streams.conect_timeout_s: unknown key; did you mean connect_timeout_s?",
        "media.audio.sample_rate_hz: must be 8000 or 16000 or 32000 or 48000, not 44100",
    ]


def test_check_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "mistakes": [], "warnings": []}
    config.write_text(GOOD + "x = 1")
    assert main(["check", "--json", "--config", str(config)]) == 78
    result = json.loads(capsys.readouterr().out)
    assert (result["ok"], len(result["mistakes"])) == (False, 1)


def test_an_unusable_directory_or_port_is_a_warning(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_text(config.read_text().replace("state.sqlite", "."))
    line = f"state.file: {config.parent} is a directory"
    assert main(["check", "--config", str(config)]) == 0
    out, err = capsys.readouterr()
    assert (out[:4], err) == ("ok: ", f"warning: {line}\n")
    assert main(["check", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "mistakes": [], "warnings": [line]}
    assert main(["check", "--here", "--config", str(config)]) == 78
    assert capsys.readouterr() == ("", f"{line}\n")
    assert main(["check", "--here", "--json", "--config", str(config)]) == 78
    assert json.loads(capsys.readouterr().out) == {"ok": False, "mistakes": [line], "warnings": []}


def test_check_of_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", str(tmp_path / "none")]) == 78
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv", [[], ["run"], ["check"], ["dance"], ["check", "--conf", "x"], ["completion", "ksh"], ["demo", "--slow"]]
)
def test_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: rtmsd" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--help"], ["run", "--help"], ["demo", "--help"], ["--version"]])
def test_help_and_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"rtmsd {rtmsd.__version__}" if "--version" in argv else "usage: rtmsd")


def give_config(monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    """Have any file contain this."""
    monkeypatch.setattr("rtmsd.config.load", lambda _path: config)


def test_run(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon, config = Fake(monkeypatch, "daemon", 0), Config()
    give_config(monkeypatch, config)
    assert main(["run", "--config", "a.toml"]) == 0
    assert main(["run", "--config", "a.toml", "--end-streams"]) == 0
    assert daemon.calls == [(Path("a.toml"), config, {"end_streams": each}) for each in (False, True)]


def test_run_with_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    workers, config = Fake(monkeypatch, "workers", 1), Config(daemon=DaemonConfig(workers=2))
    give_config(monkeypatch, config)
    assert main(["run", "--config", "a.toml", "--end-streams"]) == 1
    assert workers.calls == [(Path("a.toml"), config, {"end_streams": True})]


def test_one_process_imports_nothing_of_workers() -> None:
    code = "import sys, rtmsd.cli, rtmsd.daemon.root; sys.exit('rtmsd.workers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_worker_needs_a_parent() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtmsd", "worker", "1", "0"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "rtmsd: only `rtmsd run` starts workers\n")


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (ConfigError(["a.b: wrong", "c.d: wrong"]), 78, "a.b: wrong\nc.d: wrong\n"),
        (AlreadyRunningError("pid 7 holds it"), 1, "rtmsd: pid 7 holds it\n"),
    ],
)
def test_a_foreseen_error_has_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, status: int, words: str
) -> None:
    Fake(monkeypatch, "daemon", error)
    give_config(monkeypatch, Config())
    assert main(["run", "--config", "a.toml"]) == status
    assert capsys.readouterr().err == words


def test_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = Fake(monkeypatch, "demo", 1)
    assert main(["demo", "--fast", "--keep", "there"]) == 1
    assert demo.calls == [({"fast": True, "keep": Path("there")},)]


def test_simulate_has_options_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    simulator = Fake(monkeypatch, "simulator.cli.command", 2)
    assert main(["simulate", "--list", "--help"]) == 2
    assert main(["simulate"]) == 2
    assert simulator.calls == [(["--list", "--help"], {}), ([], {})]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "rtmsd" in script
    assert "simulate" in script


def test_as_a_module(config: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtmsd", "check", "--config", config], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("argv", [["simulate", "--list"], ["simulate"], ["simulate", "--help"], ["completion", "bash"]])
def test_a_closed_output_is_no_failure(argv: list[str]) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rtmsd", *argv], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_imports_neither_trio_nor_the_daemon() -> None:
    code = "import sys, rtmsd.cli; rtmsd.cli.build_parser(); sys.exit('trio' in sys.modules or 'attrs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
