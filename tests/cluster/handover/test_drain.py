"""A drain: every stream goes to a member that has room, without an instant in which two have it, or it stays."""

from collections.abc import AsyncIterator

import pytest
import trio

from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.handover.handover import PATIENCE_S
from rtmsd.cluster.handover.pacing import FEW
from rtmsd.cluster.handover.passages import DrainResult, Fate, NotMoved
from rtmsd.cluster.records import Held, Own, Why
from rtmsd.cluster.rules import rank
from rtmsd.commands import Verdict
from rtmsd.protocol.causes import GapCause
from tests.cluster.crew import T0_MS, Crew, Mate, a_crew, start, stop

LET_GO_S = 0.8


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    """Three members, of which "1" has 30 streams, and takes no more."""
    async with a_crew("1", "2", "3") as crew:
        await crowd(crew, 30)
        crew.drain("1")
        yield crew


async def crowd(crew: Crew, number: int) -> None:
    for mate in crew.mates.values():
        mate.lives.let_go_s = LET_GO_S
    for each in range(number):
        await crew.mates["1"].ownership.accept(start(f"s{each}"))
    await trio.sleep(1)
    assert len(crew.mates["1"].connected) == number
    crew.tell()


def names(number: int = 30) -> set[str]:
    return {f"s{each}" for each in range(number)}


def connected(crew: Crew) -> dict[str, set[str]]:
    return {node: mate.connected for node, mate in crew.mates.items()}


def fates(result: DrainResult) -> dict[Fate, set[str]]:
    return {fate: {key for key, each in result.passages.items() if each.fate is fate} for fate in Fate}


async def settled(crew: Crew, number: int = 30, for_s: float = 1.0) -> None:
    """Each stream is connected, by its owner and by nobody else."""
    await trio.sleep(for_s)
    for name in names(number):
        owner, is_unfinished = crew.state(name)
        assert is_unfinished
        assert owner is not None
        assert crew.owners(name) == [owner]
        assert name in crew.mates[owner].connected


async def test_thirty_streams_go_to_the_others_by_rank_in_three_seconds(crew: Crew) -> None:
    began_s = trio.current_time()
    result = await crew.mates["1"].handover.drain(60)
    assert trio.current_time() - began_s < 3
    assert fates(result)[Fate.HANDED_OVER] == names()
    for name, passage in result.passages.items():
        assert passage.node == rank(["2", "3"], name)[0]
    await settled(crew)
    assert not crew.mates["1"].streams
    assert min(len(crew.mates[node].streams) for node in "23") > 5
    assert crew.mates["1"].handover.results[Fate.HANDED_OVER] == 30


async def test_nobody_is_refused_at_zoom_and_none_has_been_away_for_long(crew: Crew) -> None:
    await crew.mates["1"].handover.drain(60)
    await trio.sleep(1)
    assert not crew.zoom.refused
    for name in names():
        assert len([at_s for at_s, _, each in crew.zoom.handshakes if each == name]) == 2


async def test_the_record_and_the_gap_say_that_it_was_handed_over(crew: Crew) -> None:
    await crew.mates["1"].handover.drain(60)
    for mate in (crew.mates["2"], crew.mates["3"]):
        assert mate.lives.begun
        assert {cause for *_, cause in mate.lives.begun} == {GapCause.NODE_TAKEOVER}
    own = crew.engine.tables.read("s0").own
    assert own is not None
    assert (own.why, own.epoch) == (Why.HANDED_OVER, 2)
    assert all(
        not mate.takeover.results[why, "taken"] for mate in crew.mates.values() for why in (Why.DIED, Why.RESUMED)
    )


async def test_what_the_next_owner_has_to_know_is_told_before_it_takes(crew: Crew) -> None:
    told: list[tuple[str, str | None]] = []

    async def tell(rtms_stream_id: str) -> None:
        told.append((rtms_stream_id, crew.state(rtms_stream_id)[0]))
        await trio.lowlevel.checkpoint()
        raise ValueError("a bug")

    crew.mates["1"].handover._tell = tell
    result = await crew.mates["1"].handover.drain(60)
    assert sorted(told) == sorted((name, "1") for name in names())
    assert fates(result)[Fate.HANDED_OVER] == names()


# Nobody has room


async def test_where_nobody_has_room_all_stay_connected() -> None:
    async with a_crew("1", "2", "3") as crew:
        await crowd(crew, 5)
        crew.drain("1")
        crew.drain("2")
        crew.capacity = 0
        crew.tell()
        handshakes = len(crew.zoom.handshakes)
        result = await crew.mates["1"].handover.drain(60)
        assert result.stayed.keys() == names(5)
        assert "2: it is draining" in result.stayed["s0"]
        assert "3: it has 0 of 0 streams" in result.stayed["s0"]
        await settled(crew, 5)
        assert len(crew.zoom.handshakes) == handshakes


async def test_a_member_alone_keeps_its_streams() -> None:
    async with a_crew("1") as crew:
        await crowd(crew, 2)
        result = await crew.mates["1"].handover.drain(60)
        assert result.stayed == dict.fromkeys(("s0", "s1"), "no other member takes it")


async def test_what_a_member_has_no_room_for_is_not_let_go() -> None:
    async with a_crew("1", "2") as crew:
        await crowd(crew, 30)
        crew.drain("1")
        crew.capacity = 10
        crew.tell()
        result = await crew.mates["1"].handover.drain(60)
        assert len(fates(result)[Fate.HANDED_OVER]) == 10
        await settled(crew)
        assert len(crew.mates["2"].streams) == 10
        assert len(crew.zoom.handshakes) == 30 + 10


async def test_two_give_no_more_to_a_third_than_it_takes() -> None:
    async with a_crew("1", "2", "3") as crew:
        await crowd(crew, 20)
        for each in range(20, 40):
            await crew.mates["2"].ownership.accept(start(f"s{each}"))
        await trio.sleep(1)
        crew.drain("1")
        crew.drain("2")
        crew.capacity = 10
        crew.engine.delay_s = 0.2
        crew.tell()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(crew.mates["1"].handover.drain, 60)
            nursery.start_soon(crew.mates["2"].handover.drain, 60)
        await settled(crew, 40, for_s=5)
        assert len(crew.mates["3"].streams) == 10


async def test_both_drain_at_once(crew: Crew) -> None:
    for each in range(30, 35):
        await crew.mates["2"].ownership.accept(start(f"s{each}"))
    await trio.sleep(1)
    crew.drain("2")
    results: list[DrainResult] = []

    async def drain(mate: Mate) -> None:
        results.append(await mate.handover.drain(60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, crew.mates["1"])
        nursery.start_soon(drain, crew.mates["2"])
    await settled(crew, 35)
    assert crew.mates["3"].streams == names(35)
    assert not any(result.stayed for result in results)


async def test_who_begins_to_drain_refuses_before_its_beat_says_so(crew: Crew) -> None:
    crew.mates["2"].lives.refuses = "draining"
    result = await crew.mates["1"].handover.drain(60)
    assert {passage.node for passage in result.passages.values()} == {"3"}
    assert not crew.zoom.refused


# Faults


async def test_the_next_is_asked_where_the_best_is_dead_and_nobody_knows(crew: Crew) -> None:
    crew.mates["2"].nursery.cancel_scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    result = await crew.mates["1"].handover.drain(60)
    assert {passage.node for passage in result.passages.values()} == {"3"}
    await crew.kill("2")
    await settled(crew)


@pytest.mark.parametrize("after_claim", [False, True])
async def test_one_that_dies_while_it_takes(crew: Crew, monkeypatch: pytest.MonkeyPatch, *, after_claim: bool) -> None:
    """Before its claim the next one is asked; after it the stream is an orphan that a living member takes over."""
    two = crew.mates["2"]
    take = two.ownership.take

    async def die(held: Held, why: Why) -> bool:
        if after_claim:
            await take(held, why)
        two.nursery.cancel_scope.cancel()
        return await trio.sleep_forever()

    monkeypatch.setattr(two.ownership, "take", die)
    result = await crew.mates["1"].handover.drain(60)
    assert not result.stayed
    assert {passage.node for passage in result.passages.values()} == ({"2", "3"} if after_claim else {"3"})
    await crew.kill("2")
    await settled(crew, for_s=5)
    assert crew.mates["3"].streams == names()


@pytest.mark.parametrize("node", ["2", "3"])
async def test_an_answer_that_is_lost_does_not_lose_the_stream(crew: Crew, node: str) -> None:
    with crew.engine.failing(Fault.ANSWER_LOST, node):
        result = await crew.mates["1"].handover.drain(60)
    assert not result.stayed
    await settled(crew, for_s=10)


async def test_the_engine_goes_away_before_anything_is_let_go(crew: Crew) -> None:
    with crew.engine.failing(Fault.AWAY):
        result = await crew.mates["1"].handover.drain(60)
        assert result.stayed.keys() == names()
        assert crew.mates["1"].connected == names()
    await settled(crew)
    assert not any(crew.mates[node].streams for node in "23")


async def test_the_engine_goes_away_in_the_middle_and_the_streams_go_on_here(crew: Crew) -> None:
    results: list[DrainResult] = []

    async def drain() -> None:
        results.append(await crew.mates["1"].handover.drain(60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain)
        await trio.sleep(LET_GO_S / 2)
        crew.engine.fail(Fault.AWAY)
        await trio.sleep(PATIENCE_S + 10)
        assert len(crew.mates["1"].connected) == 30, "Zoom keeps a slot for a minute"
        await trio.sleep(120)
        assert len(crew.mates["1"].connected) == 30
        crew.engine.recover()
    assert results[0].stayed.keys() == names()
    await settled(crew, for_s=10)


async def test_one_that_claimed_and_lost_the_engine_has_the_stream_in_the_end(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The giver goes on without knowing, and lets go when it hears who has it."""
    store = crew.mates["2"].ownership._store
    name = next(name for name in sorted(names()) if rank(["2", "3"], name)[0] == "2")
    claim = store.claim

    async def cut(own: Own, *, seen: int) -> int:
        token = await claim(own, seen=seen)
        crew.engine.fail(Fault.AWAY)
        return token

    monkeypatch.setattr(store, "claim", cut)
    with pytest.raises(NotMoved, match="does not say"):
        await crew.mates["1"].handover.move(name)
    await trio.sleep(5)
    crew.engine.recover()
    await settled(crew, for_s=40)
    assert crew.owners(name) == ["2"]


async def test_what_is_not_handed_over_in_time_stays(crew: Crew) -> None:
    result = await crew.mates["1"].handover.drain(LET_GO_S * 1.5)
    by_fate = fates(result)
    assert len(by_fate[Fate.HANDED_OVER]) + len(by_fate[Fate.STAYED]) == 30
    assert len(by_fate[Fate.HANDED_OVER]) >= FEW
    assert by_fate[Fate.STAYED]
    assert set(result.stayed.values()) == {"there was no time left for it"}
    await settled(crew, for_s=5)
    assert crew.mates["1"].connected == by_fate[Fate.STAYED]


async def test_a_bug_with_one_stream_is_no_other_streams(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    one = crew.mates["1"]
    let_go = one.lives.let_go

    async def crash(rtms_stream_id: str, why: str) -> None:
        if rtms_stream_id == "s7":
            raise ValueError("a bug")
        await let_go(rtms_stream_id, why)

    monkeypatch.setattr(one.lives, "let_go", crash)
    result = await one.handover.drain(60)
    assert result.stayed == {"s7": "a bug of ours, see the log"}
    await settled(crew)


# Meanwhile


async def test_streams_that_end_or_begin_meanwhile(crew: Crew) -> None:
    one = crew.mates["1"]
    one.lives.finish_s = 5
    assert await one.router.accept(stop("s0")) is Verdict.NEW

    async def begin() -> None:
        await trio.sleep(LET_GO_S * 1.5)
        one.lives.refuses = None
        assert await one.ownership.accept(start("s30")) is Verdict.NEW  # it was on its way

    async with trio.open_nursery() as nursery:
        nursery.start_soon(begin)
        result = await one.handover.drain(60)
    assert fates(result)[Fate.ENDED] == {"s0"}
    assert fates(result)[Fate.HANDED_OVER] == names(31) - {"s0"}


async def test_webhooks_that_come_in_the_middle_reach_whoever_has_the_stream(crew: Crew) -> None:
    """At any instant of it, to any member."""

    async def post(node: str, name: str, after_s: float) -> None:
        await trio.sleep(after_s)
        assert await crew.mates[node].router.accept(stop(name)) is Verdict.NEW

    async with trio.open_nursery() as nursery:
        nursery.start_soon(crew.mates["1"].handover.drain, 60)
        for number, name in enumerate(sorted(names())):
            nursery.start_soon(post, "123"[number % 3], name, number * 0.06)
    await trio.sleep(10)
    assert not any(mate.streams for mate in crew.mates.values())
    for name in names():
        row = crew.engine.tables.read(name).known.row
        assert row is not None
        assert row.closed


async def test_a_failover_that_comes_while_it_is_let_go_is_not_forgotten(crew: Crew) -> None:
    later = start("s0", T0_MS + 5000)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crew.mates["1"].handover.drain, 60)
        await trio.sleep(LET_GO_S / 2)
        assert await crew.mates["1"].router.accept(later) is Verdict.NEW
    await settled(crew, for_s=5)
    [owner] = crew.owners("s0")
    assert crew.mates[owner].lives.lives["s0"].row.event_ts == later.event_ts


async def test_a_drained_member_claims_nothing_of_a_dead_one(crew: Crew) -> None:
    await crew.mates["1"].handover.drain(60)
    await crew.kill("2")
    await settled(crew, for_s=5)
    assert not crew.mates["1"].streams
    assert crew.mates["3"].streams == names()


async def test_it_takes_streams_again_when_it_is_undrained(crew: Crew) -> None:
    await crew.mates["1"].handover.drain(60)
    crew.drain("1", on=False)
    for node in "23":
        crew.drain(node)
        result = await crew.mates[node].handover.drain(60)
        assert not result.stayed
    await settled(crew)
    assert crew.mates["1"].streams == names()
