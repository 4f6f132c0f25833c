"""Exporter `images`: each JPEG and PNG of video and shared screens in a file of its own. Needs no library."""

from collections import Counter
from typing import Final

from rtmsd.export.errors import ExportError
from rtmsd.export.film.pictures import picture_files, read_pictures
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.media.images.codecs import JPG, PNG

_SUFFIXES: Final = {JPG: "jpg", PNG: "png"}


def images(source: Source, request: Request, report: Report) -> None:
    """Write `images/<media>-<user>/000001-<timestamp_ms>.jpg` and so on."""
    request.check_options()
    files = picture_files(source, request)
    usable = [file for file in files if file.codec in _SUFFIXES]
    if len(usable) < len(files):
        what = "H.264 and what has no name of ours is not made of images"
        hint = "`rtmsctl recordings remux X` makes films of H.264."
        if not usable:
            raise ExportError(what, hint)
        report.notes.append(f"{what}, and left out. {hint}")
    if not files:
        raise ExportError("the recording has no video and no shared screens")
    numbers: Counter[str] = Counter()
    span = request.span(source)
    with Output(source, request, report) as output:
        for file in usable:
            folder = f"{file.entry.media}-{participant_name(file.user_id)}"
            broken = 0
            for picture in read_pictures(source, file, span, report):
                if not picture.head.is_key:
                    broken += 1
                    continue
                numbers[folder] += 1
                name = f"{numbers[folder]:06}-{picture.time_ms}.{_SUFFIXES[file.codec]}"
                with output.file(f"{folder}/{name}", "images", user_id=file.user_id) as opened:
                    opened.write(picture.data)
            if broken:
                source.damaged(file.entry.path, f"messages that are no {file.codec.name}, not exported: {broken}")
