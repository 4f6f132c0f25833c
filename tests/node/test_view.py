"""Troubles, findings and the engine, as a member sees them."""

from collections.abc import Mapping

import attrs
import pytest
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.engines.survey import Replica, Store, Survey
from rtmsd.cluster.life.heart import Heart
from rtmsd.cluster.parts.outstanding import LATE_S, LOOK_EVERY_S, Outstanding
from tests.node.nodes import ModelEngine, Node, Nodes

GOOD = Replica(server="n2")
WELL = Survey([Store(name=name, leader="n1", replicas=[GOOD], wanted=2, bytes=5) for name in ("A", "B")])


def troubles(node: Node) -> Mapping[str, str]:
    return {trouble.code.value: trouble.detail for trouble in node.view.troubles()}


async def test_no_trouble(nodes: Nodes) -> None:
    assert [troubles(node) for node in nodes.values()] == [{}, {}, {}]


async def test_alone(nodes: Nodes) -> None:
    await nodes.kill("b")
    await nodes.kill("c")
    await trio.sleep(10)
    assert [*troubles(nodes["a"])] == ["alone"]


async def test_before_it_has_listened_a_member_is_not_alone(nodes: Nodes) -> None:
    a = nodes["a"]
    young = Heart(a.member, a.mate.members, a.heart._liveness, describe=a.describe, clock_ms=lambda: 0)
    assert [*attrs.evolve(a.view, heart=young).troubles()] == []


async def test_the_engine_is_away(nodes: Nodes) -> None:
    a = nodes["a"]
    a.engine.trouble = "cluster.partitions is 3 here, but the cluster was made with 2"
    assert troubles(a) == {"engine_away": a.engine.trouble}
    [trouble] = attrs.evolve(a.view, engine=lambda: None).troubles()
    assert trouble.detail == "not connected to a server yet"


async def test_what_is_not_done_for_long(nodes: Nodes) -> None:
    a = nodes["a"]
    await trio.sleep(LOOK_EVERY_S)
    a.ungathered = {f"s{number}" for number in range(7)}
    a.unconfirmed = {"r1": {"b"}, "r2": {"b", "c"}, "r3": set()}
    await trio.sleep(LATE_S - 1)
    assert troubles(a) == {}
    await trio.sleep(LOOK_EVERY_S + 1)
    assert troubles(a) == {
        "ungathered": "7 not joined yet: s0, s1, s2, s3, s4, and 2 more",
        "unconfirmed_revocation": "2 revoked (r1, r2), not yet deleted by b, c",
    }
    a.ungathered, a.unconfirmed = {"new"}, {"r2": {"d"}}
    await trio.sleep(LOOK_EVERY_S + 1)
    assert troubles(a) == {}


async def test_confirmations_are_not_known_without_the_engine(nodes: Nodes) -> None:
    async def unknown(rtms_stream_id: str) -> list[str]:
        await trio.lowlevel.checkpoint()
        if is_away is None:
            raise ZeroDivisionError
        if is_away:
            raise Away("no answer")
        return ["b"]

    is_away: bool | None = False
    outstanding = Outstanding(ungathered=tuple, revoked=lambda: ["r"], unconfirmed=unknown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outstanding.run)
        await trio.sleep(LATE_S - 1)
        is_away = True
        await trio.sleep(LOOK_EVERY_S + 1)
        assert outstanding.unconfirmed == {"r": ["b"]}
        is_away = None  # a bug, which ends nothing
        await trio.sleep(LOOK_EVERY_S)
        assert outstanding.unconfirmed == {"r": ["b"]}
        nursery.cancel_scope.cancel()


@attrs.frozen
class Spool:
    waiting_bytes: int
    limit_bytes: int = 1000


@pytest.mark.parametrize(("waiting_bytes", "codes"), [(900, []), (901, ["spool_full"])])
async def test_the_spool_fills(nodes: Nodes, waiting_bytes: int, codes: list[str]) -> None:
    view = attrs.evolve(nodes["a"].view, spool=Spool(waiting_bytes))
    assert [trouble.code.value for trouble in view.troubles()] == codes


async def test_a_clock_that_differs(nodes: Nodes) -> None:
    nodes["b"].ahead_ms = 40_000
    await trio.sleep(3)
    [(code, detail)] = troubles(nodes["a"]).items()
    assert code == "clock"
    assert detail.startswith("clocks differ from this one: b by +")


async def test_a_permission_that_is_missing(nodes: Nodes) -> None:
    """Perhaps it is needed only when a stream is revoked, months later: that must not be the time when it is seen."""
    a = nodes["a"]
    await trio.sleep(3)
    a.engine.denied = ("publish to x: grant it", "publish to y: grant it")
    assert troubles(a) == {"permission_missing": "publish to x: grant it; publish to y: grant it"}
    a.engine.trouble = "no server answers"
    assert [*troubles(a)] == ["engine_away", "permission_missing"]


async def test_a_namesake(nodes: Nodes) -> None:
    a, b = nodes["a"], nodes["b"]
    await b.member.beat(attrs.evolve(a.describe(), incarnation="other", n=1))
    await trio.sleep(1)
    assert troubles(a) == {"namesake": "another process is called a, too"}


async def test_a_member_that_falls_silent(nodes: Nodes) -> None:
    await trio.sleep(0.5)  # half a beat: all have just beaten
    nodes.crew.engine.fail(Fault.FROZEN, "c")
    await trio.sleep(2)
    view = nodes["a"].view
    states = {member["node"]: member["state"] for member in view.members()}
    assert states == {"a": "up", "b": "up", "c": "silent"}
    assert [each["code"] for each in view.wrong(view.members(), Survey())] == ["member_silent"]
    nodes["a"].engine.trouble = "away"
    assert [*view.wrong(view.members(), Survey())] == []  # nobody is heard then


# The engine


LOST = Replica(server="n3", lag=4, is_offline=True, is_current=False)
BAD = Survey(
    [
        Store(
            name="A", leader="n1", replicas=[Replica(server="n3", lag=4, is_offline=True, is_current=False)], wanted=2
        ),
        Store(name="B", leader="n2", wanted=3),
    ],
    ["C"],
)


async def test_what_the_servers_say(nodes: Nodes) -> None:
    view = nodes["a"].view
    assert view.engine_json(WELL) == {
        "trouble": None,
        "server": {"address": "n1:4222", "version": "2.11.4"},
        "denied": [],
        "servers": ["n1", "n2"],
        "leaders": {"n1": 2},
        "behind": [],
        "bytes": 10,
    }
    assert view.engine_json(BAD)["behind"] == [{"stream": "A", "server": "n3", "lag": 4, "offline": True}]
    assert [*view.wrong([], WELL)] == []
    [found] = view.wrong([], BAD)
    assert found["detail"] == "B has 1 of 3 copies, C does not answer, n3 is offline"


async def test_an_engine_that_is_away_is_not_surveyed(nodes: Nodes) -> None:
    a = nodes["a"]
    a.engine.found = WELL
    assert await a.view.survey() == WELL
    a.engine.trouble = "no server answers"
    assert await a.view.survey() == Survey()
    assert a.view.engine_json(Survey())["bytes"] is None
    gone = attrs.evolve(a.view, engine=lambda: None)
    assert await gone.survey() == Survey()
    assert gone.engine_json(Survey())["server"] is None


# The doctor


async def test_findings_where_all_is_well(nodes: Nodes) -> None:
    nodes["a"].engine.found = WELL
    found = {each["check"]: (each["ok"], each["detail"], each["hint"]) for each in await nodes["a"].control.doctor()}
    assert found == {
        "engine": (True, "connected to n1:4222, version 2.11.4", ""),
        "permissions": (True, "none turned out to be missing", ""),
        "replicas": (True, "all are up to date", ""),
        "members": (True, "a, b, c heard", ""),
    }


async def test_findings_where_something_is_wrong(nodes: Nodes) -> None:
    view = nodes["a"].view
    words = "the servers deny the user of a the permission to publish to $JS.API.STREAM.PURGE.*: grant it"
    nodes["a"].engine.denied = (words,)
    found = {each.check: each for each in view.findings(BAD)}
    assert (found["permissions"].ok, found["permissions"].detail) == (False, words)
    assert found["replicas"].ok is False
    assert all(found[check].hint for check in ("permissions", "replicas"))


async def test_findings_without_an_engine(nodes: Nodes) -> None:
    mismatch = "cluster.partitions is 3 here, but the cluster was made with 2: use 2"
    lost = attrs.evolve(nodes["a"].view, engine=lambda: ModelEngine(trouble=mismatch, server=None))
    found = {each.check: (each.ok, each.detail) for each in lost.findings(Survey())}
    assert found["engine"] == (False, mismatch)
    assert [found[check][0] for check in ("permissions", "replicas", "members")] == [None, None, None]
