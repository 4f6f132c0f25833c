"""The plan of a repair: edits of files that can be inspected before they are applied, and applied again if that fails.

A disk that is full or read-only can still be read: a stream that is resumed on it need not wait for the repair.
"""

import contextlib
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import walk
from rtmsd.recording.disk.paths import EXPORTS
from rtmsd.recording.recovery.damage import Lost

if TYPE_CHECKING:
    from collections.abc import Callable


class RepairPlan:
    """Shows the files as if the plan had been applied.

    Attributes:
        notes: what will be done, a line each, and what cannot be.
        lost: what was promised and is gone.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._there = dict(walk(str(directory)))  # by name, in order
        self._prefix = len(str(directory / "_")) - 1
        self.notes: list[str] = []
        self.lost: list[Lost] = []
        self._steps: list[Callable[[Disk], None]] = []
        self._sizes: dict[Path, int] = {}  # of files that are cut
        self._contents: dict[Path, bytes] = {}  # of files that are replaced
        self._gone: set[Path] = set()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._steps)

    def apply(self, disk: Disk) -> None:
        """Apply the edits. In a worker thread; after an error the next call continues, and nothing is done twice.

        Raises:
            OSError: the disk refuses.
        """
        while self._steps:
            self._steps[0](disk)
            del self._steps[0]

    def name(self, path: Path) -> str:
        """Return a path as the manifest has it."""
        return str(path)[self._prefix :]

    def note(self, path: Path, what: str) -> None:
        self.notes.append(f"{self.name(path)}: {what}")

    def note_lost(self, lost: Lost) -> None:
        self.lost.append(lost)
        self.notes.append(f"{lost.path}: {lost}")

    # The files as they will be

    def exists(self, path: Path) -> bool:
        """Whether there is a file, and no link on the way to it."""
        if path in self._contents:
            return True
        entry = None if path in self._gone else self._there.get(self.name(path))
        return entry is not None and entry.is_file(follow_symlinks=False)

    def files(self, pattern: str) -> list[Path]:
        """Return the files that match, in order; none that only a link leads to."""
        folder, _, last = pattern.rpartition("/")
        names = (name for name in self._there if name.rpartition("/")[0] == folder)
        matching = (self.directory / name for name in names if fnmatchcase(name.rpartition("/")[2], last))
        return [path for path in matching if self.exists(path)]

    def recorded(self) -> Iterator[tuple[Path, os.DirEntry[str]]]:
        """Yield all that was there but for what was made of it."""
        for name, entry in self._there.items():
            if name.partition("/")[0] != EXPORTS:
                yield self.directory / name, entry

    def size_bytes(self, path: Path) -> int:
        if path in self._contents:
            return len(self._contents[path])
        return self._sizes[path] if path in self._sizes else path.stat().st_size

    def content(self, path: Path) -> bytes:
        if path in self._contents:
            return self._contents[path]
        return path.read_bytes()[: self._sizes.get(path)]

    def names(self) -> frozenset[str]:
        """Return the names of all that is there, ours or not."""
        return frozenset(self._there) - {self.name(path) for path in self._gone}

    # Edits

    def cut(self, path: Path, size_bytes: int, head: bytes = b"") -> None:
        """Cut off what is behind `size_bytes`, and write a new beginning."""
        self._sizes[path] = size_bytes
        self._steps.append(partial(_rewrite, path, size_bytes, head))

    def remove(self, path: Path) -> None:
        self._gone.add(path)
        self._steps.append(lambda disk: disk.remove(path))

    def set_aside(self, path: Path) -> None:
        self._gone.add(path)
        self._steps.append(partial(_set_aside, path))

    def replace(self, path: Path, content: bytes) -> None:
        self._contents[path] = content
        self._steps.append(lambda disk: disk.replace(path, content))

    def append(self, path: Path, content: bytes) -> None:
        self.replace(path, (self.content(path) if self.exists(path) else b"") + content)

    def sync(self, path: Path) -> None:
        """Make durable what a killed process wrote, before a manifest promises it."""
        self._steps.append(partial(_sync, path))


def _rewrite(path: Path, size_bytes: int, head: bytes, disk: Disk) -> None:
    descriptor = disk.open(path)
    try:
        if os.fstat(descriptor).st_size > size_bytes:
            disk.truncate(descriptor, size_bytes)
        disk.write(descriptor, head, 0)
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def _sync(path: Path, disk: Disk) -> None:
    descriptor = disk.open(path)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    disk.sync_directory(path.parent)


def _set_aside(path: Path, disk: Disk) -> None:
    with contextlib.suppress(FileNotFoundError):
        disk.set_aside(path)
