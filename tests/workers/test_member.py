"""A worker that is a member of a cluster."""

import socket

import attrs
import trio

from rtmsd.config.cluster import ClusterConfig
from rtmsd.workers.channel import Channel
from rtmsd.workers.member import MemberWorker
from rtmsd.workers.messages import Stop
from tests.workers.test_entry import BEGIN


async def test_one_whose_name_is_anothers_has_all_stop() -> None:
    """Its parent would start it again, and the machine's other names are taken as well."""
    ours, theirs = socket.socketpair()
    config = attrs.evolve(BEGIN.config, cluster=ClusterConfig(node="a", servers=("nats://127.0.0.1:1",)))
    worker = MemberWorker(attrs.evolve(BEGIN, node="2", config=config, disk=None, sockets={}), theirs)
    worker._give_way()
    assert not worker.is_clean
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker._channel.send_posted)
        parent = Channel(ours)
        assert await anext(aiter(parent)) == Stop(end_streams=False)
        nursery.cancel_scope.cancel()
    for channel in (parent, worker._channel):
        channel.close()
