"""Things of a configuration that this machine cannot use: the key, the reason, and the holder."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtmsd.config import unusable
from rtmsd.system.socket_holders import holder_of_address, holder_of_socket
from tests.config.files import load_text
from tests.ctl.nobody import unprivileged

APP = """
[[app]]
client_id = "abc"
client_secret = { value = "client-main" }
webhook_secret = { value = "webhook-main" }
"""


def found(directory: Path, **places: str) -> list[str]:
    """Return what `check` says of a configuration that differs in these keys from one that is fine."""
    keys = {"listen": "127.0.0.1:0", "recordings": "recordings", "state": "state.sqlite", "socket": "a.sock"} | places
    return unusable(
        load_text(
            directory,
            f'{APP}[webhook]\nlisten = "{keys["listen"]}"\n[recording]\ndirectory = "{keys["recordings"]}"\n'
            f'[state]\nfile = "{keys["state"]}"\n[admin]\nsocket = "{keys["socket"]}"\n'
            f'metrics_listen = "{keys.get("metrics", "")}"\n',
        )
    )


def test_nothing_is_wrong_and_nothing_is_left(tmp_path: Path) -> None:
    assert found(tmp_path, recordings="a/b/c", metrics="localhost:0") == []
    assert [path.name for path in tmp_path.iterdir()] == ["config.toml"]


def test_files_that_are_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "notes").touch()
    assert found(tmp_path, recordings="file/there", state=".", socket="file", listen=f"unix:{tmp_path}/notes") == [
        f"recording.directory: {tmp_path}/file is a file, not a directory",
        f"state.file: {tmp_path} is a directory",
        f"admin.socket: {tmp_path}/file is there already, and no socket",
        f"webhook.listen: {tmp_path}/notes is there already, and no socket",
    ]


def test_the_directory_of_an_app_goes_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    lines = found(
        tmp_path,
        recordings='r"\n[[app]]\nname = "b"\nclient_id = "b"\nclient_secret = { value = "c" }\n'
        'webhook_secret = { value = "w" }\n[app.recording]\ndirectory = "file',
    )
    assert lines == [f"app[1].recording.directory: {tmp_path}/file is a file, not a directory"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_worker_of_a_cluster_has_places_of_its_own(tmp_path: Path, number: int) -> None:
    (tmp_path / "state.sqlite.3").mkdir()
    (tmp_path / "recordings" / "workers").mkdir(parents=True)
    (tmp_path / "recordings" / "workers" / "2").touch()
    cluster = f'[cluster]\nservers = ["nats://127.0.0.1:4222"]\n[daemon]\nworkers = {number}'
    lines = [
        f"recording.directory: {tmp_path}/recordings/workers/2 is a file, not a directory",
        f"state.file: {tmp_path}/state.sqlite.3 is a directory",
    ]
    assert found(tmp_path, metrics=f'"\n{cluster}\n#') == lines[: number - 1]


def test_a_directory_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as name, unprivileged_in(Path(name)) as closed:
        places = {"recordings": f"{closed}/r", "state": f"{closed}/s", "socket": f"{closed}/a.sock"}
        lines = found(Path(name), **places)
    assert [line.partition(":")[0] for line in lines] == ["recording.directory", "state.file", "admin.socket"]
    assert all(f"{closed} cannot be written by user " in line for line in lines)


@contextmanager
def unprivileged_in(directory: Path) -> Iterator[Path]:
    """Be somebody who may write to `directory`, but not to what is in it. pytest's own directories are root's alone."""
    closed = directory / "closed"
    closed.mkdir(0o555)
    directory.chmod(0o777)
    with unprivileged():
        yield closed
    closed.chmod(0o755)


def test_a_disk_that_refuses_a_file(tmp_path: Path) -> None:
    """Permissions say nothing of it, and root has all of them."""
    [line] = found(tmp_path, recordings="/proc/rtmsd")
    assert line.startswith("recording.directory: /proc cannot be written by user ")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
def test_a_port_that_is_taken_names_who_has_it(tmp_path: Path, family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host.strip("[]"), 0), family=family) as taken:
        address = f"{host}:{taken.getsockname()[1]}"
        holder = holder_of_address(address)
        assert holder is not None
        assert holder.pid == os.getpid()
        assert found(tmp_path, listen=address) == [
            f"webhook.listen: cannot listen on {address}: in use by {holder.command} (process {os.getpid()})"
        ]
        assert found(tmp_path, metrics=address)[0].startswith(f"admin.metrics_listen: cannot listen on {address}: ")


def test_a_socket_that_is_taken_names_who_has_it(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(tmp_path / "taken.sock"))
        assert found(tmp_path, socket="taken.sock") == []  # nobody listens: left over from a killed daemon
        taken.listen()
        holder = holder_of_socket(tmp_path / "taken.sock")
        assert holder is not None
        assert holder.pid == os.getpid()
        listen = f"unix:{tmp_path}/taken.sock"
        assert found(tmp_path, listen=listen) == [f"webhook.listen: {tmp_path}/taken.sock is in use by {holder}"]


@pytest.mark.parametrize(
    ("listen", "words"),
    [
        ("192.0.2.7:8080", "this machine has no such address"),
        ("no-such-host.invalid:8080", "the name cannot be resolved"),
        ("unix:/no/such/web.sock", "there is no directory /no/such"),
    ],
)
def test_an_address_that_is_none_of_ours(tmp_path: Path, listen: str, words: str) -> None:
    [line] = found(tmp_path, listen=listen)
    assert line.startswith("webhook.listen: ")
    assert words in line


def test_a_daemon_that_runs_already_may_have_its_port(tmp_path: Path) -> None:
    """A check of a changed file before `reload` does not report the running daemon's own sockets."""
    code = (
        "import socket, sys; a = socket.socket(socket.AF_UNIX); a.bind(sys.argv[2]); a.listen();"
        "b = socket.create_server(('127.0.0.1', 0)); print(b.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "rtmsd", str(tmp_path / "a.sock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        port = daemon.stdout.readline().strip()
        lines = found(tmp_path, listen=f"127.0.0.1:{port}")
        daemon.communicate()
    assert lines == []
