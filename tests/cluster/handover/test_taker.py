"""The taker: takes what its owner offers, and nothing else."""

from collections.abc import AsyncIterator

import attrs
import pytest
import trio

from rtmsd.cluster.engine import Refused
from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.handover.offers import TAKE, Offer, encode_offer
from rtmsd.cluster.records import Held, Why
from tests.cluster.crew import Crew, a_crew, start, stop


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    """Two members, of which "1" has a stream."""
    async with a_crew("1", "2") as crew:
        await crew.mates["1"].ownership.accept(start())
        await trio.sleep(1)
        yield crew


def an_offer(crew: Crew) -> Offer:
    one = crew.mates["1"]
    token = crew.engine.tables.read("s").token
    return Offer(rtms_stream_id="s", node="1", incarnation=one.incarnation, token=token, is_let_go=True)


async def ask(crew: Crew, data: bytes) -> bytes:
    member = crew.engine.member("1")
    assert member is not None
    return await member.ask("2", TAKE, data, timeout_s=5)


async def refused(crew: Crew, offer: Offer, why: str) -> None:
    """It is, whether the stream was let go or only might be."""
    owner = crew.state(offer.rtms_stream_id)
    for is_let_go in (False, True):
        with pytest.raises(Refused, match=why):
            await ask(crew, encode_offer(attrs.evolve(offer, is_let_go=is_let_go)))
    await trio.sleep(5)
    assert not crew.mates["2"].lives.begun
    assert crew.state(offer.rtms_stream_id) == owner


async def test_asked_before_it_is_let_go_it_takes_nothing(crew: Crew) -> None:
    assert await ask(crew, encode_offer(attrs.evolve(an_offer(crew), is_let_go=False))) == b""
    await trio.sleep(5)
    assert crew.owners("s") == ["1"]


async def test_one_that_no_other_owns(crew: Crew) -> None:
    good, why = an_offer(crew), "does not own it"
    await refused(crew, attrs.evolve(good, rtms_stream_id="t"), why)
    await refused(crew, attrs.evolve(good, incarnation="another"), why)
    await refused(crew, attrs.evolve(good, token=good.token - 1), why)


async def test_an_offer_that_comes_late_is_of_an_earlier_tenure(crew: Crew) -> None:
    late = an_offer(crew)
    one = crew.mates["1"]
    await one.lives.let_go("s", "handed over")
    await trio.sleep(2)
    assert one.connected == {"s"}, "it was taken up again, as no answer came"
    await refused(crew, late, "does not own it")
    assert one.connected == {"s"}


async def test_who_drains_starts_or_is_full_refuses(crew: Crew) -> None:
    crew.drain("2")
    await refused(crew, an_offer(crew), "it is draining")
    crew.drain("2", on=False)
    crew.capacity = 0
    crew.tell()
    await refused(crew, an_offer(crew), "it has 0 of 0 streams")


async def test_who_stops_refuses_at_once(crew: Crew) -> None:
    crew.mates["2"].taker.close()
    await refused(crew, an_offer(crew), "it is stopping")


async def test_what_it_would_not_begin_it_does_not_take(crew: Crew) -> None:
    two = crew.mates["2"]
    two.lives.refuses = "too few file descriptors"
    await refused(crew, an_offer(crew), "too few file descriptors")
    two.lives.refuses = None
    crew.apps = frozenset({"other"})
    await refused(crew, an_offer(crew), "app 'main' is not in its configuration")


async def test_one_that_has_ended(crew: Crew) -> None:
    crew.mates["1"].lives.finish_s = 60
    await crew.mates["1"].router.accept(stop())
    await refused(crew, an_offer(crew), "has ended")


async def test_the_record_of_a_newer_version(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    held = crew.engine.tables.read("s")
    assert held.own is not None
    newer = Held(attrs.evolve(held.own, version=2), held.token, held.known)

    async def read(rtms_stream_id: str) -> Held:
        await trio.lowlevel.checkpoint()
        return newer

    monkeypatch.setattr(crew.mates["2"].ownership, "read", read)
    await refused(crew, an_offer(crew), "version 2; update rtmsd")


async def test_without_the_engine(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    with crew.engine.failing(Fault.FULL):
        with pytest.raises(Refused, match="disk is full"):
            await ask(crew, encode_offer(an_offer(crew)))
        assert crew.state("s")[0] == "1"


async def test_a_life_of_its_own_that_is_past_is_let_go_first(crew: Crew) -> None:
    """It was frozen while another claimed the stream, and has not heard of it."""
    one, two = crew.mates["1"], crew.mates["2"]
    assert await two.ownership.take(crew.engine.tables.read("s"), Why.UNREACHABLE)
    assert crew.owners("s") == ["1", "2"]
    two.lives.let_go_s = one.lives.let_go_s = 0.5
    assert await two.handover.move("s", "1") == "1"
    await trio.sleep(5)
    assert crew.owners("s") == ["1"]
    assert one.connected == {"s"}
    assert one.ownership.mine["s"].epoch == 3


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100, b'{"rtms_stream_id": "s"}'])
async def test_garbage_is_counted_and_not_obeyed(crew: Crew, data: bytes) -> None:
    with pytest.raises(Refused, match="the offer cannot be read"):
        await ask(crew, data)
    assert crew.mates["2"].garbage.counts["offer"] == 1
    assert not crew.mates["2"].streams
