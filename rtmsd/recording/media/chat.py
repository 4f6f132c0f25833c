"""The chat of a stream: lines in order of arrival."""

from typing import Any, Final

import attrs

from rtmsd.protocol.media_data import ChatData, UserId
from rtmsd.recording.manifest.lines import json_line
from rtmsd.recording.media.store import Kept
from rtmsd.recording.media.text import TextStore

_BY_ARRIVAL: Final = frozenset({"received_ms", "user_name"})
"""Keys in which a repeat may differ: the roster may know the name by then."""


class ChatStore(TextStore[ChatData]):
    """`chat.jsonl`."""

    media = ChatData.media

    def _keep(self, user_id: UserId | None, user_name: str | None, time_ms: int, data: ChatData) -> Kept:
        participants = self._context.participants
        fields = attrs.asdict(data, recurse=False)
        line = {
            "user_id": user_id,
            "user_name": user_name or participants.name(user_id),
            "text": fields.pop("text"),
            "timestamp_ms": time_ms,
            "received_ms": self._context.local_ms(),
        }
        if not self._write({**line, **{key: value for key, value in fields.items() if key not in line}}):
            return Kept.REPEAT
        people = [(user_id, user_name)]
        if data.receiver is not None:
            people.append((data.receiver["user_id"], data.receiver["user_name"]))
        for person, name in people:
            if person is not None:
                participants.named(person, name)
        return Kept.KEPT

    def _identity(self, line: dict[str, Any]) -> object:
        return json_line({key: value for key, value in line.items() if key not in _BY_ARRIVAL})
