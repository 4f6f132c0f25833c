"""The play of a daemon of several workers, from the start to the report."""

from functools import partial
from pathlib import Path
from typing import Final

import attrs
import trio

from rtmsd.demo.evidence import find_directory
from rtmsd.demo.incidents.examination import examine
from rtmsd.demo.incidents.report import StreamsReport
from rtmsd.demo.incidents.watch import watch
from rtmsd.demo.performance import open_cast, present
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.stage import CALM, Pace, Stage
from rtmsd.demo.workers.checks import all_checks
from rtmsd.demo.workers.processes import Workers
from rtmsd.demo.workers.story import WATCHDOG_S, Story, WorkersPerformance
from rtmsd.simulator import SimulatorSettings, Timing

SEND_RATE_MS: Final = 100
CHANGED_SEND_RATE_MS: Final = 40

# Local time: what the figures are stated in. Short sentences, so that the loss of one shows; and no connection lives
# longer than some seconds, in which it is to be asked whether it is alive.
PACE: Final = attrs.evolve(CALM, timing=Timing(utterance_s=1.0, transcript_lag_s=0.5, keep_alive_s=2.5))


def main(workers: int, *, keep: Path | None = None) -> int:
    """Play the sessions of a daemon of several workers, below 40 s. See `rtmsd.demo.performance.present`.

    Args:
        workers: at least 2.
    """
    return present(WorkersPlay(workers), keep)


@attrs.frozen
class WorkersPlay:
    """See `rtmsd.demo.performance.Play`."""

    workers: int
    pace: Pace = PACE

    async def perform(self, stage: Stage, scene: Scene, *, has_screen: bool) -> WorkersPerformance:
        settings = SimulatorSettings(name_processes=True, webhook_keep_alive=False)
        performance = WorkersPerformance(workers=self.workers, sync_interval_s=self.pace.sync_interval_s)
        async with (
            open_cast(
                stage,
                self.pace,
                settings,
                scene,
                sections=self._sections(SEND_RATE_MS),
                workers=self.workers,
                environment={"WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000))},  # as a unit with WatchdogSec= has
            ) as cast,
            trio.open_nursery() as nursery,
        ):
            began_s = trio.current_time()
            scene.age_s = lambda: trio.current_time() - began_s
            scene.log(Kind.NOTE, f"It has {self.workers} workers. All times are local seconds.")
            workers = Workers(cast.daemon, cast.admin, stage.log)
            nursery.start_soon(watch, cast.admin.get, scene)

            def reconfigure() -> None:
                stage.write_config(cast.simulator.settings, self.pace, self._sections(CHANGED_SEND_RATE_MS))

            await Story(cast, workers, reconfigure, scene, performance).play()
            nursery.cancel_scope.cancel()
        return performance

    def _sections(self, send_rate_ms: int) -> str:
        return f"\n[daemon]\nworkers = {self.workers}\n\n[media.audio]\nsend_rate_ms = {send_rate_ms}\n"

    def examine(self, stage: Stage, played: WorkersPerformance, took_s: float) -> StreamsReport:
        streams, checks = examine(
            played,
            partial(find_directory, stage.recordings),
            [stage.log],
            self.pace.late_ms,
            lambda streams, lines: all_checks(played, streams, lines, CHANGED_SEND_RATE_MS),
        )
        summary = f"{len(played.streams)} streams and {played.workers} workers, {took_s:.1f} s with start and stop."
        return StreamsReport("rtmsd demo --workers", summary, stage, [stage], played.incidents, streams, checks)
