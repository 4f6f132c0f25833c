"""A participant's packets of the last 65 s, by time and hash, to recognise repeats wherever their samples are. Pure."""

from array import array
from collections import deque
from typing import Final

import attrs

WINDOW_MS: Final = 65_000
"""Zoom buffers a minute at most; what is older than this and comes again is known by its place alone."""

SILENT_WINDOW_MS: Final = 1200
"""As much is remembered of a participant who was silent for a whole window: the last packets, which no place shows."""

_MAX_PACKETS: Final = 16_384  # 65 s in packets of 4 ms: many tiny ones must not fill the memory
_SPAN_MS: Final = 1000  # so exactly is known how old what is


class RecentPackets:
    """To take a packet in has to cost next to nothing, since it happens to each: the track appends its key, and all
    else is done at the next `settle` or `holds`.

    To hash a packet at once, while it is in the cache, saves about a seventh of what the flush costs the Trio thread.

    Attributes:
        keys: time and hash in one, 8 bytes for each packet. Always the same object.
    """

    __slots__ = ("_index", "_settled", "_since_ms", "_spans", "keys")

    def __init__(self) -> None:
        self.keys = array("q")
        self._settled = 0  # so many of `keys` are in `_spans`, and in `_index`
        self._spans: deque[_Span] = deque()  # what of `keys` came when
        self._index: set[int] | None = None  # of `keys`: only for those of whom not every packet is newer
        self._since_ms = 0  # from here on no packet was forgotten

    def __len__(self) -> int:
        return len(self.keys)

    def settle(self, newest_ms: int, clock_ms: int = 0) -> None:
        """Note when the latest came; forget what is older than the window.

        Args:
            newest_ms: the participant's newest time.
            clock_ms: the stream's; the participant may have been silent for long.
        """
        new = len(self.keys) - self._settled
        if new:
            if self._index is not None:
                self._index.update(self.keys[self._settled :])
            self._settled += new
            if not self._spans or newest_ms - self._spans[-1].start_ms > _SPAN_MS:
                self._spans.append(_Span(newest_ms))
            self._spans[-1].newest_ms = newest_ms
            self._spans[-1].count += new
        is_silent = clock_ms - newest_ms > WINDOW_MS
        self._forget(newest_ms - (SILENT_WINDOW_MS if is_silent else WINDOW_MS))

    def knows(self, time_ms: int, newest_ms: int) -> bool:
        """Whether each packet of this time is remembered that came."""
        return time_ms >= max(self._since_ms, newest_ms - WINDOW_MS)

    def holds(self, time_ms: int, data: bytes, newest_ms: int) -> bool:
        """Whether these bytes came with this time, as far as is known."""
        self.settle(newest_ms)
        if self._index is None:
            self._index = set(self.keys)
        return self.knows(time_ms, newest_ms) and time_ms ^ hash(data) in self._index

    def take(self, time_ms: int, data: bytes) -> bool:
        """Note a packet, where no track does. Returns whether it is new, as far as is known."""
        newest_ms = self._spans[-1].newest_ms if self._spans else time_ms - 1
        if time_ms <= newest_ms and self.holds(time_ms, data, newest_ms):
            return False
        self.keys.append(time_ms ^ hash(data))
        self.settle(max(time_ms, newest_ms))
        return True

    def _forget(self, before_ms: int) -> None:
        """Forget what came before anything newer than `before_ms`, and the oldest of too many."""
        spans, count = self._spans, 0
        while spans and (spans[0].newest_ms < before_ms or len(self.keys) - count > _MAX_PACKETS):
            span = spans.popleft()
            count += span.count
            self._since_ms = max(self._since_ms, span.newest_ms + 1)
        if count:
            if self._index is not None:
                self._index.difference_update(self.keys[:count])
            del self.keys[:count]
            self._settled -= count


@attrs.define
class _Span:
    """Packets that came one after the other: how many, and the newest time of the participant's at both ends."""

    start_ms: int
    newest_ms: int = 0
    count: int = 0
