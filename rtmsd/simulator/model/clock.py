"""Zoom's clock: milliseconds since the Unix epoch, running `speed` times as fast as the local one."""

import time
from collections.abc import Callable

import trio


class ZoomClock:
    """The source of all times on the wire.

    Args:
        speed: Zoom's seconds in one local second.
        wall_s: the local wall clock, read once, for the start of Zoom's.
    """

    def __init__(self, speed: float = 1.0, wall_s: Callable[[], float] = time.time) -> None:
        self.speed = speed
        self._start_ms = wall_s() * 1000
        self._start_s = trio.current_time()

    def now_ms(self) -> int:
        return int(self._start_ms + (trio.current_time() - self._start_s) * 1000 * self.speed)

    def local_s(self, zoom_s: float) -> float:
        """Return the local seconds in which Zoom's clock advances by `zoom_s`."""
        return zoom_s / self.speed

    async def sleep(self, zoom_s: float) -> None:
        await trio.sleep(max(0.0, zoom_s / self.speed))
