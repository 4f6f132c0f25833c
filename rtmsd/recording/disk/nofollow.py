"""Paths below a recording directory, opened part by part, so that no symbolic link on the way is followed.

Others may be allowed to write there (a group, a program that cleans up): what they put in the place of a directory of
ours must not lead what we write, or delete, to somewhere else. The root itself may be a link: its owner chose it.
"""

import contextlib
import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BASE: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ON_THE_WAY: Final = BASE | os.O_NOFOLLOW
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_AWAY: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})
"""Nothing is there, or something of another kind: a link counts as that, be it the last part or on the way."""


@contextlib.contextmanager
def open_directory(path: Path, root: Path | None, held: int | None = None) -> Iterator[int]:
    """Open a directory. Without a root only the last part of the path is not followed.

    Args:
        held: the root's descriptor, where it is open already.

    Raises:
        OSError: it is not there, or a part below `root` is no directory; it names that part. One that is raised inside,
            by a call that knows no more than a name in the directory, gets the whole path.
    """
    descriptor = open_below(os.fspath(path), None if root is None else os.fspath(root), _DIRECTORY, held=held)
    try:
        yield descriptor
    except OSError as error:
        if isinstance(error.filename, str):
            error.filename = os.path.join(path, error.filename)  # noqa: PTH118 - which leaves an absolute one alone
        raise
    finally:
        os.close(descriptor)


def open_below(path: str, root: str | None, flags: int, mode: int = 0, *, held: int | None = None) -> int:
    """Open what is at a path, as `os.open` does. In strings: it is done for each file of a flush.

    Raises:
        OSError: as `open_directory`.
    """
    base, parts = _split(path, root)
    if not parts:  # the root, or nothing below it
        return os.open(base, flags & ~os.O_NOFOLLOW if flags & os.O_DIRECTORY else flags, mode)
    if held is not None:
        return _open_from(held, base, parts, flags, mode)
    descriptor = os.open(base, BASE)
    try:
        return _open_from(descriptor, base, parts, flags, mode)
    finally:
        os.close(descriptor)


def _open_from(descriptor: int, base: str, parts: list[str], flags: int, mode: int) -> int:
    if len(parts) > 1:
        opened = _open_at_once(descriptor, "/".join(parts), flags, mode)
        if opened is not None:
            return opened
    way = descriptor  # part by part, which also says what is in the way
    for number, part in enumerate(parts, 1):
        try:
            inner = os.open(part, flags if number == len(parts) else _ON_THE_WAY, mode, dir_fd=way)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "/".join((base, *parts[:number]))) from None
        finally:
            if way != descriptor:
                os.close(way)
        way = inner
    return way


class _How(ctypes.Structure):
    """The kernel's `open_how`."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def _open_at_once(descriptor: int, path: str, flags: int, mode: int) -> int | None:
    """Open a path by the one call that follows no link, `openat2` (Linux 5.6); None where that fails, for any reason.

    Each call of the writer's thread may have to wait for the event loop, and part by part there are two for each part.
    """
    if "\0" in path:  # it would end there
        return None
    how = _How(flags | os.O_LARGEFILE, mode if flags & os.O_CREAT else 0, _RESOLVE_NO_SYMLINKS)
    opened: int = _libc.syscall(_OPENAT2, descriptor, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    return opened if opened >= 0 else None


_OPENAT2: Final = 437  # nearly everywhere; elsewhere, as on MIPS, no call that could open anything
_RESOLVE_NO_SYMLINKS: Final = 0x04
_libc: Final = ctypes.CDLL(None)


def _split(path: str, root: str | None) -> tuple[str, list[str]]:
    if root is None:
        parent, _, name = path.rpartition("/")
        return (parent or ("/" if path.startswith("/") else "."), [name] if name not in {"", "."} else [])
    if root == "." and not path.startswith("/"):  # paths below it do not begin with it
        return root, [] if path == "." else path.split("/")
    if path.startswith(root) and path[len(root) : len(root) + 1] == "/":
        return root, path[len(root) + 1 :].split("/")
    return path, []


def is_away(error: OSError) -> bool:
    """Whether the error says that something is gone, or replaced by what is not ours; else the disk failed."""
    return error.errno in _AWAY


def is_directory(path: Path | str) -> bool:
    """Whether there is a directory, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError as error:
        if error.errno in _AWAY:
            return False
        raise


def is_file(path: Path, root: Path) -> bool:
    """Whether there is a file that can be reached below `root` without following a link."""
    between = path.relative_to(root).parents
    return path.is_file() and not path.is_symlink() and not any((root / each).is_symlink() for each in between[:-1])


def walk(directory: str, within: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all that is below a directory, in order, each with its path from there. A link is not followed, and what
    may not be read counts as empty.
    """
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        if is_away(error) or isinstance(error, PermissionError):
            return
        raise
    for entry in entries:
        yield within + entry.name, entry
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path, f"{within}{entry.name}/")


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
    for name in os.listdir(descriptor):
        if name == but:
            continue
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
                try:
                    delete_inside(inner)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)
        except OSError as error:
            refused.append(error)
    if refused:
        raise refused[0]
