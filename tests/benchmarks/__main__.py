"""`python -m tests.benchmarks`: rtmsd beside every client its users could pick, in one interleaved run.

Writes `results.json` and `plot.png` beside the table it prints. Absolute figures are this machine's: ratios decide.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.benchmarks.bare import MSGSPEC_ALONE, NODE_ALONE, msgspec_alone, node_alone
from tests.benchmarks.environment import PEER_SCRIPTS, PEERS, Environment, Peer, failure
from tests.benchmarks.figures import Figures
from tests.benchmarks.loads import Load, plan
from tests.benchmarks.measure import Certificates, measure_peer
from tests.benchmarks.planned_trials import TRIALS, PlannedTrial
from tests.benchmarks.profiles import write_profiles
from tests.benchmarks.recording import RTMSD, measure_rtmsd
from tests.benchmarks.report import table, to_json
from tests.benchmarks.results import Results

_HARNESS_ERRORS = (OSError, RuntimeError, ValueError, KeyError, subprocess.SubprocessError)  # with TimeoutError


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a selection that takes a few minutes")
    parser.add_argument("--rounds", type=int, default=0, help="times each measurement is repeated, interleaved")
    parser.add_argument("--seconds", type=float, default=0.0, help="how long each load lasts")
    parser.add_argument("--minutes", type=float, default=60.0, help="after these, no further load is begun")
    parser.add_argument("--only", default="", help="comma-separated beginnings of clients: rtmsd,picows,...")
    parser.add_argument(
        "--load", default="", help="only loads and trials whose name holds this: 'flood', '100 audio', 'joining', ..."
    )
    parser.add_argument("--no-trials", action="store_true", help="leave out joins, restart, fairness, ...")
    parser.add_argument("--profile", action="store_true", help="instead: write profile-*.txt, shares by function")
    parser.add_argument(
        "--output", type=Path, default=Path("benchmark"), help="directory for results.json and plot.png"
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rtmsd-benchmarks"
    parser.add_argument("--environment", type=Path, default=cache, help="where the peers are installed, and kept")
    return parser.parse_args(argv)


class Run:
    """The whole run: what is measured, and what came of it so far."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self._options = options
        self._environment = Environment(options.environment)
        self._certificates = Certificates.issue(directory)
        self.results = Results()

    def run(self) -> Results:
        results = self.results
        self._say("installing the peers")
        self._environment.prepare()
        results.missing = self._environment.missing
        results.machine = {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "kernel": platform.release(),
            "load average at start": round(os.getloadavg()[0], 1),
            **self._environment.versions,
        }
        self._measure_loads()
        for trial in self._trials():
            self._try(trial)
        return results

    def _measure_loads(self) -> None:
        """All loads, round by round, for as long as there is time; a load begun is measured with all its clients."""
        options = self._options
        loads = [each for each in plan(options.quick, options.seconds) if options.load in each[0].name]
        rounds = options.rounds or (1 if options.quick else 3)
        round_min = sum(load.expected_s(len(self._peers(load, with_peers))) for load, with_peers in loads) / 60
        trials_min = sum(trial.expected_s for trial in self._trials()) / 60
        loads_min = min(rounds * round_min, options.minutes)
        self._say(
            f"{rounds} x {len(loads)} loads, {round_min:.0f} minutes a round: done in about "
            f"{loads_min + trials_min:.0f} minutes, of which the trials take {trials_min:.0f}"
        )
        end_s = time.monotonic() + 60 * options.minutes
        for round_number in range(1, rounds + 1):
            for load, with_peers in loads:
                if time.monotonic() < end_s:
                    self._compare(load, with_peers)
                else:
                    self.results.left_out.append(f"{load.name}, round {round_number}")

    def _trials(self) -> list[PlannedTrial]:
        options = self._options
        if options.no_trials:
            return []
        chosen = [each for each in TRIALS if options.load in each.name]
        return [each for each in chosen if each.is_quick or options.load or not options.quick]

    def _peers(self, load: Load, with_peers: bool) -> list[Peer]:
        return [
            peer
            for peer in PEERS
            if self._wanted(peer.name)
            and load.media in peer.media
            and (with_peers or (peer.where == "here" and load.workers == 1))
        ]

    def _compare(self, load: Load, with_peers: bool) -> None:
        if self._wanted(RTMSD):
            self._measure(RTMSD, load, lambda: measure_rtmsd(load, self._certificates))
            if not load.period_ms and not load.tls and load.workers == 1:
                self._measure_alone(load)
        for peer in self._peers(load, with_peers):
            self._measure_peer(peer, load)

    def _measure_alone(self, load: Load) -> None:
        self._measure(MSGSPEC_ALONE, load, lambda: {MSGSPEC_ALONE: msgspec_alone(load.media)})
        script = PEER_SCRIPTS / "decode_alone.mjs"
        self._measure(NODE_ALONE, load, lambda: {NODE_ALONE: node_alone(load.media, script)})

    def _measure_peer(self, peer: Peer, load: Load) -> None:
        if peer.name in self._environment.missing:
            self.results.cell(peer.name, load).failure = self._environment.missing[peer.name]
            return
        command = self._environment.command(peer)
        self._measure(peer.name, load, lambda: {peer.name: measure_peer(command, load, self._certificates)})

    def _measure(self, client: str, load: Load, measure: Callable[[], Mapping[str, Figures]]) -> None:
        """Take the rows of one measurement; the client's own row says why, if there are none."""
        cell = self.results.cell(client, load)
        self._say(f"{load.name}: {client}")
        try:
            for row, figures in measure().items():
                self.results.cell(row, load).rounds.append(figures)
        except _HARNESS_ERRORS as error:
            cell.failure = f"{type(error).__name__}: {str(error)[-200:]}"
            self._say(f"  {cell.failure}")

    def _try(self, trial: PlannedTrial) -> None:
        self._say(trial.name)
        try:
            self.results.trials[trial.name] = trial.run(self._certificates)
        except _HARNESS_ERRORS as error:
            self.results.trials[trial.name] = {"failed": f"{type(error).__name__}: {str(error)[-200:]}"}

    def _wanted(self, client: str) -> bool:
        only = self._options.only
        return not only or any(client.startswith(name) for name in only.split(","))

    def _say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def profile(self) -> None:
        """Write where the daemon's time goes."""
        self._environment.prepare()
        py_spy = self._environment.install_tool("py-spy")
        write_profiles(self._certificates, py_spy, self._options.output, self._say)

    def plot(self, results: Path, target: Path) -> None:
        script = Path(__file__).with_name("plot.py")
        why = failure([str(self._environment.python), str(script), str(results), str(target)])
        if why:
            self._say(f"no plot: {why}")


def main() -> int:
    options = arguments()
    options.output.mkdir(parents=True, exist_ok=True)
    target = options.output / "results.json"
    with tempfile.TemporaryDirectory(prefix="rtmsd-benchmark-") as directory:
        run = Run(options, Path(directory))
        if options.profile:
            run.profile()
            return 0
        results = run.run()
        target.write_text(json.dumps(to_json(results), indent=1))
        run.plot(target, options.output / "plot.png")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
