"""The pace of a drain: few at a time of those that are quick, more of those that wait, and never too many."""

import pytest
import trio

from rtmsd.cluster.handover.pacing import FEW, MOST, STEP_S, Pace


async def most_at_once(number: int, each_s: float) -> tuple[int, float]:
    """Return how many of a number were under way at once, and how long all took."""
    pace, now, most, began_s = Pace(), 0, 0, trio.current_time()

    async def hand_over() -> None:
        nonlocal now, most
        async with pace.place():
            now += 1
            most = max(most, now)
            await trio.sleep(each_s)
            now -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(number):
            nursery.start_soon(hand_over)
    return most, trio.current_time() - began_s


async def test_quick_ones_are_few_at_a_time_and_follow_at_once(autojump_clock: object) -> None:
    most, took_s = await most_at_once(40, STEP_S / 2)
    assert most == FEW
    assert took_s == pytest.approx(40 / FEW * STEP_S / 2)


async def test_thirty_of_which_each_takes_a_second_are_over_in_three(autojump_clock: object) -> None:
    most, took_s = await most_at_once(30, 1.3)
    assert most > FEW
    assert took_s < 3


async def test_never_too_many_however_long_they_take(autojump_clock: object) -> None:
    most, _ = await most_at_once(3 * MOST, 60)
    assert most == MOST


async def test_who_leaves_the_line_holds_up_nobody(autojump_clock: object) -> None:
    pace, served = Pace(), list[int]()

    async def hand_over(number: int, patience_s: float) -> None:
        with trio.move_on_after(patience_s):
            async with pace.place():
                served.append(number)
                await trio.sleep(60)

    async with trio.open_nursery() as nursery:
        for number in range(FEW):
            nursery.start_soon(hand_over, number, 10)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(hand_over, FEW, STEP_S / 2)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(hand_over, FEW + 1, 10)
    assert sorted(served) == [*range(FEW), FEW + 1]
    assert not pace._taken
