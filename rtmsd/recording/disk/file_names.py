"""New files of a stream, each under a name that no other has."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

from rtmsd.recording.disk.file_buffer import Backlog, DiskFile

Header = Callable[[int], bytes]
_File = TypeVar("_File", bound=DiskFile)
MakeFile = Callable[[Path, Backlog, Callable[[DiskFile], object]], _File]

_MAX_LISTED_BYTES: Final = 500_000
_LISTED_BYTES: Final = 100
"""Of each file, besides its name twice: a measure for what the manifest has to hold, 2000 files with usual names."""


class FileMaker:
    """Makes the files of one stream and knows their names. Nothing here touches the disk.

    Attributes:
        dirty: files with something to write, in the order in which they got it.
        files: all that are kept.
        doomed: files to be removed before the manifest is written.

    Args:
        taken: names that are in use, of files of ours or not.
    """

    def __init__(self, directory: Path, backlog: Backlog, taken: Iterable[str] = ()) -> None:
        self.directory = directory
        self.dirty: dict[DiskFile, None] = {}
        self.files: dict[DiskFile, None] = {}
        self.doomed: list[Path] = []
        self._backlog = backlog
        self._names = set(taken)
        self._listed_bytes = sum(map(_listed_bytes, self._names))

    @property
    def is_full(self) -> bool:
        """Whether the manifest would become too large with another file."""
        return self._listed_bytes > _MAX_LISTED_BYTES

    def new(self, folder: str, stem: str, suffix: str, *, header: Header | None = None) -> DiskFile:
        """Return a file `<folder>/<stem>.<suffix>`, or `<stem>-2`, `-3`, ... where that is taken."""
        return self.existing(self.free_name(folder, stem, suffix), 0, header=header)

    def free_name(self, folder: str, stem: str, suffix: str) -> str:
        """Return the name for a new file."""
        name, number = f"{folder}/{stem}.{suffix}", 1
        while name in self._names:
            number += 1
            name = f"{folder}/{stem}-{number}.{suffix}"
        return name

    def existing(self, name: str, size_bytes: int, *, header: Header | None = None) -> DiskFile:
        """Return the file of that name, to be continued."""
        return self.add(name, lambda path, backlog, mark: DiskFile(path, size_bytes, backlog, mark, header))

    def add(self, name: str, make: MakeFile[_File]) -> _File:
        """Return the file that is made for a name."""
        if name not in self._names:
            self._names.add(name)
            self._listed_bytes += _listed_bytes(name)
        file = make(self.directory / name, self._backlog, self._mark)
        self.files[file] = None
        return file

    def forget(self, file: DiskFile) -> None:
        """It is kept no more; what was queued for it has to be somewhere else by now."""
        self.files.pop(file, None)
        self.dirty.pop(file, None)

    def name(self, file: DiskFile) -> str:
        """Return the path of a file as the manifest has it."""
        return file.path.relative_to(self.directory).as_posix()

    def _mark(self, file: DiskFile) -> None:
        self.dirty[file] = None


def _listed_bytes(name: str) -> int:
    return _LISTED_BYTES + 2 * len(name)
