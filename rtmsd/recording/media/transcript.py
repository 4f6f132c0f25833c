"""The transcript of a stream: lines in order of arrival, cues beside them, repeats left out."""

import contextlib
import json
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from rtmsd.protocol.media_data import TranscriptData
from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.schema import Line, read_lines
from rtmsd.recording.media import captions
from rtmsd.recording.recovery.damage import CAUSE
from rtmsd.recording.timeline.gaps import Gap

_RECENT: Final = 256
"""So many utterances are remembered to tell a repeat; a reconnection brings a few."""

_REMEMBERED: Final = 4096
"""Of so many lines it is known where they end, should the file be cut."""


class Transcript:
    """Attributes:
    newest_ms: end of the newest utterance; None before the first.
    """

    def __init__(self, lines: DiskFile, cues: DiskFile, started_ms: int) -> None:
        self.lines = lines
        self.newest_ms: int | None = None
        self._cues = cues
        self._started_ms = started_ms
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._ends: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # of the newest lines: offset, and time
        self._is_whole = True

    def line(
        self,
        data: TranscriptData,
        user_name: str | None,
        timestamp_ms: int,
        known_ms: Callable[[int], int | None],
        received_ms: int,
    ) -> dict[str, Any]:
        """Return the line for an utterance, its times since the epoch whatever they came as.

        Args:
            known_ms: makes a time of Zoom's one since the epoch; None for one that cannot be.
        """
        return {
            "user_id": data.user_id,
            "user_name": data.user_name or user_name,
            "text": data.text,
            "start_ms": None if data.start_ms is None else known_ms(data.start_ms),
            "end_ms": None if data.end_ms is None else known_ms(data.end_ms),
            "timestamp_ms": timestamp_ms,
            "language": data.language,
            "attribute": data.attribute,
            "received_ms": received_ms,
        }

    def take(self, line: dict[str, Any]) -> bool:
        """Append a line; False for a repeat."""
        if not self.remember(line):
            return False
        if not self._cues.size_bytes:
            self._cues.append(captions.HEAD.encode())
        self.lines.append(json_line(line))
        self._ends.append((self.lines.size_bytes, line["end_ms"] or line["timestamp_ms"]))
        self._cues.append(captions.cue(line, self._started_ms).encode(errors="replace"))
        return True

    def damaged(self, damage: Damage) -> Gap | None:
        """A file lost what was on disk: it goes on behind what is left. Returns what is missing."""
        size_bytes, durable_bytes = damage.size_bytes or 0, damage.file.durable_bytes
        if damage.file is self._cues:  # made again from the lines
            self._cues.restart(size_bytes, captions.HEAD.encode())
            return None
        if damage.file is not self.lines:
            return None
        kept_ms = [time_ms for end, time_ms in self._ends if end <= size_bytes]
        lost_ms = [time_ms for end, time_ms in self._ends if end <= durable_bytes]
        from_ms = max(kept_ms) if size_bytes and kept_ms else self._started_ms
        to_ms = max(lost_ms) if lost_ms else self.newest_ms or self._started_ms
        self._ends = deque(
            ((end - durable_bytes + size_bytes, time_ms) for end, time_ms in self._ends if end > durable_bytes),
            maxlen=_REMEMBERED,
        )
        self.lines.restart(size_bytes)
        self._is_whole = False
        return Gap("transcript", None, from_ms, max(to_ms, from_ms + 1), CAUSE)

    def sort_captions(self, disk: Disk) -> None:
        """Make the captions again from the lines on disk; nothing to do without any, nor where some are gone whose
        captions are still there.
        """
        if self.lines.size_bytes and self._is_whole:
            with contextlib.suppress(FileNotFoundError):  # since a moment ago
                lines = read_lines(disk.read(self.lines.path), Line.UTTERANCE)
                disk.replace(self._cues.path, captions.captions(lines, self._started_ms).encode(errors="replace"))

    def remember(self, line: dict[str, Any]) -> bool:
        """Note a line as written; False if it was noted before."""
        key = hash(tuple(line[name] for name in ("user_id", "start_ms", "timestamp_ms", "attribute", "text")))
        if key in self._recent:
            return False
        self._recent.append(key)
        newest_ms = max(line["timestamp_ms"], line["end_ms"] or 0)
        self.newest_ms = max(self.newest_ms or newest_ms, newest_ms)
        return True


def json_line(value: dict[str, Any]) -> bytes:
    """One line of JSON, whatever is in it: what JSON cannot hold becomes a string, and half a character an escape."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(value, separators=(",", ":"), default=str).encode() + b"\n"


def text_entry(media: str, file: DiskFile, started_ms: int, newest_ms: int | None) -> list[dict[str, Any]]:
    """Return the manifest's entry of a file of lines, nothing as long as that is empty."""
    if not file.size_bytes:
        return []
    return [
        {
            "path": file.path.name,
            "media": media,
            "user_id": None,
            "start_ms": started_ms,
            "duration_ms": max(0, (newest_ms or 0) - started_ms),
            "bytes": file.size_bytes,
        }
    ]
