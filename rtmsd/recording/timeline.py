"""What was connected when, what was paused, and what is missing and why: pure book-keeping in Zoom's clock.

For each media type, connections, pauses and gaps together tile the time from its first handshake to the end.
"""

import enum
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs

from rtmsd.recording.track import CONTIGUOUS_MS

_EXTEND_MS: Final = 1000
"""So soon after the first live word from Zoom the first packet may come; the gap lasts until then."""

_MAX_ENTRIES: Final = 2000
"""Bound of each list; past it the two oldest neighbours that can be joined become one."""

_CAUSES: Final = ("media_reconnect", "signaling_reconnect", "server_failover")
"""Each takes in those before it."""

AHEAD_MS: Final = 12 * 3_600_000
"""A time further from what was heard last is no time."""


@attrs.define
class Gap:
    """Media that were expected and are missing. `to_ms` None: still going on; `user_id` None: everybody's."""

    media: str
    user_id: int | str | None
    from_ms: int
    to_ms: int | None
    cause: str


@attrs.define
class Connection:
    """`opened_ms` is None until Zoom's time is known, `closed_ms` while it is up; `heard_ms` is its last word."""

    number: int
    kind: str
    media: tuple[str, ...]
    opened_ms: int | None = None
    heard_ms: int | None = None
    closed_ms: int | None = None
    why: str | None = None


@attrs.define
class Pause:
    """Time in which nothing was expected: paused by the host, or between an end and a new start."""

    from_ms: int
    to_ms: int | None
    why: str


class Link(enum.Enum):
    """Of a media type that was connected once."""

    UP = enum.auto()
    DOWN = enum.auto()
    SETTLING = enum.auto()  # connected again, but Zoom has not said yet what time it is


@attrs.define
class _Medium:
    """Attributes:
    since_ms, cause: of the last outage.
    tail_ms: from here on nothing came, as far as known; meaningful unless UP.
    sign_ms: last live word from Zoom on another connection during the outage.
    reached: whether a packet came since the handshake.
    settled_ms: where the outage ended, as long as the first packet may still move that.
    """

    connection: Connection
    link: Link = Link.UP
    cause: str = ""
    since_ms: int = 0
    tail_ms: int = 0
    sign_ms: int | None = None
    reached: bool = True
    settled_ms: int | None = None


class Timeline:
    """See the module. Times that cannot be (hostile, or in another unit) are ignored.

    Attributes:
        start_ms: where the first connection of each media type is taken to begin: audio is buffered from then on.
        clock_ms: the latest time heard from Zoom.
        revision: changes with the structure, and when a gap becomes shorter: who takes over must not call missing what
            came out of Zoom's buffer.
    """

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.clock_ms = start_ms
        self.revision = 0
        self.connections: list[Connection] = []
        self.pauses: list[Pause] = []
        self._gaps: list[Gap] = []
        self._media: dict[str, _Medium] = {}
        self._number = 0
        self._untold: dict[str, str] = {}
        self._is_end_guessed = False  # of the last pause

    def is_plausible(self, time_ms: int) -> bool:
        return self.start_ms - AHEAD_MS <= time_ms <= self.clock_ms + AHEAD_MS

    def knows(self, media: str) -> bool:
        """Whether this media type was connected once, and the stream has not ended since."""
        return media in self._media

    # Connections

    def interrupted(self, cause: str, media: Iterable[str]) -> None:
        """An earlier process may have been connected and died before it could write so: of these media, unless they are
        known, what their first connection does not bring is missing from the start on, and all of it without one.
        """
        self._untold = {name: cause for name in media if name not in self._media}

    def connected(self, kind: str, media: Iterable[str]) -> int:
        """A handshake succeeded. Returns the connection's number, for `heard` and `lost`."""
        self._number += 1
        connection = Connection(self._number, kind, tuple(sorted(media)))
        earlier = any(other.kind == kind for other in self.connections)
        if kind == "signaling" and not earlier:
            connection.opened_ms = self.start_ms
        for name in connection.media:
            medium = self._media.get(name)
            if medium is None and name not in self._untold:
                connection.opened_ms = self.start_ms
                self._media[name] = _Medium(connection)
                continue
            if medium is None:
                medium = self._media[name] = _Medium(connection, Link.DOWN, self._untold.pop(name))
                medium.since_ms = medium.tail_ms = self.start_ms
            if medium.link is Link.UP:  # its predecessor closed without a loss, and the stream went on after all
                self.lost(medium.connection.number, medium.connection.heard_ms, "media_reconnect", "replaced")
            medium.connection, medium.link, medium.reached = connection, Link.SETTLING, False
        self.connections.append(connection)
        self._bound_connections()
        self.revision += 1
        return self._number

    def heard(self, time_ms: int, number: int | None = None) -> None:
        """Zoom said what time it is, on the signaling connection or on the one numbered."""
        if not self.is_plausible(time_ms):
            return
        self.clock_ms = max(self.clock_ms, time_ms)
        for connection in self._open():
            if connection.number == number or (number is None and connection.kind == "signaling"):
                connection.heard_ms = max(connection.heard_ms or time_ms, time_ms)
                if connection.opened_ms is None and not connection.media:
                    connection.opened_ms = time_ms
                    self.revision += 1
        for name, medium in self._media.items():
            if medium.link is Link.SETTLING and time_ms > medium.since_ms:  # else it tells of the past
                self._settle(name, medium, time_ms)
            elif medium.link is Link.DOWN:
                medium.sign_ms = time_ms

    def heard_media(self, newest_ms: Callable[[tuple[str, ...]], int | None]) -> None:
        """Note how far each connection has brought its media, so that a killed daemon's successor knows.

        Args:
            newest_ms: from media types to the end of the newest media of them.
        """
        for connection in self._open():
            # Audio may come out of Zoom's buffer, behind the other media; none of it must seem to have come already.
            media = ("audio",) if "audio" in connection.media else connection.media
            if (time_ms := newest_ms(media)) is not None:
                connection.heard_ms = max(connection.heard_ms or time_ms, time_ms)

    def lost(self, number: int, newest_ms: int | None, cause: str | None, why: str) -> None:
        """A connection is gone.

        Args:
            newest_ms: end of the newest media that it may have brought.
            cause: of the gap that this opens; None when it closes because the stream ends, which opens none.
        """
        connection = next((each for each in self._open() if each.number == number), None)
        if connection is None:
            return
        connection.why = why
        if cause is None:
            return
        heard = [time for time in (connection.opened_ms, connection.heard_ms, newest_ms) if time is not None]
        media = [(name, self._media[name]) for name in connection.media]
        floor_ms = max([medium.since_ms for _, medium in media], default=min(heard, default=self.clock_ms))
        connection.closed_ms = max([*heard, floor_ms])
        if connection.opened_ms is None:
            connection.opened_ms = floor_ms
        for name, medium in media:
            if medium.link is Link.SETTLING:
                if connection.closed_ms <= medium.since_ms:  # brought nothing: the outage goes on
                    medium.link = Link.DOWN
                    continue
                self._settle(name, medium, connection.closed_ms)
            medium.link, medium.cause, medium.sign_ms, medium.settled_ms = Link.DOWN, cause, None, None
            medium.since_ms = medium.tail_ms = connection.closed_ms
        self.revision += 1

    def same_outage(self, cause: str) -> None:
        """More went than media: what was lost just before, with no sign of life since, was lost by the same cause."""
        for medium in self._media.values():
            if medium.link is Link.DOWN and medium.sign_ms is None and _includes(cause, medium.cause):
                medium.cause = cause
                self.revision += 1

    def _open(self) -> Iterator[Connection]:
        return (connection for connection in reversed(self.connections) if connection.closed_ms is None)

    def _settle(self, name: str, medium: _Medium, at_ms: int) -> None:
        """The outage ended at `at_ms`, apart from what buffered packets cover of it."""
        at_ms = max(at_ms, medium.since_ms)
        for gap in self._gaps:
            if gap.media == name and gap.user_id is None and gap.from_ms >= medium.since_ms and gap.to_ms is not None:
                gap.to_ms = min(gap.to_ms, at_ms)
        self._gaps = [gap for gap in self._gaps if gap.to_ms is None or gap.to_ms > gap.from_ms]
        self._add(Gap(name, None, medium.tail_ms, at_ms, medium.cause))
        self._reach_back(medium, at_ms)
        medium.link = Link.UP
        medium.settled_ms = None if medium.reached else at_ms
        self.revision += 1

    def _reach_back(self, medium: _Medium, from_ms: int) -> None:
        """The connection brought media from `from_ms` on."""
        connection = medium.connection
        from_ms = max(from_ms, medium.since_ms)
        if connection.opened_ms is None or from_ms < connection.opened_ms:
            near = from_ms - medium.since_ms <= CONTIGUOUS_MS  # too little to be a gap, so it must not be a hole
            connection.opened_ms = medium.since_ms if near else from_ms

    @staticmethod
    def _reach_further_back(medium: _Medium, gap_ms: int, from_ms: int) -> None:
        """The connection brought media of an outage before the last one, which a connection that brought none ended."""
        connection = medium.connection
        from_ms = gap_ms if from_ms - gap_ms <= CONTIGUOUS_MS else from_ms
        if from_ms < medium.since_ms and (connection.opened_ms is None or from_ms < connection.opened_ms):
            connection.opened_ms = from_ms

    # Media

    def watch_ms(self, media: str) -> float:
        """Return the time before which a packet can change a gap, and has to be reported to `covered`."""
        medium = self._media.get(media)
        if medium is None:
            return -math.inf
        if medium.link is not Link.UP:
            return math.inf
        ends = [gap.to_ms for gap in self._gaps if gap.media == media and gap.to_ms is not None]
        if medium.settled_ms is not None:
            ends.append(medium.settled_ms + _EXTEND_MS + 1)
        return max(ends, default=-math.inf)

    def outage_ending(self, media: str) -> tuple[int, str] | None:
        """Return since when nothing came, and the cause, as long as nothing came on the new connection either."""
        medium = self._media.get(media)
        if medium is None or medium.link is Link.DOWN or medium.reached:
            return None
        return medium.since_ms, medium.cause

    def covered(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        """A packet that lies before `watch_ms` was kept: its time is not missing."""
        medium = self._media.get(media)
        if medium is None:
            return
        if medium.link is Link.SETTLING:
            if from_ms < medium.tail_ms + AHEAD_MS and to_ms > medium.tail_ms:
                self._add(Gap(media, None, medium.tail_ms, from_ms, medium.cause))
                medium.tail_ms = to_ms
                self.revision += 1
        elif medium.settled_ms is not None:
            if medium.settled_ms < from_ms <= medium.settled_ms + _EXTEND_MS:
                self._extend(media, medium.settled_ms, from_ms, medium.cause)
            medium.settled_ms = None
        if medium.link is not Link.DOWN and to_ms > medium.since_ms:
            medium.reached = True
            self._reach_back(medium, from_ms)
        self._subtract(media, user_id, from_ms, to_ms)

    def missing(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int, cause: str) -> None:
        """What came for this time could not be kept."""
        if not self.is_plausible(from_ms) or to_ms <= from_ms:
            return
        self.clock_ms = max(self.clock_ms, min(to_ms, self.clock_ms + _EXTEND_MS))
        for gap in reversed(self._gaps[-16:]):
            if (gap.media, gap.user_id, gap.cause) == (media, user_id, cause) and gap.to_ms is not None:
                if gap.from_ms <= from_ms <= gap.to_ms + CONTIGUOUS_MS:
                    gap.to_ms = max(gap.to_ms, to_ms)
                    return
                break
        self._gaps.append(Gap(media, user_id, from_ms, to_ms, cause))
        self._bound_gaps()
        self.revision += 1

    def _add(self, gap: Gap) -> None:
        if gap.to_ms is not None and gap.to_ms - gap.from_ms > CONTIGUOUS_MS:
            self._gaps.append(gap)
            self._bound_gaps()
            self.revision += 1

    def _extend(self, media: str, from_ms: int, to_ms: int, cause: str) -> None:
        for gap in reversed(self._gaps):
            if gap.media == media and gap.user_id is None and gap.to_ms == from_ms:
                gap.to_ms = to_ms
                return
        self._add(Gap(media, None, from_ms, to_ms, cause))

    def _subtract(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        touched = [
            gap
            for gap in self._gaps
            if gap.media == media
            and gap.user_id in {None, user_id}
            and gap.to_ms is not None
            and gap.from_ms < to_ms
            and from_ms < gap.to_ms
        ]
        for gap in touched:
            assert gap.to_ms is not None
            end_ms = gap.to_ms
            if gap.user_id is None:
                self._reach_further_back(self._media[media], gap.from_ms, from_ms)
            if from_ms - gap.from_ms > CONTIGUOUS_MS:
                gap.to_ms = from_ms
                self._add(attrs.evolve(gap, from_ms=to_ms, to_ms=end_ms))
            elif end_ms - to_ms > CONTIGUOUS_MS:
                gap.from_ms = to_ms
            else:
                self._gaps.remove(gap)
            self.revision += 1

    # Pauses and the end

    @property
    def paused_since_ms(self) -> int | None:
        """When the pause that is on began; None when none is."""
        return self.pauses[-1].from_ms if self.pauses and self.pauses[-1].to_ms is None else None

    def paused(self, time_ms: int | None) -> None:
        if not self.pauses or self.pauses[-1].to_ms is not None:
            self.pauses.append(Pause(self._known(time_ms), None, "paused"))
            self._is_end_guessed = False
            self._bound_pauses()
            self.revision += 1

    def resumed(self, time_ms: int | None, *, by_now: bool = False) -> None:
        """The pause ended.

        Args:
            by_now: at `time_ms` or earlier: media came, which may overtake Zoom's word on when. It still counts.
        """
        if not self.pauses:
            return
        pause = self.pauses[-1]
        if pause.to_ms is None or (self._is_end_guessed and time_ms is not None):
            told_ms = max(self._known(time_ms), pause.from_ms)
            pause.to_ms = told_ms if pause.to_ms is None else min(told_ms, pause.to_ms)
            self._is_end_guessed = by_now
            self.revision += 1

    def reopened(self, time_ms: int, ended_ms: int) -> None:
        """The stream had ended and is started again: nothing was expected in between."""
        self.pauses.append(Pause(ended_ms, max(time_ms, ended_ms), "ended"))
        self.start_ms = self.clock_ms = max(time_ms, ended_ms)
        self._media.clear()
        self.revision += 1

    def ended(self, time_ms: int | None, newest_ms: int | None) -> int:
        """Close everything that is open. Returns the time of the end.

        Args:
            time_ms: what Zoom said.
            newest_ms: end of the newest media received.
        """
        end_ms = max(self._known(time_ms), self.clock_ms, newest_ms or 0)
        if not self._media and self.pauses and self.pauses[-1].why == "ended":  # started again, but never connected
            self.pauses[-1].to_ms = end_ms
        signaling = [each for each in self.connections if each.kind == "signaling"]
        told = time_ms is not None and bool(signaling) and signaling[-1].closed_ms is None
        for name, cause in self._untold.items():
            self._add(Gap(name, None, self.start_ms, end_ms, cause))
        self._untold = {}
        for name, medium in self._media.items():
            if medium.link is Link.DOWN:
                # Zoom closes media sockets as part of the end, and that may be seen before its word on signaling.
                silent = medium.sign_ms is None or medium.sign_ms >= end_ms
                is_part_of_end = told and silent and medium.cause == "media_reconnect"
                if is_part_of_end or end_ms - medium.tail_ms <= CONTIGUOUS_MS:
                    medium.connection.closed_ms = end_ms
                else:
                    self._add(Gap(name, None, medium.tail_ms, end_ms, medium.cause))
            elif medium.link is Link.SETTLING:
                self._settle(name, medium, medium.tail_ms if medium.reached else end_ms)
        for connection in self._open():
            connection.opened_ms = end_ms if connection.opened_ms is None else connection.opened_ms
            connection.closed_ms = end_ms
            connection.why = connection.why or "ended"
        for gap in self._gaps:
            gap.to_ms = min(gap.to_ms or end_ms, end_ms)
        self._gaps = [gap for gap in self._gaps if gap.from_ms < end_ms]
        self.resumed(end_ms)
        self._media.clear()
        self.revision += 1
        return end_ms

    def _known(self, time_ms: int | None) -> int:
        return self.clock_ms if time_ms is None or not self.is_plausible(time_ms) else time_ms

    # As the manifest has it

    def gaps(self) -> list[Gap]:
        """All gaps, those still open with `to_ms` None, in order, without the time that was paused."""
        going_on = [
            Gap(name, None, medium.tail_ms, None, medium.cause)
            for name, medium in self._media.items()
            if medium.link is not Link.UP
        ]
        parts = [part for gap in (*self._gaps, *going_on) for part in _without(gap, self.pauses)]
        return sorted(parts, key=lambda gap: (gap.from_ms, gap.media, str(gap.user_id)))

    def to_manifest(self) -> dict[str, Any]:
        connections = [attrs.asdict(connection) for connection in self.connections]
        return {
            "gaps": [attrs.asdict(gap) for gap in self.gaps()],
            "pauses": [attrs.asdict(pause) for pause in self.pauses],
            "connections": connections,
            "clock_ms": self.clock_ms,
        }

    @classmethod
    def from_manifest(cls, manifest: dict[str, Any], newest_ms: int | None) -> "Timeline":
        """Take up what a daemon left that was killed or stopped: what was connected is lost since it was last heard.

        Args:
            newest_ms: end of the newest audio in the files.
        """
        timeline = cls(manifest["started_ms"])
        timeline.clock_ms = max(manifest.get("clock_ms", 0), newest_ms or 0, timeline.start_ms)
        timeline.pauses = [Pause(**pause) for pause in manifest.get("pauses", [])]
        timeline.connections = [Connection(**connection) for connection in manifest["connections"]]
        timeline._number = max((connection.number for connection in timeline.connections), default=0)
        gaps = [Gap(**gap) for gap in manifest["gaps"]]
        timeline._gaps = [gap for gap in gaps if gap.to_ms is not None]
        if manifest["state"] in {"ended", "failed"}:
            return timeline
        going_on = {gap.media: gap for gap in gaps if gap.to_ms is None}
        for connection in timeline.connections:
            connection.media = tuple(connection.media)
            for name in connection.media:
                timeline._media[name] = medium = _Medium(connection)
                gap = going_on.get(name)
                if connection.closed_ms is not None or gap is not None:
                    medium.cause = gap.cause if gap else "daemon_restart"
                    medium.since_ms = medium.tail_ms = gap.from_ms if gap else connection.closed_ms or 0
                    medium.link = Link.SETTLING if connection.closed_ms is None else Link.DOWN
        for connection in list(timeline._open()):
            heard_ms = newest_ms if "audio" in connection.media else None
            timeline.lost(connection.number, heard_ms, "daemon_restart", "daemon restarted")
        return timeline

    # Bounds

    def _bound_gaps(self) -> None:
        """Join the oldest gap with the next one alike: a little too much is called missing, never too little."""
        while len(self._gaps) > _MAX_ENTRIES:
            oldest = self._gaps.pop(0)
            for gap in self._gaps:
                if (gap.media, gap.user_id, gap.cause) == (oldest.media, oldest.user_id, oldest.cause):
                    gap.from_ms = min(gap.from_ms, oldest.from_ms)
                    gap.to_ms = max(gap.to_ms or 0, oldest.to_ms or 0)
                    break
            else:
                oldest.user_id = None  # nobody else like it: keep the fact, drop the detail
                self._gaps.append(oldest)
                break

    def _bound_connections(self) -> None:
        while len(self.connections) > _MAX_ENTRIES:
            oldest = self.connections.pop(0)
            for connection in self.connections:
                if (connection.kind, connection.media) == (oldest.kind, oldest.media):
                    connection.opened_ms = oldest.opened_ms
                    break

    def _bound_pauses(self) -> None:
        if len(self.pauses) > _MAX_ENTRIES:
            first, second = self.pauses[:2]
            self.pauses[:2] = [Pause(first.from_ms, second.to_ms, first.why)]


def _includes(cause: str, other: str) -> bool:
    """Whether an outage of this cause takes in one of the other: a server that fails takes its connections with it."""
    return other in _CAUSES and cause in _CAUSES[_CAUSES.index(other) + 1 :]


def _without(gap: Gap, pauses: list[Pause]) -> Iterator[Gap]:
    """Yield what is left of a gap outside the pauses."""
    from_ms, end_ms = gap.from_ms, math.inf if gap.to_ms is None else gap.to_ms
    for pause in pauses:
        pause_end_ms = math.inf if pause.to_ms is None else pause.to_ms
        if pause_end_ms <= from_ms or pause.from_ms >= end_ms:
            continue
        if pause.from_ms > from_ms:
            yield attrs.evolve(gap, from_ms=from_ms, to_ms=pause.from_ms)
        if pause_end_ms >= end_ms:
            return
        from_ms = int(pause_end_ms)
    yield attrs.evolve(gap, from_ms=from_ms)
