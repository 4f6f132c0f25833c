"""The timeline of a stream: what was connected when, and so what is missing and why. Pure, in Zoom's clock.

For each media type, connections, pauses and gaps together tile the time from its first handshake to the end; so they do
with the time that another member of a cluster has recorded, which is no gap here.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from rtmsd.protocol.bounds import bounded_text
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.timeline.connections import Connection, Connections
from rtmsd.recording.timeline.gaps import Gap, Gaps
from rtmsd.recording.timeline.intervals import IntervalSet
from rtmsd.recording.timeline.medium import AHEAD_MS, NOBODY, Link, Medium
from rtmsd.recording.timeline.pauses import Pauses

_DRAINED_MS: Final = 60_000
"""So long after a connection came up, audio that is still behind is not from Zoom's buffer: people say nothing."""

_LATE_MS: Final = 1000
"""What is missing may be from so long after the latest time heard; then it is a sign of the time, too."""


class Timeline:
    """See the module. Times that cannot be (hostile, or in another unit) are ignored.

    Attributes:
        start_ms: the start of the stream, since which audio is buffered.
        from_ms: where the first connection of each media type is taken to begin: the start, or where the time ends that
            somebody else has recorded since then.
        clock_ms: the latest time heard from Zoom.
        connections, pauses: what was up, and when nothing was expected.
        elsewhere: the time that others have recorded.
        audio_watch_ms: `watch_ms` of audio, kept ready for each packet.

    Args:
        changes: notes changes of the structure, and that a gap becomes shorter: a successor must not call missing what
            came out of Zoom's buffer.
        gaps: those of an earlier process.
    """

    def __init__(self, start_ms: int, changes: ChangeCounter | None = None, gaps: Iterable[Gap] = ()) -> None:
        self.start_ms = self.from_ms = start_ms
        self.clock_ms = start_ms
        self.elsewhere = IntervalSet()
        self.changes = changes or ChangeCounter()
        self.connections = Connections()
        self.pauses = Pauses(changes=self.changes)
        self.audio_watch_ms = -math.inf
        self._gaps = Gaps(gaps, self.changes)
        self._media: dict[str, Medium] = {}
        self._interrupted: dict[str, str] = {}  # media that an earlier process may have had: the cause of their loss
        self._is_new_start = True  # else it had ended, and is only taken up to be ended again
        self._said_ms = start_ms  # the latest word of Zoom's, apart from the times of media
        self._unless_ended: list[Gap] = []  # what goes on to be missing behind an end that Zoom has not said

    def is_plausible(self, time_ms: int) -> bool:
        return self.start_ms - AHEAD_MS <= time_ms <= self.clock_ms + AHEAD_MS

    def knows(self, media: str) -> bool:
        """Whether this media type was connected once, and the stream has not ended since."""
        medium = self._media.get(media)
        return medium is not None and medium.connection is not None

    def known_without(self, media: Iterable[str]) -> list[str]:
        """Return the media types that were connected, apart from these."""
        return sorted(name for name in self._media.keys() - set(media) if self.knows(name))

    def never_connected(self, media: Iterable[str]) -> list[str]:
        """Return which of these were neither connected nor refused, also by an earlier process, unlike others."""
        if not any(map(self.knows, self._media)):
            return []
        return sorted(set(media) - self._media.keys() - self._interrupted.keys())

    # Connections

    def connection_of(self, media: str) -> int:
        """Return the number of the connection that brings a media type, or brought it last; 0 without one."""
        medium = self._media.get(media)
        return 0 if medium is None or medium.connection is None else medium.connection.number

    def interrupted(self, cause: str, media: Iterable[str]) -> None:
        """An earlier process may have been connected and died before it could write so: of these media, unless they are
        known, what their first connection does not bring is missing from `from_ms` on, and all of it without one. The
        cause that was named first counts.
        """
        self._interrupted = {name: cause for name in media if name not in self._media} | self._interrupted

    def had_elsewhere(self, to_ms: int, cause: str) -> tuple[int, int]:
        """Somebody else had the stream until `to_ms`, since it was last heard of here. Nothing is missing of that time;
        what comes after it is, for `cause`, as far as no connection brings it. Before the first connection.

        Returns:
            That time, from and to; it is empty where more was heard here already.
        """
        from_ms, to_ms = self.clock_ms, max(to_ms, self.clock_ms)
        if from_ms < to_ms:
            self.elsewhere.add(from_ms, to_ms)
            for medium in self._media.values():
                medium.had_elsewhere(from_ms, to_ms, cause)
            if from_ms == self.start_ms:
                self.from_ms = to_ms
            self.clock_ms = self._said_ms = to_ms
            self.changed()
        return from_ms, to_ms

    def connected(self, kind: str, media: Iterable[str]) -> int:
        """A handshake succeeded. Returns the connection's number, for `heard` and `lost`."""
        is_first = self.connections.latest(kind) is None
        connection = self.connections.add(kind, media)
        if kind == "signaling" and is_first:
            connection.opened_ms = self.from_ms
        for name in connection.media:
            medium = self._media.get(name)
            if medium is None:
                medium = self.add_medium(name, connection)
                if name not in self._interrupted:
                    connection.opened_ms = medium.up_ms = self.from_ms
                    continue
                medium.down(self.from_ms, self._interrupted.pop(name))
            self._lose_unnoticed(medium, "replaced")
            medium.connected(connection)
        self.changed()
        return connection.number

    def refused(self, media: Iterable[str]) -> None:
        """These were asked for and are not granted: missing since `from_ms`, or the end of their last connection."""
        for name in media:
            medium = self._media.get(name)
            if medium is None:
                medium = self.add_medium(name, None)
                medium.down(self.from_ms, GapCause.REFUSED)
            self._lose_unnoticed(medium, "refused")
            medium.refused()
            self._interrupted.pop(name, None)
        self.changed()

    def add_medium(self, name: str, connection: Connection | None) -> Medium:
        """Begin a media type: connected, or with None refused from the start."""
        medium = self._media[name] = Medium(name, connection, self._gaps)
        return medium

    def _lose_unnoticed(self, medium: Medium, why: str) -> None:
        """Its connection closed without a loss, and the stream went on after all."""
        if medium.link is Link.UP and medium.connection is not None:
            self.lost(medium.connection.number, medium.connection.heard_ms, GapCause.MEDIA_RECONNECT, why)

    def heard(self, time_ms: int, number: int | None = None) -> None:
        """Zoom said what time it is, on the signaling connection or on the one numbered."""
        if not self.is_plausible(time_ms):
            return
        self.clock_ms = max(self.clock_ms, time_ms)
        self._said_ms = max(self._said_ms, time_ms)
        if self.connections.heard(time_ms, number):
            self.changes.note()
        for medium in self._media.values():
            if medium.heard(time_ms):
                self.changed()

    def lost(
        self,
        number: int,
        newest_ms: int | None,
        cause: str | None,
        why: str,
        *,
        audio_ms: int | None = None,
        heard: Mapping[int | str, int] = NOBODY,
    ) -> None:
        """A connection is gone.

        Args:
            newest_ms: end of the newest media that it may have brought.
            audio_ms: end of the newest audio, which may come out of Zoom's buffer while the other media are live.
            heard: until when each person was heard; nobody where all that was sent has come, as before an orderly end.
            cause: of the gap that this opens; None when it closes because the stream ends, which opens none; "dropped"
                when media still came and are read no more.
        """
        connection = self.connections.get(number)
        if connection is None:
            return
        connection.why = bounded_text(why)
        if cause is None:
            return
        known = [time for time in (connection.opened_ms, connection.heard_ms) if time is not None]
        signs = known if newest_ms is None else [*known, newest_ms]
        media = [self._media[name] for name in connection.media]
        floor_ms = max([medium.since_ms for medium in media], default=min(signs, default=self.clock_ms))
        closed_ms = max([*signs, floor_ms])
        self.connections.close(connection, closed_ms)
        if connection.opened_ms is None:
            connection.opened_ms = floor_ms
        for medium in media:
            if medium.name != "audio":
                medium.down(closed_ms, cause)
            elif cause == GapCause.DROPPED:  # cut off while it came, perhaps from the buffer
                medium.down(max(audio_ms or 0, floor_ms), cause, heard)
            else:
                is_behind = audio_ms is not None and closed_ms - medium.up_ms < _DRAINED_MS
                medium.down(max([*known, audio_ms or 0, floor_ms]) if is_behind else closed_ms, cause, heard)
        if connection.kind == "signaling":
            self.pauses.doubt(closed_ms)
        self.changed()

    def same_outage(self, cause: str) -> None:
        """More went than media: what was lost just before, with no sign of life since, was lost by the same cause."""
        for medium in self._media.values():
            if medium.widen(cause):
                self.changes.note()

    # Media

    def watch_ms(self, media: str) -> float:
        """Return the time before which a packet can change a gap, and has to be reported to `covered`."""
        medium = self._media.get(media)
        return -math.inf if medium is None else medium.watch_ms

    def outage_ending(self, media: str, at_ms: int) -> tuple[int, str] | None:
        """Return since when nothing came, and the cause, as long as nothing came on the new connection either.

        Args:
            at_ms: of the first that does: out of Zoom's buffer, perhaps, which was still coming at the loss.
        """
        medium = self._media.get(media)
        return None if medium is None else medium.outage_ending(at_ms)

    def missed(self, media: str, until_ms: int) -> dict[int | str, int]:
        """Return of whom something is missing up to a time, and the end of that."""
        return self._gaps.missed(media, until_ms)

    def covered(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        """A packet that lies before `watch_ms` was kept: its time is not missing."""
        medium = self._media.get(media)
        if medium is not None:
            medium.covered(user_id, from_ms, to_ms)
            self._watch()

    def shown(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int) -> None:
        """A frame of video that lies before `watch_ms` was kept, which lasts until `to_ms` unless another one comes.

        Pictures are never buffered: the first one on a new connection is as live as a word from Zoom.
        """
        medium = self._media.get(media)
        if medium is not None and medium.shown(user_id, from_ms, to_ms):
            self.changes.note()

    def missing(self, media: str, user_id: int | str | None, from_ms: int, to_ms: int, cause: str) -> None:
        """What came for this time could not be kept."""
        if not self.is_plausible(from_ms) or to_ms <= from_ms:
            return
        self.clock_ms = max(self.clock_ms, min(to_ms, self.clock_ms + _LATE_MS))
        self._gaps.missing(Gap(media, user_id, from_ms, to_ms, cause))
        self._watch()

    def changed(self) -> None:
        """Note a change of the structure, and bring `audio_watch_ms` up to date."""
        self.changes.note()
        self._watch()

    def _watch(self) -> None:
        self.audio_watch_ms = self.watch_ms("audio")

    # Pauses and the end

    def paused(self, time_ms: int | None) -> None:
        self.pauses.begin(self._known(time_ms))

    def resumed(self, time_ms: int | None, *, by_now: bool = False) -> None:
        """The pause ended.

        Args:
            by_now: at `time_ms` or earlier: media came, which may overtake Zoom's word on when. It still counts.
        """
        self.pauses.end(self._known(time_ms), is_exact=time_ms is not None, by_now=by_now)

    def reopened(self, time_ms: int, ended_ms: int) -> None:
        """The stream had ended and is started again: nothing was expected in between."""
        self._is_new_start = time_ms > ended_ms
        self.start_ms = self.from_ms = self.clock_ms = self._said_ms = max(time_ms, ended_ms)
        self.pauses.ended(ended_ms, self.start_ms)
        self._media.clear()
        self.changed()

    def ended(
        self,
        time_ms: int | None,
        newest_ms: int | None,
        closing: Collection[int] = (),
        *,
        is_zooms: bool = False,
        is_guess: bool = False,
        heard: Mapping[int | str, int] = NOBODY,
    ) -> int:
        """Close everything that is open. Returns the time of the end: what Zoom said or, if later, where the newest
        media end. Where Zoom did not say it is the latter, and where the end is not Zoom's, what was heard last.

        Args:
            time_ms: what Zoom said.
            newest_ms: end of the newest media received.
            closing: connections that were lost only a moment before Zoom's word: it closes media as part of the end.
            is_zooms: whether Zoom ended the stream.
            is_guess: whether Zoom may still say that it ended later: who takes it up then has to know what was missing.
            heard: until when each person was heard.
        """
        is_by_media = time_ms is None and is_zooms and newest_ms is not None
        end_ms = max(self.start_ms if is_by_media else self._known(time_ms), newest_ms or 0)
        end_ms = int(max([end_ms, *(to_ms for _, to_ms in self.elsewhere)]))
        signaling = self.connections.latest("signaling")
        is_announced = time_ms is not None and signaling is not None and signaling.closed_ms is None
        said_ms = self._said_ms if time_ms is None else self._known(time_ms)
        if is_guess:
            causes: dict[str, str] = dict.fromkeys(self._media, GapCause.SIGNALING_RECONNECT)
            causes |= {gap.media: gap.cause for gap in self._going_on()} | self._interrupted
            self._unless_ended = [Gap(name, None, end_ms, math.inf, cause) for name, cause in causes.items()]
        if not self._media and not (self._interrupted and self._is_new_start):
            self.pauses.stays_ended(end_ms)
        for name, cause in self._interrupted.items():
            self._gaps.add(Gap(name, None, self.from_ms, end_ms, cause))
        self._interrupted = {}
        for connection in self.connections.open:
            if not connection.is_silent(said_ms):
                continue
            if connection.media:
                why = connection.why or "silent before the end"
                self.lost(connection.number, None, GapCause.MEDIA_RECONNECT, why, heard=heard)
            else:
                self.pauses.doubt(connection.heard_ms or self.start_ms)
        for medium in self._media.values():
            is_part_of_end = is_announced and medium.may_close_with_end(end_ms, said_ms, closing)
            medium.ended(end_ms, closed_with_end=is_part_of_end)
        self.connections.end(end_ms)
        self._gaps.close(end_ms)
        self.pauses.end(end_ms, is_exact=True)
        self._media.clear()
        self.changed()
        return end_ms

    def _known(self, time_ms: int | None) -> int:
        return self.clock_ms if time_ms is None or not self.is_plausible(time_ms) else time_ms

    # As the manifest has it

    def listed(self) -> tuple[list[Gap], list[Gap]]:
        """Return all gaps, those going on too, without the time that was paused or is elsewhere; see `list_gaps`."""
        return self._gaps.listed(self._going_on(), [*self.pauses.spans, *self.elsewhere])

    def _going_on(self) -> Iterator[Gap]:
        going_on = (medium.going_on() for medium in self._media.values())
        return (gap for gap in going_on if gap is not None)

    def to_manifest(self) -> dict[str, Any]:
        """Return the fields of the manifest that are about time."""
        gaps, within = self.listed()
        return {
            "gaps": [gap.entry() for gap in gaps],
            # After the end none becomes shorter, but it may not have been the end.
            "gaps_within": [gap.entry() for gap in (within if self._media else self._unless_ended)],
            "pauses": self.pauses.entries(),
            "connections": self.connections.entries(),
            "clock_ms": self.clock_ms,
        }
