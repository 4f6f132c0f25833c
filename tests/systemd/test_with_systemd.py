"""The units under a real service manager: a user manager in a mount namespace of its own, where the machine allows it.

What the units start here is a small stand-in for the daemon: it is the units and `rtmsd.notify` that are tried.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
MANAGER = "/lib/systemd/systemd"

# Only in here does systemd believe that it has booted the machine; nothing outside is touched.
IN_NAMESPACE = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 XDG_CONFIG_HOME="$1" SYSTEMD_LOG_TARGET=console
exec /lib/systemd/systemd --user
"""

STAND_IN = """
import os, socket, sys, time
from pathlib import Path
from rtmsd.notify import Notifier, listen_fds

mode = Path(sys.argv[1], "mode").read_text()
with Path(sys.argv[1], "starts").open("a") as starts:
    print(os.getpid(), file=starts)
if mode == "wrong":
    sys.exit(78)
(webhook,), (admin,) = (listen_fds()[name] for name in ("webhook", "admin"))
assert socket.socket(fileno=admin).family == socket.AF_UNIX
listener = socket.socket(fileno=webhook)
notifier = Notifier()
time.sleep(0.2)
notifier.ready("up")
while True:
    connection, _ = listener.accept()
    with connection:
        connection.recv(100)
        if mode == "killed":
            Path(sys.argv[1], "mode").write_text("good")
            os.kill(os.getpid(), 9)
        connection.sendall(str(os.getpid()).encode())
"""

# What a user manager cannot do, or would do to this machine.
LEFT_OUT = re.compile(
    r"^(User|Group|Socket(User|Group)|DirectoryMode|\w*Directory(Mode|Preserve)?|LoadCredential|Limit\w+"
    r"|Protect\w+|Private\w+|Restrict(?!art)\w+|Capability\w+|Ambient\w+|DevicePolicy|ProcSubset|SystemCall\w+|Memory\w+"
    r"|KeyringMode|RemoveIPC|LockPersonality|NoNewPrivileges|After|Wants)=.*\n",
    re.MULTILINE,
)


class Manager:
    """A user manager with our units, its daemon replaced by the stand-in."""

    def __init__(self, process: "subprocess.Popen[bytes]", directory: Path, port: int) -> None:
        self._process = process
        self.directory = directory
        self.port = port

    def systemctl(self, *args: str) -> str:
        """Ask the manager, from within its namespace."""
        command = ["nsenter", f"--target={self._process.pid}", "--mount", "env", "XDG_RUNTIME_DIR=/run/user/0"]
        done = subprocess.run([*command, "systemctl", "--user", *args], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    def shown(self, *properties: str) -> dict[str, str]:
        """Properties of the service."""
        lines = self.systemctl("show", "rtmsd.service", f"--property={','.join(properties)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def wait(self, *args: str, answer: str) -> None:
        """Wait until the manager gives an answer."""
        deadline = time.monotonic() + 10
        while (last := self.systemctl(*args)) != answer:
            assert time.monotonic() < deadline, last
            time.sleep(0.02)

    def mode(self, name: str) -> None:
        (self.directory / "mode").write_text(name)

    def starts(self) -> list[str]:
        return (self.directory / "starts").read_text().splitlines()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    if os.geteuid() != 0 or not Path(MANAGER).exists() or shutil.which("unshare") is None:
        pytest.skip("needs systemd, and root for a mount namespace")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    units = tmp_path / "systemd" / "user"
    units.mkdir(parents=True)
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    start = f"{sys.executable} {tmp_path}/stand_in.py {tmp_path}"
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        text = LEFT_OUT.sub("", unit.read_text())
        text = re.sub(r"^ExecStart=.*", f"ExecStart={start}", text, flags=re.MULTILINE)
        text = text.replace("[Service]\n", f"[Service]\nEnvironment=PYTHONPATH={UNITS.parent}\n")
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("/run/rtmsd/", f"{tmp_path}/")
        (units / unit.name).write_text(text)
    command = ["unshare", "--mount", "bash", "-c", IN_NAMESPACE, "bash", str(tmp_path)]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        manager = Manager(process, tmp_path, port)
        deadline = time.monotonic() + 10
        while manager.systemctl("is-system-running") not in ("running", "degraded"):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.skip(f"systemd does not run here: {(tmp_path / 'log').read_text()[-200:]}")
            time.sleep(0.02)
        yield manager
        manager.systemctl("stop", "rtmsd-webhook.socket", "rtmsd-admin.socket", "rtmsd.service")
        process.terminate()


def test_a_service_is_ready_when_it_says_so_and_a_post_outlives_a_kill(manager: Manager) -> None:
    manager.mode("good")
    assert manager.systemctl("start", "rtmsd.service") == ""
    assert manager.shown("ActiveState", "StatusText") == {"ActiveState": "active", "StatusText": "up"}
    first = manager.starts()[0]
    with manager.connect() as connection:
        connection.sendall(b"POST")
        assert connection.recv(100).decode() == first
    manager.systemctl("kill", "--signal=KILL", "rtmsd.service")
    with manager.connect() as waiting:  # nobody is there: it waits in the kernel
        waiting.sendall(b"POST")
        assert waiting.recv(100).decode() == manager.starts()[1] != first


def test_sockets_start_the_service(manager: Manager) -> None:
    manager.mode("good")
    manager.systemctl("start", "rtmsd-webhook.socket", "rtmsd-admin.socket")
    assert manager.systemctl("is-active", "rtmsd.service") == "inactive"
    with manager.connect() as connection:
        connection.sendall(b"POST")
        assert connection.recv(100).decode() == manager.starts()[0]


def test_a_wrong_configuration_is_not_tried_for_ever(manager: Manager) -> None:
    manager.mode("wrong")
    manager.systemctl("start", "rtmsd.service")
    shown = manager.shown("ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78", "NRestarts": "0"}
    assert len(manager.starts()) == 1
    with manager.connect() as waiting:  # starts it again and again, but not for ever
        manager.wait("is-active", "rtmsd-webhook.socket", answer="failed")
        with pytest.raises(ConnectionResetError):
            waiting.recv(100)
    assert len(manager.starts()) <= 1 + 2 * 20
    manager.mode("good")
    manager.systemctl("start", "rtmsd.service")
    with manager.connect() as connection:
        connection.sendall(b"POST")
        assert connection.recv(100).decode() == manager.starts()[-1]
