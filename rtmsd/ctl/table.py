"""A table fitted to the width of a terminal: less important columns left out, the last one wrapped. Pure."""

import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Final

GAP: Final = "  "
MIN_LAST_WIDTH: Final = 20  # of the last column, before others are left out


def width_of(text: str) -> int:
    """Return how many cells of a terminal a printable text takes: Chinese takes two a character, accents none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int, right: bool) -> str:
    """As `str.ljust` or `str.rjust`, in cells."""
    filler = " " * (width - width_of(text))
    return filler + text if right else text + filler


def widths_of(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how wide each column is."""
    return [max(map(width_of, column)) for column in zip(*rows, strict=True)]


def chosen(widths: Sequence[int], ranks: Sequence[int], width: int) -> list[int]:
    """Return the columns that fit, in their order: of rank 0 all, of the others first those of low rank.

    Args:
        widths: of each column; the last one can be wrapped, if it has `MIN_LAST_WIDTH`.
    """
    kept = list(range(len(widths)))

    def needed() -> int:
        cells = [widths[index] for index in kept]
        if kept and kept[-1] == len(widths) - 1:
            cells[-1] = min(cells[-1], MIN_LAST_WIDTH)
        return sum(cells) + len(GAP) * (len(cells) - 1)

    for index in sorted(kept, key=lambda index: -ranks[index]):
        if not ranks[index] or needed() <= width:
            break
        kept.remove(index)
    return kept


def wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text, all of it."""
    if width_of(text) <= width:
        return [text]
    narrow = width if text.isascii() else max(1, width // 2)
    return textwrap.wrap(text, max(1, narrow), break_on_hyphens=False) or [text]
