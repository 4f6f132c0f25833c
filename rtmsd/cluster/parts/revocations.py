"""Revocations as the engine orders them: whatever this member has of the stream is deleted, and that is confirmed.

Who receives Zoom's webhook deletes at once and has the order written, which all members follow from where they were,
also after weeks. What is deleted, and how, is as for a webhook: see `streams.finalizer`. Carrying out an order again
does no harm, so that the place is remembered after it, and the confirmation is repeated when it may have been lost.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

import attrs
import structlog
import trio

from rtmsd.cluster.engine import OwnerStore, StreamLog
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import Part, PartState, Revoked, TenureState
from rtmsd.cluster.rules import awaited
from rtmsd.commands import StopStream
from rtmsd.errors import RtmsdError
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.library.revoke import Stored, stored
from rtmsd.recording.writers import Writers
from rtmsd.state import parts
from rtmsd.state.rows import StreamRow
from rtmsd.streams.supervisor import Supervisor

log = structlog.get_logger(__name__)

T = TypeVar("T")

AGAIN_S: Final = 1.0
AT_ONCE: Final = 16  # streams that are deleted
MAX_WAITING: Final = 1024
"""Orders under way; more are read when these are carried out."""
RECENT: Final = 100
CONFIRM_S: Final = 60.0
"""So long a confirmation waits for the stream's end: its owner purges what the engine has of it, this included."""


class Engine(OwnerStore, StreamLog, Protocol):
    """An engine, as far as revocations need it."""


@attrs.frozen
class _Order:
    place: int
    revoked: Revoked
    is_done: trio.Event = attrs.field(factory=trio.Event)


class Revocations:
    """Carries out all orders, those for streams that live here included.

    Args:
        node: this member.
        forget: drop what else is kept of a stream, such as log lines on their way. They raise StorageError where the
            disk refuses.

    Attributes:
        recent: the streams whose orders came last, the newest at the end.
    """

    def __init__(
        self,
        engine: Engine,
        supervisor: Supervisor,
        writers: Writers,
        teller: PartTeller,
        *,
        node: str,
        forget: Sequence[Callable[[str], Awaitable[None]]] = (),
    ) -> None:
        self.recent: deque[str] = deque(maxlen=RECENT)
        self._engine, self._supervisor, self._writers, self._teller = engine, supervisor, writers, teller
        self._node, self._forget = node, forget
        self._journal = supervisor.journal
        self._at_once = trio.CapacityLimiter(AT_ONCE)

    async def unconfirmed(self, rtms_stream_id: str) -> list[str]:
        """Return the members that have not confirmed that a revoked stream is deleted.

        Raises:
            Away: no answer of the engine.
        """
        return sorted(awaited(await self._engine.parts(rtms_stream_id)))

    async def run(self) -> None:
        """Follow the orders, until cancelled."""
        after = await self._until_done("place of revocations", partial(self._journal.transact, parts.revocation_place))
        to_note, noting = trio.open_memory_channel[_Order](MAX_WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._note, noting)
            while True:
                for placed in await self._engine.revocations(after=after):
                    after, order = placed.place, _Order(placed.place, placed.record)
                    await to_note.send(order)
                    nursery.start_soon(self._carry_out, order)

    async def _note(self, orders: trio.MemoryReceiveChannel[_Order]) -> None:
        """Remember how far all is carried out."""
        async for order in orders:
            await order.is_done.wait()
            note = partial(parts.revocations_done, place=order.place)
            await self._until_done("place of revocations", partial(self._journal.transact, note))

    async def _carry_out(self, order: _Order) -> None:
        rtms_stream_id = order.revoked.rtms_stream_id
        if rtms_stream_id in self.recent:
            self.recent.remove(rtms_stream_id)
        self.recent.append(rtms_stream_id)
        async with self._at_once:
            had = await self._until_done("revocation", partial(self._delete, order.revoked))
        if had:
            await self._wait_ended(rtms_stream_id)
            await self._confirm(rtms_stream_id)
        order.is_done.set()

    async def _delete(self, revoked: Revoked) -> bool:
        """Delete what there is of a stream, and return whether there was anything, now or when this was done before.

        Raises:
            OSError, StorageError: something may be left; call again.
        """
        rtms_stream_id, had = revoked.rtms_stream_id, False
        while True:
            for forget in self._forget:
                await forget(rtms_stream_id)
            if (managed := self._supervisor.streams.get(rtms_stream_id)) is not None:
                managed.submit(_stop(revoked, managed.row))
                await managed.is_gone.wait()
                had = True
                continue
            left, started_ms = await self._stored(rtms_stream_id)
            has_traces = await self._journal.transact(partial(parts.has_traces, rtms_stream_id=rtms_stream_id))
            if left is not Stored.RECORDING and not has_traces:
                return had or left is Stored.RECEIPT
            if had:
                await trio.sleep(AGAIN_S)
            had = True
            await self._journal.transact(partial(parts.forget_commands, rtms_stream_id=rtms_stream_id))
            self._supervisor.adopt(await self._row(revoked, started_ms))

    async def _stored(self, rtms_stream_id: str) -> tuple[Stored, int]:
        """Return what is on disk. Raises OSError."""
        found: list[tuple[Stored, int]] = [
            await self._writers[root].run_sync(stored, root, rtms_stream_id, abandon_on_cancel=True)
            for root in self._writers.directories
        ]
        return max(found, key=lambda each: each[0].value)

    async def _row(self, revoked: Revoked, started_ms: int) -> StreamRow:
        """Return the stream as if its stop had just been recorded; what is not known of it, its manifest may know."""
        row = (await self._journal.known(revoked.rtms_stream_id)).row or StreamRow(
            rtms_stream_id=revoked.rtms_stream_id,
            product="",
            session=SessionRef("session_id", ""),
            app="",
            server_urls=None,
            started_ms=started_ms or revoked.at_ms,
            event_ts=revoked.at_ms,
            stop_reason=None,
            stopped_ms=None,
            closed=False,
        )
        reason = int(StopReason.STREAM_REVOKED)
        return attrs.evolve(row, stop_reason=reason, stopped_ms=revoked.at_ms, closed=False, details={})

    async def _wait_ended(self, rtms_stream_id: str) -> None:
        """Wait until the stream's owner has ended it in the engine, or for long enough."""
        with trio.move_on_after(CONFIRM_S):
            while True:
                try:
                    own = (await self._engine.read(rtms_stream_id)).own
                    if own is None or own.state is not TenureState.LIVE:
                        return
                except RtmsdError as error:
                    log.info("end of a revoked stream not known", rtms_stream_id=rtms_stream_id, error=str(error))
                await trio.sleep(AGAIN_S)

    async def _confirm(self, rtms_stream_id: str) -> None:
        self._teller.tell(
            Part(rtms_stream_id=rtms_stream_id, node=self._node, token=0, epoch=0, state=PartState.DELETED)
        )
        await self._teller.wait_told(rtms_stream_id)

    async def _until_done(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do something as soon as disk and state file allow it, and return its result."""
        is_refused = False
        while True:
            try:
                return await work()
            except (OSError, RtmsdError) as error:
                if not is_refused:
                    log.warning(f"{what} waits for the disk", error=str(error))
            except Exception:
                if not is_refused:
                    log.exception(f"{what} crashed; tried again")
            is_refused = True
            await trio.sleep(AGAIN_S)


def _stop(revoked: Revoked, row: StreamRow) -> StopStream:
    return StopStream(
        product=row.product,
        session=row.session,
        rtms_stream_id=row.rtms_stream_id,
        app=row.app,
        event_ts=revoked.at_ms,
        stop_reason=int(StopReason.STREAM_REVOKED),
    )
