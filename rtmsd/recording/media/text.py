"""Media that are text: one line of JSON for each message, in one file for everybody, repeats left out."""

from abc import abstractmethod
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.lines import MEDIA_FILES, json_line
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.media.store import Data, IntakeContext, MediaStore
from rtmsd.recording.timeline.gaps import Gap

_RECENT: Final = 256
"""Lines that are remembered to recognise a repeat; a reconnection brings a few."""

_REMEMBERED: Final = 4096
"""Lines of which it is known where they end, should the file be cut."""


class TextStore(MediaStore[Data]):
    """The base of what keeps lines, in `<media>.jsonl`.

    A message that is kept fills no gap: another one of the same time may be lost.
    """

    def __init__(self, context: IntakeContext) -> None:
        super().__init__(context)
        self._lines = context.maker.existing(MEDIA_FILES[self.media], 0)
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._ends: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # of the newest lines: offset, `_latest_ms`

    @property
    def received_bytes(self) -> int:
        return self._lines.received_bytes

    def restore(self, resumed: ResumedMedia) -> None:
        self._lines.cut(resumed.sizes.get(self._lines.path.name, 0))
        for line in resumed.recent_lines.get(self.media, ()):
            self._remember(line)

    @abstractmethod
    def _identity(self, line: dict[str, Any]) -> object:
        """Return what two lines have in common if one repeats the other, to be hashed."""

    def _write(self, line: dict[str, Any]) -> bool:
        """Put a line into the file; False for a repeat."""
        if not self._remember(line):
            return False
        data = json_line(line)
        self._lines.append(data)
        self._context.copy_line(self.media, data)
        self._ends.append((self._lines.size_bytes, _latest_ms(line)))
        return True

    def _remember(self, line: dict[str, Any]) -> bool:
        """Note a line as written; False if it was noted before."""
        key = hash(self._identity(line))
        if key in self._recent:
            return False
        self._recent.append(key)
        self._note_newest(_latest_ms(line))
        return True

    def damaged(self, damage: Damage) -> Gap | None:
        if damage.file is not self._lines:
            return None
        size_bytes, durable_bytes = damage.size_bytes or 0, damage.file.durable_bytes
        kept_ms = [time_ms for end, time_ms in self._ends if end <= size_bytes]
        lost_ms = [time_ms for end, time_ms in self._ends if end <= durable_bytes]
        from_ms = max(kept_ms) if size_bytes and kept_ms else self._context.started_ms
        to_ms = max(lost_ms) if lost_ms else self._newest_ms or self._context.started_ms
        self._ends = deque(
            ((end - durable_bytes + size_bytes, time_ms) for end, time_ms in self._ends if end > durable_bytes),
            maxlen=_REMEMBERED,
        )
        self._lines.restart(size_bytes)
        return Gap(self.media, None, from_ms, max(to_ms, from_ms + 1), GapCause.DAMAGED)

    def entries(self) -> list[FileEntry]:
        if not self._lines.size_bytes:
            return []
        started_ms = self._context.started_ms
        return [
            FileEntry(
                path=self._lines.path.name,
                media=self.media,
                user_id=None,
                start_ms=started_ms,
                duration_ms=max(0, (self._newest_ms or 0) - started_ms),
                bytes=self._lines.size_bytes,
            )
        ]


def _latest_ms(line: Mapping[str, Any]) -> int:
    """Return when a line was sent or, if that is later, until when was spoken."""
    latest_ms: int = max(line["timestamp_ms"], line.get("end_ms") or 0)
    return latest_ms
