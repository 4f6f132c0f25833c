"""The free space of one directory of recordings, asked for in a thread, which a stalled (network) disk may block."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import trio

from rtmsd.recording.disk.retrying import RunSync

STALLED_S: Final = 4.0  # beyond this the disk does not answer


class FreeSpace:
    """The latest answer of the disk.

    Attributes:
        bytes: when it last answered; None when unknown.
        answered: set by the first answer.
    """

    def __init__(self, directory: Path, run_sync: RunSync) -> None:
        self.directory = directory
        self.bytes: int | None = None
        self.answered = trio.Event()
        self._run_sync = run_sync
        self._asked_s = math.inf  # time of the question that the disk has not answered yet

    async def watch(self, every_s: float, on_answer: Callable[[], None]) -> NoReturn:
        """Ask until cancelled."""
        while True:
            self._asked_s = trio.current_time()
            self.bytes = await self._run_sync(free_bytes, self.directory, abandon_on_cancel=True)
            self._asked_s = math.inf
            self.answered.set()
            on_answer()
            await trio.sleep(every_s)

    @property
    def trouble(self) -> str | None:
        """The reason why it is not known; None: it is, or will be in a moment."""
        if (waiting_s := trio.current_time() - self._asked_s) > STALLED_S:
            return f"{self.directory} has not answered for {waiting_s:.0f} s"
        if self.bytes is None and self.answered.is_set():
            return f"{self.directory} cannot be read"
        return None


def free_bytes(directory: Path) -> int | None:
    """Return the bytes that an unprivileged process may still write below a directory; None if unknown."""
    try:
        status = os.statvfs(directory)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize
