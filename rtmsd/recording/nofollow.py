"""Paths below a recording directory, opened part by part, so that no symbolic link on the way is followed.

Others may be allowed to write there (a group, a program that cleans up): what they put in the place of a directory of
ours must not lead what we write, or delete, to somewhere else. The root itself may be a link: its owner chose it.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AWAY: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})
"""Nothing is there, or something of another kind: a link counts as that, be it the last part or on the way."""


@contextlib.contextmanager
def open_directory(path: Path, root: Path | None) -> Iterator[int]:
    """Open a directory. Without a root only the last part of the path is not followed.

    Raises:
        OSError: it is not there, or a part below `root` is no directory; it names that part.
    """
    base, parts = _split(path, root)
    descriptor = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            base /= part
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(base)) from None
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _split(path: Path, root: Path | None) -> tuple[Path, tuple[str, ...]]:
    if root is None:
        return (path.parent, (path.name,)) if path.name else (path, ())
    return (root, path.relative_to(root).parts) if path.is_relative_to(root) else (path, ())


def is_away(error: OSError) -> bool:
    """Whether the error says that something is gone, or replaced by what is not ours; else the disk refuses."""
    return error.errno in _AWAY


def is_directory(path: Path) -> bool:
    """Whether there is a directory, and not a link to one."""
    return path.is_dir() and not path.is_symlink()


def is_file(path: Path, root: Path) -> bool:
    """Whether there is a file that can be reached below `root` without following a link."""
    between = path.relative_to(root).parents
    return path.is_file() and not path.is_symlink() and not any((root / each).is_symlink() for each in between[:-1])


def free_name(name: str, descriptor: int) -> str:
    """Return a name for what is set aside, that nothing has yet in the directory."""
    number, free = 1, name
    while _exists(free, descriptor):
        number += 1
        free = f"{name}-{number}"
    return free


def _exists(name: str, descriptor: int) -> bool:
    try:
        os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def delete_inside(descriptor: int, *, but: str = "") -> None:
    """Delete what is in a directory, apart from one name: all that can be, whatever else cannot. Links go, and what
    they lead to stays.

    Raises:
        OSError: something is left.
    """
    refused: list[OSError] = []

    def note(work: object, path: object, failure: tuple[object, BaseException, object]) -> None:
        assert isinstance(failure[1], OSError)
        refused.append(failure[1])

    for name in os.listdir(descriptor):
        if name == but:
            continue
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                shutil.rmtree(name, onerror=note, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)
        except OSError as error:
            refused.append(error)
    if refused:
        raise refused[0]
