"""The table of the living."""

import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.members import GIVEN_S, Member, Members

ME = Member(node="1", incarnation="a")
OTHER = Member(node="2", incarnation="b", streams=5)


async def test_who_is_missing_or_lives_another_life_died() -> None:
    members = Members(ME, lambda: 0)
    members.update([ME, OTHER])
    assert members.incarnations() == {"a", "b"}
    assert members.deaths == 0
    members.update([Member(node="2", incarnation="c")])
    assert members.deaths == 1
    members.update([ME])
    assert members.deaths == 2
    assert members.living() == {"1": ME}


async def test_i_live_whatever_others_say() -> None:
    members = Members(ME, lambda: 0)
    members.update([Member(node="1", incarnation="impostor"), OTHER])
    members.died("a")
    assert members.me == ME
    assert members.deaths == 0


async def test_a_death_is_counted_once() -> None:
    members = Members(ME, lambda: 0)
    members.update([ME, OTHER])
    members.died("b")
    members.died("b")
    members.update([ME])
    assert members.deaths == 1
    with trio.fail_after(60):
        assert await members.wait_death(0) == 1


async def test_who_waits_for_a_death_hears_of_it() -> None:
    members = Members(ME, lambda: 0)
    members.update([ME, OTHER])
    heard: list[int] = []

    async def wait() -> None:
        heard.append(await members.wait_death(0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        members.died("b")
    assert heard == [1]


async def test_what_was_given_counts_until_the_member_says_so() -> None:
    members = Members(ME, lambda: 0)
    members.update([ME, OTHER])
    members.give("2")
    members.give("2")
    assert members.living()["2"].streams == 7
    await trio.sleep(GIVEN_S)
    assert members.living()["2"].streams == 5


async def test_what_is_done_with_a_member_ends_with_its_life(autojump_clock: MockClock) -> None:
    members = Members(ME, lambda: 0)
    members.update([ME, OTHER, Member(node="3", incarnation="c")])
    ended_s: dict[str, float] = {}

    async def deal(node: str) -> None:
        with members.while_living(node):
            await trio.sleep(10)
        ended_s[node] = trio.current_time() - began_s

    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for node in ("1", "2", "3", "4"):
            nursery.start_soon(deal, node)
        await trio.sleep(1)
        members.update([ME, OTHER, Member(node="3", incarnation="d")])
        await trio.sleep(1)
        members.died("b")
    assert ended_s == pytest.approx({"1": 10, "2": 2, "3": 1, "4": 0})
    assert not members._dealings
