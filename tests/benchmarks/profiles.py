"""`--profile`: where the daemon's time goes, by function (py-spy) and by symbol (perf, where it is), as text files."""

import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.benchmarks.loads import Load
from tests.benchmarks.measure import SETTLE_S, Certificates, Stage, stage

_SECONDS: Final = 6.0
_JOINS_PER_S: Final = 40.0
_SHOWN: Final = 60
_LOADS: Final = {"flood": Load(20, 0), "paced-100": Load(100, 20), "paced-1000": Load(1000, 20), "joins": Load(0, 0)}
_LINE: Final = re.compile(r":\d+\)$")


def write_profiles(certificates: Certificates, py_spy: Path, output: Path, say: Callable[[str], None]) -> None:
    """Write `profile-NAME.txt` for each of the loads."""
    for name, load in _LOADS.items():
        say(f"profile of {name}")
        with _under(load, certificates) as on, tempfile.TemporaryDirectory() as directory:
            parts = [_by_function(py_spy, on.daemon.pid, Path(directory) / "raw")]
            if shutil.which("perf"):
                parts.append(_by_symbol(on.daemon.pid, Path(directory) / "data"))
        (output / f"profile-{name}.txt").write_text("\n".join(parts))


@contextmanager
def _under(load: Load, certificates: Certificates) -> Iterator[Stage]:
    """A daemon with its load going on for as long as the profilers look at it."""
    lasts_s = 2 * _SECONDS + 3
    with stage(load, certificates) as on:
        joins = threading.Thread(target=on.daemon.start_streams, args=(int(lasts_s * _JOINS_PER_S), _JOINS_PER_S))
        if not load.streams:
            joins.start()
        elif load.period_ms:
            on.zoom.pace(load.media, load.period_ms)
        else:
            on.zoom.start_flood(load.media, lasts_s)
        time.sleep(SETTLE_S)
        yield on
        if not load.streams:
            joins.join()


def _by_function(py_spy: Path, pid: int, raw: Path) -> str:
    command = [str(py_spy), "record", "-p", str(pid), "-d", f"{_SECONDS:.0f}", "-r", "400", "-f", "raw", "-o", str(raw)]
    subprocess.run([*command, "--nonblocking"], check=True, capture_output=True)
    return shares(raw.read_text().splitlines())


def _by_symbol(pid: int, data: Path) -> str:
    record = ["perf", "record", "-e", "cpu-clock", "-F", "999", "-p", str(pid), "-o", str(data), "--", "sleep"]
    subprocess.run([*record, f"{_SECONDS:.0f}"], check=True, capture_output=True)
    report = ["perf", "report", "-i", str(data), "--stdio", "--sort", "dso,symbol", "--percent-limit", "0.3"]
    done = subprocess.run(report, check=True, capture_output=True, text=True)
    lines = [line.rstrip(" -") for line in done.stdout.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(["share by symbol", *lines[:_SHOWN], ""])


def shares(stacks: list[str]) -> str:
    """The shares of functions, alone and with what they call, of stacks such as `main (a.py:3);f (b.py:5) 12`."""
    alone: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        functions = [_LINE.sub(")", frame) for frame in stack.split(";")]
        total += int(count)
        alone[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    lines = []
    for title, found in (("share by function, alone", alone), ("share by function, with what it calls", whole)):
        lines += [title, *(f"{100 * count / total:6.1f} %  {name}" for name, count in found.most_common(_SHOWN)), ""]
    return "\n".join(lines)
