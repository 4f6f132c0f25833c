"""What a lost connection is put down to, and whether the loss was made good."""

import enum
from collections import Counter
from typing import Final


class Cause(enum.StrEnum):
    """Why connections were lost, as gaps and metrics spell it."""

    MEDIA = "media_reconnect"
    SIGNALING = "signaling_reconnect"
    FAILOVER = "server_failover"
    RESTART = "daemon_restart"


_ORDER: Final = tuple(Cause)  # each takes in those before it


class Outage:
    """The outage of one stream, from the first loss until all media are back.

    Attributes:
        cause: None while nothing is missing that was there before.
        was_up: whether media were ever connected: before, there is nothing to lose.
        recoveries: how outages ended, by (cause, "ok" or "failed").

    Args:
        cause: of the outage that an earlier process left; None for a stream that is new.
    """

    def __init__(self, cause: Cause | None = None) -> None:
        self.cause = cause
        self.was_up = cause is not None
        self.recoveries: Counter[tuple[str, str]] = Counter()

    def grew(self, cause: Cause) -> None:
        """Something was lost. What was lost before was only the beginning of it."""
        if self.was_up and (self.cause is None or _ORDER.index(cause) > _ORDER.index(self.cause)):
            self.cause = cause

    def is_over(self) -> None:
        """All media are connected."""
        self._count("ok")

    def is_for_good(self) -> None:
        """The window passed."""
        self._count("failed")

    def _count(self, result: str) -> None:
        if self.cause is not None:
            self.recoveries[self.cause.value, result] += 1
            self.cause = None
