"""The entry of a worker, given by a parent that is not what it should be."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from rtmsd import __version__
from rtmsd.config import LogConfig, StateConfig
from rtmsd.recording.directories import Directories
from rtmsd.workers.messages import Begin, Ping, Stop, encode
from tests.workers.test_messages import MESSAGES

[BEGIN] = [message for message in MESSAGES if isinstance(message, Begin)]


def run_worker(*lines: bytes) -> subprocess.CompletedProcess[str]:
    """Start a worker, send it these lines, and end the channel."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "rtmsd", "worker", "2", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with ours:
        ours.sendall(b"".join(lines))
        ours.shutdown(socket.SHUT_WR)
        out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("lines", [[], [b"hello\n"], [encode(Ping(1))], [encode(Stop(False)), encode(BEGIN)]])
def test_without_a_beginning_it_does_nothing(lines: list[bytes]) -> None:
    done = run_worker(*lines)
    assert (done.returncode, done.stderr) == (1, "rtmsd: only `rtmsd run` starts workers\n")


def test_another_version_of_the_package_is_refused() -> None:
    config = attrs.evolve(BEGIN.config, log=LogConfig(format="json"))
    done = run_worker(encode(attrs.evolve(BEGIN, version="0.0.0", config=config)))
    assert done.returncode == 1
    line = json.loads(done.stderr.splitlines()[-1])
    assert (line["event"], line["parent"], line["this"], line["worker"]) == (
        "rtmsd was upgraded while it was running; restart it",
        "0.0.0",
        __version__,
        "2",
    )


def test_descriptors_that_are_not_there_are_an_error_and_no_crash(tmp_path: Path) -> None:
    state = StateConfig(file=tmp_path / "state.sqlite")
    config = attrs.evolve(BEGIN.config, log=LogConfig(format="json"), state=state)
    assert BEGIN.disk is not None
    disk = attrs.evolve(BEGIN.disk, directories={str(tmp_path): [900]})
    done = run_worker(encode(attrs.evolve(BEGIN, version=__version__, config=config, disk=disk)))
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    [errors] = [line["errors"] for line in lines if line["event"] == "cannot run"]
    assert "an inherited descriptor is not open" in errors[0]
    assert not [line for line in lines if "exception" in line]


def test_directories_are_locked_as_long_as_anybody_takes_part(tmp_path: Path) -> None:
    with Directories.locked({tmp_path: "recording.directory"}) as first:
        copies = {path: [os.dup(number) for number in numbers] for path, numbers in first.descriptors.items()}
        with Directories.inherited(copies) as second:
            assert [*second] == [*first] == [tmp_path]
