"""Prometheus metrics: plain counters of the daemon, which become samples at a scrape.

No label holds the id of a stream: the number of series must stay bounded.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final, TypeVar

import attrs
import trio
from prometheus_client import CollectorRegistry, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from rtmsd import __version__
from rtmsd.protocol.causes import RecordingState

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

INGEST_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SYNC_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
Family = TypeVar("Family", GaugeMetricFamily, CounterMetricFamily)

LAG_PROBE_INTERVAL_S: Final = 0.5
LAG_PROBES: Final = 60  # half a minute: a spike outlives the usual scrape interval


@attrs.frozen(kw_only=True)
class Totals:
    """The daemon's counts since its start, read at a scrape. Ended streams keep counting.

    Attributes:
        streams: state to the number of streams in it now.
        streams_ended: by (final state, stop reason).
        media_messages, media_bytes: by media name.
        media_dropped: by (media name, reason).
        webhooks: by result.
        reconnects: by (scenario, result).
        keep_alives: by kind of connection.
        unknown: by kind.
        rtp_lost: packets that RTP's numbers say are missing; less again when one comes late.
        concurrency: streams at once as Zoom last reported, by (app, "number" or "limit").
        deliveries: not done, by (sink, state) now.
        delivery_attempts: by (sink, result).
        degraded: by code, 1 for each trouble of status, 0 for others.
        pending_bytes: media received and not yet written.
        unsynced_s: age of the oldest of them.
        disk_free_bytes: for recordings, in the directory with least; None when unknown.
        directory_free_bytes: in each directory of recordings.
    """

    streams: Mapping[str, int] = attrs.field(factory=dict)
    streams_ended: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    media_messages: Mapping[str, int] = attrs.field(factory=dict)
    media_bytes: Mapping[str, int] = attrs.field(factory=dict)
    media_dropped: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    webhooks: Mapping[str, int] = attrs.field(factory=dict)
    reconnects: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    keep_alives: Mapping[str, int] = attrs.field(factory=dict)
    unknown: Mapping[str, int] = attrs.field(factory=dict)
    rtp_lost: int = 0
    concurrency: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    deliveries: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    delivery_attempts: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    degraded: Mapping[str, int] = attrs.field(factory=dict)
    pending_bytes: int = 0
    unsynced_s: float = 0.0
    disk_free_bytes: int | None = None
    directory_free_bytes: Mapping[str, int] = attrs.field(factory=dict)


class Histogram:
    """Counts durations by size. For one thread, and cheap enough for each batch of packets (0.3 µs)."""

    def __init__(self, bounds_s: tuple[float, ...]) -> None:
        self._bounds_s = bounds_s
        self._counts = [0] * (len(bounds_s) + 1)
        self._sum_s = 0.0

    def observe(self, duration_s: float, times: int = 1) -> None:
        self._counts[bisect_left(self._bounds_s, duration_s)] += times
        self._sum_s += duration_s * times

    def family(self, name: str, help_text: str) -> HistogramMetricFamily:
        bounds = [*map(str, self._bounds_s), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        return HistogramMetricFamily(name, help_text, buckets=buckets, sum_value=self._sum_s)


class LoopLag:
    """How late the event loop runs what is due: the worst of the last half minute."""

    def __init__(self) -> None:
        self._recent_s: deque[float] = deque(maxlen=LAG_PROBES)

    @property
    def worst_s(self) -> float:
        return max(self._recent_s, default=0.0)

    async def measure(self) -> None:
        """Probe until cancelled."""
        while True:
            due = trio.current_time() + LAG_PROBE_INTERVAL_S
            await trio.sleep_until(due)
            self._recent_s.append(trio.current_time() - due)


class Metrics(Collector):
    """All metrics, under their public names.

    Args:
        totals: called at each scrape.
    """

    def __init__(self, totals: Callable[[], Totals]) -> None:
        self._totals = totals
        self.ingest_latency = Histogram(INGEST_BOUNDS_S)
        self.sync_duration = Histogram(SYNC_BOUNDS_S)
        self.loop_lag = LoopLag()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def add(self, others: Collector) -> None:
        """Render what another collector has, too."""
        self._registry.register(others)

    def render(self) -> bytes:
        """Prometheus text, version 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        totals = self._totals()
        gauge, counter = GaugeMetricFamily, CounterMetricFamily  # a counter's samples get the suffix `_total`
        every_state = dict.fromkeys(map(str, RecordingState), 0)  # an alert on an absent series would never fire
        yield filled(gauge("rtmsd_build_info", "1, with the version.", labels=["version"]), {__version__: 1})
        yield filled(gauge("rtmsd_streams", "Streams by state.", labels=["state"]), {**every_state, **totals.streams})
        for name, help_text, labels, values in (
            ("rtmsd_streams_ended", "Streams that ended, and why.", ["state", "reason"], totals.streams_ended),
            ("rtmsd_media_messages", "Media messages received.", ["media"], totals.media_messages),
            ("rtmsd_media_bytes", "Bytes of media received, decoded.", ["media"], totals.media_bytes),
            ("rtmsd_media_dropped", "Media messages not kept.", ["media", "reason"], totals.media_dropped),
            ("rtmsd_webhooks", "Webhooks by result.", ["result"], totals.webhooks),
            ("rtmsd_reconnects", "Recoveries by how they ended.", ["scenario", "result"], totals.reconnects),
            ("rtmsd_keep_alives", "Keep-alives answered.", ["connection"], totals.keep_alives),
            ("rtmsd_unknown", "What Zoom sent and this version does not know.", ["kind"], totals.unknown),
            ("rtmsd_delivery_attempts", "Deliveries to sinks.", ["sink", "result"], totals.delivery_attempts),
        ):
            yield filled(counter(name, help_text, labels=labels), values)
        yield self.ingest_latency.family(
            "rtmsd_ingest_latency_seconds", "From being read from the socket to being written."
        )
        yield self.sync_duration.family("rtmsd_sync_seconds", "Time to write and sync all dirty files.")
        yield gauge(
            "rtmsd_event_loop_lag_seconds", "Worst lateness of the event loop in the last 30 s.", self.loop_lag.worst_s
        )
        yield gauge("rtmsd_rtp_lost", "Packets that RTP's numbers say are missing, since the start.", totals.rtp_lost)
        yield filled(
            gauge("rtmsd_deliveries", "Deliveries that are not done.", labels=["sink", "state"]), totals.deliveries
        )
        yield filled(
            gauge("rtmsd_concurrency", "Streams at once, by Zoom's notices of the last hour.", labels=["app", "kind"]),
            totals.concurrency,
        )
        yield filled(gauge("rtmsd_degraded", "1 for each thing that is wrong.", labels=["code"]), totals.degraded)
        yield gauge("rtmsd_pending_bytes", "Media received and not yet written.", totals.pending_bytes)
        yield gauge("rtmsd_unsynced_seconds", "Age of the oldest media that are not synced yet.", totals.unsynced_s)
        if totals.disk_free_bytes is not None:
            yield gauge("rtmsd_disk_free_bytes", "Free for recordings, where least is.", totals.disk_free_bytes)
        yield filled(
            gauge("rtmsd_directory_free_bytes", "Free for recordings, in each directory.", labels=["directory"]),
            totals.directory_free_bytes,
        )


def filled(family: Family, values: Mapping[str, int] | Mapping[tuple[str, str], int]) -> Family:
    """Return the family with a sample for each set of labels."""
    for labels, value in values.items():
        family.add_metric((labels,) if isinstance(labels, str) else labels, value)
    return family
