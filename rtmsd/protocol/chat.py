"""Chat in media data (message 18): Zoom's fields beside the text, or the text alone."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import attrs

from rtmsd.protocol.reading import Malformed, load_object
from rtmsd.protocol.speakers import UserId, read_name, read_user_id


@attrs.frozen(kw_only=True)
class ChatData:
    """Message 18. `details` is Zoom's chat object (operation, ids, receiver, files); None where Zoom sent only text."""

    media: ClassVar = "chat"
    user_id: UserId | None  # the sender, where Zoom names one
    user_name: str | None
    timestamp_ms: int
    text: str
    details: Mapping[str, Any] | None


_CHAT_KEYS: Final = frozenset(
    {
        "chat_session",
        "operation_type",
        "message_id",
        "parent_message_id",
        "sender",
        "receiver",
        "files",
        "delete_file_id_list",
    }
)
"""Keys that only Zoom puts beside a text: an object without any of them, or text that reads as one, was typed."""


def read_chat(content: Mapping[str, Any], data: object, timestamp_ms: int) -> ChatData | None:
    """Return a chat message, Zoom's fields in `data` or beside it; None where there is neither text nor any of them."""
    inner = _chat_object(data) if isinstance(data, str) else data
    details = inner if isinstance(inner, dict) and not _CHAT_KEYS.isdisjoint(inner) else None
    text = data if details is None else details.get("data")
    beside = {key: content[key] for key in _CHAT_KEYS & content.keys() if content[key] is not None}
    if beside:
        details = {**beside, **(details or {})}
    if not isinstance(data, str | dict) and (data is not None or not beside):
        return None
    sender = details.get("sender") if details is not None else None
    named = sender if isinstance(sender, dict) else {}
    user_id = read_user_id(content)
    return ChatData(
        user_id=read_user_id(named) if user_id is None else user_id,
        user_name=read_name(content.get("user_name")) or read_name(named.get("user_name")),
        timestamp_ms=timestamp_ms,
        text=_typed(text),
        details=details,
    )


def _typed(text: object) -> str:
    """Return a chat's text as it was typed; what is no string, as JSON."""
    if isinstance(text, str):
        return text
    return "" if text is None else json.dumps(text, ensure_ascii=False, separators=(",", ":"))


def _chat_object(text: str) -> dict[str, Any] | None:
    """Return the object that newer servers encode as a string; None for plain text of older ones."""
    try:
        return load_object(text)
    except Malformed:
        return None
