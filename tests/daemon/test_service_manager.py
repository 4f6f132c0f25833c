"""The daemon's reports: to the service manager, and of its configuration file."""

from pathlib import Path

import pytest
import trio

from rtmsd.config import StreamsConfig
from rtmsd.daemon import root
from rtmsd.daemon.root import Daemon
from rtmsd.system.notify import Notifier
from tests.daemon.whole import config


class Manager(Notifier):
    """Records the notifications to a service manager."""

    def __init__(self) -> None:
        super().__init__({})
        self.sent: list[str] = []

    def _send(self, *fields: str) -> bool:
        self.sent += fields
        return True


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Manager:
    manager = Manager()
    monkeypatch.setattr(root, "Notifier", lambda: manager)
    return manager


async def test_every_stop_asks_for_the_time_that_it_may_take(tmp_path: Path, manager: Manager) -> None:
    """Even one that ends no stream: a slow disk may take all of `drain_s` to finish files."""
    daemon = Daemon(tmp_path / "config.toml", config(tmp_path, streams=StreamsConfig(drain_s=100)), end_streams=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(daemon.run)
        daemon.stop()
    stopping, extended = manager.sent[manager.sent.index("STOPPING=1") :][:2]
    assert stopping == "STOPPING=1"
    name, _, microseconds = extended.partition("=")
    assert name == "EXTEND_TIMEOUT_USEC"
    assert int(microseconds) > 200_000_000


async def test_the_path_of_the_configuration_file_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    daemon = Daemon(Path("cfg/config.toml"), config(tmp_path), end_streams=False)
    async with trio.open_nursery() as nursery:
        backend = await nursery.start(daemon.run)
        assert backend.status()["config_file"] == str(tmp_path / "cfg" / "config.toml")
        daemon.stop()
