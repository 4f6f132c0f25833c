"""The move of one stream, and what is said where it is not moved."""

from collections.abc import AsyncIterator

import pytest
import trio

from rtmsd.cluster.handover.passages import NotMoved
from rtmsd.cluster.rules import rank
from rtmsd.commands import Verdict
from tests.cluster.crew import Crew, a_crew, start, stop


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    """Four members, two of them workers of one machine; "1" has a stream."""
    async with a_crew("1", "2", "b.1", "b.2") as crew:
        for mate in crew.mates.values():
            mate.lives.let_go_s = 0.5
        await crew.mates["1"].ownership.accept(start())
        await trio.sleep(1)
        yield crew


async def moved(crew: Crew, to: str) -> None:
    await trio.sleep(1)
    assert crew.owners("s") == [to]
    assert crew.mates[to].connected == {"s"}
    assert not crew.zoom.refused


async def test_to_a_named_member(crew: Crew) -> None:
    assert await crew.mates["1"].handover.move("s", "b.2") == "b.2"
    await moved(crew, "b.2")


async def test_to_a_machine(crew: Crew) -> None:
    best = rank(["b.1", "b.2"], "s")[0]
    assert await crew.mates["1"].handover.move("s", "b") == best
    await moved(crew, best)


async def test_to_the_best(crew: Crew) -> None:
    best = rank(["2", "b.1", "b.2"], "s")[0]
    assert await crew.mates["1"].handover.move("s") == best
    await moved(crew, best)


async def test_there_and_back(crew: Crew) -> None:
    for epoch in range(2, 6):
        giver, taker = ("1", "2") if epoch % 2 == 0 else ("2", "1")
        assert await crew.mates[giver].handover.move("s", taker) == taker
        await moved(crew, taker)
        assert crew.mates[taker].ownership.mine["s"].epoch == epoch


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ("1", "stream s is on member 1 already"),
        ("c", "no member c is up; others that are: 2, b.1, b.2"),
        ("b.3", "no member b.3 is up"),
        ("2", "2: it is draining"),
    ],
)
async def test_why_it_is_not_moved_there(crew: Crew, node: str, why: str) -> None:
    crew.drain("2")
    with pytest.raises(NotMoved, match=why):
        await crew.mates["1"].handover.move("s", node)
    await moved(crew, "1")


async def test_why_it_is_not_moved_at_all(crew: Crew) -> None:
    with pytest.raises(NotMoved, match="stream t is not on this member"):
        await crew.mates["1"].handover.move("t")
    with pytest.raises(NotMoved, match="stream s is not on this member"):
        await crew.mates["2"].handover.move("s")
    crew.capacity = 1
    crew.mates["2"].lives.refuses = "disk is full"
    crew.drain("b.1")
    crew.drain("b.2")
    with pytest.raises(NotMoved) as raised:
        await crew.mates["1"].handover.move("s")
    assert sorted(str(raised.value).split("; ")[1:]) == [
        "2: disk is full",
        "b.1: it is draining",
        "b.2: it is draining",
    ]
    await moved(crew, "1")


async def test_one_whose_files_cannot_be_written_is_taken_up_again_when_they_are(crew: Crew) -> None:
    one = crew.mates["1"]
    one.lives.let_go_s = 60
    with pytest.raises(NotMoved, match="its files were not written within 10 s"):
        await one.handover.move("s", "2")
    await trio.sleep(51)
    await moved(crew, "1")


async def test_one_that_ends_before_it_is_let_go(crew: Crew) -> None:
    one = crew.mates["1"]
    one.lives.finish_s = 5
    assert await one.router.accept(stop()) is Verdict.NEW
    with pytest.raises(NotMoved, match="stream s has ended"):
        await one.handover.move("s", "2")
    assert not crew.mates["2"].streams


async def test_one_that_ends_while_the_other_is_asked(crew: Crew) -> None:
    crew.engine.delay_s = 0.2
    one = crew.mates["1"]
    one.lives.finish_s = 5

    async def end() -> None:
        await trio.sleep(0.5)
        assert await one.router.accept(stop()) is Verdict.NEW

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(NotMoved, match="stream s has ended"):
            await one.handover.move("s", "2")
    await trio.sleep(10)
    assert not any(mate.streams for mate in crew.mates.values())
    assert crew.state("s") == ("1", False)


async def test_one_that_was_begun_without_the_engine_is_claimed_first(crew: Crew) -> None:
    one = crew.mates["1"]
    one.lives.act(start("t"))
    one.ownership.hold("t", 0, 0)
    with pytest.raises(NotMoved, match="not claimed yet"):
        await one.handover.move("t", "2")
    assert "t" in one.streams


async def test_two_who_move_it_at_once_agree(crew: Crew) -> None:
    moved_to: list[str] = []

    async def move(node: str) -> None:
        moved_to.append(await crew.mates["1"].handover.move("s", node))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(move, "2")
        nursery.start_soon(move, "b.1")
    assert len(set(moved_to)) == 1
    await moved(crew, moved_to[0])
