"""The watch of the free space: it blocks nothing, and a stale answer expires."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.config import AppConfig, Config, Overrides, RecordingConfig
from rtmsd.daemon.health import FIRST_LOOK_S, LOOK_EVERY_S, Health
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.free_space import STALLED_S
from rtmsd.recording.writers import Writers
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.streams.drivers.diagnostics import Diagnostics
from rtmsd.streams.lost import LostStreams
from rtmsd.streams.supervisor import Supervisor

if TYPE_CHECKING:
    from rtmsd.state.journal import Journal


ROOT = Path("/recordings")  # of a disk that is stood in for
APP = AppConfig(client_id="id", client_secret="secret", webhook_secrets=("webhook",))


@attrs.define
class StandInDisk:
    """A file system that answers `statvfs` through `writer.run_sync`, or stalls."""

    free: int | None = 10_000
    stalled: bool = False
    is_in_thread: bool = False

    async def run_sync(self, work: Callable[..., Any], *args: Any, **_: Any) -> Any:
        while self.stalled:  # noqa: ASYNC110 a worker thread that does not come back
            await trio.sleep(0.1)
        await trio.lowlevel.checkpoint()
        self.is_in_thread = True
        try:
            return work(*args)
        finally:
            self.is_in_thread = False

    def statvfs(self, path: Path) -> Any:
        assert self.is_in_thread
        if self.free is None:
            raise FileNotFoundError
        return SimpleNamespace(f_bavail=self.free, f_frsize=1)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> StandInDisk:
    disk = StandInDisk()
    monkeypatch.setattr(os, "statvfs", disk.statvfs)
    return disk


@pytest.fixture
def supervisor() -> Supervisor:
    journal = SimpleNamespace(trouble=None, set_aside=None)
    supervisor = SimpleNamespace(
        streams={},
        diagnostics=Diagnostics(),
        lost=LostStreams(cast("Journal", None), lambda: 0),
        deliveries=Deliveries(cast("Journal", None), Path(), lambda: 0),
        refuse_starts=None,
        full_directories={},
        journal=journal,
        shortage=lambda others: None,
    )
    return cast("Supervisor", supervisor)


@pytest.fixture
def health(disk: StandInDisk, supervisor: Supervisor) -> Health:
    recording = RecordingConfig(directory=ROOT, min_free_bytes=1000)
    return Health(
        Config(apps=(APP,), recording=recording), supervisor, Writers([Writer(recording, run_sync=disk.run_sync)])
    )


def codes(health: Health) -> list[str]:
    return [trouble.code for trouble in health.troubles]


async def test_the_free_space_is_known_before_the_daemon_serves(
    health: Health, supervisor: Supervisor, disk: StandInDisk, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    disk.free = 999
    await nursery.start(health.watch)
    assert health.free_bytes == 999
    assert supervisor.full_directories == {ROOT: f"less than recording.min_free_bytes free in {ROOT}"}


async def test_more_and_less_room_is_noticed(
    health: Health, supervisor: Supervisor, disk: StandInDisk, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(health.watch)
    assert not supervisor.full_directories
    for free, troubles in ((999, ["disk_low"]), (1000, []), (None, ["disk_unreadable"]), (1000, [])):
        disk.free = free
        await trio.sleep(2.5 * LOOK_EVERY_S)
        assert codes(health) == troubles
        assert bool(supervisor.full_directories) == (troubles == ["disk_low"])


async def test_starts_are_refused_as_soon_as_that_is_said(
    health: Health, supervisor: Supervisor, disk: StandInDisk, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(health.watch)
    disk.stalled = True  # no new figure comes
    recording = attrs.evolve(health.config.recording, min_free_bytes=20_000)
    health.config = attrs.evolve(health.config, recording=recording)
    await trio.sleep(1.5 * LOOK_EVERY_S)
    assert codes(health) == ["disk_low"]
    assert supervisor.full_directories.keys() == {ROOT}


async def test_a_stalled_disk_blocks_nothing_and_is_reported(
    health: Health, disk: StandInDisk, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    await nursery.start(health.watch)
    disk.stalled = True
    health.webhooks.distrusted_in_row = 3
    health.webhooks.last_s["forged"] = 0.0
    await trio.sleep(2.5 * LOOK_EVERY_S)
    assert codes(health) == ["webhook_signatures"]  # still looking
    await trio.sleep(STALLED_S + 1.5 * LOOK_EVERY_S)
    assert codes(health) == ["disk_unreadable", "webhook_signatures"]
    assert "has not answered for" in health.troubles[0].detail
    disk.stalled = False
    await trio.sleep(2.5 * LOOK_EVERY_S)
    assert codes(health) == ["webhook_signatures"]


async def test_a_disk_stalled_from_the_beginning_delays_no_start(
    health: Health, supervisor: Supervisor, disk: StandInDisk, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    disk.stalled, disk.free = True, 999
    began_s = trio.current_time()
    await nursery.start(health.watch)
    assert trio.current_time() - began_s <= FIRST_LOOK_S
    assert (health.free_bytes, supervisor.full_directories, codes(health)) == (None, {}, [])
    await trio.sleep(STALLED_S + 1.5 * LOOK_EVERY_S)
    assert codes(health) == ["disk_unreadable"]
    disk.stalled = False
    await trio.sleep(1.5 * LOOK_EVERY_S)
    assert codes(health) == ["disk_low"]
    assert supervisor.full_directories == {ROOT: f"less than recording.min_free_bytes free in {ROOT}"}


async def test_no_room_where_no_app_records_is_no_trouble(
    health: Health, supervisor: Supervisor, disk: StandInDisk, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    own = Overrides[RecordingConfig]((("directory", Path("/elsewhere")),), "app[0].recording")
    health.config = attrs.evolve(health.config, apps=(attrs.evolve(APP, recording=own),))
    disk.free = 999
    await nursery.start(health.watch)
    assert (codes(health), supervisor.full_directories) == ([], {})


def test_who_waits_for_an_order_to_drain_hears_of_it_once(health: Health, supervisor: Supervisor) -> None:
    orders: list[tuple[bool, str | None]] = []
    health.ordered = lambda on: orders.append((on, supervisor.refuse_starts))
    for on in (False, True, True, False, False):
        health.drain(on)
    assert orders == [(True, "draining"), (False, None)]
