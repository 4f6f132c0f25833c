"""Workers that are members of a cluster: "a.1" and "a.2" beside each other, and killed."""

import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd.demo.cluster.servers import Servers, prepared
from rtmsd.recording.gather.gather import gather
from rtmsd.simulator import SimSession, two_at_once
from tests.faults.breakage import audio_of
from tests.faults.process import LIMIT_S, Daemon, Stage, open_stage, until
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

    async def live(self, streams: int = 4) -> list[SimSession]:
        """Start the daemon, and at least so many sessions, until both workers have some."""
        sessions = await self.stage.live(streams)
        with trio.fail_after(LIMIT_S):
            while not all(self.of(number, sessions) for number in ("1", "2")):
                sessions.append(await self.stage.zoom.start_session())
                await sessions[-1].wait_reconnected()
        return sessions

    async def until_states(self, states: dict[str, str]) -> None:
        """Wait until whichever worker answers knows these members, and in these states."""
        found: dict[str, str] = {}
        with trio.fail_after(LIMIT_S):
            while found != states:
                await trio.sleep(0.05)
                status = await trio.to_thread.run_sync(self.daemon.admin.get, "/v1/cluster")
                found = {each["node"]: each["state"] for each in status["members"]}

    async def until_connected(self, sessions: Sequence[SimSession]) -> None:
        for session in sessions:
            await until(lambda: self.owner(session) is not None)  # noqa: B023 waited for here
            await session.wait_reconnected()

    async def end(self, sessions: Sequence[SimSession]) -> None:
        """End all sessions, and the daemon."""
        await stop_all(sessions)
        await self.daemon.until_all_ended()
        assert await self.daemon.stop() == 0, self.daemon.lines[-20:]
        assert not self.daemon.complaints(), self.daemon.complaints()

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


async def until_audio(sessions: Sequence[SimSession]) -> None:
    """Wait until each stream gets audio that it did not have before."""
    before = [audio_of(session) for session in sessions]
    await until(lambda: all(audio_of(session) > had for session, had in zip(sessions, before, strict=True)))


async def test_streams_of_a_killed_worker_go_on_and_nothing_is_lost_or_doubled(
    place: Path, show: Callable[..., None]
) -> None:
    async with open_members(place) as members:
        daemon = members.daemon
        sessions = await members.live()
        hit = members.of("1", sessions)
        await members.until_states({"a.1": "up", "a.2": "up"})
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)
        await daemon.until_logged("worker ready", worker="1", count=2)
        await members.until_connected(sessions)
        await members.end(sessions)
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


@pytest.mark.long
async def test_a_stop_is_quick_where_nobody_is_left_and_the_next_start_goes_on(
    place: Path, show: Callable[..., None]
) -> None:
    async with open_members(place) as members:
        daemon = members.daemon
        sessions = await members.stage.live(6)
        began_s = trio.current_time()
        assert await daemon.stop() == 0
        show(f"stopped in {trio.current_time() - began_s:.1f} s")
        stayed = daemon.logged("stream not handed over")
        assert {line["rtms_stream_id"] for line in stayed} == {session.rtms_stream_id for session in sessions}
        await daemon.start()
        await members.until_connected(sessions)
        await members.end(sessions)
        total = sum_of(await members.reckon(sessions))
    show(total)
    assert not total.faults
    assert set(total.gaps) <= {"node_takeover", "daemon_restart"}


@pytest.mark.long
@pytest.mark.parametrize("before", ["one member", "workers without a cluster"])
async def test_from_what_there_was_to_workers_and_back_to_one(
    place: Path, show: Callable[..., None], before: str
) -> None:
    async with open_members(place) as members:
        daemon = members.daemon
        cluster = daemon.sections["cluster"]
        if before == "one member":
            daemon.sections["daemon"] = {"workers": 1}
        else:
            del daemon.sections["cluster"]
        sessions = await members.stage.live(3)
        for workers in (2, 1):
            assert await daemon.stop() == 0
            daemon.sections |= {"daemon": {"workers": workers}, "cluster": cluster}
            await daemon.start()
            sessions.append(await members.stage.zoom.start_session())
            await until_audio(sessions)
        warnings = [line["warning"] for line in daemon.logged("configuration")]
        assert [each.partition(",")[0] for each in warnings if "daemon.workers" in each] == [
            "daemon.workers: worker 2 is not started any more"
        ]
        await members.end(sessions)
        total = sum_of(await members.reckon(sessions))
    show(total)
    assert not total.faults
    assert set(total.gaps) <= {"node_takeover", "daemon_restart"}


@pytest.mark.long
async def test_the_parts_of_two_workers_are_gathered_by_the_last_owner(place: Path) -> None:
    async with open_members(place, gather="at_end") as members:
        daemon = members.daemon
        sessions = await members.live()
        hit = members.of("1", sessions)
        await trio.to_thread.run_sync(daemon.admin.post, "/v1/cluster/nodes/a.1/drain")
        for session in hit:
            await until(lambda: members.owner(session) == "2")  # noqa: B023 waited for here
            await session.wait_reconnected()
        await members.until_states({"a.1": "draining", "a.2": "up"})
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)  # the order is kept for its next life
        await daemon.until_logged("worker ready", worker="1", count=2)
        await members.until_states({"a.1": "draining", "a.2": "up"})
        await stop_all(sessions)
        await daemon.until_logged("stream gathered", count=len(hit))
        assert await daemon.stop() == 0
        total = sum_of(reckon(daemon.recordings / "workers/2", session) for session in hit)
    assert not total.faults
    assert not total.lost


@pytest.mark.long
async def test_servers_of_another_layout_end_the_whole_daemon(place: Path) -> None:
    async with open_members(place) as members:
        daemon = members.daemon
        await daemon.start()
        assert await daemon.stop() == 0
        daemon.sections["cluster"]["partitions"] = 3
        daemon.spawn()
        assert await daemon.reap() == 78
        ends = daemon.logged("cannot run with this configuration")
        assert [line["errors"] for line in ends if "worker" not in line] == [
            [f"worker {line['worker']} refuses it, and its log says why" for line in ends[:1]]
        ]
        assert "partitions" in ends[0]["errors"][0]
        assert not daemon.logged("worker died; it is started again")
