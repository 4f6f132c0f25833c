"""Exporter `remux`: video and shared screens in Matroska or MP4, not encoded again, a file for each segment."""

from itertools import groupby
from typing import Any, Final

import attrs

from rtmsd.export.errors import ExportError
from rtmsd.export.extra import need
from rtmsd.export.film.container import CODECS, Pattern, film
from rtmsd.export.film.pictures import PictureFile, picture_files
from rtmsd.export.film.segments import Segment, read_segments
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.text.plain import one_line
from rtmsd.recording.disk.paths import participant_name

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
        number, span = 0, self.request.span(self.source)
        for file in files:
            before = number
            for segment in read_segments(self.source, file, span, self.report):
                number = before + segment.number
                if number > _MAX_SEGMENTS:
                    what = f"has more than {_MAX_SEGMENTS} segments; the rest is left out"
                    self.source.damaged(file.entry.path, what)
                    return
                self._segment(number, file, segment)

    def _segment(self, number: int, file: PictureFile, segment: Segment) -> None:
        """Write one segment; one that FFmpeg cannot read becomes a problem of the source."""
        first = segment.first
        try:
            pattern = Pattern(self.av, file.codec, first.data)
        except ExportError as error:
            self.source.damaged(file.entry.path, f"{segment.where}: {error}; not exported")
            return
        media, user_id, form = file.entry.media, file.user_id, self.request.format
        name, title = f"{media}-{participant_name(user_id)}-{number}.{form}", one_line(self.source.name(user_id))
        with (
            self.output.file(name, user_id=user_id, media=media, segment=number) as opened,
            film(opened, form, pattern, origin_ms=first.time_ms, title=title) as track,
        ):
            for picture in segment.pictures:
                track.add(picture)
        pattern.close()
        width, height = first.head.size or (None, None)
        self.facts.append(
            {
                "codec": file.codec.name,
                "width": width,
                "height": height,
                "from_ms": first.time_ms,
                "duration_ms": track.end_ms,
                "pictures": track.pictures,
                "left_out": segment.left_out,
            }
        )
        if segment.left_out:
            self.report.notes.append(f"{name}: {segment.left_out} pictures that need a key frame before them left out")
        if track.moved:
            self.report.notes.append(f"{name}: {track.moved} pictures whose times go back put behind the one before")
