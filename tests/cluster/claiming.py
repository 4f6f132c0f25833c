"""A worker process that claims streams, for tests: `python -m tests.cluster.claiming`, and the test's end of it."""

import argparse
import random
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from rtmsd.cluster.engine import Lost
from rtmsd.cluster.engines.sqlite import SqliteStore
from rtmsd.cluster.records import Own, Why
from rtmsd.state.journal import LocalJournal
from rtmsd.state.rows import Known
from rtmsd.state.verdicts import judge
from tests.state.commands import start

AT_ONCE: Final = 8


@attrs.define(eq=False)
class Claiming:
    """A worker process, and what it said.

    Attributes:
        won, lost: streams that it claimed, and had no more to claim.
        took: how long its claims took, once it has claimed all.
    """

    node: str
    process: trio.Process
    won: list[str] = attrs.field(factory=list)
    lost: list[str] = attrs.field(factory=list)
    took: str = ""
    _heard: trio.Event = attrs.field(factory=trio.Event)

    async def begin(self) -> None:
        """Have it claim, now that all have started."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")

    async def until(self, holds: Callable[["Claiming"], bool]) -> None:
        with trio.fail_after(60):
            while not holds(self):
                self._heard = trio.Event()
                await self._heard.wait()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def listen(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Started when it has opened the file."""
        assert self.process.stdout is not None
        rest = b""
        async for chunk in self.process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                what, _, text = line.decode().partition(" ")
                match what:
                    case "ready":
                        task_status.started()
                    case "won":
                        self.won.append(text)
                    case "lost":
                        self.lost.append(text)
                    case "took":
                        self.took = text
            self._heard.set()


@asynccontextmanager
async def open_claiming(journal: LocalJournal, node: str, *, streams: int, pace_s: float) -> AsyncIterator[Claiming]:
    """Run a process that claims streams 0 to `streams`, each `pace_s` one, in an order of its own; killed at the end.

    Its name is its incarnation, too.
    """
    descriptors = journal.lock_descriptors
    command = [sys.executable, "-m", "tests.cluster.claiming", str(journal.path), f"--node={node}"]
    command += [f"--streams={streams}", f"--pace={pace_s}", *(f"--lock={descriptor}" for descriptor in descriptors)]
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=descriptors
    )
    try:
        async with trio.open_nursery() as nursery:
            claiming = Claiming(node, process)
            with trio.fail_after(60):
                await nursery.start(claiming.listen)
            yield claiming
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def _main(path: Path, descriptors: Sequence[int], node: str, streams: int, pace_s: float) -> None:
    journal = await LocalJournal.join(path, descriptors)
    store = SqliteStore(journal)
    numbers = random.Random(node).sample(range(streams), streams)
    took_ms: list[float] = []
    print("ready", flush=True)
    sys.stdin.readline()
    due = _due(trio.current_time(), pace_s)

    async def claim_all() -> None:
        while numbers:
            number = numbers.pop()
            await trio.sleep_until(next(due))
            command = start(number)
            _, known = judge(Known(), command, received_ms=1)
            own = Own(
                rtms_stream_id=command.rtms_stream_id,
                node=node,
                incarnation=node,
                epoch=1,
                nonce=uuid.uuid4().hex,
                why=Why.STARTED,
                known=known,
            )
            began_s = time.perf_counter()
            try:
                await store.claim(own, seen=0)
                result = "won"
            except Lost:
                result = "lost"
            took_ms.append((time.perf_counter() - began_s) * 1000)
            print(result, command.rtms_stream_id, flush=True)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(claim_all)
    took_ms.sort()
    p50, p99, longest = took_ms[len(took_ms) // 2], took_ms[len(took_ms) * 99 // 100], took_ms[-1]
    print(f"took p50 {p50:.2f}, p99 {p99:.2f}, longest {longest:.2f} ms", flush=True)
    await trio.sleep_forever()


def _due(began_s: float, pace_s: float) -> Iterator[float]:
    while True:
        yield began_s
        began_s += pace_s


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--lock", type=int, action="append")
    parser.add_argument("--node", required=True)
    parser.add_argument("--streams", type=int, required=True)
    parser.add_argument("--pace", type=float, required=True)
    given = parser.parse_args()
    trio.run(_main, given.path, given.lock, given.node, given.streams, given.pace)
