"""The contract of the engines: what holds for each of them, over whatever lies below.

A module of tests gives a fixture `join` and a subclass, named Test..., of each contract that its engine is for. Streams
have ids of their own in each test, so that the engine may be shared; the members are "a", "b" and "c" in each.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

import attrs
import pytest
import trio

from rtmsd.cluster.codec import BadRecord
from rtmsd.cluster.engine import (
    MAX_MESSAGE_BYTES,
    PAGE,
    Away,
    Beats,
    Bus,
    EngineError,
    Fenced,
    Lost,
    Nobody,
    OwnerStore,
    Placed,
    Refused,
    StreamLog,
    TooLarge,
)
from rtmsd.cluster.records import Beat, Held, Log, Own, Part, PartState, Revoked, Row, TenureState, Why
from rtmsd.protocol.messages import SessionRef
from rtmsd.state.rows import Delivery, Known, StreamRow

T = TypeVar("T")

LIMIT_S: Final = 60.0
"""Far more than anything takes."""

STARTED_MS: Final = 1_700_000_000_000


@attrs.frozen(kw_only=True)
class Member:
    """One member's ends of the engine.

    Attributes:
        log, beats: of engines that have them.
        pending: counts what was begun in it and is neither answered nor given up.
    """

    node: str
    incarnation: str
    store: OwnerStore
    bus: Bus
    log: StreamLog | None = None
    beats: Beats | None = None
    pending: Callable[[], int] = lambda: 0


Join: TypeAlias = Callable[[str], AbstractAsyncContextManager[Member]]
"""Have a member of this name take part, in an incarnation of its own, until the context ends."""


def new_id() -> str:
    """As Zoom's: with characters that no subject and no file name may have."""
    return f"{uuid.uuid4().hex}+/.*>="


def known(rtms_stream_id: str, *, event_ts: int = STARTED_MS, closed: bool = False) -> Known:
    """What is known after a start, and perhaps a webhook of a later time."""
    delivered = [Delivery("meeting.rtms_started", STARTED_MS, "4444AAAiAAAAAiAiAiiAii==")]
    if event_ts != STARTED_MS:
        delivered.append(Delivery("meeting.rtms_interrupted", event_ts, ""))
    row = StreamRow(
        rtms_stream_id=rtms_stream_id,
        product="meeting",
        session=SessionRef("meeting_uuid", "4444AAAiAAAAAiAiAiiAii=="),
        app="main",
        server_urls="wss://rtms.example.com:443/x?y=ä",
        started_ms=STARTED_MS,
        event_ts=event_ts,
        stop_reason=6 if closed else None,
        stopped_ms=event_ts if closed else None,
        closed=closed,
        details={"operator_id": "öß 🎧", "nested": [1, {"x": None}]},
    )
    return Known(row, tuple(delivered))


class Somebody(Protocol):
    @property
    def node(self) -> str: ...
    @property
    def incarnation(self) -> str: ...


def own(
    member: Somebody,
    rtms_stream_id: str,
    epoch: int = 1,
    state: TenureState = TenureState.LIVE,
    what: Known | None = None,
) -> Own:
    return Own(
        rtms_stream_id=rtms_stream_id,
        node=member.node,
        incarnation=member.incarnation,
        epoch=epoch,
        nonce=uuid.uuid4().hex,
        why=Why.STARTED if epoch == 1 else Why.DIED,
        state=state,
        known=known(rtms_stream_id) if what is None else what,
    )


async def eventually(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Look again until it holds; for what an engine need not show at once."""
    with trio.fail_after(LIMIT_S):
        while not holds(found := await look()):  # noqa: ASYNC110 the engine has no event for it
            await trio.sleep(0.01)
        return found


class Contract:
    """The members that take part in all tests."""

    @pytest.fixture
    async def a(self, join: Join) -> AsyncIterator[Member]:
        async with join("a") as member:
            yield member

    @pytest.fixture
    async def b(self, join: Join) -> AsyncIterator[Member]:
        async with join("b") as member:
            yield member

    @pytest.fixture
    def stream(self) -> str:
        return new_id()


class OwnerStoreContract(Contract):
    async def test_nobody_owns_a_stream_that_nobody_heard_of(self, a: Member, stream: str) -> None:
        assert await a.store.read(stream) == Held()
        assert a.store.is_up

    async def test_what_one_claims_all_read_whole(self, a: Member, b: Member, stream: str) -> None:
        mine = own(a, stream)
        token = await a.store.claim(mine, seen=0)
        assert token > 0
        for member in (a, b):
            held = await member.store.read(stream)
            assert (held.own, held.token, held.known) == (mine, token, mine.known)

    async def test_a_claim_on_what_was_seen_before_another_is_lost(self, a: Member, b: Member, stream: str) -> None:
        first, second = own(a, stream), own(b, stream, 2)
        first_token = await a.store.claim(first, seen=0)
        second_token = await b.store.claim(second, seen=first_token)
        for seen in (0, first_token, second_token + 1):
            with pytest.raises(Lost) as caught:
                await a.store.claim(own(a, stream, 3), seen=seen)
            assert (caught.value.winner.own, caught.value.winner.token) == (second, second_token)
        assert (await a.store.read(stream)).own == second

    async def test_of_those_who_claim_at_once_one_wins(self, a: Member, b: Member) -> None:
        streams = [new_id() for _ in range(20)]
        won: dict[str, list[tuple[Own, int]]] = {each: [] for each in streams}
        lost: dict[str, list[Held]] = {each: [] for each in streams}

        async def claim(member: Member, stream: str) -> None:
            mine = own(member, stream)
            try:
                won[stream].append((mine, await member.store.claim(mine, seen=0)))
            except Lost as loss:
                lost[stream].append(loss.winner)

        async with trio.open_nursery() as nursery:
            for stream in streams:
                for member in (a, b, a, b):
                    nursery.start_soon(claim, member, stream)
        for stream in streams:
            assert len(won[stream]) == 1
            assert [(held.own, held.token) for held in lost[stream]] == won[stream] * 3

    async def test_tokens_of_a_stream_grow(self, a: Member, b: Member, stream: str) -> None:
        token = 0
        for epoch in range(1, 8):
            member = (a, b)[epoch % 2]
            older, token = token, await member.store.claim(own(member, stream, epoch), seen=token)
            assert token > older

    async def test_no_token_is_given_twice(self, a: Member, b: Member) -> None:
        """Not to two records of one stream, also when the first of them has ended."""
        stream = new_id()
        first = await a.store.claim(own(a, stream), seen=0)
        ended = await a.store.claim(own(a, stream, state=TenureState.ENDED), seen=first)
        again = await b.store.claim(own(b, stream, 2), seen=ended)
        assert first < ended < again

    async def test_a_claim_whose_answer_was_lost_is_found_by_its_nonce(self, a: Member, b: Member, stream: str) -> None:
        mine = own(a, stream)
        token = await a.store.claim(mine, seen=0)
        assert await a.store.claim(mine, seen=0) == token
        await b.store.claim(own(b, stream, 2), seen=token)
        with pytest.raises(Lost):  # it was answered, and another has come since
            await a.store.claim(mine, seen=0)

    async def test_a_later_claim_replaces_what_is_known(self, a: Member, b: Member, stream: str) -> None:
        token = await a.store.claim(own(a, stream), seen=0)
        newer = known(stream, event_ts=STARTED_MS + 500)
        await b.store.claim(own(b, stream, 2, what=newer), seen=token)
        assert (await a.store.read(stream)).known == newer

    async def test_a_claim_that_came_second_changes_nothing(self, a: Member, b: Member, stream: str) -> None:
        await a.store.claim(own(a, stream), seen=0)
        before = await a.store.read(stream)
        with pytest.raises(Lost):
            await b.store.claim(own(b, stream, what=known(stream, event_ts=STARTED_MS + 500)), seen=0)
        assert await b.store.read(stream) == before

    async def test_streams_of_similar_names_are_not_one(self, a: Member) -> None:
        base = uuid.uuid4().hex
        names = [base + end for end in ("", ".", "*", ">", " ", "/", "%2F", "+", "ä", "~", "\t", "x" * 900, "x" * 901)]
        tokens = [await a.store.claim(own(a, name), seen=0) for name in names]
        assert [(await a.store.read(name)).token for name in names] == tokens
        assert [(await a.store.read(name)).known.row for name in names] == [known(name).row for name in names]

    async def test_orphans_are_the_live_streams_of_the_dead(self, a: Member, b: Member) -> None:
        mine, other, ended, closed = (new_id() for _ in range(4))
        await a.store.claim(own(a, mine), seen=0)
        await b.store.claim(own(b, other), seen=0)
        token = await b.store.claim(own(b, ended), seen=0)
        await b.store.claim(own(b, ended, state=TenureState.ENDED, what=known(ended, closed=True)), seen=token)
        await b.store.claim(own(b, closed, what=known(closed, closed=True)), seen=0)

        async def orphans(*living: str) -> set[str]:
            found = [held.own for held in await a.store.orphans(living) if held.own is not None]
            return {each.rtms_stream_id for each in found} & {mine, other, ended, closed}

        await eventually(orphans, lambda found: found == {mine, other})
        assert await orphans(a.incarnation) == {other}
        assert await orphans(b.incarnation) == {mine}
        assert await orphans(a.incarnation, b.incarnation) == set()
        orphan = next(
            held for held in await a.store.orphans([a.incarnation]) if held.own and held.own.rtms_stream_id == other
        )
        assert orphan == await a.store.read(other)

    async def test_an_orphan_that_was_claimed_is_none(self, a: Member, b: Member, stream: str) -> None:
        async def ids() -> set[str]:
            held = await a.store.orphans([a.incarnation])
            return {each.own.rtms_stream_id for each in held if each.own is not None}

        token = await b.store.claim(own(b, stream), seen=0)
        await eventually(ids, lambda found: stream in found)
        await a.store.claim(own(a, stream, 2), seen=token)
        await eventually(ids, lambda found: stream not in found)

    async def test_what_an_earlier_life_of_a_member_had_is_orphaned(self, join: Join, a: Member, stream: str) -> None:
        async with join("b") as earlier:
            await earlier.store.claim(own(earlier, stream), seen=0)
        async with join("b") as later:
            assert later.incarnation != earlier.incarnation
            orphans = await eventually(
                lambda: a.store.orphans([a.incarnation, later.incarnation]),
                lambda found: any(each.own and each.own.rtms_stream_id == stream for each in found),
            )
        assert all(each.own is None or each.own.incarnation != later.incarnation for each in orphans)

    async def test_a_cancelled_claim_is_whole_or_not_there(self, a: Member, b: Member) -> None:
        claims = [own(a, new_id()) for _ in range(40)]

        async def claim(mine: Own, checkpoints: int) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(a.store.claim, mine, seen=0))
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for number, mine in enumerate(claims):
                nursery.start_soon(claim, mine, number // 2)
        await eventually(_now(a.pending), lambda pending: pending == 0)
        for mine in claims:
            held = await b.store.read(mine.rtms_stream_id)
            assert held.own in (None, mine)
            try:
                await b.store.claim(own(b, mine.rtms_stream_id, 2), seen=held.token)
            except Lost as loss:  # it was carried out only now
                assert held.own is None
                assert loss.winner.own == mine


class BusContract(Contract):
    async def test_an_answer_comes_back(self, a: Member, b: Member) -> None:
        async def reverse(data: bytes) -> bytes:
            return data[::-1]

        b.bus.serve("ctl", reverse)
        a.bus.serve("ctl", reverse)
        whole = bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)
        for data in (b"", b"abc", b"\r\n\r\n\x00", whole):
            assert await a.bus.ask("b", "ctl", data, timeout_s=LIMIT_S) == data[::-1]
            assert await b.bus.ask("a", "ctl", data, timeout_s=LIMIT_S) == data[::-1]

    async def test_each_kind_of_question_has_its_handler(self, a: Member, b: Member) -> None:
        for what in ("hook", "take", "ctl"):
            b.bus.serve(what, _constant(what.encode()))
        for what in ("take", "ctl", "hook"):
            assert await a.bus.ask("b", what, b"", timeout_s=LIMIT_S) == what.encode()

    async def test_nobody_listens(self, join: Join, a: Member, b: Member) -> None:
        with pytest.raises(Nobody):
            await a.bus.ask("c", "hook", b"", timeout_s=LIMIT_S)
        with pytest.raises(Nobody):
            await a.bus.ask("b", "hook", b"", timeout_s=LIMIT_S)
        async with join("c") as c:
            c.bus.serve("hook", _constant(b"here"))
            assert await a.bus.ask("c", "hook", b"", timeout_s=LIMIT_S) == b"here"
        with pytest.raises(Nobody):
            await a.bus.ask("c", "hook", b"", timeout_s=LIMIT_S)
        async with join("c") as c:
            c.bus.serve("hook", _constant(b"again"))
            assert await a.bus.ask("c", "hook", b"", timeout_s=LIMIT_S) == b"again"

    async def test_a_refusal_says_why(self, a: Member, b: Member) -> None:
        async def refuse(data: bytes) -> bytes:
            raise Refused("the disk is low: 3 % left, ä")

        async def lose(data: bytes) -> bytes:
            raise Lost(Held())

        b.bus.serve("take", refuse)
        b.bus.serve("hook", lose)
        with pytest.raises(Refused, match=r"^the disk is low: 3 % left, ä$"):
            await a.bus.ask("b", "take", b"", timeout_s=LIMIT_S)
        with pytest.raises(Refused, match="claimed by another"):
            await a.bus.ask("b", "hook", b"", timeout_s=LIMIT_S)

    async def test_a_bug_ends_one_question(self, a: Member, b: Member) -> None:
        async def crash(data: bytes) -> bytes:
            return b"%d" % (1 // len(data))

        b.bus.serve("ctl", crash)
        with pytest.raises(Refused):
            await a.bus.ask("b", "ctl", b"", timeout_s=LIMIT_S)
        assert await a.bus.ask("b", "ctl", b"x", timeout_s=LIMIT_S) == b"1"

    async def test_an_answer_that_comes_too_late_is_away(self, a: Member, b: Member) -> None:
        done, go_on = trio.Event(), trio.Event()

        async def dawdle(data: bytes) -> bytes:
            await go_on.wait()
            done.set()
            return b"late"

        b.bus.serve("hook", dawdle)
        b.bus.serve("ctl", _constant(b"alive"))
        with pytest.raises(Away):
            await a.bus.ask("b", "hook", b"", timeout_s=0.2)
        assert await a.bus.ask("b", "ctl", b"", timeout_s=LIMIT_S) == b"alive"
        go_on.set()
        with trio.fail_after(LIMIT_S):
            await done.wait()  # it is carried out all the same
        assert await a.bus.ask("b", "ctl", b"", timeout_s=LIMIT_S) == b"alive"

    async def test_who_dies_while_it_answers_is_away(self, join: Join, a: Member) -> None:
        """It may have carried the question out."""
        asked = trio.Event()

        async def begin(data: bytes) -> bytes:
            asked.set()
            await trio.sleep_forever()
            raise AssertionError

        async def ask() -> None:
            with pytest.raises(Away):
                await a.bus.ask("c", "take", b"", timeout_s=0.5)

        async with trio.open_nursery() as nursery, join("c") as c:
            c.bus.serve("take", begin)
            nursery.start_soon(ask)
            with trio.fail_after(LIMIT_S):
                await asked.wait()

    async def test_what_was_asked_is_done_though_the_asker_died(self, join: Join, a: Member) -> None:
        asked, go_on, done = trio.Event(), trio.Event(), trio.Event()

        async def work(data: bytes) -> bytes:
            asked.set()
            await go_on.wait()
            done.set()
            return b""

        a.bus.serve("take", work)
        async with trio.open_nursery() as nursery, join("c") as c:
            nursery.start_soon(partial(c.bus.ask, "a", "take", b"", timeout_s=LIMIT_S))
            with trio.fail_after(LIMIT_S):
                await asked.wait()
            nursery.cancel_scope.cancel()
        go_on.set()
        with trio.fail_after(LIMIT_S):
            await done.wait()

    async def test_questions_do_not_wait_for_each_other(self, a: Member, b: Member) -> None:
        everybody_asked = trio.Event()
        asked = 0

        async def meet(data: bytes) -> bytes:
            nonlocal asked
            asked += 1
            if asked == 16:
                everybody_asked.set()
            await everybody_asked.wait()
            return data

        async def ask(number: int) -> None:
            assert await a.bus.ask("b", "ctl", b"%d" % number, timeout_s=LIMIT_S) == b"%d" % number

        b.bus.serve("ctl", meet)
        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(ask, number)

    async def test_what_is_too_large_is_not_sent(self, a: Member, b: Member) -> None:
        asked: list[int] = []

        async def answer_too_much(data: bytes) -> bytes:
            asked.append(len(data))
            return bytes(MAX_MESSAGE_BYTES + 1)

        b.bus.serve("ctl", answer_too_much)
        with pytest.raises(TooLarge):
            await a.bus.ask("b", "ctl", bytes(MAX_MESSAGE_BYTES + 1), timeout_s=LIMIT_S)
        with pytest.raises(Refused):
            await a.bus.ask("b", "ctl", b"", timeout_s=LIMIT_S)
        assert asked == [0]

    async def test_a_cancelled_question_leaves_nothing_behind(self, a: Member, b: Member) -> None:
        async def never(data: bytes) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        async def ask() -> None:
            with pytest.raises(EngineError):
                await a.bus.ask("b", "hook", b"", timeout_s=3600)

        b.bus.serve("hook", never)
        b.bus.serve("ctl", _constant(b"alive"))
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(ask)
            assert await a.bus.ask("b", "ctl", b"", timeout_s=LIMIT_S) == b"alive"
            nursery.cancel_scope.cancel()
        await eventually(_now(a.pending), lambda pending: pending == 0)
        assert await a.bus.ask("b", "ctl", b"", timeout_s=LIMIT_S) == b"alive"


class StreamLogContract(Contract):
    async def test_lines_are_read_in_order(self, a: Member, b: Member, stream: str) -> None:
        token = await a.store.claim(own(a, stream), seen=0)
        logs = [_log(stream, token, n) for n in range(PAGE + 5)]
        for log in logs:
            await _log_of(a).append(log)
        read = await _whole_log(b, stream)
        assert [each.record for each in read] == logs
        places = [each.place for each in read]
        assert places == sorted(set(places))
        assert places[0] > token

    async def test_who_lost_the_stream_writes_nothing_more(self, a: Member, b: Member, stream: str) -> None:
        with pytest.raises(Fenced):
            await _log_of(a).append(_log(stream, 0, 0))
        old = await a.store.claim(own(a, stream), seen=0)
        await _log_of(a).append(_log(stream, old, 0))
        new = await b.store.claim(own(b, stream, 2), seen=old)
        with pytest.raises(Fenced):
            await _log_of(a).append(_log(stream, old, 1))
        with pytest.raises(Fenced):
            await _log_of(a).put_row(Row(rtms_stream_id=stream, token=old, known=known(stream, event_ts=5)))
        await _log_of(b).append(_log(stream, new, 0))
        assert [each.record for each in await _whole_log(a, stream)] == [_log(stream, old, 0), _log(stream, new, 0)]
        assert (await a.store.read(stream)).known == known(stream)

    async def test_appends_at_once_are_all_there(self, a: Member, stream: str) -> None:
        token = await a.store.claim(own(a, stream), seen=0)
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(_log_of(a).append, _log(stream, token, n))
        read = await _whole_log(a, stream)
        assert {each.record.n for each in read} == {*range(20)}

    async def test_a_cancelled_append_may_be_repeated(self, a: Member, stream: str) -> None:
        token = await a.store.claim(own(a, stream), seen=0)
        for n in range(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_log_of(a).append, _log(stream, token, n))
                for _ in range(n):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            await _log_of(a).append(_log(stream, token, n))
        await eventually(_now(a.pending), lambda pending: pending == 0)
        read = await _whole_log(a, stream)
        assert {each.record.n for each in read} == {*range(20)}
        assert len(read) <= 40

    async def test_the_newest_row_is_what_is_known(self, a: Member, b: Member, stream: str) -> None:
        token = await a.store.claim(own(a, stream), seen=0)
        for event_ts in (STARTED_MS + 1, STARTED_MS + 2):
            newer = known(stream, event_ts=event_ts)
            await _log_of(a).put_row(Row(rtms_stream_id=stream, token=token, known=newer))
            held = await b.store.read(stream)
            assert (held.known, held.token) == (newer, token)
        claimed = known(stream, event_ts=STARTED_MS + 3)
        await b.store.claim(own(b, stream, 2, what=claimed), seen=token)
        assert (await a.store.read(stream)).known == claimed

    async def test_each_member_has_one_part(self, a: Member, b: Member, stream: str) -> None:
        assert await _log_of(a).parts(stream) == []
        parts = {}
        for member, clock_ms in ((b, 1), (a, 2), (b, 3)):
            part = parts[member.node] = _part(member, stream, clock_ms)
            await _log_of(member).put_part(part)
        assert await _log_of(a).parts(stream) == [parts["a"], parts["b"]]
        assert await _log_of(b).parts(new_id()) == []

    async def test_what_is_purged_is_gone_but_for_the_owner(self, a: Member, b: Member) -> None:
        stream, other = new_id(), new_id()
        tokens = {each: await a.store.claim(own(a, each), seen=0) for each in (stream, other)}
        for each, token in tokens.items():
            await _log_of(a).append(_log(each, token, 0))
            await _log_of(a).put_part(_part(a, each, 1))
            await _log_of(a).put_row(Row(rtms_stream_id=each, token=token, known=known(each, event_ts=9)))
        await _log_of(b).purge(stream)
        assert await _whole_log(a, stream) == []
        assert await _log_of(a).parts(stream) == []
        held = await a.store.read(stream)
        assert (held.token, held.known) == (tokens[stream], known(stream))
        assert len(await _whole_log(a, other)) == 1
        assert len(await _log_of(a).parts(other)) == 1
        assert (await a.store.read(other)).known == known(other, event_ts=9)

    async def test_orders_to_delete_reach_all_in_order(self, a: Member, b: Member) -> None:
        first, second, third = (Revoked(rtms_stream_id=new_id(), at_ms=number) for number in (1, 2, 3))
        await _log_of(a).revoke(first)
        here = (await _revocations(b, 0, first))[-1].place
        read: list[Placed[Revoked]] = []

        async def follow() -> None:
            read.extend(await _revocations(b, here, third))

        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow)
                await _log_of(a).revoke(second)
                await _log_of(b).revoke(third)
        assert [each.record for each in read] == [second, third]
        assert here < read[0].place < read[1].place
        assert (await _revocations(a, here, third)) == read

    async def test_what_no_reader_would_take_is_not_written(self, a: Member, stream: str) -> None:
        token = await a.store.claim(own(a, stream), seen=0)
        too_long = Log(rtms_stream_id=stream, token=token, n=0, lines={"events": ("x" * 300_000,)})
        with pytest.raises(BadRecord):
            await _log_of(a).append(too_long)
        with pytest.raises(BadRecord):
            await a.store.claim(attrs.evolve(own(a, stream, 2), node="a.>"), seen=token)
        assert await _whole_log(a, stream) == []
        assert (await a.store.read(stream)).token == token


class BeatsContract(Contract):
    async def test_everybody_hears_every_beat(self, a: Member, b: Member) -> None:
        beats = {
            member.node: [Beat(node=member.node, incarnation=member.incarnation, n=n, streams=7) for n in range(5)]
            for member in (a, b)
        }
        for of_a, of_b in zip(beats["a"], beats["b"], strict=True):
            await _beats_of(a).beat(of_a)
            await _beats_of(b).beat(of_b)
        for member in (a, b):
            with trio.fail_after(LIMIT_S):
                heard = [await _beats_of(member).hear() for _ in range(10)]
            for node, sent in beats.items():
                assert [each for each in heard if isinstance(each, Beat) and each.node == node] == sent

    async def test_who_stops_listening_loses_no_beat(self, a: Member, b: Member) -> None:
        with trio.move_on_after(0.05):
            await _beats_of(b).hear()
        beat = Beat(node="a", incarnation=a.incarnation, n=1)
        await _beats_of(a).beat(beat)
        with trio.fail_after(LIMIT_S):
            assert await _beats_of(b).hear() == beat


def _log_of(member: Member) -> StreamLog:
    assert member.log is not None
    return member.log


def _beats_of(member: Member) -> Beats:
    assert member.beats is not None
    return member.beats


def _log(rtms_stream_id: str, token: int, n: int) -> Log:
    lines = {"events": (f'{{"at_ms":{n},"kind":"ö"}}', "{}"), "transcript": ()}
    return Log(rtms_stream_id=rtms_stream_id, token=token, n=n, lines=lines)


def _part(member: Member, rtms_stream_id: str, clock_ms: int) -> Part:
    return Part(
        rtms_stream_id=rtms_stream_id,
        node=member.node,
        token=1,
        epoch=1,
        state=PartState.RECORDING,
        clock_ms=clock_ms,
        participants=({"user_id": 1, "user_name": "ä"},),
    )


async def _whole_log(member: Member, rtms_stream_id: str) -> Sequence[Placed[Log]]:
    read: list[Placed[Log]] = []
    while page := await _log_of(member).read_log(rtms_stream_id, after=read[-1].place if read else 0):
        assert len(page) <= PAGE
        read += page
    return read


async def _revocations(member: Member, after: int, last: Revoked) -> Sequence[Placed[Revoked]]:
    """Read orders up to this one."""
    read: list[Placed[Revoked]] = []
    while last not in [each.record for each in read]:
        read += await _log_of(member).revocations(after=read[-1].place if read else after)
    return read


def _constant(answer: bytes) -> Callable[[bytes], Awaitable[bytes]]:
    async def handle(data: bytes) -> bytes:
        return answer

    return handle


def _now(count: Callable[[], int]) -> Callable[[], Awaitable[int]]:
    async def look() -> int:
        return count()

    return look
