"""Ownership records, and what is known of streams: `OwnerStore` on JetStream."""

from collections.abc import Collection, Sequence
from typing import Final

import structlog
import trio

from rtmsd.cluster.codec import NewerRecord, encode
from rtmsd.cluster.engine import Away, Lost
from rtmsd.cluster.engines.nats.connection import Connection
from rtmsd.cluster.engines.nats.jetstream import JetStream, WrongSequence
from rtmsd.cluster.engines.nats.layout import Layout, Reader
from rtmsd.cluster.engines.nats.watch import OwnWatch
from rtmsd.cluster.records import Held, Own, Row, TenureState
from rtmsd.config.cluster import KEEP_ENDED_S
from rtmsd.state.rows import Known

log = structlog.stdlib.get_logger()

READS_AT_ONCE: Final = 32


class NatsOwners:
    """See `cluster.engine.OwnerStore`."""

    def __init__(
        self, connection: Connection, jetstream: JetStream, layout: Layout, reader: Reader, watch: OwnWatch
    ) -> None:
        self._connection = connection
        self._jetstream = jetstream
        self._layout = layout
        self._reader = reader
        self._watch = watch

    @property
    def is_up(self) -> bool:
        return self._connection.server is not None and self._jetstream.trouble is None

    async def read(self, rtms_stream_id: str) -> Held:
        stream = self._layout.stream_of(rtms_stream_id)
        found = await self._jetstream.newest(stream, self._layout.own(rtms_stream_id))
        row = await self._read_row(rtms_stream_id)
        if found is None:
            return Held(known=Known() if row is None else row.known)
        try:
            own = self._reader.record(Own, found.data, found.subject)
        except NewerRecord as exc:  # left to newer members
            raise Away(f"the owner cannot be told: {exc}") from exc
        if own is None:  # whoever claims replaces it
            return Held(None, found.sequence, Known() if row is None else row.known)
        return Held(own, found.sequence, own.known if row is None or row.token != found.sequence else row.known)

    async def _read_row(self, rtms_stream_id: str) -> Row | None:
        found = await self._jetstream.newest(self._layout.stream_of(rtms_stream_id), self._layout.row(rtms_stream_id))
        return None if found is None else self._reader.record(Row, found.data, found.subject)

    async def claim(self, own: Own, *, seen: int) -> int:
        has_ended = own.state is TenureState.ENDED
        subject = self._layout.own(own.rtms_stream_id)
        try:
            # It replaces the older ones: they would come to light again when one that is forgotten after a time is.
            token = await self._jetstream.store(
                subject,
                encode(own),
                only_if=(subject, seen),
                replaces=True,
                keep_s=KEEP_ENDED_S if has_ended else None,
            )
        except WrongSequence:
            held = await self.read(own.rtms_stream_id)
            if held.own is None or held.own.nonce != own.nonce:
                raise Lost(held) from None
            token = held.token
        if has_ended:
            await self._forget_row(own.rtms_stream_id)
        return token

    async def _forget_row(self, rtms_stream_id: str) -> None:
        try:
            await self._jetstream.purge(self._layout.stream_of(rtms_stream_id), self._layout.row(rtms_stream_id))
        except Away as exc:  # it is older than the record of the end, which says as much, and it ages out
            log.info("engine row not forgotten", rtms_stream_id=rtms_stream_id, reason=str(exc))

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        found: list[Held] = []
        failed: list[Away] = []
        owners = await self._watch.orphans(living)
        at_once = trio.CapacityLimiter(READS_AT_ONCE)

        async def look(rtms_stream_id: str) -> None:
            try:
                async with at_once:
                    held = await self.read(rtms_stream_id)
            except Away as exc:
                failed.append(exc)
                nursery.cancel_scope.cancel()
            else:
                # The watch may be late, and the row may say more than the record.
                if held.is_unfinished and held.own is not None and held.own.incarnation not in living:
                    found.append(held)

        async with trio.open_nursery() as nursery:
            for owner in owners:
                nursery.start_soon(look, owner.rtms_stream_id)
        if failed:
            raise failed[0]
        return found
