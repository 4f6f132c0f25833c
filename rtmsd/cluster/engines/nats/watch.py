"""Who owns what, followed as it changes: to know at once what the dead have owned."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import attrs
import structlog
import trio

from rtmsd.cluster.codec import NewerRecord
from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.client import Message
from rtmsd.cluster.engines.nats.connection import Connection, Mailbox
from rtmsd.cluster.engines.nats.jetstream import JetStream, Stored, place_of
from rtmsd.cluster.engines.nats.layout import Layout, Reader
from rtmsd.cluster.records import Own, TenureState

log = structlog.stdlib.get_logger()

HEARTBEAT_S: Final = 1.0
DEAF_S: Final = 3 * HEARTBEAT_S
"""A consumer that is silent for so long has died, perhaps with its server."""
_AGAIN_S: Final = 0.5
_AWAY_S: Final = 1.5


@attrs.frozen
class Owner:
    """Who has a live stream, by the record with this token."""

    rtms_stream_id: str
    node: str
    incarnation: str
    token: int


class OwnWatch:
    """The owners of all live streams, one partition's consumer at a time.

    Attributes:
        renewals: how often a consumer was replaced, as it may have missed something.
    """

    def __init__(self, connection: Connection, jetstream: JetStream, layout: Layout, reader: Reader) -> None:
        self._partitions = [
            _Partition(connection, jetstream, layout, reader, partition) for partition in layout.all_partitions
        ]

    @property
    def renewals(self) -> int:
        return sum(partition.renewals for partition in self._partitions)

    async def run(self) -> None:
        """Follow, until cancelled."""
        async with trio.open_nursery() as nursery:
            for partition in self._partitions:
                nursery.start_soon(partition.run)

    async def orphans(self, living: Collection[str]) -> Sequence[Owner]:
        """Return the owners that are not among these incarnations, as of now.

        Raises:
            Away: the engine does not answer, or what it has said so far has not come yet.
        """
        found: list[Owner] = []
        for partition in self._partitions:
            await partition.catch_up()
            found += [owner for owner in partition.owners.values() if owner.incarnation not in living]
        return found


class _Partition:
    """One consumer after another. Each begins with all that there is, which replaces what its predecessor has told."""

    def __init__(
        self, connection: Connection, jetstream: JetStream, layout: Layout, reader: Reader, partition: str
    ) -> None:
        self._connection = connection
        self._jetstream = jetstream
        self._reader = reader
        self._stream = layout.stream(partition)
        self._subject = layout.owners(partition)
        self._inbox = f"_INBOX_{layout.name}.{connection.node}"
        self._told = 0  # sequence number of the newest message
        self._is_current = False
        self._change = trio.Event()
        self.owners: Mapping[str, Owner] = {}  # by subject
        self.renewals = 0

    async def run(self) -> None:
        while True:
            await self._connection.up()
            try:
                await self._follow()
            except Away as exc:
                log.debug("engine watch not begun", stream=self._stream, reason=str(exc))
                await trio.sleep(_AWAY_S)
            self._is_current = False
            self.renewals += 1
            await trio.sleep(_AGAIN_S)

    async def catch_up(self) -> None:
        """Wait until all is known that the engine had when this began.

        Raises:
            Away: that takes too long.
        """
        newest = await self._jetstream.newest(self._stream, self._subject)
        with trio.move_on_after(DEAF_S):
            while not self._is_current or self._told < (0 if newest is None else newest.sequence):
                await self._change.wait()
            return
        raise Away(f"the changes of {self._stream} do not come")

    async def _follow(self) -> None:
        """Follow one consumer until something may be missing.

        Raises:
            Away: it could not be begun.
        """
        name = secrets.token_hex(8)
        inbox = f"{self._inbox}.{name}"
        async with self._connection.subscribe(inbox) as mailbox:
            pending = await self._jetstream.follow(
                self._stream, self._subject, name=name, inbox=inbox, heartbeat_s=HEARTBEAT_S
            )
            owners: dict[str, Owner] = {}
            if pending == 0:
                self._begin(owners)
            expected = 1
            while (message := await _next(mailbox)) is not None:
                if "Status" in message.headers:
                    if not await self._control(message, expected):
                        return
                    continue
                place = place_of(message)
                if place is None or place.consumer_sequence != expected:
                    return
                expected += 1
                self._learn(owners, Stored(place.sequence, message.subject, message.data))
                if place.pending == 0 and self.owners is not owners:
                    self._begin(owners)
                self._changed()

    def _begin(self, owners: dict[str, Owner]) -> None:
        """Have what all of the snapshot has told."""
        self.owners = owners
        self._is_current = True
        self._changed()

    def _learn(self, owners: dict[str, Owner], stored: Stored) -> None:
        try:
            own = self._reader.record(Own, stored.data, stored.subject)
        except NewerRecord:  # left to newer members
            own = None
        if own is not None and own.state is TenureState.LIVE:
            owners[stored.subject] = Owner(own.rtms_stream_id, own.node, own.incarnation, stored.sequence)
        else:
            owners.pop(stored.subject, None)
        self._told = stored.sequence

    def _changed(self) -> None:
        change, self._change = self._change, trio.Event()
        change.set()

    async def _control(self, message: Message, expected: int) -> bool:
        """Obey the consumer's own messages. Returns whether nothing is missing so far."""
        if message.headers["Status"] != "100":
            return False  # it was deleted, or its leader changed
        last = message.headers.get("Nats-Last-Consumer")
        if last is not None and last != str(expected - 1):
            return False
        # It waits until we say that we have come so far.
        if resume := message.headers.get("Nats-Consumer-Stalled") or message.reply:
            await self._connection.publish(resume, b"")
        return True


async def _next(mailbox: Mailbox) -> Message | None:
    with trio.move_on_after(DEAF_S):
        return await mailbox.take()
    return None
