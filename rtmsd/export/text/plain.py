"""Names and texts of other people, made safe to be shown in a line of ours."""

import re
import unicodedata
from typing import Final

from rtmsd.export.span import write_offset

_OTHER_LINES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that end a line, or are no text."""

_FORMATTING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Embeddings, overrides and isolates: they change the order of what follows them."""

_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_ISOLATE: Final = "\u2068"
_END: Final = "\u2069"


def one_line(text: str) -> str:
    """Return a text on one line, which leaves the order of what stands around it alone."""
    return isolated(" ".join(_clean(text).split()))


def lines_of(text: str) -> list[str]:
    """Return the lines of a text, at least one, each as `one_line` would return it, spaces aside."""
    return [isolated(_clean(line).rstrip()) for line in text.splitlines()] or [""]


def isolated(text: str) -> str:
    """Isolate a text that holds something written from right to left."""
    if text.isascii() or not any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text):
        return text
    return f"{_ISOLATE}{text}{_END}"


def _clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = _FORMATTING.sub("", text)
    return "".join(" " if unicodedata.category(char) in _OTHER_LINES else char for char in text)


def clock(time_ms: int) -> str:
    """Return a time since the start as H:MM:SS; what was before it, as the start."""
    return write_offset(max(0, time_ms)).partition(".")[0]
