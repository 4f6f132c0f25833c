"""The chat of a stream: lines in order of arrival."""

import attrs

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.media_data import ChatData, UserId
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.lines import json_line
from rtmsd.recording.media.store import Kept
from rtmsd.recording.media.text import TextStore
from rtmsd.recording.timeline.gaps import Gap


class ChatStore(TextStore[ChatData]):
    media = ChatData.media

    def _keep(self, user_id: UserId | None, user_name: str | None, time_ms: int, data: ChatData) -> Kept:
        times = {"timestamp_ms": time_ms, "received_ms": self._context.local_ms()}
        self._lines.append(json_line(attrs.asdict(data, recurse=False) | times))
        return Kept.KEPT

    def damaged(self, damage: Damage) -> Gap | None:
        if damage.file is not self._lines:
            return None
        self._lines.restart(damage.size_bytes or 0)
        started_ms = self._context.started_ms
        return Gap("chat", None, started_ms, max(self._context.timeline.clock_ms, started_ms + 1), GapCause.DAMAGED)
