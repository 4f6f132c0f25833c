"""Many files to disk in one call.

`fdatasync` of a hundred files costs 18 ms of CPU and 45 ms of time, half of it waiting in turn; `syncfs` of the file
system they are on costs 3 ms and 20 ms (ext4 on a virtual disk, 16 KB for each file).
"""

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

FROM_FILES: Final = 16
"""Fewer are synced one by one: the call would also wait for what other programs have written."""

_EQUIVALENT: Final = frozenset({"ext4", "xfs", "f2fs"})
"""Where `syncfs` is known to do all that `fdatasync` does, and where st_dev names the mount."""

_REPORTS_ERRORS: Final = (5, 8)  # the first Linux whose syncfs does
_SLOW_S: Final = 0.25
_PAUSE_S: Final = 60.0


class FileSystemSync:
    """Decides whether files go to disk together. Somebody else's data may make that slow: then not, for a while."""

    def __init__(self) -> None:
        self._not_before_s = 0.0

    def covers(self, descriptors: Sequence[int]) -> bool:
        """Whether one call of `run` would sync all of these."""
        if len(descriptors) < FROM_FILES or _syncfs is None or time.monotonic() < self._not_before_s:
            return False
        devices = {os.fstat(descriptor).st_dev for descriptor in descriptors}
        return len(devices) == 1 and _is_equivalent(devices.pop())

    def run(self, descriptor: int) -> None:
        """Sync the file system that holds this file.

        Raises:
            OSError: something did not reach the disk since `descriptor` was opened, of whichever file.
        """
        assert _syncfs is not None
        began_s = time.monotonic()
        failed = _syncfs(descriptor) != 0
        if time.monotonic() - began_s > _SLOW_S:
            self._not_before_s = time.monotonic() + _PAUSE_S
        if failed:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _find_syncfs() -> Callable[[int], int] | None:
    """Python has no binding of its own for it."""
    release = os.uname().release.split(".")
    if os.uname().sysname != "Linux" or tuple(int(part) for part in release[:2] if part.isdigit()) < _REPORTS_ERRORS:
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_syncfs: Final = _find_syncfs()


@lru_cache(maxsize=16)
def _is_equivalent(device: int) -> bool:
    name = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kinds = {line.partition(" - ")[2].split(" ")[0] for line in mounts if line.split(" ", 3)[2] == name}
    return bool(kinds) and kinds <= _EQUIVALENT
