"""Servers that tests share, and members that take part through them."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol
from uuid import uuid4

import pytest
import trio

from rtmsd.cluster.engine import Away, Nobody
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.demo.cluster.servers import Servers, running
from tests.cluster.contract import LIMIT_S, Member

PARTITIONS: Final = 2


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("one")) as servers:
        yield servers


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(tmp_path_factory.mktemp("three"), 3) as servers:
        yield servers


@pytest.fixture(scope="module")
def name() -> str:
    """Of a cluster of this module's own, on servers that may be shared."""
    return f"t{uuid4().hex[:12]}"


class Opener(Protocol):
    def __call__(
        self, servers: Servers, node: str, start_s: float = 20, **settings: Any
    ) -> AbstractAsyncContextManager[NatsEngine]: ...


@pytest.fixture
def opened(name: str) -> Opener:
    """Opens engines of one cluster."""

    @asynccontextmanager
    async def open_engine(
        servers: Servers, node: str, start_s: float = 20, **settings: Any
    ) -> AsyncIterator[NatsEngine]:
        given: dict[str, Any] = {
            "name": name,
            "partitions": PARTITIONS,
            "replicas": len(servers.each),
            "answer_s": LIMIT_S,
            "absent_s": 0.02,
        } | settings
        async with NatsEngine.open(NatsSettings(node=node, servers=servers.urls, **given), start_s=start_s) as engine:
            yield engine

    return open_engine


async def _pong(data: bytes) -> bytes:
    return data


class Meeting:
    """Members that know of each other: what one says, all that came before hear at once."""

    def __init__(self, servers: Servers, opened: Opener) -> None:
        self._servers = servers
        self._opened = opened
        self._engines: dict[str, NatsEngine] = {}

    @asynccontextmanager
    async def join(self, node: str) -> AsyncIterator[Member]:
        async with self._opened(self._servers, node) as engine:
            engine.bus.serve("ping", _pong)
            self._engines[node] = engine
            for other_node, other in [*self._engines.items()]:
                await reach(engine, other_node)
                await reach(other, node)
            yield Member(
                node=node,
                incarnation=uuid4().hex,
                store=engine.owners,
                bus=engine.bus,
                log=engine.log,
                beats=engine.beats,
                pending=lambda: engine.pending,
            )
            del self._engines[node]
        for other in [*self._engines.values()]:
            await _miss(other, node)


async def reach(engine: NatsEngine, node: str) -> None:
    """Ask until the servers have told each other who listens where."""
    with trio.fail_after(LIMIT_S):
        while True:
            try:
                await engine.bus.ask(node, "ping", b"", timeout_s=LIMIT_S)
            except Nobody:
                continue
            return


async def _miss(engine: NatsEngine, node: str) -> None:
    """Ask until the servers have told each other that nobody listens there any more."""
    with trio.fail_after(LIMIT_S), contextlib.suppress(Nobody):
        while True:
            with contextlib.suppress(Away):
                await engine.bus.ask(node, "ping", b"", timeout_s=0.5)
