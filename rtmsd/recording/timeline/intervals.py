"""Stretches of time, or of a file, that are taken. Pure; whoever takes a part of one first has it."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Part: TypeAlias = tuple[int, float]
"""From and to; to infinity for what goes on."""


class Spans:
    """Sorted, and none touches another."""

    def __init__(self, parts: Iterable[Part] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[float] = []
        for start, end in parts:
            self.take(start, end)

    def __iter__(self) -> Iterator[Part]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def outside(self, start: int, end: float = math.inf) -> Iterator[Part]:
        """Yield what is not taken yet between `start` and `end`."""
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

    def inside(self, start: int, end: float = math.inf) -> Iterator[Part]:
        """Yield what is taken between `start` and `end`."""
        for at in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[at] >= end:
                return
            yield max(start, self._starts[at]), min(end, self._ends[at])

    def take(self, start: int, end: float = math.inf) -> list[Part]:
        """Take what is not taken yet, and return that."""
        if start < end and (not self._ends or start > self._ends[-1]):  # nearly always
            self._starts.append(start)
            self._ends.append(end)
            return [(start, end)]
        fresh = list(self.outside(start, end))
        if start < end:
            first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
            if first < last:
                start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
            self._starts[first:last] = [start]
            self._ends[first:last] = [end]
        return fresh
