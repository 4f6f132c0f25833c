"""A chat to read: a line a message, replies indented below what they answer. Pure.

A line of ours begins with a time in brackets, one of a longer text with `|`, so that no text can imitate another line.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rtmsd.export.text.messages import Key, Message, Sent, State
from rtmsd.export.text.plain import clock, lines_of, one_line

_INDENT: Final = "    "
_DEEPEST: Final = 8  # replies to replies are indented no further
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB")


def chat(messages: Mapping[Key, Message], origin_ms: int, wants: Callable[[Message], bool]) -> Iterator[str]:
    """Yield the lines of the messages that are wanted, by time; their times are relative to `origin_ms`.

    A reply to what is not wanted stands where a message would.
    """
    wanted = {key: message for key, message in messages.items() if wants(message)}
    in_order = sorted(wanted, key=lambda key: (wanted[key].time_ms, wanted[key].number))
    replies: dict[Key | None, list[Key]] = {}
    for key in in_order:
        parent = wanted[key].parent
        replies.setdefault(parent if parent in wanted else None, []).append(key)
    left = set(wanted)
    for root in (*replies.get(None, ()), *in_order):  # last, what is left: replies to each other in a circle
        stack = [(root, 0)]
        while stack:
            key, depth = stack.pop()
            if key in left:
                left.remove(key)
                yield from _lines(wanted[key], _INDENT * min(depth, _DEEPEST), origin_ms)
                stack += [(reply, depth + 1) for reply in reversed(replies.get(key, ()))]


def in_short(message: Message) -> tuple[str, str]:
    """Return who sent a message, and all that it holds, each on one line."""
    text = " ".join([*_text(message), *_attached(message)]) if message.state is not State.DELETED else "[deleted]"
    edited = " (edited)" if message.state is State.EDITED else ""
    return "" if message.sent is None else _sender(message.sent), text + edited


def _lines(message: Message, indent: str, origin_ms: int) -> Iterator[str]:
    time = clock(message.time_ms - origin_ms)
    edited = ", edited" if message.state is State.EDITED else ""
    first, *more = _text(message)
    sender = "" if message.sent is None else f"{_sender(message.sent)}: "
    yield f"{indent}[{time}{edited}] {sender}{first}".rstrip() + "\n"
    if message.state is State.DELETED:
        return
    for line in more:
        yield f"{indent}  | {line}".rstrip() + "\n"
    for attached in _attached(message):
        yield f"{indent}  {attached}\n"


def _attached(message: Message) -> Iterator[str]:
    for name, size_bytes in message.files.values():
        yield f"file: {one_line(name)}{_size(size_bytes)}"
    if reactions := message.reactions:
        counted = ", ".join(f"{one_line(emoji) or 'reaction'} {count}" for emoji, count in reactions.items())
        yield f"reactions: {counted}"


def _text(message: Message) -> list[str]:
    match message.state:
        case State.UNSEEN:
            return ["[not recorded]"]
        case State.DELETED:
            return ["[deleted]"]
        case _:
            return lines_of(message.text)


def _sender(sent: Sent) -> str:
    name = one_line(sent.user_name or str("somebody" if sent.user_id is None else sent.user_id)) or "somebody"
    if sent.receiver is not None:
        return f"{name} to {one_line(sent.receiver)}"
    match sent.session_type:
        case None | "everyone":
            return name
        case "chat_group":
            return f"{name} to the group {one_line(sent.session_id or '')}".rstrip()
        case "individual":
            return f"{name} in private"
        case str(kind):
            return f"{name} to {kind.replace('_', ' ')}"
        case number:
            return f"{name} to a session of type {number}"


def _size(size_bytes: object) -> str:
    """Return the size of a file in brackets; nothing where it is not known."""
    if not isinstance(size_bytes, int | float) or isinstance(size_bytes, bool) or not 0 <= size_bytes < 10**15:
        return ""
    size, unit = float(size_bytes), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f" ({size:.1f} {_UNITS[unit]})" if unit else f" ({size_bytes} bytes)"
