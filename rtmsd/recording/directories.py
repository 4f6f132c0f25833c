"""The directories of recordings that a daemon holds: locked against a second one, and followed when they are replaced.

Beside those of the configuration there are those that it named before and that hold recordings still: they stay in the
lists, can be verified, removed and revoked, and what is unfinished there is finished there.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog
import trio

from rtmsd.errors import RtmsdError
from rtmsd.recording.library.catalog import count_recordings
from rtmsd.system.lock import LockFile

log = structlog.get_logger()

LOCK_EVERY_S: Final = 5.0
_LOOK_S: Final = 2.0


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
                directories._locks[directory] = _locked(directory, key)
            yield directories
        finally:
            for lock in directories._locks.values():
                lock.release()

    @classmethod
    @contextlib.contextmanager
    def inherited(cls, descriptors: Mapping[Path, Sequence[int]]) -> "Iterator[Directories]":
        """Take part in the locks of another process, which follows them; see `descriptors`.

        Raises:
            StorageError: descriptors are not open here.
        """
        directories = cls()
        try:
            for directory, numbers in descriptors.items():
                directories._locks[directory] = LockFile.inherited(_lock_file(directory), str(directory), numbers)
            yield directories
        finally:
            for lock in directories._locks.values():
                lock.release()

    @property
    def descriptors(self) -> dict[Path, Sequence[int]]:
        """What another process has to inherit to take part in the locks."""
        return {directory: lock.descriptors for directory, lock in self._locks.items()}

    def __iter__(self) -> Iterator[Path]:
        return iter(self._locks)

    async def take_up(self, known: Iterable[Path]) -> list[Path]:
        """Lock those of earlier configurations that hold recordings. What cannot be had is logged: a disk that does not
        answer, too, which must not hold up the start.

        Returns:
            Those to remember: locked now, or not to be had now.
        """
        kept = []
        for directory in known:
            found, why = None, f"no answer within {_LOOK_S:g} s"
            with trio.move_on_after(_LOOK_S):
                try:
                    found = await trio.to_thread.run_sync(_take_up, directory, list(self), abandon_on_cancel=True)
                except (OSError, RtmsdError) as error:
                    why = str(error)
            if found is None:
                log.error("recordings of an earlier configuration not to be had", directory=str(directory), error=why)
            else:
                number, lock = found
                if lock is None:  # nothing is left there
                    continue
                self.left[directory], self._locks[directory] = number, lock
                log.warning("recordings of an earlier configuration", directory=str(directory), number=number)
            kept.append(directory)
        return kept

    async def follow(self) -> None:
        """Lock each again when it was moved away and made anew, until cancelled."""
        async with trio.open_nursery() as nursery:
            for directory, lock in self._locks.items():
                nursery.start_soon(_follow, directory, lock)


def _locked(directory: Path, key: str) -> LockFile:
    return LockFile.acquire(_lock_file(directory), f"{key}: {directory}")


def _lock_file(directory: Path) -> Path:
    return directory / ".rtmsd.lock"


def _take_up(directory: Path, ours: Iterable[Path]) -> tuple[int, LockFile | None]:
    """Lock a directory if it holds recordings, and is none of ours by another name. Returns how many there are, too."""
    is_ours = os.path.realpath(directory) in {os.path.realpath(each) for each in ours}
    number = 0 if is_ours else count_recordings(directory)
    return number, _locked(directory, "recording directory of an earlier configuration") if number else None


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
