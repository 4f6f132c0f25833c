"""Video and shared screens of all parts: each file as it is, beside those of other parts, as no two can be joined."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Final

from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.gather.lines import renumbered
from rtmsd.recording.gather.sources import Source
from rtmsd.recording.manifest.lines import Line, json_line, read_line
from rtmsd.recording.manifest.schema import FileEntry

_COPIED_BYTES: Final = 2**20


def copy_pictures(source: Source, disk: Disk, maker: FileMaker, numbers: Mapping[int, int]) -> list[FileEntry]:
    """Copy the files of pictures with their indexes.

    Args:
        numbers: those of connections in the joined recording, by those in the part.

    Raises:
        OSError: something cannot be read or written.
    """
    return [_copy(source, entry, disk, maker, numbers) for entry in source.manifest.files if entry.index is not UNSET]


def _copy(source: Source, entry: FileEntry, disk: Disk, maker: FileMaker, numbers: Mapping[int, int]) -> FileEntry:
    assert entry.index is not UNSET
    suffix = Path(entry.path).suffix.removeprefix(".")
    stem = Path(entry.path).stem if entry.user_id is None else participant_name(entry.user_id)
    name = maker.free_name(entry.media, stem, suffix)
    index = maker.free_name(entry.media, Path(name).name, "jsonl")
    target = maker.existing(name, 0).path
    disk.make_directory(target.parent)
    _copy_file(source.directory / entry.path, source.size_bytes(entry.path), target, disk)
    lines = [read_line(line, Line.PICTURE) for line in source.content(entry.index).splitlines()]
    disk.replace(maker.existing(index, 0).path, b"".join(map(json_line, renumbered(lines, numbers))))
    segments = entry.segments
    if segments is not UNSET:
        segments = [replace(each, connection=numbers.get(each.connection, 0)) for each in segments]
    return replace(entry, path=name, index=index, segments=segments)


def _copy_file(path: Path, size_bytes: int, target: Path, disk: Disk) -> None:
    descriptor = disk.open(target, create=True)
    try:
        with path.open("rb") as file:
            at = 0
            while data := _read(file, min(_COPIED_BYTES, size_bytes - at)):
                disk.write(descriptor, data, at)
                at += len(data)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)
    disk.note_name(target)


def _read(file: BinaryIO, size_bytes: int) -> bytes:
    return file.read(size_bytes) if size_bytes else b""
