"""Workers that are members of a cluster: "a.1" and "a.2" beside each other, and killed."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from rtmsd.demo.cluster.servers import Servers, prepared
from rtmsd.recording.gather.gather import gather
from rtmsd.simulator import SimSession, two_at_once
from tests.faults.process import Daemon, Stage, open_stage, until
from tests.faults.reckoning import Reckoning, reckon, stop_all, sum_of
from tests.faults.workers import workers_of

WORKERS = 2


@attrs.frozen
class Members:
    """A daemon whose workers are members, on one server."""

    stage: Stage
    place: Path

    @property
    def daemon(self) -> Daemon:
        return self.stage.daemon

    def owner(self, session: SimSession) -> str | None:
        """Return the number of the worker that Zoom is connected to."""
        live = [s for s in session.record.connections if s.kind == "signaling" and s.closed_ms is None]
        numbers = {pid: number for number, pid in workers_of(self.daemon.pid).items()}
        return numbers.get(live[-1].peer.pid or 0) if live else None

    def of(self, number: str, sessions: Sequence[SimSession]) -> list[SimSession]:
        return [session for session in sessions if self.owner(session) == number]

    async def get(self, path: str) -> Any:
        return await trio.to_thread.run_sync(self.daemon.admin.get, path)

    async def reckon(self, sessions: Sequence[SimSession]) -> list[Reckoning]:
        """Join what all workers recorded, and count what is in it."""
        parts = [self.daemon.recordings, *(self.daemon.recordings / "workers").glob("*")]
        joined = self.place / "joined"
        joined.mkdir()
        for session in sessions:
            await trio.to_thread.run_sync(gather, session.rtms_stream_id, parts, joined)
        return [reckon(joined, session) for session in sessions]


@asynccontextmanager
async def open_members(place: Path, **cluster: Any) -> AsyncIterator[Members]:
    for name in ("nats", "a"):
        (place / name).mkdir()
    with prepared(place / "nats", 1) as nats:
        nats.start()
        await trio.to_thread.run_sync(nats.wait)
        async with open_stage(place / "a", name_processes=True) as stage:
            sections = stage.daemon.sections
            sections["daemon"] = {"workers": WORKERS}
            sections["media.audio"]["send_rate_ms"] = 100
            sections["cluster"] = section_of(nats) | {"gather": "manual", **cluster}
            yield Members(stage, place)


def section_of(nats: Servers) -> dict[str, Any]:
    return {"name": "test", "node": "a", "servers": [*nats.urls], "partitions": 2, "replicas": 1}


async def test_streams_of_a_killed_worker_go_on_and_nothing_is_lost_or_doubled(
    place: Path, show: Callable[..., None]
) -> None:
    async with open_members(place) as members:
        daemon = members.daemon
        sessions = await members.stage.live(6)
        hit = members.of("1", sessions)
        assert hit
        assert members.of("2", sessions)
        status = await members.get("/v1/cluster")
        assert [each["node"] for each in status["members"]] == ["a.1", "a.2"]
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)
        await daemon.until_logged("worker ready", worker="1", count=2)
        for session in sessions:
            await until(lambda: members.owner(session) is not None)  # noqa: B023 waited for here
            await session.wait_reconnected()
        await stop_all(sessions)
        await daemon.until_all_ended()
        assert await daemon.stop() == 0, daemon.lines[-20:]
        assert not daemon.complaints(), daemon.complaints()
        reckonings = await members.reckon(sessions)
    total = sum_of(reckonings)
    show(total)
    assert not total.faults
    assert set(total.gaps) <= {"node_takeover", "daemon_restart"}
    lost = {session.rtms_stream_id for session, each in zip(sessions, reckonings, strict=True) if each.gaps}
    assert lost <= {session.rtms_stream_id for session in hit}
    for session in sessions:
        assert not session.record.violations
        assert not two_at_once(session.record)
