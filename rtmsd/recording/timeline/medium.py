"""One media type of a stream: whether it is connected, and what its outages leave missing. Pure, in Zoom's clock.

An outage lasts from the last that was heard before it to the first live word from Zoom after the next handshake: the
handshake itself does not say what time it is. What Zoom had buffered meanwhile makes the gap smaller as it comes.
"""

import enum
import math
from collections.abc import Collection, Mapping
from typing import Final

from rtmsd.protocol.causes import GapCause, is_wider
from rtmsd.recording.timeline.connections import Connection
from rtmsd.recording.timeline.gaps import CONTIGUOUS_MS, Gap, Gaps

_EXTEND_MS: Final = 1000
"""So soon after the first live word from Zoom the first packet may come; the gap lasts until then."""

FELL_SILENT_MS: Final = 1000
"""A participant silent for so long before an outage is not expected to have spoken in it."""

AHEAD_MS: Final = 12 * 3_600_000
"""A time further from what was heard last is no time."""

NOBODY: Final[Mapping[int | str, int]] = {}


class Link(enum.Enum):
    """Of a media type that was connected once, or refused."""

    UP = enum.auto()
    DOWN = enum.auto()
    SETTLING = enum.auto()  # connected again, but Zoom has not said yet what time it is


class Medium:
    """Attributes:
    connection: the one that brings it, or brought it last; None of what was refused from the start.
    since_ms, cause: of the last outage.
    up_ms: where it ended, or the first connection began.
    """

    def __init__(self, name: str, connection: Connection | None, gaps: Gaps) -> None:
        self.connection = connection
        self.link = Link.UP
        self.cause = ""
        self.since_ms = 0
        self.up_ms = 0
        self.name = name
        self._gaps = gaps
        self._tail_ms = 0  # from here on nothing came, as far as known; meaningful unless UP
        self._sign_ms: int | None = None  # the last live word from Zoom on another connection during the outage
        self._reached = True  # whether a packet came since the handshake
        self._was_elsewhere = False  # somebody else had it since `connection` was lost
        self._settled_ms: int | None = None  # where the outage ended, as long as the first packet may still move that

    # Down and up

    def down(self, since_ms: int, cause: str, heard: Mapping[int | str, int] = NOBODY) -> None:
        """It was connected until `since_ms`, and is not any more.

        Args:
            heard: until when people were heard whose last packets may have been lost on the way: the outage begins for
                everybody with the last packet that came, be it another's.
        """
        if self.link is Link.SETTLING:
            if since_ms <= self.since_ms:  # the connection brought nothing: the outage goes on
                self.link = Link.DOWN
                return
            self._settle(since_ms)
        self.link, self.cause = Link.DOWN, cause
        self.since_ms = self._tail_ms = since_ms
        self._sign_ms = self._settled_ms = None
        # A keep-alive behind all audio shows that nothing up to it was lost: so not always up to `since_ms`.
        until_ms = min(since_ms, max(heard.values(), default=since_ms))
        for user_id, heard_ms in heard.items():
            if until_ms - FELL_SILENT_MS < heard_ms <= until_ms - CONTIGUOUS_MS:
                self._gaps.missing(Gap(self.name, user_id, heard_ms, until_ms, cause))

    def had_elsewhere(self, from_ms: int, to_ms: int, cause: str) -> None:
        """Somebody else had the stream from the one time to the other, and has it no more: what was missing before is a
        gap of its own, however short, as theirs may go on from there. What was refused here stays refused.
        """
        if self.cause != GapCause.REFUSED:
            if self._tail_ms < from_ms:
                self._gaps.missing(Gap(self.name, None, self._tail_ms, from_ms, self.cause))
            self.down(to_ms, cause)
            self._was_elsewhere = True

    def connected(self, connection: Connection) -> None:
        """Another connection brings it from now on; since when, the next live word shows."""
        self.connection, self.link, self._reached = connection, Link.SETTLING, False
        self._was_elsewhere = False

    def refused(self) -> None:
        """It will not come: what was lost before is only the beginning of that."""
        self.link, self.cause = Link.DOWN, GapCause.REFUSED

    def heard(self, time_ms: int) -> bool:
        """Zoom said what time it is. Returns whether that ended an outage."""
        if self.link is Link.SETTLING and time_ms > self.since_ms:  # else it is of the past
            self._settle(time_ms)
            return True
        if self.link is Link.DOWN:
            self._sign_ms = time_ms
        return False

    def widen(self, cause: str) -> bool:
        """Take over the cause of a wider outage that began with this one: no sign of life came between the losses.
        Returns whether it did.
        """
        is_part = self.link is Link.DOWN and self._sign_ms is None and is_wider(cause, self.cause)
        if is_part:
            self.cause = cause
        return is_part

    def may_close_with_end(self, end_ms: int, said_ms: int, closing: Collection[int]) -> bool:
        """Whether its connection, if it is one of `closing`, may have closed as part of the end: it was not silent, and
        Zoom said nothing during the outage before the end.
        """
        connection = self.connection
        return (
            connection is not None
            and connection.number in closing
            and self.cause == GapCause.MEDIA_RECONNECT
            and (self._sign_ms is None or self._sign_ms >= end_ms)
            and not connection.is_silent(said_ms)
        )

    def ended(self, end_ms: int, *, closed_with_end: bool) -> None:
        if self.link is Link.SETTLING:
            self._settle(end_ms)
        elif self.link is Link.DOWN:
            if self._was_elsewhere and end_ms > self._tail_ms:
                self._gaps.missing(Gap(self.name, None, self._tail_ms, end_ms, self.cause))
            elif closed_with_end or end_ms - self._tail_ms < CONTIGUOUS_MS:
                if closed_with_end:
                    self._gaps.call_off(self.name, self.since_ms, self.cause)
                if self.connection is not None and not self._was_elsewhere:
                    self.connection.closed_ms = end_ms
            else:
                self._gaps.add(Gap(self.name, None, self._tail_ms, end_ms, self.cause))

    def _settle(self, at_ms: int) -> None:
        """The outage ended at `at_ms`, apart from what buffered packets cover of it."""
        at_ms = max(at_ms, self.since_ms)
        self._gaps.cut_off(self.name, self.since_ms, at_ms)
        self._gaps.add(Gap(self.name, None, self._tail_ms, at_ms, self.cause))
        self._reach_back(at_ms)
        self.link, self.up_ms = Link.UP, at_ms
        self._settled_ms = None if self._reached else at_ms

    def _reach_back(self, from_ms: int) -> None:
        """The connection brought media from `from_ms` on."""
        from_ms, connection = max(from_ms, self.since_ms), self.connection
        if connection is not None and (connection.opened_ms is None or from_ms < connection.opened_ms):
            near = from_ms - self.since_ms < CONTIGUOUS_MS  # too little to be a gap, so it must not be a hole
            connection.opened_ms = self.since_ms if near else from_ms

    def _reach_further_back(self, gap_ms: int, from_ms: int) -> None:
        """The connection brought media of an outage before the last one, which a connection that brought none ended."""
        from_ms, connection = gap_ms if from_ms - gap_ms < CONTIGUOUS_MS else from_ms, self.connection
        if connection is None or from_ms >= self.since_ms:
            return
        if connection.opened_ms is None or from_ms < connection.opened_ms:
            connection.opened_ms = from_ms

    # Packets: see `Timeline`, whose methods have the same names

    @property
    def watch_ms(self) -> float:
        if self.link is not Link.UP:
            return math.inf
        end_ms = self._gaps.end_ms(self.name)
        return end_ms if self._settled_ms is None else max(end_ms, self._settled_ms + _EXTEND_MS + 1)

    def outage_ending(self, at_ms: int) -> tuple[int, str] | None:
        if self.link is Link.DOWN or self._reached:
            return None
        return min(self.since_ms, self._gaps.began_ms(self.name, at_ms)), self.cause

    def covered(self, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        if self.link is Link.SETTLING:
            if from_ms < self._tail_ms + AHEAD_MS and to_ms > self._tail_ms:
                self._gaps.add(Gap(self.name, None, self._tail_ms, from_ms, self.cause))
                self._tail_ms = to_ms
                self._gaps.changes.note()
        elif self._settled_ms is not None:
            if self._settled_ms < from_ms <= self._settled_ms + _EXTEND_MS:
                self._gaps.prolong(self.name, self._settled_ms, from_ms, self.cause)
            self._settled_ms = None
        if self.link is not Link.DOWN and to_ms > self.since_ms:
            self._reached = True
            self._reach_back(from_ms)
        for gap_ms in self._gaps.fill(self.name, user_id, from_ms, to_ms):
            self._reach_further_back(gap_ms, from_ms)

    def shown(self, user_id: int | str | None, from_ms: int, to_ms: int) -> bool:
        """A frame was kept that lasts until `to_ms` at most. Returns whether it ended an outage, as the first one does.

        The last frame before the outage may have lasted until this one, and then nothing is missing.
        """
        if self._reached or self.link is Link.DOWN or from_ms <= self.since_ms:
            self.covered(user_id, from_ms, to_ms)
            return False
        self._reached = True
        settled_ms, self._settled_ms = self._settled_ms, None
        at_ms = self.since_ms if from_ms - self.since_ms <= to_ms - from_ms else from_ms
        if self.link is Link.SETTLING:
            self._settle(at_ms)
        elif settled_ms is not None and at_ms <= settled_ms:  # sent before the word that came first
            self._gaps.cut_off(self.name, self.since_ms, at_ms)
            self._reach_back(at_ms)
        elif settled_ms is not None and at_ms <= settled_ms + _EXTEND_MS:
            self._gaps.prolong(self.name, settled_ms, at_ms, self.cause)
        return True

    def going_on(self) -> Gap | None:
        """The gap that has no end yet."""
        return None if self.link is Link.UP else Gap(self.name, None, self._tail_ms, math.inf, self.cause)
