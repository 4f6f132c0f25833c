"""What a worker knows of itself and of the others."""

from pathlib import Path

from rtmsd.cluster.engines.sockets import SocketBus
from rtmsd.cluster.rules import has_room
from rtmsd.config import AppConfig, Config, DaemonConfig, RecordingConfig, StateConfig
from rtmsd.config.model import AdminConfig
from rtmsd.recording.writers import Writers
from rtmsd.state.journal import LocalJournal
from rtmsd.streams.restart import Restarter
from rtmsd.workers.membership import Membership
from rtmsd.workers.messages import Begin, Peer
from rtmsd.zoom_api import ZoomApi


async def test_a_worker_takes_as_many_streams_as_the_machine_has_room_for(place: Path) -> None:
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
    membership = Membership(
        given,
        SocketBus(Path),
        journal=journal,
        writers=writers,
        restarter=Restarter(ZoomApi(), lambda: config),
        on_event=lambda _: None,
    )
    assert has_room(membership.members.me)
    membership.update(
        [
            Peer(node=node, incarnation=incarnation, streams=5000, is_draining=False, is_ready=True)
            for node, incarnation in (("1", "aa"), ("2", "bb"))
        ]
    )
    assert all(map(has_room, membership.members.living().values()))
    await journal.aclose()
