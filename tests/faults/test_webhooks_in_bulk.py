"""Hundreds of duplicates and forgeries beside a live stream, which loses nothing."""

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from rtmsd.simulator import SimSession
from tests.faults.process import open_stage
from tests.faults.reckoning import end_all, sum_of

AT_ONCE = 10


async def post_many(send: Callable[[], Awaitable[int | None]], times: int, statuses: Counter[int | None]) -> None:
    for _ in range(times):
        statuses[await send()] += 1


@pytest.mark.parametrize("each", [300, pytest.param(1000, marks=pytest.mark.long)])
async def test_duplicates_and_forgeries_in_bulk(place: Path, show: Callable[..., None], each: int) -> None:
    async with open_stage(place) as stage:
        await stage.daemon.start()
        session = await stage.zoom.start_session()
        await session.wait_reconnected()
        duplicates, stops, starts = Counter[int | None](), Counter[int | None](), Counter[int | None]()
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(post_many, session.duplicate_webhook, each // AT_ONCE, duplicates)
                nursery.start_soon(post_many, session.forged_webhook, each // AT_ONCE // 2, stops)
                nursery.start_soon(post_many, lambda: session.forged_webhook("started"), each // AT_ONCE // 2, starts)
        status = await stage.daemon.status()
        total = sum_of(await end_all(stage.daemon, [session]))
        assert len(list(stage.daemon.recordings.glob("*/*/stream.json"))) == 1
    answers = sorted(webhook.latency_s for webhook in session.record.webhooks)
    show(f"{each} duplicates, {each} forgeries, slowest answer {answers[-1]:.3f} s", total)
    assert duplicates == {200: each}
    assert stops + starts == {401: each}
    assert status["webhook"]["results"]["duplicate"] == each
    assert not total.faults
    assert not total.lost
    assert not total.gaps
    assert handshakes(session) == 3


def handshakes(session: SimSession) -> int:
    return len(session.record.handshakes)
