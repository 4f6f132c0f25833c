"""Orders to delete a stream, on a member that has it in whatever state: all goes but the receipt, and is confirmed."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.engines.memory import Fault, MemoryEngine, MemoryMember
from rtmsd.cluster.parts.revocations import AGAIN_S, CONFIRM_S, Revocations
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import Own, Part, PartState, Revoked, TenureState, Why
from rtmsd.errors import StorageError
from rtmsd.recording.disk.paths import aside_of, building_of, staging_of
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.state import deliveries as queue
from rtmsd.state import parts
from rtmsd.state.deliveries import DeliveryEvent
from rtmsd.state.rows import StreamRow
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import zoom_ms

OTHER: Final = "stream-2"
Forget = Callable[[str], Awaitable[None]]


@attrs.define(eq=False)
class Node:
    """One life of a member."""

    bench: Bench
    member: MemoryMember
    revocations: Revocations
    tasks: trio.Nursery

    def follow(self) -> None:
        self.tasks.start_soon(self.revocations.run)

    async def place(self) -> int:
        return await self.bench.journal.transact(parts.revocation_place)

    async def record(self, rtms_stream_id: str = STREAM) -> Path:
        """Record a stream for a while, and be still recording it."""
        await self.bench.start(rtms_stream_id)
        self.bench.supervisor.streams[rtms_stream_id].owned(PartTenure(node="a", epoch=1, token=1))
        await self.bench.until_up(rtms_stream_id=rtms_stream_id)
        await self.bench.zoom.last("audio").audio(zoom_ms())
        await trio.sleep(2)
        return self.bench.recording(rtms_stream_id)


@attrs.frozen
class Place:
    """Where a member lives: its engine, and its disk."""

    root: Path
    monkeypatch: pytest.MonkeyPatch
    engine: MemoryEngine = attrs.field(factory=MemoryEngine)

    @asynccontextmanager
    async def live(self, *forget: Forget) -> AsyncIterator[Node]:
        async with self.engine.join("a", "a-1") as member, trio.open_nursery() as outer:
            teller = PartTeller(member)
            await outer.start(teller.run)
            async with (
                open_bench(self.root, self.monkeypatch, to_resume=_nothing, on_recorder=teller.follow) as bench,
                trio.open_nursery() as tasks,
            ):
                follower = Revocations(member, bench.supervisor, bench.writers, teller, node="a", forget=forget)
                yield Node(bench, member, follower, tasks)
                tasks.cancel_scope.cancel()
            outer.cancel_scope.cancel()

    def revoke(self, rtms_stream_id: str = STREAM) -> None:
        self.engine.tables.revoke(Revoked(rtms_stream_id=rtms_stream_id, at_ms=zoom_ms()))

    def confirmed(self, rtms_stream_id: str = STREAM) -> bool:
        own = [part for part in self.engine.tables.parts(rtms_stream_id) if part.node == "a"]
        return [part.state for part in own] == [PartState.DELETED]


async def _nothing() -> Sequence[StreamRow]:
    await trio.lowlevel.checkpoint()
    return []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.rglob("*"))


def receipt(directory: Path) -> dict[str, Any]:
    assert files(directory) == ["stream.json"]
    found: dict[str, Any] = json.loads((directory / "stream.json").read_bytes())
    assert (found["state"], found["participants"], found["product"]) == ("revoked", [], "session")
    return found


async def test_what_was_let_go_is_deleted_with_all_copies(autojump_clock: MockClock, place: Place) -> None:
    async with place.live() as node:
        directory = await node.record()
        await node.bench.supervisor.let_go(STREAM, "another's")
        await node.bench.journal.transact(partial(parts.lose, rtms_stream_id=STREAM))
        await node.bench.journal.transact(partial(parts.keep, rtms_stream_id=STREAM, command=b"{}"))
        for copy in (building_of(directory), aside_of(directory), staging_of(directory) / "b"):
            copy.mkdir(parents=True)
            (copy / "5.wav").write_bytes(b"words")
        node.follow()
        place.revoke()
        await node.bench.until(place.confirmed)
        receipt(directory)
        assert files(place.root / "recordings") == sorted([directory.parent.name, ".parts", STREAM, "stream.json"])
        assert await node.bench.journal.transact(parts.kept) == []
        assert not await node.bench.journal.transact(partial(parts.has_traces, rtms_stream_id=STREAM))
        assert list(node.revocations.recent) == [STREAM]


async def test_what_lives_here_ends(autojump_clock: MockClock, place: Place) -> None:
    async with place.live() as node:
        directory = await node.record()
        node.follow()
        place.revoke()
        await node.bench.until(place.confirmed)
        assert STREAM not in node.bench.supervisor.streams
        receipt(directory)
        assert node.bench.restarter.considered == [(STREAM, 8)]


async def test_of_a_stream_that_never_was_here_nothing_is_confirmed(autojump_clock: MockClock, place: Place) -> None:
    async with place.live() as node:
        directory = await node.record()
        node.follow()
        place.revoke(OTHER)
        await trio.sleep(CONFIRM_S + 5)
        assert place.engine.tables.parts(OTHER) == []
        assert await node.place() > 0
        assert (directory / "audio").is_dir()
        assert node.bench.state() == "active"


async def test_orders_of_weeks_ago_are_carried_out_once(autojump_clock: MockClock, place: Place) -> None:
    async with place.live() as node:
        for stream in (STREAM, OTHER):
            await node.record(stream)
            await node.bench.stop(rtms_stream_id=stream)
            await node.bench.until_gone(stream)
        place.revoke()
        directory = node.bench.recording()
    await trio.sleep(14 * 24 * 3600)
    async with place.live() as node:
        node.follow()
        await node.bench.until(place.confirmed)
        receipt(directory)
        await trio.sleep(1)
        assert await node.place() == 1
    (directory / "stream.json").unlink()  # who carried it out again would confirm it again
    place.engine.tables.purge(STREAM)
    async with place.live() as node:
        node.follow()
        place.revoke(OTHER)
        await node.bench.until(lambda: place.confirmed(OTHER))
        assert not place.confirmed()
        assert await node.place() == 2


async def test_a_confirmation_that_was_lost_is_repeated(autojump_clock: MockClock, place: Place) -> None:
    async with place.live() as node:
        directory = await node.record()
        node.follow()
        place.revoke()
        place.engine.fail(Fault.FULL)
        await trio.sleep(100)
        assert STREAM not in node.bench.supervisor.streams
        assert not place.confirmed()
        assert await node.place() == 0
    place.engine.recover()
    receipt(directory)
    async with place.live() as node:
        node.follow()
        await node.bench.until(place.confirmed)


async def test_it_is_confirmed_after_the_owner_has_purged(autojump_clock: MockClock, place: Place) -> None:
    own = Own(rtms_stream_id=STREAM, node="b", incarnation="b-1", epoch=2, nonce="n", why=Why.DIED)
    async with place.live() as node:
        directory = await node.record()
        await node.bench.supervisor.let_go(STREAM, "another's")
        token = place.engine.tables.claim(own, seen=0)
        node.follow()
        place.revoke()
        await trio.sleep(5)
        receipt(directory)
        assert await node.revocations.unconfirmed(STREAM) == ["a"]
        place.engine.tables.purge(STREAM)
        deleted = Part(rtms_stream_id=STREAM, node="b", token=token, epoch=2, state=PartState.DELETED)
        place.engine.tables.put_part(attrs.evolve(deleted, more={"awaits": ["a", "c"]}))
        assert await node.revocations.unconfirmed(STREAM) == ["a", "c"]
        place.engine.tables.claim(attrs.evolve(own, state=TenureState.REVOKED, nonce="n-end"), seen=token)
        await node.bench.until(place.confirmed, within_s=2)
        assert await node.revocations.unconfirmed(STREAM) == ["c"]


async def test_an_owner_that_never_ends_it_holds_up_a_confirmation_for_a_while(
    autojump_clock: MockClock, place: Place
) -> None:
    own = Own(rtms_stream_id=STREAM, node="b", incarnation="b-1", epoch=2, nonce="n", why=Why.DIED)
    async with place.live() as node:
        await node.record()
        place.engine.tables.claim(own, seen=0)
        node.follow()
        place.revoke()
        await trio.sleep(CONFIRM_S - 5)
        assert not place.confirmed()
        await node.bench.until(place.confirmed, within_s=10)


async def test_what_the_disk_refuses_is_tried_again_and_holds_up_no_other(
    autojump_clock: MockClock, place: Place
) -> None:
    refused: list[str] = []

    async def forget(rtms_stream_id: str) -> None:
        await trio.lowlevel.checkpoint()
        if rtms_stream_id == STREAM and len(refused) < 5:
            refused.append(rtms_stream_id)
            raise StorageError("the spool refuses")

    async with place.live(forget) as node:
        directory = await node.record()
        await node.record(OTHER)
        node.follow()
        place.revoke()
        place.revoke(OTHER)
        await node.bench.until(lambda: place.confirmed(OTHER), within_s=3)
        assert not place.confirmed()
        assert await node.place() == 0
        await node.bench.until(place.confirmed, within_s=5 * AGAIN_S + 3)
        receipt(directory)
        await trio.sleep(1)
        assert await node.place() == 2


async def test_who_was_given_a_recording_is_told_though_it_is_gone_here(
    autojump_clock: MockClock, place: Place
) -> None:
    def given(db: Any) -> None:
        queue.finished(db, sinks=["copy"], rtms_stream_id=STREAM, directory="2026-09-21/s", now_ms=0)
        db.execute("UPDATE sink_delivery SET state = 'done', runs = 1")

    async with place.live() as node:
        await node.bench.journal.transact(given)
        node.follow()
        place.revoke()
        await node.bench.until(place.confirmed)
        rows = await node.bench.supervisor.deliveries.listed()
        assert [(row.event, row.directory) for row in rows] == [(DeliveryEvent.REVOKED, "2026-09-21/s")]


async def test_a_stream_that_is_being_let_go_is_deleted_when_that_is_done(
    autojump_clock: MockClock, place: Place
) -> None:
    async with place.live() as node:
        directory = await node.record()
        node.follow()
        node.tasks.start_soon(node.bench.supervisor.let_go, STREAM, "another's")
        place.revoke()
        await node.bench.until(place.confirmed)
        receipt(directory)
