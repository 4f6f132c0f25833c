"""The transcript of a stream: lines in order of arrival, cues beside them, repeats left out."""

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.media_data import TranscriptData, UserId
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import CAPTIONS
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.lines import Line, json_line, read_lines
from rtmsd.recording.media import captions
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.media.store import IntakeContext, Kept
from rtmsd.recording.media.text import TextStore
from rtmsd.recording.timeline.gaps import Gap

_RECENT: Final = 256
"""So many utterances are remembered to recognise a repeat; a reconnection brings a few."""

_REMEMBERED: Final = 4096
"""Of so many lines it is known where they end, should the file be cut."""


class TranscriptStore(TextStore[TranscriptData]):
    """`transcript.jsonl`, and `transcript.vtt` made from it.

    An utterance that is kept fills no gap: another one of the same time may be lost.
    """

    media = TranscriptData.media

    def __init__(self, context: IntakeContext) -> None:
        super().__init__(context)
        self._cues = context.maker.existing(CAPTIONS, 0)
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._ends: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)  # of the newest lines: offset, and time
        self._is_whole = True

    def restore(self, resumed: ResumedMedia) -> None:
        super().restore(resumed)
        self._cues.cut(resumed.sizes.get(CAPTIONS, 0))
        for line in resumed.recent_lines:
            self._remember(line)

    def _span(self, time_ms: int, data: TranscriptData) -> tuple[int, int]:
        start_ms = self._context.known_ms(data.start_ms) or time_ms
        return start_ms, max(self._context.known_ms(data.end_ms) or time_ms, start_ms + 1)

    def _keep(self, user_id: UserId | None, user_name: str | None, time_ms: int, data: TranscriptData) -> Kept:
        context = self._context
        line: dict[str, Any] = {
            "user_id": data.user_id,
            "user_name": user_name or context.participants.name(data.user_id),
            "text": data.text,
            "start_ms": context.known_ms(data.start_ms),
            "end_ms": context.known_ms(data.end_ms),
            "timestamp_ms": time_ms,
            "language": data.language,
            "attribute": data.attribute,
            "received_ms": context.local_ms(),
        }
        if not self._remember(line):
            return Kept.REPEAT
        if not self._cues.size_bytes:
            self._cues.append(captions.HEAD.encode())
        self._lines.append(json_line(line))
        self._ends.append((self._lines.size_bytes, line["end_ms"] or time_ms))
        self._cues.append(captions.cue(line, context.started_ms).encode(errors="replace"))
        context.participants.named(data.user_id, user_name)
        return Kept.KEPT

    def damaged(self, damage: Damage) -> Gap | None:
        size_bytes, durable_bytes = damage.size_bytes or 0, damage.file.durable_bytes
        if damage.file is self._cues:  # made again from the lines
            self._cues.restart(size_bytes, captions.HEAD.encode())
            return None
        if damage.file is not self._lines:
            return None
        kept_ms = [time_ms for end, time_ms in self._ends if end <= size_bytes]
        lost_ms = [time_ms for end, time_ms in self._ends if end <= durable_bytes]
        from_ms = max(kept_ms) if size_bytes and kept_ms else self._context.started_ms
        to_ms = max(lost_ms) if lost_ms else self._newest_ms or self._context.started_ms
        self._ends = deque(
            ((end - durable_bytes + size_bytes, time_ms) for end, time_ms in self._ends if end > durable_bytes),
            maxlen=_REMEMBERED,
        )
        self._lines.restart(size_bytes)
        self._is_whole = False
        return Gap("transcript", None, from_ms, max(to_ms, from_ms + 1), GapCause.DAMAGED)

    def last_work(self) -> Callable[[Disk], None] | None:
        """Without lines there are no captions to put in order; where some are gone, their captions are still there."""
        return self._order_captions if self._lines.size_bytes and self._is_whole else None

    def _order_captions(self, disk: Disk) -> None:
        """Make the captions again from the lines on disk."""
        with contextlib.suppress(FileNotFoundError):  # since a moment ago
            lines = read_lines(disk.read(self._lines.path), Line.UTTERANCE)
            content = captions.captions(lines, self._context.started_ms)
            disk.replace(self._cues.path, content.encode(errors="replace"))

    def _remember(self, line: dict[str, Any]) -> bool:
        """Note a line as written; False if it was noted before."""
        key = hash(tuple(line[name] for name in ("user_id", "start_ms", "timestamp_ms", "attribute", "text")))
        if key in self._recent:
            return False
        self._recent.append(key)
        self._note_newest(max(line["timestamp_ms"], line["end_ms"] or 0))
        return True
