"""The transcript of a stream: lines in order of arrival, cues beside them, repeats left out."""

import contextlib
from collections.abc import Callable
from typing import Any

from rtmsd.protocol.media_data import TranscriptData, UserId
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import CAPTIONS
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.lines import Line, read_lines
from rtmsd.recording.media import captions
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.media.store import IntakeContext, Kept
from rtmsd.recording.media.text import TextStore
from rtmsd.recording.timeline.gaps import Gap


class TranscriptStore(TextStore[TranscriptData]):
    """`transcript.jsonl`, and `transcript.vtt` made from it."""

    media = TranscriptData.media

    def __init__(self, context: IntakeContext) -> None:
        super().__init__(context)
        self._cues = context.maker.existing(CAPTIONS, 0)
        self._is_whole = True

    def restore(self, resumed: ResumedMedia) -> None:
        super().restore(resumed)
        self._cues.cut(resumed.sizes.get(CAPTIONS, 0))

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
            "language_tag": data.language_tag,
            "attribute": data.attribute,
            "received_ms": context.local_ms(),
            "details": data.details,
        }
        if not self._write(line):
            return Kept.REPEAT
        if not self._cues.size_bytes:
            self._cues.append(captions.HEAD.encode())
        self._cues.append(captions.cue(line, context.started_ms).encode(errors="replace"))
        if data.user_id is not None:
            context.participants.named(data.user_id, user_name)
        return Kept.KEPT

    def damaged(self, damage: Damage) -> Gap | None:
        if damage.file is self._cues:  # made again from the lines
            self._cues.restart(damage.size_bytes or 0, captions.HEAD.encode())
            return None
        gap = super().damaged(damage)
        self._is_whole &= gap is None
        return gap

    def last_work(self) -> Callable[[Disk], None] | None:
        """Without lines there are no captions to put in order; where some are gone, their captions are still there."""
        return self._order_captions if self._lines.size_bytes and self._is_whole else None

    def _order_captions(self, disk: Disk) -> None:
        """Make the captions again from the lines on disk."""
        with contextlib.suppress(FileNotFoundError):  # since a moment ago
            lines = read_lines(disk.read(self._lines.path), Line.UTTERANCE)
            content = captions.captions(lines, self._context.started_ms)
            disk.replace(self._cues.path, content.encode(errors="replace"))

    def _identity(self, line: dict[str, Any]) -> object:
        return tuple(line[name] for name in ("user_id", "start_ms", "timestamp_ms", "attribute", "text"))
