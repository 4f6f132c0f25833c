"""Rows, parts, logs and the orders to delete: `StreamLog` on JetStream."""

import contextlib
import math
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final
from weakref import WeakValueDictionary

import trio

from rtmsd.cluster.codec import encode
from rtmsd.cluster.engine import PAGE, Away, Fenced, Placed
from rtmsd.cluster.engines.nats.connection import Connection
from rtmsd.cluster.engines.nats.jetstream import JetStream, Stored, WrongSequence, place_of
from rtmsd.cluster.engines.nats.layout import Kept, Layout, Reader
from rtmsd.cluster.records import Log, Part, Revoked, Row

LOOK_AGAIN_S: Final = 30.0
"""Orders to delete are announced as they are stored; this is for announcements that did not come."""
DELIVERY_S: Final = 1.0
_AWAY_S: Final = 1.0
_SOON_S: Final = 0.02
_MAX_PARTS: Final = 256


class NatsStreamLog:
    """See `cluster.engine.StreamLog`."""

    def __init__(self, connection: Connection, jetstream: JetStream, layout: Layout, reader: Reader) -> None:
        self._connection = connection
        self._jetstream = jetstream
        self._layout = layout
        self._reader = reader
        self._turns: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def append(self, log: Log) -> None:
        await self._store_fenced(log, self._layout.log(log.rtms_stream_id), replaces=False)

    async def put_row(self, row: Row) -> None:
        await self._store_fenced(row, self._layout.row(row.rtms_stream_id), replaces=True)

    async def _store_fenced(self, record: Log | Row, subject: str, *, replaces: bool) -> None:
        data = encode(record)
        if record.token == 0:  # to the servers: "on condition that nobody has it"
            raise Fenced("token 0 is nobody's")
        # One write for each stream is in flight: the servers refuse more, as they judge the fence of each.
        turn = self._turns.setdefault(record.rtms_stream_id, trio.Lock())
        async with turn:
            try:
                fence = (self._layout.own(record.rtms_stream_id), record.token)
                await self._jetstream.store(subject, data, only_if=fence, replaces=replaces)
            except WrongSequence as exc:
                raise Fenced(f"token {record.token} is not the newest: {exc}") from None

    async def put_part(self, part: Part) -> None:
        subject = self._layout.part(part.rtms_stream_id, part.node)
        await self._jetstream.store(subject, encode(part), replaces=True)

    async def parts(self, rtms_stream_id: str) -> Sequence[Part]:
        subject = self._layout.part(rtms_stream_id, ">")
        found = await self._page(Part, self._layout.stream_of(rtms_stream_id), subject, after=0, most=_MAX_PARTS)
        newest = {each.record.node: each.record for each in found}
        return [newest[node] for node in sorted(newest)]

    async def read_log(self, rtms_stream_id: str, *, after: int = 0) -> Sequence[Placed[Log]]:
        stream, subject = self._layout.stream_of(rtms_stream_id), self._layout.log(rtms_stream_id)
        return await self._page(Log, stream, subject, after=after, in_deliveries=True)

    async def _page(
        self, of: type[Kept], stream: str, subject: str, *, after: int, most: int = PAGE, in_deliveries: bool = False
    ) -> list[Placed[Kept]]:
        """Return up to `most` records; fewer: these are all.

        Args:
            in_deliveries: there may be thousands, of which a request each would take seconds.
        """
        found: list[Placed[Kept]] = []
        while len(found) < most and (stored := await self._jetstream.next(stream, subject, after=after)) is not None:
            batch = [stored]
            if in_deliveries and (left := most - len(found) - 1):
                batch += await self._delivered(stream, subject, after=stored.sequence, most=left)
                in_deliveries = len(batch) > 1
            after = batch[-1].sequence
            found += self._read(of, batch)
        return found

    def _read(self, of: type[Kept], found: Iterable[Stored]) -> Iterator[Placed[Kept]]:
        for stored in found:
            if (record := self._reader.record(of, stored.data, stored.subject)) is not None:
                yield Placed(stored.sequence, record)

    async def _delivered(self, stream: str, subject: str, *, after: int, most: int) -> list[Stored]:
        """Return messages that come behind one, in one delivery: as many as come at once, without a gap; perhaps none,
        and not the newest. What says that there are no more is `JetStream.next`.
        """
        name, found = secrets.token_hex(8), list[Stored]()
        inbox = f"_INBOX_{self._layout.name}.{self._connection.node}.{name}"
        async with self._connection.subscribe(inbox) as mailbox:
            with contextlib.suppress(Away), trio.move_on_after(DELIVERY_S):
                there = await self._jetstream.deliver(stream, subject, after=after, most=most, name=name, inbox=inbox)
                while len(found) < min(there, most) and (message := await mailbox.take()) is not None:
                    place = place_of(message)
                    if place is None or place.consumer_sequence != len(found) + 1:
                        break
                    found.append(Stored(place.sequence, message.subject, message.data))
        return found

    async def purge(self, rtms_stream_id: str) -> None:
        stream = self._layout.stream_of(rtms_stream_id)
        for subject in (
            self._layout.row(rtms_stream_id),
            self._layout.part(rtms_stream_id, ">"),
            self._layout.log(rtms_stream_id),
        ):
            await self._jetstream.purge(stream, subject)

    async def revoke(self, revoked: Revoked) -> None:
        await self._jetstream.store(self._layout.revoked(revoked.rtms_stream_id), encode(revoked))

    async def revocations(self, *, after: int = 0) -> Sequence[Placed[Revoked]]:
        wait_s = LOOK_AGAIN_S
        async with self._connection.subscribe(self._layout.all_revoked) as announced:
            while True:
                await self._connection.up()
                try:
                    found = await self._page(Revoked, self._layout.revocations, self._layout.all_revoked, after=after)
                    if not found and after and await self._last_revocation() < after:
                        after = 0  # the servers have lost their disks, and count anew
                        continue
                except Away:
                    await trio.sleep(_AWAY_S)
                    continue
                if found:
                    return found
                with trio.move_on_after(wait_s) as quiet:
                    await announced.take()
                # What is announced may not be stored yet.
                wait_s = min(2 * wait_s, LOOK_AGAIN_S) if quiet.cancelled_caught else _SOON_S

    async def _last_revocation(self) -> float:
        """Return the place of the newest order there ever was, as the servers count.

        Raises:
            Away: no answer.
        """
        info = await self._jetstream.info(self._layout.revocations)
        state = None if info is None else info.get("state")
        last = state.get("last_seq") if isinstance(state, Mapping) else None
        return last if isinstance(last, int) else math.inf
