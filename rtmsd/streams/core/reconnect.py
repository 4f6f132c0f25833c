"""How long to wait before the next attempt, and until when attempts make sense. Pure: the caller brings the time."""

import math

import attrs


class Backoff:
    """Delays between attempts: `first_s`, doubled up to `max_s`, and back to `first_s` after a successful handshake.

    Zoom documents exact delays, so there is no jitter; who lost what at the same moment is spread by Zoom's servers.

    Source: Zoom documentation, "Failover and reconnection".
    """

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._next_s = first_s

    def next_s(self) -> float:
        delay_s = self._next_s
        self._next_s = min(2 * delay_s, self._max_s)
        return delay_s

    def reset(self) -> None:
        self._next_s = self._first_s


@attrs.define
class Window:
    """The time Zoom keeps a slot for us, counted from the moment the loss was noticed.

    A further interruption does not move the deadline; only a successful handshake closes the window.
    """

    length_s: float
    deadline: float = math.inf  # while it is closed

    def open(self, now: float) -> None:
        if self.deadline == math.inf:
            self.deadline = now + self.length_s

    def close(self) -> None:
        self.deadline = math.inf

    def next_attempt(self, now: float, delay_s: float, attempt_s: float) -> float:
        """Return when to try again: after `delay_s`, but the last time early enough for an attempt of `attempt_s`.

        At the deadline there is no further attempt.
        """
        at, last = now + delay_s, self.deadline - attempt_s
        return last if now < last < at else min(at, self.deadline)

    def allowed(self, now: float, wanted_s: float) -> float:
        """Return how much of `wanted_s` an attempt may take before the deadline."""
        return min(wanted_s, max(0.0, self.deadline - now))

    def is_over(self, now: float) -> bool:
        return now >= self.deadline
