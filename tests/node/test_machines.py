"""Members that are workers of one machine: it is named as a whole, and drained as one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
import trio

from rtmsd.admin.fleet.kept import APART
from rtmsd.admin.messages import AdminError, Code
from rtmsd.daemon.health import Trouble, TroubleCode
from rtmsd.node.questions import CTL, Drain, encode_question
from tests.admin.fleet.crew import Worker, workers
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


# One admin socket


@pytest.fixture
async def at_one_socket(of_two_machines: Nodes, tmp_path: Path) -> AsyncIterator[list[Worker]]:
    """The workers of `a`; each of the three members has a stream."""
    nodes = of_two_machines
    for name, node in nodes.items():
        node.backend.cluster = node.control
        await node.begin(f"s-{name}")
    await trio.sleep(2)
    async with workers(tmp_path, nodes["a.1"].backend, nodes["a.2"].backend, disks=APART) as crew:
        yield crew


async def test_a_stream_is_found_wherever_it_is(at_one_socket: list[Worker], of_two_machines: Nodes) -> None:
    for worker in at_one_socket:
        listed = [(each["rtms_stream_id"], each["worker"]) for each in await worker.json("GET /v1/streams")]
        assert sorted(listed) == [("s-a.1", "1"), ("s-a.2", "2")]
        listed = (await worker.json("GET /v1/cluster/streams"))["streams"]
        assert sorted(each["node"] for each in listed) == ["a.1", "a.2", "b.1"]
        assert (await worker.json("GET /v1/streams/s-a.2"))["worker"] == "2"
        for name in of_two_machines:
            assert (await worker.json(f"POST /v1/streams/s-{name}/stop"))["rtms_stream_id"] == f"s-{name}"
    for name, node in of_two_machines.items():
        assert node.backend.calls == [("stop", f"s-{name}")] * 2
    refused = await at_one_socket[0].json("GET /v1/streams/s-b.1/tap")
    assert (refused["code"], refused["detail"]) == ("refused_in_state", "stream s-b.1 is on node b.1: do this there")


async def test_any_worker_answers_for_the_cluster(at_one_socket: list[Worker], of_two_machines: Nodes) -> None:
    of_two_machines["a.2"].health.troubles = [Trouble(TroubleCode.DISK_LOW, "3 bytes free")]
    for worker in at_one_socket:
        answered = await worker.json("GET /v1/cluster")
        assert [each["node"] for each in answered["members"]] == ["a.1", "a.2", "b.1"]
        assert answered["wrong"] == [{"code": "disk_low", "detail": "3 bytes free", "node": "a.2"}]
    assert (await at_one_socket[0].json("POST /v1/cluster/nodes/a/drain"))["nodes"] == ["a.1", "a.2"]
    assert await at_one_socket[1].json("POST /v1/cluster/nodes/a/undrain") == {"nodes": ["a.1", "a.2"]}
