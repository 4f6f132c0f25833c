"""The pulse of a worker: whether it answers. Pure: times are handed in."""

import math
from typing import Final

import attrs

DEFAULT_LIMIT_S: Final = 30.0  # without a watchdog of the service manager
START_LIMIT_S: Final = 60.0  # imports on a busy machine
BEATS: Final = 8  # questions within the time limit


@attrs.define
class Pulse:
    """Questions to one worker, and its answers. Only time in which this process itself ran counts against the worker.

    Attributes:
        limit_s: after so long without an answer it hangs.
        asked: number of the last question.
    """

    limit_s: float
    asked: int = 0
    _answered: int = 0
    _silent_s: float = 0.0  # since its last answer, as far as this process knows
    _looked_s: float = -math.inf

    @property
    def beat_s(self) -> float:
        """How often to ask."""
        return min(1.0, self.limit_s / BEATS)

    def ask(self, now_s: float) -> int:
        """Return the number of the next question. Call it every `beat_s`."""
        # Whoever was stopped itself, or did not get to run, learns of the answers only after this.
        self._silent_s += min(now_s - self._looked_s, 2 * self.beat_s) if math.isfinite(self._looked_s) else 0.0
        self._looked_s = now_s
        self.asked += 1
        return self.asked

    def answered(self, number: int) -> None:
        """Take note of an answer. One to a question that was not asked, or answered before, is none."""
        if self._answered < number <= self.asked:
            self._answered, self._silent_s = number, 0.0

    @property
    def is_steady(self) -> bool:
        """Whether it answered within half of the time."""
        return self._silent_s <= self.limit_s / 2

    @property
    def hangs(self) -> bool:
        return self._silent_s > self.limit_s


@attrs.frozen
class Backoff:
    """The delay before a worker is started again.

    Args:
        steady_s: one that lived as long begins with the shortest delay again.
    """

    first_s: float = 0.2
    most_s: float = 5.0
    steady_s: float = 10.0

    def next_s(self, before_s: float | None, lived_s: float) -> float:
        """Return the delay after a life of `lived_s`; `before_s` is the delay before that, None for the first life."""
        if before_s is None or lived_s >= self.steady_s:
            return self.first_s
        return min(2 * before_s, self.most_s)
