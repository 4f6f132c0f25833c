"""The hand-over of this member's streams to others: all of them, or one.

The other member is asked first whether it would take the stream. Then the stream is let go here, which ends no later
than a second after its signaling connection was closed; the other is told to take it, and claims it. Whatever fails,
the ownership record says who has the stream: the next member is asked, or the stream is connected here again.
"""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Final

import attrs
import structlog
import trio

from rtmsd.cluster.engine import Away, Bus, EngineError
from rtmsd.cluster.handover.offers import TAKE, Offer, encode_offer
from rtmsd.cluster.handover.pacing import Pace
from rtmsd.cluster.handover.passages import DrainResult, Fate, NotMoved, Passage
from rtmsd.cluster.lives import Lives
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Held, TenureState
from rtmsd.cluster.rules import rank, why_no_room
from rtmsd.config import is_called
from rtmsd.errors import RtmsdError
from rtmsd.streams.finalizer import contained

log = structlog.get_logger(__name__)

ASK_S: Final = 1.5  # whether a member would take a stream: it reads the record
TAKE_S: Final = 3.0  # it claims it
LET_GO_S: Final = 10.0  # media are read on for a second; the rest is for a slow disk
TELL_S: Final = 1.0
PATIENCE_S: Final = 15.0
"""For the engine to say who has a stream that was let go. Zoom keeps its slot, and buffers, for a minute."""
AGAIN_S: Final = 1.0

_LATE: Final = Passage(Fate.STAYED, why="there was no time left for it")
_CRASHED: Final = Passage(Fate.STAYED, why="a bug of ours, see the log")


async def _nothing(_rtms_stream_id: str) -> None:
    await trio.lowlevel.checkpoint()


class Handover:
    """Hands over streams. New ones are to be refused meanwhile, and this member's beats to say that it is draining.

    Args:
        tell: tells the engine what the next owner has to know of a stream that was let go; the rest is in its record.

    Attributes:
        results: streams, counted by what became of them.
    """

    def __init__(
        self,
        members: Members,
        bus: Bus,
        ownership: Ownership,
        lives: Lives,
        *,
        tell: Callable[[str], Awaitable[None]] = _nothing,
    ) -> None:
        self.results = Counter(dict.fromkeys(Fate, 0))
        self._members, self._bus, self._ownership, self._lives = members, bus, ownership, lives
        self._tell = tell
        self._pace = Pace()

    async def drain(self, for_s: float, but: str | None = None) -> DrainResult:
        """Hand over all streams, those included that begin meanwhile.

        Args:
            for_s: what is not handed over by then stays.
            but: this member, or those of this machine, are given none: they are drained, too.
        """
        passages: dict[str, Passage] = {}

        async def hand_over(rtms_stream_id: str) -> None:
            async with self._pace.place():
                passages[rtms_stream_id] = await self._hand_over(rtms_stream_id, self._takers(rtms_stream_id, but=but))

        with trio.move_on_after(for_s):
            while new := self._lives.streams.keys() - passages.keys():
                async with trio.open_nursery() as nursery:
                    for rtms_stream_id in sorted(new):
                        passages[rtms_stream_id] = _LATE
                        nursery.start_soon(hand_over, rtms_stream_id)
        return DrainResult(passages)

    async def move(self, rtms_stream_id: str, node: str | None = None) -> str:
        """Hand over one stream, and return the member that has it.

        Args:
            node: the member that is to have it, or its machine; None: whichever is best.

        Raises:
            NotMoved: it is where it was, or has ended; the text says why.
        """
        if node is not None and is_called((me := self._members.me).node, node):
            raise NotMoved(f"stream {rtms_stream_id} is on member {me.node} already")
        if node is not None and not any(is_called(member.node, node) for member in self._others()):
            there = ", ".join(member.node for member in self._others()) or "none"
            raise NotMoved(f"no member {node} is up; others that are: {there}")
        if rtms_stream_id not in self._lives.streams:
            raise NotMoved(f"stream {rtms_stream_id} is not on this member")
        passage = await self._hand_over(rtms_stream_id, self._takers(rtms_stream_id, node))
        if passage.fate is Fate.ENDED:
            raise NotMoved(f"stream {rtms_stream_id} has ended")
        if passage.node is None:
            raise NotMoved(passage.why or "")
        return passage.node

    # Who takes it

    def _others(self) -> list[Member]:
        me = self._members.me.node
        return [member for member in self._members.living().values() if member.node != me]

    def _takers(self, rtms_stream_id: str, on: str | None = None, *, but: str | None = None) -> Iterator[Member]:
        """Yield the members to ask, the best first, each as it is when it is its turn.

        Args:
            on: only this member, or those of this machine.
            but: not this one, or those.
        """
        nodes = [
            member.node
            for member in self._others()
            if (on is None or is_called(member.node, on)) and (but is None or not is_called(member.node, but))
        ]
        for node in rank(nodes, rtms_stream_id):
            if (member := self._members.living().get(node)) is not None:
                yield member

    # One stream

    async def _hand_over(self, rtms_stream_id: str, takers: Iterable[Member]) -> Passage:
        """Hand over a stream. `Ownership.run` goes on with one that was let go and is nobody else's."""
        try:
            async with self._ownership.turns.of(rtms_stream_id):
                passage = await self._offer(rtms_stream_id, takers)
        except RtmsdError as error:
            passage = Passage(Fate.STAYED, why=str(error))
        except trio.TooSlowError:
            passage = Passage(Fate.STAYED, why=f"its files were not written within {LET_GO_S:g} s")
        except Exception:
            log.exception("hand-over of a stream crashed", rtms_stream_id=rtms_stream_id)
            passage = _CRASHED
        self.results[passage.fate] += 1
        match passage.fate:
            case Fate.HANDED_OVER:
                log.info("stream handed over", rtms_stream_id=rtms_stream_id, to=passage.node)
            case Fate.ENDED:
                log.info("stream ended before it was handed over", rtms_stream_id=rtms_stream_id)
            case Fate.STAYED:
                log.warning("stream not handed over", rtms_stream_id=rtms_stream_id, why=passage.why)
        return passage

    async def _offer(self, rtms_stream_id: str, takers: Iterable[Member]) -> Passage:
        """Offer a stream to one member after the other.

        Raises:
            RtmsdError: it is not known whose the stream is.
            TooSlowError: it could not be let go in time.
        """
        held = await self._ownership.read(rtms_stream_id)
        if (passage := self._passage(rtms_stream_id, held)) is not None:
            return passage
        if not self._members.is_me(held.own):
            return Passage(Fate.STAYED, why="it was begun without the engine, and is not claimed yet")
        me, whys = self._members.me, list[str]()
        offer = Offer(rtms_stream_id=rtms_stream_id, node=me.node, incarnation=me.incarnation, token=held.token)
        for member in takers:
            why = why_no_room(member)
            if why is None:
                self._members.give(member.node)
                try:
                    if not offer.is_let_go:
                        await self._bus.ask(member.node, TAKE, encode_offer(offer), timeout_s=ASK_S)
                        if not await self._let_go(rtms_stream_id, member.node):
                            return Passage(Fate.ENDED)
                        offer = attrs.evolve(offer, is_let_go=True)
                    await self._bus.ask(member.node, TAKE, encode_offer(offer), timeout_s=TAKE_S)
                    return Passage(Fate.HANDED_OVER, member.node)
                except EngineError as error:
                    why = str(error)
                held = await self._read_again(held) if offer.is_let_go else held
                if (passage := self._passage(rtms_stream_id, held)) is not None:
                    return passage
            whys.append(f"{member.node}: {why}")
        return Passage(Fate.STAYED, why="; ".join(["no other member takes it", *whys]))

    def _passage(self, rtms_stream_id: str, held: Held) -> Passage | None:
        """Return what has become of a stream already; None: it is still to be handed over."""
        own, row = held.own, held.known.row
        if own is not None and own.node != self._members.me.node and own.state is TenureState.LIVE:
            return Passage(Fate.HANDED_OVER, own.node)
        life = self._lives.streams.get(rtms_stream_id)
        has_ended = (row is not None and row.stop_reason is not None) or (life is not None and life.end is not None)
        is_finished = own is not None and not held.is_unfinished
        return Passage(Fate.ENDED) if has_ended or is_finished else None

    async def _let_go(self, rtms_stream_id: str, node: str) -> bool:
        """Let a stream go. Returns False where it has ended meanwhile.

        Raises:
            TooSlowError: it is being let go still.
        """
        with trio.fail_after(LET_GO_S):
            await self._lives.let_go(rtms_stream_id, f"handed over to member {node}")
        if rtms_stream_id in self._lives.streams:
            return False
        with trio.move_on_after(TELL_S), contained("next owner not told", rtms_stream_id=rtms_stream_id):
            await self._tell(rtms_stream_id)
        return True

    async def _read_again(self, before: Held) -> Held:
        """Return who has a stream that was let go.

        Raises:
            Away: nobody can say. The stream goes on here; if another has it, that shows later.
        """
        row = before.known.row
        assert row is not None
        with trio.move_on_after(PATIENCE_S):
            while True:
                with contextlib.suppress(RtmsdError):
                    return await self._ownership.read(row.rtms_stream_id)
                await trio.sleep(AGAIN_S)
        self._ownership.resume_unproven(row)
        raise Away("the engine does not say whether the other has it")
