"""The answer before a handshake: most servers have to agree, as one alone may not know yet that it is alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from trio.testing import MockClock

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.memory import Fault, MemoryEngine
from rtmsd.cluster.records import Why
from tests.cluster.crew import start
from tests.cluster.keeping.keeper import Keeper, live


@pytest.fixture
async def engine(autojump_clock: MockClock) -> MemoryEngine:
    return MemoryEngine()


@pytest.fixture
async def a(engine: MemoryEngine, tmp_path: Path) -> AsyncIterator[Keeper]:
    """Yield a member that has a stream."""
    async with live(engine, tmp_path) as keeper:
        await keeper.begin(start())
        yield keeper


async def test_what_is_mine_is_written_by_its_token_and_stays_as_it_is(engine: MemoryEngine, a: Keeper) -> None:
    before = await a.store.read("s")
    assert await a.store.confirm("s", a.incarnation) == before == await a.store.read("s")


async def test_an_answer_to_which_the_servers_do_not_agree_is_none(engine: MemoryEngine, a: Keeper) -> None:
    with engine.failing(Fault.FULL, "a"):  # reads are answered, and no write is
        assert (await a.store.read("s")).own is not None
        with pytest.raises(Away):
            await a.store.confirm("s", a.incarnation)


async def test_what_is_anothers_is_read_and_left_alone(engine: MemoryEngine, a: Keeper, tmp_path: Path) -> None:
    async with live(engine, tmp_path, "b") as b:
        await b.claim("s", Why.DIED)
        with engine.failing(Fault.FULL, "a"):
            held = await a.store.confirm("s", a.incarnation)
        assert held.own is not None
        assert held.own.node == "b"
