"""The holes of an audio file: ranges that were left out and may still be filled. Pure; positions are file offsets."""

from collections.abc import Iterable, Iterator
from typing import Final

_MAX_HOLES: Final = 64


class Holes:
    """The newest holes, in order."""

    __slots__ = ("_ranges",)

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._ranges = list(ranges)[-_MAX_HOLES:]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._ranges)

    def __len__(self) -> int:
        return len(self._ranges)

    def leave(self, start: int, stop: int) -> None:
        """Add a hole behind all others."""
        self._ranges.append((start, stop))
        del self._ranges[:-_MAX_HOLES]

    def contain(self, start: int, stop: int) -> bool:
        """Whether a range lies within one hole."""
        return any(first <= start and stop <= last for first, last in self._ranges)

    def fill(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Take a range out of all holes; return the parts of it that were in one."""
        left: list[tuple[int, int]] = []
        filled: list[tuple[int, int]] = []
        for first, last in self._ranges:
            low, high = max(first, start), min(last, stop)
            if low >= high:
                left.append((first, last))
                continue
            filled.append((low, high))
            left += [part for part in ((first, low), (high, last)) if part[0] < part[1]]
        self._ranges = left[-_MAX_HOLES:]
        return filled

    def roomiest(self, at: int, size: int, end: int, reach: int) -> int:
        """Return where, within `reach` of `at`, most of `size` bytes fits into holes; the nearest such place.

        Args:
            end: of the file, behind which everything fits.
        """
        stop = at + size
        fits = max(0, stop - end) + sum(max(0, min(last, stop) - max(first, at)) for first, last in self._ranges)
        best = (fits, 0, at)
        for first, last in self._ranges:
            place = max(first, min(at, last - size))
            moved = abs(place - at)
            if moved <= reach:
                best = max(best, (min(size, last - place), -moved, place))
        return best[2]
