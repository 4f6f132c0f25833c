"""The demo of several workers: the cost of incidents, and whole runs as a user starts them."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rtmsd import demo
from rtmsd.cli import build_parser
from rtmsd.config.model import worker_socket
from rtmsd.demo.performance import MAX_TEMPORARY_BYTES
from tests.demo.test_demo_run import LIMIT_S, read_to, started


def test_all_that_is_no_matter_of_speed_holds(tmp_path: Path) -> None:
    """Bounds in seconds, of what takes time and of what is lost meanwhile, hold on an idle machine only."""
    kept = tmp_path / "kept"
    with started("--workers", "--keep", str(kept), tmp_path=tmp_path) as process:
        output, _ = process.communicate(timeout=LIMIT_S)
    failed = [line for line in output.splitlines() if line.startswith("  FAILED")]
    assert not [line for line in failed if " within " not in line and " more than " not in line], output
    assert process.returncode == bool(failed), output
    assert (
        Counter(line.split()[0] for line in output.splitlines() if line.startswith(("  ok ", "  FAILED"))).total() > 30
    )
    assert len([*kept.glob("recordings/*/*/stream.json")]) == 8


def test_ctrl_c_while_a_worker_hangs_leaves_no_process(tmp_path: Path) -> None:
    with started("--workers", tmp_path=tmp_path) as process:
        daemon = int(read_to(process, "(process ").split("(process ")[1].split(")")[0])
        read_to(process, "is stopped (SIGSTOP)")
        pids = children_of(daemon)
        assert len(pids) == 2
        until(lambda: "T" in map(state_of, pids))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == demo.EXIT_INTERRUPTED, output
    assert "Traceback" not in output
    until(lambda: not {"R", "S", "D", "T"}.intersection(map(state_of, [daemon, *pids])))
    assert [*tmp_path.iterdir()] == []


def test_a_temporary_directory_has_room_for_the_sockets_of_all_workers() -> None:
    admin_socket = Path("/".ljust(MAX_TEMPORARY_BYTES, "x"), "rtmsd-12345678", "admin.sock")
    assert len(bytes(worker_socket(admin_socket, "8"))) <= 107


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=True)
    return [int(each) for each in found.stdout.split()]


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", ["1", "0", "9", "two", "-1"])
def test_a_number_that_is_none_of_workers_is_a_usage_error(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["demo", f"--workers={number}"])
    assert "is not a number from 2 to 8" in capsys.readouterr().err
    assert build_parser().parse_args(["demo", "--workers"]).workers == 2
