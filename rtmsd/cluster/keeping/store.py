"""The owners of streams, as a member sees them whose state file may know more than the engine."""

import secrets
from collections.abc import Collection, Sequence
from functools import partial

import attrs
import structlog

from rtmsd.cluster.engine import Engine, Fenced
from rtmsd.cluster.keeping.journal import ClusterJournal
from rtmsd.cluster.records import Held, Own, Row, TenureState, Why
from rtmsd.errors import StorageError
from rtmsd.state import parts

log = structlog.get_logger(__name__)


class KeptStore:
    """Implements `OwnerStore`: claims are written down in the journal, and what it knows of an own tenure, which the
    engine was not told yet, counts.
    """

    def __init__(self, engine: Engine, journal: ClusterJournal) -> None:
        self._engine, self._journal = engine, journal

    @property
    def is_up(self) -> bool:
        """See `OwnerStore`, as the others."""
        return self._engine.is_up

    async def read(self, rtms_stream_id: str) -> Held:
        return await self._newest(await self._engine.read(rtms_stream_id))

    async def claim(self, own: Own, *, seen: int) -> int:
        async with self._journal.turns.of(own.rtms_stream_id):
            token = await self._engine.claim(own, seen=seen)
            if own.state is TenureState.LIVE:
                try:
                    await self._journal.hold(own.rtms_stream_id, own.known, token=token, nonce=own.nonce)
                except StorageError as error:  # the engine has it; the next webhook writes it down
                    log.warning("claim not in the state file", rtms_stream_id=own.rtms_stream_id, error=str(error))
            return token

    async def renew(self, rtms_stream_id: str, incarnation: str) -> tuple[int, int] | None:
        """Write the record of a live stream of this incarnation anew. Returns its token and epoch; None: it has none.

        Raises:
            Lost, Away: as `claim`.
        """
        async with self._journal.turns.of(rtms_stream_id):  # else a webhook that comes meanwhile would be forgotten
            held = await self._newest(await self._engine.read(rtms_stream_id))
            own = held.own
            if own is None or own.incarnation != incarnation or own.state is not TenureState.LIVE:
                return None
            renewed = attrs.evolve(own, nonce=secrets.token_hex(8), why=Why.RENEWED, known=held.known)
            token = await self._engine.claim(renewed, seen=held.token)
            await self._journal.hold(rtms_stream_id, held.known, token=token, nonce=renewed.nonce)
            return token, own.epoch

    async def confirm(self, rtms_stream_id: str, incarnation: str) -> Held:
        """Read a record, and have most servers agree if a live stream is of this incarnation: for some seconds one that
        has lost the others answers as if it still led them, when somebody else has claimed the stream there.

        Raises:
            Away: no answer, or they did not agree in time.
        """
        async with self._journal.turns.of(rtms_stream_id):
            held = await self.read(rtms_stream_id)
            own = held.own
            if own is None or own.incarnation != incarnation or own.state is not TenureState.LIVE:
                return held
            try:
                await self._engine.put_row(Row(rtms_stream_id=rtms_stream_id, token=held.token, known=held.known))
            except Fenced:
                return await self.read(rtms_stream_id)
            return held

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        return [await self._newest(held) for held in await self._engine.orphans(living)]

    async def _newest(self, held: Held) -> Held:
        """Return a record with what the state file knows, if nobody has claimed the stream since that was written."""
        if held.own is None:
            return held
        part, known = await self._journal.transact(partial(parts.read, rtms_stream_id=held.own.rtms_stream_id))
        is_newer = part is not None and part.is_pending and part.token == held.token
        return attrs.evolve(held, known=known) if is_newer else held
