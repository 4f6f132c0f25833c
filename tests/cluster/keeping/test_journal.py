"""The journal of a member: a webhook has one verdict, and is safe and told with and without the engine."""

from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock

from rtmsd.cluster.engine import Fenced
from rtmsd.cluster.engines.memory import Fault, MemoryEngine
from rtmsd.cluster.records import Part, PartState, Row, TenureState, Why
from rtmsd.cluster.rules import awaited
from rtmsd.commands import Verdict
from rtmsd.state import parts
from rtmsd.state.rows import Known
from tests.cluster.crew import T0_MS, interrupt, start, stop
from tests.cluster.keeping.keeper import live

FAULTS = [Fault.AWAY, Fault.FROZEN, Fault.FULL, Fault.ANSWER_LOST]


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine()


async def test_a_webhook_to_an_own_stream_is_known_to_all(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path, tells=False) as a:
        await a.begin(start())
        assert await a.journal.record(stop()) is Verdict.NEW
        held = engine.tables.read("s")
        assert held.known == await a.journal.known("s")
        assert held.known.row is not None
        assert held.known.row.stop_reason == 6
        assert await a.journal.record(stop()) is Verdict.DUPLICATE
        assert await a.journal.record(start(event_ts=T0_MS - 1)) is Verdict.LATE
        assert await a.journal.record(stop(app="other"), {"main"}) is Verdict.FOREIGN
        assert engine.tables.read("s").known == await a.journal.known("s")
        assert await a.journal.kept() == []


async def test_what_is_not_told_of_a_stream_yet_can_be_told_at_once(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    later = start(event_ts=T0_MS + 1)
    async with live(engine, tmp_path, tells=False) as a:
        await a.begin(start())
        with engine.failing(Fault.FULL):
            assert await a.journal.record(later) is Verdict.NEW
        await a.journal.tell("s")
        assert engine.tables.read("s").known == await a.journal.known("s")
        engine.delay_s = 0.2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.journal.record, stop(event_ts=T0_MS + 2))
            await trio.testing.wait_all_tasks_blocked()
            await a.journal.tell("s")
            row = engine.tables.read("s").known.row
            assert row is not None
            assert row.stop_reason == 6


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_verdict_does_not_depend_on_the_engine(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault
) -> None:
    async with live(engine, tmp_path) as a:
        await a.begin(start())
        with engine.failing(fault):
            began_s = trio.current_time()
            assert await a.journal.record(interrupt()) is Verdict.NEW
            assert trio.current_time() - began_s < 2.2
            assert await a.journal.record(interrupt()) is Verdict.DUPLICATE
            assert await a.journal.record(stop()) is Verdict.NEW
            await trio.sleep(30)
        assert await a.journal.record(stop()) is Verdict.DUPLICATE
        await trio.sleep(3)
        assert engine.tables.read("s").known == await a.journal.known("s")
        assert a.lost == []
        assert await a.journal.kept() == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_was_not_told_is_told_by_the_next_life(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault
) -> None:
    async with live(engine, tmp_path) as a:
        await a.begin(start())
        with engine.failing(fault):
            await a.journal.record(stop())
    async with live(engine, tmp_path, life=2, tells=False) as a:
        held = await a.store.read("s")  # the file is right, told or not
        assert held.known.row is not None
        assert held.known.row.stop_reason == 6
        await a.claim("s", Why.RESUMED)
        assert engine.tables.read("s").known == await a.journal.known("s") == held.known
        assert await a.journal.record(stop()) is Verdict.DUPLICATE
        assert await a.journal.tell_all()


async def test_a_stream_that_is_anothers_by_now_is_judged_there(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        await a.begin(start())
        await b.claim("s", Why.DIED)
        with pytest.raises(Fenced):
            await a.journal.record(stop())
        assert await a.journal.unfinished() == []
        assert await b.journal.record(stop()) is Verdict.NEW
        assert await a.journal.record(stop()) is Verdict.DUPLICATE  # as the engine says


async def test_a_stop_that_came_without_the_engine_reaches_whoever_took_the_stream(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        await a.begin(start())
        with engine.failing(Fault.AWAY, "a"):
            assert await a.journal.record(stop()) is Verdict.NEW
            assert await a.journal.kept() == []
            await b.claim("s", Why.DIED)
        await trio.sleep(3)
        assert a.lost == ["s"]
        [kept] = await a.journal.kept()
        assert kept == stop()
        assert await b.journal.record(kept) is Verdict.NEW
        await a.journal.handed_on(kept)
        assert await a.journal.kept() == []


async def test_a_kept_webhook_that_cannot_be_read_holds_up_no_other(engine: MemoryEngine, tmp_path: Path) -> None:
    async with live(engine, tmp_path) as a:
        await a.local.transact(lambda db: parts.keep(db, "x", b'{"kind": "of a newer version"}'))
        await a.journal.keep(stop())
        assert await a.journal.kept() == [stop()]


async def test_a_webhook_for_another_is_kept_across_restarts(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path, "b") as b:
        await b.begin(start())
        async with live(engine, tmp_path) as a:
            with engine.failing(Fault.AWAY, "a"):
                assert await a.journal.record(interrupt()) is Verdict.NEW
                assert await a.journal.record(stop()) is Verdict.NEW
                assert await a.journal.record(stop()) is Verdict.DUPLICATE
        async with live(engine, tmp_path, life=2) as a:
            assert await a.journal.kept() == [interrupt(), stop()]
            assert await a.journal.unfinished() == []
            for each in await a.journal.kept():
                assert await b.journal.record(each) is Verdict.NEW
                await a.journal.handed_on(each)
            assert await a.journal.kept() == []
            assert await a.journal.record(stop()) is Verdict.DUPLICATE


@pytest.mark.parametrize("fault", [Fault.AWAY, Fault.FROZEN])
async def test_a_start_without_the_engine_is_claimed_when_it_is_back(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault
) -> None:
    async with live(engine, tmp_path) as a:
        with engine.failing(fault):
            assert await a.journal.record(start()) is Verdict.NEW
            assert await a.journal.record(start()) is Verdict.DUPLICATE
            assert [row.rtms_stream_id for row in await a.journal.unfinished()] == ["s"]
            await trio.sleep(10)
            assert a.claimed == []
        await trio.sleep(3)
        held = engine.tables.read("s")
        assert held.own is not None
        assert (held.own.incarnation, held.own.state) == ("a-1", TenureState.LIVE)
        assert a.claimed == [("s", held.token, 1)]
        assert held.known == await a.journal.known("s")
        assert await a.journal.record(stop()) is Verdict.NEW
        assert engine.tables.read("s").known == await a.journal.known("s")


async def test_two_members_start_one_stream_and_one_has_it_in_the_end(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        with engine.failing(Fault.AWAY):
            assert await a.journal.record(start()) is Verdict.NEW
            assert await b.journal.record(start()) is Verdict.NEW
            await trio.sleep(10)
        await trio.sleep(2)
        assert len(a.claimed) + len(b.claimed) == 1
        assert len(a.lost) + len(b.lost) == 1
        loser, winner = (a, b) if a.lost else (b, a)
        assert await loser.journal.unfinished() == []
        [kept] = await loser.journal.kept()
        assert await winner.journal.record(kept) is Verdict.DUPLICATE


async def test_a_claim_whose_answer_was_lost_is_found_and_keeps_what_came_since(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        with engine.failing(Fault.AWAY):
            await a.journal.record(start())
        engine.fail(Fault.ANSWER_LOST)
        while engine.tables.read("s").own is None:  # noqa: ASYNC110 the engine's tables have no event for it
            await trio.sleep(0.1)
        engine.fail(Fault.AWAY)
        assert a.claimed == []
        assert await a.journal.record(stop()) is Verdict.NEW
        engine.recover()
        await trio.sleep(5)
        held = engine.tables.read("s")
        assert held.known == await a.journal.known("s")
        assert held.known.row is not None
        assert held.known.row.stop_reason == 6
        assert a.claimed == [("s", held.token, 1)]


async def test_what_began_and_ended_without_the_engine_is_known_to_have_ended(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        with engine.failing(Fault.AWAY):
            await a.journal.record(start())
            await a.journal.record(stop())
            await a.journal.close_stream("s", reason=6, ended_ms=T0_MS + 1000, event_ts=T0_MS)
    async with live(engine, tmp_path, life=2) as a:
        await trio.sleep(3)
        held = engine.tables.read("s")
        assert held.own is not None
        assert held.own.state is TenureState.ENDED
        assert held.known == await a.journal.known("s")
        assert a.claimed == []
        assert await a.journal.record(start()) is Verdict.DUPLICATE


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_an_end_is_written_once(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault | None
) -> None:
    closed: list[str] = []
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        token = await a.begin(start())
        await a.journal.record(stop())
        if fault is not None:
            engine.fail(fault)
        await a.journal.close_stream(
            "s", reason=6, ended_ms=T0_MS + 1000, event_ts=T0_MS, on_closed=lambda _db: closed.append("s")
        )
        await trio.sleep(5)
        engine.recover()
        await trio.sleep(3)
        held = engine.tables.read("s")
        assert held.own is not None
        assert held.own.state is TenureState.ENDED
        assert held.own.epoch == 1
        assert held.token > token
        assert held.known.row is not None
        assert held.known.row.closed
        assert closed == ["s"]
        assert await a.journal.record(stop()) is Verdict.DUPLICATE
        assert await b.journal.record(stop()) is Verdict.DUPLICATE
        assert (a.lost, await a.journal.kept()) == ([], [])
        again = engine.tables.read("s")
        assert again == held


async def test_an_end_is_told_after_the_log_lines_that_it_fences(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        token = await a.begin(start())
        a.with_lines.add("s")
        await a.journal.close_stream("s", reason=6, ended_ms=T0_MS + 1000, event_ts=T0_MS)
        await trio.sleep(5)
        assert engine.tables.read("s").token == token
        assert await a.journal.unfinished() == []
        a.with_lines.clear()
        await trio.sleep(2)
        held = engine.tables.read("s")
        assert held.own is not None
        assert held.own.state is TenureState.ENDED


async def test_a_stream_whose_telling_crashes_holds_up_no_other_and_its_webhooks_have_their_verdict(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(engine, tmp_path) as a:
        await a.begin(start("s"))
        await a.begin(start("t"))
        put_row = a.engine.put_row

        async def crash_for_s(row: Row) -> None:
            if row.rtms_stream_id == "s":
                raise ZeroDivisionError("a bug")
            await trio.sleep(0.1)
            await put_row(row)

        monkeypatch.setattr(a.engine, "put_row", crash_for_s)
        with engine.failing(Fault.FULL):
            assert await a.journal.record(stop("t")) is Verdict.NEW
        assert await a.journal.record(stop("s")) is Verdict.NEW
        await trio.sleep(3)
        assert engine.tables.read("t").known == await a.journal.known("t")
        monkeypatch.setattr(a.engine, "put_row", put_row)
        await trio.sleep(3)
        assert engine.tables.read("s").known == await a.journal.known("s")


async def test_a_stream_that_was_let_go_is_forgotten_if_it_is_anothers(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        await a.begin(start())
        await a.journal.let_go("s")
        assert [row.rtms_stream_id for row in await a.journal.unfinished()] == ["s"]
        await b.claim("s", Why.HANDED_OVER)
        with engine.failing(Fault.AWAY, "a"):
            await a.journal.let_go("s")
        assert [row.rtms_stream_id for row in await a.journal.unfinished()] == ["s"]
        await a.journal.let_go("s")
        assert await a.journal.unfinished() == []


async def test_many_streams_are_told_soon_after_an_outage(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    engine.delay_s = 0.005
    async with live(engine, tmp_path) as a:
        with engine.failing(Fault.AWAY):
            for number in range(300):
                await a.journal.record(start(f"s{number}"))
            await trio.sleep(10)
        await trio.sleep(2)
        assert len(a.claimed) == 300


async def test_a_later_start_opens_a_stream_that_has_ended(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        await a.begin(start())
        await a.journal.record(stop())
        await a.journal.close_stream("s", reason=6, ended_ms=T0_MS + 1000, event_ts=T0_MS)
        await b.begin(start(event_ts=T0_MS + 5000))
        held = engine.tables.read("s")
        assert held.own is not None
        assert (held.own.node, held.own.epoch, held.is_unfinished) == ("b", 2, True)
        assert await b.journal.record(stop(event_ts=T0_MS + 6000)) is Verdict.NEW


async def test_an_end_for_a_stream_that_is_anothers_is_none(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    closed: list[str] = []
    async with live(engine, tmp_path) as a, live(engine, tmp_path, "b") as b:
        await a.begin(start())
        await b.claim("s", Why.DIED)
        await a.journal.close_stream("s", reason=6, ended_ms=T0_MS, on_closed=lambda _db: closed.append("s"))
        assert closed == []
        assert engine.tables.read("s").is_unfinished
        assert await a.journal.unfinished() == []


@pytest.mark.parametrize("fault", [None, Fault.AWAY])
async def test_a_revocation_reaches_all(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, fault: Fault | None
) -> None:
    closed: list[str] = []
    async with live(engine, tmp_path) as a:
        await a.begin(start())
        if fault is not None:
            engine.fail(fault)
        await a.journal.record(stop(reason=8))
        await a.journal.close_stream("s", reason=8, ended_ms=T0_MS, on_closed=lambda _db: closed.append("s"))
        engine.recover()
        await trio.sleep(3)
        assert {each.record.rtms_stream_id for each in engine.tables.revocations(0)} == {"s"}
        held = engine.tables.read("s")
        assert held.own is not None
        assert held.own.state is TenureState.REVOKED
        assert closed == ["s"]
        assert held.known.row is not None
        assert not held.known.row.details


async def test_a_revocation_of_what_the_engine_has_forgotten_reaches_all(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    """It knows of an end for two hours; parts are on disks for months."""
    async with live(engine, tmp_path) as a:
        assert await a.journal.record(stop(reason=8)) is Verdict.NEW
        assert await a.journal.record(stop(reason=8)) is Verdict.DUPLICATE
        await a.journal.close_stream("s", reason=8, ended_ms=T0_MS)
        await trio.sleep(3)
        assert {each.record.rtms_stream_id for each in engine.tables.revocations(0)} == {"s"}
        own = engine.tables.read("s").own
        assert own is not None
        assert own.state is TenureState.REVOKED
        assert await a.journal.token("s") is None


async def test_whose_parts_are_purged_has_to_confirm(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        token = await a.begin(start())
        for node, state in [("a", PartState.RECORDING), ("b", PartState.LET_GO), ("c", PartState.DELETED)]:
            people = ({"user_id": 5, "user_name": "Ana"},)
            engine.tables.put_part(
                Part(rtms_stream_id="s", node=node, token=1, epoch=1, state=state, participants=people)
            )
        await a.journal.record(stop(reason=8))
        await a.journal.close_stream("s", reason=8, ended_ms=T0_MS)
        [part] = engine.tables.parts("s")
        assert (part.node, part.token, part.state, part.participants) == ("a", token, PartState.DELETED, ())
        assert awaited([part]) == {"b"}


async def test_whose_parts_are_purged_is_known_though_the_engine_goes_away_meanwhile(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(engine, tmp_path) as a:
        await a.begin(start())
        engine.tables.put_part(Part(rtms_stream_id="s", node="b", token=1, epoch=1, state=PartState.LET_GO))
        purge = a.engine.purge

        async def purge_and_fail(rtms_stream_id: str) -> None:
            await purge(rtms_stream_id)
            engine.fail(Fault.AWAY)

        monkeypatch.setattr(a.engine, "purge", purge_and_fail)
        await a.journal.close_stream("s", reason=8, ended_ms=T0_MS)
        assert engine.tables.parts("s") == []
        monkeypatch.setattr(a.engine, "purge", purge)
        engine.recover()
        await trio.sleep(3)
        assert awaited(engine.tables.parts("s")) == {"b"}


async def test_an_operators_revocation_is_told(autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path) -> None:
    async with live(engine, tmp_path) as a:
        await a.begin(start())
        await a.journal.revoke("s", stopped_ms=T0_MS + 7, event_ts=T0_MS)
        assert [each.record.at_ms for each in engine.tables.revocations(0)] == [T0_MS + 7]
        assert engine.tables.read("s").known == await a.journal.known("s")


async def test_a_tombstone_stays_until_the_engine_knows_of_it(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        await a.begin(start())
        with engine.failing(Fault.AWAY):
            await a.journal.close_stream("s", reason=6, ended_ms=T0_MS)
            await a.local.prune(T0_MS + 10 * 3_600_000)
            assert (await a.journal.known("s")).row is not None
        await trio.sleep(3)
        held = engine.tables.read("s")
        assert held.own is not None
        assert held.own.state is TenureState.ENDED
        await a.local.prune(T0_MS + 10 * 3_600_000)
        assert (await a.journal.known("s")).row is None


async def test_a_claim_that_the_disk_refused_is_written_down_by_the_next_webhook(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path) as a:
        token = await a.begin(start())
        await a.local.transact(lambda db: db.execute("DELETE FROM stream"))
        await a.local.transact(lambda db: db.execute("DELETE FROM delivery"))
        assert await a.journal.known("s") == Known()
        assert await a.journal.record(stop()) is Verdict.NEW
        assert engine.tables.read("s").known == await a.journal.known("s")
        assert engine.tables.read("s").token == token
        assert await a.journal.record(stop()) is Verdict.DUPLICATE


async def test_what_the_file_knows_of_a_stream_that_was_claimed_since_does_not_count(
    autojump_clock: MockClock, engine: MemoryEngine, tmp_path: Path
) -> None:
    async with live(engine, tmp_path, tells=False) as a, live(engine, tmp_path, "b") as b:
        await a.begin(start())
        with engine.failing(Fault.AWAY, "a"):
            await a.journal.record(stop())
        await b.claim("s", Why.DIED)
        held = await a.store.read("s")
        assert held.known.row is not None
        assert held.known.row.stop_reason is None
        [orphan] = await a.store.orphans(())
        assert attrs.astuple(orphan) == attrs.astuple(held)
