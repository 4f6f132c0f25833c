"""An operator's order to drain, and what is known of it."""

import pytest
import trio

from rtmsd.cluster.handover.handover import Handover
from rtmsd.cluster.handover.passages import DrainResult, Fate, Passage
from rtmsd.cluster.rules import has_room
from rtmsd.node.draining import Draining
from rtmsd.node.questions import WHYS, DrainReport
from tests.node.nodes import Nodes


@pytest.fixture
async def nodes(nodes: Nodes) -> Nodes:
    """With two streams of `b`, and files there that take two seconds to be suspended."""
    b = nodes["b"]
    b.mate.lives.let_go_s = 2.0
    await b.begin("s1", "s2")
    return nodes


async def test_a_drain_is_known_while_it_runs_and_afterwards(nodes: Nodes) -> None:
    b = nodes["b"]
    b.draining.drain()
    assert b.is_draining
    assert b.draining.report == DrainReport(running=True)
    await trio.sleep(1.5)
    assert not has_room(nodes["a"].mate.members.living()["b"])
    await trio.sleep(2)
    assert b.draining.report == DrainReport(running=False, moved=2)
    assert b.mate.streams == set()


async def test_what_stayed_has_its_reason_and_may_be_tried_again(nodes: Nodes) -> None:
    a, b, c = nodes.values()
    a.capacity = c.capacity = 0
    await trio.sleep(1.5)
    b.draining.drain()
    await trio.sleep(3)
    full = "it has 0 of 0 streams"
    report = b.draining.report
    assert report is not None
    assert (report.running, report.moved, report.stayed, set(report.why)) == (False, 0, 2, {"s1", "s2"})
    assert f"a: {full}" in report.why["s1"]
    assert f"c: {full}" in report.why["s1"]
    a.capacity = 10
    await trio.sleep(1.5)
    b.draining.drain()
    assert b.draining.report == DrainReport(running=True)
    await trio.sleep(4)
    assert b.draining.report == DrainReport(running=False, moved=2)


async def test_a_second_order_does_not_begin_a_second_drain(nodes: Nodes) -> None:
    b = nodes["b"]
    b.draining.drain()
    await trio.sleep(1.5)
    b.draining.drain()
    await trio.sleep(1)  # the first has had its two seconds
    assert b.draining.report == DrainReport(running=False, moved=2)


async def test_an_order_that_is_taken_back_ends_the_drain(nodes: Nodes) -> None:
    b = nodes["b"]
    b.draining.drain()
    b.draining.undrain()
    await trio.sleep(4)
    assert b.draining.report is None
    assert not b.is_draining
    assert b.mate.streams == {"s1", "s2"}
    b.draining.drain()  # and begun anew, it is another
    await trio.sleep(4)
    assert b.draining.report == DrainReport(running=False, moved=2)


class Failing(Handover):
    async def drain(self, for_s: float, but: str | None = None) -> DrainResult:
        raise ZeroDivisionError


class Staying(Handover):
    async def drain(self, for_s: float, but: str | None = None) -> DrainResult:
        await trio.lowlevel.checkpoint()
        stay = {f"s{number}": Passage(Fate.STAYED, why="no") for number in range(2 * WHYS)}
        return DrainResult({"e": Passage(Fate.ENDED), **stay})


@pytest.mark.parametrize(
    ("kind", "stayed", "whys", "has_trouble"), [(Failing, 0, 0, True), (Staying, 2 * WHYS, WHYS, False)]
)
async def test_whatever_becomes_of_it_it_comes_to_an_end(
    nodes: Nodes, kind: type[Handover], stayed: int, whys: int, has_trouble: bool
) -> None:
    b = nodes["b"]
    handover = kind(b.mate.members, b.member, b.mate.ownership, b.mate.lives)
    async with trio.open_nursery() as nursery:
        draining = Draining(handover, take_none=lambda on: None, for_s=60, nursery=nursery)
        draining.drain()
    report = draining.report
    assert report is not None
    assert (report.running, report.moved, report.stayed, len(report.why)) == (False, 0, stayed, whys)
    assert (report.trouble is not None) == has_trouble
