"""What was connected when, and so what is missing and why: pure book-keeping in Zoom's clock.

For each media type, connections, pauses and gaps together tile the time from its first handshake to the end.
"""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from rtmsd.protocol.bounds import bounded_text
from rtmsd.recording.timeline.connections import Connection, Connections
from rtmsd.recording.timeline.gaps import Gap, Gaps
from rtmsd.recording.timeline.medium import AHEAD_MS, REFUSED, Link, Medium
from rtmsd.recording.timeline.pauses import Pause, Pauses

_SILENT_MS: Final = 15_000
"""Zoom sends a keep-alive after 10 s without media; a connection that brought nothing for longer was dead."""

_DRAINED_MS: Final = 60_000
"""So long after a connection came up, audio that is still behind is not from Zoom's buffer: people say nothing."""

_LATE_MS: Final = 1000
"""What is missing may be from so long after the latest time heard; then it tells the time, too."""


class Timeline:
    """See the module. Times that cannot be (hostile, or in another unit) are ignored.

    Attributes:
        start_ms: where the first connection of each media type is taken to begin: audio is buffered from then on.
        clock_ms: the latest time heard from Zoom.
        connections, pauses: what was up, and when nothing was expected.
    """

    def __init__(self, start_ms: int) -> None:
        self.start_ms = start_ms
        self.clock_ms = start_ms
        self.connections = Connections()
        self.pauses = Pauses()
        self._gaps = Gaps()
        self._media: dict[str, Medium] = {}
        self._untold: dict[str, str] = {}
        self._is_new_start = True  # else it had ended, and is only taken up to be told so again
        self._said_ms = start_ms  # the latest word of Zoom's, apart from the times of media
        self._revision = 0

    @property
    def revision(self) -> int:
        """Changes with the structure, and when a gap becomes shorter: who takes over must not call missing what came
        out of Zoom's buffer.
        """
        return self._revision + self._gaps.revision + self.pauses.revision

    def is_plausible(self, time_ms: int) -> bool:
        return self.start_ms - AHEAD_MS <= time_ms <= self.clock_ms + AHEAD_MS

    def knows(self, media: str) -> bool:
        """Whether this media type was connected once, and the stream has not ended since."""
        medium = self._media.get(media)
        return medium is not None and medium.connection is not None

    def known_without(self, media: Iterable[str]) -> list[str]:
        """Return the media types that were connected, apart from these."""
        return sorted(name for name in self._media.keys() - set(media) if self.knows(name))

    def unheard_of(self, media: Iterable[str]) -> list[str]:
        """Return the media types that, since the stream started, were neither connected nor refused, although others
        were connected; those that an earlier process may have connected are left out.
        """
        if not any(map(self.knows, self._media)):
            return []
        return sorted(set(media) - self._media.keys() - self._untold.keys())

    # Connections

    def interrupted(self, cause: str, media: Iterable[str]) -> None:
        """An earlier process may have been connected and died before it could write so: of these media, unless they are
        known, what their first connection does not bring is missing from the start on, and all of it without one.
        """
        self._untold = {name: cause for name in media if name not in self._media}

    def connected(self, kind: str, media: Iterable[str]) -> int:
        """A handshake succeeded. Returns the connection's number, for `heard` and `lost`."""
        is_first = self.connections.latest(kind) is None
        connection = self.connections.add(kind, media)
        if kind == "signaling" and is_first:
            connection.opened_ms = self.start_ms
        for name in connection.media:
            medium = self._media.get(name)
            if medium is None:
                medium = self._media[name] = Medium(name, connection, self._gaps)
                if name not in self._untold:
                    connection.opened_ms = medium.up_ms = self.start_ms
                    continue
                medium.down(self.start_ms, self._untold.pop(name))
            self._take_for_lost(medium, "replaced")
            medium.connected(connection)
        self._revision += 1
        return connection.number

    def refused(self, media: Iterable[str]) -> None:
        """These were asked for and are not granted: missing since the start, or the end of their last connection."""
        for name in media:
            medium = self._media.get(name)
            if medium is None:
                medium = self._media[name] = Medium(name, None, self._gaps)
                medium.down(self.start_ms, REFUSED)
            self._take_for_lost(medium, "refused")
            medium.refused()
            self._untold.pop(name, None)
        self._revision += 1

    def _take_for_lost(self, medium: Medium, why: str) -> None:
        """Its connection closed without a loss, and the stream went on after all."""
        if medium.link is Link.UP and medium.connection is not None:
            self.lost(medium.connection.number, medium.connection.heard_ms, "media_reconnect", why)

    def heard(self, time_ms: int, number: int | None = None) -> None:
        """Zoom said what time it is, on the signaling connection or on the one numbered."""
        if not self.is_plausible(time_ms):
            return
        self.clock_ms = max(self.clock_ms, time_ms)
        self._said_ms = max(self._said_ms, time_ms)
        for connection in self.connections.open:
            if connection.alive_ms is None:  # its handshake was not long ago
                connection.lived(time_ms)
            if connection.number == number or (number is None and connection.kind == "signaling"):
                connection.heard(time_ms)
                connection.lived(time_ms)
                if connection.opened_ms is None and not connection.media:
                    connection.opened_ms = time_ms
                    self._revision += 1
        for medium in self._media.values():
            if medium.heard(time_ms):
                self._revision += 1

    def heard_media(
        self, newest_ms: Callable[[tuple[str, ...]], int | None], arrived: Callable[[tuple[str, ...]], int]
    ) -> None:
        """Note how far each connection has brought its media, so that a killed daemon's successor knows.

        Args:
            newest_ms: from media types to the end of the newest media of them.
            arrived: from media types to how many messages of them ever came.
        """
        for connection in self.connections.open:
            # Audio may come out of Zoom's buffer, behind the other media; none of it must seem to have come already.
            media = ("audio",) if "audio" in connection.media else connection.media
            if (time_ms := newest_ms(media)) is not None:
                connection.heard(time_ms)
            before, connection.arrived = connection.arrived, arrived(connection.media)
            if before is not None and connection.arrived > before:
                connection.lived(self.clock_ms)

    def lost(
        self, number: int, newest_ms: int | None, cause: str | None, why: str, *, audio_ms: int | None = None
    ) -> None:
        """A connection is gone.

        Args:
            newest_ms: end of the newest media that it may have brought.
            audio_ms: end of the newest audio, which may come out of Zoom's buffer while the other media are live.
            cause: of the gap that this opens; None when it closes because the stream ends, which opens none; "dropped"
                when media still came and are read no more.
        """
        connection = self.connections.get(number)
        if connection is None:
            return
        connection.why = bounded_text(why)
        if cause is None:
            return
        told = [time for time in (connection.opened_ms, connection.heard_ms) if time is not None]
        heard = told if newest_ms is None else [*told, newest_ms]
        media = [self._media[name] for name in connection.media]
        floor_ms = max([medium.since_ms for medium in media], default=min(heard, default=self.clock_ms))
        closed_ms = max([*heard, floor_ms])
        self.connections.close(connection, closed_ms)
        if connection.opened_ms is None:
            connection.opened_ms = floor_ms
        for medium in media:
            is_behind = medium.name == "audio" and audio_ms is not None and closed_ms - medium.up_ms < _DRAINED_MS
            if medium.name == "audio" and cause == "dropped":  # cut off while it came, perhaps out of Zoom's buffer
                medium.down(max(audio_ms or 0, floor_ms), cause)
            else:
                medium.down(max([*told, audio_ms or 0, floor_ms]) if is_behind else closed_ms, cause)
        if connection.kind == "signaling":
            self.pauses.doubt(closed_ms)
        self._revision += 1

    def same_outage(self, cause: str) -> None:
        """More went than media: what was lost just before, with no sign of life since, was lost by the same cause."""
        for medium in self._media.values():
            if medium.is_part_of(cause):
                medium.cause = cause
                self._revision += 1

    # Media

    def watch_ms(self, media: str) -> float:
        """Return the time before which a packet can change a gap, and has to be reported to `covered`."""
        medium = self._media.get(media)
        return -math.inf if medium is None else medium.watch_ms

    def outage_ending(self, media: str) -> tuple[int, str] | None:
        """Return since when nothing came, and the cause, as long as nothing came on the new connection either."""
        medium = self._media.get(media)
        return None if medium is None else medium.outage_ending

    def covered(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        """A packet that lies before `watch_ms` was kept: its time is not missing."""
        medium = self._media.get(media)
        if medium is not None:
            medium.covered(user_id, from_ms, to_ms)

    def shown(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        """A frame of video that lies before `watch_ms` was kept, which lasts until `to_ms` unless another one comes.

        Pictures are never buffered: the first one on a new connection is as live as a word from Zoom.
        """
        medium = self._media.get(media)
        if medium is not None:
            self._revision += medium.shown(user_id, from_ms, to_ms)

    def missing(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int, cause: str) -> None:
        """What came for this time could not be kept."""
        if not self.is_plausible(from_ms) or to_ms <= from_ms:
            return
        self.clock_ms = max(self.clock_ms, min(to_ms, self.clock_ms + _LATE_MS))
        self._gaps.missing(Gap(media, user_id, from_ms, to_ms, cause))

    # Pauses and the end

    def paused(self, time_ms: int | None) -> None:
        self.pauses.begin(self._known(time_ms))

    def resumed(self, time_ms: int | None, *, by_now: bool = False) -> None:
        """The pause ended.

        Args:
            by_now: at `time_ms` or earlier: media came, which may overtake Zoom's word on when. It still counts.
        """
        self.pauses.end(self._known(time_ms), is_told=time_ms is not None, by_now=by_now)

    def reopened(self, time_ms: int, ended_ms: int) -> None:
        """The stream had ended and is started again: nothing was expected in between."""
        self._is_new_start = time_ms > ended_ms
        self.start_ms = self.clock_ms = self._said_ms = max(time_ms, ended_ms)
        self.pauses.ended(ended_ms, self.start_ms)
        self._media.clear()

    def ended(
        self,
        time_ms: int | None,
        newest_ms: int | None,
        closing: Collection[int] = (),
        *,
        is_zooms: bool = False,
    ) -> int:
        """Close everything that is open. Returns the time of the end: what Zoom said or, if that is later, where the
        newest media end. Where Zoom did not say it is the latter, and where the end is not Zoom's what was heard last.

        Args:
            time_ms: what Zoom said.
            newest_ms: end of the newest media received.
            closing: connections that were lost only a moment before Zoom's word: it closes media as part of the end.
            is_zooms: whether Zoom ended the stream.
        """
        is_by_media = time_ms is None and is_zooms and newest_ms is not None
        end_ms = max(self.start_ms if is_by_media else self._known(time_ms), newest_ms or 0)
        signaling = self.connections.latest("signaling")
        is_told = time_ms is not None and signaling is not None and signaling.closed_ms is None
        said_ms = self._said_ms if time_ms is None else self._known(time_ms)
        if not self._media and not (self._untold and self._is_new_start):
            self.pauses.stays_ended(end_ms)
        for name, cause in self._untold.items():
            self._gaps.add(Gap(name, None, self.start_ms, end_ms, cause))
        self._untold = {}
        for connection in self.connections.open:
            if not _is_silent(connection, said_ms):
                continue
            if connection.media:
                self.lost(connection.number, None, "media_reconnect", connection.why or "silent before the end")
            else:
                self.pauses.doubt(connection.heard_ms or self.start_ms)
        for medium in self._media.values():
            closed_with_end = (
                is_told
                and medium.connection is not None
                and medium.connection.number in closing
                and medium.cause == "media_reconnect"
                and not medium.has_gone_on(end_ms)
                and not _is_silent(medium.connection, said_ms)
            )
            medium.ended(end_ms, closed_with_end=closed_with_end)
        for connection in self.connections.open:
            connection.opened_ms = end_ms if connection.opened_ms is None else connection.opened_ms
            connection.why = connection.why or "ended"
            self.connections.close(connection, end_ms)
        self.connections.cut_off(end_ms)
        self._gaps.close(end_ms)
        self.pauses.end(end_ms, is_told=True)
        self._media.clear()
        self._revision += 1
        return end_ms

    def _known(self, time_ms: int | None) -> int:
        return self.clock_ms if time_ms is None or not self.is_plausible(time_ms) else time_ms

    # As the manifest has it

    def gaps(self) -> list[Gap]:
        """All gaps, those going on too, in order and without the time that was paused."""
        return self._tell()[0]

    def _tell(self) -> tuple[list[Gap], list[Gap]]:
        going_on = (medium.going_on() for medium in self._media.values())
        return self._gaps.told((gap for gap in going_on if gap is not None), self.pauses.spans)

    def to_manifest(self) -> dict[str, Any]:
        gaps, within = self._tell()
        return {
            "gaps": [gap.to_manifest() for gap in gaps],
            "gaps_within": [gap.to_manifest() for gap in within if self._media],  # after the end none becomes shorter
            "pauses": self.pauses.to_manifest(),
            "connections": self.connections.to_manifest(),
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
        timeline.pauses = Pauses(Pause.from_manifest(pause) for pause in manifest.get("pauses", []))
        timeline.connections = Connections(manifest["connections"])
        gaps = [Gap.from_manifest(gap) for gap in (*manifest["gaps"], *manifest.get("gaps_within", []))]
        timeline._gaps = Gaps(gap for gap in gaps if gap.to_ms < math.inf)
        if manifest["ended_ms"] is not None:
            return timeline
        going_on = {gap.media: gap for gap in gaps if gap.to_ms == math.inf}
        for connection in timeline.connections:
            for name in connection.media:
                timeline._media[name] = medium = Medium(name, connection, timeline._gaps)
                gap = going_on.get(name)
                if gap is not None:
                    medium.down(gap.from_ms, gap.cause)
                elif connection.closed_ms is not None:
                    medium.down(connection.closed_ms, "daemon_restart")
                if connection.closed_ms is None and gap is not None:
                    medium.connected(connection)
        for name, gap in going_on.items():
            if gap.cause == REFUSED and name not in timeline._media:
                timeline._media[name] = medium = Medium(name, None, timeline._gaps)
                medium.down(gap.from_ms, REFUSED)
        audio = timeline._media.get("audio")
        if audio is not None and audio.link is Link.DOWN and (newest_ms or 0) > audio.since_ms:
            # Another process was connected since, and killed before it could write so.
            audio.connected(timeline.connections.add("media", ["audio"]))
        for connection in timeline.connections.open:
            heard_ms = newest_ms if "audio" in connection.media else None
            timeline.lost(connection.number, heard_ms, "daemon_restart", "daemon restarted")
        signaling = timeline.connections.latest("signaling")
        timeline.pauses.doubt((signaling and signaling.closed_ms) or timeline.start_ms)
        return timeline


def _is_silent(connection: Connection, at_ms: int) -> bool:
    """Whether it brought nothing for so long that it must have been dead."""
    alive_ms = connection.opened_ms if connection.alive_ms is None else connection.alive_ms
    return alive_ms is not None and at_ms - alive_ms > _SILENT_MS
