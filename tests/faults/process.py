"""The real daemon as a process: started, killed and started again on the same files, behind one address.

Nothing here looks into the daemon: it is known by its log lines, its admin socket, its exit status and its files.
"""

import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.ctl.client import AdminClient
from rtmsd.simulator import SimSession, Simulator, SimulatorSettings, Timing, Tone, open_simulator
from tests.service.prepared import PYTHON_MODULE, Process

LIMIT_S: Final = 60.0  # for whatever is waited for: on a busy machine a process may take long to start, or to answer
WAITING_PERCENT: Final = 40.0  # of the time somebody waits for a processor, or for a disk

TIMING: Final = Timing(
    utterance_s=1,
    transcript_lag_s=0.2,
    stop_grace_s=0.1,
    webhook_retry_s=(0.3, 0.5, 1, 1, 2, 2, 4, 4, *[8] * 5),  # none is lost to a daemon that is long in coming back
)

Section = Mapping[str, Any]

DEFAULTS: Final[Mapping[str, Section]] = {
    "zoom": {"allowed_hosts": ["127.0.0.1"], "allow_plain_ws": True},
    "streams": {"reconnect_delay_s": 0.05, "reconnect_delay_max_s": 0.4},
    "media.audio": {"send_rate_ms": 20},
    "recording": {"min_free_bytes": 0},
    "log": {"format": "json"},
}


async def until(condition: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Poll until a condition holds that has no event: in a file, or in the record of the simulator."""
    with trio.fail_after(limit_s):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)


def is_machine_busy() -> bool:
    """Whether processors or disks are overloaded by others: then no measured time means anything."""
    if os.getloadavg()[0] > (os.cpu_count() or 1) + 1:
        return True
    pressures = [Path("/proc/pressure", name) for name in ("cpu", "io")]
    waiting = [re.search(r"some avg10=([\d.]+)", path.read_text()) for path in pressures if path.exists()]
    return any(share and float(share[1]) > WAITING_PERCENT for share in waiting)


class Gate:
    """The address that Zoom posts to. It outlives the daemons behind it, and sees each answer before Zoom does.

    Args:
        host: of the daemons.

    Attributes:
        port: where the daemon of the moment listens; None: nobody answers.
        on_answer: called with the first bytes of each answer; what it does comes before Zoom hears of it.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self.url = ""
        self.port: int | None = None
        self.on_answer: Callable[[bytes], None] = lambda answer: None

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Listen for ever."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/webhook"
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, zoom: trio.SocketStream) -> None:
        if self.port is None:
            return
        try:
            async with await trio.open_tcp_stream(self.host, self.port) as daemon, trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, zoom, daemon, nursery.cancel_scope)
                async for answer in daemon:
                    self.on_answer(bytes(answer))
                    with trio.move_on_after(1, shield=True):  # said is said, also by one who is dead now
                        await zoom.send_all(answer)
                nursery.cancel_scope.cancel()
        except* (OSError, trio.BrokenResourceError):
            pass  # killed in the middle, which is what we are here for

    @staticmethod
    async def _pump(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
        async for data in source:
            await sink.send_all(data)
        both.cancel()


class Daemon:
    """One installation of rtmsd, with one process at a time.

    Attributes:
        directory: holds everything: configuration, recordings, state file, socket.
        sections: of the configuration, by name; written at each start, and by `write_config`.
        module: what to run as `python -m`, with its first arguments. It is forked by one that has imported it.
        within: the command that runs this, in a network of its own for instance. It has all to import first.
        lines: the log of all processes so far, each line a JSON object.
        spawned_s: `time.monotonic` of each start. killed_s: of the latest kill.
        starts_s: how long each start took until it was ready.
    """

    def __init__(self, directory: Path, gate: Gate, nursery: trio.Nursery) -> None:
        self.directory = directory
        self.gate = gate
        self.sections = {name: dict(section) for name, section in DEFAULTS.items()}
        self.sections["recording"]["directory"] = str(directory / "recordings")
        self.sections["state"] = {"file": str(directory / "state.sqlite")}
        self.sections["admin"] = {"socket": str(directory / "admin.sock")}
        self.sections["webhook"] = {"listen": f"{gate.host}:0"}
        self.module: Sequence[str] = ("rtmsd",)
        self.within: Sequence[str] = ()
        self.lines: list[dict[str, Any]] = []
        self.spawned_s: list[float] = []
        self.killed_s = 0.0
        self.starts_s: list[float] = []
        self._nursery = nursery
        self._process: Process | None = None
        self._news = trio.lowlevel.ParkingLot()
        self._drained = trio.Event()

    @property
    def recordings(self) -> Path:
        return Path(self.sections["recording"]["directory"])

    @property
    def config_file(self) -> Path:
        return self.directory / "config.toml"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def write_config(self) -> None:
        secrets = SimulatorSettings()
        app = {
            "client_id": secrets.client_id,
            "client_secret": Inline({"value": secrets.client_secret}),
            "webhook_secret": Inline({"value": secrets.webhook_secret}),
        }
        parts = [to_toml("[app]", app), *(to_toml(name, section) for name, section in self.sections.items())]
        self.config_file.write_text("\n".join(parts))

    # Life and death

    def spawn(self, *arguments: str, is_cold: bool = False) -> None:
        """Start a process and do not wait for it to be ready.

        Args:
            is_cold: with all it has to import first.
        """
        assert not self.is_running
        self.write_config()
        self.spawned_s.append(time.monotonic())
        command = [*self.within, *PYTHON_MODULE, *self.module, "run", "--config", str(self.config_file), *arguments]
        ours, theirs = os.pipe()
        self._process = Process(command, os.environ, stdout=theirs, stderr=theirs, is_cold=is_cold)
        os.close(theirs)
        self._drained = trio.Event()
        self._nursery.start_soon(self._read_log, self._process, trio.lowlevel.FdStream(ours), self._drained)

    async def start(self, *arguments: str) -> None:
        """Start a process and return when it takes webhooks."""
        seen = len(self.lines)
        self.spawn(*arguments)
        await self.until_logged("ready", since=seen)
        self.starts_s.append(time.monotonic() - self.spawned_s[-1])

    def kill(self) -> None:
        """SIGKILL, if it runs. Its output so far is still read."""
        self.gate.port = None
        if self.is_running:
            self.send_signal(signal.SIGKILL)
        self.killed_s = time.monotonic()

    async def reap(self) -> int:
        """Wait until the process is gone and its log is read; return its status."""
        assert self._process is not None
        await self._drained.wait()
        status = self._process.wait(LIMIT_S)
        self.gate.port = None
        return status

    async def stop(self) -> int:
        """SIGTERM, and wait. Returns the exit status."""
        self.send_signal(signal.SIGTERM)
        return await self.reap()

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    # What it says

    async def _read_log(self, process: Process, log: trio.abc.ReceiveStream, drained: trio.Event) -> None:
        rest = b""
        async with log:
            async for data in log:
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    self._take_line(process, line)
        drained.set()
        self._news.unpark_all()

    def _take_line(self, process: Process, line: bytes) -> None:
        try:
            fields = json.loads(line)
        except ValueError:
            fields = {"event": line.decode(errors="replace"), "level": "raw"}
        self.lines.append(fields)
        if fields.get("event") == "webhook listening" and process is self._process:
            found = re.search(rf"{re.escape(self.gate.host)}:(\d+)", line.decode())
            assert found is not None, line
            self.gate.port = int(found[1])
        self._news.unpark_all()

    def logged(self, event: str, *, since: int = 0, **fields: Any) -> list[dict[str, Any]]:
        """Return the log lines that say this, from line `since` on."""
        return [
            line
            for line in self.lines[since:]
            if line.get("event") == event and all(line.get(key) == value for key, value in fields.items())
        ]

    async def until_logged(self, event: str, *, since: int = 0, count: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait for so many log lines that say this, and return the last of them."""
        with trio.fail_after(LIMIT_S):
            while len(found := self.logged(event, since=since, **fields)) < count:
                assert not self._drained.is_set(), f"ended before it said {event!r}: {self.lines[-20:]}"
                await self._news.park()
        return found[count - 1]

    def complaints(self) -> list[dict[str, Any]]:
        """Return what no fault excuses: crashes, and lines that are no log lines."""
        return [line for line in self.lines if line.get("level") == "raw" or "crash" in str(line.get("event"))]

    # The admin socket

    @property
    def admin(self) -> AdminClient:
        return AdminClient(self.sections["admin"]["socket"], LIMIT_S)

    async def status(self) -> dict[str, Any]:
        """Return what `/v1/status` says."""
        status: dict[str, Any] = await trio.to_thread.run_sync(self.admin.get, "/v1/status")
        return status

    async def until_status(self, condition: Callable[[dict[str, Any]], object]) -> float:
        """Ask for the status until something is so. Returns how many seconds that took."""
        began_s = time.monotonic()
        with trio.fail_after(LIMIT_S):
            while not condition(await self.status()):  # noqa: ASYNC110 another process: nothing notifies us
                await trio.sleep(0.05)
        return time.monotonic() - began_s

    async def until_all_ended(self) -> None:
        """Wait until no stream is left, also at a worker that was too late for an answer."""
        await self.until_status(lambda status: not status["streams"] and not status.get("silent"))

    # What the kernel knows

    def rss_bytes(self) -> int:
        """Return the resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Inline:
    """A table within a line of TOML."""

    table: Mapping[str, Any]


def to_toml(name: str, section: Section) -> str:
    """Return a section: numbers, booleans, strings and lists of them are written in TOML as in JSON."""
    lines = [f"{key} = {_value(value)}" for key, value in section.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, Inline):
        return "{ " + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.table.items()) + " }"
    return json.dumps(value)


@attrs.frozen
class Stage:
    """A simulated Zoom, and a daemon that it posts to."""

    zoom: Simulator
    daemon: Daemon
    gate: Gate
    nursery: trio.Nursery

    async def live(self, streams: int = 1, people: Sequence[str] = ("Ana", "Bo")) -> list[SimSession]:
        """Start the daemon, and sessions that it is connected to when they are returned."""
        await self.daemon.start()
        sessions = [await self.zoom.start_session(people) for _ in range(streams)]
        for session in sessions:
            await session.wait_reconnected()
        return sessions


@asynccontextmanager
async def open_stage(directory: Path, **settings: Any) -> AsyncIterator[Stage]:
    """Yield a Zoom whose packets are marked and a daemon that is not started yet; the process is killed at the end.

    Args:
        directory: for the daemon; short, because of the socket in it.
        settings: for the simulator. By default what nobody answered is sent again soon, not after five minutes.
    """
    settings = {
        "tone": Tone.MARKED,
        "timing": TIMING,
        "webhook_timeout_s": LIMIT_S,
        **settings,
    }
    async with trio.open_nursery() as nursery:
        gate = Gate()
        await nursery.start(gate.run)
        daemon = Daemon(directory, gate, nursery)
        try:
            async with open_simulator(SimulatorSettings(webhook_url=gate.url, **settings)) as zoom:
                yield Stage(zoom, daemon, gate, nursery)
        finally:
            daemon.kill()
            with trio.CancelScope(shield=True), trio.move_on_after(LIMIT_S):
                if daemon.spawned_s:
                    await daemon.reap()
            nursery.cancel_scope.cancel()
