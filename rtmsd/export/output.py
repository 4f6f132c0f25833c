"""The output of an export: files that appear whole, or not at all, below the recording or where the user wants them."""

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

from rtmsd.export.errors import ExportError, WrongRequest
from rtmsd.export.report import Report
from rtmsd.export.request import STDOUT, Request
from rtmsd.export.source import Source
from rtmsd.recording.disk.filesystem import Disk, temporary
from rtmsd.recording.disk.nofollow import is_directory, open_directory
from rtmsd.recording.disk.paths import EXPORTS
from rtmsd.recording.manifest.schema import MANIFEST

_AT_ONCE: Final = 256  # descriptors, while many files are synced


class Output:
    """The results of one export; a context manager. At its end they get their names; after an error they are removed.

    Raises:
        ExportError: a result is there already, or another export is writing it.
        WrongRequest: a result cannot be where it was asked for.
        RecordingRevoked: at the end, when the recording was deleted meanwhile: no result is left.
        OSError: the disk refuses.
    """

    def __init__(self, source: Source, request: Request, report: Report) -> None:
        self._source = source
        self._request = request
        self._report = report
        self._is_inside = request.output is None
        self._disk = Disk(source.directory if self._is_inside else None)
        self._written: dict[Path, dict[str, Any]] = {}
        self._placed: list[Path] = []
        self._locks = contextlib.ExitStack()

    def __enter__(self) -> "Output":
        return self

    @contextlib.contextmanager
    def file(self, name: str, folder: str = "", **facts: Any) -> Iterator[BinaryIO]:
        """Open a result to be written, and read again if need be; standard output can only be written in order.

        Args:
            name: of the file, unless the user named it.
            folder: of a result that is one of many: a directory below the usual one; not below the user's own.
            facts: more keys for the report, such as `user_id`.
        """
        if self._request.output == STDOUT:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        path = self._place(name, folder)
        try:
            with self._open(path) as file:
                self._written[path] = facts
                yield file
                file.flush()
                facts["bytes"] = os.fstat(file.fileno()).st_size
        except OSError as error:  # of a descriptor, which does not know its name
            error.filename = str(path) if error.filename is None else error.filename
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._locks:
            if error is None:
                try:
                    self._commit()
                except BaseException as failure:
                    self._undo(failure)
                    raise
            else:
                self._undo(error)

    def _place(self, name: str, folder: str) -> Path:
        """Return where a result goes, its directory made."""
        wanted = self._request.output
        several = f"--output {wanted}: {self._request.format} makes several files; name a directory"
        if wanted is None:
            path = self._source.directory / EXPORTS / folder / name
        elif Path(wanted).is_dir() or (folder and not Path(wanted).exists()):
            path = Path(wanted) / name
        elif folder:
            raise WrongRequest(several)
        else:
            path = Path(wanted)
        if path in self._written:
            raise WrongRequest(several)
        if not self._is_inside:
            _check_outside(path)
        if path.is_symlink() or path.exists():
            if not path.is_file():
                raise WrongRequest(f"{path}: is no file that could be replaced")
            if not self._request.is_forced:
                raise ExportError(f"{path}: is there already", "--force replaces it, --output FILE writes another.")
        if self._is_inside or folder:
            self._make_directory(path.parent)
        elif not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
        return path

    def _make_directory(self, directory: Path) -> None:
        """Make a directory, in a recording one whose content the recording's owner can delete, whoever exports."""
        if all(map(is_directory, self._inside(directory) if self._is_inside else [directory])):
            return
        self._source.check_now()  # else the recording's directory would come back, too
        self._disk.make_directory(directory)
        if self._is_inside:
            known = self._source.directory.stat()
            for each in self._inside(directory):
                with open_directory(each, self._source.directory) as descriptor:
                    os.fchmod(descriptor, known.st_mode & 0o7777)
                    if os.geteuid() == 0:
                        os.fchown(descriptor, known.st_uid, known.st_gid)

    def _inside(self, directory: Path) -> list[Path]:
        """Return the directories between a result and the recording."""
        return [each for each in (directory, *directory.parents) if self._source.directory in each.parents]

    @contextlib.contextmanager
    def _open(self, path: Path) -> Iterator[BinaryIO]:
        """Open the temporary file of a result. The first one is a lock: another export of it does not begin."""
        beside = temporary(path)
        try:
            descriptor = self._disk.open(beside, create=True)
        except FileExistsError:
            descriptor = self._disk.open(beside)  # left behind by a crash, or being written
        with os.fdopen(descriptor, "w+b") as file:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ExportError(f"{path}: another export is writing it", "Wait for its end.") from None
            if not self._written:
                self._locks.callback(os.close, os.dup(descriptor))
            os.ftruncate(descriptor, 0)
            if self._is_inside and os.geteuid() == 0:
                owner = self._source.directory.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            yield file

    def _commit(self) -> None:
        paths = list(self._written)
        for first in range(0, len(paths), _AT_ONCE):
            self._sync(paths[first : first + _AT_ONCE])
        self._source.check_now()
        for path in paths:
            self._disk.put_in_place(path)
            self._placed.append(path)
        for directory in {path.parent for path in paths}:
            self._disk.sync_directory(directory)
        # A revocation replaces the manifest before it deletes: what it did not find here is removed now.
        self._source.check_now()
        self._report.files += [{"path": str(path), **facts} for path, facts in self._written.items()]

    def _sync(self, paths: list[Path]) -> None:
        with contextlib.ExitStack() as stack:
            opened = []
            for path in paths:
                descriptor = self._disk.open(temporary(path))
                stack.callback(os.close, descriptor)
                opened.append((temporary(path), descriptor))
            for failure in self._disk.sync_all(opened):
                if failure is not None:
                    raise failure

    def _undo(self, error: BaseException) -> None:
        """Remove what was written: what has its name already, too: results come all together.

        Raises:
            RecordingRevoked: that is why the disk refused: what was being written has been deleted.
        """
        for path in self._written:
            with contextlib.suppress(OSError):
                self._disk.remove(path if path in self._placed else temporary(path))
        if self._is_inside:
            for directory in {each: None for path in self._written for each in self._inside(path.parent)}:
                with contextlib.suppress(OSError):  # it has other results
                    directory.rmdir()
        if isinstance(error, OSError):
            self._source.check_now()


def _check_outside(path: Path) -> None:
    """Raises WrongRequest for a place among the files of a recording."""
    place = path.parent.resolve() / path.name
    for parent in place.parents:
        if (parent / MANIFEST).is_file() and place.relative_to(parent).parts[0] != EXPORTS:
            raise WrongRequest(f"{path}: is among the files of a recording, which an export never replaces")
