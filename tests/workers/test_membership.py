"""What a worker knows of itself and of the others."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio

from rtmsd.cluster.engines.sockets import SocketBus
from rtmsd.cluster.rules import has_room
from rtmsd.commands import StartStream, Verdict
from rtmsd.config import AppConfig, Config, DaemonConfig, RecordingConfig, StateConfig
from rtmsd.config.model import AdminConfig
from rtmsd.daemon.process import SupervisorNeeds
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.writers import Writers
from rtmsd.state.journal import LocalJournal
from rtmsd.streams.drivers.tenure import Permission
from rtmsd.streams.restart import Restarter
from rtmsd.workers.membership import Membership
from rtmsd.workers.messages import Begin, Peer
from rtmsd.zoom_api import ZoomApi


@asynccontextmanager
async def one_of_two(place: Path) -> AsyncIterator[Membership]:
    config = Config(
        apps=(AppConfig(client_id="c", client_secret="s", webhook_secrets=("w",)),),
        recording=RecordingConfig(directory=place),
        state=StateConfig(file=place / "state.sqlite"),
        admin=AdminConfig(socket=place / "admin.sock"),
        daemon=DaemonConfig(workers=2),
    )
    given = Begin(
        version="1",
        node="1",
        incarnation="aa",
        config_path=str(place / "rtmsd.toml"),
        config=config,
        workers=2,
        sockets={},
        disk=None,
        members=(),
        is_draining=False,
        parent_pid=1,
        parent_began_s=0.0,
    )
    journal = await LocalJournal.open(config.state.file)
    writers = Writers.open(config.recording, config.directories)
    needs = SupervisorNeeds(config, journal, writers, Restarter(ZoomApi(), lambda: config), lambda _: None)
    membership = Membership(given, SocketBus(Path), needs)
    try:
        yield membership
    finally:
        await journal.aclose()


async def test_a_worker_takes_as_many_streams_as_the_machine_has_room_for(place: Path) -> None:
    async with one_of_two(place) as membership:
        assert has_room(membership.members.me)
        membership.update(
            [
                Peer(node=node, incarnation=incarnation, streams=5000, is_draining=False, is_ready=True)
                for node, incarnation in (("1", "aa"), ("2", "bb"))
            ]
        )
        assert all(map(has_room, membership.members.living().values()))


async def test_a_stuck_state_file_does_not_keep_a_worker_from_connecting_its_streams(place: Path) -> None:
    async with one_of_two(place) as membership, trio.open_nursery() as nursery:
        await nursery.start(membership.supervisor.run)
        start = StartStream(
            product="session",
            session=SessionRef("session_id", "x"),
            rtms_stream_id="s",
            server_urls="wss://rtms.zoom.test",
            app="main",
            event_ts=1_790_000_000_000,
            details={},
        )
        assert await membership.router.accept(start) is Verdict.NEW
        with closing(sqlite3.connect(place / "state.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await membership.may_connect("s") is Permission.GRANTED
            assert await membership.may_connect("another") is Permission.LOST
        nursery.cancel_scope.cancel()
