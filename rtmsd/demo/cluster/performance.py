"""The play of a cluster, from the start to the report."""

from pathlib import Path
from typing import Final

import attrs
import trio

from rtmsd.demo.cluster.checks import all_checks
from rtmsd.demo.cluster.members import NODES, SERVERS, open_members, whole_of
from rtmsd.demo.cluster.story import ClusterPerformance, Story
from rtmsd.demo.incidents.examination import examine
from rtmsd.demo.incidents.report import StreamsReport
from rtmsd.demo.incidents.watch import watch
from rtmsd.demo.performance import present
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.stage import CALM, Pace, Stage
from rtmsd.simulator import SimulatorSettings, Timing

# Local time: what the bounds are stated in. Zoom asks often whether a connection is alive, but gives none up that is
# frozen for as long as the story has it: the member itself must let go.
PACE: Final = attrs.evolve(CALM, timing=Timing(utterance_s=1.0, transcript_lag_s=0.5, keep_alive_s=5))

WEBHOOK_TRY_S: Final = 2.6
"""Longer than a member takes for an answer while the servers are silent: a balancer that asks the next one sooner has
several begin the same stream."""


def main(*, keep: Path | None = None) -> int:
    """Play the sessions of a cluster, below 120 s. See `rtmsd.demo.performance.present`."""
    return present(ClusterPlay(), keep)


@attrs.frozen
class ClusterPlay:
    """See `rtmsd.demo.performance.Play`."""

    pace: Pace = PACE

    async def perform(self, stage: Stage, scene: Scene, *, has_screen: bool) -> ClusterPerformance:
        performance = ClusterPerformance(sync_interval_s=self.pace.sync_interval_s)
        settings = SimulatorSettings(name_processes=True, webhook_try_s=WEBHOOK_TRY_S)
        async with open_members(stage, self.pace, settings, scene) as cast, trio.open_nursery() as nursery:
            began_s = trio.current_time()
            scene.age_s = lambda: trio.current_time() - began_s
            scene.log(Kind.NOTE, "All times are local seconds.")
            scene.noun = Story.noun
            for node, member in cast.members.items():
                nursery.start_soon(watch, member.admin.get, scene, node)
            await Story(cast, scene, performance).play()
            nursery.cancel_scope.cancel()
        return performance

    def examine(self, stage: Stage, played: ClusterPerformance, took_s: float) -> StreamsReport:
        parts = [Stage(stage.directory / node, stage.run / node) for node in NODES]

        def find(rtms_stream_id: str) -> Path:
            if (found := whole_of(parts, rtms_stream_id)) is None:
                raise FileNotFoundError(f"no member has joined the parts of {rtms_stream_id}")
            return found

        streams, checks = examine(
            played,
            find,
            [part.log for part in parts],
            self.pace.late_ms,
            lambda streams, lines: all_checks(played, streams, lines, parts),
        )
        who = f"{len(played.streams)} streams, {len(NODES)} members and {SERVERS} NATS servers"
        summary = f"{who}, {took_s:.1f} s with start and stop."
        return StreamsReport("rtmsd demo --cluster", summary, stage, parts, played.incidents, streams, checks)
