"""Reader of recorded pictures: the messages of one file, by its index, with what their heads say."""

import os
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import msgspec

from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.span import Span
from rtmsd.recording.disk.paths import owner_of
from rtmsd.recording.manifest.schema import FileEntry, Ms, SizeBytes
from rtmsd.recording.media.images.codecs import PictureCodec, codec_of_file
from rtmsd.recording.media.images.head import NOT_KEY, Head

MEDIA: Final = ("video", "share")

_MAX_BYTES: Final = 2**28
_REPORT_EVERY_BYTES: Final = 2**22
_REPORT_EVERY: Final = 256
_LINE_BYTES: Final = 2**16


class Picture(NamedTuple):
    """A message, or as much as belongs to one picture.

    Attributes:
        time_ms: since the epoch.
        connection: that brought it; 0: unknown.
        is_continued: whether nothing is missing between it and the one before.
    """

    time_ms: int
    data: bytes
    head: Head
    connection: int
    is_continued: bool


class PictureFile(NamedTuple):
    """A file of a participant's pictures."""

    entry: FileEntry
    user_id: int | str
    codec: PictureCodec


def picture_files(source: Source, request: Request) -> list[PictureFile]:
    """Return the files of the participants that are wanted, by media type and start.

    Raises:
        NoSuchParticipant: nobody has an id that was asked for.
    """
    entries = [entry for media in MEDIA for entry in sorted(source.files(media), key=lambda entry: entry.start_ms)]
    files = [PictureFile(entry, _owner(entry), codec_of_file(entry.path)) for entry in entries]
    request.check_participants(source, (file.user_id for file in files))
    return [file for file in files if request.wants(file.user_id)]


def read_pictures(source: Source, file: PictureFile, span: Span, report: Report) -> Iterator[Picture]:
    """Yield what is in a file; what is not whole is left out and becomes a problem of the source."""
    name = file.entry.path
    try:
        with source.open(name) as opened:
            yield from _pictures(source, file, opened, span, report)
    except OSError as error:
        source.damaged(name, error.strerror or str(error))


class _Line(msgspec.Struct):
    """A line of the index, read three times as fast as `read_line` does: of 4 KB frames that is a third of all work.

    Attributes:
        connection: None in earlier recordings, and of a stretch whose lines are gone, which is `damaged`.
    """

    offset: SizeBytes
    length: SizeBytes
    timestamp_ms: Ms
    connection: SizeBytes | None = None
    damaged: bool = False


_read_line: Final = msgspec.json.Decoder(_Line).decode


def _pictures(source: Source, file: PictureFile, opened: BinaryIO, span: Span, report: Report) -> Iterator[Picture]:
    entry, read_head = file.entry, file.codec.read
    there_bytes = os.fstat(opened.fileno()).st_size
    size_bytes = min(there_bytes, entry.bytes) if source.is_live else there_bytes
    end = reported = 0
    is_continued = True
    for number, line in enumerate(_lines(source, file)):
        offset, length = line.offset, line.length
        if number % _REPORT_EVERY == 0 or offset - reported > _REPORT_EVERY_BYTES:
            reported = offset
            report.progress(offset / max(1, size_bytes))
        if offset + length > size_bytes:
            if not source.is_live:
                source.damaged(entry.path, f"{size_bytes} bytes, its index lists more")
            return
        if line.damaged or length > _MAX_BYTES:
            source.damaged(f"{entry.path}.jsonl", f"the times of {length} bytes from {offset} on are not known")
            is_continued, end = False, offset + length
            continue
        is_continued = is_continued and offset == end
        end = offset + length
        if not length or not span.contains(line.timestamp_ms):
            continue
        opened.seek(offset)
        data = opened.read(length)
        if len(data) < length:  # it was cut meanwhile
            source.damaged(entry.path, f"{offset + len(data)} bytes, its index lists more")
            return
        yield Picture(line.timestamp_ms, data, read_head(data) or NOT_KEY, line.connection or 0, is_continued)
        is_continued = True
    if end < size_bytes:
        source.damaged(entry.path, f"{size_bytes - end} bytes from {end} on are not in its index")
    elif size_bytes < entry.bytes:
        source.damaged(entry.path, f"{size_bytes} bytes, {entry.bytes} in the manifest")


def _lines(source: Source, file: PictureFile) -> Iterator[_Line]:
    """Yield the lines of the index. Of a live stream the last one may be on its way: it is behind what is promised."""
    name = f"{file.entry.path}.jsonl"
    broken = 0
    try:
        with source.open(name) as index:
            while content := index.readline(_LINE_BYTES):
                try:
                    yield _read_line(content)
                except msgspec.MsgspecError:
                    broken += 1
    except OSError as error:
        source.damaged(name, error.strerror or str(error))
    if broken and not source.is_live:
        source.damaged(name, f"lines that cannot be read: {broken}")


def _owner(entry: FileEntry) -> int | str:
    stem = entry.path.rpartition("/")[2].rpartition(".")[0]
    return owner_of(stem) if entry.user_id is None else entry.user_id
