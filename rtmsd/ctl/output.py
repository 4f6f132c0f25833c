"""The output of a verb: JSON with --json, a table on a terminal, else tab-separated lines."""

import enum
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TextIO

from rtmsd.ctl.formatting import UNKNOWN, printable
from rtmsd.ctl.table import GAP, MIN_LAST_WIDTH, chosen, pad, widths_of, wrapped

Item = Mapping[str, Any]


class Style(enum.Enum):
    """SGR parameters."""

    GOOD = "32"
    WARN = "33"
    BAD = "31"
    DIM = "2"
    HEAD = "1"


STATE_STYLES: Final[Mapping[str, Style]] = {
    **dict.fromkeys(("active", "ok", "running"), Style.GOOD),
    **dict.fromkeys(("connecting", "recovering", "paused", "waiting", "warning"), Style.WARN),
    **dict.fromkeys(("failed", "refused", "dead", "revoked", "silent"), Style.BAD),
    **dict.fromkeys(("ended", "done", "skipped"), Style.DIM),
}
"""Colour by the word itself: states of streams, results of checks."""


class Column(NamedTuple):
    """A column of a table, or a line of a record.

    Attributes:
        cell: the text of an item, on a terminal.
        plain: the text where a program may read it; None: the same.
        rank: 0: always shown; else what does not fit a terminal is left out, the highest first, and so is what is
            unknown of all items.
    """

    title: str
    cell: Callable[[Item], Any]
    plain: Callable[[Item], Any] | None = None
    right: bool = False
    rank: int = 0


def key(name: str) -> Callable[[Item], Any]:
    """Return a cell that is the value of `name`, a dash when there is none."""
    return lambda item: UNKNOWN if item.get(name) is None else item[name]


class Output:
    """Standard output of rtmsctl.

    Args:
        terminal: `stream` is one, so a person reads it.
        colour: ANSI colours may be used; never without `terminal`.
    """

    def __init__(self, stream: TextIO, *, as_json: bool, terminal: bool, colour: bool) -> None:
        self.as_json = as_json
        self.terminal = terminal
        self._stream = stream
        self._colour = colour

    @classmethod
    def to(cls, stream: TextIO, *, as_json: bool) -> "Output":
        """Return the output for `stream` as the environment wants it (NO_COLOR, TERM=dumb)."""
        terminal = stream.isatty()
        colour = terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(stream, as_json=as_json, terminal=terminal, colour=colour)

    def line(self, text: str = "") -> None:
        """Write a line now: output may pause after it."""
        print(text, file=self._stream, flush=True)

    def json(self, value: Any) -> None:
        """Write one JSON text: indented on a terminal, else one line."""
        self.line(json.dumps(value, indent=2 if self.terminal else None))

    def json_line(self, value: Any) -> None:
        """Write one JSON text on one line, wherever it goes."""
        self.line(json.dumps(value))

    def labelled(self, label: str, text: str, style: Style | None = None, *, between: str = ": ") -> None:
        """Write a text and what it is about, for programs with a tab between them."""
        self.line(printable(label) + (between if self.terminal else "\t") + self.styled(text, style))

    def rows(self, items: Sequence[Item], columns: Sequence[Column], *, empty: str = "none") -> None:
        """Write a list, with titles; the word for an empty one is for people only."""
        if self.as_json:
            self.json(items)
        elif not self.terminal:
            self.line("\t".join(column.title for column in columns))
            for item in items:
                self.line("\t".join(plain(column, item) for column in columns))
        elif not items:
            self.line(empty)
        else:
            self._table(items, columns)

    def record(self, item: Item, columns: Sequence[Column]) -> None:
        """Write one object, a line for each column."""
        if self.as_json:
            self.json(item)
        elif not self.terminal:
            for column in columns:
                self.line(f"{column.title}\t{plain(column, item)}")
        else:
            width = max(len(column.title) for column in columns)
            for column in columns:
                text = printable(column.cell(item))
                self.line(f"{self.styled(column.title.ljust(width), Style.HEAD)}  {self._by_word(text, text)}")

    def section(self, title: str) -> None:
        """Begin a section: an empty line and the title."""
        self.line()
        self.line(self.styled(title.upper(), Style.HEAD) if self.terminal else title)

    def said(self, item: Item, sentence: str) -> None:
        """Write the result: a sentence for people, with --json the daemon's answer."""
        if self.as_json:
            self.json(item)
        else:
            self.line(printable(sentence))

    def styled(self, text: str, style: Style | None) -> str:
        """Return `text` in colour where colour may be used."""
        return f"\x1b[{style.value}m{text}\x1b[0m" if self._colour and style else text

    def _by_word(self, word: str, text: str) -> str:
        return self.styled(text, STATE_STYLES.get(word))

    def _table(self, items: Sequence[Item], columns: Sequence[Column]) -> None:
        rows = [[column.title for column in columns]]
        rows += [[printable(column.cell(item)) for column in columns] for item in items]
        width = shutil.get_terminal_size().columns
        kept = shown(columns, rows, width)
        widths = [widths_of(rows)[index] for index in kept]
        before = sum(widths[:-1]) + len(GAP) * (len(widths) - 1)
        for number, row in enumerate(rows):
            lines = wrapped(row[kept[-1]], max(MIN_LAST_WIDTH, width - before))
            cells = []
            for index, cell_width in zip(kept, widths, strict=True):
                is_last = index == kept[-1]
                text = lines[0] if is_last else row[index]
                aligned = text if is_last and not columns[index].right else pad(text, cell_width, columns[index].right)
                cells.append(self._by_word(text, aligned) if number else self.styled(aligned, Style.HEAD))
            self.line(GAP.join(cells))
            for line in lines[1:]:
                self.line(" " * before + line)


def plain(column: Column, item: Item) -> str:
    """Return a cell for programs: a dash for an unknown value."""
    value = (column.plain or column.cell)(item)
    return UNKNOWN if value is None else printable(value)


def shown(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the columns that a terminal of this width shows, without those that are empty for all items.

    Args:
        rows: titles first.
    """
    said = [
        index
        for index, column in enumerate(columns)
        if not column.rank or any(row[index] not in ("", UNKNOWN) for row in rows[1:])
    ]
    widths = widths_of(rows)
    fitting = chosen([widths[index] for index in said], [columns[index].rank for index in said], width)
    return [said[position] for position in fitting]
