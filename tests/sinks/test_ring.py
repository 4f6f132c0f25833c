"""Rings: nothing is lost that fits, and what is lost is the oldest, and counted."""

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.sinks.ring import Ring

LIMIT_BYTES = 100


@given(sizes=st.lists(st.integers(0, 150), max_size=60))
async def test_the_newest_items_that_fit_survive_and_the_rest_is_counted(sizes: list[int]) -> None:
    ring: Ring[int] = Ring(LIMIT_BYTES)
    for number, size_bytes in enumerate(sizes):
        ring.put(number, size_bytes)
    ring.end()
    kept = list(range(len(sizes)))
    while kept and sum(sizes[number] for number in kept) > LIMIT_BYTES:
        kept.pop(0)
    batch = await ring.take()
    if not sizes:
        assert batch is None
    else:
        assert batch is not None
        assert batch.lost + len(batch.items) == len(sizes)
        # Dropping is done at each put, so it can only have dropped more than this, never an item out of order.
        assert batch.items == kept[len(kept) - len(batch.items) :]
        assert sum(sizes[number] for number in batch.items) <= LIMIT_BYTES
        assert await ring.take() is None


async def test_a_reader_wakes_for_an_item_and_for_the_end(autojump_clock: trio.testing.MockClock) -> None:
    ring: Ring[str] = Ring(LIMIT_BYTES)
    taken: list[object] = []

    async def read() -> None:
        while (batch := await ring.take()) is not None:
            taken.append((trio.current_time(), batch.lost, batch.items))

    start_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(1)
        ring.put("a", 1)
        ring.put("b", 1)
        await trio.sleep(1)
        ring.put("c", 1)
        await trio.sleep(1)
        ring.end()
    assert taken == [(start_s + 1, 0, ["a", "b"]), (start_s + 2, 0, ["c"])]


async def test_losses_are_told_once_and_the_end_drops_what_comes_after_it() -> None:
    ring: Ring[str] = Ring(LIMIT_BYTES)
    ring.put("old", 60)
    ring.put("new", 60)
    first = await ring.take()
    ring.put("next", 60)
    ring.end()
    ring.put("too late", 1)
    second = await ring.take()
    assert first is not None
    assert (first.lost, first.items) == (1, ["new"])
    assert second is not None
    assert (second.lost, second.items) == (0, ["next"])
    assert await ring.take() is None


async def test_an_item_larger_than_the_ring_is_told_as_lost_to_a_waiting_reader() -> None:
    ring: Ring[str] = Ring(LIMIT_BYTES)
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            batch = await ring.take()
            assert batch is not None
            assert (batch.lost, batch.items) == (1, [])

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        ring.put("huge", LIMIT_BYTES + 1)
