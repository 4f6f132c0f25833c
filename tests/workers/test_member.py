"""A worker that is a member of a cluster."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

from rtmsd.config.cluster import ClusterConfig
from rtmsd.workers.channel import Channel
from rtmsd.workers.member import MemberWorker
from rtmsd.workers.messages import Drain, Stop
from tests.workers.test_entry import BEGIN


@asynccontextmanager
async def worker_and_parent() -> AsyncIterator[tuple[MemberWorker, Channel]]:
    """Worker "a.2", and the parent's end of their channel."""
    ours, theirs = socket.socketpair()
    config = attrs.evolve(BEGIN.config, cluster=ClusterConfig(node="a", servers=("nats://127.0.0.1:1",)))
    worker = MemberWorker(attrs.evolve(BEGIN, node="2", config=config, disk=None, sockets={}), theirs)
    parent = Channel(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker._channel.send_posted)
        yield worker, parent
        nursery.cancel_scope.cancel()
    for channel in (parent, worker._channel):
        channel.close()


async def test_one_whose_name_is_anothers_has_all_stop() -> None:
    """Its parent would start it again, and the machine's other names are taken as well."""
    async with worker_and_parent() as (worker, parent):
        worker._give_way()
        assert not worker.is_clean
        assert await anext(aiter(parent)) == Stop(end_streams=False)


@pytest.mark.parametrize(("node", "whose"), [("a.2", "2"), ("a", None), (None, "2")])
async def test_the_parent_keeps_an_order_for_those_that_it_concerns(node: str | None, whose: str | None) -> None:
    async with worker_and_parent() as (worker, parent):
        for on in (True, False):
            worker._keep_order(on, node)
            assert await anext(aiter(parent)) == Drain(on, whose)
