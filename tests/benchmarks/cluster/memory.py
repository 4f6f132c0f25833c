"""`python -m tests.benchmarks.cluster.memory`: the most memory that processes of `rtmsd demo --cluster` have at once.

What several processes share counts once, in parts (`Pss`).
"""

import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.benchmarks.processes import REPOSITORY, children

EVERY_S: Final = 0.5
LIMIT_MB: Final = 600


def main() -> int:
    most: Counter[str] = Counter()
    command = [sys.executable, "-m", "rtmsd", "demo", "--cluster"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as demo:
        try:
            while demo.poll() is None:
                most = max(most, _memory_mb(demo.pid), key=Counter.total)
                time.sleep(EVERY_S)
        finally:
            demo.terminate()
    print(*(f"{name:16}{mb:6} MB" for name, mb in most.items()), sep="\n")
    print(f"{'all':16}{most.total():6} MB of {LIMIT_MB}; the demo ended with {demo.returncode}")
    return int(most.total() > LIMIT_MB or demo.returncode != 0)


def _memory_mb(demo: int) -> Counter[str]:
    """Return the memory of the processes now, by what they are."""
    found: Counter[str] = Counter()
    for pid in _tree(demo):
        with suppress(OSError):  # it has just ended
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            name = (
                "demo, simulator"
                if pid == demo
                else "members"
                if b"run" in arguments
                else Path(arguments[0].decode()).name
            )
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            found[name] += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024
    return found


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(each for child in children(pid) for each in _tree(child))]
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
