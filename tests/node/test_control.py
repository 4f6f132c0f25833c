"""One member answers for all: lists, what is wrong, and orders that reach whom they concern."""

from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio

from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.cluster.engine import Refused
from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.records import Own, Part, PartState, Why
from rtmsd.daemon.health import Trouble, TroubleCode
from rtmsd.node.control import ASK_S
from rtmsd.node.questions import CTL
from rtmsd.node.view import GONE_COUNTS_S
from rtmsd.recording.gather.errors import GatherError
from rtmsd.state.rows import Known
from rtmsd.streams.beginning import row_of
from tests.admin.fleet.crew import ended, live
from tests.cluster.crew import T0_MS, start
from tests.node.nodes import Nodes


async def refused(code: Code, words: str, ask: Callable[[], Awaitable[JsonObject]]) -> None:
    with pytest.raises(AdminError, match=words) as caught:
        await ask()
    assert caught.value.code is code


# Lists


async def test_each_member_lists_the_streams_of_all(nodes: Nodes) -> None:
    for name, node in nodes.items():
        await node.begin(f"{name}-1", f"{name}-2")
    for node in nodes.values():
        listed = await node.control.streams(include_ended=False)
        assert {(each["node"], each["rtms_stream_id"]) for each in listed["streams"]} == {
            (name, f"{name}-{number}") for name in "abc" for number in "12"
        }
        assert {(each["epoch"], each["state"], each["flags"]) for each in listed["streams"]} == {(1, "active", ())}
        assert listed["silent"] == {}


async def test_who_does_not_answer_is_named_in_time(nodes: Nodes) -> None:
    await nodes["b"].begin("b-1")
    await nodes["c"].begin("c-1")
    nodes.crew.engine.fail(Fault.DEAF, "c")
    began_s = trio.current_time()
    listed = await nodes["a"].control.streams(include_ended=False)
    assert trio.current_time() - began_s <= 2 * ASK_S
    assert [each["rtms_stream_id"] for each in listed["streams"]] == ["b-1"]
    assert list(listed["silent"]) == ["c"]
    status = await nodes["a"].control.status()
    assert [(each["code"], each["node"]) for each in status["wrong"]] == [("no_answer", "c")]


async def test_a_stream_is_listed_once_where_it_lives(nodes: Nodes) -> None:
    await nodes["a"].begin("s")
    nodes["b"].backend.more["s"] = ended("s", 5)
    [listed] = (await nodes["c"].control.streams(include_ended=True))["streams"]
    assert (listed["node"], listed["state"]) == ("a", "active")


async def test_flags(nodes: Nodes) -> None:
    a, b = nodes["a"], nodes["b"]
    await a.begin("held", "plain")
    a.health.slots = {"held"}
    b.backend.more = {"alone": live("alone"), "apart": ended("apart", 5)}
    b.ungathered = {"apart"}
    listed = (await nodes["c"].control.streams(include_ended=True))["streams"]
    assert {each["rtms_stream_id"]: each["flags"] for each in listed} == {
        "held": ("slot_held",),
        "plain": (),
        "alone": ("unclaimed",),
        "apart": ("ungathered",),
    }


async def test_a_stream_without_an_owner_is_an_orphan(nodes: Nodes) -> None:
    known = Known(row=row_of(start("s")))
    own = Own(rtms_stream_id="s", node="d", incarnation="dead", epoch=3, nonce="n", why=Why.STARTED, known=known)
    nodes.crew.engine.tables.claim(own, seen=0)
    [listed] = (await nodes["a"].control.streams(include_ended=False))["streams"]
    assert (listed["rtms_stream_id"], listed["node"], listed["epoch"]) == ("s", None, 3)
    assert (listed["flags"], listed["app"], listed["started_ms"]) == (("orphan",), "main", T0_MS)


# Status


async def test_nothing_is_wrong_with_three_that_live(nodes: Nodes) -> None:
    await nodes["b"].begin("b-1")
    await trio.sleep(2)
    status = await nodes["a"].control.status()
    assert status["wrong"] == []
    assert status["silent"] == {}
    assert [(each["node"], each["state"], each["streams"]) for each in status["members"]] == [
        ("a", "up", 0),
        ("b", "up", 1),
        ("c", "up", 0),
    ]
    assert status["engine"]["server"] == {"address": "n1:4222", "version": "2.11.4"}


async def test_a_member_that_died_is_wrong_and_one_that_was_drained_is_not(nodes: Nodes) -> None:
    nodes["b"].draining.drain()
    await trio.sleep(3)
    await nodes.kill("b")
    await nodes.kill("c")
    await trio.sleep(10)
    status = await nodes["a"].control.status()
    assert [(each["node"], each["state"]) for each in status["members"]] == [("a", "up"), ("b", "gone"), ("c", "gone")]
    assert [(each["code"], each["node"]) for each in status["wrong"]] == [("member_gone", "c")]


async def test_a_member_that_is_gone_for_long_is_no_news(nodes: Nodes) -> None:
    await nodes.kill("c")
    await trio.sleep(10)
    sightings = nodes["a"].heart.sightings
    sightings["c"] = attrs.evolve(sightings["c"], at_s=sightings["c"].at_s - GONE_COUNTS_S)
    status = await nodes["a"].control.status()
    assert [each["node"] for each in status["members"]] == ["a", "b"]
    assert status["wrong"] == []


async def test_troubles_of_all_are_told(nodes: Nodes) -> None:
    nodes["b"].health.troubles = [Trouble(TroubleCode.DISK_LOW, "3 bytes free")]
    status = await nodes["a"].control.status()
    assert status["wrong"] == [{"code": "disk_low", "detail": "3 bytes free", "node": "b"}]


# Orders


async def test_a_stream_elsewhere_is_stopped_there(nodes: Nodes) -> None:
    await nodes["b"].begin("9f2c-b")
    assert await nodes["a"].control.elsewhere("stop", "9f2c") == {"rtms_stream_id": "9f2c-b", "node": "b"}
    assert (await nodes["a"].control.elsewhere("stream", "9f2c-b"))["state"] == "active"
    await nodes["c"].control.elsewhere("reconnect", "9f2c")
    assert nodes["b"].backend.calls == [("stop", "9f2c-b"), ("reconnect", "9f2c-b")]
    assert nodes["a"].backend.calls == nodes["c"].backend.calls == []


async def test_media_stay_where_they_are(nodes: Nodes) -> None:
    await nodes["b"].begin("9f2c")
    await refused(Code.REFUSED_IN_STATE, "on node b: do this there", lambda: nodes["a"].control.elsewhere("tap", "9f"))


async def test_a_prefix_is_looked_up_in_all(nodes: Nodes) -> None:
    await nodes["b"].begin("9f2c-1")
    await nodes["c"].begin("9f2c-2")
    a = nodes["a"].control
    await refused(Code.AMBIGUOUS, "2 streams", lambda: a.elsewhere("stop", "9f2c"))
    await refused(Code.NO_SUCH_STREAM, "did you mean 9f2c-2", lambda: a.elsewhere("stop", "9f3c-2"))
    await refused(Code.NO_SUCH_STREAM, "no stream", lambda: a.elsewhere("stop", ""))
    nodes.crew.engine.fail(Fault.DEAF, "c")
    await refused(Code.TIMED_OUT, "node c does not answer", lambda: a.elsewhere("stop", "9f2c-2"))
    assert [node.backend.calls for node in nodes.values()] == [[], [], []]


async def test_a_refusal_comes_back_with_its_code(nodes: Nodes) -> None:
    await nodes["b"].begin("s")
    nodes["b"].backend.failure = AdminError(Code.REFUSED_IN_STATE, "stream s has ended")
    await refused(Code.REFUSED_IN_STATE, "b: stream s has ended", lambda: nodes["a"].control.elsewhere("stop", "s"))


async def test_an_order_without_an_answer_may_still_be_carried_out(nodes: Nodes) -> None:
    nodes.crew.engine.fail(Fault.DEAF, "b")
    await refused(Code.TIMED_OUT, "may still be carried out", lambda: nodes["a"].control.undrain("b"))


async def reported(nodes: Nodes, by: str, of: str) -> JsonObject:
    return next(each for each in (await nodes[by].control.status())["members"] if each["node"] == of)


async def test_drain_of_another_node(nodes: Nodes) -> None:
    nodes["b"].mate.lives.let_go_s = 2.0
    await nodes["b"].begin("b-1", "b-2")
    await trio.sleep(2)
    assert await nodes["a"].control.drain("b") == {"nodes": ["b"], "streams": 2}
    await trio.sleep(1.5)
    report = await reported(nodes, "c", "b")
    assert (report["state"], report["drain"]["running"]) == ("draining", True)
    await trio.sleep(3)
    report = await reported(nodes, "c", "b")
    assert report["drain"] == {"running": False, "moved": 2, "stayed": 0, "why": {}, "trouble": None}
    listed = (await nodes["b"].control.streams(include_ended=False))["streams"]
    assert {each["rtms_stream_id"]: each["epoch"] for each in listed} == {"b-1": 2, "b-2": 2}
    assert {each["node"] for each in listed} <= {"a", "c"}
    assert await nodes["c"].control.undrain("b") == {"nodes": ["b"]}
    await trio.sleep(1.5)
    report = await reported(nodes, "c", "b")
    assert (report["state"], report["drain"]) == ("up", None)


async def test_a_drain_is_refused_where_nobody_has_room(nodes: Nodes) -> None:
    await nodes["b"].begin("b-1")
    nodes["a"].draining.drain()
    nodes["c"].capacity = 0
    await trio.sleep(2)
    words = "no other member takes streams: a: it is draining; c: it has 0 of 0 streams"
    await refused(Code.REFUSED_IN_STATE, words, lambda: nodes["a"].control.drain("b"))
    assert not nodes["b"].is_draining
    assert await nodes["b"].control.drain("c") == {"nodes": ["c"], "streams": 0}  # which has none


async def test_move(nodes: Nodes) -> None:
    await nodes["b"].begin("9f2c")
    moved = {"rtms_stream_id": "9f2c", "from_node": "b", "node": "c"}
    assert await nodes["a"].control.move("9f", "c") == moved
    assert nodes.crew.owners("9f2c") == ["c"]
    moved = {"rtms_stream_id": "9f2c", "from_node": "c", "node": "b"}
    assert await nodes["c"].control.move("9f", "b") == moved  # of its own
    assert nodes.crew.owners("9f2c") == ["b"]


async def test_a_move_that_cannot_be_has_its_reason(nodes: Nodes) -> None:
    await nodes["b"].begin("9f2c")
    a = nodes["a"].control
    await refused(Code.NO_SUCH_NODE, "'x'", lambda: a.move("9f", "x"))
    await refused(Code.NO_SUCH_STREAM, "'no'", lambda: a.move("no", None))
    await refused(Code.REFUSED_IN_STATE, "is on member b already", lambda: a.move("9f", "b"))
    nodes["a"].capacity = nodes["c"].capacity = 0
    await trio.sleep(1.5)
    await refused(Code.REFUSED_IN_STATE, "b: no other member takes it; .*0 of 0", lambda: a.move("9f", None))
    assert nodes.crew.owners("9f2c") == ["b"]


# Gathering


def tell_part(nodes: Nodes, node: str, epoch: int, state: PartState) -> None:
    part = Part(rtms_stream_id="9f2c", node=node, token=epoch, epoch=epoch, state=state)
    nodes.crew.engine.tables.put_part(part)


async def test_who_has_the_end_of_a_stream_gathers(nodes: Nodes) -> None:
    joined = {"rtms_stream_id": "9f2c", "parts": ["x", "y"]}
    nodes["b"].backend.more["9f2c"] = ended("9f2c", 5)
    assert await nodes["a"].control.gather("9f") == {**joined, "node": "b"}
    tell_part(nodes, "a", 1, PartState.LET_GO)
    tell_part(nodes, "c", 2, PartState.ENDED)
    tell_part(nodes, "b", 3, PartState.DELETED)
    for node in nodes.values():  # one of which asks itself
        assert await node.control.gather("9f") == {**joined, "node": "c"}


async def test_of_a_stream_that_nobody_remembers_the_engine_knows_who_has_its_end(nodes: Nodes) -> None:
    a = nodes["a"].control
    await refused(Code.NO_SUCH_STREAM, "9f2c", lambda: a.gather("9f2c"))
    tell_part(nodes, "b", 1, PartState.DELETED)
    await refused(Code.NO_SUCH_STREAM, "9f2c", lambda: a.gather("9f2c"))
    tell_part(nodes, "c", 2, PartState.ENDED)
    assert (await a.gather("9f2c"))["node"] == "c"
    await refused(Code.NO_SUCH_STREAM, "9f", lambda: a.gather("9f"))  # it is found by the whole id alone
    await refused(Code.NO_SUCH_STREAM, "''", lambda: a.gather(""))


async def test_what_cannot_be_gathered_has_its_reason(nodes: Nodes) -> None:
    a = nodes["a"].control
    await nodes["b"].begin("77ab")
    await refused(Code.REFUSED_IN_STATE, "b: stream 77ab is being recorded", lambda: a.gather("77"))
    nodes["b"].backend.more["9f2c"] = ended("9f2c", 5)
    nodes["b"].gather_error = GatherError("node c: it is away")
    await refused(Code.REFUSED_IN_STATE, "b: node c: it is away", lambda: a.gather("9f"))
    nodes["b"].gather_error = OSError("no space left")
    await refused(Code.FAILED, "b: no space left", lambda: a.gather("9f"))
    tell_part(nodes, "d", 2, PartState.ENDED)
    await refused(Code.REFUSED_IN_STATE, "node d has the end of stream 9f2c, and is away", lambda: a.gather("9f"))
    nodes.crew.engine.fail(Fault.AWAY)
    nodes["a"].backend.more["9f2c"] = ended("9f2c", 5)
    await refused(Code.TIMED_OUT, "who has parts of 9f2c is not known", lambda: a.gather("9f"))


async def test_an_unknown_node_is_refused(nodes: Nodes) -> None:
    await refused(Code.NO_SUCH_NODE, "'x': a, b, c are", lambda: nodes["a"].control.drain("x"))


async def test_garbage_is_counted_and_not_obeyed(nodes: Nodes) -> None:
    for data in (b"", b"[]", b'{"kind": "shutdown"}'):
        with pytest.raises(Refused, match="cannot be read"):
            await nodes["a"].member.ask("b", CTL, data, timeout_s=1)
    assert nodes["b"].mate.garbage.counts["question"] == 3
    assert nodes["b"].backend.calls == []
    assert not nodes["b"].is_draining


async def test_an_answer_that_makes_no_sense_counts_as_none(nodes: Nodes) -> None:
    async def nonsense(data: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return b'{"answer": {"streams": 3}}'

    nodes["b"].member.serve(CTL, nonsense)
    await nodes["c"].begin("c-1")
    listed = await nodes["a"].control.streams(include_ended=False)
    assert [each["rtms_stream_id"] for each in listed["streams"]] == ["c-1"]
    assert listed["silent"] == {"b": "its answer cannot be read: ValidationError"}


async def test_the_engine_is_away(nodes: Nodes) -> None:
    await nodes["a"].begin("a-1")
    nodes.crew.engine.fail(Fault.AWAY)
    nodes["a"].engine.trouble = "no server answers"
    await trio.sleep(5)
    listed = await nodes["a"].control.streams(include_ended=False)
    assert [each["rtms_stream_id"] for each in listed["streams"]] == ["a-1"]
    assert set(listed["silent"]) == {"b", "c"}
    status = await nodes["a"].control.status()
    assert status["engine"]["trouble"] == "no server answers"
    assert status["wrong"] == []  # it is the engine's trouble that nobody answers
