"""Events, transcript and chat of all parts, in the order of time and without repeats, with those lines in their places
that the engine's log alone has. Pure.
"""

import contextlib
import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec

from rtmsd.recording.manifest.lines import FILES, json_line, read_line
from rtmsd.recording.recovery.damage import EVENT

Line: TypeAlias = dict[str, Any]
TimeOf: TypeAlias = Callable[[Line], int | None]
"""Returns when a line was, by Zoom; None: not told, so it belongs behind the one before, if there is one."""

_OF_ARRIVAL: Final = frozenset({"received_ms", "user_name", "at_ms", "connection"})
"""Keys in which what one member received may differ from what another one did."""

_FIRST: Final = itemgetter(0)


class Logged(msgspec.Struct, frozen=True):
    """Lines of which the owner of a stream gave the engine a copy, in one append.

    Attributes:
        place: in the engine.
        token: of the tenure in which they were written.
        n: counts within the tenure.
        lines: JSON, by the file's name without its suffix.
    """

    place: int
    token: int
    n: int
    lines: dict[str, tuple[str, ...]]

    def of(self, name: str) -> Iterator[Line]:
        """Yield the lines of a file, without what is no such line."""
        for line in self.lines.get(name.removesuffix(".jsonl"), ()):
            with contextlib.suppress(ValueError):
                yield read_line(line.encode(), FILES[name])


def join_lines(parts: Sequence[Sequence[Line]], time_of: TimeOf) -> list[Line]:
    """Return the lines of all parts, which are in the order of their tenures. Those of one stay in their order; a line
    that an earlier part has, too, is left out.
    """
    known: set[bytes] = set()
    left: list[list[tuple[int, Line]]] = []
    for lines in parts:
        first_ms = next((time_ms for line in lines if (time_ms := time_of(line)) is not None), 0)
        times = accumulate((time_of(line) or first_ms for line in lines), max)
        identities = [_identity(line, time_of) for line in lines]
        left.append(
            [
                (time_ms, line)
                for time_ms, line, identity in zip(times, lines, identities, strict=True)
                if identity not in known
            ]
        )
        known.update(identities)
    return [line for _, line in heapq.merge(*left, key=_FIRST)]


def fill(joined: Sequence[Line], logged: Iterable[tuple[int, Line]], time_of: TimeOf) -> tuple[list[Line], int]:
    """Return the joined lines with those that only the log has, and how many these are.

    A line's place is between its neighbours of the same tenure in the log, and by its time among what is between these.

    Args:
        logged: token and line, in the order in which they were written. What comes again is a repeat.
    """
    times = list(accumulate((time_of(line) or 0 for line in joined), max))
    places = {_identity(line, time_of): at for at, line in enumerate(joined)}
    seen: set[bytes] = set()
    found: list[tuple[tuple[int, float], Line]] = []  # each with its place, and its time among those of that place
    time_ms = 0
    for _, tenure in groupby(logged, key=_FIRST):
        run: list[tuple[int, Line]] = []  # lines that are missing since the last one that is not
        low, latest_ms = 0, None
        for _, line in tenure:
            latest_ms = max(filter(None, (latest_ms, time_of(line))), default=None)
            time_ms = latest_ms or time_ms
            identity = _identity(line, time_of)
            if identity in seen:
                continue
            seen.add(identity)
            if (at := places.get(identity)) is None:
                run.append((time_ms, line))
            else:
                found += _placed(run, times, low, at)
                run, low = [], at + 1
        found += _placed(run, times, low, len(joined))
    known = (((at, math.inf), line) for at, line in enumerate(joined))
    filled = heapq.merge(sorted(found, key=_FIRST), known, key=_FIRST)
    return [line for _, line in filled], len(found)


def _placed(
    run: Iterable[tuple[int, Line]], times: Sequence[int], low: int, high: int
) -> Iterator[tuple[tuple[int, float], Line]]:
    """Yield lines with the numbers of those before which they belong, from `low` to `high`, and their times."""
    for time_ms, line in run:
        number = max(low, min(high, bisect_right(times, time_ms)))
        # The numbers of connections are those of a part, which may not be at hand.
        yield (number, time_ms), {key: value for key, value in line.items() if key != "connection"}


def _identity(line: Line, time_of: TimeOf) -> bytes:
    """Return what a line and its repeat have in common: where Zoom gave no time, also when it was written."""
    is_zooms = time_of(line) is not None or line["kind"] == EVENT  # a repair writes it, and publishes it later
    left_out = _OF_ARRIVAL if is_zooms else {"connection"}
    return json_line({key: line[key] for key in sorted(line.keys() - left_out)})


def time_of_text(line: Line) -> int | None:
    time_ms: int = line["timestamp_ms"]
    return time_ms


def time_of_event(line: Line) -> int | None:
    """Return Zoom's time; what has none is of ours, as are those that only say how this member was connected."""
    zoom_ms = line.get("zoom_ms")
    return zoom_ms if type(zoom_ms) is int and line["kind"] != "connection" else None


def renumbered(lines: Iterable[Line], numbers: Mapping[int, int]) -> list[Line]:
    """Return lines with the numbers that connections have in the joined recording."""
    return [
        {**line, "connection": numbers[line["connection"]]} if line.get("connection") in numbers else line
        for line in lines
    ]
