"""The metrics of a member. No label holds an id or a node: the number of series must stay bounded."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, Protocol

import attrs
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from rtmsd.admin.metrics import Histogram, filled
from rtmsd.cluster.records import MemberState, Why
from rtmsd.node.view import GONE, SILENT, View

TAKEOVER_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
APPEND_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Ownership(Protocol):
    @property
    def mine(self) -> Collection[str]: ...


class Takeover(Protocol):
    @property
    def results(self) -> Mapping[tuple[Why, str], int]: ...


class Health(Protocol):
    def held_slots(self) -> Collection[str]: ...


class Lives(Protocol):
    @property
    def streams(self) -> Collection[str]: ...


@attrs.frozen
class Times:
    """How long things took.

    Attributes:
        takeover: from a death, or the start, to each claim.
        append: what the engine took for an append.
    """

    takeover: Histogram = attrs.field(factory=lambda: Histogram(TAKEOVER_BOUNDS_S))
    append: Histogram = attrs.field(factory=lambda: Histogram(APPEND_BOUNDS_S))


@attrs.define(kw_only=True, eq=False)
class ClusterMetrics(Collector):
    """What a member counts, under public names.

    Attributes:
        forwarded: webhooks, by what became of them: `Router.forwarded`.
        handed_over: streams, by what became of them.
        appended: lines, by what became of them: `Appender.results`; empty: none are appended.
        garbage: messages of others that cannot be read, by kind: `Garbage.counts`.
        fenced: returns how often a stream turned out to be another member's.
    """

    view: View
    ownership: Ownership
    health: Health
    lives: Lives
    takeover: Takeover
    forwarded: Mapping[str, int]
    handed_over: Mapping[Any, int]
    appended: Mapping[Any, int]
    garbage: Mapping[str, int]
    times: Times
    fenced: Callable[[], int]

    def collect(self) -> Iterator[Metric]:
        gauge, counter = GaugeMetricFamily, CounterMetricFamily  # a counter's samples get the suffix `_total`
        every_state = dict.fromkeys([*map(str, MemberState), SILENT, GONE], 0)
        states = Counter(str(member["state"]) for member in self.view.members())
        yield filled(
            gauge("rtmsd_cluster_members", "Members that were heard, by state.", labels=["state"]),
            every_state | states,
        )
        mine, lives = set(self.ownership.mine), set(self.lives.streams)
        yield gauge("rtmsd_cluster_owned_streams", "Streams that this member owns.", len(mine))
        yield gauge("rtmsd_cluster_unclaimed_streams", "Streams that the engine does not know yet.", len(lives - mine))
        held = len(self.health.held_slots())
        yield gauge("rtmsd_cluster_slot_held_streams", "Streams whose slot at Zoom another connection has.", held)
        yield gauge("rtmsd_cluster_engine_up", "1: the engine can be used.", int(self.view.is_engine_up))
        if (rtt_s := self.view.heart.rtt_s) is not None:
            yield gauge("rtmsd_cluster_engine_rtt_seconds", "Time that the latest own beat took to come back.", rtt_s)
        yield filled(
            counter("rtmsd_cluster_takeovers", "Claims of streams that lost their owner.", labels=["why", "result"]),
            {(why.value, result): number for (why, result), number in self.takeover.results.items()},
        )
        yield self.times.takeover.family("rtmsd_cluster_takeover_seconds", "From a death, or the start, to a claim.")
        for name, help_text, values in (
            ("handed_over", "Streams that were to be handed over.", _by_value(self.handed_over)),
            ("forwarded", "Webhooks for streams of other members.", self.forwarded),
            ("appends", "Lines for the engine's log.", _by_value(self.appended)),
        ):
            yield filled(counter(f"rtmsd_cluster_{name}", help_text, labels=["result"]), values)
        yield self.times.append.family("rtmsd_cluster_append_seconds", "Time that the engine took for an append.")
        yield filled(
            counter("rtmsd_cluster_unreadable", "Messages and records that cannot be read.", labels=["message"]),
            _sum(self.garbage, self.view.unreadable),
        )
        yield counter("rtmsd_cluster_fenced", "Streams that turned out to be another member's.", self.fenced())
        spool_bytes = 0 if self.view.spool is None else self.view.spool.waiting_bytes
        yield gauge("rtmsd_cluster_spool_bytes", "Lines that wait for the engine.", spool_bytes)


def _sum(*counts: Mapping[str, int]) -> Counter[str]:
    """Return the sums by name, those that are 0 too."""
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def _by_value(counts: Mapping[Any, int]) -> dict[str, int]:
    """Return the counts of members of an enum by their values."""
    return {str(each.value): number for each, number in counts.items()}
