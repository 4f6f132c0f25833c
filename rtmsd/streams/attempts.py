"""The attempts to bring one connection up: how many failed, when the next one comes, and when they are given up."""

import math
from typing import Any

import attrs

from rtmsd.streams.core.reconnect import Window


@attrs.define
class Attempts:
    """What somebody wants to know of a connection that is not up.

    Attributes:
        failed: since the connection was up last.
        next_s: when the next attempt begins, in Trio's clock; infinity: one is under way, or none is planned.
    """

    window: Window
    failed: int = 0
    next_s: float = math.inf

    def planned(self, at_s: float) -> None:
        """One failed, or the connection was lost; the next attempt is at `at_s`."""
        self.failed += 1
        self.next_s = at_s

    def begun(self) -> None:
        self.next_s = math.inf

    def succeeded(self) -> None:
        self.failed, self.next_s = 0, math.inf

    def describe(self, now_s: float) -> dict[str, Any]:
        """Return the admin API's keys; null where there is no such time."""
        return {
            "failed_attempts": self.failed,
            "next_attempt_in_s": _until(self.next_s, now_s),
            "gives_up_in_s": _until(self.window.deadline, now_s),
        }


NO_ATTEMPTS: dict[str, Any] = {"failed_attempts": 0, "next_attempt_in_s": None, "gives_up_in_s": None}


def _until(at_s: float, now_s: float) -> float | None:
    return None if math.isinf(at_s) else round(max(0.0, at_s - now_s), 1)
