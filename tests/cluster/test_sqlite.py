"""The records of ownership in a real state file."""

import os
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest

from rtmsd.cluster.engine import Away, Lost
from rtmsd.cluster.engines.sockets import SocketBus
from rtmsd.cluster.engines.sqlite import SqliteStore
from rtmsd.cluster.records import Held, TenureState, Why
from rtmsd.commands import Verdict
from rtmsd.errors import StorageError
from rtmsd.state.journal import KEEP_MS, LocalJournal
from tests.cluster.contract import STARTED_MS, Join, Member, OwnerStoreContract, known, new_id, own
from tests.state.commands import start, stop

NOW_MS = STARTED_MS + 1000


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[LocalJournal]:
    """The parent's."""
    journal = await LocalJournal.open(tmp_path / "state.db", is_shared=True, clock_ms=lambda: NOW_MS)
    yield journal
    await journal.aclose()


@asynccontextmanager
async def joined(journal: LocalJournal, node: str) -> AsyncIterator[Member]:
    """A worker with a connection of its own to the file."""
    inherited = [os.dup(descriptor) for descriptor in journal.lock_descriptors]
    own_journal = await LocalJournal.join(journal.path, inherited, clock_ms=lambda: NOW_MS)
    store = SqliteStore(own_journal, lambda: NOW_MS)
    try:
        yield Member(node=node, incarnation=uuid.uuid4().hex, store=store, bus=SocketBus(Path))
    finally:
        await own_journal.aclose()


@pytest.fixture
def join(journal: LocalJournal) -> Join:
    return partial(joined, journal)


class TestOwnerStore(OwnerStoreContract):
    pass


@pytest.fixture
async def a(journal: LocalJournal) -> AsyncIterator[Member]:
    async with joined(journal, "1") as member:
        yield member


@pytest.fixture
async def b(journal: LocalJournal) -> AsyncIterator[Member]:
    async with joined(journal, "2") as member:
        yield member


def move_away(directory: Path) -> list[Path]:
    """Take the state file away, and return where its files are."""
    return [file.rename(f"{file}.gone") for file in directory.glob("state.db*")]


async def test_a_claim_carries_the_row_into_the_journal(journal: LocalJournal, a: Member) -> None:
    stream = new_id()
    what = known(stream, event_ts=STARTED_MS + 5)
    await a.store.claim(own(a, stream, what=what), seen=0)
    assert await journal.known(stream) == what
    assert await journal.unfinished() == [what.row]
    closed = known(stream, event_ts=STARTED_MS + 5, closed=True)
    held = await a.store.read(stream)
    await a.store.claim(own(a, stream, 1, TenureState.ENDED, closed), seen=held.token)
    assert await journal.unfinished() == []
    assert await journal.known(stream) == closed


async def test_a_webhook_that_came_between_is_not_lost(journal: LocalJournal, a: Member, b: Member) -> None:
    """A stop that one worker records as one of an unknown stream, while another claims its start."""
    command = start()
    stream = command.rtms_stream_id
    seen = await a.store.read(stream)
    assert seen == Held()
    assert await journal.record(stop()) is Verdict.NEW
    with pytest.raises(Lost) as caught:
        await a.store.claim(own(a, stream, what=known(stream)), seen=seen.token)
    winner = caught.value.winner
    assert (winner.own, winner.token) == (None, 0)
    assert winner.known == await journal.known(stream)
    mine = own(a, stream, what=winner.known)
    assert await a.store.claim(mine, seen=winner.token) > 0
    assert (await b.store.read(stream)).own == mine


async def test_a_webhook_of_the_owner_while_another_claims_is_not_lost(
    journal: LocalJournal, a: Member, b: Member
) -> None:
    await journal.record(start())
    [orphan] = await a.store.orphans([])
    stream = start().rtms_stream_id
    token = await a.store.claim(own(a, stream, what=orphan.known), seen=orphan.token)
    seen = await b.store.read(stream)
    await journal.record(stop())
    with pytest.raises(Lost) as caught:
        await b.store.claim(own(b, stream, 2, what=seen.known), seen=token)
    assert caught.value.winner == await a.store.read(stream)
    assert caught.value.winner.token == token


async def test_what_nobody_owns_is_an_orphan_until_it_is_closed(journal: LocalJournal, a: Member) -> None:
    await journal.record(start(1))
    await journal.record(start(2))
    orphans = await a.store.orphans([a.incarnation])
    assert [(held.own, held.token) for held in orphans] == [(None, 0)] * 2
    assert [held.known for held in orphans] == [await journal.known(f"stream-{number}") for number in (1, 2)]
    await journal.close_stream("stream-1", reason=6, ended_ms=5)
    [held] = await a.store.orphans([a.incarnation])
    assert held.known.row is not None
    assert held.known.row.rtms_stream_id == "stream-2"


async def test_files_that_a_dead_owner_had_not_finished_are_an_orphan(
    journal: LocalJournal, a: Member, b: Member
) -> None:
    """Also where it had said already that its tenure ended, or that the stream is to be deleted."""
    for number, state in enumerate((TenureState.ENDED, TenureState.REVOKED)):
        await journal.record(start(number))
        held = await b.store.read(f"stream-{number}")
        await b.store.claim(own(b, f"stream-{number}", 1, state, held.known), seen=0)
    assert await a.store.orphans([a.incarnation, b.incarnation]) == []
    found = await a.store.orphans([a.incarnation])
    assert [held.own.state for held in found if held.own is not None] == [TenureState.ENDED, TenureState.REVOKED]


async def test_a_record_comes_back_whole(journal: LocalJournal, a: Member) -> None:
    stream = new_id()
    for why in Why:
        held = await a.store.read(stream)
        mine = attrs.evolve(own(a, stream, 7), why=why, version=3, more={"zone": ["ä", {"x": None}], "n": 1.5})
        await a.store.claim(mine, seen=held.token)
        assert (await a.store.read(stream)).own == mine


async def test_a_reason_that_only_a_newer_version_knows_hides_no_stream(journal: LocalJournal, a: Member) -> None:
    stream = new_id()
    await a.store.claim(own(a, stream), seen=0)
    await journal.transact(lambda db: db.execute("UPDATE own SET why = 'gathered', version = 2"))
    [found] = await a.store.orphans([])
    assert found == await a.store.read(stream)
    assert found.own is not None
    assert (found.own.why, found.own.is_newer) == (Why.OTHER, True)


async def test_it_is_forgotten_with_the_tombstone_and_its_token_is_not_used_again(
    journal: LocalJournal, a: Member
) -> None:
    alive, dead = new_id(), new_id()
    await a.store.claim(own(a, alive), seen=0)
    token = await a.store.claim(own(a, dead, what=known(dead, closed=True)), seen=0)
    await journal.prune(NOW_MS + KEEP_MS)
    assert (await a.store.read(dead)).token == token
    await journal.prune(NOW_MS + KEEP_MS + 1)
    assert await a.store.read(dead) == Held()
    held = await a.store.read(alive)
    assert held.own is not None
    assert await a.store.claim(own(a, dead), seen=0) > token


async def test_a_file_that_was_written_anew_goes_on_counting(journal: LocalJournal, a: Member, tmp_path: Path) -> None:
    stream, other = new_id(), new_id()
    await a.store.claim(own(a, stream), seen=0)
    token = await a.store.claim(own(a, other, what=known(other, closed=True)), seen=0)
    await journal.prune(NOW_MS + KEEP_MS + 1)
    move_away(tmp_path)
    journal.database.write_anew()
    assert (await a.store.read(stream)).own is not None
    assert await a.store.claim(own(a, other), seen=0) > token


async def test_a_stream_does_not_begin_while_the_file_is_lost(
    journal: LocalJournal, a: Member, b: Member, tmp_path: Path
) -> None:
    stream = new_id()
    token = await b.store.claim(own(b, stream), seen=0)
    moved = move_away(tmp_path)
    with pytest.raises(Away, match="removed, moved"):
        await a.store.claim(own(a, new_id()), seen=0)
    await a.store.claim(own(a, stream, 2), seen=token)  # one that lives goes on
    for elsewhere in moved:
        elsewhere.rename(elsewhere.with_suffix(""))
    assert await a.store.claim(own(a, new_id()), seen=0) > token


async def test_a_disk_that_refuses_is_an_engine_that_is_away(journal: LocalJournal, a: Member) -> None:
    def refuse(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO nothing VALUES (1)")

    store = SqliteStore(journal)
    ups = [store.is_up]
    with pytest.raises(StorageError):
        await journal.transact(refuse)
    ups.append(store.is_up)
    await store.read(new_id())
    ups.append(store.is_up)
    assert ups == [True, False, True]
    await journal.aclose()
    for call in (partial(store.read, "x"), partial(store.orphans, []), partial(store.claim, own(a, "x"), seen=0)):
        with pytest.raises(Away, match="closed"):
            await call()
