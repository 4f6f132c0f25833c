"""What the engine is told of a stream of this member: its newest row, its end, or that it was begun meanwhile."""

from typing import Final, Protocol

import attrs

from rtmsd.cluster.engine import Fenced, Lost, OwnerStore, StreamLog
from rtmsd.cluster.records import Held, Own, Part, PartState, Revoked, Row, TenureState, Why
from rtmsd.cluster.rules import AWAITS, awaited
from rtmsd.protocol.enums import StopReason
from rtmsd.state.parts import PartRow
from rtmsd.state.rows import Delivery, Known, StreamRow

_END: Final = "-end"  # of the nonce: who finds it knows that its end was written


class Engine(OwnerStore, StreamLog, Protocol):
    """An engine, as far as telling needs it."""


@attrs.frozen
class Claimed:
    """A stream that was begun while the engine was away, and is this member's now.

    Attributes:
        known: of the stream, by this member and by the engine.
    """

    token: int
    epoch: int
    known: Known


class Teller:
    """Tells the engine what the state file has. Telling the same again does no harm."""

    def __init__(self, engine: Engine, node: str, incarnation: str) -> None:
        self._engine, self._node, self._incarnation = engine, node, incarnation
        self._purging: dict[str, frozenset[str]] = {}  # revoked streams: whose parts were there before a purge

    async def tell(self, part: PartRow, row: StreamRow, known: Known) -> Claimed | None:
        """Have the engine know what is known of a stream of this member; one without a token is claimed.

        Raises:
            Fenced: the stream is another's.
            Away: no answer; it may know.
            BadRecord: it cannot be told.
        """
        if row.stop_reason == StopReason.STREAM_REVOKED:  # others may have parts, whoever the owner is
            at_ms = row.event_ts if row.stopped_ms is None else row.stopped_ms
            await self._engine.revoke(Revoked(rtms_stream_id=row.rtms_stream_id, at_ms=at_ms))
        if part.token == 0:
            return await self._claim(part, row, known)
        await self._tell(part, row, known)
        return None

    async def _tell(self, part: PartRow, row: StreamRow, known: Known) -> None:
        if row.closed:
            await self._end(part, row, known)
        else:
            await self._engine.put_row(Row(rtms_stream_id=row.rtms_stream_id, token=part.token, known=known))

    def has_ended(self, part: PartRow, held: Held) -> bool:
        """Whether the end of a tenure was written, though its answer may have been lost."""
        return held.own is not None and held.own.nonce == _end_of(part.nonce)

    async def _end(self, part: PartRow, row: StreamRow, known: Known) -> None:
        """Write the end in place of the ownership record: whoever reads it knows what the row said last."""
        held = await self._engine.read(row.rtms_stream_id)
        if self.has_ended(part, held) or held.token == 0:  # or it has aged out
            return
        if held.own is None or held.token != part.token:
            self._purging.pop(row.rtms_stream_id, None)
            raise Fenced(f"token {part.token} is not the newest, which is {held.token}")
        if row.stop_reason == StopReason.STREAM_REVOKED:
            await self._purge(row.rtms_stream_id, part.token, held.own.epoch)
            state = TenureState.REVOKED
        else:
            state = TenureState.ENDED
        ended = attrs.evolve(held.own, state=state, nonce=_end_of(part.nonce), known=known)
        try:
            await self._engine.claim(ended, seen=part.token)
        except Lost as lost:
            raise Fenced(str(lost)) from lost

    async def _purge(self, rtms_stream_id: str, token: int, epoch: int) -> None:
        """Have the engine forget all but whose parts are still to be deleted. They confirm that after the end."""
        parts = await self._engine.parts(rtms_stream_id)
        others = self._purging.get(rtms_stream_id, frozenset()) | awaited(parts) - {self._node}
        self._purging[rtms_stream_id] = others  # the next try does not find them
        await self._engine.purge(rtms_stream_id)
        await self._engine.put_part(
            Part(
                rtms_stream_id=rtms_stream_id,
                node=self._node,
                token=token,
                epoch=epoch,
                state=PartState.DELETED,
                more={AWAITS: sorted(others)} if others else {},
            )
        )
        del self._purging[rtms_stream_id]

    async def _claim(self, part: PartRow, row: StreamRow, known: Known) -> Claimed:
        """Claim what was begun without the engine, unless another has it, or had it and it is over."""
        held = await self._engine.read(row.rtms_stream_id)
        both = Known(row, _joined(held.known, known))
        if held.own is not None and held.own.nonce in (part.nonce, _end_of(part.nonce)):  # an answer was lost
            await self._tell(attrs.evolve(part, token=held.token), row, both)
            return Claimed(held.token, held.own.epoch, both)
        if held.is_unfinished and (held.own is None or held.own.node != self._node):
            raise Fenced(f"begun by {'an earlier rtmsd' if held.own is None else held.own.node}, too")
        if held.known.row is not None and not held.is_unfinished and _is_over(held.known.row, row):
            raise Fenced("it ended elsewhere")
        own = Own(
            rtms_stream_id=row.rtms_stream_id,
            node=self._node,
            incarnation=self._incarnation,
            epoch=1 if held.own is None else held.own.next_epoch,
            nonce=part.nonce,
            why=Why.STARTED,
            known=both,
            more={} if held.own is None else held.own.more,
        )
        try:
            token = await self._engine.claim(own, seen=held.token)
        except Lost as lost:
            raise Fenced(str(lost)) from lost
        if row.closed:
            await self._end(attrs.evolve(part, token=token), row, both)
        return Claimed(token, own.epoch, both)


def _end_of(nonce: str) -> str:
    return nonce[: 64 - len(_END)] + _END


def _is_over(theirs: StreamRow, ours: StreamRow) -> bool:
    """Whether a stream that others knew had ended before, or with, the start that came here."""
    return ours.event_ts <= max(theirs.event_ts, theirs.stopped_ms or 0)


def _joined(first: Known, second: Known) -> tuple[Delivery, ...]:
    return tuple(dict.fromkeys((*first.delivered, *second.delivered)))
