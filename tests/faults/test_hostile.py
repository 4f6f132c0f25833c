"""Broken and hostile frames on one of many streams: it counts them and continues, the others lose nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from rtmsd.simulator import SimSession
from rtmsd.simulator.media.hostile import MALFORMED, VIOLATIONS
from tests.faults.process import open_stage, until
from tests.faults.reckoning import end_all, manifest_of, recording_of, sum_of

ROUNDS = 20


def has_connected(session: SimSession, times: int) -> bool:
    return len(session.record.connections) >= times


async def test_hostile_frames_on_one_of_many_streams(place: Path, show: Callable[..., None]) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        victim, *others = await stage.live(10)
        for _ in range(ROUNDS):
            victim.malformed_frames()
            await trio.sleep(0.05)
        victim.huge_frame()
        for kind in VIOLATIONS:
            await victim.wait_reconnected()
            await trio.sleep(0.2)
            victim.violate_websocket(kind)
            broken = len(victim.record.connections)
            await until(partial(has_connected, victim, broken + 1))
        await victim.wait_reconnected()
        await trio.sleep(0.3)
        attacked, *untouched = await end_all(daemon, [victim, *others])
        counters = manifest_of(recording_of(daemon.recordings, victim))["counters"]
    total = sum_of(untouched)
    show(
        f"{victim.record.hostile.total()} hostile frames, counted as {counters}", "the others: " + str(total), attacked
    )
    assert not total.faults
    assert not total.lost
    assert not total.gaps
    assert not attacked.doubled
    assert not attacked.damaged
    assert not attacked.unexplained
    assert counters["corrupt"] + counters["unknown"] >= ROUNDS * (len(MALFORMED) - 2)
