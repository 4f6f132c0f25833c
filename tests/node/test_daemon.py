"""A member as the only process of its machine, without servers."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest
import structlog
import trio

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engines.memory import MemoryEngine
from rtmsd.cluster.engines.nats.engine import START_S
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.records import Beat
from rtmsd.config import AdminConfig, Config
from rtmsd.config.cluster import ClusterConfig
from rtmsd.node.daemon import MemberDaemon, Node
from tests.faults.process import LIMIT_S
from tests.faults.test_changing_hands import config_of
from tests.faults.test_handing_over import Ends


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def member_config(place: Path, **cluster: Any) -> Config:
    config = config_of(place)
    return attrs.evolve(
        config,
        webhook=attrs.evolve(config.webhook, listen="127.0.0.1:0"),
        admin=AdminConfig(socket=place / "admin"),
        cluster=ClusterConfig(node="a", servers=("nats://127.0.0.1:1",), allow_plain=True, **cluster),
    )


async def test_a_stop_does_not_wait_for_servers_that_are_away(place: Path) -> None:
    daemon = MemberDaemon(place / "rtmsd.toml", member_config(place), end_streams=False)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(daemon.run)
            while not (place / "admin").exists():  # noqa: ASYNC110 it says nothing before the engine is there
                await trio.sleep(0.05)
            daemon.stop()
            stopped_s = trio.current_time()
    assert trio.current_time() - stopped_s < START_S - 5


async def test_a_second_process_with_the_name_of_a_living_member_does_not_go_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = MemoryEngine()

    @asynccontextmanager
    async def open_engine(node: Node, settings: NatsSettings) -> AsyncIterator[Ends]:
        assert node._membership is not None
        async with memory.join(settings.node, node._membership.incarnation) as member:
            yield Ends(member, member, member, member)

    async def beat() -> None:
        for n in count(1000):
            memory.publish(encode(Beat(node="a", incarnation="first", n=n)))
            memory.changed()
            await trio.sleep(0.05)

    monkeypatch.setattr(Node, "_open_engine", open_engine)
    daemon = MemberDaemon(place / "rtmsd.toml", member_config(place, beat_s=0.1), end_streams=False)
    with structlog.testing.capture_logs() as logs, trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat)
            await daemon.run()
            nursery.cancel_scope.cancel()
    assert not daemon.is_clean
    [errors] = [line["errors"] for line in logs if line["event"] == "cannot run"]
    assert "another process has this member's name" in errors[0]
