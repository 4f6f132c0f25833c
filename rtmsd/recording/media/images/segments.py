"""Segments of a file of pictures: a new one begins with each connection, and where the size changes."""

from collections.abc import Iterable
from typing import Final

import attrs
from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.recording.manifest.schema import FileEntry, SegmentEntry
from rtmsd.recording.media.images.head import Size

_MAX_SEGMENTS: Final = 1000


@attrs.define
class SegmentBudget:
    """The bound of the segments in a manifest, against pictures that change their size all the time.

    Attributes:
        listed: how many there are, besides the first of each file.
        unlisted: those past the bound.
    """

    listed: int = 0
    unlisted: int = 0

    def admit(self) -> bool:
        """Count another one. Returns whether it may be listed."""
        if self.listed >= _MAX_SEGMENTS:
            self.unlisted += 1
            return False
        self.listed += 1
        return True


class Segments:
    """Those of one file, as its messages come.

    Attributes:
        listed: for the manifest, in order.
        size: of the newest pictures; None: unknown.

    Args:
        listed: known before.
        connection: of the newest message before; None: the next message begins a segment.
    """

    def __init__(
        self, budget: SegmentBudget, listed: Iterable[SegmentEntry] = (), connection: int | None = None
    ) -> None:
        self.listed = list(listed)
        self.size = size_of(self.listed[-1]) if self.listed else None
        self._budget = budget
        self._connection = connection
        budget.listed += max(0, len(self.listed) - 1)
        self._is_listed = True  # the newest one

    def note(self, from_ms: int, offset: int, connection: int, size: Size | None) -> bool:
        """Note a message. Returns whether the list changed, so that the manifest has to be written.

        Args:
            size: as its head says; None: it says nothing, and the size stays as it was on this connection.
        """
        is_continued = connection == self._connection
        if is_continued and (size is None or size == self.size):
            return False
        is_learned = is_continued and self.size is None  # by the first message of the segment that says so
        self._connection, self.size = connection, size
        width, height = size or (None, None)
        if is_learned and self._is_listed:
            self.listed[-1] = replace(self.listed[-1], width=width, height=height)
        elif not is_learned:
            self._is_listed = not self.listed or self._budget.admit()
            if self._is_listed:
                self.listed.append(SegmentEntry(from_ms, offset, width, height, connection))
        return self._is_listed


def listed_segments(entry: FileEntry) -> list[SegmentEntry]:
    """Return those of an entry; none of an earlier recording."""
    return [] if entry.segments is UNSET else entry.segments


def with_segments(entry: FileEntry, codec: str | None, segments: Iterable[SegmentEntry]) -> FileEntry:
    """Return an entry with the fields that are about pictures."""
    listed = list(segments)
    size = next((size for each in reversed(listed) if (size := size_of(each)) is not None), None)
    width, height = size or (UNSET, UNSET)
    return replace(entry, codec=codec or UNSET, width=width, height=height, segments=listed)


def size_of(segment: SegmentEntry) -> Size | None:
    """Return the size of the pictures of a segment; None: unknown."""
    return None if segment.width is None or segment.height is None else (segment.width, segment.height)
