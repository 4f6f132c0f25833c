"""The owners of streams, as a member sees them whose state file may know more than the engine."""

from collections.abc import Collection, Sequence
from functools import partial

import attrs
import structlog

from rtmsd.cluster.engine import OwnerStore
from rtmsd.cluster.keeping.journal import ClusterJournal
from rtmsd.cluster.records import Held, Own, TenureState
from rtmsd.errors import StorageError
from rtmsd.state import parts

log = structlog.get_logger(__name__)


class KeptStore:
    """Implements `OwnerStore`: claims are written down in the journal, and what it knows of an own tenure, which the
    engine was not told yet, counts.
    """

    def __init__(self, engine: OwnerStore, journal: ClusterJournal) -> None:
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

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        return [await self._newest(held) for held in await self._engine.orphans(living)]

    async def _newest(self, held: Held) -> Held:
        """Return a record with what the state file knows, if nobody has claimed the stream since that was written."""
        if held.own is None:
            return held
        part, known = await self._journal.transact(partial(parts.read, rtms_stream_id=held.own.rtms_stream_id))
        is_newer = part is not None and part.is_pending and part.token == held.token
        return attrs.evolve(held, known=known) if is_newer else held
