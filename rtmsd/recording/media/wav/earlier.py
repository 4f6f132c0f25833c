"""The end of a WAV that an earlier process wrote: which of what comes now is in it already. Pure.

A packet may be stored a little beside its time, and a kill may have cut the last one off. So near the end it is not the
place of a packet that shows whether it is new; its bytes do.
"""

from typing import Final

import attrs

LONGEST_PACKET_MS: Final = 1000
"""The longest that Zoom sends."""


@attrs.frozen
class EarlierAudio:
    """Positions are offsets in the file.

    Attributes:
        end: where it ended when it was found.
        tail: its last bytes; empty: it was not read, and all that lies before `end` counts as known.
        reach_bytes: so far from its time a packet may be stored.
    """

    end: int
    tail: bytes
    reach_bytes: int
    block_bytes: int
    bytes_per_ms: int

    def unknown_part(self, at: int, data: bytes) -> bytes:
        """Return what of a packet, whose time is at `at`, is not there yet: all, its end, or nothing.

        Far from the end all of it counts as not there: the holes of the file answer that.
        """
        if not self.end - LONGEST_PACKET_MS * self.bytes_per_ms - self.reach_bytes <= at < self.end + self.reach_bytes:
            return data
        if not self.tail:
            return b"" if at + len(data) <= self.end else data
        if at >= self.end and not data.strip(b"\0"):
            return data  # silence is no sign, and left out it would pull ahead what follows it
        start = self.end - len(self.tail)
        if self._find(data, max(0, at - self.reach_bytes - start), at + len(data) + self.reach_bytes - start):
            return b""
        return data[self._beginning(at, data) :]

    def _find(self, data: bytes, low: int, high: int) -> bool:
        found = self.tail.find(data, low, high)
        while found >= 0 and (found - len(self.tail)) % self.block_bytes:
            found = self.tail.find(data, found + 1, high)
        return found >= 0

    def _beginning(self, at: int, data: bytes) -> int:
        """Return how much of a packet's beginning the file ends with. Silence is no sign, nor are a few samples."""
        shortest = max(self.bytes_per_ms, self.end - at - self.reach_bytes, len(data) - len(data.lstrip(b"\0")) + 1)
        last = self.tail[-self.bytes_per_ms :]
        stop = min(len(data) - self.block_bytes, self.end - at + self.reach_bytes)
        while (found := data.rfind(last, 0, max(0, stop))) >= 0 and found + len(last) >= shortest:
            size = found + len(last)
            if size % self.block_bytes == 0 and self.tail.endswith(data[:size]):
                return size
            stop = size - 1
        return 0
