"""What a member does at its start with the streams that its state file has."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
import structlog
import trio
from trio.testing import MockClock

from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.keeping.resuming import resume_kept
from rtmsd.cluster.records import Held, Why
from rtmsd.errors import StorageError
from rtmsd.protocol.causes import GapCause
from rtmsd.state.rows import Known, StreamRow
from tests.cluster.crew import Crew, a_crew, start

if TYPE_CHECKING:
    from rtmsd.cluster.keeping.journal import ClusterJournal


@attrs.frozen
class Journal:
    """The part that is asked: what the state file knows of a stream."""

    rows: Mapping[str, StreamRow]

    async def known(self, rtms_stream_id: str) -> Known:
        await trio.lowlevel.checkpoint()
        return Known(self.rows[rtms_stream_id])


async def row_of(crew: Crew, node: str) -> StreamRow:
    row = (await crew.mates[node].ownership.read("s")).known.row
    assert row is not None
    return row


async def a_row(crew: Crew) -> StreamRow:
    """What a member knows of a stream."""
    await crew.mates["2"].ownership.accept(start("model"))
    row = (await crew.mates["2"].ownership.read("model")).known.row
    assert row is not None
    return row


async def resume(crew: Crew, node: str, *rows: StreamRow) -> None:
    mate = crew.mates[node]
    await resume_kept(
        rows,
        cast("ClusterJournal", Journal({row.rtms_stream_id: row for row in rows})),
        mate.ownership,
        mate.lives,
        node=node,
        takeover_cause=GapCause.NODE_TAKEOVER,
    )


async def born_again(crew: Crew) -> StreamRow:
    """Have member 1 begin a stream, die, and start again before anybody else has taken the stream."""
    await crew.mates["1"].ownership.accept(start())
    row = await row_of(crew, "1")
    mate = crew.mates.pop("1")
    mate.nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    crew.engine.fail(Fault.DEAF, "2")
    await crew.begin("1")
    assert crew.mates["1"].lives.begun == []
    return row


async def test_what_is_this_members_is_claimed_anew(autojump_clock: MockClock) -> None:
    async with a_crew("1", "2") as crew:
        row = await born_again(crew)
        await resume(crew, "1", row)
        held = await crew.mates["1"].ownership.read("s")
        assert held.own is not None
        assert (held.own.node, held.own.epoch, held.own.why) == ("1", 2, Why.RESUMED)
        [begun] = crew.mates["1"].lives.begun
        assert begun == ("s", None, GapCause.DAEMON_RESTART)


async def test_what_is_anothers_is_put_in_order_and_let_go(autojump_clock: MockClock) -> None:
    async with a_crew("1", "2") as crew:
        await crew.mates["2"].ownership.accept(start())
        await trio.sleep(1)
        await resume(crew, "1", await row_of(crew, "2"))
        await trio.sleep(5)
        assert crew.mates["1"].lives.begun == [("s", None, GapCause.NODE_TAKEOVER)]
        assert crew.mates["1"].streams == set()
        assert crew.mates["2"].connected == {"s"}


async def test_what_no_member_knows_is_claimed_for_the_first_time(autojump_clock: MockClock) -> None:
    """As after a time without a cluster."""
    async with a_crew("1", "2") as crew:
        row = await a_row(crew)
        await resume(crew, "1", attrs.evolve(row, rtms_stream_id="s"))
        held = await crew.mates["1"].ownership.read("s")
        assert held.own is not None
        assert (held.own.node, held.own.epoch) == ("1", 1)


async def test_without_the_engine_it_goes_on_and_is_claimed_afterwards(autojump_clock: MockClock) -> None:
    async with a_crew("1", "2") as crew:
        row = await born_again(crew)
        with crew.engine.failing(Fault.AWAY):
            await resume(crew, "1", row)
            await trio.sleep(5)
            assert crew.mates["1"].connected == {"s"}
        await trio.sleep(5)
        held = await crew.mates["1"].ownership.read("s")
        assert held.own is not None
        assert (held.own.node, held.own.epoch) == ("1", 2)
        assert crew.mates["1"].connected == {"s"}
        assert len(crew.mates["1"].lives.begun) == 1


async def test_a_disk_that_refuses_at_that_moment_costs_no_stream(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_crew("1", "2") as crew:
        row = await a_row(crew)
        ownership = crew.mates["1"].ownership
        read, errors = ownership.read, [StorageError("the disk is full")]

        async def fail_once(rtms_stream_id: str) -> Held:
            if errors:
                raise errors.pop()
            return await read(rtms_stream_id)

        monkeypatch.setattr(ownership, "read", fail_once)
        await resume(crew, "1", attrs.evolve(row, rtms_stream_id="s"))
        await trio.sleep(5)
        assert crew.mates["1"].connected == {"s"}
        assert crew.state("s") == ("1", True)


async def test_a_bug_as_one_stream_begins_costs_no_other(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_crew("1", "2") as crew:
        row = await a_row(crew)
        mate, adopt = crew.mates["1"], crew.mates["1"].lives.adopt
        crashes = [ZeroDivisionError()]

        def crash_once(of: StreamRow, **more: Any) -> None:
            if of.rtms_stream_id == "s" and crashes:
                raise crashes.pop()
            adopt(of, **more)

        monkeypatch.setattr(mate.lives, "adopt", crash_once)
        with structlog.testing.capture_logs() as logged:
            await resume(crew, "1", *(attrs.evolve(row, rtms_stream_id=name) for name in ("s", "t")))
        assert mate.streams == {"t"}
        assert [each["rtms_stream_id"] for each in logged if each["event"] == "stream not resumed"] == ["s"]
        await trio.sleep(5)  # its claim was written: it is begun by who looks for the owner
        assert mate.connected == {"s", "t"}
