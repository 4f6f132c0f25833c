"""The takeover of streams whose owner died: each is claimed by one of the living, and resumed there."""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog
import trio

from rtmsd.cluster.engine import EngineError, OwnerStore, TooNew
from rtmsd.cluster.lives import Lives
from rtmsd.cluster.members import Member, Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Held, Why
from rtmsd.cluster.rules import rank
from rtmsd.state.rows import StreamRow

log = structlog.get_logger(__name__)

HANDSHAKES: Final = 64  # at a time
CONNECT_S: Final = 5.0  # after which a stream that does not come up holds up no other
LOOK_EVERY_S: Final = 0.05  # whether it is up
RANK_S: Final = 1.0
SWEEP_EVERY_S: Final = 10.0  # also without a death: whom nobody could take then may be taken now
AGAIN_S: Final = 1.0  # after a sweep or a claim that failed

RESULTS: Final = ("taken", "late", "failed")
"""late: another was quicker."""
REASONS: Final = (Why.RESUMED, Why.DIED, Why.UNREACHABLE)


class Takeover:
    """Looks for orphans at the start, at each death, and now and then.

    Args:
        in_order: sorts streams, those first that have waited longest: see `longest_out_first`.
        observe_s: is given the time from a death, or the start, to each claim here, in seconds.

    Attributes:
        swept: set when what was there at the start has been looked for.
    """

    def __init__(
        self,
        members: Members,
        store: OwnerStore,
        ownership: Ownership,
        lives: Lives,
        *,
        in_order: Callable[[list[StreamRow]], Awaitable[list[StreamRow]]],
        handshakes: int = HANDSHAKES,
        observe_s: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._missed = Counter[tuple[Why, str]]()
        self._members, self._store, self._ownership, self._lives = members, store, ownership, lives
        self._in_order, self._observe_s = in_order, observe_s
        self._handshakes = trio.CapacityLimiter(handshakes)
        self._waiting: set[str] = set()
        self._newer: set[str] = set()
        self.swept = trio.Event()

    @property
    def results(self) -> Mapping[tuple[Why, str], int]:
        """Claims, counted by `REASONS` and `RESULTS`. A webhook may be the first to find that an owner is dead, and
        have its stream taken over.
        """
        taken = {(why, "taken"): self._ownership.taken[why] for why in REASONS}
        return dict.fromkeys(itertools.product(REASONS, RESULTS), 0) | self._missed | taken

    async def run(self) -> None:
        """Take over what has no owner, until cancelled."""
        seen, is_start = self._members.deaths, True
        async with trio.open_nursery() as nursery:
            while True:
                again_s = SWEEP_EVERY_S
                try:
                    await self._sweep(nursery, is_start=is_start)
                    is_start = False
                    self.swept.set()
                except EngineError as error:
                    log.warning("looking for orphaned streams failed", why=str(error))
                    again_s = AGAIN_S
                except Exception:
                    log.exception("looking for orphaned streams failed")
                with trio.move_on_after(again_s):
                    seen = await self._members.wait_death(seen)

    async def _sweep(self, nursery: trio.Nursery, *, is_start: bool) -> None:
        since_s = trio.current_time()
        orphans = self._without_newer(await self._store.orphans(self._members.incarnations()))
        by_id = {held.known.row.rtms_stream_id: held for held in orphans if held.known.row is not None}
        rows = [held.known.row for held in by_id.values() if held.known.row is not None]
        for row in await self._in_order(rows):
            held = by_id[row.rtms_stream_id]
            if row.rtms_stream_id in self._waiting or self._ownership.has(row.rtms_stream_id):
                continue
            place = self._rank(held, row.rtms_stream_id, is_start=is_start)
            if place is not None:
                self._waiting.add(row.rtms_stream_id)
                nursery.start_soon(self._take_in_turn, row.rtms_stream_id, place, since_s)
                await trio.lowlevel.checkpoint()  # tasks that begin in one turn may run in either order

    def _without_newer(self, orphans: Sequence[Held]) -> list[Held]:
        """Leave out the streams that are left to members of a newer version, and name each once."""
        newer = {held.own.rtms_stream_id for held in orphans if held.own is not None and held.own.is_newer}
        for rtms_stream_id in sorted(newer - self._newer):
            log.warning("stream is left to members of a newer rtmsd: update rtmsd here", rtms_stream_id=rtms_stream_id)
        self._newer = newer
        return [held for held in orphans if held.own is None or not held.own.is_newer]

    def _rank(self, held: Held, rtms_stream_id: str, *, is_start: bool) -> int | None:
        """Return my rank among those who can take the stream; None: I cannot.

        A later life of its owner comes first: it has the files. At the start all are about to get ready.
        """
        able = able_to_take([*self._members.living().values()], is_start=is_start)
        order = rank(able, rtms_stream_id)
        before = None if held.own is None else self._members.living().get(held.own.node)
        if held.own is not None and before is not None and (before.node in order or not before.is_ready):
            order = [held.own.node, *(node for node in order if node != held.own.node)]
        me = self._members.me.node
        return order.index(me) if me in order else None

    async def _take_in_turn(self, rtms_stream_id: str, place: int, since_s: float) -> None:
        try:
            await trio.sleep(place * RANK_S)
            is_again = False
            while not await self._is_settled(rtms_stream_id, since_s, is_again=is_again):
                is_again = True
                await trio.sleep(AGAIN_S)
        except Exception:
            log.exception("stream not taken over", rtms_stream_id=rtms_stream_id)
        finally:
            self._waiting.remove(rtms_stream_id)

    async def _is_settled(self, rtms_stream_id: str, since_s: float, *, is_again: bool) -> bool:
        """Try to claim a stream that nobody owns, and say whether that is done with.

        After a failure the owner is doubted to be dead: it may have been this member that was cut off, with some of the
        engine's servers. If it is dead, it is so once more, and the stream is found again.
        """
        async with self._handshakes:
            why = Why.DIED
            try:
                held = await self._ownership.read(rtms_stream_id)
                if is_again and held.own is not None:
                    self._members.doubt(held.own)
                if not held.is_unfinished or self._members.owner(held.own) is not None:
                    return True
                if held.own is None or held.own.node == self._members.me.node:
                    why = Why.RESUMED
                is_taken = await self._ownership.take(held, why)
            except EngineError as error:
                self._missed[why, "failed"] += 1
                log.warning("stream not taken over", rtms_stream_id=rtms_stream_id, error=str(error))
                return isinstance(error, TooNew)
            self._missed[why, "late"] += not is_taken
            if is_taken:
                self._observe_s(trio.current_time() - since_s)
                with trio.move_on_after(CONNECT_S):
                    await self._wait_connected(rtms_stream_id)
            return is_taken  # who was quicker has it, as the next look shows

    async def _wait_connected(self, rtms_stream_id: str) -> None:
        while (life := self._lives.streams.get(rtms_stream_id)) is not None and life.is_connecting:  # noqa: ASYNC110
            await trio.sleep(LOOK_EVERY_S)


def able_to_take(members: Sequence[Member], *, is_start: bool) -> list[str]:
    """Return those among whom orphans are shared out. With nobody undrained left, drained ones go on with them.

    Args:
        is_start: all count that are about to get ready.
    """
    members = members if is_start else [member for member in members if member.is_ready] or members
    undrained = [member for member in members if not member.is_draining]
    with_room = [member for member in undrained if member.streams < member.capacity]
    return [member.node for member in with_room or undrained or members]
