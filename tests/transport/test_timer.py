"""The timer for short rests."""

import trio

from rtmsd.transport.timer import Timer


async def test_a_rest_has_its_length_and_other_tasks_run_meanwhile() -> None:
    timer = Timer()
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            await trio.lowlevel.checkpoint()
            others += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(3):
            began_s = trio.current_time()
            await timer.rest(0.0005)
            assert trio.current_time() - began_s >= 0.0005
        nursery.cancel_scope.cancel()
    timer.close()
    assert others > 0


async def test_a_rest_can_be_cancelled() -> None:
    timer = Timer()
    with trio.CancelScope() as scope:
        scope.cancel()
        await timer.rest(3600)
    assert scope.cancelled_caught
    await timer.rest(0.0001)  # and the timer used again
    timer.close()
    timer.close()
