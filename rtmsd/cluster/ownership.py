"""The streams that are mine: claimed before they are begun, held until they end or are another's."""

import contextlib
import math
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final

import attrs
import structlog
import trio

from rtmsd.cluster.codec import BadRecord
from rtmsd.cluster.engine import Away, Elsewhere, Fenced, Lost, OwnerStore, TooNew
from rtmsd.cluster.lives import Claim, Lives
from rtmsd.cluster.members import Members
from rtmsd.cluster.records import Held, Holding, Own, TenureState, Why
from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.errors import RtmsdError
from rtmsd.protocol.causes import GapCause
from rtmsd.state.rows import Known, StreamRow
from rtmsd.state.verdicts import judge
from rtmsd.streams.drivers.tenure import Permission
from rtmsd.system.outstanding import Outstanding
from rtmsd.system.turns import Turns

log = structlog.get_logger(__name__)

READ_S: Final = 1.0  # for an answer of the engine before a handshake
AGAIN_S: Final = 1.0  # between questions that got none
CONNECTED_S: Final = 60.0  # without a question, which a stream that is lost asks again within Zoom's window
_ENDED: Final = 64  # streams that ended, and are not forgotten yet
_AT_ONCE: Final = 64  # streams whose owner is being found out
_TRIES: Final = 3  # of claims that came second to one who died since


async def _nothing(_own: Own, _token: int) -> Mapping[str, Any]:
    return {}


class Ownership:
    """Claims streams for this member and has them begun. Also the `Tenure` that is asked before each handshake.

    Args:
        lives: begins and suspends what is claimed and lost.
        apps: names of the configured apps.
        cause: of the gap of a stream that is resumed for this reason.
        patience_s: so long after a stream's first unanswered question a handshake waits for the engine's answer.
        clock_ms: local time in milliseconds since the Unix epoch.
        confirm: reads a record before a handshake; it may ask more than the store's `read`.

    Attributes:
        turns: one thing at a time for a stream that has no life here. Who holds a stream's turn while it is let go,
            decides whose it is next.
        taken: streams that were resumed here, whoever asked for it, counted by reason.
    """

    def __init__(
        self,
        members: Members,
        store: OwnerStore,
        lives: Lives,
        *,
        apps: Callable[[], Collection[str]],
        cause: Callable[[Why], GapCause],
        patience_s: float,
        clock_ms: Callable[[], int],
        prepare: Callable[[Own, int], Awaitable[Mapping[str, Any]]] = _nothing,
        confirm: Callable[[str], Awaitable[Held]] | None = None,
    ) -> None:
        self.turns = Turns()
        self.taken = Counter[Why]()
        self._mine: dict[str, Holding] = {}
        self._members, self._store, self._lives = members, store, lives
        self._apps, self._cause, self._clock_ms = apps, cause, clock_ms
        self._patience_s = patience_s
        self._unanswered_s: dict[str, tuple[float, float]] = {}  # the first and the last question
        self._prepare = prepare
        self._confirm = confirm or store.read
        self._unsure = Outstanding[Claim | None](  # mine perhaps, and not alive; the claim whose answer is missing
            "search for the owner", key="rtms_stream_id", at_once=_AT_ONCE, again_s=AGAIN_S
        )
        self._unproven: dict[str, StreamRow] = {}  # unsure, and alive: the state file says that it was mine

    @property
    def mine(self) -> Mapping[str, Holding]:
        """The streams that live here, by `rtms_stream_id`."""
        return {key: holding for key, holding in self._mine.items() if self.has(key)}

    def token(self, rtms_stream_id: str) -> int | None:
        """Return the token of a stream that is mine, or was until it ended just now; 0: not claimed yet."""
        holding = self._mine.get(rtms_stream_id)
        return None if holding is None else holding.token

    def has(self, rtms_stream_id: str) -> bool:
        return rtms_stream_id in self._mine and rtms_stream_id in self._lives.streams

    # Commands

    async def accept(self, command: StreamCommand, *, gone: str | None = None, unclaimed: bool = False) -> Verdict:
        """Act on a command here: the stream is mine, or nobody's who lives, and then made mine.

        Returns:
            REFUSED also for a new stream that another member may take: nothing was written down.

        Args:
            gone: the incarnation of an owner that is known to have gone, whatever the table says.
            unclaimed: whether a start is begun all the same when its claim gets no answer, in the same turn.

        Raises:
            Elsewhere: a living member owns it.
            Away: no answer of the engine; a claim may have been written, and is then found later.
            TooNew: see there.
        """
        rtms_stream_id = command.rtms_stream_id
        if self.has(rtms_stream_id):
            try:
                return await self._lives.accept(command)
            except Fenced as fenced:
                await self.lost(rtms_stream_id, str(fenced))
        async with self.turns.of(rtms_stream_id):
            for _ in range(_TRIES):
                if self.has(rtms_stream_id):
                    return await self._lives.accept(command)
                held = await self.read(rtms_stream_id)
                self._refuse_others(held, gone)
                try:
                    with contextlib.suppress(Lost):  # to whom, the next look shows
                        return await self._accept(command, held)
                except Away:
                    if not unclaimed or not isinstance(command, StartStream):
                        raise
                    return await self._begin_unclaimed(command)
        raise Away("it is not settled who owns the stream")

    def _refuse_others(self, held: Held, gone: str | None = None) -> None:
        owner = self._members.owner(held.own)
        if held.is_unfinished and owner is not None and not self._members.is_me(held.own) and owner.incarnation != gone:
            raise Elsewhere(owner.node)

    async def _accept(self, command: StreamCommand, held: Held) -> Verdict:
        TooNew.check(held)
        if held.is_unfinished:
            await self._resume(held, self._why(held.own))
            return await self._lives.accept(command)
        if isinstance(command, StopStream) and command.event_ts is None:
            command = attrs.evolve(command, event_ts=self._clock_ms())  # nothing else says when that stream was
        others = frozenset(self._apps()) - {command.app}
        verdict, known = judge(held.known, command, other_apps=others, received_ms=self._clock_ms())
        if isinstance(command, InterruptStream) or known.row is None:
            return await self._lives.accept(command)
        if isinstance(command, StartStream) and self._refusal(command) is not None:
            return Verdict.REFUSED if verdict is Verdict.NEW else verdict
        if verdict is not Verdict.NEW:
            return await self._lives.accept(command)
        await self._claim(held, Why.STARTED, known, begun_by=command)
        return Verdict.NEW

    def _refusal(self, start: StartStream) -> str | None:
        me = self._members.me
        return f"it has {me.streams} streams" if me.streams >= me.capacity else self._lives.refusal(start)

    def _why(self, own: Own | None) -> Why:
        if own is None or self._members.is_me(own):
            return Why.RESUMED
        return Why.DIED if self._members.owner(own) is None else Why.UNREACHABLE

    # Without the engine

    async def begin_unclaimed(self, start: StartStream) -> Verdict:
        """Act on a start while nobody can say whose the stream is: it is begun here, and claimed later.

        Raises:
            StorageError: it is not safe.
        """
        async with self.turns.of(start.rtms_stream_id):
            return await self._begin_unclaimed(start)

    async def _begin_unclaimed(self, start: StartStream) -> Verdict:
        verdict = await self._lives.accept(start)
        if verdict is Verdict.NEW and not self.has(start.rtms_stream_id):
            self.hold(start.rtms_stream_id, 0, 0)
        return verdict

    def resume_unproven(self, row: StreamRow) -> None:
        """Go on with a stream that this member has, or had before, though the engine cannot tell whose it is."""
        self._mine.pop(row.rtms_stream_id, None)
        self._lives.adopt(row, cause=self._cause(Why.RESUMED))
        self._unproven[row.rtms_stream_id] = row
        self._doubt(row.rtms_stream_id, None)

    # Streams of others

    async def take(self, held: Held, why: Why) -> bool:
        """Claim a stream that nobody alive owns, and resume it. Returns False where another was quicker.

        Raises:
            Away: no answer of the engine; if the claim was written, the stream is resumed later.
            TooNew: see there.
        """
        TooNew.check(held)
        assert held.known.row is not None
        async with self.turns.of(held.known.row.rtms_stream_id):
            try:
                await self._resume(held, why)
            except Lost:
                return False
        return True

    async def revive(self, rtms_stream_id: str) -> None:
        """Have a stream that lives in the engine live here, if none who lives owns it.

        Raises:
            Elsewhere: a living member does.
            Lost, Away, TooNew: it could not be claimed.
        """
        async with self.turns.of(rtms_stream_id):
            held = await self.read(rtms_stream_id)
            self._refuse_others(held)
            TooNew.check(held)
            if held.is_unfinished:
                await self._resume(held, self._why(held.own))

    async def _resume(self, held: Held, why: Why) -> None:
        row = held.known.row
        assert row is not None, "only a newer version's record is without"
        if not self.has(row.rtms_stream_id):
            await self._claim(held, why, held.known)

    async def _claim(self, held: Held, why: Why, known: Known, *, begun_by: StreamCommand | None = None) -> None:
        """Make a stream mine and begin its life.

        Raises:
            Lost: another was quicker.
            Away: whether it is mine is found out later.
        """
        row, me = known.row, self._members.me
        assert row is not None
        own = Own(
            rtms_stream_id=row.rtms_stream_id,
            node=me.node,
            incarnation=me.incarnation,
            epoch=1 if held.own is None else held.own.next_epoch,
            nonce=secrets.token_hex(8),
            why=why,
            known=known,
            more={} if held.own is None else held.own.more,
        )
        claim = Claim(own, held.token, begun_by)
        if begun_by is None:
            before = None if held.own is None else held.own.node
            takeover = {"why": why.in_words, "node": me.node, "from_node": before, "epoch": own.epoch}
            claim = attrs.evolve(claim, cause=self._cause(why), takeover=takeover)
        await self._begin(claim, await self._token(claim))

    async def _token(self, claim: Claim) -> int:
        """Write a claim and return its token. The claim is in doubt until the engine has answered."""
        own = claim.own
        self._unsure[own.rtms_stream_id] = claim
        try:
            token = await self._store.claim(own, seen=claim.seen)
        except (Lost, BadRecord):
            del self._unsure[own.rtms_stream_id]
            raise
        except BaseException as error:
            self._unsure.begin()
            if not isinstance(error, Away):
                raise
            held = await self.read(own.rtms_stream_id)
            if held.own is None or held.own.nonce != own.nonce:
                raise
            token = held.token
        del self._unsure[own.rtms_stream_id]
        return token

    async def _begin(self, claim: Claim, token: int) -> None:
        own, row, won_s = claim.own, claim.own.known.row, trio.current_time()
        assert row is not None
        try:
            more = await self._prepare(own, token)
            self._lives.adopt(row, begun_by=claim.begun_by, cause=claim.cause, takeover=claim.takeover, **more)
        except BaseException:  # nobody else begins what is mine
            self._doubt(own.rtms_stream_id, None)
            raise
        self.hold(own.rtms_stream_id, token, own.epoch, won_s)
        if claim.takeover is not None:
            self.taken[own.why] += 1
            before = claim.takeover["from_node"]
            log.info("stream taken over", rtms_stream_id=own.rtms_stream_id, owner_before=before, why=own.why)

    def hold(self, rtms_stream_id: str, token: int, epoch: int, won_s: float = -math.inf) -> None:
        """Take note that a stream which lives here is mine, by this token; 0: it is not claimed yet."""
        self._mine[rtms_stream_id] = Holding(token, epoch, won_s)
        self._unanswered_s.pop(rtms_stream_id, None)
        self._unproven.pop(rtms_stream_id, None)
        if len(self._mine) > 2 * len(self._lives.streams) + _ENDED:
            self._mine = dict(self.mine)
            self._unanswered_s = {key: each for key, each in self._unanswered_s.items() if key in self._mine}

    # Losses

    def let_go(self, rtms_stream_id: str) -> None:
        """Take note that a stream was let go here. If the engine says that it is mine, it is resumed."""
        self._mine.pop(rtms_stream_id, None)
        self._doubt(rtms_stream_id, None)

    async def lost(self, rtms_stream_id: str, why: str) -> None:
        """Let go a stream that is known to be another's."""
        if self._mine.pop(rtms_stream_id, None) is not None:
            await self._lives.let_go(rtms_stream_id, why)

    def _doubt(self, rtms_stream_id: str, claim: Claim | None) -> None:
        self._unsure[rtms_stream_id] = claim
        self._unsure.begin()

    async def run(self) -> None:
        """Until cancelled, find out about claims without an answer, and streams that were let go without knowledge."""
        await self._unsure.run(self._settle)

    async def _settle(self, rtms_stream_id: str) -> None:
        async with self.turns.of(rtms_stream_id):
            if rtms_stream_id not in self._unsure or self.has(rtms_stream_id):
                self._unsure.pop(rtms_stream_id, None)
                return
            claim = self._unsure[rtms_stream_id]
            with contextlib.suppress(Lost):
                if claim is not None:  # the same again: it is written now if it was not, and may still be
                    await self._begin(claim, await self._token(claim))
                else:
                    await self._search(rtms_stream_id)
            self._unsure.pop(rtms_stream_id, None)
            self._unproven.pop(rtms_stream_id, None)

    async def _search(self, rtms_stream_id: str) -> None:
        """Go on with a stream, or leave it, as the engine says."""
        held = await self.read(rtms_stream_id)
        row = self._unproven.get(rtms_stream_id)
        if row is not None and rtms_stream_id in self._lives.streams:
            await self._prove(held, row)
        elif self._members.is_me(held.own) and held.is_unfinished and held.known.row is not None:
            await self._resume(held, Why.RESUMED)

    async def _prove(self, held: Held, row: StreamRow) -> None:
        """Claim a stream that lives here, unless it is another's by now."""
        if held.own is None and held.known.row is None:  # the engine has forgotten it
            held = attrs.evolve(held, known=Known(row))
        if held.is_unfinished and (held.own is None or held.own.node == self._members.me.node):
            with contextlib.suppress(Lost):
                await self._resume(held, Why.RESUMED)
                return
        await self._lives.let_go(row.rtms_stream_id, "another member has it, or had it to its end")

    # Handshakes

    async def may_connect(self, rtms_stream_id: str) -> Permission:
        """Return whether the stream is mine, as the engine says now, or said by taking my claim. See `Tenure`."""
        if (mine := self._mine.get(rtms_stream_id)) and trio.current_time() < mine.won_s + READ_S:  # as answers may be
            return Permission.GRANTED
        while True:
            since_s, asked_s = self._unanswered_s.get(rtms_stream_id, (now_s := trio.current_time(), now_s))
            since_s = since_s if now_s < asked_s + CONNECTED_S else now_s  # else it was connected meanwhile
            self._unanswered_s[rtms_stream_id] = since_s, now_s
            try:
                with trio.fail_after(READ_S):
                    held = await self._confirm(rtms_stream_id)
            except (RtmsdError, trio.TooSlowError):
                left_s = since_s + self._patience_s - trio.current_time()
                if left_s <= 0 or self._is_unclaimed(rtms_stream_id):  # which nobody else can have claimed since
                    return Permission.BLIND
                await trio.sleep(min(AGAIN_S, left_s))
                continue
            self._unanswered_s.pop(rtms_stream_id, None)
            return Permission.GRANTED if self._is_mine(rtms_stream_id, held.own) else Permission.LOST

    def _is_mine(self, rtms_stream_id: str, own: Own | None) -> bool:
        if self._is_unclaimed(rtms_stream_id) and (own is None or own.node == self._members.me.node):
            return True  # the claim is on its way
        if own is None:  # the engine has lost its record
            return rtms_stream_id in self._mine
        return self._members.is_me(own) and own.state is TenureState.LIVE

    def _is_unclaimed(self, rtms_stream_id: str) -> bool:
        holding = self._mine.get(rtms_stream_id)
        return rtms_stream_id in self._unproven or (holding is not None and holding.token == 0)

    async def read(self, rtms_stream_id: str) -> Held:
        """Return what the engine says of a stream.

        Raises:
            Away: no answer within `READ_S`.
        """
        with trio.move_on_after(READ_S):
            return await self._store.read(rtms_stream_id)
        raise Away("the engine did not say in time who owns the stream")
