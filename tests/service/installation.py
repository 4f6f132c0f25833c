"""rtmsd as installed: a process of its own, used through an operator's tools: rtmsctl, curl, signals, systemd.

Everything here is synchronous; the simulated Zoom lives in a thread beside it.
"""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import attrs
import trio

from rtmsd.simulator import SimSession, Simulator, SimulatorSettings, Timing, Tone, open_simulator
from tests.service.prepared import PYTHON_MODULE, ROOT, Process

LIMIT_S: Final = 60.0  # for each wait: on a busy machine a process may be slow to start, or to answer
SIMULATED: Final = SimulatorSettings(webhook_timeout_s=LIMIT_S, timing=Timing(stop_grace_s=0.1))
WIDTH: Final = 132

AS_ANOTHER_USER: Final = """
import locale, os, shutil, sys
import rtmsd.ctl.client
from rtmsd.ctl.main import main
from rtmsd.ctl.verbs import control, recordings, session, status
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""

T = TypeVar("T")
Sections = Mapping[str, Mapping[str, Any]]

DEFAULTS: Final[Sections] = {
    "webhook": {"listen": "127.0.0.1:0"},
    "zoom": {"allowed_hosts": ["127.0.0.1"], "allow_plain_ws": True},
    "streams": {"reconnect_delay_s": 0.05, "stop_grace_s": 0.5},
    "recording": {"min_free_bytes": 0, "sync_interval_s": 0.2},
    "admin": {"metrics_listen": "127.0.0.1:0"},
    "log": {"format": "json"},
}


def until(condition: Callable[[], T], limit_s: float = LIMIT_S) -> T:
    """Poll until the condition is true, and return it."""
    deadline = time.monotonic() + limit_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"still {answer!r} after {limit_s} s"
        time.sleep(0.02)
    return answer


class Printed(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class NotifySocket:
    """The service manager's end of sd_notify: a real datagram socket, read continuously."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.messages: list[tuple[float, dict[str, str]]] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := self._socket.recv(4096):
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            self.messages.append((time.monotonic(), fields))

    def having(self, name: str) -> list[tuple[float, str]]:
        """When a field came, and with what value."""
        return [(at_s, fields[name]) for at_s, fields in self.messages if name in fields]

    def wait(self, name: str, count: int = 1) -> str:
        """Wait until a field has come so often, and return its value."""
        return until(lambda: self.having(name)[count - 1 : count])[0][1]

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


class Installation:
    """One configuration file with its directories, and one process at a time.

    Attributes:
        directory: holds everything; its name is short, because of the sockets in it.
        sections: of the configuration, by name; written at each start and by `write_config`.
        app: the `[[app]]` section.
        environment: in addition to that of the tests.
        launcher: the command before `run --config FILE`. A Python module is not started, but forked: see `prepared`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sections = {name: dict(section) for name, section in DEFAULTS.items()}
        self.sections["recording"]["directory"] = str(directory / "recordings")
        self.sections["state"] = {"file": str(directory / "state.sqlite")}
        self.sections["admin"]["socket"] = str(directory / "admin.sock")
        self.app: dict[str, Any] = {
            "client_id": SIMULATED.client_id,
            "client_secret": {"value": SIMULATED.client_secret},
            "webhook_secret": {"value": SIMULATED.webhook_secret},
        }
        self.environment: dict[str, str] = {}
        self.launcher: Sequence[str] = (*PYTHON_MODULE, "rtmsd")
        self.process: Process | None = None
        self.log_file = directory / "log"

    @property
    def admin_socket(self) -> str:
        return str(self.sections["admin"]["socket"])

    @property
    def config_file(self) -> Path:
        return self.directory / "config.toml"

    def write_config(self) -> None:
        sections = [("[app]", self.app), *self.sections.items()]
        self.config_file.write_text("\n".join(to_toml(name, section) for name, section in sections))
        self.config_file.chmod(0o600)

    # Life and death

    def spawn(self, *arguments: str, sockets: Sequence[int] = ()) -> Process:
        """Start a process, and do not wait for it to be ready."""
        self.write_config()
        command = [*self.launcher, "run", "--config", str(self.config_file), *arguments]
        with self.log_file.open("ab") as log:
            variables = os.environ | self.environment
            self.process = Process(command, variables, stdout=log.fileno(), stderr=log.fileno(), sockets=sockets)
        return self.process

    def start(self, *arguments: str, sockets: Sequence[int] = ()) -> None:
        """Start a process, and return when it says that it is ready."""
        seen = len(self.lines())
        process = self.spawn(*arguments, sockets=sockets)
        until(lambda: process.poll() is not None or self.logged("ready", since=seen))
        assert process.returncode is None, self.log_file.read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for the process to end, and return its status."""
        assert self.process is not None
        return self.process.wait(LIMIT_S)

    def stop(self) -> int:
        """SIGTERM, and wait. Returns the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> None:
        """End what is left of it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # What it says

    def lines(self) -> list[dict[str, Any]]:
        """The log so far, of all processes; whatever is no JSON becomes {"raw": ...}."""
        whole, _, _ = self.log_file.read_text().rpartition("\n") if self.log_file.exists() else ("", "", "")
        return [_log_line(line) for line in whole.splitlines()]

    def logged(self, event: str, *, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        wanted = {"event": event, **fields}
        return [line for line in self.lines()[since:] if wanted.items() <= line.items()]

    @property
    def webhook_url(self) -> str:
        return f"http://{self.logged('webhook listening')[-1]['address']}/webhook"

    # What an operator types

    def ctl(self, *words: str, uid: int | None = None) -> Printed:
        """rtmsctl with its output in files.

        Args:
            uid: another user's. Who may not read this Python, so that it is loaded before.
        """
        command = self.ctl_command(*words)
        if uid is not None:
            command[1:3] = ["-c", AS_ANOTHER_USER, str(uid)]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = Process(command, os.environ, stdout=out.fileno(), stderr=err.fileno())
            code = process.wait(LIMIT_S)
            out.seek(0)
            err.seek(0)
            return Printed(code, out.read(), err.read())

    def ctl_command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "rtmsd.ctl", "--socket", self.admin_socket, *words]

    def seen(self, *words: str, **environment: str) -> Printed:
        """rtmsctl on a terminal."""
        return on_terminal(self.ctl_command(*words), environment)

    def asked(self, *words: str) -> Any:
        """The answer of rtmsctl --json, which must succeed."""
        printed = self.ctl("--json", *words)
        assert printed.code == 0, printed
        return printed.json

    def curl(self, path: str, *options: str) -> Printed:
        """The admin socket through curl."""
        command = [
            "curl",
            "-sS",
            "--max-time",
            str(LIMIT_S),
            "--unix-socket",
            self.admin_socket,
            *options,
            f"http://rtmsd{path}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Printed(done.returncode, done.stdout, done.stderr)

    def status(self) -> Any:
        return self.curl("/v1/status").json

    def states(self) -> dict[str, str]:
        """The states of live streams."""
        return {stream["rtms_stream_id"]: stream["state"] for stream in self.curl("/v1/streams").json}


def on_terminal(command: Sequence[str], environment: dict[str, str], *, until_shown: bytes = b"") -> Printed:
    """Run a command on a terminal of its own; Ctrl-C once `until_shown` was shown. Returns its output."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("4H", 50, WIDTH, 0, 0))
    variables = os.environ | {"TERM": "xterm-256color", "NO_COLOR": "1"} | environment
    with subprocess.Popen(
        command, stdin=secondary, stdout=secondary, stderr=secondary, cwd=ROOT, env=variables
    ) as child:
        os.close(secondary)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the last user of the terminal is gone
            while True:
                shown += os.read(primary, 65536)
                if until_shown and until_shown in shown:
                    child.send_signal(signal.SIGINT)
                    until_shown = b""
        os.close(primary)
        return Printed(child.wait(LIMIT_S), shown.decode().replace("\r\n", "\n"))


class Zoom:
    """A simulated Zoom in a thread. `do` and `wait` run code in it."""

    def __init__(self, **settings: Any) -> None:
        self._settings = attrs.evolve(SIMULATED, **({"tone": Tone.MARKED} | settings))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._main,))
        self.sim: Simulator
        self._token: trio.lowlevel.TrioToken
        self._scope: trio.CancelScope

    async def _main(self) -> None:
        async with open_simulator(self._settings) as self.sim:
            self._token = trio.lowlevel.current_trio_token()
            with trio.CancelScope() as self._scope:
                self._ready.set()
                await trio.sleep_forever()

    def do(self, work: Callable[[], T]) -> T:
        """Call something in Zoom's thread."""
        return trio.from_thread.run_sync(work, trio_token=self._token)

    def wait(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run something in Zoom's thread to its end."""
        return trio.from_thread.run(work, trio_token=self._token)

    def session(self, *people: str, connected: bool = True, **details: Any) -> SimSession:
        """Start a session; by default return when its audio flows."""

        async def start() -> SimSession:
            session = await self.sim.start_session(people or ("Ana", "Bo"), **details)
            if connected:
                with trio.fail_after(LIMIT_S):
                    await session.wait_reconnected()
            return session

        return self.wait(start)

    def __enter__(self) -> "Zoom":
        self._thread.start()
        assert self._ready.wait(LIMIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._scope.cancel)
        self._thread.join()


class Busy(NamedTuple):
    """A daemon with streams in several states."""

    daemon: Installation
    zoom: Zoom
    cut: SimSession
    well: SimSession


@contextlib.contextmanager
def zoom_for(daemon: Installation, **settings: Any) -> Iterator[Zoom]:
    """A Zoom that posts to a running daemon."""
    with Zoom(webhook_url=daemon.webhook_url, **settings) as zoom:
        yield zoom


def to_toml(name: str, section: Mapping[str, Any]) -> str:
    """A section; strings, numbers, booleans and lists are written in TOML as in JSON."""
    return "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in section.items()), ""])


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)


def _log_line(line: str) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return {"raw": line}
    return fields
