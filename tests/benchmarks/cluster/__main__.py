"""`python -m tests.benchmarks.cluster`: faults again and again on three members and three NATS servers.

Each kind of fault has a running cluster of its own, whose members are processes with the defaults of a configuration
file. The bounds are those of the design. Exit status 0 only if all hold. What does not come back in time is a miss.
"""

import argparse
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from rtmsd.simulator.model.settings import DuplicateSignaling
from tests.benchmarks.cluster.faults import FAULTS, Fault
from tests.benchmarks.cluster.samples import HEAD, WRONG, Sample, read_samples, rows
from tests.benchmarks.cluster.trial import Trial, repair
from tests.faults.cluster import open_cluster

SERVERS: Final = 3
RUN_S: Final = 90.0
ZOOMS: Final[dict[str, tuple[DuplicateSignaling, ...]]] = {
    "refuse": ("refuse",),
    "evict": ("evict",),
    "both": ("refuse", "evict"),
}


async def measure(name: str, zoom: DuplicateSignaling, numbers: deque[int], samples: Path) -> None:
    """Repeat a fault on a new cluster, and write down each run, until no number is left or the cluster is broken."""
    with tempfile.TemporaryDirectory(prefix="rtmsd") as place:
        async with open_cluster(Path(place), SERVERS, duplicate_signaling=zoom, webhook_keep_alive=False) as stage:
            for member in stage.members.values():
                del member.sections["streams"]  # what tests have hastened
            await stage.start()
            await Trial(stage, 0).until_up()
            while numbers:
                trial = Trial(stage, numbers.popleft())
                is_whole = await _run(FAULTS[name], trial)
                Sample(name, zoom, trial.figures).append_to(samples)
                _say(f"{name}, {zoom}, run {trial.number + 1}: {_worst(trial)}")
                for wrong in trial.wrong:
                    _say(f"  {wrong}")
                if not is_whole:
                    return


async def _run(fault: Fault, trial: Trial) -> bool:
    """Play a fault once. Whatever happens, the figures are there. Returns whether the cluster is whole afterwards."""
    is_whole = False
    try:
        with trio.fail_after(RUN_S):
            await fault.play(trial)
    except Exception as error:  # a cluster that fails the test fails it in any way
        trial.wrong.append(f"not over: {error!r}"[:1000])
    trial.watch()
    try:
        with trio.fail_after(RUN_S):
            await repair(trial)
            trial.read(await trial.stage.end(trial.sessions))
        is_whole = True
    except Exception as error:
        trial.wrong.append(f"no recordings: {error!r}"[:1000])
    trial.close()
    return is_whole


def _worst(trial: Trial) -> str:
    shown = {
        figure: "never" if None in values else f"{max(value or 0 for value in values):.2f}"
        for figure, values in trial.figures.items()
        if values and figure != WRONG
    }
    return ", ".join(f"{figure} {value}" for figure, value in shown.items())


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cluster", description=__doc__)
    parser.add_argument("--only", default=",".join(FAULTS), help="which of them: %(default)s")
    parser.add_argument("--runs", type=int, default=20, help="of each")
    parser.add_argument("--slow-runs", type=int, default=5, help="of those that take over 10 s, at most")
    parser.add_argument("--zoom", choices=ZOOMS, default="both", help="what a second signaling connection meets")
    parser.add_argument(
        "--samples", type=Path, default=Path("benchmark/cluster.jsonl"), help="kept, and gone on with: %(default)s"
    )
    options = parser.parse_args(argv)
    for name in options.only.split(","):
        runs = min(options.runs, options.slow_runs) if FAULTS[name].is_slow else options.runs
        for zoom in ZOOMS[options.zoom]:
            numbers = deque(range(runs))
            while numbers:
                try:
                    trio.run(measure, name, zoom, numbers, options.samples)
                except Exception as error:  # a cluster that does not even start
                    _say(f"{name}, {zoom}: {error!r}"[:1000])
                    Sample(name, zoom, {WRONG: [1]}).append_to(options.samples)
                    numbers = deque([*numbers][1:])
    found = [*rows(read_samples(options.samples), {name: fault.bounds for name, fault in FAULTS.items()})]
    print("Seconds, for each stream that was hit; bounds hold for the worst, those of webhooks for 99 of 100.")
    print(HEAD, *found, sep="\n")
    return int(not all(row.holds for row in found))


if __name__ == "__main__":
    sys.exit(main())
