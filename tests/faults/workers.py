"""Rounds of faults for a daemon of several workers, while streams begin, end and are paused."""

import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.recording.media.wav.track import REACH_MS
from rtmsd.simulator import SimSession
from tests.faults.breakage import audio_of
from tests.faults.process import LIMIT_S, Daemon, Stage, until
from tests.faults.reckoning import Reckoning, end_all, is_guessed, manifest_of, reckon, recording_of


def workers_of(parent: int) -> dict[str, int]:
    """Return the processes of the workers that are not dead, by number, also of those that are not ready yet."""
    found = {}
    for pid in children_of(parent):
        try:
            _, _, module, word, *rest = Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1] + [""] * 4
        except OSError:
            continue
        if (module, word) == ("-m", "rtmsd") and rest[0] == "worker":
            found[rest[1]] = pid
    return found


def children_of(pid: int) -> list[int]:
    """Return the children of all threads of a process."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for children in lists for child in children.read_text().split()]


def zombies_of(pid: int) -> list[int]:
    return [child for child in children_of(pid) if _state_of(child) == "Z"]


def _state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


async def owners(daemon: Daemon) -> dict[str, str]:
    """Return the worker of each stream, as soon as none is too late for an answer."""
    with trio.fail_after(LIMIT_S):
        while True:
            admin = daemon.admin
            found: list[dict[str, Any]] = await trio.to_thread.run_sync(admin.get, "/v1/streams")
            if not admin.silent:
                return {each["rtms_stream_id"]: each["worker"] for each in found}
            await trio.sleep(0.05)


@attrs.define
class Play:
    """A daemon of workers, the streams of its Zoom, and what was done to both.

    Attributes:
        least: how many sessions there are at the beginning of a round.
        live: sessions that go on. ended: those that were stopped.
        rounds: what was done, counted.
    """

    stage: Stage
    workers: int
    chance: random.Random
    least: int
    live: list[SimSession] = attrs.field(factory=list)
    ended: list[SimSession] = attrs.field(factory=list)
    rounds: Counter[str] = attrs.field(factory=Counter)

    @property
    def daemon(self) -> Daemon:
        return self.stage.daemon

    @property
    def parent(self) -> int:
        return self.daemon.pid

    # Faults: each returns when it is inflicted

    def kill(self, *workers: str) -> None:
        there = workers_of(self.parent)
        for worker in workers:
            if worker in there:
                os.kill(there[worker], signal.SIGKILL)

    def some(self, number: int) -> list[str]:
        return self.chance.sample([str(number) for number in range(1, self.workers + 1)], number)

    async def one(self) -> None:
        self.kill(*self.some(1))

    async def two(self) -> None:
        self.kill(*self.some(2))

    async def all_of_them(self) -> None:
        self.kill(*self.some(self.workers))

    async def again(self) -> None:
        """The next life as well, as it starts, or has just begun to take over streams."""
        victims = self.some(1)
        self.kill(*victims)
        await until(lambda: not workers_of(self.parent).keys() >= {*victims})
        await until(lambda: workers_of(self.parent).keys() >= {*victims})
        await trio.sleep(self.chance.uniform(0, 1.2))
        self.kill(*victims)

    async def heir(self) -> None:
        """One, and then one of those that take over from it."""
        first, second = self.some(2)
        self.kill(first)
        await trio.sleep(self.chance.uniform(0, 0.3))
        self.kill(second)

    async def house(self) -> None:
        """The parent, and perhaps a worker with it."""
        self.kill(*self.some(self.chance.randrange(self.workers)))
        self.daemon.kill()
        await self._come_back()

    async def stopped(self) -> None:
        """By an operator, while a worker is dead."""
        if self.chance.random() < 0.5:
            self.kill(*self.some(1))
            await trio.sleep(self.chance.uniform(0, 0.4))
        self.daemon.send_signal(signal.SIGTERM)
        await self._come_back()

    async def _come_back(self) -> None:
        await self.daemon.reap()
        await self.daemon.start()

    async def frozen(self) -> None:
        pid = self._one_that_lives()
        os.kill(pid, signal.SIGSTOP)
        await trio.sleep(self.chance.uniform(0.1, 3))
        os.kill(pid, signal.SIGCONT)

    async def frozen_and_killed(self) -> None:
        pid = self._one_that_lives()
        os.kill(pid, signal.SIGSTOP)
        await trio.sleep(self.chance.uniform(0.1, 2))
        os.kill(pid, signal.SIGKILL)

    async def frozen_parent(self) -> None:
        """Nobody says that a worker died."""
        victims = self.some(1)
        os.kill(self.parent, signal.SIGSTOP)
        self.kill(*victims)
        await trio.sleep(self.chance.uniform(0.1, 2))
        os.kill(self.parent, signal.SIGCONT)

    def _one_that_lives(self) -> int:
        return self.chance.choice([*workers_of(self.parent).values()])

    # What goes on meanwhile

    async def begin(self, number: int = 4) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(self._begin)

    async def _begin(self) -> None:
        await trio.sleep(self.chance.uniform(0, 0.5))
        self.live.append(await self.stage.zoom.start_session(("Ana",)))

    async def end(self, number: int = 4) -> None:
        async with trio.open_nursery() as nursery:
            for session in self.chance.sample(self.live, min(number, len(self.live) - 1)):
                nursery.start_soon(self._end, session)

    async def _end(self, session: SimSession) -> None:
        await trio.sleep(self.chance.uniform(0, 0.5))
        self.live.remove(session)
        self.ended.append(session)
        await session.stop()

    async def begin_and_end(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.begin)
            nursery.start_soon(self.end)

    async def pause(self) -> None:
        paused = self.chance.sample(self.live, min(6, len(self.live)))
        for session in paused:
            session.pause()
        await trio.sleep(self.chance.uniform(2 * REACH_MS / 1000, 1))  # what is shorter is stored as jitter
        for session in paused:
            session.resume()

    async def repeat(self) -> None:
        """Webhooks that came before, in bulk: whichever worker gets one must know."""
        async with trio.open_nursery() as nursery:
            for session in self.chance.sample(self.live, min(8, len(self.live))):
                nursery.start_soon(self._repeat, session)

    async def _repeat(self, session: SimSession) -> None:
        for _ in range(12):
            await session.duplicate_webhook()

    async def cut(self) -> None:
        """Zoom loses connections, and says so in webhooks."""
        for session in self.chance.sample(self.live, min(5, len(self.live))):
            session.cut_signaling(webhook=self.chance.random() < 0.7)
            await trio.sleep(self.chance.uniform(0, 0.1))

    async def quiet(self) -> None:
        """Nothing else."""

    # A round

    async def round(self) -> None:
        fault = self.chance.choices([*FAULTS], weights=[*FAULTS.values()])[0]
        meanwhile = self.chance.choices([*MEANWHILE], weights=[*MEANWHILE.values()])[0]
        self.rounds[f"{fault.__name__}"] += 1
        self.rounds[f"meanwhile {meanwhile.__name__}"] += 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(meanwhile, self)
            await trio.sleep(self.chance.uniform(0, 0.6))
            await fault(self)
        if len(self.live) < self.least:
            await self.begin(self.least - len(self.live))
        await self.until_recovered()

    async def until_recovered(self) -> None:
        await until(lambda: len(workers_of(self.parent)) == self.workers)
        await self.until_fed()

    async def until_fed(self) -> None:
        """Wait until each stream gets audio again."""
        before = {session.rtms_stream_id: audio_of(session) for session in self.live}
        for session in self.live:
            await until(lambda: audio_of(session) > before[session.rtms_stream_id])  # noqa: B023 waited for here

    async def reckonings(self) -> list[Reckoning]:
        """End what is left, and count everything."""
        live = await end_all(self.daemon, self.live)
        return [*live, *(reckon(self.daemon.recordings, session) for session in self.ended)]


Step = Callable[[Play], Awaitable[None]]

FAULTS: Final[Mapping[Any, float]] = {
    Play.one: 8,
    Play.two: 2,
    Play.all_of_them: 1,
    Play.again: 3,
    Play.heir: 3,
    Play.house: 2,
    Play.stopped: 2,
    Play.frozen: 2,
    Play.frozen_and_killed: 2,
    Play.frozen_parent: 2,
}
MEANWHILE: Final[Mapping[Any, float]] = {
    Play.quiet: 1,
    Play.begin: 2,
    Play.end: 2,
    Play.begin_and_end: 3,
    Play.pause: 1,
    Play.repeat: 2,
    Play.cut: 2,
}


def wrong_ends(daemon: Daemon, sessions: Sequence[SimSession]) -> list[str]:
    """Return what ended otherwise than its Zoom said, or than Zoom's refusal to whoever took a stopped stream over."""
    wrong = []
    for session in sessions:
        manifest = manifest_of(recording_of(daemon.recordings, session))
        end = manifest["state"], manifest["stop_reason"]
        if end != ("ended", StopReason.MEETING_ENDED) and not is_guessed(manifest):
            wrong.append(f"{session.rtms_stream_id}: {end}, {manifest['why']}")
    return wrong
