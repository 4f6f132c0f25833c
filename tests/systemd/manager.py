"""The units under a real service manager: a user manager in a mount namespace of its own, where permitted."""

import contextlib
import fcntl
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
MANAGER = "/lib/systemd/systemd"
LIMIT_S = 60.0  # for each wait: a busy machine is slow

# Only in this namespace does systemd take the machine for booted by it; nothing outside is touched.
IN_NAMESPACE = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user/0
chmod 700 /run/user/0
export XDG_RUNTIME_DIR=/run/user/0 XDG_CONFIG_HOME="$1" SYSTEMD_LOG_TARGET=console
exec /lib/systemd/systemd --user
"""

# Settings that a user manager cannot apply, or that would affect this machine.
LEFT_OUT = re.compile(
    r"^(User|Group|Socket(User|Group)|DirectoryMode|\w*Directory(Mode|Preserve)?|LoadCredential|Limit\w+"
    r"|Protect\w+|Private\w+|Restrict(?!art)\w+|Capability\w+|Ambient\w+|DevicePolicy|ProcSubset|SystemCall\w+|Memory\w+"
    r"|KeyringMode|RemoveIPC|LockPersonality|NoNewPrivileges|After|Wants)=.*\n",
    re.MULTILINE,
)


class Manager:
    """A user manager with the units, which start a program of the test."""

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
        deadline = time.monotonic() + LIMIT_S
        while (last := self.systemctl(*args)) != answer:
            assert time.monotonic() < deadline, last
            time.sleep(0.02)

    def mode(self, name: str) -> None:
        (self.directory / "mode").write_text(name)

    def starts(self) -> list[str]:
        return (self.directory / "starts").read_text().splitlines()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S)


@contextmanager
def open_manager(directory: Path, start: str, reload: str = "/bin/true") -> Iterator[Manager]:
    """Run a user manager with the units, or skip the test where that is impossible.

    Args:
        directory: its own; the units' sockets are in it, or on a free port.
        start: the command that stands for the daemon.
        reload: the command that stands for `rtmsctl reload`.
    """
    if os.geteuid() != 0 or not Path(MANAGER).exists() or shutil.which("unshare") is None:
        pytest.skip("needs systemd, and root for a mount namespace")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    units = directory / "systemd" / "user"
    units.mkdir(parents=True)
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        text = LEFT_OUT.sub("", unit.read_text())
        text = re.sub(r"^ExecStart=.*", f"ExecStart={start}", text, flags=re.MULTILINE)
        text = re.sub(r"^ExecReload=.*", f"ExecReload={reload}", text, flags=re.MULTILINE)
        text = text.replace("[Service]\n", f"[Service]\nEnvironment=PYTHONPATH={UNITS.parent}\n")
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{port}").replace("/run/rtmsd/", f"{directory}/")
        (units / unit.name).write_text(text)
    command = ["unshare", "--mount", "bash", "-c", IN_NAMESPACE, "bash", str(directory)]
    with contextlib.ExitStack() as stack:
        fcntl.flock(stack.enter_context(Path(MANAGER).open("rb")), fcntl.LOCK_EX)  # two would share a control group
        log = stack.enter_context((directory / "log").open("wb"))
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log))
        manager = Manager(process, directory, port)
        deadline = time.monotonic() + LIMIT_S
        while manager.systemctl("is-system-running") not in ("running", "degraded"):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.skip(f"systemd does not run here: {(directory / 'log').read_text()[-200:]}")
            time.sleep(0.02)
        try:
            yield manager
        finally:
            manager.systemctl("stop", "rtmsd-webhook.socket", "rtmsd-admin.socket", "rtmsd.service")
            process.terminate()
