"""The directories of recordings that a daemon holds: locked against a second one, and followed when they are replaced.

Beside those of the configuration there are those that it named before and that hold recordings still: they stay in the
lists, can be verified, removed and revoked, and what is unfinished there is finished there.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog
import trio

from rtmsd.errors import RtmsdError
from rtmsd.recording.library.catalog import count_recordings
from rtmsd.system.lock import LockFile

log = structlog.get_logger()

LOCK_EVERY_S: Final = 5.0


class Directories:
    """Locked until `release`, or the end of the process.

    Attributes:
        left: those that no app uses any more, with the number of recordings in each when the daemon started.
    """

    def __init__(self) -> None:
        self.left: dict[Path, int] = {}
        self._locks: dict[Path, LockFile] = {}

    @classmethod
    @contextlib.contextmanager
    def locked(cls, keys: Mapping[Path, str]) -> "Iterator[Directories]":
        """Lock the configured ones, made where they are missing.

        Args:
            keys: path of the key that names each, for errors.

        Raises:
            AlreadyRunningError: another process has one of them.
            StorageError: one cannot be locked.
        """
        directories = cls()
        try:
            for directory, key in keys.items():
                directories._lock(directory, key)
            yield directories
        finally:
            for lock in directories._locks.values():
                lock.release()

    def __iter__(self) -> Iterator[Path]:
        return iter(self._locks)

    def take_up(self, known: Iterable[Path]) -> list[Path]:
        """Lock those of earlier configurations that hold recordings. Blocks. What cannot be had is logged.

        Returns:
            Those to remember: locked now, or not to be had now.
        """
        kept, ours = [], {os.path.realpath(directory) for directory in self._locks}
        for directory in known:
            if os.path.realpath(directory) in ours:  # perhaps by another name
                continue
            try:
                if number := count_recordings(directory):
                    self._lock(directory, "recording directory of an earlier configuration")
                    self.left[directory] = number
                    log.warning("recordings of an earlier configuration", directory=str(directory), number=number)
            except (OSError, RtmsdError) as error:
                log.error(  # noqa: TRY400 foreseen
                    "recordings of an earlier configuration are not to be had",
                    directory=str(directory),
                    error=str(error),
                )
                number = 1  # perhaps
            if number:
                kept.append(directory)
        return kept

    async def follow(self) -> None:
        """Lock each again when it was moved away and made anew, until cancelled."""
        async with trio.open_nursery() as nursery:
            for directory, lock in self._locks.items():
                nursery.start_soon(_follow, directory, lock)

    def _lock(self, directory: Path, key: str) -> None:
        self._locks[directory] = LockFile.acquire(directory / ".rtmsd.lock", f"{key}: {directory}")


async def _follow(directory: Path, lock: LockFile) -> None:
    is_refused = False
    while True:
        await trio.sleep(LOCK_EVERY_S)
        try:
            if await trio.to_thread.run_sync(lock.follow, abandon_on_cancel=True):
                log.error("recording directory was replaced; the new one is locked", directory=str(directory))
            is_refused = False
        except RtmsdError as error:
            if not is_refused:
                log.error(  # noqa: TRY400 foreseen
                    "recording directory was replaced and cannot be locked", directory=str(directory), error=str(error)
                )
            is_refused = True
