"""The clocks of the members, compared by what their beats say. For a warning only: no rule uses wall clocks. Pure."""

from collections.abc import Mapping
from typing import Final

from rtmsd.cluster.records import Beat

MOST_S: Final = 30.0
"""Two clocks that differ by more are a trouble: people compare times of logs and manifests."""


class Clocks:
    """Which clocks differ from this member's.

    A beat may have been on its way for minutes, as may have been an own one. So it is compared with an own beat that
    came back in time, and soon after it; never with the clock as it is read.

    Args:
        recent_s: a beat that was heard longer ago is not compared.
    """

    def __init__(self, recent_s: float) -> None:
        self._recent_s = recent_s
        self._heard: dict[str, tuple[int, float]] = {}  # since the last echo, by node: what it says, and when
        self._off_s: dict[str, float] = {}

    @property
    def off_s(self) -> Mapping[str, float]:
        """By how many seconds the clocks of members are ahead of this one, where that is more than `MOST_S`."""
        return self._off_s

    def hear(self, beat: Beat, now_s: float) -> None:
        """Take the beat of a living peer."""
        self._heard[beat.node] = (beat.at_ms, now_s)

    def echo(self, beat: Beat, now_s: float) -> Mapping[str, float]:
        """Take an own beat that came back in time. Returns the clocks that have begun to differ with it."""
        before = frozenset(self._off_s)
        for node, (at_ms, heard_s) in self._heard.items():
            if now_s - heard_s > self._recent_s:
                continue
            off_s = (at_ms - beat.at_ms) / 1000
            if abs(off_s) > MOST_S:
                self._off_s[node] = off_s
            else:
                self._off_s.pop(node, None)
        self._heard.clear()
        return {node: off_s for node, off_s in self._off_s.items() if node not in before}

    def forget(self, node: str) -> None:
        """Leave out a member that is gone."""
        self._heard.pop(node, None)
        self._off_s.pop(node, None)
