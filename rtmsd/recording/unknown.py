"""The record of what Zoom sends and this version does not know: kept in `events.jsonl`, and counted."""

from collections.abc import Mapping
from typing import Any, Final

from rtmsd.protocol.unknown import Unknown
from rtmsd.recording.events import EventLog
from rtmsd.recording.manifest.unknown_counts import UnknownCounts

MAX_KEPT: Final = 10_000
"""Lines of one stream that are written; the rest is counted."""


class UnknownLog:
    """The keeper of what is unknown: whole, within the bounds of an event, under its name."""

    def __init__(self, events: EventLog, counts: UnknownCounts) -> None:
        self._events = events
        self._counts = counts
        # Names of fields and values have a dot: what is in every keep-alive is counted, and kept once.
        self._left = MAX_KEPT - sum(count for name, count in counts.names.items() if "." not in name)

    def take(
        self,
        what: Unknown,
        fields: Mapping[str, Any],
        zoom_ms: int | None = None,
        *,
        kind: str | None = None,
        most: int = MAX_KEPT,
    ) -> None:
        """Count it, and write a line while there is room.

        Args:
            kind: of the line; by default its name.
            most: so many lines of one name.
        """
        number = self._counts.add(what)
        if number <= most and self._left > 0:
            self._left -= 1
            self._events.write(kind or what.name, zoom_ms, dict(fields))
