"""The samples of faults, and the table of them. Pure."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

import attrs

from tests.benchmarks.figures import percentile

Values: TypeAlias = Sequence[float | None]
"""Of one figure: one of each stream or run; None: what was waited for never came."""

WRONG: Final = "anything wrong"


@attrs.frozen
class Bound:
    """The most that a figure may be, for so many of a hundred samples."""

    limit: float
    percent: float = 100


@attrs.frozen
class Sample:
    """The figures of one run of a fault, by name."""

    fault: str
    zoom: str
    figures: Mapping[str, Values]

    def append_to(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as lines:
            lines.write(json.dumps(attrs.asdict(self)) + "\n")


def read_samples(file: Path) -> list[Sample]:
    return [Sample(**json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


@attrs.frozen
class Row:
    """A figure over all runs; infinite where something never came.

    Attributes:
        count: of samples. missed: of those above the bound.
    """

    fault: str
    zoom: str
    figure: str
    count: int
    median: float
    p99: float
    worst: float
    bound: Bound | None
    missed: int

    @property
    def holds(self) -> bool:
        return self.bound is None or self.missed <= self.count * (100 - self.bound.percent) / 100

    def __str__(self) -> str:
        values = "".join(_shown(value) for value in (self.median, self.p99, self.worst))
        bound = "" if self.bound is None else f"{_shown(self.bound.limit)}{self.missed:8}"
        return f"{self.fault:26}{self.zoom:8}{self.figure:34}{self.count:5}{values}{bound}"


HEAD: Final = f"{'fault':26}{'Zoom':8}{'figure':34}{'n':>5}{'median':>9}{'p99':>9}{'worst':>9}{'bound':>9}{'missed':>8}"


def _shown(value: float) -> str:
    return f"{'never':>9}" if value == math.inf else f"{value:9.3f}"


def rows(samples: Iterable[Sample], bounds: Mapping[str, Mapping[str, Bound]]) -> Iterator[Row]:
    """Yield a row for each figure of each fault, in the order of the samples.

    Args:
        bounds: by fault and figure.
    """
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for sample in samples:
        for figure, values in sample.figures.items():
            found[sample.fault, sample.zoom, figure] += [math.inf if value is None else value for value in values]
    for (fault, zoom, figure), values in found.items():
        if values:
            bound = bounds.get(fault, {}).get(figure)
            missed = 0 if bound is None else sum(value > bound.limit for value in values)
            p99 = percentile(values, 99) or 0.0
            yield Row(fault, zoom, figure, len(values), median(values), p99, max(values), bound, missed)
