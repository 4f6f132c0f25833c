"""Exporter `remux`: video and shared screens in Matroska or MP4, not encoded again, a file for each segment."""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from typing import Any, Final

import attrs

from rtmsd.export.errors import ExportError
from rtmsd.export.extra import need
from rtmsd.export.film.access_units import join_pictures
from rtmsd.export.film.container import CODECS, Pattern, film
from rtmsd.export.film.pictures import Picture, PictureFile, picture_files, read_pictures
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.span import write_offset
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.media.images.codecs import H264, PictureCodec

_MAX_SEGMENTS: Final = 1000
"""Of one participant: pictures that change their size all the time make no more files."""


def remux(source: Source, request: Request, report: Report) -> None:
    """Write `<media>-<user>-<n>.mkv` for each segment, from its first key frame on."""
    request.check_options()
    files = picture_files(source, request)
    usable = [file for file in files if file.codec in CODECS]
    if stills := {file.codec.name or "pictures of an unknown codec" for file in files if file not in usable}:
        hint = "`rtmsctl recordings export X --format images` writes PNG images one by one."
        what = f"{', '.join(sorted(stills))}: {request.format.upper()} cannot hold them"
        if not usable:
            raise ExportError(what, hint)
        report.notes.append(f"{what}. {hint}")
    if not files:
        raise ExportError("the recording has no video and no shared screens")
    av = need("av", "remux")
    # A participant may have several files: after damage, or of several codecs.
    of_users = groupby(sorted(usable, key=_owner), key=_owner)
    facts: list[dict[str, Any]] = []
    with Output(source, request, report) as output:
        for _, parts in of_users:
            _Remuxing(av, source, request, report, output, facts).write(list(parts))
    for known, more in zip(report.files, facts, strict=True):
        known.update(more)


def _owner(file: PictureFile) -> tuple[str, str]:
    return file.entry.media, str(file.user_id)


@attrs.frozen
class _Remuxing:
    """One participant's pictures of one media type, on their way into films.

    Attributes:
        facts: of each film, for the report.
    """

    av: Any
    source: Source
    request: Request
    report: Report
    output: Output
    facts: list[dict[str, Any]]

    def write(self, files: list[PictureFile]) -> None:
        segments = chain.from_iterable(groupby(self._pictures(file), key=_Segmentation(file)) for file in files)
        for number, ((file, _), pictures) in enumerate(segments, 1):
            if number > _MAX_SEGMENTS:
                self.source.damaged(file.entry.path, f"has more than {_MAX_SEGMENTS} segments; the rest is left out")
                break
            self._segment(number, file, pictures)

    def _pictures(self, file: PictureFile) -> Iterator[Picture]:
        pictures = read_pictures(self.source, file, self.request.span(self.source), self.report)
        return join_pictures(pictures) if file.codec is H264 else pictures

    def _segment(self, number: int, file: PictureFile, pictures: Iterator[Picture]) -> None:
        """Write one segment; what FFmpeg cannot read, or has no key frame, becomes a problem of the source."""
        first = next(pictures)
        decodable = _Decodable(chain((first,), pictures), file.codec)
        begin = next(decodable.pictures, None)
        where = f"segment {number}, from {write_offset(first.time_ms - self.source.started_ms)} on"
        if begin is None:
            what = "key frame" if file.codec is H264 else "image"
            self.source.damaged(file.entry.path, f"{where}: no {what} in {decodable.left_out} pictures; not exported")
            return
        try:
            pattern = Pattern(self.av, file.codec, begin.data)
        except ExportError as error:
            self.source.damaged(file.entry.path, f"{where}: {error}; not exported")
            return
        media, user_id, form = file.entry.media, file.user_id, self.request.format
        name, title = f"{media}-{participant_name(user_id)}-{number}.{form}", self.source.name(user_id)
        with (
            self.output.file(name, user_id=user_id, media=media, segment=number) as opened,
            film(opened, form, pattern, origin_ms=begin.time_ms, title=title) as track,
        ):
            for picture in chain((begin,), decodable.pictures):
                track.add(picture)
        pattern.close()
        width, height = begin.head.size or (None, None)
        self.facts.append(
            {
                "codec": file.codec.name,
                "width": width,
                "height": height,
                "from_ms": begin.time_ms,
                "duration_ms": track.end_ms,
                "pictures": track.pictures,
                "left_out": decodable.left_out,
            }
        )
        if decodable.left_out:
            self.report.notes.append(
                f"{name}: {decodable.left_out} pictures that need a key frame before them left out"
            )
        if track.moved:
            self.report.notes.append(f"{name}: {track.moved} pictures whose times go back put behind the one before")


class _Segmentation:
    """The key of a picture's segment: another one after each reconnection and change of size."""

    def __init__(self, file: PictureFile) -> None:
        self._file = file
        self._number = 0
        self._connection: int | None = None
        self._size: tuple[int, int] | None = None

    def __call__(self, picture: Picture) -> tuple[PictureFile, int]:
        size = picture.head.size
        if picture.connection != self._connection:
            self._number += 1
            self._connection, self._size = picture.connection, size
        elif size is not None and size != self._size:
            self._number += self._size is not None
            self._size = size
        return self._file, self._number


class _Decodable:
    """Those pictures that can be decoded: from a key frame on, and where something is missing from the next one on.

    Attributes:
        left_out: how many are none of them, so far.
    """

    def __init__(self, pictures: Iterable[Picture], codec: PictureCodec) -> None:
        self.left_out = 0
        self.pictures = self._choose(pictures, needs_others=codec is H264)

    def _choose(self, pictures: Iterable[Picture], *, needs_others: bool) -> Iterator[Picture]:
        has_key = False
        for picture in pictures:
            has_key = picture.head.is_key or (needs_others and has_key and picture.is_continued)
            if has_key:
                yield picture
            else:
                self.left_out += 1
