"""The check that the files of a recording are still what the last flush left. In the worker thread.

Files are closed between flushes, and others may remove, replace or cut them meanwhile. What was written before is never
made anew with a hole in its place: the loss is reported, and the owner of the file decides how to continue.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import attrs

from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import is_away

if TYPE_CHECKING:
    from pathlib import Path

_LINE_ENDS: Final = {".jsonl": b"\n", ".vtt": b"\n\n"}
_LAST_LINES_BYTES: Final = 2**20


@attrs.frozen
class Damage:
    """The part of a file that was on disk and is gone.

    Attributes:
        size_bytes: so much of the file is left, whole; None: nothing, or something that is not ours.
        what: in plain words.
    """

    file: DiskFile
    size_bytes: int | None
    what: str


class FileDamaged(Exception):
    """A file is not what the last flush left."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(damage.what)
        self.damage = damage


def open_known(disk: Disk, file: DiskFile) -> int:
    """Open a file that has something on disk.

    Raises:
        FileDamaged: not all of that is there any more.
        OSError: the disk failed.
    """
    try:
        descriptor = disk.open(file.path)
    except OSError as error:
        if is_away(error):
            raise FileDamaged(Damage(file, None, "gone")) from None
        raise
    try:
        damage = _look(disk, descriptor, file)
    except OSError:
        disk.close(descriptor)
        raise
    if damage is not None:
        disk.close(descriptor)
        raise FileDamaged(damage)
    return descriptor


def _look(disk: Disk, descriptor: int, file: DiskFile) -> Damage | None:
    found = os.fstat(descriptor)
    if file.inode not in {None, found.st_ino} or not found.st_nlink:
        return Damage(file, None, "another file stands in its place")
    if found.st_size < file.durable_bytes:
        left_bytes = _left_bytes(disk, descriptor, file, found.st_size)
        return Damage(file, left_bytes, f"cut off, {file.durable_bytes} to {found.st_size} bytes")
    file.inode = found.st_ino
    return None


def _left_bytes(disk: Disk, descriptor: int, file: DiskFile, size_bytes: int) -> int | None:
    """Return how much of a file that was cut is whole."""
    if file.header is not None:
        if size_bytes > len(file.header(0)):
            return size_bytes
        disk.remove(file.path)  # it holds no sample
        return None
    end = _LINE_ENDS.get(file.path.suffix)
    if end is None:
        if (usable_bytes := file.whole_bytes(descriptor, size_bytes)) is None:
            disk.remove(file.path)
        return usable_bytes
    first = max(0, size_bytes - _LAST_LINES_BYTES)
    last = os.pread(descriptor, size_bytes - first, first).rfind(end)
    whole_bytes = 0 if last < 0 else first + last + len(end)
    disk.truncate(descriptor, whole_bytes)
    return whole_bytes


def open_new(disk: Disk, file: DiskFile) -> int:
    """Open a file of which nothing is on disk: an empty one, at first. What stands there under its name is set aside,
    unless it is left of an attempt of ours.

    Raises:
        OSError: the disk failed.
    """
    disk.make_directory(file.path.parent)
    try:
        descriptor = disk.open(file.path, create=True)
    except FileExistsError:
        known = _reopened(disk, file)
        if known is None:
            disk.set_aside(file.path)
            known = disk.open(file.path, create=True)
        descriptor = known
    disk.note_name(file.path)
    file.inode = os.fstat(descriptor).st_ino
    return descriptor


def _reopened(disk: Disk, file: DiskFile) -> int | None:
    with contextlib.suppress(OSError):
        descriptor = disk.open(file.path)
        found = os.fstat(descriptor)
        if found.st_nlink == 1 and (not found.st_size or found.st_ino == file.inode):
            disk.truncate(descriptor, 0)
            return descriptor
        disk.close(descriptor)
    return None


def survey(disk: Disk, files: Iterable[DiskFile]) -> list[Damage]:
    """Look at all files of a recording, also those that nothing is written to.

    Raises:
        OSError: the disk failed.
    """
    folders: defaultdict[Path, dict[str, DiskFile]] = defaultdict(dict)
    for file in files:
        if file.durable_bytes:
            folders[file.path.parent][file.path.name] = file
    damages = []
    for folder, known in folders.items():
        there = disk.sizes(folder, known)
        for name, file in known.items():
            inode, size_bytes = there.get(name, (None, 0))
            if inode is not None and file.inode in {None, inode} and size_bytes >= file.durable_bytes:
                continue
            try:
                disk.close(open_known(disk, file))
            except FileDamaged as damaged:
                damages.append(damaged.damage)
    return damages
