"""`python -m tests.benchmarks.pairs`: two daemons in interleaved pairs, for what is to cost nothing, or little.

With `--checkout` the one of another checkout beside this one, whose environment is in its `.venv`; with `--workers` one
process beside so many workers; with `--cluster` one beside a member of a cluster, on NATS servers of its own. The load
generator is this checkout's for both. The median of the ratios within pairs decides; the spread of the ratios says how
much the machine was disturbed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final, TypeAlias

import attrs

from rtmsd.demo.cluster.servers import Servers
from tests.benchmarks import joins
from tests.benchmarks.daemon import Program
from tests.benchmarks.figures import keep_alives, percentile
from tests.benchmarks.loads import Load
from tests.benchmarks.measure import SETTLE_S, Certificates, stage
from tests.benchmarks.processes import move, on_other_cores
from tests.benchmarks.recording import all_sent, recorded

Sample: TypeAlias = Mapping[str, float | None]

_FLOOD_S: Final = 2.0
_PACED_S: Final = 4.0
_CALM_S: Final = 10.0  # members describe each stream every five seconds
_WEBHOOKS: Final = 200
_WEBHOOKS_PER_S: Final = 50


def paced(certificates: Certificates, program: Program, load: Load) -> Sample:
    """What a message costs, how late keep-alives are answered, and the memory of all."""
    with stage(load, certificates, program=program) as on:
        bytes_at_rest = on.daemon.rss_bytes
        on.zoom.keep_alives(2.0)
        on.zoom.pace("audio", load.period_ms)
        time.sleep(SETTLE_S)
        cpu_s, sent = on.daemon.cpu_s, on.zoom.sent()
        time.sleep(_PACED_S)
        cpu_s, sent = on.daemon.cpu_s - cpu_s, on.zoom.sent() - sent
        on.zoom.halt()
        report = on.zoom.report()
    return {
        "CPU of a message, us": 1e6 * cpu_s / sent,
        "keep-alive p99, ms": keep_alives(report)["keep_alive_p99_ms"],
        f"memory with {load.streams} streams, MB": bytes_at_rest / 1e6,
    }


def calm(certificates: Certificates, program: Program, load: Load) -> Sample:
    """What a loop that has time does with it: its share of a core, of which the main thread has most, and its lag.

    It has a core to itself: that three servers and Zoom's place are on one machine with it is not its doing.
    """
    program = attrs.evolve(program, module="tests.benchmarks.lagging")
    with on_other_cores() as own, stage(load, certificates, program=program) as on:
        move(on.daemon.pid, own)
        on.zoom.pace("audio", load.period_ms)
        time.sleep(SETTLE_S)
        on.daemon.loop_lags_s()
        began_s, cpu_s, main_s = time.monotonic(), on.daemon.cpu_s, on.daemon.main_thread_s
        stored = _stored(on.daemon.servers)
        time.sleep(_CALM_S)
        took_s = time.monotonic() - began_s
        cpu_s, main_s = on.daemon.cpu_s - cpu_s, on.daemon.main_thread_s - main_s
        stored = _stored(on.daemon.servers) - stored
        lags_s = on.daemon.loop_lags_s()
    return {
        "share of a core, %": 100 * cpu_s / took_s,
        "of it the main thread, %": 100 * main_s / took_s,
        **{f"loop lag p{percent}, ms": 1000 * (percentile(lags_s, percent) or 0.0) for percent in (50, 99)},
        "stored by NATS a second": stored / took_s,
    }


def _stored(servers: Servers | None) -> int:
    """How many messages servers stored so far."""
    accounts = () if servers is None else servers.each[0].ask("jsz?streams=true")["account_details"]
    return sum(stream["state"]["last_seq"] for account in accounts for stream in account["stream_detail"])


def flood(certificates: Certificates, program: Program) -> Sample:
    with stage(Load(20, 0), certificates, program=program) as on:
        cpu_s = on.daemon.cpu_s
        on.zoom.start_flood("audio", _FLOOD_S)
        sent = all_sent(on.zoom)
        recorded(on.daemon, "audio", sent)
        cpu_s = on.daemon.cpu_s - cpu_s
    return {"CPU of a message, us": 1e6 * cpu_s / sent}


def webhooks(certificates: Certificates, program: Program) -> Sample:
    """Webhooks with nothing beside, half of them starts: when they are answered, and what they cost."""
    with stage(Load(0, 0), certificates, program=program) as on:
        bytes_at_rest = on.daemon.rss_bytes
        requests = [
            on.daemon.start(f"new-{number:04d}")
            if number % 2
            else on.daemon.webhook("rtms_stopped", f"nobody-{number:04d}", stop_reason=6)
            for number in range(_WEBHOOKS)
        ]
        cpu_s = on.daemon.cpu_s
        posted = on.daemon.deliver(requests, _WEBHOOKS_PER_S)
        on.zoom.wait_ready(_WEBHOOKS // 2, 30)
        cpu_s = on.daemon.cpu_s - cpu_s
    answered_ms = [(each.answered_ns - each.posted_ns) / 1e6 for each in posted]
    return {
        **{f"answered p{percent}, ms": percentile(answered_ms, percent) for percent in (50, 90, 99)},
        "CPU of one and of half a start, ms": 1000 * cpu_s / _WEBHOOKS,
        "memory at rest, MB": bytes_at_rest / 1e6,
    }


def lives(certificates: Certificates, program: Program) -> Sample:
    found = joins.life(certificates, tls=False, program=program)
    return {f"CPU of {what}, ms": found[f"{what}_cpu_ms"] for what in ("start", "end", "life")}


MEASUREMENTS: Final[Mapping[str, Callable[[Certificates, Program], Sample]]] = {
    "paced": partial(paced, load=Load(100, 20)),
    "paced-500": partial(paced, load=Load(500, 20)),
    "calm": partial(calm, load=Load(500, 100)),
    "paced-TLS": partial(paced, load=Load(300, 20, tls=True)),
    "flood": flood,
    "webhooks": webhooks,
    "lives": lives,
}


@attrs.frozen
class Compared:
    """A figure of both daemons: medians, the median of how much more the second's is, and of the ratios, and the middle
    half of those.
    """

    figure: str
    first: float
    second: float
    more: float
    ratio: float
    low: float
    high: float


def compared(pairs: Sequence[tuple[Sample, Sample]]) -> list[Compared]:
    rows = []
    for figure in pairs[0][0]:
        both = [(one, two) for first, second in pairs if (one := first[figure]) and (two := second[figure])]
        if both:
            ratios = [two / one for one, two in both]
            low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
            first, second = (median(values) for values in zip(*both, strict=True))
            more = median(two - one for one, two in both)
            rows.append(Compared(figure, first, second, more, median(ratios), low, high))
    return rows


def _measure_pair(name: str, sides: tuple[Program, Program], number: int) -> tuple[Sample, Sample]:
    """Measure both, in turns the one or the other first: who is second finds a warmer machine."""
    with tempfile.TemporaryDirectory(prefix="rtmsd-benchmark-") as directory:
        certificates = Certificates.issue(Path(directory))
        order = sides if number % 2 else sides[::-1]
        found = {program: MEASUREMENTS[name](certificates, program) for program in order}
    return found[sides[0]], found[sides[1]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.pairs", description=__doc__)
    parser.add_argument("--checkout", type=Path, help="directory of another version")
    parser.add_argument("--workers", type=int, default=1, help="of the second daemon")
    parser.add_argument("--cluster", action="store_true", help="the second daemon is a member of one")
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="which of them: %(default)s")
    parser.add_argument(
        "--samples", type=Path, default=Path("benchmark/pairs.jsonl"), help="kept, and gone on with: %(default)s"
    )
    options = parser.parse_args()
    first = Program() if options.checkout is None else Program.of(options.checkout)
    second = Program(workers=options.workers, is_member=options.cluster)
    samples: list[tuple[str, Sample, Sample]] = []
    if options.samples.exists():
        samples = [tuple(json.loads(line)) for line in options.samples.read_text().splitlines()]
    for number in range(options.pairs):
        for name in options.only.split(","):
            one, two = _measure_pair(name, (first, second), len(samples) + number)
            samples.append((name, one, two))
            options.samples.parent.mkdir(parents=True, exist_ok=True)
            with options.samples.open("a") as file:
                file.write(json.dumps(samples[-1]) + "\n")
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
    for name in dict.fromkeys(name for name, _, _ in samples):
        pairs = [(one, two) for each, one, two in samples if each == name]
        print(f"{name}: {len(pairs)} pairs")
        for row in compared(pairs):
            spread = f"middle half {row.low:.3f} to {row.high:.3f}"
            values = f"{row.first:9.2f} {row.second:9.2f} {row.more:+9.2f}"
            print(f"  {row.figure:36} {values}  x {row.ratio:.3f}  ({spread})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
