"""The daemon as a user runs it: `python -m rtmsd run` with a configuration file, webhooks and the admin socket.

With workers it is several processes: figures are those of all of them together.
"""

import json
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import pybase64

from rtmsd.ctl.client import AdminClient
from rtmsd.demo.cluster.members import SERVERS, cluster_section
from rtmsd.demo.cluster.servers import Servers, running
from rtmsd.webhook.verify import sign
from tests.benchmarks.frames import sent_ns
from tests.benchmarks.posting import Posted, Poster, Webhook
from tests.benchmarks.processes import (
    REPOSITORY,
    children,
    cpu_s,
    main_thread_s,
    rss_bytes,
    wait_until,
    waited_for_core_s,
)

_WEBHOOK_SECRET: Final = "benchmark-webhook-secret"
_START_S: Final = 30.0
LAGS: Final = "lags.json"
_CONFIG: Final = """
[webhook]
listen = "127.0.0.1:0"
[[app]]
client_id = "benchmarkClient"
client_secret = {{ value = "benchmark-client-secret" }}
webhook_secret = {{ value = "{secret}" }}
[zoom]
allowed_hosts = ["127.0.0.1"]
allow_plain_ws = true
{ca}
[media]
types = {types}
[media.audio]
send_rate_ms = 20
{audio}
[recording]
directory = "{directory}/recordings"
min_free_bytes = 0
[state]
file = "{directory}/state.sqlite"
[admin]
socket = "{directory}/admin.sock"
[log]
format = "json"
level = "info"
{sections}
"""


@attrs.frozen
class Program:
    """What is run: the module that starts the daemon, of which checkout, in how many workers.

    Attributes:
        is_member: of a cluster on NATS servers, which it has to itself.
    """

    module: str = "rtmsd"
    python: str = sys.executable
    checkout: Path = REPOSITORY
    workers: int = 1
    is_member: bool = False

    @classmethod
    def of(cls, checkout: Path) -> "Program":
        """The daemon of another checkout, with the virtual environment in it."""
        return cls(python=str(checkout.absolute() / ".venv/bin/python"), checkout=checkout.absolute())


class Daemon:
    """A running daemon. Everything about it is learnt from outside.

    Attributes:
        servers: of its cluster, if it is a member of one.
    """

    def __init__(self, program: Program, directory: Path, zoom_url: str, servers: Servers | None) -> None:
        self.directory = directory
        self.servers = servers
        self._program = program
        self._zoom_url = zoom_url
        self._admin = AdminClient(str(directory / "admin.sock"), 10.0)
        self.port = 0
        self._start()

    def _start(self) -> None:
        with (self.directory / "log").open("wb") as log:
            program = self._program
            command = [program.python, "-m", program.module, "run", "--config", str(self.directory / "config.toml")]
            self._process = subprocess.Popen(command, cwd=program.checkout, stderr=log)
        self.pid = self._process.pid

    def kill_and_start(self) -> int:
        """Kill the daemon as a crash does, start another with its files, and return when, in the monotonic clock."""
        self._process.kill()
        self._process.wait()
        began_ns = time.monotonic_ns()
        self._start()
        return began_ns

    def wait_started(self) -> None:
        wait_until(self._is_up, _START_S, f"daemon, see {self.directory / 'log'}")

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self.directory / "log").read_text())
        for line in (self.directory / "log").read_text().splitlines():
            if '"webhook listening"' in line:
                self.port = int(json.loads(line)["address"].rpartition(":")[2])
            if '"ready"' in line:
                return self.port != 0
        return False

    def warnings(self) -> list[str]:
        """Return the lines of its log that are one, or an error."""
        lines = (self.directory / "log").read_text().splitlines()
        return [line for line in lines if line.startswith("{") and json.loads(line)["level"] in {"warning", "error"}]

    # Webhooks

    def webhook(self, event: str, stream: str, **payload: Any) -> Webhook:
        """A signed webhook, to be delivered within the next minutes."""
        body = json.dumps(
            {
                "event": f"session.{event}",
                "event_ts": time.time_ns() // 1_000_000,
                "payload": {"session_id": f"s-{stream}", "session_key": "k", "rtms_stream_id": stream, **payload},
            }
        ).encode()
        timestamp = str(int(time.time()))
        head = (
            f"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nx-zm-request-timestamp: {timestamp}\r\n"
            f"x-zm-signature: {sign(_WEBHOOK_SECRET, timestamp, body)}\r\n\r\n"
        )
        return Webhook(stream, head.encode() + body)

    def start(self, stream: str) -> Webhook:
        return self.webhook("rtms_started", stream, server_urls=f"{self._zoom_url}/signal/{stream}")

    def deliver(self, webhooks: Sequence[Webhook], per_s: float) -> list[Posted]:
        """Deliver webhooks at a steady rate; none waits for the one before."""
        return Poster(self.port).deliver(webhooks, per_s)

    def post(self, event: str, stream: str, **payload: Any) -> Posted:
        return self.deliver([self.webhook(event, stream, **payload)], 1)[0]

    def start_streams(self, count: int, per_s: float = 100.0) -> list[Posted]:
        """Start streams at a steady rate."""
        return self.deliver([self.start(f"{number:04d}-{secrets.token_hex(6)}") for number in range(count)], per_s)

    def stop_streams(self, streams: Sequence[str], per_s: float = 200.0) -> None:
        """Stop them, and wait until their files are finished. The status is asked: a list of all would cost the daemon
        2.5 ms a stream by the end.
        """
        self.deliver([self.webhook("rtms_stopped", stream, stop_reason=6) for stream in streams], per_s)
        wait_until(lambda: not self.get("/v1/status")["streams"], 60 + 0.05 * len(streams), "end of all streams", 0.1)

    # The admin socket

    def get(self, path: str) -> Any:
        return self._admin.get(path)

    def received(self, media: str) -> int:
        totals: dict[str, Any] = self.get("/v1/status")["totals"]
        return int(totals["messages"].get(media, 0))

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in self.directory.glob("recordings/*/*/stream.json")]

    # The process, and those of its workers

    @property
    def pids(self) -> list[int]:
        return [self.pid, *children(self.pid)]

    @property
    def cpu_s(self) -> float:
        return sum(map(cpu_s, self.pids))

    @property
    def main_thread_s(self) -> float:
        return main_thread_s(self.pid)

    @property
    def waited_for_core_s(self) -> float:
        return sum(map(waited_for_core_s, self.pids))

    @property
    def rss_bytes(self) -> int:
        return sum(map(rss_bytes, self.pids))

    def loop_lags_s(self) -> list[float]:
        """How late the event loop was, each time it was probed since this was last asked: of `lagging` alone."""
        lags = self.directory / LAGS
        lags.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        wait_until(lags.exists, _START_S, "loop lags")
        found: list[float] = json.loads(lags.read_text())
        return found

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


@contextmanager
def running_daemon(
    directory: Path,
    zoom_url: str,
    *,
    ca: Path | None,
    types: Sequence[str] = ("audio",),
    audio: str = "",
    program: Program,
) -> Iterator[Daemon]:
    """Run a daemon with its files below `directory`; `audio` is TOML for `[media.audio]`."""
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        servers = None
        sections = f"[daemon]\nworkers = {program.workers}" if program.workers > 1 else ""
        if program.is_member:
            (directory / "nats").mkdir()
            servers = stack.enter_context(running(directory / "nats", SERVERS))
            sections += cluster_section("a", servers)
        (directory / "config.toml").write_text(
            _CONFIG.format(
                secret=_WEBHOOK_SECRET,
                ca="" if ca is None else f'ca_file = "{ca}"',
                types=json.dumps(types),
                audio=audio,
                directory=directory,
                sections=sections,
            )
        )
        daemon = Daemon(program, directory, zoom_url, servers)
        stack.callback(daemon.stop)
        daemon.wait_started()
        yield daemon


class Taps:
    """Readers of live taps, and how old each packet was when it came out of them."""

    def __init__(self, daemon: Daemon, streams: Sequence[str], media: str = "audio") -> None:
        self.latencies_ms: list[float] = []
        self.lost_frames = 0
        self._sockets = [_tap_socket(daemon.directory / "admin.sock", stream, media) for stream in streams]
        self._threads = [threading.Thread(target=self._read, args=(sock,)) for sock in self._sockets]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for sock in self._sockets:
            sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _read(self, sock: socket.socket) -> None:
        rest = b""
        while data := sock.recv(65536):
            now_ns = time.monotonic_ns()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if line.startswith(b'{"media":"lost"'):
                    self.lost_frames += json.loads(line)["frames"]
                elif (at := line.find(b'"data":"')) >= 0:  # 16 characters hold the clock
                    clock_ns = sent_ns(pybase64.b64decode(line[at + 8 : at + 24]))
                    if clock_ns:
                        self.latencies_ms.append((now_ns - clock_ns) / 1e6)


def _tap_socket(path: Path, stream: str, media: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.sendall(f"GET /v1/streams/{stream}/tap?media={media}&format=ndjson HTTP/1.1\r\nHost: rtmsd\r\n\r\n".encode())
    return sock
