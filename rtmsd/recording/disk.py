"""The calls on the file system that may fail. Everything here runs in a worker thread; tests let it fail."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from rtmsd.recording.sync import FileSystemSync

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750

_IOV_MAX: Final = min(os.sysconf("SC_IOV_MAX"), 1024)


class Disk:
    """The real disk. All methods but `sync_all` raise OSError."""

    def __init__(self) -> None:
        self._together = FileSystemSync()

    def open(self, path: Path) -> int:
        """Open for writing, created when missing; never through a symbolic link."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of `data`; past the end of the file this leaves a hole that costs no space."""
        view = memoryview(data)
        while view:
            count = os.pwrite(descriptor, view, offset)
            view, offset = view[count:], offset + count

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        """Write all of `pieces`, one behind the other."""
        for first in range(0, len(pieces), _IOV_MAX):
            group = pieces[first : first + _IOV_MAX]
            count, size_bytes = os.pwritev(descriptor, group, offset), sum(map(len, group))
            if count < size_bytes:
                self.write(descriptor, b"".join(group)[count:], offset + count)
            offset += size_bytes

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def remove(self, path: Path) -> None:
        path.unlink()

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_together(self, descriptor: int) -> None:
        self._together.run(descriptor)

    def sync_all(self, descriptors: Sequence[int]) -> list[OSError | None]:
        """Sync files, and return what went wrong with each."""
        if not self._together.covers(descriptors):
            return [_error_of(self.sync, descriptor) for descriptor in descriptors]
        # The oldest descriptor is told of all that went wrong while the others were written.
        return [_error_of(self.sync_together, descriptors[0])] * len(descriptors)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def make_directory(self, path: Path) -> None:
        """Create a directory with its parents, each made durable in its parent."""
        missing = [path, *path.parents]
        for directory in reversed([each for each in missing if not each.exists()]):
            with contextlib.suppress(FileExistsError):
                directory.mkdir(DIRECTORY_MODE)
            self.sync_directory(directory.parent)

    def sync_directory(self, path: Path) -> None:
        """Make names durable: new files, and what was renamed."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, content: bytes) -> None:
        """Replace a whole file: a reader sees the old content or the new, also after a power failure."""
        temporary = temporary_name(path)
        descriptor = self.open(temporary)
        try:
            self.truncate(descriptor, 0)
            self.write(descriptor, content, 0)
            if os.geteuid() == 0:  # `repair` by root must not lock out the daemon, whose directory it is
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            self.sync(descriptor)
        finally:
            self.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105 - beside its kin
        self.sync_directory(path.parent)


def _error_of(sync: Callable[[int], None], descriptor: int) -> OSError | None:
    try:
        sync(descriptor)
    except OSError as error:
        return error
    return None


def temporary_name(path: Path) -> Path:
    """Return the name a file has while it is being replaced; left behind by a crash, it is of no use."""
    return path.with_name(f".{path.name}.tmp")
