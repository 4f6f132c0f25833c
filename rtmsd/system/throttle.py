"""A rate limit for log lines, so that a flood from outside does not become a flood in the log."""

import trio


class Throttle:
    """Lets one through each `interval_s`, and counts those it holds back."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._next_s = -float("inf")
        self._held_back = 0

    def admit(self) -> int | None:
        """Return how many were held back since the last one, or None when this one is held back as well."""
        now_s = trio.current_time()
        if now_s < self._next_s:
            self._held_back += 1
            return None
        held_back, self._held_back = self._held_back, 0
        self._next_s = now_s + self._interval_s
        return held_back
