"""An installation of rtmsd with several workers, and what the kernel knows of its processes."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.service.installation import Installation, until


def is_alive(pid: int) -> bool:
    """Whether a process runs, or is stopped; one that is dead and not waited for yet is neither."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class House(Installation):
    """The parent is `process`."""

    def __init__(self, directory: Path, workers: int = 2) -> None:
        super().__init__(directory)
        self.sections["daemon"] = {"workers": workers}

    @property
    def parent(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> dict[str, int]:
        """The process of each worker, as it was last said to be ready."""
        return {line["worker"]: line["pid"] for line in self.logged("worker ready")}

    def kill_worker(self, number: str, with_signal: signal.Signals = signal.SIGKILL) -> int:
        """Send a worker a signal. Returns its process."""
        pid = self.workers()[number]
        os.kill(pid, with_signal)
        return pid

    def until_again(self, number: str, before: int) -> int:
        """Wait until a worker is ready that was `before`, and return its process."""
        return until(lambda: self.workers()[number] != before and self.workers()[number])

    def crashes(self) -> list[dict[str, Any]]:
        """What no fault excuses."""
        return [line for line in self.lines() if "raw" in line or "crash" in line["event"] or "exception" in line]

    def close(self) -> None:
        pids = {line["pid"] for line in self.lines() if line.get("event") in {"worker ready", "worker killed"}}
        super().close()
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)
        until(lambda: not any(map(is_alive, pids)))
