"""The clients rtmsd is measured against: installed from the registries, started, asked what they received."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from tests.benchmarks.processes import REPOSITORY, cpu_s, rss_bytes

PEER_SCRIPTS: Final = Path(__file__).parent / "peers"
_INSTALL_S: Final = 300.0
_ANSWER_S: Final = 90.0


@attrs.frozen
class Peer:
    """A client. `package` is what is installed for it, "" for rtmsd itself."""

    name: str
    package: str
    script: str
    where: Literal["pip", "npm", "here"] = "pip"
    media: tuple[str, ...] = ("audio", "video")


PEERS: Final = (
    Peer("rtmsd receive only", "", "rtmsd_peer.py", "here"),
    Peer("picows", "picows", "picows_peer.py"),
    Peer("Node ws", "ws", "ws_peer.mjs", "npm"),
    Peer("aiohttp", "aiohttp", "aiohttp_peer.py"),
    Peer("websockets + json", "websockets", "websockets_peer.py"),
    Peer("Zoom rtms", "rtms", "rtms_peer.py", media=("audio",)),
    Peer("trio-websocket", "trio-websocket", "trio_websocket_peer.py"),
)


@attrs.define
class Environment:
    """Where the peers are installed.

    Attributes:
        missing: what could not be installed, and why, by the peer's name.
        versions: what was installed, by package.
    """

    directory: Path
    missing: dict[str, str] = attrs.field(factory=dict)
    versions: dict[str, str] = attrs.field(factory=dict)

    @property
    def python(self) -> Path:
        return self.directory / "venv" / "bin" / "python"

    @property
    def node(self) -> Path:
        return self.directory / "node"

    def prepare(self) -> None:
        """Install what is not there yet; each by itself, so that one that fails takes no other with it."""
        self.directory.mkdir(parents=True, exist_ok=True)
        no_venv = self._make_venv()
        for package in () if no_venv else ("msgspec", "matplotlib"):
            why = self._install([str(self.python), "-m", "pip", "install", "-q", package], package)
            if why:
                self.missing[package] = why
        for peer in PEERS:
            if peer.where == "pip":
                if no_venv:
                    self.missing[peer.name] = no_venv
                    continue
                command = [str(self.python), "-m", "pip", "install", "-q", peer.package]
            elif peer.where == "npm":
                self.node.mkdir(exist_ok=True)
                command = ["npm", "install", "--silent", "--no-fund", "--prefix", str(self.node), peer.package]
            else:
                continue
            why = self._install(command, peer.name)
            if why:
                self.missing[peer.name] = why
        if "ws" in self.versions and self.node.is_dir():
            shutil.copy(PEER_SCRIPTS / "ws_peer.mjs", self.node)

    def install_tool(self, package: str) -> Path:
        """Install a program, and return where it is.

        Raises:
            RuntimeError: it could not be installed.
        """
        why = self._install([str(self.python), "-m", "pip", "install", "-q", package], package)
        if why:
            raise RuntimeError(why)
        return self.python.with_name(package)

    def _make_venv(self) -> str:
        """Return why there is none, "" if there is one."""
        if (self.python.parent / "pip").exists():  # the last thing made
            return ""
        why = failure([sys.executable, "-m", "venv", str(self.python.parents[1])])
        return why and f"not installed: no virtual environment: {why}"

    def _install(self, command: list[str], name: str) -> str:
        """Return why it could not be installed, "" if it was."""
        package = command[-1]
        if not self._version(package) and (why := failure(command)):
            return f"not installed: {why}"
        version = self._version(package)
        if not version:
            return f"{name} is not there after its installation"
        self.versions[package] = version
        return ""

    def _version(self, package: str) -> str:
        if package == "ws":
            manifest = self.node / "node_modules" / "ws" / "package.json"
            return str(json.loads(manifest.read_text())["version"]) if manifest.exists() else ""
        query = f"import importlib.metadata as m; print(m.version({package!r}))"
        done = subprocess.run([str(self.python), "-c", query], check=False, capture_output=True, text=True)
        return done.stdout.strip()

    def command(self, peer: Peer) -> list[str]:
        match peer.where:
            case "npm":
                return ["node", str(self.node / peer.script)]
            case "here":
                return [sys.executable, str(PEER_SCRIPTS / peer.script)]
            case _:
                return [str(self.python), str(PEER_SCRIPTS / peer.script)]


def failure(command: Sequence[str]) -> str:
    """Run a command that takes its time. Return why it failed, "" if it did not."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_INSTALL_S, text=True)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)[-200:]
    if not done.returncode:
        return ""
    output = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return output[-1][:200] if output else f"exit code {done.returncode}, without a word"


class RunningPeer:
    """A peer that has its sockets open, or is opening them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @property
    def cpu_s(self) -> float:
        return cpu_s(self._process.pid)

    @property
    def rss_bytes(self) -> int:
        return rss_bytes(self._process.pid)

    def wait_ready(self) -> None:
        self._read()

    def result(self) -> dict[str, Any]:
        """Return what it received; only when its sockets were closed. See `peers/common.py`."""
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        patience = threading.Timer(_ANSWER_S, self._process.kill)
        patience.start()
        try:
            for line in self._process.stdout:
                if line.startswith("{"):
                    found: dict[str, Any] = json.loads(line)
                    if "failed" in found:
                        raise RuntimeError(found["failed"])
                    return found
        finally:
            patience.cancel()
        raise RuntimeError("the peer died, or was silent for too long")


@contextmanager
def running_peer(command: Sequence[str], zoom_url: str, streams: int, ca: Path | None) -> Iterator[RunningPeer]:
    arguments = [*command, zoom_url, str(streams), *([] if ca is None else [str(ca)])]
    path = os.pathsep.join([str(PEER_SCRIPTS), str(REPOSITORY)])
    with (
        tempfile.TemporaryDirectory() as directory,  # Zoom's SDK writes logs where it is started
        subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=directory,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield RunningPeer(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
