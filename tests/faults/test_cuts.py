"""Failing networks, in every way, repeatedly, alone and combined: streams recover, and every gap has its cause."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.faults.breakage import FAULTS, STREAMS, TIMING, break_things
from tests.faults.process import open_stage
from tests.faults.reckoning import end_all, sum_of

PRODUCTS = ("session", "meeting", "webinar")
SHARING = 2  # sessions of each product, which share the faults that each product meets


async def play(place: Path, rounds: int, seed: int, show: Callable[..., None]) -> None:
    chance = random.Random(seed)
    counts: Counter[str] = Counter()
    async with open_stage(place, timing=TIMING) as stage:
        stage.daemon.sections["streams"] |= STREAMS
        await stage.daemon.start()
        sessions = [await stage.zoom.start_session(product=product) for product in SHARING * PRODUCTS]
        untouched = await stage.zoom.start_session()
        async with trio.open_nursery() as nursery:
            for number in range(len(PRODUCTS)):
                faults = chance.sample(list(FAULTS), len(FAULTS)) * rounds
                for share, session in enumerate(sessions[number :: len(PRODUCTS)]):
                    nursery.start_soon(break_things, session, faults[share::SHARING], counts)
        metrics = await trio.to_thread.run_sync(lambda: stage.daemon.admin.text("/v1/metrics"))
        *reckonings, bystander = await end_all(stage.daemon, [*sessions, untouched])
        assert await stage.daemon.stop() == 0
    total = sum_of(reckonings)
    recoveries = [line for line in metrics.splitlines() if line.startswith("rtmsd_reconnects_total{")]
    show(f"{counts.total()} faults", total, *recoveries)
    assert not total.faults
    assert set(total.gaps) <= {"media_reconnect", "signaling_reconnect", "server_failover"}
    assert not bystander.lost
    assert not bystander.gaps
    assert all(line.endswith(" 0.0") for line in recoveries if 'result="failed"' in line)
    violations = [violation for session in sessions for violation in session.record.violations]
    assert {violation.name for violation in violations} <= {"keep_alives_unanswered"}  # of connections that play dead


async def test_every_way_to_lose_a_connection(place: Path, show: Callable[..., None]) -> None:
    await play(place, 1, 1, show)


@pytest.mark.long
async def test_losing_connections_for_minutes(place: Path, show: Callable[..., None]) -> None:
    await play(place, 10, 2, show)
