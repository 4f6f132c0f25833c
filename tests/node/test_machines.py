"""Members that are workers of one machine: it is named as a whole, and drained as one."""

import pytest
import structlog
import trio

from rtmsd.admin.messages import AdminError, Code
from rtmsd.node.questions import CTL, Drain, encode_question
from tests.node.nodes import Nodes

STREAMS = tuple(f"s{number}" for number in range(8))


async def test_a_machine_is_drained_as_a_whole(of_two_machines: Nodes) -> None:
    one, two, other = of_two_machines.values()
    await one.begin(*STREAMS)
    await trio.sleep(2)
    with structlog.testing.capture_logs() as logged:
        assert await other.control.drain("a") == {"nodes": ["a.1", "a.2"], "streams": len(STREAMS)}
    assert [each["node"] for each in logged if each["event"] == "order of another member"] == ["a", "a"]
    await trio.sleep(3)
    assert other.mate.streams == set(STREAMS)
    assert {other.mate.ownership.mine[name].epoch for name in STREAMS} == {2}
    members = {each["node"]: each["state"] for each in (await other.control.status())["members"]}
    assert members == {"a.1": "draining", "a.2": "draining", "b.1": "up"}
    assert await two.control.undrain("a") == {"nodes": ["a.1", "a.2"]}
    assert (one.is_draining, two.is_draining) == (False, False)


async def test_nothing_is_given_to_a_member_that_is_to_be_drained_next(of_two_machines: Nodes) -> None:
    """It would have to give it away again."""
    one, two, other = of_two_machines.values()
    await one.begin(*STREAMS)
    await trio.sleep(2)
    await other.member.ask("a.1", CTL, encode_question(Drain("a")), timeout_s=1)  # a.2 has not heard of it yet
    await trio.sleep(3)
    assert (two.mate.streams, other.mate.streams) == (set(), set(STREAMS))


async def test_one_member_of_a_machine_is_drained(of_two_machines: Nodes) -> None:
    one, two, other = of_two_machines.values()
    await one.begin(*STREAMS)
    await trio.sleep(2)
    assert await other.control.drain("a.1") == {"nodes": ["a.1"], "streams": len(STREAMS)}
    await trio.sleep(3)
    assert two.mate.streams | other.mate.streams == set(STREAMS)
    assert two.mate.streams  # it is as good as any other
    assert not two.is_draining


async def test_a_machine_without_another_is_not_drained(of_two_machines: Nodes) -> None:
    one, two, other = of_two_machines.values()
    await one.begin("s")
    other.capacity = 0
    await trio.sleep(2)
    with pytest.raises(AdminError, match=r"no other member takes streams: b\.1: it has 0 of 0 streams") as caught:
        await two.control.drain("a")
    assert caught.value.code is Code.REFUSED_IN_STATE
    assert (one.is_draining, two.is_draining) == (False, False)


async def test_a_stream_is_moved_to_a_machine(of_two_machines: Nodes) -> None:
    one, two, other = of_two_machines.values()
    await other.begin("s")
    moved = await other.control.move("s", "a")
    assert (moved["from_node"], moved["node"]) in {("b.1", "a.1"), ("b.1", "a.2")}
    with pytest.raises(AdminError, match=f"stream s is on member {moved['node']} already"):
        await one.control.move("s", "a")
    assert one.mate.streams | two.mate.streams == {"s"}
