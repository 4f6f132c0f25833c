"""The processes of a benchmark as the driver sees them: the load generator, and the figures that any process has."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
_SCHEDULED: Final = 2  # of a process's clocks, as clock_getcpuclockid(3) numbers them: /proc counts in 10 ms only


def children(pid: int) -> list[int]:
    """The processes that a process started, with any of its threads."""
    lists = (path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for each in lists for child in each.split()]


def cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads."""
    return time.clock_gettime(~pid << 3 | _SCHEDULED)


def main_thread_s(pid: int) -> float:
    """User and system time of the main thread of a process."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def waited_for_core_s(pid: int) -> float:
    """How long the main thread of a process was ready to run while others had all the cores."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@contextmanager
def on_other_cores() -> Iterator[set[int]]:
    """Keep what is started in the block off the first core, and return that: for one of them, see `move`. Where there
    is one core only, all have that.
    """
    all_cores = os.sched_getaffinity(0)
    first = {min(all_cores)}
    os.sched_setaffinity(0, all_cores - first or first)
    try:
        yield first
    finally:
        os.sched_setaffinity(0, all_cores)


def move(pid: int, cores: set[int]) -> None:
    """Have a process use these cores, with the threads that it has, and those that these start."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


def rss_bytes(pid: int) -> int:
    """What a process has in memory of its own, without what it maps from files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def wait_until(holds: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.02) -> None:
    """Raises TimeoutError naming `what` did not come."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {what} within {timeout_s:g} s")
        time.sleep(every_s)


class LoadGenerator:
    """`zoom.py` in its process. Methods are its commands; see there."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid
        self.url = self._read()["url"]

    def ask(self, do: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **fields}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def ready(self) -> dict[str, int]:
        """When each stream that is ready for media became so, in the monotonic clock."""
        return dict(self.ask("ready")["ready_ns"])

    def wait_ready(self, count: int, timeout_s: float) -> None:
        wait_until(lambda: len(self.ready()) >= count, timeout_s, f"{count} streams ready for media")

    def pace(self, media: str, period_ms: int, streams: list[str] | None = None) -> None:
        self.ask("pace", media=media, period_ms=period_ms, streams=streams)

    def halt(self) -> None:
        self.ask("halt")

    def start_flood(self, media: str, seconds: float, streams: list[str] | None = None) -> None:
        self.ask("flood", media=media, seconds=seconds, streams=streams)

    def wait_flooded(self, timeout_s: float) -> None:
        """Wait until a flood has ended and the kernel has taken all of it."""
        wait_until(lambda: not self.ask("flooding")["flooding"], timeout_s, "end of the flood", 0.1)
        wait_until(lambda: not self.report()["queued"], timeout_s, "room in the sockets", 0.1)

    def keep_alives(self, period_s: float, of: str = "signaling") -> None:
        self.ask("keep_alives", period_s=period_s, of=of)

    def sent(self) -> int:
        """How many messages were sent so far, on the sockets that are open."""
        return int(self.ask("sent")["sent"])

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def report(self) -> dict[str, Any]:
        return self.ask("report")

    def close(self, code: int = 1000) -> None:
        self.ask("close", code=code)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator died")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def load_generator(certificate: Path | None) -> Iterator[LoadGenerator]:
    """Run a load generator, with a certificate over TLS."""
    arguments = [] if certificate is None else [str(certificate)]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.zoom", *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield LoadGenerator(process)
        finally:
            process.kill()
