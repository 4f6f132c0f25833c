"""Several real processes that claim the same streams in one state file."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from rtmsd.cluster.engines.sqlite import SqliteStore
from rtmsd.state.journal import LocalJournal
from tests.cluster.claiming import open_claiming

STREAMS = 500


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[LocalJournal]:
    journal = await LocalJournal.open(tmp_path / "state.sqlite", is_shared=True)
    yield journal
    await journal.aclose()


async def test_of_several_processes_one_wins_each_stream(journal: LocalJournal) -> None:
    store = SqliteStore(journal)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(open_claiming(journal, node, streams=STREAMS, pace_s=1 / 250))
            for node in "1234"
        ]
        for worker in workers:
            await worker.begin()
        for worker in workers:
            await worker.until(lambda each: bool(each.took))
    for worker in workers:
        print(f"worker {worker.node}: won {len(worker.won)}, took {worker.took}")
    winners = {stream: worker.node for worker in workers for stream in worker.won}
    assert sum(len(worker.won) for worker in workers) == len(winners) == STREAMS
    assert all(len(worker.won) + len(worker.lost) == STREAMS for worker in workers)
    held = {stream: await store.read(stream) for stream in winners}
    assert {stream: each.own.node for stream, each in held.items() if each.own is not None} == winners
    assert len({each.token for each in held.values()}) == STREAMS
    assert len(await journal.unfinished()) == STREAMS


async def test_what_a_killed_process_had_is_orphaned_whole(journal: LocalJournal) -> None:
    store = SqliteStore(journal)
    async with AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(open_claiming(journal, node, streams=STREAMS, pace_s=0)) for node in "123"
        ]
        for worker in workers:
            await worker.begin()
        killed, *others = workers
        await killed.until(lambda each: len(each.won) >= 20)
        await killed.kill()
        orphans = await store.orphans([each.node for each in others])
        for worker in others:
            await worker.until(lambda each: bool(each.took))
        assert await store.orphans([each.node for each in others]) == orphans
    ids = {held.own.rtms_stream_id for held in orphans if held.own is not None and held.own.node == killed.node}
    assert len(ids) == len(orphans)
    assert set(killed.won) <= ids, "what was answered is on disk"
    owned = [stream for worker in others for stream in worker.won]
    assert len(owned) == len(set(owned)) == STREAMS - len(ids)
    assert ids.isdisjoint(owned)
    assert all(held.known.row is not None and held.known.delivered for held in orphans)
