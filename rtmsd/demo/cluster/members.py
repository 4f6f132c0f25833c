"""The members of a cluster on this machine: daemons with directories of their own, and who has which stream."""

import json
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.demo.cluster.ports import reserved_ports
from rtmsd.demo.cluster.servers import Servers, prepared
from rtmsd.demo.daemon import Admin, DaemonProcess, open_admin
from rtmsd.demo.performance import at_pace
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.stage import HOST, Pace, Stage
from rtmsd.demo.story import RECOVERY_S
from rtmsd.demo.watch import fail_at_crash
from rtmsd.simulator import Record, Simulator, SimulatorSettings, open_simulator

NODES: Final = ("a", "b", "c")
SERVERS: Final = 3
PARTITIONS: Final = 2
POLL_S: Final = 0.02


@attrs.frozen
class Member:
    """One member.

    Attributes:
        webhook_url: where it listens, while it is up.
    """

    node: str
    stage: Stage
    admin: Admin
    process: DaemonProcess
    webhook_url: str


@attrs.frozen
class ClusterCast:
    """Who plays: a simulated Zoom, the members by node, which are up, and the servers between them."""

    simulator: Simulator
    members: Mapping[str, Member]
    servers: Servers

    def owner(self, record: Record) -> str | None:
        """Return the member that holds a stream's signaling connection now."""
        nodes = {member.process.pid: node for node, member in self.members.items()}
        live = [span for span in record.connections if span.kind == "signaling" and span.closed_ms is None]
        return nodes.get(live[-1].peer.pid) if live else None

    async def owners(self, streams: Collection[str]) -> dict[str, str]:
        """Return who has each of these streams, as Zoom sees it, once all have an owner."""
        records = {each: self.simulator.sessions[each].record for each in streams}
        owners: dict[str, str] = {}
        with trio.move_on_after(RECOVERY_S):
            while len(owners) < len(records):
                await trio.sleep(POLL_S)
                found = {each: self.owner(record) for each, record in records.items()}
                owners = {each: node for each, node in found.items() if node is not None}
        return owners

    @property
    def stages(self) -> list[Stage]:
        return [member.stage for member in self.members.values()]

    def receiver(self, webhook_url: str) -> str:
        """Return the member that answers there."""
        return next(node for node, member in self.members.items() if member.webhook_url == webhook_url)


@asynccontextmanager
async def open_members(
    stage: Stage, pace: Pace, settings: SimulatorSettings, scene: Scene
) -> AsyncIterator[ClusterCast]:
    """Yield the cast of a play; at the exit nothing is left of it.

    Args:
        settings: of the simulator; where it is, and where webhooks go, is added.

    Raises:
        ServerError, DaemonError: somebody did not start.
    """
    logs = stage.directory / "nats"
    logs.mkdir()
    with reserved_ports(len(NODES)) as ports, prepared(logs, SERVERS) as servers:
        servers.start()
        urls = [f"http://{HOST}:{port}/webhook" for port in ports]
        settings = attrs.evolve(at_pace(settings, pace, *urls), webhook_failover=True)
        async with open_simulator(settings) as simulator, AsyncExitStack() as stack:
            members = {}
            for node, port, url in zip(NODES, ports, urls, strict=True):
                own = stage.part(node)
                own.ca.write_bytes(simulator.ca_pem)
                own.write_config(settings, pace, cluster_section(node, servers), listen=f"{HOST}:{port}")
                admin = await stack.enter_async_context(open_admin(own.admin_socket))
                process = await stack.enter_async_context(aclosing(DaemonProcess(own.config, own.log, admin)))
                members[node] = Member(node, own, admin, process, url)
            await trio.to_thread.run_sync(servers.wait)
            async with trio.open_nursery() as nursery:
                for member in members.values():
                    nursery.start_soon(member.process.start)
            async with trio.open_nursery() as nursery:
                for member in members.values():
                    nursery.start_soon(fail_at_crash, member.admin, member.stage.log)
                pids = ", ".join(f"{node} (process {member.process.pid})" for node, member in members.items())
                scene.log(
                    Kind.NOTE,
                    f"{SERVERS} NATS servers and the members {pids} are up, the simulated Zoom is at "
                    f"{simulator.address}.",
                )
                yield ClusterCast(simulator, members, servers)
                nursery.cancel_scope.cancel()


def cluster_section(node: str, servers: Servers) -> str:
    return f"""
[cluster]
name = "demo"
node = "{node}"
servers = {json.dumps(servers.urls)}
replicas = {len(servers.each)}
partitions = {PARTITIONS}
"""


def copies_of(stages: Collection[Stage], rtms_stream_id: str) -> list[Path]:
    """Return the directories that members have of a stream."""
    return [found for stage in stages for found in stage.recordings.glob(f"*/{rtms_stream_id}")]


def is_receipt(directory: Path) -> bool:
    """Whether nothing is left of a recording but the word that it was deleted."""
    names = [path.name for path in directory.iterdir()]
    return names == ["stream.json"] and _manifest(directory).get("state") == "revoked"


def whole_of(stages: Collection[Stage], rtms_stream_id: str) -> Path | None:
    """Return the recording of a stream that its last owner joined, or the only part; None: it is not joined yet."""
    copies = copies_of(stages, rtms_stream_id)
    joined = [copy for copy in copies if "parts" in _manifest(copy)]
    return (joined or copies)[0] if joined or len(copies) == 1 else None


def _manifest(directory: Path) -> Mapping[str, Any]:
    """Return what a manifest says; nothing while its directory is being replaced."""
    try:
        manifest: dict[str, Any] = json.loads((directory / "stream.json").read_text())
    except OSError:
        return {}
    return manifest
