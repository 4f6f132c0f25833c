"""The choice of audio where several parts have some: that of the earlier tenure. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from rtmsd.recording.timeline.intervals import IntervalSet


class Run(NamedTuple):
    """A stretch of one clip that is no silence.

    Attributes:
        epoch: of the tenure in which it was recorded.
        clip: number of the clip; of one epoch the lower one goes first.
    """

    epoch: int
    clip: int
    from_ms: int
    to_ms: int


class Piece(NamedTuple):
    """The part of a run that is taken."""

    from_ms: int
    to_ms: int
    run: Run


def choose(runs: Iterable[Run]) -> list[Piece]:
    """Return what is taken of each run, in the order of time: every instant of any run once, of the earliest epoch."""
    taken = IntervalSet()
    pieces = []
    for run in sorted(runs):
        pieces += [
            Piece(from_ms, int(to_ms), run) for from_ms, to_ms in taken.add(run.from_ms, run.to_ms) if from_ms < to_ms
        ]
    return sorted(pieces)
