"""The metrics of all workers as those of one daemon. Pure: Prometheus texts in, one text out.

The texts are joined as lines. All are written by one program, so that a sample is known by what stands before its
value, and nothing in there has to be understood; a library that parses it would take the event loop ten times as long.
"""

import enum
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final

import attrs

from rtmsd.admin.fleet.kept import SHARED, Disks
from rtmsd.admin.fleet.reading import Unreadable
from rtmsd.admin.fleet.status import WORKER_SILENT

MAX_LIVES: Final = 16
"""So many ended lives of workers are remembered; past it the oldest is forgotten, and the totals begin anew once."""


class Rule(enum.Enum):
    """How samples of several workers become one."""

    SUM = "sum"
    MOST = "most"
    LEAST = "least"
    EACH = "each"  # they do not: each gets the label `worker`


RULES: Final[Mapping[str, Rule]] = {
    "rtmsd_build_info": Rule.MOST,
    "rtmsd_streams": Rule.SUM,
    "rtmsd_streams_ended_total": Rule.SUM,
    "rtmsd_media_messages_total": Rule.SUM,
    "rtmsd_media_bytes_total": Rule.SUM,
    "rtmsd_media_dropped_total": Rule.SUM,
    "rtmsd_webhooks_total": Rule.SUM,
    "rtmsd_reconnects_total": Rule.SUM,
    "rtmsd_keep_alives_total": Rule.SUM,
    "rtmsd_unknown_total": Rule.SUM,
    "rtmsd_delivery_attempts_total": Rule.SUM,
    "rtmsd_ingest_latency_seconds": Rule.SUM,
    "rtmsd_sync_seconds": Rule.SUM,
    "rtmsd_event_loop_lag_seconds": Rule.EACH,
    "rtmsd_rtp_lost": Rule.SUM,
    "rtmsd_deliveries": Rule.SUM,  # counted in the state file: see `Disks`
    "rtmsd_concurrency": Rule.MOST,  # each knows the notices that came to it
    "rtmsd_degraded": Rule.MOST,
    "rtmsd_pending_bytes": Rule.SUM,
    "rtmsd_unsynced_seconds": Rule.MOST,
    "rtmsd_disk_free_bytes": Rule.LEAST,
    "rtmsd_directory_free_bytes": Rule.LEAST,
    "rtmsd_cluster_members": Rule.MOST,  # each counts all
    "rtmsd_cluster_owned_streams": Rule.SUM,
    "rtmsd_cluster_unclaimed_streams": Rule.SUM,
    "rtmsd_cluster_slot_held_streams": Rule.SUM,
    "rtmsd_cluster_engine_up": Rule.LEAST,
    "rtmsd_cluster_engine_rtt_seconds": Rule.MOST,
    "rtmsd_cluster_takeovers_total": Rule.SUM,
    "rtmsd_cluster_takeover_seconds": Rule.SUM,
    "rtmsd_cluster_handed_over_total": Rule.SUM,
    "rtmsd_cluster_fenced_total": Rule.SUM,
    "rtmsd_cluster_forwarded_total": Rule.SUM,
    "rtmsd_cluster_appends_total": Rule.SUM,
    "rtmsd_cluster_append_seconds": Rule.SUM,
    "rtmsd_cluster_unreadable_total": Rule.SUM,
    "rtmsd_cluster_spool_bytes": Rule.SUM,
    **dict.fromkeys(
        (
            "process_virtual_memory_bytes",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_max_fds",
        ),
        Rule.EACH,
    ),
}
"""By the name of a family, as its TYPE line has it. One that is missing is another version's: EACH is never wrong."""

_JOINS: Final[Mapping[Rule, Callable[[Iterable[float]], float]]] = {
    Rule.SUM: math.fsum,
    Rule.MOST: max,
    Rule.LEAST: min,
}
_KEPT: Final = frozenset({"counter", "histogram"})

Samples = dict[str, float]
"""By what stands before the value: a name, and labels in braces."""


@attrs.frozen
class Family:
    """One metric of one text.

    Attributes:
        head: its lines HELP and TYPE.
        kind: counter, gauge, ...
    """

    name: str
    kind: str
    head: Sequence[str]
    samples: Samples = attrs.field(factory=dict)

    @property
    def rule(self) -> Rule:
        return RULES.get(self.name, Rule.EACH)

    @property
    def is_kept(self) -> bool:
        """Whether what it counted holds after the end of who counted it."""
        return self.kind in _KEPT and self.rule is Rule.SUM


def parsed(text: str) -> list[Family]:
    """Return the families of a text.

    Raises:
        Unreadable: it is none of Prometheus'.
    """
    families: list[Family] = []
    head: list[str] = []
    for line in text.split("\n"):  # only that ends one: a label may hold other ends of lines
        if line.startswith("# TYPE "):
            name, _, kind = line.removeprefix("# TYPE ").partition(" ")
            families.append(Family(name, kind, (*head, line)))
            head = []
        elif line.startswith("#"):
            head.append(line)
        elif line:
            key, _, value = line.rpartition(" ")
            if not families or not key:
                raise Unreadable("its answer is not Prometheus text")
            try:
                families[-1].samples[key] = float(value)
            except ValueError:
                raise Unreadable(f"its sample {key[:80]!r} has no number") from None
    return families


def new_life(now_ns: int, nonce: str) -> str:
    """Return the id of a life; of two the later one is greater."""
    return f"{now_ns:020d}-{nonce}"


class Lives:
    """The counters of workers' lives, by their ids. They only grow, so that of two reports the greater holds, and
    reports can come by any way and in any order.
    """

    def __init__(self) -> None:
        self._counters: dict[str, Samples] = {}

    def learn(self, reports: Mapping[str, Mapping[str, float]]) -> None:
        """Take in what somebody knows. Counters that are 0 need not be in it."""
        for life, counted in reports.items():
            known = self._counters.setdefault(life, {})
            for key, value in counted.items():
                known[key] = max(value, known.get(key, 0.0))

    def forget(self, living: Collection[str]) -> None:
        """Forget the oldest lives that are not among these, but for `MAX_LIVES`: all workers forget the same ones."""
        ended = sorted(self._counters.keys() - set(living))
        for life in ended[: max(0, len(ended) - MAX_LIVES)]:
            del self._counters[life]

    def known(self, *, but: Collection[str] = ()) -> dict[str, Samples]:
        """Return the counters of all lives, without some."""
        return {life: dict(counted) for life, counted in self._counters.items() if life not in but}


def counters(families: Iterable[Family]) -> Samples:
    """Return what a life is known by, without zeros."""
    kept = (family.samples for family in families if family.is_kept)
    return {key: value for samples in kept for key, value in samples.items() if value}


def merged(
    by_worker: Mapping[str, Sequence[Family]],
    past: Iterable[Mapping[str, float]],
    silent: Collection[str],
    *,
    disks: Disks = SHARED,
) -> str:
    """Return the text of all.

    Args:
        past: counters of lives that are not among these.
        silent: workers that did not answer.
    """
    earlier: dict[str, list[float]] = {}
    for counted in past:
        for key, value in counted.items():
            earlier.setdefault(key, []).append(value)
    lines: list[str] = []
    for name, families in _by_name(by_worker).items():
        first = next(iter(families.values()))
        lines += first.head
        rule = Rule.MOST if name in disks.counted_by_all else first.rule
        lines += _lines(_joined(families, earlier if first.is_kept else {}, rule))
        if name == "rtmsd_degraded":
            lines += _lines({f'{name}{{code="{WORKER_SILENT}"}}': float(bool(silent))})
    lines += ["# HELP rtmsd_workers Workers, and whether they answer.", "# TYPE rtmsd_workers gauge"]
    answering = {"answering": len(by_worker), "silent": len(silent)}
    lines += _lines({f'rtmsd_workers{{state="{state}"}}': float(number) for state, number in answering.items()})
    return "\n".join([*lines, ""])


def _by_name(by_worker: Mapping[str, Sequence[Family]]) -> dict[str, dict[str, Family]]:
    """Return the families of all, by name and worker."""
    found: dict[str, dict[str, Family]] = {}
    for worker, families in by_worker.items():
        for family in families:
            found.setdefault(family.name, {})[worker] = family
    return found


def _joined(families: Mapping[str, Family], earlier: Mapping[str, Sequence[float]], rule: Rule) -> Samples:
    if rule is Rule.EACH:
        return {
            _labelled(key, worker): value for worker, each in families.items() for key, value in each.samples.items()
        }
    values: dict[str, list[float]] = {}
    for family in families.values():
        for key, value in family.samples.items():
            values.setdefault(key, []).append(value)
    return {key: _JOINS[rule]([*each, *earlier.get(key, ())]) for key, each in values.items()}


def _labelled(key: str, worker: str) -> str:
    name, brace, labels = key.partition("{")
    return f'{name}{{worker="{worker}",{labels}' if brace else f'{name}{{worker="{worker}"}}'


def _lines(samples: Samples) -> Iterator[str]:
    return (f"{key} {_number(value)}" for key, value in samples.items())


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(value)
