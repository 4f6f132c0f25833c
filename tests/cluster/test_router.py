"""The router over the engine in memory: whichever member gets a webhook, one acts on it and answers."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest
import structlog
import trio

from rtmsd.cluster.engine import EngineError
from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.router import ASK_S, BUDGET_S, HOOK, MAX_KEPT, REFUSED_FOR_S, STORED
from rtmsd.commands import StreamCommand, Verdict
from rtmsd.errors import StorageError
from tests.cluster.crew import T0_MS, Crew, a_crew, interrupt, start, stop


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    async with a_crew("1", "2", "3") as crew:
        yield crew


async def post(crew: Crew, node: str, command: StreamCommand) -> Verdict:
    return await crew.mates[node].router.accept(command)


async def owner_of(crew: Crew, rtms_stream_id: str = "s") -> str:
    """Return the one member at which a stream lives and is connected."""
    await trio.sleep(2)
    [node] = crew.owners(rtms_stream_id)
    assert rtms_stream_id in crew.mates[node].connected
    assert crew.state(rtms_stream_id) == (node, True)
    return node


def others(crew: Crew, node: str) -> list[str]:
    return sorted(crew.mates.keys() - {node})


async def test_a_new_stream_is_given_to_whom_has_least(crew: Crew) -> None:
    for number in range(30):
        assert await post(crew, "123"[number % 2], start(f"s{number}")) is Verdict.NEW
        if number % 7 == 0:
            crew.tell()
    assert all(8 <= len(mate.streams) <= 12 for mate in crew.mates.values())


async def test_no_start_is_forwarded_among_members_that_have_equally_many(crew: Crew) -> None:
    for number in range(30):
        assert await post(crew, "123"[number % 3], start(f"s{number}")) is Verdict.NEW
        crew.tell()
    assert not any(sum(mate.router.forwarded.values()) for mate in crew.mates.values())


async def test_what_was_just_given_counts_before_the_member_says_so(crew: Crew) -> None:
    for number in range(9):
        await post(crew, "1", start(f"s{number}"))
    assert [len(mate.streams) for mate in crew.mates.values()] == [3, 3, 3]


async def test_starts_that_come_at_once_are_shared_out(crew: Crew) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(9):
            nursery.start_soon(post, crew, "1", start(f"s{number}"))
    assert [len(mate.streams) for mate in crew.mates.values()] == [3, 3, 3]


async def test_the_owner_acts_and_answers_whoever_is_asked(crew: Crew) -> None:
    assert await post(crew, "1", start()) is Verdict.NEW
    owner = await owner_of(crew)
    for node in crew.mates:
        assert await post(crew, node, start()) is Verdict.DUPLICATE
    asked, again = others(crew, owner)
    assert await post(crew, asked, start(event_ts=T0_MS + 5)) is Verdict.NEW
    assert await post(crew, again, start(app="other", event_ts=T0_MS + 6)) is Verdict.FOREIGN
    assert await post(crew, again, stop(event_ts=T0_MS + 1)) is Verdict.LATE
    assert await post(crew, asked, interrupt()) is Verdict.NEW
    assert await post(crew, asked, stop()) is Verdict.NEW
    assert [type(each).__name__ for each in crew.mates[owner].lives.acted] == [
        "StartStream",
        "InterruptStream",
        "StopStream",
    ]
    await trio.sleep(1)
    assert crew.owners("s") == []
    assert await post(crew, again, stop()) is Verdict.DUPLICATE
    assert await post(crew, again, stop(event_ts=T0_MS + 2000)) is Verdict.LATE


async def test_one_webhook_posted_to_all_at_once_begins_one_life(crew: Crew) -> None:
    verdicts: list[Verdict] = []

    async def give(node: str) -> None:
        verdicts.append(await post(crew, node, start()))

    crew.engine.delay_s = 0.02
    async with trio.open_nursery() as nursery:
        for node in "123123":
            nursery.start_soon(give, node)
    assert sorted(each.value for each in verdicts) == ["duplicate"] * 5 + ["new"]
    await owner_of(crew)
    assert sum(len(mate.lives.begun) for mate in crew.mates.values()) == 1


async def test_a_stream_that_ended_is_opened_again_by_a_newer_start(crew: Crew) -> None:
    await post(crew, "1", start())
    await post(crew, "1", stop())
    await trio.sleep(1)
    assert await post(crew, "2", start()) is Verdict.DUPLICATE
    assert await post(crew, "2", start(event_ts=T0_MS + 5000)) is Verdict.NEW
    await owner_of(crew)
    assert crew.engine.tables.read("s").own.epoch == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("event_ts", [None, T0_MS])
async def test_a_stop_of_a_stream_that_nobody_knows_is_finished_here(crew: Crew, event_ts: int | None) -> None:
    assert await post(crew, "2", stop(event_ts=event_ts)) is Verdict.NEW
    assert [begun[0] for begun in crew.mates["2"].lives.begun] == ["s"]
    await trio.sleep(1)
    assert crew.state("s") == ("2", False)
    assert await post(crew, "3", stop(event_ts=event_ts)) is Verdict.DUPLICATE


async def test_a_revocation_of_what_nobody_knows_is_owned_until_it_is_done(crew: Crew) -> None:
    crew.mates["2"].lives.finish_s = 100
    assert await post(crew, "2", stop(reason=8)) is Verdict.NEW
    assert await post(crew, "3", stop(reason=8, event_ts=T0_MS + 2000)) is Verdict.LATE
    await trio.sleep(30)
    assert crew.owners("s") == ["2"]
    await trio.sleep(80)
    assert crew.state("s") == ("2", False)


async def test_an_interruption_of_a_stream_that_nobody_knows_begins_nothing(crew: Crew) -> None:
    assert await post(crew, "1", interrupt()) is Verdict.NEW
    assert crew.owners("s") == []


class TestWhoTakesNewStreams:
    async def test_not_who_drains(self, crew: Crew) -> None:
        crew.draining = {"1", "3"}
        crew.tell()
        assert await post(crew, "1", start()) is Verdict.NEW
        assert await owner_of(crew) == "2"

    async def test_not_who_is_full_as_long_as_another_is_not(self, crew: Crew) -> None:
        crew.capacity = 2
        crew.tell()
        verdicts = [await post(crew, "1", start(f"s{number}")) for number in range(7)]
        assert verdicts == [Verdict.NEW] * 6 + [Verdict.REFUSED]
        assert [len(mate.streams) for mate in crew.mates.values()] == [2, 2, 2]
        assert [each.rtms_stream_id for each, _ in crew.mates["1"].lives.refused] == ["s6"]

    async def test_who_refuses_is_passed_over(self, crew: Crew) -> None:
        for node in ("1", "2"):
            crew.mates[node].lives.refuses = "the disk is full"
        for number in range(3):
            assert await post(crew, "1", start(f"s{number}")) is Verdict.NEW
        assert len(crew.mates["3"].streams) == 3
        assert not any(mate.lives.refused for mate in crew.mates.values())

    async def test_refused_is_what_all_refuse(self, crew: Crew) -> None:
        for mate in crew.mates.values():
            mate.lives.refuses = "draining"
        assert await post(crew, "2", start()) is Verdict.REFUSED
        assert [why for _, why in crew.mates["2"].lives.refused] == ["draining"]
        assert crew.state("s") == (None, False)
        for mate in crew.mates.values():
            mate.lives.refuses = None
        assert await post(crew, "2", start()) is Verdict.NEW  # it was not written down

    async def test_a_live_stream_is_not_refused_anything(self, crew: Crew) -> None:
        await post(crew, "1", start())
        for mate in crew.mates.values():
            mate.lives.refuses = "draining"
        for number, node in enumerate(crew.mates):
            assert await post(crew, node, start(event_ts=T0_MS + 1 + number)) is Verdict.NEW

    async def test_whoever_does_not_answer_is_passed_over(self, crew: Crew) -> None:
        for node in ("2", "3"):
            await post(crew, "1", start(f"of {node}"))
        [idle] = [node for node, mate in crew.mates.items() if not mate.streams]
        asked = next(node for node in crew.mates if node != idle)
        crew.engine.fail(Fault.DEAF, idle)
        began_s = trio.current_time()
        assert await post(crew, asked, start()) is Verdict.NEW
        assert trio.current_time() - began_s < BUDGET_S
        assert await owner_of(crew) != idle

    async def test_however_many_do_not_answer_zoom_gets_its_answer_in_time(self, crew: Crew) -> None:
        """All others have less load than the one that gets the webhook."""
        assert await crew.mates["1"].ownership.accept(start("t")) is Verdict.NEW
        await crew.begin("4", "5", "6")
        for node in others(crew, "1"):
            crew.engine.fail(Fault.FROZEN, node)
        began_s = trio.current_time()
        assert await post(crew, "1", start()) is Verdict.NEW
        assert 2 * ASK_S > trio.current_time() - began_s > ASK_S  # two were asked, the second for a shorter time
        assert await owner_of(crew) == "1"
        for node in others(crew, "1"):
            crew.engine.recover(node)
        assert await owner_of(crew) == "1"

    async def test_a_stream_is_not_begun_twice_where_the_answer_came_too_late(self, crew: Crew) -> None:
        for node in ("2", "3"):
            await post(crew, "1", start(f"of {node}"))
        [idle] = [node for node, mate in crew.mates.items() if not mate.streams]
        asked = next(node for node in crew.mates if node != idle)
        crew.engine.fail(Fault.FROZEN, idle)
        assert await post(crew, asked, start()) is Verdict.NEW
        crew.engine.recover(idle)
        assert await owner_of(crew) != idle
        assert len([one for mate in crew.mates.values() for one in mate.lives.begun if one[0] == "s"]) == 1


class TestOwnerGone:
    @pytest.mark.parametrize(
        ("command", "lives_on"), [(start(event_ts=T0_MS + 5), True), (stop(), False), (interrupt(), True)]
    )
    async def test_who_gets_a_webhook_takes_the_stream_at_once(
        self, crew: Crew, command: StreamCommand, lives_on: bool
    ) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked = others(crew, owner)[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: crew.kill(owner, unnoticed_s=30))
            await trio.testing.wait_all_tasks_blocked()
            began_s = trio.current_time()
            assert await post(crew, asked, command) is Verdict.NEW
            assert trio.current_time() - began_s < 0.1
            await trio.sleep(2)
            assert crew.owners("s") == ([asked] if lives_on else [])
            assert crew.mates[asked].lives.acted == [command]
        await trio.sleep(15)
        assert crew.owners("s") == ([asked] if lives_on else [])

    async def test_where_it_may_live_all_the_same_nobody_takes_the_stream_before_its_death_is_known(
        self, crew: Crew
    ) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked = others(crew, owner)[0]
        crew.is_dead = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: crew.kill(owner, unnoticed_s=30))
            await trio.testing.wait_all_tasks_blocked()
            assert await post(crew, asked, stop()) is Verdict.NEW
            await trio.sleep(20)
            assert crew.owners("s") == []
            assert crew.state("s") == (owner, True)
        await trio.sleep(5)
        assert not crew.state("s")[1]  # and the stop was carried out

    async def test_a_stop_that_its_owner_did_not_live_to_act_on_is_acted_on(self, crew: Crew) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        first, second = others(crew, owner)
        crew.mates[owner].lives.finish_s = 100
        assert await post(crew, first, stop()) is Verdict.NEW
        await crew.kill(owner, unnoticed_s=5)
        assert await post(crew, second, stop()) is Verdict.DUPLICATE
        await trio.sleep(5)
        assert not crew.state("s")[1]
        assert crew.zoom.slots == {}

    @pytest.mark.parametrize("mode", ["refuse", "evict"])
    async def test_an_owner_whose_link_was_cut_lets_go(self, crew: Crew, mode: Literal["refuse", "evict"]) -> None:
        crew.zoom.mode = mode
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked = others(crew, owner)[0]
        handshakes = len(crew.zoom.handshakes)
        crew.engine.fail(Fault.AWAY, owner)
        assert await post(crew, asked, interrupt()) is Verdict.NEW
        await trio.sleep(40)
        crew.engine.recover(owner)
        await trio.sleep(15)
        assert await owner_of(crew) == asked
        assert len(crew.zoom.handshakes) - handshakes <= 3
        await trio.sleep(100)
        assert len(crew.zoom.handshakes) - handshakes <= 3


class TestOwnerSilent:
    @pytest.fixture
    async def silent(self, crew: Crew) -> tuple[str, str]:
        """Return an owner that no longer answers, and another member."""
        await post(crew, "1", start())
        owner = await owner_of(crew)
        crew.engine.fail(Fault.DEAF, owner)
        return owner, others(crew, owner)[0]

    async def test_a_command_is_kept_and_delivered_when_it_answers(self, crew: Crew, silent: tuple[str, str]) -> None:
        owner, asked = silent
        began_s = trio.current_time()
        assert await post(crew, asked, stop()) is Verdict.NEW
        assert trio.current_time() - began_s < BUDGET_S
        await trio.sleep(30)
        assert crew.owners("s") == [owner]
        crew.engine.recover(owner)
        await trio.sleep(3)
        assert crew.owners("s") == []
        assert crew.mates[owner].lives.acted == [stop()]
        assert crew.mates[asked].router.forwarded["kept"] == 1

    @pytest.mark.parametrize("error", [EngineError("no room"), StorageError("the disk is full"), Verdict.REFUSED])
    async def test_a_kept_command_that_fails_at_its_owner_is_carried_out_later(
        self, crew: Crew, silent: tuple[str, str], monkeypatch: pytest.MonkeyPatch, error: Exception | Verdict
    ) -> None:
        owner, asked = silent
        lives = crew.mates[owner].lives
        accept, has_recovered = lives.accept, False

        async def fail(command: StreamCommand) -> Verdict:
            if has_recovered:
                return await accept(command)
            await trio.lowlevel.checkpoint()
            if isinstance(error, Exception):
                raise error
            return error

        monkeypatch.setattr(lives, "accept", fail)
        assert await post(crew, asked, stop()) is Verdict.NEW
        crew.engine.recover(owner)
        await trio.sleep(30)
        assert lives.acted == []
        has_recovered = True
        await trio.sleep(3)
        assert lives.acted == [stop()]

    async def test_one_that_its_owner_never_takes_is_given_up(
        self, crew: Crew, silent: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, asked = silent

        async def refuse(command: StreamCommand) -> Verdict:
            await trio.lowlevel.checkpoint()
            raise EngineError("never")

        monkeypatch.setattr(crew.mates[owner].lives, "accept", refuse)
        await post(crew, asked, stop())
        crew.engine.recover(owner)
        await trio.sleep(REFUSED_FOR_S + 5)
        assert not crew.mates[asked].router._kept

    async def test_what_comes_after_does_not_overtake_it(self, crew: Crew, silent: tuple[str, str]) -> None:
        owner, asked = silent
        commands: list[StreamCommand] = [start(event_ts=T0_MS + 5), interrupt(), stop()]
        for command in commands[:2]:
            await post(crew, asked, command)
        crew.engine.recover(owner)
        await post(crew, asked, commands[2])
        await trio.sleep(5)
        assert crew.mates[owner].lives.acted == commands

    async def test_who_takes_the_stream_over_gets_it(self, crew: Crew, silent: tuple[str, str]) -> None:
        owner, asked = silent
        await post(crew, asked, stop())
        await crew.kill(owner)
        await trio.sleep(10)
        assert crew.owners("s") == []
        assert not crew.state("s")[1]

    async def test_a_start_is_refused_when_too_many_wait(
        self, crew: Crew, silent: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rtmsd.cluster.router.MAX_KEPT", 3)
        asked = silent[1]
        for number in range(3):
            await post(crew, asked, interrupt(event_ts=T0_MS + number))
        with pytest.raises(EngineError, match="too many"):
            await post(crew, asked, start(event_ts=T0_MS + 5))
        assert MAX_KEPT > 3

    async def test_a_stop_is_delivered_also_when_it_could_not_be_kept(
        self, crew: Crew, silent: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(command: StreamCommand) -> Verdict:
            raise EngineError("the disk is full")

        owner, asked = silent
        monkeypatch.setattr(crew.mates[asked].router, "_keep", fail)
        for command in (start(event_ts=T0_MS + 5), stop()):
            with pytest.raises(EngineError, match="disk"):
                await post(crew, asked, command)
        crew.engine.recover(owner)
        await trio.sleep(3)
        assert crew.mates[owner].lives.acted == [stop()]


class TestEngineAway:
    async def test_a_stop_finds_its_stream_all_the_same(self, crew: Crew) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked = others(crew, owner)[0]
        crew.engine.fail(Fault.FULL)
        with pytest.raises(EngineError):
            await post(crew, asked, stop())
        assert crew.mates[owner].lives.acted == [stop()]
        crew.engine.recover()
        await trio.sleep(5)
        assert crew.owners("s") == []

    async def test_a_stop_for_the_stream_of_a_dead_member_is_not_forgotten(self, crew: Crew) -> None:
        """Zoom sends it again when the stream was long resumed, and given up as one that does not answer."""
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked = others(crew, owner)[0]
        crew.engine.fail(Fault.FULL)
        await crew.kill(owner)
        with pytest.raises(EngineError):
            await post(crew, asked, stop())
        crew.engine.recover()
        await trio.sleep(10)
        assert crew.owners("s") == []
        assert [mate.lives.acted for mate in crew.mates.values()].count([stop()]) == 1

    async def test_a_stop_is_kept_where_that_is_safe(self, crew: Crew) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked = others(crew, owner)[0]
        crew.mates[asked].router._can_begin_alone = True
        crew.engine.fail(Fault.AWAY)
        assert await post(crew, asked, stop()) is Verdict.NEW
        await trio.sleep(60)
        assert crew.owners("s") == [owner]
        crew.engine.recover()
        await trio.sleep(5)
        assert crew.owners("s") == []
        assert crew.mates[owner].lives.acted == [stop()]

    async def test_a_start_is_not_accepted(self, crew: Crew) -> None:
        crew.engine.fail(Fault.AWAY)
        with pytest.raises(EngineError):
            await post(crew, "1", start())
        crew.engine.recover()
        assert await post(crew, "1", start()) is Verdict.NEW

    async def test_a_claim_whose_answer_is_lost_is_read_back(self, crew: Crew) -> None:
        with crew.engine.failing(Fault.ANSWER_LOST):
            assert await post(crew, "1", start()) is Verdict.NEW
        await owner_of(crew)

    @pytest.mark.parametrize("is_written", [True, False])
    async def test_a_claim_in_doubt_is_settled_when_the_engine_is_back(self, crew: Crew, is_written: bool) -> None:
        crew.draining = {"2", "3"}
        crew.tell()
        crew.engine.delay_s = 0.2
        async with trio.open_nursery() as nursery:

            async def give() -> None:
                with pytest.raises(EngineError):
                    await post(crew, "1", start())

            nursery.start_soon(give)
            await trio.sleep(0.5)  # it reads twice, for itself and in its turn, and claims
            crew.engine.fail(Fault.FROZEN if is_written else Fault.AWAY)
        assert crew.owners("s") == []
        assert [each.rtms_stream_id for each, _ in crew.mates["1"].lives.refused] == ["s"]
        crew.engine.recover()
        assert await owner_of(crew) == "1"
        assert crew.mates["1"].lives.begun == [("s", start(), None)]
        assert await post(crew, "2", start()) is Verdict.DUPLICATE


class TestBetweenMembers:
    async def test_what_is_no_command_is_refused_and_counted(self, crew: Crew) -> None:
        bus = crew.mates["1"].ownership._store
        for what in (HOOK, STORED):
            with pytest.raises(EngineError, match="the command cannot be read"):
                await bus.ask("2", what, b"{", timeout_s=1)  # type: ignore[attr-defined]
        assert crew.mates["2"].garbage.counts["command"] == 2

    async def test_log_lines_of_a_forwarded_command_name_its_stream(
        self, crew: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        lives = crew.mates[owner].lives
        accept, bound = lives.accept, []

        async def observe(command: StreamCommand) -> Verdict:
            bound.append(structlog.contextvars.get_contextvars())
            return await accept(command)

        monkeypatch.setattr(lives, "accept", observe)
        assert await post(crew, others(crew, owner)[0], interrupt()) is Verdict.NEW
        assert bound == [{"app": "main", "rtms_stream_id": "s"}]

    async def test_a_forwarded_command_is_not_forwarded_again(
        self, crew: Crew, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await post(crew, "1", start())
        owner = await owner_of(crew)
        asked, third = others(crew, owner)
        bus = crew.mates[asked].router._bus
        ask = bus.ask

        async def misdirect(node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
            return await ask(third, what, data, timeout_s=timeout_s)

        monkeypatch.setattr(bus, "ask", misdirect)
        began_s = trio.current_time()
        with pytest.raises(EngineError, match="changed"):
            await post(crew, asked, stop())
        assert trio.current_time() - began_s < BUDGET_S + 1
        assert crew.mates[asked].router.forwarded["moved"] > 3
        assert not any(crew.mates[third].router.forwarded.values())
