"""Chat in media data (message 18): Zoom's fields within `data`, as an object or as JSON text, or beside it."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final

import attrs

from rtmsd.protocol.bounds import bounded_id, bounded_object
from rtmsd.protocol.reading import Malformed, load_object
from rtmsd.protocol.speakers import UserId, read_name, read_number, take, take_user_id

OPERATIONS: Final = {1: "new", 2: "delete", 3: "update", 4: "add_reaction", 5: "remove_reaction"}
"""The names of Zoom's `operation_type`."""

SESSION_TYPES: Final = {
    1: "everyone",
    2: "individual",
    3: "chat_group",
    4: "hosts_and_panelists",
    5: "individual_cc_hosts_and_panelists",
}
"""The names of the `type` of a `chat_session`."""


@attrs.frozen(kw_only=True)
class ChatData:
    """Message 18: a text, or what was done to an earlier one. What Zoom did not say is None.

    Attributes:
        user_id: the sender.
        text: empty where there is none; of a reaction, the emoji.
        operation: a name of `OPERATIONS`, else the number. None counts as new.
        session_type: a name of `SESSION_TYPES`, else the number.
        receiver: `user_id`, `user_name`, and what else was said of that person; None: it is not for one person.
        files: as Zoom describes them: `file_id`, `file_name`, `file_size`.
        details: all other fields, and those that could not be read.
    """

    media: ClassVar = "chat"
    user_id: UserId | None
    user_name: str | None
    text: str
    timestamp_ms: int
    operation: str | int | None = None
    message_id: str | None = None
    parent_message_id: str | None = None
    session_type: str | int | None = None
    session_id: str | None = None
    receiver: Mapping[str, Any] | None = None
    files: tuple[Mapping[str, Any], ...] = ()
    deleted_file_ids: tuple[str, ...] = ()
    details: Mapping[str, Any] | None = None


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
"""Keys that only Zoom puts beside a text: JSON text without any of them was typed."""


def read_chat(content: Mapping[str, Any], data: object, timestamp_ms: int) -> ChatData | None:
    """Return a chat message; None where there is neither text nor any of Zoom's fields.

    Source: Zoom's samples and libraries of July 2026, which differ in where the fields are.
    """
    left = {key: value for key, value in content.items() if key not in {"data", "timestamp"} and value is not None}
    is_told_beside = "operation_type" in left or "message_id" in left  # so that JSON text was typed by somebody
    inner = _chat_object(data) if isinstance(data, str) and not is_told_beside else data
    if isinstance(inner, dict):
        data = inner.get("data")
        inside = {key: value for key, value in inner.items() if key != "data" and value is not None}
        replaced = {key: left[key] for key in left.keys() & inside.keys() if left[key] != inside[key]}
        left |= inside | ({"content": replaced} if replaced else {})
    elif not isinstance(data, str) and _CHAT_KEYS.isdisjoint(left):
        return None
    # From here on, what is read is taken away, so that the rest is left.
    sender, session, receiver = (_object(left, key) for key in ("sender", "chat_session", "receiver"))
    user_id, user_name = take_user_id(sender), take(sender, "user_name", read_name)
    if user_id is None or user_id == take_user_id(dict(left)):  # one that is named otherwise beside it is kept
        user_id = take_user_id(left)
        user_name = take(left, "user_name", read_name) or user_name
    files, deleted = take(left, "files", _read_files), take(left, "delete_file_id_list", _read_ids)
    chat = ChatData(
        user_id=user_id,
        user_name=user_name,
        text=_typed(data),
        timestamp_ms=timestamp_ms,
        operation=take(left, "operation_type", partial(_name_of, OPERATIONS)),
        message_id=take(left, "message_id", _read_id),
        parent_message_id=take(left, "parent_message_id", _read_id),
        session_type=take(session, "type", partial(_name_of, SESSION_TYPES)),
        session_id=take(session, "id", _read_id),
        receiver=_receiver(left, receiver) if receiver else None,
        files=files or (),
        deleted_file_ids=deleted or (),
    )
    left |= {key: rest for key, rest in (("sender", sender), ("chat_session", session)) if rest}
    return _bounded(chat, left)


def _object(left: dict[str, Any], key: str) -> dict[str, Any]:
    """Take an object away, and return it, without what is null; what is none stays."""
    value = left.get(key)
    if not isinstance(value, dict):
        return {}
    del left[key]
    return {name: inner for name, inner in value.items() if inner is not None}


def _receiver(left: dict[str, Any], receiver: dict[str, Any]) -> dict[str, Any]:
    """Return a receiver, with what else was said of that person; an id or a name that cannot be read goes back."""
    named = {"user_id": take_user_id(receiver), "user_name": take(receiver, "user_name", read_name)}
    if unread := {key: receiver.pop(key) for key in named if key in receiver}:
        left["receiver"] = unread
    return named | receiver


def _bounded(chat: ChatData, details: Mapping[str, Any]) -> ChatData:
    """Return the message with its details; lists and objects are cut where they are too large."""
    fields = {"receiver": chat.receiver, "files": chat.files, "deleted_file_ids": chat.deleted_file_ids}
    kept, is_whole = bounded_object({**fields, "details": details})
    kept_details = kept.get("details", {}) if is_whole else {**kept.get("details", {}), "is_cut": True}
    return attrs.evolve(
        chat,
        receiver=kept.get("receiver"),
        files=tuple(kept.get("files", ())),
        deleted_file_ids=tuple(kept.get("deleted_file_ids", ())),
        details=kept_details or None,
    )


def _read_id(value: object) -> str | None:
    if isinstance(value, str):
        return bounded_id(value) or None
    number = read_number(value)
    return None if number is None else str(number)


def _read_ids(value: object) -> tuple[str, ...] | None:
    ids = [_read_id(each) for each in value] if isinstance(value, list) else [None]
    known = tuple(each for each in ids if each is not None)
    return known if len(known) == len(ids) else None


def _read_files(value: object) -> tuple[Mapping[str, Any], ...] | None:
    return tuple(value) if isinstance(value, list) and all(isinstance(each, dict) for each in value) else None


def _name_of(names: Mapping[int, str], value: object) -> str | int | None:
    number = read_number(value)
    return None if number is None else names.get(number, number)


def _typed(text: object) -> str:
    """Return a chat's text as it was typed; what is no string, as JSON."""
    if isinstance(text, str):
        return text
    return "" if text is None else json.dumps(text, ensure_ascii=False, separators=(",", ":"))


def _chat_object(text: str) -> dict[str, Any] | None:
    """Return the object that newer servers encode as a string; None for text that somebody typed."""
    try:
        value = load_object(text)
    except Malformed:
        return None
    return None if _CHAT_KEYS.isdisjoint(value) else value
