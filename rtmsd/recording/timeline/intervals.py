"""A set of intervals, of time or of a file. Pure; each part belongs to the interval that was added first."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Part: TypeAlias = tuple[int, float]
"""From and to; to infinity for what goes on."""


class IntervalSet:
    """Sorted intervals, none of which touches another."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[float] = []
        for start, end in parts:
            self.add(start, end)

    def __iter__(self) -> Iterator[Part]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def uncovered(self, start: int, end: float = math.inf) -> Iterator[Part]:
        """Yield the parts between `start` and `end` that no interval covers."""
        for at in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[at] >= end:
                break
            if self._starts[at] > start:
                yield start, self._starts[at]
            if self._ends[at] >= end:
                return
            start = int(self._ends[at])
        if start < end:
            yield start, end

    def intersect(self, start: int, end: float = math.inf) -> Iterator[Part]:
        """Yield the parts between `start` and `end` that intervals cover."""
        for at in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[at] >= end:
                return
            yield max(start, self._starts[at]), min(end, self._ends[at])

    def add(self, start: int, end: float = math.inf) -> list[Part]:
        """Add a stretch; return the parts of it that were not covered yet."""
        if start < end and (not self._ends or start > self._ends[-1]):  # nearly always
            self._starts.append(start)
            self._ends.append(end)
            return [(start, end)]
        fresh = list(self.uncovered(start, end))
        if start < end:
            first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
            if first < last:
                start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
            self._starts[first:last] = [start]
            self._ends[first:last] = [end]
        return fresh
