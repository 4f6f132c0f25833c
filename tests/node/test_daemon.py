"""A member as the only process of its machine, without servers."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from rtmsd.cluster.engines.nats.engine import START_S
from rtmsd.config import AdminConfig
from rtmsd.config.cluster import ClusterConfig
from rtmsd.node.daemon import MemberDaemon
from tests.faults.test_changing_hands import config_of


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


async def test_a_stop_does_not_wait_for_servers_that_are_away(place: Path) -> None:
    config = config_of(place)
    config = attrs.evolve(
        config,
        webhook=attrs.evolve(config.webhook, listen="127.0.0.1:0"),
        admin=AdminConfig(socket=place / "admin"),
        cluster=ClusterConfig(node="a", servers=("nats://127.0.0.1:1",), allow_plain=True),
    )
    daemon = MemberDaemon(place / "rtmsd.toml", config, end_streams=False)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run)
            while not (place / "admin").exists():  # noqa: ASYNC110 it says nothing before the engine is there
                await trio.sleep(0.05)
            daemon.stop()
            stopped_s = trio.current_time()
    assert trio.current_time() - stopped_s < START_S - 5
