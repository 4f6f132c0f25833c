"""The goals of "Fast": each a figure or ratio of one run, and the limit that it is to keep."""

import enum
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import attrs

from tests.benchmarks.bare import MSGSPEC_ALONE, NODE_ALONE
from tests.benchmarks.loads import GROWTH, SHARED, WORKERS, Load
from tests.benchmarks.planned_trials import (
    ALONE,
    CODECS,
    JOINING_PLAIN,
    JOINING_TLS,
    KILLED_WORKER,
    LIFE_PLAIN,
    LIFE_TLS,
    LIFE_WORKERS,
    OPUS_WRITER,
    RESTART,
    WEBHOOKS_ELSEWHERE,
)
from tests.benchmarks.recording import RTMSD, TAPPED_RTMSD
from tests.benchmarks.results import Results

_SYNC_INTERVAL_MS: Final = 500.0  # the default of `[recording] sync_interval_s`
_FLOOD: Final = Load(20, 0)
_VIDEO: Final = Load(1, 0, media="video")
_PACED: Final = Load(100, 20)
_KEEP_ALIVE_MAX_MS: Final = 1000.0
_SHARING: Final = 1.1  # times the CPU of one process
_FLAT: Final = 1.05  # two measurements of the same differ by as much

_Measure: TypeAlias = Callable[[Results], float | None]


class Verdict(enum.StrEnum):
    REACHED = "reached"
    MISSED = "missed"
    NOT_MEASURED = "not measured"


@attrs.frozen
class Goal:
    """A limit, and how the figure is got. `at_most`: smaller is better."""

    name: str
    at_most: bool
    limit: float
    measure: _Measure

    @property
    def text(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.limit:g}"

    def judge(self, results: Results) -> "Judged":
        value = self.measure(results)
        if value is None:
            return Judged(self.name, self.text, None, None, Verdict.NOT_MEASURED)
        reached = value <= self.limit if self.at_most else value >= self.limit
        better = None
        if value and self.limit:
            better = self.limit / value if self.at_most else value / self.limit
        return Judged(self.name, self.text, value, better, Verdict.REACHED if reached else Verdict.MISSED)


@attrs.frozen
class Judged:
    """`times_better`: how many times better than the limit; None where one of them is 0, or nothing was measured."""

    name: str
    goal: str
    measured: float | None
    times_better: float | None
    verdict: Verdict


def _of(load: Load, field: str, client: str = RTMSD) -> _Measure:
    return lambda results: results.value(client, load, field)


def _trial(name: str, field: str) -> _Measure:
    return lambda results: results.trials.get(name, {}).get(field)


def _ratio(above: _Measure, below: _Measure) -> _Measure:
    def divide(results: Results) -> float | None:
        value, base = above(results), below(results)
        return value / base if value is not None and base else None

    return divide


def _growth(results: Results) -> float | None:
    """The most that CPU time for a message grew from a number of streams to a larger one."""
    cpu_us = [results.value(RTMSD, Load(streams, 20), "cpu_us") for streams in GROWTH]
    if None in cpu_us:
        return None
    return float(max(after / before for at, before in enumerate(cpu_us) for after in cpu_us[at + 1 :]))


def _oldest_unsynced_ms(results: Results) -> float | None:
    return max(
        (value for cell in results.cells if cell.client == RTMSD and (value := cell.middle("unsynced_ms")) is not None),
        default=None,
    )


def _capacity(load: Load) -> Iterator[Goal]:
    yield Goal(f"{load.name}: latest keep-alive, ms", True, _KEEP_ALIVE_MAX_MS, _of(load, "keep_alive_ms"))
    yield Goal(f"{load.name}: lost", True, 0, _of(load, "lost"))


def _joins(name: str) -> Iterator[Goal]:
    yield Goal(f"{name}: ready p50, ms", True, 10, _trial(name, "ready_p50_ms"))
    yield Goal(f"{name}: ready p99, ms", True, 60, _trial(name, "ready_p99_ms"))
    yield Goal(f"{name}: tap p99 of the running, during / before", True, 1.1, _trial(name, "tap_p99_ratio"))


def _shared(load: Load) -> Goal:
    shared = attrs.evolve(load, workers=WORKERS)
    ratio = _ratio(_of(shared, "cpu_us"), _of(load, "cpu_us"))
    return Goal(f"{shared.name}: CPU of a message / one process", True, _SHARING, ratio)


_THOUSAND: Final = Load(1000, 20)

GOALS: Final = (
    Goal("flood: messages per CPU-second", False, 400_000, _of(_FLOOD, "messages_per_cpu_s")),
    Goal(
        "flood: CPU of rtmsd / msgspec alone",
        True,
        3.0,
        _ratio(_of(_FLOOD, "cpu_us"), _of(_FLOOD, "cpu_us", MSGSPEC_ALONE)),
    ),
    Goal("flood: CPU of Node ws / rtmsd", False, 1.25, _ratio(_of(_FLOOD, "cpu_us", "Node ws"), _of(_FLOOD, "cpu_us"))),
    Goal("flood: lost", True, 0, _of(_FLOOD, "lost")),
    Goal(
        "100 paced, nobody listens: core of rtmsd / picows",
        True,
        0.6,
        _ratio(_of(_PACED, "core_percent"), _of(_PACED, "core_percent", "picows")),
    ),
    Goal("100 paced, tapped: p99 to the tap, ms", True, 1.0, _of(_PACED, "p99_ms", TAPPED_RTMSD)),
    Goal(
        "100 paced, tapped: core of rtmsd / picows",
        True,
        1.0,
        _ratio(_of(_PACED, "core_percent", TAPPED_RTMSD), _of(_PACED, "core_percent", "picows")),
    ),
    Goal(f"{_THOUSAND.name}: core, %", True, 65, _of(_THOUSAND, "core_percent")),
    Goal(f"{_THOUSAND.name}: keep-alive p99, ms", True, 60, _of(_THOUSAND, "keep_alive_p99_ms")),
    Goal(f"{_THOUSAND.name}: lost", True, 0, _of(_THOUSAND, "lost")),
    *_capacity(Load(1500, 20)),
    *_capacity(Load(900, 20, tls=True)),
    *_capacity(Load(3000, 100, tls=True)),
    *_joins(JOINING_PLAIN),
    *_joins(JOINING_TLS),
    Goal("a stream's life, plain: CPU, ms", True, 4, _trial(LIFE_PLAIN, "life_cpu_ms")),
    Goal("a stream's life, TLS: CPU, ms", True, 10, _trial(LIFE_TLS, "life_cpu_ms")),
    Goal("restart: all back, less twice the bare handshakes, s", True, 1.0, _trial(RESTART, "beyond_twice_bare_s")),
    Goal("webhook to ready, alone: p50, ms", True, 3, _trial(ALONE, "ready_p50_ms")),
    Goal("video flood: MB per CPU-second", False, 600, _of(_VIDEO, "payload_mb_per_s")),
    Goal(
        "video flood: MB per CPU-second of rtmsd / Node alone",
        False,
        4,
        _ratio(_of(_VIDEO, "payload_mb_per_s"), _of(_VIDEO, "payload_mb_per_s", NODE_ALONE)),
    ),
    Goal("video flood: lost", True, 0, _of(_VIDEO, "lost")),
    Goal("Opus writer alone: packets per CPU-second", False, 500_000, _trial(OPUS_WRITER, "packets_per_s")),
    Goal("Opus flood: messages per CPU-second of Opus / L16", False, 0.9, _trial(CODECS, "opus_to_l16")),
    Goal("Opus flood: lost", True, 0, _trial(CODECS, "lost")),
    Goal("memory of a stream of 500, plain: KB", True, 60, _of(Load(500, 20), "rss_kb")),
    Goal("memory of a stream of 500, TLS: KB", True, 110, _of(Load(500, 20, tls=True), "rss_kb")),
    Goal(f"CPU of a message: most growth from {GROWTH[0]} to {GROWTH[-1]} streams", True, _FLAT, _growth),
    *map(_shared, SHARED),
    Goal(
        "a stream's life, 2 workers: CPU / one process",
        True,
        _SHARING,
        _ratio(_trial(LIFE_WORKERS, "life_cpu_ms"), _trial(LIFE_PLAIN, "life_cpu_ms")),
    ),
    Goal("worker killed: its streams back p99, ms", True, 1000, _trial(KILLED_WORKER, "back_p99_ms")),
    Goal("worker killed: most lost of a stream, ms", True, _SYNC_INTERVAL_MS, _trial(KILLED_WORKER, "lost_max_ms")),
    Goal("worker killed: lost by the other's streams, ms", True, 0, _trial(KILLED_WORKER, "others_lost_ms")),
    Goal("worker killed: doubled messages", True, 0, _trial(KILLED_WORKER, "doubled")),
    Goal("start to another worker: answered p99, ms", True, 15, _trial(WEBHOOKS_ELSEWHERE, "start_elsewhere_p99_ms")),
    Goal("stop to another worker: answered p99, ms", True, 15, _trial(WEBHOOKS_ELSEWHERE, "stop_elsewhere_p99_ms")),
    Goal("oldest unsynced byte under any load, ms", True, _SYNC_INTERVAL_MS, _oldest_unsynced_ms),
)


def judged(results: Results) -> list[Judged]:
    return [goal.judge(results) for goal in GOALS]
