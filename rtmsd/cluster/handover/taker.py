"""The taker of streams that another member hands over."""

from collections.abc import Callable, Collection

import structlog

from rtmsd.cluster.engine import Bus, EngineError
from rtmsd.cluster.handover.offers import TAKE, Offer, decode_offer
from rtmsd.cluster.lives import Lives
from rtmsd.cluster.members import Members
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Held, Why
from rtmsd.cluster.rules import why_no_room
from rtmsd.errors import RtmsdError
from rtmsd.streams.beginning import start_of
from rtmsd.system.garbage import Garbage


class Taker:
    """Answers offers: an empty answer is a yes.

    Args:
        apps: names of the configured apps.
    """

    def __init__(
        self,
        members: Members,
        bus: Bus,
        ownership: Ownership,
        lives: Lives,
        *,
        apps: Callable[[], Collection[str]],
        garbage: Garbage,
    ) -> None:
        self._is_closed = False
        self._members, self._ownership, self._lives, self._apps = members, ownership, lives, apps
        self._read = garbage.reader("offer", decode_offer)
        bus.serve(TAKE, self._serve)

    def close(self) -> None:
        """Refuse all offers from now on, as this process stops: its beats say so up to a second later."""
        self._is_closed = True

    async def _serve(self, data: bytes) -> bytes:
        offer = self._read(data)
        with structlog.contextvars.bound_contextvars(rtms_stream_id=offer.rtms_stream_id):
            try:
                await self._answer(offer)
            except EngineError:
                raise
            except RtmsdError as error:
                raise EngineError(str(error)) from error
        return b""

    async def _answer(self, offer: Offer) -> None:
        """Take a stream, or say that it would be taken.

        Raises:
            EngineError: it is not; the text says why.
        """
        held = await self._ownership.read(offer.rtms_stream_id)
        if (why := self._why_not(offer, held)) is not None:
            raise EngineError(why)
        if self._ownership.has(offer.rtms_stream_id):  # from a tenure that ended while this member was frozen
            await self._ownership.lost(offer.rtms_stream_id, "another member owns it")
        if offer.rtms_stream_id in self._lives.streams:
            raise EngineError("it still finishes files of the stream")
        if offer.is_let_go:
            with self._members.expect():
                is_taken = await self._ownership.take(held, Why.HANDED_OVER)
            if not is_taken:
                raise EngineError("another member was quicker")

    def _why_not(self, offer: Offer, held: Held) -> str | None:
        own, row = held.own, held.known.row
        if self._is_closed:
            return "it is stopping"
        if own is None or own.incarnation != offer.incarnation or held.token != offer.token:
            return "the one that offers the stream does not own it"
        if own.is_newer:
            return f"the stream's record is of version {own.version}; update rtmsd here"
        if not held.is_unfinished or row is None or row.stop_reason is not None or not row.server_urls:
            return "the stream has ended"
        if row.app not in self._apps():
            return f"app {row.app!r} is not in its configuration"
        me = self._members.me
        return why_no_room(self._members.living()[me.node]) or self._lives.refusal(start_of(row, row.server_urls))
