"""A long run of a cluster: a fault every 20 s, while streams begin and end; nothing is lost without a cause."""

import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, TypeAlias

import attrs
import pytest
import trio

from rtmsd.protocol.enums import MediaType, StopReason
from rtmsd.simulator import Record, SimSession, two_at_once
from tests.faults.breakage import audio_of
from tests.faults.cluster import NODES, PARTITIONS, ClusterStage, open_cluster
from tests.faults.process import until
from tests.faults.reckoning import Reckoning, is_guessed, is_in_time, manifest_of, percentile, reckon, sum_of

DURATION_S: Final = float(os.environ.get("RTMSD_SOAK_S", "1800"))
SEED: Final = int(os.environ.get("RTMSD_SOAK_SEED", "0")) or time.time_ns() % 100_000
EVERY_S: Final = 20.0
LIVE: Final = 9
LIFE_S: Final = (60.0, 240.0)  # of a stream
RECOVERY_S: Final = 150.0  # the longest that Zoom takes to give a connection up, and some for a busy machine
TOGETHER: Final = 0.4  # the share of lost members that something else is lost with
GROWTH_BYTES: Final = 48 << 20  # of a member that has its streams already
CAUSES: Final = {"node_takeover", "signaling_reconnect", "media_reconnect", "daemon_restart"}


@attrs.define
class Soak:
    """A cluster, the streams of its Zoom, and what was done to both.

    Attributes:
        live: sessions that go on. sessions: all.
        faults: what was done, from and until when, in Zoom's time.
        resident: of each member's life: first and last figure, in bytes.
    """

    stage: ClusterStage
    chance: random.Random
    live: list[SimSession] = attrs.field(factory=list)
    sessions: list[SimSession] = attrs.field(factory=list)
    faults: list[tuple[str, int, int]] = attrs.field(factory=list)
    resident: dict[tuple[str, int], tuple[int, int]] = attrs.field(factory=dict)

    # Streams

    async def keep_live(self, until_s: float) -> None:
        """Begin streams, each of which ends some minutes later, until a moment; return when all have ended."""
        async with trio.open_nursery() as nursery:
            while trio.current_time() < until_s:
                if len(self.live) < LIVE:
                    self.live.append(await self._begin())
                    nursery.start_soon(self._end_later, self.live[-1])
                await trio.sleep(self.chance.uniform(0, 2))

    async def _begin(self) -> SimSession:
        session = await self.stage.zoom.start_session(duplicate_signaling=self.chance.choice(["refuse", "evict"]))
        self.sessions.append(session)
        return session

    async def _end_later(self, session: SimSession) -> None:
        await trio.sleep(self.chance.uniform(*LIFE_S))
        self.live.remove(session)
        await until(partial(is_in_time, session), RECOVERY_S)
        await session.stop()

    # Faults: each returns when it is inflicted, and whoever is down is up again

    def _some(self, most: int) -> list[SimSession]:
        return self.chance.sample(self.live, min(most, len(self.live)))

    async def killed(self) -> None:
        member = self.stage.members[self.chance.choice(NODES)]
        member.kill()
        await member.reap()
        await trio.sleep(self.chance.choice([0, 0, 8]))
        await member.start()

    async def stopped(self) -> None:
        member = self.stage.members[self.chance.choice(NODES)]
        assert await member.stop() == 0, member.lines[-20:]
        await member.start()

    async def frozen(self) -> None:
        await self.stage.freeze(self.chance.choice(NODES), self.chance.uniform(1, 12))

    async def drained(self) -> None:
        node, by = self.chance.sample(NODES, 2)
        await self.stage.order(f"/v1/cluster/nodes/{node}/drain", by=by)
        await until(lambda: all(self.stage.owner(session) != node for session in self.live), RECOVERY_S)
        await self.stage.order(f"/v1/cluster/nodes/{node}/undrain", by=by)

    async def moved(self) -> None:
        for session in self._some(3):
            await self.stage.order(f"/v1/cluster/streams/{session.rtms_stream_id}/move", by=self.chance.choice(NODES))

    async def server_killed(self) -> None:
        server = self.chance.choice(self.stage.servers.each)
        server.kill()
        await trio.sleep(self.chance.uniform(0, 8))
        await self._servers_back()

    async def leader_killed(self) -> None:
        stream = f"TEST_{self.chance.randrange(PARTITIONS):02}"
        leader = await trio.to_thread.run_sync(self.stage.servers.leader, stream)
        leader.kill()
        await trio.sleep(self.chance.uniform(0, 8))
        await self._servers_back()

    async def servers_away(self) -> None:
        self.stage.servers.kill()
        await trio.sleep(5)
        await self._servers_back()

    async def _servers_back(self) -> None:
        self.stage.servers.start()
        await trio.to_thread.run_sync(self.stage.servers.wait)

    async def signaling_cut(self) -> None:
        for session in self._some(4):
            session.cut_signaling(webhook=self.chance.random() < 0.7)

    async def media_cut(self) -> None:
        for session in self._some(4):
            session.cut_media(announce=self.chance.random() < 0.7)

    async def webhooks_repeated(self) -> None:
        """Also those of streams that have ended."""
        for session in self.chance.sample(self.sessions, min(6, len(self.sessions))):
            for _ in NODES:
                await session.duplicate_webhook()

    # A fault and what follows

    async def fault(self) -> str:
        faults = [self._choose(FAULTS)]
        if faults[0] in LOSSES and self.chance.random() < TOGETHER:
            faults.append(self._choose(OTHERS))
        name = " and ".join(fault.__name__ for fault in faults)
        between_s = self.chance.uniform(0, 3) if len(faults) > 1 else 0
        began_ms = self.stage.zoom.clock.now_ms()
        async with trio.open_nursery() as nursery:
            for fault in faults:
                nursery.start_soon(fault, self)
                await trio.sleep(between_s)
        await self.until_fed()
        self.faults.append((name, began_ms, self.stage.zoom.clock.now_ms()))
        await self.stage.until_well()
        for node, member in self.stage.members.items():
            now = member.rss_bytes()
            self.resident[node, member.pid] = self.resident.get((node, member.pid), (now, now))[0], now
        return name

    def _choose(self, faults: "Faults") -> "Fault":
        return self.chance.choices([*faults], weights=[*faults.values()])[0]

    async def until_fed(self) -> None:
        """Wait until each stream gets audio again, or has ended."""
        before = {session.rtms_stream_id: audio_of(session) for session in self.live}
        for session in [*self.live]:
            arrived = before[session.rtms_stream_id]
            await until(lambda: audio_of(session) > arrived or session.stop_reason is not None, RECOVERY_S)  # noqa: B023

    # What comes of it

    def recording(self, session: SimSession) -> Path | None:
        """Return the directory that has all of an ended stream; None: its parts are not joined yet."""
        copies = [
            path for each in self.stage.members.values() for path in each.recordings.glob(f"*/{session.rtms_stream_id}")
        ]
        whole = [path for path in copies if "parts" in _manifest(path)] or copies
        return whole[0] if len(whole) == 1 and _manifest(whole[0]).get("state") == "ended" else None

    async def reckonings(self) -> list[Reckoning]:
        """Wait until all is gathered, and count it."""
        for member in self.stage.members.values():
            await member.until_all_ended()
        results = []
        for session in self.sessions:
            await until(lambda: self.recording(session) is not None, RECOVERY_S)  # noqa: B023 waited for here
            whole = self.recording(session)
            assert whole is not None
            results.append(await trio.to_thread.run_sync(reckon, whole.parents[1], session))
        return results

    def wrong_ends(self) -> list[str]:
        """Return what ended otherwise than its Zoom said."""
        manifests = [manifest_of(path) for path in map(self.recording, self.sessions) if path is not None]
        return [
            f"{manifest['rtms_stream_id']}: {manifest['stop_reason']}, {manifest['why']}"
            for manifest in manifests
            if manifest["stop_reason"] != StopReason.MEETING_ENDED and not is_guessed(manifest)
        ]

    def figures(self) -> Iterator[str]:
        outages = [outage for session in self.sessions for outage in _outages(session.record)]
        away_s, times = defaultdict[str, list[float]](list), Counter(name for name, _, _ in self.faults)
        for name, from_ms, to_ms in self.faults:
            away_s[name] += [(back_ms - lost_ms) / 1000 for lost_ms, back_ms in outages if from_ms <= lost_ms <= to_ms]
        for name, lost in sorted(away_s.items()):
            median_s, longest_s = percentile(lost, 0.5), max(lost, default=0)
            yield f"{name} {times[name]} times: {len(lost)} lost audio, for {median_s:.1f} s, at most {longest_s:.1f} s"
        lives = [*self.resident.values()]
        first, last = lives[0][0], lives[-1][1]
        growth = max(now - before for before, now in lives)
        yield f"resident: {first >> 20} MiB at first, {last >> 20} MiB at last; a life grew by {growth >> 20} MiB"


def _outages(record: Record) -> Iterator[tuple[int, int]]:
    """Yield from when to when a stream was without a connection that brings audio."""
    spans = [span for span in record.connections if span.flows_ms is not None and span.media_type & MediaType.AUDIO]
    for one, two in pairwise(spans):
        if one.closed_ms is not None and two.flows_ms is not None:
            yield one.closed_ms, two.flows_ms


def _manifest(directory: Path) -> Mapping[str, Any]:
    """Return what a manifest says; nothing while its directory is being replaced."""
    try:
        return manifest_of(directory)
    except OSError:
        return {}


Fault: TypeAlias = Callable[[Soak], Awaitable[None]]
Faults: TypeAlias = Mapping[Fault, float]

LOSSES: Final[Faults] = {Soak.killed: 4, Soak.stopped: 2, Soak.frozen: 3}
ORDERS: Final[Faults] = {Soak.drained: 2, Soak.moved: 2}
OTHERS: Final[Faults] = {
    Soak.server_killed: 1,
    Soak.leader_killed: 2,
    Soak.servers_away: 2,
    Soak.signaling_cut: 2,
    Soak.media_cut: 1,
    Soak.webhooks_repeated: 1,
}
FAULTS: Final[Faults] = {**LOSSES, **ORDERS, **OTHERS}


async def play(soak: Soak, duration_s: float, show: Callable[..., None]) -> None:
    end_s = trio.current_time() + duration_s
    async with trio.open_nursery() as nursery:
        nursery.start_soon(soak.keep_live, end_s)
        await until(lambda: len(soak.live) == LIVE, RECOVERY_S)
        while (now_s := trio.current_time()) < end_s:
            show(await soak.fault())
            await trio.sleep_until(now_s + EVERY_S)


@pytest.mark.long
async def test_a_fault_every_20_s_costs_nothing_without_a_cause(place: Path, show: Callable[..., None]) -> None:
    show(f"seed {SEED}: RTMSD_SOAK_SEED")
    async with open_cluster(place, 3) as stage:
        for member in stage.members.values():
            member.sections["cluster"] = {**member.sections["cluster"], "gather": "at_end"}
        await stage.start()
        soak = Soak(stage, random.Random(SEED))
        await play(soak, DURATION_S, show)
        total = sum_of(await soak.reckonings())
        show(f"{len(soak.sessions)} streams", *soak.figures(), total)
        wrong_ends = soak.wrong_ends()
        for member in stage.members.values():
            assert await member.stop() == 0, member.lines[-20:]
            assert not member.complaints()
    assert not total.faults
    assert set(total.gaps) <= CAUSES
    assert not wrong_ends
    for session in soak.sessions:
        assert not session.record.violations
        assert not two_at_once(session.record)
    assert max(last - first for first, last in soak.resident.values()) < GROWTH_BYTES
