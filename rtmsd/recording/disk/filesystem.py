"""The calls on the file system that may fail. Everything here runs in a worker thread; tests let it fail."""

import contextlib
import ctypes
import errno
import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Final, TypeVar

from rtmsd.recording.disk.nofollow import BASE, free_name, is_away, open_below, open_directory

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
SET_ASIDE: Final = ".damaged"
"""Suffix of what stood in the way and may still be worth something."""

PAGE_BYTES: Final = 4096

FROM_FILES: Final = 16
"""Fewer are synced one by one: the call would also wait for what other programs have written."""

_EQUIVALENT: Final = frozenset({"ext4", "xfs", "f2fs"})
"""Where `syncfs` is known to do all that `fdatasync` does, and where st_dev names the mount."""

_REPORTS_ERRORS: Final = (5, 8)  # the first Linux whose syncfs does
_SLOW_S: Final = 0.25
_PAUSE_S: Final = 60.0

_IOV_MAX: Final = min(os.sysconf("SC_IOV_MAX"), 1024)
_WRITE_BYTES: Final = 2**20
"""About so much is written by one call. With 1024 pieces, 23 MB of video, the kernel took memory that was never used
before, and a flood of video 1.6 times the CPU; frame by frame the copy takes 3 times as long.
"""

_LOOKED_AT: Final = 16  # pieces of a file are about as long as the first ones

_FILE: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe in its place must not stop us


class Disk:
    """The real disk. All methods but `sync_all` and `replace_all` raise OSError.

    Attributes:
        root: the directory below which no symbolic link is followed; None: of a path only the last parts are not.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self._together = FileSystemSync()
        self._new_names: set[str] = set()  # directories that hold some; strings, as more than one thread adds
        self._naming = threading.Lock()
        self._held = threading.local()

    @contextlib.contextmanager
    def hold_root(self) -> Iterator[None]:
        """Keep the root open for all that this thread opens meanwhile: a flush opens a thousand files below it."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # of one that is not there yet each path has its own
                if self.root is not None:
                    self._held.root = os.open(self.root, BASE)
                    stack.callback(os.close, self._held.root)
            stack.callback(self._held.__dict__.clear)
            yield

    @property
    def _held_root(self) -> int | None:
        return getattr(self._held, "root", None)

    def _directory(self, path: Path) -> contextlib.AbstractContextManager[int]:
        return open_directory(path, self.root, self._held_root)

    def open(self, path: Path, *, create: bool = False) -> int:
        """Open a file for reading and writing: one that is there, or a new one, which must not be there."""
        flags = _FILE | (os.O_CREAT | os.O_EXCL if create else 0)
        root = None if self.root is None else os.fspath(self.root)
        try:
            descriptor = open_below(os.fspath(path), root, flags, FILE_MODE, held=self._held_root)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        if not create and not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.ENOTDIR, "is no file", str(path))
        return descriptor

    def read(self, path: Path) -> bytes:
        descriptor = self.open(path)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write all of `data`; past the end of the file this leaves a hole that costs no space."""
        view = memoryview(data)
        while view:
            count = os.pwrite(descriptor, view, offset)
            view, offset = view[count:], offset + count

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        """Write all of `pieces`, one behind the other."""
        longest_bytes = max(map(len, pieces[:_LOOKED_AT]), default=0)
        at_once = max(1, min(_IOV_MAX, _WRITE_BYTES // max(1, longest_bytes)))
        for first in range(0, len(pieces), at_once):
            group = pieces[first : first + at_once]
            count, size_bytes = os.pwritev(descriptor, group, offset), sum(map(len, group))
            if count < size_bytes:
                self.write(descriptor, b"".join(group)[count:], offset + count)
            offset += size_bytes

    def truncate(self, descriptor: int, size_bytes: int) -> None:
        os.ftruncate(descriptor, size_bytes)

    def remove(self, path: Path) -> None:
        """Remove a file; nothing to do when it, or its directory, is gone."""
        try:
            with self._directory(path.parent) as directory:
                os.unlink(path.name, dir_fd=directory)
        except OSError as error:
            if not is_away(error):
                raise

    def set_aside(self, path: Path) -> None:
        """Make way for what is ours, and keep what stands there, under a name that is free."""
        with self._directory(path.parent) as directory:
            free = free_name(f"{path.name}{SET_ASIDE}", directory)
            os.rename(path.name, free, src_dir_fd=directory, dst_dir_fd=directory)

    def sizes(self, directory: Path, names: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Return inode and size of those files that are in a directory; nothing where there is no directory."""
        found = {}
        try:
            with self._directory(directory) as descriptor:
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        known = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                        if stat.S_ISREG(known.st_mode):
                            found[name] = (known.st_ino, known.st_size)
        except OSError as error:
            if not is_away(error):
                raise
        return found

    def sync(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync_together(self, descriptor: int) -> None:
        self._together.run(descriptor)

    def sync_all(self, files: Sequence[tuple[Path, int]]) -> list[OSError | None]:
        """Sync files, by path and descriptor, with all names that are new, and return what went wrong with each."""
        descriptors = [descriptor for _, descriptor in files]
        if self._together.covers(descriptors):
            return self._sync_names(files, together=True)  # and what has them
        began_s = time.monotonic()
        failures = [_error_of(self.sync, descriptor) for descriptor in descriptors]
        self._together.compare(len(files), time.monotonic() - began_s)
        others = self._sync_names(files, together=False)
        return [failure or other for failure, other in zip(failures, others, strict=True)]

    def _sync_names(self, files: Sequence[tuple[Path, int]], *, together: bool) -> list[OSError | None]:
        with self._naming:  # who comes meanwhile may rely on names that are being synced here
            # Taken one by one: another thread may note a name at any time, in this very set.
            names = {self._new_names.pop() for _ in range(len(self._new_names))}
            if together:
                # The oldest descriptor reports all that went wrong while the others were written.
                failure = _error_of(self.sync_together, files[0][1])
                if failure is not None:
                    self._new_names |= names
                return [failure] * len(files)
            refused = {name: error for name in names if (error := _error_of(self.sync_directory, Path(name)))}
            self._new_names |= {name for name, error in refused.items() if _may_pass(error)}
        if not refused:
            return [None] * len(files)
        return [next((refused[name] for name in map(str, path.parents) if name in refused), None) for path, _ in files]

    def uncache(self, descriptor: int, offset: int, stop: int) -> None:
        """Let the kernel use the memory of what was synced for something else. The last page stays if it is not full:
        what comes next would first read it back.
        """
        stop -= stop % PAGE_BYTES
        if stop > offset:
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, offset, stop - offset, os.POSIX_FADV_DONTNEED)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def make_directory(self, path: Path) -> None:
        """Create a directory with its parents. Whatever stands in the place of one below the root is set aside.

        The names are durable with the next `sync_all`, which joins those of many recordings: one by one, the first
        flush of 500 took half of its time.
        """
        try:
            with self._directory(path):
                return
        except OSError as error:
            if not is_away(error):
                raise
        self.make_directory(path.parent)
        if self.root is not None and path != self.root and path.is_relative_to(self.root):
            if path.is_symlink() or path.exists():
                self.set_aside(path)
            with self._directory(path.parent) as parent, contextlib.suppress(FileExistsError):
                os.mkdir(path.name, DIRECTORY_MODE, dir_fd=parent)
        else:
            with contextlib.suppress(FileExistsError):
                path.mkdir(DIRECTORY_MODE)
        self.note_name(path)

    def note_name(self, path: Path) -> None:
        """A name is new: the next `sync_all` makes it durable."""
        self._new_names.add(str(path.parent))

    def sync_directory(self, path: Path) -> None:
        """Make names durable: new files, and what was renamed."""
        with self._directory(path) as descriptor:
            os.fsync(descriptor)

    def replace(self, path: Path, content: bytes) -> None:
        """Replace a whole file: a reader sees the old content or the new, also after a power failure."""
        (failure,) = self.replace_all([(path, content)])
        if failure is not None:
            raise failure

    def replace_all(self, files: Sequence[tuple[Path, bytes]]) -> list[Exception | None]:
        """Replace files, each as `replace` does, and return what went wrong with each.

        Many are synced together, before they get their names and behind that: one by one, the manifests of 128
        recordings take twice the CPU and 2.5 times the time.
        """
        failures: list[Exception | None] = [None] * len(files)
        staged: list[tuple[int, Path, int]] = []
        try:
            for number, (path, content) in enumerate(files):
                try:
                    staged.append((number, path, self._stage(path, content)))
                except Exception as error:  # of one, which must not keep the others from the disk
                    failures[number] = error
            opened = [(path, descriptor) for _, path, descriptor in staged]
            for (number, path, _), sync_failure in zip(staged, self.sync_all(opened), strict=True):
                failures[number] = sync_failure or _error_of(self.put_in_place, path)
            together = self._together.covers([descriptor for _, descriptor in opened])
            for (number, _, _), failure in zip(staged, self._sync_names(opened, together=together), strict=True):
                failures[number] = failures[number] or failure
        finally:
            for _, _, descriptor in staged:
                with contextlib.suppress(OSError):
                    self.close(descriptor)
        return failures

    def _stage(self, path: Path, content: bytes) -> int:
        """Write the new content beside a file. Returns its descriptor."""
        beside = temporary(path)
        try:
            descriptor = self.open(beside, create=True)
        except FileExistsError:
            self.remove(beside)  # left behind by a crash, it is of no use
            if os.path.lexists(beside):  # a directory
                self.set_aside(beside)
            descriptor = self.open(beside, create=True)
        try:
            self.write(descriptor, content, 0)
            if os.geteuid() == 0:  # `repair` by root must not lock out the daemon, whose directory it is
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        except BaseException:
            self.close(descriptor)
            with contextlib.suppress(OSError):
                self.remove(beside)
            raise
        return descriptor

    def put_in_place(self, path: Path) -> None:
        """Give what was written beside a file (`temporary`) its name. Durable with `sync_directory`."""
        with self._directory(path.parent) as directory:
            names = partial(os.replace, temporary(path).name, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            try:
                names()
            except IsADirectoryError:
                self.set_aside(path)
                names()
        self.note_name(path)


def _may_pass(error: OSError) -> bool:
    """Whether a directory may be synced later. One that is gone has no names, and one that may be written and not read
    must not keep all that is below it from the disk for ever.
    """
    return not is_away(error) and error.errno not in {errno.EACCES, errno.EPERM}


def temporary(path: Path) -> Path:
    """Return the name beside a file under which its new content is written."""
    return path.with_name(f".{path.name}.tmp")


_T = TypeVar("_T")


def _error_of(work: Callable[[_T], None], argument: _T) -> OSError | None:
    try:
        work(argument)
    except OSError as error:
        return error
    return None


# Many files to disk in one call: `fdatasync` of a hundred files costs 18 ms of CPU and 45 ms of time, half of it in
# waiting; `syncfs` of the file system they are on costs 3 ms and 20 ms (ext4 on a virtual disk, 16 KB for each file).


class FileSystemSync:
    """Decides whether files go to disk together. Somebody else's data may make that slow: then not, for a while, unless
    file by file takes no less. With our own data, 80 KB or 80 MB, it never does.
    """

    def __init__(self) -> None:
        self._not_before_s = 0.0
        self._slow_s = math.inf  # what the call took that is not repeated for a while

    def compare(self, files: int, took_s: float) -> None:
        """So many files were synced by themselves."""
        if files >= FROM_FILES and took_s >= self._slow_s:
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
        took_s = time.monotonic() - began_s
        if took_s > _SLOW_S:
            self._not_before_s, self._slow_s = time.monotonic() + _PAUSE_S, took_s
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
