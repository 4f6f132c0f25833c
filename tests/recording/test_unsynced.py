"""The age of the oldest message that is not on disk yet: known, and no more than `sync_interval_s`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.flush import Job, Outcome
from rtmsd.recording.disk.writer import Writer


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 2**20


@attrs.define(eq=False)
class Recording:
    """Always has something to write; to say what takes the loop a while, as does that of a thousand recordings."""

    clock: MockClock
    collect_s: float
    error: Exception | None = None

    def collect(self, now_s: float) -> Job:
        self.clock.jump(self.collect_s)
        return Job(Path("/nowhere"), (), None)

    def settled(self, job: Job, outcome: Outcome) -> None:
        self.error = outcome.error

    def broke(self, bug: Exception) -> None:
        raise bug


@attrs.define(eq=False)
class Sparse(Recording):
    """Has something to write now and then."""

    has_some: bool = False

    def collect(self, now_s: float) -> Job | None:  # type: ignore[override]
        has_some, self.has_some = self.has_some, False
        return Job(Path("/nowhere"), (), None) if has_some else None


class SlowDisk:
    """Takes its time for a flush; refuses while `error` is set."""

    def __init__(self, flush_s: float) -> None:
        self.flush_s = flush_s
        self.error: OSError | None = None

    async def run_sync(self, work: Callable[..., object], disk: Disk, jobs: Sequence[Job]) -> Any:
        await trio.sleep(self.flush_s)
        return [Outcome((), self.error, ()) for _ in jobs]


@pytest.mark.parametrize(("collect_s", "flush_s"), [(0.0, 0.01), (0.0, 0.23), (0.1, 0.13), (0.23, 0.0)])
async def test_nothing_is_unsynced_for_longer_than_the_interval(
    tmp_path: Path, autojump_clock: MockClock, collect_s: float, flush_s: float
) -> None:
    disk = SlowDisk(flush_s)
    writer = Writer(Settings(tmp_path), run_sync=disk.run_sync)
    writer.add(Recording(autojump_clock, collect_s))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        for _ in range(1000):
            await trio.sleep(0.005)
            writer.arrivals.note(trio.current_time(), 1)
        nursery.cancel_scope.cancel()
    assert collect_s + flush_s <= writer.unsynced_max_s <= 0.5


async def test_nor_is_what_comes_now_and_then_to_a_slow_disk(tmp_path: Path, autojump_clock: MockClock) -> None:
    writer = Writer(Settings(tmp_path), run_sync=SlowDisk(0.23).run_sync)
    recording = Sparse(autojump_clock, 0.0)
    writer.add(recording)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        for number in range(50):
            await trio.sleep(3 + number * 0.037)
            writer.arrivals.note(trio.current_time(), 1)
            recording.has_some = True
        nursery.cancel_scope.cancel()
    assert 0.23 <= writer.unsynced_max_s <= 0.5


async def test_age_of_the_oldest_message_until_it_is_synced(tmp_path: Path, autojump_clock: MockClock) -> None:
    disk = SlowDisk(0.3)
    writer = Writer(Settings(tmp_path), run_sync=disk.run_sync)
    writer.add(Recording(autojump_clock, 0.0))
    assert (writer.unsynced_s, writer.unsynced_max_s) == (0.0, 0.0)
    writer.arrivals.note(trio.current_time(), 3)
    await trio.sleep(2)
    assert writer.unsynced_s == pytest.approx(2, abs=0.002)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.flush)
        await trio.sleep(0.2)  # it is being written
        writer.arrivals.note(trio.current_time(), 1)
        assert writer.unsynced_s == pytest.approx(2.2, abs=0.002)
    assert writer.unsynced_s == pytest.approx(0.1, abs=0.002)
    assert writer.unsynced_max_s == pytest.approx(2.3, abs=0.002)
    disk.error = OSError(28, "No space left on device")
    await writer.flush()
    assert writer.unsynced_s == pytest.approx(0.4, abs=0.002)
    disk.error = None
    await writer.flush()
    assert writer.unsynced_s == 0
    assert writer.unsynced_max_s == pytest.approx(2.3, abs=0.002)
