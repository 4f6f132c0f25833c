"""Reconnection: what was lost, how long to wait before the next attempt, until when attempts make sense, and whose they
are.
"""

import enum
import math
from collections import Counter
from typing import Any

import attrs

from rtmsd.protocol.causes import GapCause, is_wider


class Permission(enum.Enum):
    """The answer to who asks whether to connect to a stream."""

    GRANTED = enum.auto()  # the stream is ours
    BLIND = enum.auto()  # nobody could say: it is ours unless Zoom, or who has it, shows otherwise
    LOST = enum.auto()  # it is another's


class Outage:
    """From the first loss until all media are back.

    Attributes:
        cause: None while nothing is missing that was there before.
        was_up: whether media were ever connected: before, there is nothing to lose.
        recoveries: how outages ended, by (cause, "ok" or "failed").

    Args:
        cause: of the outage that an earlier process left; None for a stream that is new.
    """

    def __init__(self, cause: GapCause | None = None) -> None:
        self.cause = cause
        self.was_up = cause is not None
        self.recoveries: Counter[tuple[str, str]] = Counter()

    def widen(self, cause: GapCause) -> None:
        """Something was lost. What was lost before was only the beginning of it."""
        if self.was_up and (self.cause is None or is_wider(cause, self.cause)):
            self.cause = cause

    def recovered(self) -> None:
        """All media are connected."""
        self._count("ok")

    def failed(self) -> None:
        """The window passed."""
        self._count("failed")

    def _count(self, result: str) -> None:
        if self.cause is not None:
            self.recoveries[self.cause.value, result] += 1
            self.cause = None


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
    deadline_s: float = math.inf  # while it is closed

    def open(self, now_s: float) -> None:
        if self.deadline_s == math.inf:
            self.deadline_s = now_s + self.length_s

    def close(self) -> None:
        self.deadline_s = math.inf

    def next_attempt(self, now_s: float, delay_s: float, attempt_s: float) -> float:
        """Return when to try again: after `delay_s`, but the last time early enough for an attempt of `attempt_s`.

        At the deadline there is no further attempt.
        """
        at_s, last_s = now_s + delay_s, self.deadline_s - attempt_s
        return last_s if now_s < last_s < at_s else min(at_s, self.deadline_s)

    def has_passed(self, now_s: float) -> bool:
        return now_s >= self.deadline_s


def remaining(deadline_s: float, now_s: float, wanted_s: float) -> float:
    """Return how much of `wanted_s` an attempt may take before the deadline of its window."""
    return min(wanted_s, max(0.0, deadline_s - now_s))


@attrs.define
class Attempts:
    """The attempts to bring one connection up, for the core and for who asks why it is not up.

    Attributes:
        failed: since the connection was up last.
        next_s: when the next attempt begins; infinity: one is under way, or none is planned.
    """

    window: Window
    failed: int = 0
    next_s: float = math.inf

    @property
    def is_idle(self) -> bool:
        """Whether no attempt is planned."""
        return math.isinf(self.next_s)

    def plan(self, at_s: float) -> None:
        """One failed, or the connection was lost; the next attempt is at `at_s`."""
        self.failed += 1
        self.next_s = at_s

    def begin(self) -> None:
        self.next_s = math.inf

    def succeed(self) -> None:
        self.failed, self.next_s = 0, math.inf

    def describe(self, now_s: float) -> dict[str, Any]:
        """Return the admin API's keys; null where there is no such time."""
        return {
            "failed_attempts": self.failed,
            "next_attempt_in_s": _until(self.next_s, now_s),
            "gives_up_in_s": _until(self.window.deadline_s, now_s),
        }


NO_ATTEMPTS: dict[str, Any] = {"failed_attempts": 0, "next_attempt_in_s": None, "gives_up_in_s": None}


def _until(at_s: float, now_s: float) -> float | None:
    return None if math.isinf(at_s) else round(max(0.0, at_s - now_s), 1)
