"""The connections that Zoom closed as part of the stream's end, apart from those that were lost before it."""

import math
from typing import Final

TOGETHER_S: Final = 1.0  # Zoom closes media with the end, which may be seen so long before its word on signaling


class ClosedWithEnd:
    """All times are Trio's."""

    def __init__(self) -> None:
        self._decided_s = math.inf
        self._lost_s: dict[int, float] = {}

    def lost(self, number: int, now_s: float) -> None:
        self._lost_s = {each: lost_s for each, lost_s in self._lost_s.items() if lost_s >= now_s - TOGETHER_S}
        self._lost_s[number] = now_s

    def decided(self, now_s: float) -> None:
        """Zoom said that the stream ends, or we decided it. The first time counts."""
        self._decided_s = min(self._decided_s, now_s)

    @property
    def numbers(self) -> list[int]:
        """The connections that were lost so shortly before that it may have been part of the end."""
        return [number for number, lost_s in self._lost_s.items() if lost_s >= self._decided_s - TOGETHER_S]
