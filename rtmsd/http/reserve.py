"""Spare file descriptors for the moment when the process has no other left."""

import os
from contextlib import suppress
from typing import Final

SPARES: Final = 4


class Reserve:
    """Holds descriptors of the null device, to be released when others are needed."""

    def __init__(self, count: int = SPARES) -> None:
        self._count = count
        self._spares: list[int] = []
        self.refill()

    def release(self) -> bool:
        """Free one descriptor; False when none is left."""
        if not self._spares:
            return False
        os.close(self._spares.pop())
        return True

    def refill(self) -> None:
        """Open spares up to the count again, as far as there are descriptors."""
        with suppress(OSError):
            while len(self._spares) < self._count:
                self._spares.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def close(self) -> None:
        self._count = 0
        while self.release():
            pass
