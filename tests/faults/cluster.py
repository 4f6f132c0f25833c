"""Three members of a cluster on real NATS servers, each behind an address of its own, and a simulated Zoom."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.demo.cluster.servers import Servers, prepared
from rtmsd.recording.gather.gather import gather
from rtmsd.simulator import SimSession, Simulator, SimulatorSettings, Tone, open_simulator
from rtmsd.simulator.model.record import Peer
from tests.faults.process import LIMIT_S, TIMING, Daemon, Gate, until
from tests.faults.reckoning import Reckoning, reckon, stop_all

NODES: Final = ("a", "b", "c")
PARTITIONS: Final = 2


@attrs.frozen
class ClusterStage:
    """Who plays: members by node, which are not started yet, and servers, which are."""

    place: Path
    zoom: Simulator
    members: Mapping[str, Daemon]
    servers: Servers

    async def start(self, *nodes: str) -> None:
        """Start these members, or all, at once."""
        async with trio.open_nursery() as nursery:
            for node in nodes or NODES:
                nursery.start_soon(self.members[node].start)

    async def live(self, streams: int) -> list[SimSession]:
        """Start all members, and sessions that are recorded when they are returned."""
        await self.start()
        sessions = [await self.zoom.start_session() for _ in range(streams)]
        for session in sessions:
            await session.wait_reconnected()
        return sessions

    # Who has what

    def owner(self, session: SimSession) -> str | None:
        """Return the member that Zoom is connected to."""
        live = [s for s in session.record.connections if s.kind == "signaling" and s.closed_ms is None]
        return self.node_of(live[-1].peer) if live else None

    def node_of(self, peer: Peer) -> str | None:
        """Return the running member at that end of a connection."""
        running = {member.pid: node for node, member in self.members.items() if member.is_running}
        return running.get(peer.pid or 0)

    def owners(self, sessions: Sequence[SimSession]) -> dict[str, str | None]:
        return {session.rtms_stream_id: self.owner(session) for session in sessions}

    def busiest(self, sessions: Sequence[SimSession]) -> tuple[str, list[SimSession]]:
        """Return the member with most streams, and which those are."""
        [(node, _)] = Counter(filter(None, map(self.owner, sessions))).most_common(1)
        return node, [session for session in sessions if self.owner(session) == node]

    async def until_elsewhere(self, sessions: Sequence[SimSession], node: str) -> None:
        """Wait until others than this member have these streams, and get their media."""
        for session in sessions:
            await until(lambda: self.owner(session) not in (None, node))  # noqa: B023 waited for here
            await session.wait_reconnected()

    # What comes of it

    async def freeze(self, node: str, for_s: float) -> None:
        self.members[node].send_signal(signal.SIGSTOP)
        try:
            await trio.sleep(for_s)
        finally:
            self.members[node].send_signal(signal.SIGCONT)

    async def order(self, path: str, *, by: str) -> None:
        """Have a member do something, through its admin socket."""
        await trio.to_thread.run_sync(self.members[by].admin.post, path)

    async def until_well(self) -> None:
        """Wait until no member has trouble with the engine."""
        for member in self.members.values():
            await member.until_status(
                lambda status: status["ready"] and "engine_away" not in {each["code"] for each in status["degraded"]}
            )

    async def end(self, sessions: Sequence[SimSession]) -> list[Reckoning]:
        """End sessions, and count what is in the joined recordings."""
        await stop_all(sessions)
        for member in self.members.values():
            if member.is_running:
                await member.until_all_ended()
        joined = self.place / "joined"
        joined.mkdir(exist_ok=True)
        parts = [member.recordings for member in self.members.values()]
        for session in sessions:
            await trio.to_thread.run_sync(gather, session.rtms_stream_id, parts, joined)
        return [reckon(joined, session) for session in sessions]

    async def end_all(self, sessions: Sequence[SimSession]) -> list[Reckoning]:
        """End all sessions and members, and count what is in the joined recordings."""
        reckonings = await self.end(sessions)
        for member in self.members.values():
            if member.is_running:
                assert await member.stop() == 0, member.lines[-20:]
            assert not member.complaints(), member.complaints()
        return reckonings


@asynccontextmanager
async def open_cluster(place: Path, servers: int = 1, **settings: Any) -> AsyncIterator[ClusterStage]:
    """Yield a Zoom whose packets are marked, running servers, and members; all processes are killed at the end.

    Args:
        place: short, because of the sockets in it.
        servers: of NATS; as many have each record.
        settings: of the simulator.
    """
    (place / "nats").mkdir()
    async with trio.open_nursery() as nursery:
        with prepared(place / "nats", servers) as nats:
            members = {node: await make_member(place, node, nats, nursery, Gate()) for node in NODES}
            async with zoom_of(members, nats, **settings) as zoom:
                yield ClusterStage(place, zoom, members, nats)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def zoom_of(members: Mapping[str, Daemon], nats: Servers, **settings: Any) -> AsyncIterator[Simulator]:
    """Start the servers, and yield the Zoom of these members, which are killed at the end."""
    settings = {
        "tone": Tone.MARKED,
        "timing": TIMING,
        "webhook_timeout_s": LIMIT_S,
        "name_processes": True,
        "webhook_failover": True,
        "webhook_try_s": 3,  # longer than a member takes for an answer, whatever the engine does
        **settings,
    }
    urls = [member.gate.url for member in members.values()]
    nats.start()
    try:
        await trio.to_thread.run_sync(nats.wait)
        async with open_simulator(SimulatorSettings(webhook_url=urls, **settings)) as zoom:
            yield zoom
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(LIMIT_S):
            for member in members.values():
                member.kill()
                if member.spawned_s:
                    await member.reap()


async def make_member(place: Path, node: str, nats: Servers, nursery: trio.Nursery, gate: Gate) -> Daemon:
    """Return a member that is not started yet, behind its gate."""
    await nursery.start(gate.run)
    (place / node).mkdir()
    member = Daemon(place / node, gate, nursery)
    member.sections["media.audio"]["send_rate_ms"] = 100
    member.sections["cluster"] = {
        "name": "test",
        "node": node,
        "servers": [*nats.urls],
        "partitions": PARTITIONS,
        "replicas": len(nats.each),
        "gather": "manual",
    }
    return member
