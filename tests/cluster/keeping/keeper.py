"""A member with a state file of its own over the engine in memory, which can be started again."""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

from rtmsd.cluster.engines.memory import MemoryEngine, MemoryMember
from rtmsd.cluster.keeping.journal import ClusterJournal
from rtmsd.cluster.keeping.store import KeptStore
from rtmsd.cluster.records import Own, Why
from rtmsd.commands import StreamCommand, Verdict
from rtmsd.state.journal import LocalJournal
from rtmsd.state.verdicts import judge

NOW_MS = 1_790_000_000_000


@attrs.define(eq=False)
class Keeper:
    """One life of a member.

    Attributes:
        claimed: streams that were begun without the engine, and are claimed by now, with token and epoch.
        lost: streams that turned out to be another's.
        with_lines: streams whose log lines are on their way.
    """

    node: str
    incarnation: str
    engine: MemoryMember
    journal: ClusterJournal
    store: KeptStore
    local: LocalJournal
    claimed: list[tuple[str, int, int]]
    lost: list[str]
    with_lines: set[str]

    async def begin(self, start: StreamCommand) -> int:
        """Claim a new stream, as ownership does."""
        held = await self.store.read(start.rtms_stream_id)
        verdict, known = judge(held.known, start, received_ms=NOW_MS)
        assert verdict is Verdict.NEW
        return await self.claim(start.rtms_stream_id, Why.STARTED, known=known)

    async def claim(self, rtms_stream_id: str, why: Why, **changes: Any) -> int:
        """Claim a stream, whoever has it."""
        held = await self.store.read(rtms_stream_id)
        epoch = 1 if held.own is None else held.own.epoch + 1
        fields = {"known": held.known, **changes}
        nonce = f"{self.incarnation}-{epoch}"
        own = Own(
            rtms_stream_id=rtms_stream_id,
            node=self.node,
            incarnation=self.incarnation,
            epoch=epoch,
            nonce=nonce,
            why=why,
            **fields,
        )
        return await self.store.claim(own, seen=held.token)


async def _in_place(work: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return work()


@asynccontextmanager
async def live(
    engine: MemoryEngine, directory: Path, node: str = "a", life: int = 1, *, tells: bool = True
) -> AsyncIterator[Keeper]:
    """Run one life of a member, which ends as a killed one: nothing is told on the way out.

    Args:
        tells: whether the engine is told later what it could not be told at once.
    """
    incarnation = f"{node}-{life}"
    claimed: list[tuple[str, int, int]] = []
    lost: list[str] = []
    with_lines: set[str] = set()
    path = directory / node / "state.sqlite"
    async with (
        engine.join(node, incarnation) as member,
        aclosing(await LocalJournal.open(path, run_sync=_in_place, clock_ms=lambda: NOW_MS)) as local,
        trio.open_nursery() as nursery,
    ):
        journal = ClusterJournal(
            local,
            member,
            node=node,
            incarnation=incarnation,
            on_claimed=lambda *stream: claimed.append(stream),
            on_lost=lambda rtms_stream_id, _why: lost.append(rtms_stream_id),
            has_lines=with_lines.__contains__,
            clock_ms=lambda: NOW_MS,
        )
        if tells:
            nursery.start_soon(journal.run)
        store = KeptStore(member, journal)
        yield Keeper(node, incarnation, member, journal, store, local, claimed, lost, with_lines)
        nursery.cancel_scope.cancel()
