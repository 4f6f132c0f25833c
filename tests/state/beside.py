"""A process beside others at one state file, for tests: `python -m tests.state.beside`, and the test's end of it."""

import argparse
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from rtmsd.commands import StopStream, StreamCommand
from rtmsd.errors import StorageError
from rtmsd.state.journal import LocalJournal
from tests.state.commands import start, stop

AT_ONCE: Final = 4
"""Webhooks under way in each process."""


@attrs.define(eq=False)
class Beside:
    """A worker process, and what it said: the id of each command, and what became of it."""

    process: trio.Process
    said: list[tuple[str, str]] = attrs.field(factory=list)
    _heard: trio.Event = attrs.field(factory=trio.Event)

    def ids(self, *results: str) -> list[str]:
        return [name for name, result in self.said if result in results]

    async def until(self, number: int, *results: str) -> None:
        """Wait until it has said so often that a command came to one of these ends."""
        with trio.fail_after(60):
            while len(self.ids(*results)) < number:
                self._heard = trio.Event()
                await self._heard.wait()

    async def more(self, number: int, *results: str) -> None:
        await self.until(len(self.ids(*results)) + number, *results)

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when it has opened the file."""
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                name, result = line.decode().split()
                if name == "ready":
                    task_status.started()
                else:
                    self.said.append((name, result))
            self._heard.set()


@asynccontextmanager
async def open_beside(journal: LocalJournal, *arguments: str) -> AsyncIterator[Beside]:
    """Run a process that joins the file of a journal; killed at the end."""
    descriptors = journal.lock_descriptors
    command = [sys.executable, "-m", "tests.state.beside", str(journal.path), *arguments]
    command += [f"--lock={descriptor}" for descriptor in descriptors]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, pass_fds=descriptors)
    try:
        async with trio.open_nursery() as nursery:
            beside = Beside(process)
            with trio.fail_after(60):
                await nursery.start(beside.listen)
            yield beside
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _commands(name: str, streams: int, seed: int) -> Iterator[StreamCommand]:
    """Yield commands of streams of its own, with a name; or of the same streams as all, in an order of its own."""
    numbers = list(range(streams))
    if not name:
        random.Random(seed).shuffle(numbers)
        yield from map(start, numbers)
        return
    for number in numbers:
        yield attrs.evolve(stop(number), rtms_stream_id=f"{name}-{number}")
        yield attrs.evolve(start(number), rtms_stream_id=f"{name}-start-{number}")


async def _main(path: Path, descriptors: Sequence[int], commands: Iterator[StreamCommand], pace_s: float) -> None:
    journal = await LocalJournal.join(path, descriptors)
    print("ready -", flush=True)
    took_ms: list[float] = []

    async def record() -> None:
        for command in commands:
            began_s = time.perf_counter()
            try:
                result = (await journal.record(command)).value
            except StorageError:
                result = "refused_stop" if isinstance(command, StopStream) else "refused"
            took_ms.append((time.perf_counter() - began_s) * 1000)
            print(command.rtms_stream_id, result, flush=True)
            await trio.sleep(pace_s)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(record)
    took_ms.sort()
    print(f"p50={took_ms[len(took_ms) // 2]:.2f}", f"p99={took_ms[len(took_ms) * 99 // 100]:.2f}", flush=True)
    print("done", f"{took_ms[-1]:.2f}", flush=True)
    await trio.sleep_forever()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--lock", type=int, action="append")
    parser.add_argument("--name", default="")
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=0.0)
    given = parser.parse_args()
    trio.run(_main, given.path, given.lock, _commands(given.name, given.streams, given.seed), given.pace)
