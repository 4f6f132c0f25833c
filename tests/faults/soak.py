"""A long run with regular faults, which looks for growth: `python -m tests.faults.soak --minutes 60`.

Exit status 0 only if nothing is unexplained, doubled or damaged, and neither tasks, descriptors nor memory increased.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.simulator import SimSession
from tests.faults.breakage import FAULTS, STREAMS, TIMING, inflict, recovered
from tests.faults.process import Daemon, Stage, open_stage
from tests.faults.reckoning import Reckoning, end_all, reckon, sum_of

SAMPLES: Final = 5
SAMPLES_EVERY_S: Final = 0.05
GROWTH_TASKS: Final = 3  # one webhook that is being answered
GROWTH_DESCRIPTORS: Final = 6
GROWTH_BYTES: Final = 24 << 20


@attrs.frozen
class Sample:
    """The resources of the process while all streams are connected."""

    tasks: int
    descriptors: int
    resident_bytes: int

    def __str__(self) -> str:
        return f"{self.tasks} tasks, {self.descriptors} descriptors, {self.resident_bytes / 2**20:.1f} MiB resident"


@attrs.define
class Soak:
    """The result: samples after the first fault of each kind and at the end, and the reckoning."""

    first: Sample
    last: Sample
    faults: Counter[str]
    total: Reckoning

    @property
    def growth(self) -> dict[str, int]:
        """The figures that increased by more than they may."""
        limits = {"tasks": GROWTH_TASKS, "descriptors": GROWTH_DESCRIPTORS, "resident_bytes": GROWTH_BYTES}
        grown = {name: getattr(self.last, name) - getattr(self.first, name) for name in limits}
        return {name: size for name, size in grown.items() if size > limits[name]}

    def __str__(self) -> str:
        return f"{self.faults.total()} faults\nfirst: {self.first}\nlast:  {self.last}\n{self.total}"


async def sample(daemon: Daemon) -> Sample:
    """Return the least of several samples: requests in progress are no growth."""
    samples = []
    for _ in range(SAMPLES):
        status: dict[str, Any] = await daemon.status()
        samples.append((status["tasks"], daemon.descriptors(), daemon.rss_bytes()))
        await trio.sleep(SAMPLES_EVERY_S)
    return Sample(*map(min, zip(*samples, strict=True)))


async def soak(
    place: Path, *, duration_s: float, every_s: float, streams: int, say: Callable[[str], None], seed: int = 0
) -> Soak:
    """Run for so long; streams end and begin, configurations are reloaded, and everything in `FAULTS` happens."""
    chance = random.Random(seed)
    faults: Counter[str] = Counter()
    async with open_stage(place, timing=TIMING) as stage:
        stage.daemon.sections["streams"] |= STREAMS
        await stage.daemon.start()
        live = [await stage.zoom.start_session() for _ in range(streams)]
        ended: list[Reckoning] = []
        first: Sample | None = None
        end_s = trio.current_time() + duration_s
        while trio.current_time() < end_s:
            next_s = trio.current_time() + every_s
            victim = chance.randrange(streams)
            fault = chance.choice([*FAULTS, "reload", "another stream"])
            if fault == "reload":
                stage.daemon.send_signal(signal.SIGHUP)
            elif fault == "another stream":
                ended.append(await replace(stage, live, victim))
            else:
                await inflict(live[victim], fault)
            faults[fault] += 1
            for session in live:
                await recovered(session)
            now = await sample(stage.daemon)
            say(f"{fault}: {now}")
            if faults.total() == min(10, max(1, int(duration_s / every_s / 4))):
                first = now
            await trio.sleep_until(next_s)
        last = await sample(stage.daemon)
        ended += await end_all(stage.daemon, live)
        assert await stage.daemon.stop() == 0
    return Soak(first or last, last, faults, sum_of(ended))


async def replace(stage: Stage, live: list[SimSession], index: int) -> Reckoning:
    """Let one session end and another one begin; return the reckoning of the first."""
    old, live[index] = live[index], await stage.zoom.start_session()
    await old.stop()
    await stage.daemon.until_logged("stream ended", rtms_stream_id=old.rtms_stream_id)
    return reckon(stage.daemon.recordings, old)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=30, metavar="SECONDS", help="between two faults (default: 30)")
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rtmsd") as place:
        run = partial(
            soak,
            Path(place),
            duration_s=arguments.minutes * 60,
            every_s=arguments.every,
            streams=arguments.streams,
            say=print,
            seed=arguments.seed,
        )
        result = trio.run(run)
    print(result)
    wrong = {**result.total.faults, **result.growth}
    print(f"wrong: {wrong}" if wrong else "nothing increased, nothing is unexplained")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
