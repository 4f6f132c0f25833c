"""Metrics of all workers as one text: right sums, known names, and counters that never go back."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from rtmsd.admin.fleet.reading import Unreadable
from rtmsd.admin.fleet.samples import MAX_LIVES, RULES, Lives, Rule, counters, merged, new_life, parsed
from rtmsd.admin.metrics import LoopLag, Metrics, Totals
from tests.admin.fleet.crew import Backend, workers
from tests.admin.test_metrics import FULL, samples
from tests.daemon.whole import config, running_daemon


class FixedLag(LoopLag):
    def __init__(self, lag_s: float) -> None:
        super().__init__()
        self.lag_s = lag_s

    @property
    def worst_s(self) -> float:
        return self.lag_s


def text_of(totals: Totals, *, lag_s: float = 0.0, ingested_s: tuple[float, ...] = ()) -> str:
    metrics = Metrics(lambda: totals)
    metrics.loop_lag = FixedLag(lag_s)
    for duration_s in ingested_s:
        metrics.ingest_latency.observe(duration_s)
    return metrics.render().decode()


def one(*texts: str, past: tuple[Mapping[str, float], ...] = (), silent: tuple[str, ...] = ()) -> dict[Any, float]:
    by_worker = {str(number): parsed(text) for number, text in enumerate(texts, 1)}
    return samples(merged(by_worker, past, silent).encode())


async def test_each_metric_of_a_daemon_has_a_rule(tmp_path: Path) -> None:
    async with running_daemon(config(tmp_path)) as backend:
        families = parsed(backend.metrics().decode())
    assert {family.name for family in families} <= RULES.keys()
    everything = attrs.evolve(
        FULL, unknown={"field": 1}, deliveries={("a", "dead"): 1}, concurrency={("a", "limit"): 1}
    )
    possible = {family.name for family in parsed(text_of(everything))}
    assert possible == {name for name in RULES if not name.startswith("rtmsd_cluster_")}  # which a member adds


def test_counts_are_summed_without_a_label() -> None:
    first = attrs.evolve(FULL, streams={"active": 2}, media_messages={"audio": 10}, pending_bytes=100)
    second = attrs.evolve(
        FULL, streams={"active": 3, "paused": 1}, media_messages={"audio": 5, "chat": 1}, pending_bytes=20
    )
    found = one(text_of(first), text_of(second))
    expected = {
        ("rtmsd_streams", (("state", "active"),)): 5,
        ("rtmsd_streams", (("state", "paused"),)): 1,
        ("rtmsd_media_messages_total", (("media", "audio"),)): 15,
        ("rtmsd_media_messages_total", (("media", "chat"),)): 1,
        ("rtmsd_pending_bytes", ()): 120,
        ("rtmsd_workers", (("state", "answering"),)): 2,
        ("rtmsd_workers", (("state", "silent"),)): 0,
        ("rtmsd_degraded", (("code", "worker_silent"),)): 0,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_histograms_add_up() -> None:
    found = one(text_of(FULL, ingested_s=(0.004, 0.2)), text_of(FULL, ingested_s=(0.004, 40.0)))
    bucket = "rtmsd_ingest_latency_seconds_bucket"
    assert found[bucket, (("le", "0.0025"),)] == 0
    assert found[bucket, (("le", "0.005"),)] == 2
    assert found[bucket, (("le", "0.25"),)] == 3
    assert found[bucket, (("le", "+Inf"),)] == found["rtmsd_ingest_latency_seconds_count", ()] == 4
    assert found["rtmsd_ingest_latency_seconds_sum", ()] == pytest.approx(40.208)


def test_the_worst_of_what_is_shared() -> None:
    first = attrs.evolve(FULL, unsynced_s=0.1, disk_free_bytes=9, directory_free_bytes={"/r": 9}, degraded={"x": 1})
    second = attrs.evolve(FULL, unsynced_s=2.5, disk_free_bytes=7, directory_free_bytes={"/r": 8}, degraded={"x": 0})
    found = one(text_of(first), text_of(second))
    assert found["rtmsd_unsynced_seconds", ()] == 2.5
    assert found["rtmsd_disk_free_bytes", ()] == 7
    assert found["rtmsd_directory_free_bytes", (("directory", "/r"),)] == 8
    assert found["rtmsd_degraded", (("code", "x"),)] == 1


def test_figures_of_processes_name_the_worker() -> None:
    found = one(text_of(FULL, lag_s=0.5), text_of(FULL, lag_s=0.25))
    assert found["rtmsd_event_loop_lag_seconds", (("worker", "1"),)] == 0.5
    assert found["rtmsd_event_loop_lag_seconds", (("worker", "2"),)] == 0.25
    for name in (name for name in RULES if name.startswith("process_")):
        assert {(name, (("worker", "1"),)), (name, (("worker", "2"),))} <= found.keys()
        assert (name, ()) not in found


def test_a_metric_of_another_version_names_the_worker() -> None:
    """Its labels come after ours."""
    new = '# HELP rtmsd_new It is new.\n# TYPE rtmsd_new gauge\nrtmsd_new{a="x y"} 1.0\n'
    assert one(text_of(FULL), text_of(FULL) + new)["rtmsd_new", (("a", "x y"), ("worker", "2"))] == 1


NUMBERS = st.dictionaries(
    st.sampled_from(["audio", 'a"b', "c\\d", "e f\ng", "}", "h\u2028i\r"]), st.integers(0, 10**15), max_size=4
)


@given(st.lists(NUMBERS, min_size=1, max_size=4))
def test_any_labels_are_summed_as_prometheus_reads_them(counts: list[dict[str, int]]) -> None:
    texts = [text_of(Totals(media_messages=each)) for each in counts]
    by_worker = {str(number): parsed(text) for number, text in enumerate(texts)}
    text = merged(by_worker, (), ())
    found = {
        sample.labels["media"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "rtmsd_media_messages_total"
    }
    keys = {key for each in counts for key in each}
    assert found == {key: sum(each.get(key, 0) for each in counts) for key in keys}


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_any_number_is_written_as_prometheus_reads_it(value: float) -> None:
    found = one(f"# TYPE rtmsd_pending_bytes gauge\nrtmsd_pending_bytes {value}\n")
    written = found["rtmsd_pending_bytes", ()]
    assert written == value or (math.isnan(written) and math.isnan(value))


@given(st.text(max_size=80))
def test_what_is_no_text_of_prometheus_is_unreadable_or_harmless(text: str) -> None:
    try:
        families = parsed(text)
    except Unreadable:
        return
    merged({"1": families}, (), ())


# Counters of lives


COUNTS = st.dictionaries(st.sampled_from("ab"), st.integers(1, 9).map(float), max_size=2)
REPORTS = st.lists(st.dictionaries(st.sampled_from(["l1", "l2", "l3"]), COUNTS, max_size=3), max_size=6)


@given(REPORTS, st.randoms())
def test_reports_may_come_in_any_order_and_more_than_once(
    reports: list[dict[str, dict[str, float]]], random: Any
) -> None:
    straight, shuffled = Lives(), Lives()
    for report in reports:
        straight.learn(report)
    again = [*reports, *reports[:2]]
    random.shuffle(again)
    for report in again:
        shuffled.learn(report)
    assert straight.known() == shuffled.known()


def test_all_forget_the_same_old_lives_and_none_that_lives() -> None:
    names = [new_life(number, "x") for number in range(MAX_LIVES + 5)]
    lives = Lives()
    lives.learn({name: {"a": 1.0} for name in reversed(names)})
    lives.forget(living=[names[0]])
    assert set(lives.known()) == {names[0], *names[5:]}


def test_only_what_counts_up_is_remembered() -> None:
    kept = counters(parsed(text_of(FULL)))
    assert kept['rtmsd_media_messages_total{media="audio"}'] == 10
    assert not [
        key for key in kept if key.startswith(("process_", "rtmsd_rtp_lost", "rtmsd_pending", "rtmsd_degraded"))
    ]
    assert {RULES[name] for name in RULES if name.endswith("_total")} == {Rule.SUM, Rule.EACH}


def total(text: str) -> float:
    return samples(text.encode())["rtmsd_media_messages_total", (("media", "audio"),)]


async def test_a_total_survives_workers_whoever_is_asked(autojump_clock: MockClock, tmp_path: Path) -> None:
    """A smaller number would be a reset to Prometheus, and all that is left an increase."""
    backends = [Backend() for _ in range(3)]
    for backend in backends:
        backend.totals = Totals(media_messages={"audio": 100})
    async with workers(tmp_path, *backends) as crew:
        assert total((await crew[0].fleet.metrics()).decode()) == 300
        backends[2].totals = Totals(media_messages={"audio": 150})
        assert total((await crew[0].fleet.metrics()).decode()) == 350
        crew[2].kill()
        assert total((await crew[0].fleet.metrics()).decode()) == 350
        crew[0].kill()  # it was the one that was asked
        assert total((await crew[1].fleet.metrics()).decode()) == 350
        backends[1].totals = Totals(media_messages={"audio": 101})
        assert total((await crew[1].fleet.metrics()).decode()) == 351
