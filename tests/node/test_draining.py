"""An operator's order to drain, and what is known of it."""

import pytest
import trio

from rtmsd.cluster.rules import has_room
from rtmsd.node.draining import Draining
from rtmsd.node.questions import WHYS, DrainReport
from tests.node.nodes import ModelHandover, Nodes, Passage, Result


async def test_a_drain_is_known_while_it_runs_and_afterwards(nodes: Nodes) -> None:
    b = nodes["b"]
    await b.begin("s1", "s2")
    b.draining.drain()
    assert b.is_draining
    assert b.draining.report == DrainReport(running=True)
    await trio.sleep(1.5)
    assert not has_room(nodes["a"].mate.members.living()["b"])
    await trio.sleep(1)
    assert b.draining.report == DrainReport(running=False, moved=2)


async def test_what_stayed_has_its_reason_and_may_be_tried_again(nodes: Nodes) -> None:
    b = nodes["b"]
    await b.begin("s1")
    b.handover.to = None
    b.draining.drain()
    await trio.sleep(3)
    assert b.draining.report == DrainReport(running=False, stayed=1, why={"s1": "nobody has room"})
    b.handover.to = "a"
    b.draining.drain()
    assert b.draining.report == DrainReport(running=True)
    await trio.sleep(3)
    assert b.draining.report == DrainReport(running=False, moved=1)


async def test_a_second_order_does_not_begin_a_second_drain(nodes: Nodes) -> None:
    b = nodes["b"]
    await b.begin("s1")
    b.draining.drain()
    await trio.sleep(1.5)
    b.draining.drain()
    await trio.sleep(1)  # the first has had its two seconds
    assert b.draining.report == DrainReport(running=False, moved=1)


async def test_an_order_that_is_taken_back_ends_the_drain(nodes: Nodes) -> None:
    b = nodes["b"]
    await b.begin("s1")
    b.draining.drain()
    await trio.sleep(1)
    b.draining.undrain()
    assert not b.is_draining
    await trio.sleep(0.1)
    b.draining.drain()  # and begun anew, it is another
    await trio.sleep(1.5)
    assert b.draining.report == DrainReport(running=True)
    await trio.sleep(1)
    assert b.draining.report == DrainReport(running=False, moved=1)


class Failing(ModelHandover):
    async def drain(self, for_s: float) -> Result:
        raise ZeroDivisionError


class Ending(ModelHandover):
    async def drain(self, for_s: float) -> Result:
        await trio.lowlevel.checkpoint()
        stay = {f"s{number}": Passage(why="no") for number in range(2 * WHYS)}
        return Result({"e": Passage(), **stay})


@pytest.mark.parametrize(
    ("handover", "stayed", "whys", "has_trouble"), [(Failing, 0, 0, True), (Ending, 2 * WHYS, WHYS, False)]
)
async def test_whatever_becomes_of_it_it_comes_to_an_end(
    nodes: Nodes, handover: type[ModelHandover], stayed: int, whys: int, has_trouble: bool
) -> None:
    async with trio.open_nursery() as nursery:
        draining = Draining(handover(nodes["b"].mate), take_none=lambda on: None, for_s=60, nursery=nursery)
        draining.drain()
    report = draining.report
    assert report is not None
    assert (report.running, report.moved, report.stayed, len(report.why)) == (False, 0, stayed, whys)
    assert (report.trouble is not None) == has_trouble
