"""The messages of a chat as they stood in the end, from its lines. Pure.

Lines may come in any order: of two texts of one message that of an update counts, of two updates the later one; a
deletion is for good; of what one person did with one emoji the last counts. Memory is taken by messages, and not by
how often they were edited.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import attrs

from rtmsd.protocol.chat import read_chat

ChatLine: TypeAlias = Mapping[str, Any]
Key: TypeAlias = str | int
"""A message's id; the number of its line where it has none."""


class State(enum.IntEnum):
    """The state of a message; it only rises."""

    UNSEEN = 0  # something refers to it, and that is all
    SENT = 1
    EDITED = 2
    DELETED = 3


_REACHED: Final[Mapping[str | int | None, State]] = {
    None: State.SENT,
    "new": State.SENT,
    "update": State.EDITED,
    "delete": State.DELETED,
    "add_reaction": State.UNSEEN,
    "remove_reaction": State.UNSEEN,
}
"""The state that a message has at least, by what was done to it."""

_KEYS: Final = {
    **dict.fromkeys(("message_id", "parent_message_id", "session_type", "session_id", "receiver")),
    "files": (),
    "deleted_file_ids": (),
}


class Sent(NamedTuple):
    """The sender of a message, and its receiver: a person, or a session of a type."""

    user_id: int | str | None
    user_name: str | None
    receiver: str | None
    session_type: str | int | None
    session_id: str | None


@attrs.define(eq=False)
class Message:
    """Attributes:
    number: of the first line about it.
    time_ms: when it was sent, as far as that is known.
    sent: None: not known.
    files: their names and sizes, by id.
    """

    number: int
    time_ms: int
    state: State = State.UNSEEN
    sent: Sent | None = None
    parent: str | None = None
    text: str = ""
    files: Mapping[str, tuple[str, object]] = attrs.field(factory=dict)
    _sent_by: State = State.UNSEEN  # what the line was that `sent` is from: a new message tells better than an update
    _said: tuple[State, int] = (State.UNSEEN, 0)  # of the text: what the line was, and when
    _gone: frozenset[str] = frozenset()
    _reactions: dict[tuple[Any, str], tuple[int, bool]] | None = None

    @property
    def reactions(self) -> dict[str, int]:
        """The number of people who show each emoji, the most frequent first."""
        shown = Counter(emoji for (_, emoji), (_, is_on) in (self._reactions or {}).items() if is_on)
        return dict(sorted(shown.items(), key=lambda each: (-each[1], each[0])))

    def take(self, line: ChatLine) -> None:
        """Take what a line does to this message."""
        reached = _REACHED[line["operation"]]
        self.state = max(self.state, reached)
        if reached is State.UNSEEN:
            self._react(line)
        elif reached is not State.DELETED:
            self._say(line, reached)
        if line["deleted_file_ids"]:
            self._gone |= frozenset(line["deleted_file_ids"])
        if self.state is State.DELETED:
            self.text, self.files = "", {}
        elif line["files"] or line["deleted_file_ids"]:
            named = {str(file.get("file_id") or file.get("file_name")): file for file in line["files"]}
            listed = {key: (str(file.get("file_name") or key), file.get("file_size")) for key, file in named.items()}
            self.files = {key: file for key, file in {**self.files, **listed}.items() if key not in self._gone}

    def _say(self, line: ChatLine, by: State) -> None:
        if self.sent is None or by < self._sent_by:
            receiver = line["receiver"] or {}
            name = receiver.get("user_name") or receiver.get("user_id")
            self.sent = Sent(
                line["user_id"],
                line["user_name"],
                None if name is None else str(name),
                line["session_type"],
                line["session_id"],
            )
            self._sent_by, self.time_ms = by, line["timestamp_ms"]
            self.parent = line["parent_message_id"] or self.parent
        if (by, line["timestamp_ms"]) >= self._said:
            self.text, self._said = line["text"], (by, line["timestamp_ms"])

    def _react(self, line: ChatLine) -> None:
        if self._reactions is None:
            self._reactions = {}
        key, time_ms = (line["user_id"], line["text"]), line["timestamp_ms"]
        if key not in self._reactions or time_ms >= self._reactions[key][0]:
            self._reactions[key] = (time_ms, line["operation"] == "add_reaction")


def read_messages(lines: Iterable[ChatLine]) -> tuple[dict[Key, Message], int]:
    """Return the messages, and how many lines did what is not known.

    A parent that no line is about is there as well, unseen, from the time of its first reply.
    """
    messages: dict[Key, Message] = {}
    unknown = 0
    for number, written in enumerate(lines):
        line = {**_KEYS, **written} if "operation" in written else _modern(written)
        if line["operation"] not in _REACHED:
            unknown += 1
            continue
        key: Key = line["message_id"] or number
        if key not in messages:
            messages[key] = Message(number, line["timestamp_ms"])
        messages[key].take(line)
    for message in list(messages.values()):
        if message.parent is not None and message.parent not in messages:
            messages[message.parent] = Message(message.number, message.time_ms)
    return messages, unknown


def _modern(line: ChatLine) -> ChatLine:
    """Return a line of an earlier version, which had Zoom's fields in `details`, as one of now."""
    known = {key: line[key] for key in ("user_id", "user_name")}
    chat = read_chat({**(line.get("details") or {}), **known}, line["text"], line["timestamp_ms"])
    assert chat is not None, "it has a text"
    return attrs.asdict(chat, recurse=False)
