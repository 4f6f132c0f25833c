"""Members at work, whose servers fail meanwhile."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, TypeVar

import pytest
import trio

from rtmsd.cluster.engine import Away, Fenced
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.records import Beat, Log, Revoked, TenureState
from tests.cluster.contract import Member, new_id, own

T = TypeVar("T")

LIMIT_S: Final = 60.0


def member(node: str, engine: NatsEngine) -> Member:
    return Member(node=node, incarnation=f"of-{node}", store=engine.owners, bus=engine.bus)


class Work:
    """Claims and appends, one after the other, as long as the block of `going` lasts.

    Attributes:
        logs: those that were acknowledged.
        failed: calls without an answer.
    """

    def __init__(self, engine: NatsEngine, node: str) -> None:
        self._engine = engine
        self._member = member(node, engine)
        self.claimed: dict[str, int] = {}
        self.logs: list[Log] = []
        self.failed = 0
        self._progress = trio.Event()

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._go)
            yield
            nursery.cancel_scope.cancel()

    async def _go(self) -> None:
        while True:
            stream = new_id()
            with contextlib.suppress(Away):
                self.claimed[stream] = token = await self._engine.owners.claim(own(self._member, stream), seen=0)
                for n in range(3):
                    log = Log(rtms_stream_id=stream, token=token, n=n, lines={"events": ("{}",)})
                    await self._engine.log.append(log)
                    self.logs.append(log)
                self._progress.set()
                self._progress = trio.Event()
                continue
            self.failed += 1

    async def goes_on(self) -> None:
        """Wait until something was begun and done."""
        with trio.fail_after(LIMIT_S):
            for _ in range(2):
                await self._progress.wait()

    async def check(self, reader: NatsEngine) -> None:
        """Find all that was acknowledged, as it was."""
        for stream, token in self.claimed.items():
            held = await until_answered(partial(reader.owners.read, stream))
            assert (held.token, held.own and held.own.node) == (token, self._member.node)
            read = [placed.record for placed in await until_answered(partial(reader.log.read_log, stream))]
            acknowledged = [log for log in self.logs if log.rtms_stream_id == stream]
            assert [log for log in acknowledged if log not in read] == []


async def holds(condition: Callable[[], bool]) -> None:
    """Wait for something that no event tells."""
    with trio.fail_after(LIMIT_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def orphans(engine: NatsEngine, *living: str) -> set[str]:
    """Ask until the watch has caught up."""
    with trio.fail_after(LIMIT_S):
        while True:
            with contextlib.suppress(Away):
                found = await engine.owners.orphans(living)
                return {held.own.rtms_stream_id for held in found if held.own is not None}


async def until_answered(call: Callable[[], Awaitable[T]]) -> T:
    """Call again until there is a leader."""
    with trio.fail_after(LIMIT_S):
        while True:
            with contextlib.suppress(Away):
                return await call()


async def use_all(engine: NatsEngine) -> None:
    """Everything that a member does, once."""
    stream = new_id()
    token = await engine.owners.claim(own(member("a", engine), stream), seen=0)
    log = Log(rtms_stream_id=stream, token=token, n=0, lines={"events": ("{}",)})
    await engine.log.append(log)
    assert len(await engine.log.read_log(stream)) == 1
    assert stream in await orphans(engine)
    await engine.log.revoke(Revoked(rtms_stream_id=stream, at_ms=1))
    assert stream in [each.record.rtms_stream_id for each in await engine.log.revocations()]
    await engine.log.purge(stream)
    ended = own(member("a", engine), stream, 1, TenureState.ENDED)
    await engine.owners.claim(ended, seen=token)
    with pytest.raises(Fenced):
        await engine.log.append(log)
    engine.bus.serve("ping", pong)
    assert await engine.bus.ask("a", "ping", b"x", timeout_s=LIMIT_S) == b"x"
    beat = Beat(node="a", incarnation="i", n=1)
    await engine.beats.beat(beat)
    with trio.fail_after(LIMIT_S):
        assert await engine.beats.hear() == beat


async def pong(data: bytes) -> bytes:
    return data
