"""The metrics of a member, as Prometheus reads them."""

from collections import Counter

import attrs
import trio
from prometheus_client.parser import text_string_to_metric_families

from rtmsd.admin.fleet.kept import APART
from rtmsd.admin.fleet.samples import RULES, merged, parsed
from rtmsd.admin.metrics import Metrics, Totals
from rtmsd.cluster.keeping.appender import Result
from rtmsd.cluster.takeover import RESULTS
from rtmsd.node.metrics import ClusterMetrics, Times
from tests.node.nodes import Node, Nodes
from tests.node.test_view import Spool


def metrics_of(node: Node) -> ClusterMetrics:
    return ClusterMetrics(
        view=attrs.evolve(node.view, spool=Spool(70)),
        ownership=node.mate.ownership,
        health=node.health,
        lives=node.mate.lives,
        takeover=node.mate.takeover,
        forwarded=node.mate.router.forwarded,
        handed_over=node.mate.handover.results,
        appended=Counter(dict.fromkeys(Result, 0)),
        garbage=node.mate.garbage.counts,
        times=Times(),
        fenced=lambda: node.fenced,
    )


def samples(of: ClusterMetrics) -> dict[tuple[str, tuple[str, ...]], float]:
    metrics = Metrics(Totals)
    metrics.add(of)
    return read(metrics.render().decode())


def read(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (
            sample.name.removeprefix("rtmsd_cluster_"),
            tuple(sample.labels[name] for name in sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        if family.name.startswith("rtmsd_cluster")
        for sample in family.samples
    }


async def test_all_series_are_there_from_the_start(nodes: Nodes) -> None:
    found = samples(metrics_of(nodes["a"]))
    zero = {key for key, value in found.items() if value == 0}
    assert {labels for name, labels in found if name == "members"} == {
        (state,) for state in ("starting", "up", "draining", "silent", "gone")
    }
    assert {
        ("takeovers_total", (result, why)) for why in ("resumed", "died", "unreachable") for result in RESULTS
    } <= zero
    assert {("forwarded_total", ("answered",)), ("appends_total", ("spooled",)), ("fenced_total", ())} <= zero
    assert {("unreadable_total", (kind,)) for kind in ("command", "verdict", "offer", "question", "row")} <= zero
    assert (found["members", ("up",)], found["engine_up", ()], found["spool_bytes", ()]) == (3, 1, 70)


async def test_what_happens_is_counted(nodes: Nodes) -> None:
    a = nodes["a"]
    metrics = metrics_of(a)
    await a.begin("s1", "s2")
    await nodes["c"].begin("s3")
    await nodes.kill("c")
    await trio.sleep(15)
    a.health.slots = ["s1"]
    a.engine.trouble = "away"
    a.engine.unreadable = {"row": 2, "question": 1}
    a.mate.garbage.counts["question"] = 3
    a.fenced = 1
    metrics.times.append.observe(0.003)
    metrics.times.takeover.observe(3.2)
    found = samples(metrics)
    assert found["members", ("gone",)] == 1
    assert found["owned_streams", ()] == len(a.mate.streams) >= 2
    assert (found["slot_held_streams", ()], found["engine_up", ()], found["fenced_total", ()]) == (1, 0, 1)
    assert (found["append_seconds_count", ()], found["takeover_seconds_bucket", ("4.0",)]) == (1, 1)
    assert found["takeovers_total", ("taken", "died")] == len(a.mate.streams) - 2
    assert found["unclaimed_streams", ()] == 0
    assert (found["unreadable_total", ("row",)], found["unreadable_total", ("question",)]) == (2, 4)


async def test_those_of_workers_are_joined_to_those_of_one(of_two_machines: Nodes) -> None:
    """As Prometheus reads them: what all see is not added up, what each has is."""
    one, two, other = of_two_machines.values()
    await one.begin("s1", "s2")
    await two.begin("s3")
    two.engine.trouble = "away"
    await of_two_machines.kill("b.1")
    await trio.sleep(15)
    texts = {}
    for worker, node in (("1", one), ("2", two)):
        metrics = Metrics(Totals)
        metrics.add(each := metrics_of(node))
        each.times.append.observe(0.003)
        texts[worker] = parsed(metrics.render().decode())
    found = read(merged(texts, (), (), disks=APART))
    assert other.mate.node == "b.1"
    assert (found["members", ("up",)], found["members", ("gone",)]) == (2, 1)
    assert (found["owned_streams", ()], found["engine_up", ()]) == (3, 0)
    assert (found["append_seconds_count", ()], found["append_seconds_bucket", ("0.005",)]) == (2, 2)
    assert found["spool_bytes", ()] == 140
    assert {labels for name, labels in found if name == "takeovers_total"} == {
        (result, why) for why in ("resumed", "died", "unreachable") for result in RESULTS
    }


async def test_workers_know_how_to_join_them(nodes: Nodes) -> None:
    names = {family.name for family in metrics_of(nodes["a"]).collect()}
    known = {name.removesuffix("_total") for name in RULES if name.startswith("rtmsd_cluster")}
    assert names == known
