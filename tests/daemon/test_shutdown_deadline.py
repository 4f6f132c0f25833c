"""Shutdown deadlines: each step within its limit, and shorter after a second signal."""

import errno
import os
from functools import partial
from pathlib import Path

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock

from rtmsd.config import StreamsConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.root import Daemon
from rtmsd.daemon.shutdown_deadline import HURRIED_S, HURRIED_WHOLE_S, ShutdownDeadline
from rtmsd.recording import writers
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.writer import Writer
from rtmsd.simulator import open_simulator
from tests.daemon.whole import SIMULATED, config

FOREVER_S = 3600.0
GUARD_S = 30.0  # far more than a stop in a hurry takes, and far less than one without


async def test_a_step_ends_at_its_deadline(autojump_clock: MockClock) -> None:
    with ShutdownDeadline().limit(trio.CancelScope(), 8):
        await trio.sleep_forever()
    assert trio.current_time() == 8


async def test_hurry_shortens_the_present_step(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    deadline = ShutdownDeadline()

    async def hurry() -> None:
        await trio.sleep(1)
        deadline.hurry()

    nursery.start_soon(hurry)
    with deadline.limit(trio.CancelScope(), 8):
        await trio.sleep_forever()
    assert trio.current_time() == 1 + HURRIED_S


async def test_hurry_shortens_later_steps(autojump_clock: MockClock) -> None:
    """Each still has the time that a working disk needs."""
    deadline = ShutdownDeadline()
    deadline.hurry()
    await trio.sleep(10)
    for step in range(1, 3):
        with deadline.limit(trio.CancelScope(), 8):
            await trio.sleep_forever()
        assert trio.current_time() == 10 + step * HURRIED_S


async def test_hurry_never_extends_a_step(autojump_clock: MockClock) -> None:
    deadline = ShutdownDeadline()
    deadline.hurry()
    with deadline.limit(trio.CancelScope(), 0.1):
        deadline.hurry()
        await trio.sleep_forever()
    assert trio.current_time() == 0.1


async def test_hurry_shortens_the_whole(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    deadline = ShutdownDeadline()

    async def hurry() -> None:
        await trio.sleep(5)
        deadline.hurry()

    nursery.start_soon(hurry)
    await deadline.wait_deadline(30)
    assert trio.current_time() == 5 + HURRIED_WHOLE_S
    await deadline.wait_deadline(30)
    assert trio.current_time() == 5 + 2 * HURRIED_WHOLE_S


async def test_the_whole_ends_at_its_deadline(autojump_clock: MockClock) -> None:
    await ShutdownDeadline().wait_deadline(30)
    assert trio.current_time() == 30


# The daemon


class FullDisk(Disk):
    """Refuses every file."""

    def open(self, path: Path, *, create: bool = False) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


async def test_the_second_signal_counts_while_requests_are_being_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both come before the daemon waits for its files, which a full disk keeps from being finished."""
    monkeypatch.setattr(writers, "Writer", partial(Writer, disk=FullDisk()))
    settings = config(tmp_path, streams=StreamsConfig(drain_s=FOREVER_S))
    daemon = Daemon(tmp_path / "config.toml", settings, end_streams=False)
    stopped = trio.Event()

    async def run(*, task_status: trio.TaskStatus[Backend]) -> None:
        await daemon.run(task_status=task_status)
        stopped.set()

    with structlog.testing.capture_logs() as logs, trio.fail_after(GUARD_S):
        async with trio.open_nursery() as nursery:
            backend: Backend = await nursery.start(run)
            url = f"http://{backend.listening['webhook'][0]}/webhook"
            async with open_simulator(attrs.evolve(SIMULATED, webhook_url=url)) as simulator:
                session = await simulator.start_session()
                await session.ready.wait()
                daemon.stop()
                daemon.stop()
                await stopped.wait()
    [line] = [line for line in logs if line["event"] == "files not finished in time"]
    assert line["log_level"] == "error"
    assert line["streams"] == [session.rtms_stream_id]
    assert line["pending_bytes"] > 0
