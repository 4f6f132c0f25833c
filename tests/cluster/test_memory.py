"""The contract of the engines, kept by the one in memory."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rtmsd.cluster.engines.memory import MemoryEngine
from tests.cluster.contract import BeatsContract, BusContract, Join, Member, OwnerStoreContract, StreamLogContract


@pytest.fixture
def join() -> Join:
    engine = MemoryEngine()

    @asynccontextmanager
    async def join(node: str) -> AsyncIterator[Member]:
        incarnation = uuid.uuid4().hex
        async with engine.join(node, incarnation) as member:
            yield Member(node=node, incarnation=incarnation, store=member, bus=member, log=member, beats=member)

    return join


class TestOwnerStore(OwnerStoreContract):
    pass


class TestBus(BusContract):
    pass


class TestStreamLog(StreamLogContract):
    pass


class TestBeats(BeatsContract):
    pass
