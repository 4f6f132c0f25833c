"""The timeline that an earlier process left, taken up: what was connected is lost since it was last heard. Pure."""

import math

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import Manifest
from rtmsd.recording.timeline.connections import Connections
from rtmsd.recording.timeline.gaps import Gap
from rtmsd.recording.timeline.medium import Link, Medium
from rtmsd.recording.timeline.pauses import Pauses
from rtmsd.recording.timeline.timeline import Timeline


def resume_timeline(manifest: Manifest, newest_ms: int | None, changes: ChangeCounter | None = None) -> Timeline:
    """Return the timeline that a manifest describes, of a daemon that was killed or stopped.

    Args:
        newest_ms: end of the newest audio in the files.
    """
    gaps = [Gap.from_entry(gap) for gap in (*manifest.gaps, *manifest.gaps_within)]
    timeline = Timeline(manifest.started_ms, changes, (gap for gap in gaps if gap.to_ms < math.inf))
    timeline.connections = Connections(manifest.connections)
    timeline.pauses = Pauses(manifest.pauses, timeline.changes)
    timeline.clock_ms = max(manifest.clock_ms, newest_ms or 0, timeline.start_ms)
    if manifest.ended_ms is None:
        _lose_all(timeline, {gap.media: gap for gap in gaps if gap.to_ms == math.inf}, newest_ms)
    return timeline


def _lose_all(timeline: Timeline, going_on: dict[str, Gap], newest_ms: int | None) -> None:
    media: dict[str, Medium] = {}
    for connection in timeline.connections:
        for name in connection.media:
            medium = media[name] = timeline.add_medium(name, connection)
            gap = going_on.get(name)
            if gap is not None:
                medium.down(gap.from_ms, gap.cause)
            elif connection.closed_ms is not None:
                medium.down(connection.closed_ms, GapCause.DAEMON_RESTART)
            if connection.closed_ms is None and gap is not None:
                medium.connected(connection)
    for name, gap in going_on.items():
        if gap.cause == GapCause.REFUSED and name not in media:
            timeline.add_medium(name, None).down(gap.from_ms, GapCause.REFUSED)
    audio = media.get("audio")
    if audio is not None and audio.link is Link.DOWN and (newest_ms or 0) > audio.since_ms:
        # Another process was connected since, and killed before it could write so.
        audio.connected(timeline.connections.add("media", ["audio"]))
    for connection in timeline.connections.open:
        heard_ms = newest_ms if "audio" in connection.media else None
        timeline.lost(connection.number, heard_ms, GapCause.DAEMON_RESTART, "daemon restarted")
    signaling = timeline.connections.latest("signaling")
    timeline.pauses.doubt((signaling and signaling.closed_ms) or timeline.start_ms)
    timeline.changed()
