"""A clock that drifts: packets in a row that are off their time the same way are no jitter. Pure."""

from typing import Final

DRIFTING: Final = 5
"""So many in a row are off the same way when a clock drifts."""


class Drift:
    """Packets in a row that were off the same way.

    Attributes:
        position: the write position that the last of them left; any other breaks the row.
    """

    __slots__ = ("_row", "position")

    def __init__(self) -> None:
        self._row = 0  # above 0 of those that were ahead, below 0 of those behind
        self.position = 0

    def note(self, off_bytes: int, slack_bytes: int, position: int) -> int:
        """Note how far off a packet is. Returns how many are so in a row, below 0 where they are behind."""
        row = self._row if self.position == position else 0  # else some came meanwhile that were in time
        if off_bytes > slack_bytes:
            row = max(row, 0) + 1
        elif off_bytes < -slack_bytes:
            row = min(row, 0) - 1
        else:
            row = 0
        self._row = row
        return row


def without_silence(data: bytes, silence_bytes: int, block_bytes: int) -> bytes:
    """Return samples without so many bytes of digital silence, if there are any together."""
    silence = bytes(silence_bytes)
    at = data.find(silence)
    while at > 0 and at % block_bytes:
        at = data.find(silence, at + 1)
    return data if at < 0 else data[:at] + data[at + silence_bytes :]
