"""The timeline that an earlier process left, taken up: what was connected is lost since it was last heard. Pure."""

import math
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import Manifest
from rtmsd.recording.timeline.connections import Connections
from rtmsd.recording.timeline.gaps import Gap
from rtmsd.recording.timeline.intervals import IntervalSet
from rtmsd.recording.timeline.medium import NOBODY, Link, Medium
from rtmsd.recording.timeline.pauses import Pauses
from rtmsd.recording.timeline.timeline import Timeline

_DIED: Final = "daemon restarted"
"""Why a connection ended that a process had when it died."""


def resume_timeline(
    manifest: Manifest,
    newest_ms: int | None,
    changes: ChangeCounter | None = None,
    *,
    cause: GapCause = GapCause.DAEMON_RESTART,
    heard: Mapping[int | str, int] = NOBODY,
) -> Timeline:
    """Return the timeline that a manifest describes, of a daemon that was killed or stopped, or that has let the stream
    go to another.

    Args:
        newest_ms: end of the newest audio in the files.
        cause: of what is missing since.
        heard: until when each person is to be heard in the files, where nobody else finds out whom a kill cut short.
    """
    gaps = [Gap.from_entry(gap) for gap in (*manifest.gaps, *manifest.gaps_within)]
    timeline = Timeline(manifest.started_ms, changes, (gap for gap in gaps if gap.to_ms < math.inf))
    timeline.connections = Connections(manifest.connections)
    if manifest.part is not UNSET:
        elsewhere = [(each.from_ms, each.to_ms) for each in manifest.part.elsewhere]
        timeline.elsewhere = IntervalSet(elsewhere)
        timeline.from_ms = dict(elsewhere).get(timeline.start_ms, timeline.start_ms)
    timeline.pauses = Pauses(manifest.pauses, timeline.changes)
    timeline.clock_ms = max(manifest.clock_ms, newest_ms or 0, timeline.start_ms)
    if manifest.ended_ms is None:
        going_on = {gap.media: gap for gap in gaps if gap.to_ms == math.inf}
        _lose_all(timeline, going_on, newest_ms, cause, heard)
    return timeline


def _lose_all(
    timeline: Timeline,
    going_on: Mapping[str, Gap],
    newest_ms: int | None,
    cause: GapCause,
    heard: Mapping[int | str, int],
) -> None:
    media: dict[str, Medium] = {}
    for connection in timeline.connections:
        for name in connection.media:
            medium = media[name] = timeline.add_medium(name, connection)
            gap = going_on.get(name)
            if gap is not None:
                medium.down(gap.from_ms, gap.cause)
            elif connection.closed_ms is not None:
                medium.down(connection.closed_ms, cause)
            if connection.closed_ms is None and gap is not None:
                medium.connected(connection)
    for name, gap in going_on.items():
        if name in media:
            continue
        if gap.cause == GapCause.REFUSED:
            timeline.add_medium(name, None).down(gap.from_ms, GapCause.REFUSED)
        else:  # given up before it was connected
            timeline.interrupted(gap.cause, [name])
    audio = media.get("audio")
    if audio is not None and audio.link is Link.DOWN and (newest_ms or 0) > audio.since_ms:
        # Another process was connected since, and killed before it could write so.
        audio.connected(timeline.connections.add("media", ["audio"]))
    for connection in timeline.connections.open:
        heard_ms = newest_ms if "audio" in connection.media else None
        timeline.lost(connection.number, heard_ms, cause, _DIED, heard=heard)
    signaling = timeline.connections.latest("signaling")
    timeline.pauses.doubt((signaling and signaling.closed_ms) or timeline.start_ms)
    timeline.changed()
