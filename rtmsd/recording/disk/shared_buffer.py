"""The buffer that all streams share, and the part of it that each may fill: one that cannot write starves no other."""

from typing import Final

from rtmsd.recording.disk.file_buffer import Backlog

_STEPS: Final = 16
"""A share grows by so small a part of what each stream would have if all had the same: little is held back unused."""

_READ_BYTES: Final = 65_536  # what one read of a socket may bring, and is to find room
_READ_STEP_BYTES: Final = 4096


class Buffer:
    """Unwritten media of all streams, bounded together: what the shares allow never adds up to more than the limit.

    A share is made larger when it is used up, for as long as it is no larger than what is left for all the others. So a
    single stream that cannot write ends at half the buffer, two at a third each, and a stream that comes later finds
    room as well. A stream that is alone may have everything. What was written is given back at each flush.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._shares: dict[Backlog, None] = {}
        self._granted_bytes = 0
        self._read_bytes = _READ_BYTES

    @property
    def pending_bytes(self) -> int:
        return sum(share.pending_bytes for share in self._shares)

    def open_share(self) -> Backlog:
        """Return the part of a stream that begins."""
        share = Backlog(0, read_bytes=self._read_bytes, grow=self._grow)
        self._shares[share] = None
        self._set_read_bytes()
        return share

    def close_share(self, share: Backlog) -> None:
        """Give back the whole share of a stream that ended. A second time, nothing happens."""
        if share in self._shares:
            del self._shares[share]
            self._granted_bytes -= share.limit_bytes
            share.limit_bytes = 0
            self._set_read_bytes()

    def shrink(self) -> None:
        """Give back what was written."""
        step_bytes = self._step_bytes
        for share in self._shares:
            unused = share.limit_bytes - max(share.pending_bytes, 0) - step_bytes
            if unused > 0:
                share.limit_bytes -= unused
                self._granted_bytes -= unused

    @property
    def _step_bytes(self) -> int:
        return max(1, self.limit_bytes // (_STEPS * max(1, len(self._shares))))

    def _set_read_bytes(self) -> None:
        """In steps: else each stream that begins or ends would change all others."""
        read_bytes = min(_READ_BYTES, 2 * self._step_bytes)
        read_bytes -= read_bytes % _READ_STEP_BYTES if read_bytes > _READ_STEP_BYTES else 0
        if read_bytes != self._read_bytes:
            self._read_bytes = read_bytes
            for share in self._shares:
                share.read_bytes = read_bytes

    def _grow(self, share: Backlog, size_bytes: int) -> bool:
        """Make a share larger that is used up. Returns whether there is room for so many bytes in it now.

        What it holds past its limit, at most one message, is not charged to the others.
        """
        if share not in self._shares:
            return False
        free_bytes = self.limit_bytes - self._granted_bytes
        most_bytes = share.limit_bytes + free_bytes
        if len(self._shares) > 1:
            most_bytes //= 2  # then as much is left for the others
        limit_bytes = min(most_bytes, share.pending_bytes + size_bytes + self._step_bytes)
        if limit_bytes > share.limit_bytes:
            self._granted_bytes += limit_bytes - share.limit_bytes
            share.limit_bytes = limit_bytes
        return share.limit_bytes - share.pending_bytes >= size_bytes
