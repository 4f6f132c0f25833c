"""Events, transcript and chat of all parts, in the order of time and without repeats. Pure."""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeAlias

from rtmsd.recording.manifest.lines import json_line

Line: TypeAlias = dict[str, Any]

_OF_ARRIVAL: Final = frozenset({"received_ms", "user_name", "at_ms"})
"""Keys in which what one member received may differ from what another one did."""


def join_lines(parts: Sequence[Sequence[Line]], time_of: Callable[[Line], int | None]) -> list[Line]:
    """Return the lines of all parts. Those of one stay in their order; a line that an earlier part has, too, is left
    out.

    Args:
        parts: in the order of their tenures.
        time_of: when a line was; None: not told, so it belongs behind the one before, and is no repeat.
    """
    known: set[bytes] = set()
    left: list[list[tuple[int, Line]]] = []
    for lines in parts:
        times = list(accumulate((time_of(line) or 0 for line in lines), max))
        identities = [None if time_of(line) is None else _identity(line) for line in lines]
        left.append(
            [
                (time_ms, line)
                for time_ms, line, identity in zip(times, lines, identities, strict=True)
                if identity not in known
            ]
        )
        known.update(identity for identity in identities if identity is not None)
    return [line for _, line in heapq.merge(*left, key=lambda each: each[0])]


def _identity(line: Line) -> bytes:
    return json_line({key: line[key] for key in sorted(line.keys() - _OF_ARRIVAL)})


def time_of_text(line: Line) -> int | None:
    time_ms: int = line["timestamp_ms"]
    return time_ms


def time_of_event(line: Line) -> int | None:
    """Return Zoom's time; what has none is of ours, as are the kinds that only say how this member was connected."""
    zoom_ms = line.get("zoom_ms")
    return zoom_ms if type(zoom_ms) is int and line["kind"] != "connection" else None


def renumbered(lines: Iterable[Line], numbers: Mapping[int, int]) -> list[Line]:
    """Return lines with the numbers that connections have in the joined recording."""
    return [
        {**line, "connection": numbers[line["connection"]]} if line.get("connection") in numbers else line
        for line in lines
    ]
