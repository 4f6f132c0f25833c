"""Failed starts: they fail before any stream is resumed, with the right exit status."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from rtmsd import cli
from rtmsd.cli import Exit

Starting = Callable[..., int]

CONFIG = """
[[app]]
client_id = "client"
client_secret = {{ value = "c-secret" }}
webhook_secret = {{ value = "w-secret" }}
[webhook]
listen = "127.0.0.1:0"
[recording]
directory = "{directory}/recordings"
[state]
file = "{directory}/state.sqlite"
[admin]
socket = "{directory}/admin.sock"
metrics_listen = "{metrics}"
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Starting:
    """Run a daemon that must fail before its streams. Returns its exit status."""

    async def resume(_self: object, *, task_status: trio.TaskStatus[None]) -> None:
        raise AssertionError("streams are resumed")

    def leave_alone(*_args: object, **_more: object) -> None:
        """This process is the tests'."""

    monkeypatch.setattr("rtmsd.streams.supervisor.Supervisor.run", resume)
    for setting in ("rtmsd.log.configure", "gc.freeze", "gc.set_threshold"):
        monkeypatch.setattr(setting, leave_alone)

    def run(metrics: str = "") -> int:
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.format(directory=tmp_path, metrics=metrics))
        return cli.main(["run", "--config", str(path)])

    return run


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [logged] = [line["errors"] for line in lines if line["event"] == "cannot run"]
    return [str(error) for error in logged]


def test_a_busy_metrics_port_is_worth_another_start(
    start: Starting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        address = "{}:{}".format(*somebody.getsockname())
        assert start(metrics=address) == Exit.FAILED
    [error] = errors(capsys)
    assert error.startswith(f"admin.metrics_listen: cannot listen on {address}: in use by ")
    assert error.endswith(f" (process {os.getpid()})")
    assert not (tmp_path / "admin.sock").exists()


def test_a_file_at_the_path_of_the_admin_socket_is_worth_another_start(
    start: Starting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "admin.sock").touch()
    assert start() == Exit.FAILED
    assert "is not a socket" in errors(capsys)[0]


@pytest.mark.parametrize(("name", "key"), [("recordings", "recording.directory"), ("state.sqlite.lock", "state.file")])
def test_an_error_of_the_disk_names_the_key(
    start: Starting, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, key: str
) -> None:
    """The machine decides whether it can be used, and that may change: the service is to be started again."""
    if name == "recordings":
        (tmp_path / name).touch()
    else:
        (tmp_path / "state.sqlite").mkdir()
    assert start() == Exit.FAILED
    [error] = errors(capsys)
    assert error.startswith(f"{key}: ")
    assert f"{tmp_path}/{name.removesuffix('.lock')}" in error


def test_a_second_daemon_is_refused_with_the_key_and_the_first(
    start: Starting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(str(tmp_path / "admin.sock"))
        first.listen()
        assert start() == Exit.FAILED
    [error] = errors(capsys)
    assert error.startswith("admin.socket: ")
    assert f"(process {os.getpid()}) answers on {tmp_path}/admin.sock" in error


@pytest.mark.parametrize("client_id", ["...", "…"])
def test_the_placeholder_of_the_example_is_no_client_id(
    start: Starting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], client_id: str
) -> None:
    monkeypatch.setattr(f"{__name__}.CONFIG", CONFIG.replace('"client"', f'"{client_id}"'))
    assert start() == Exit.BAD_CONFIG
    assert capsys.readouterr().err.startswith("app[0].client_id: ")
