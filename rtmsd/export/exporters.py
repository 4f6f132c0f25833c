"""The exporters: a row for each format of `rtmsctl recordings export`, and for each verb that has no formats."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, NamedTuple

from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source

Export = Callable[[Source, Request, Report], None]
"""Raises ExportError, OSError."""


class Exporter(NamedTuple):
    """A row.

    Attributes:
        run: "module:function" below `rtmsd.export`, imported when it is called for; the function is an `Export`.
        summary: for the help.
    """

    run: str
    summary: str


EXPORTERS: Final[Mapping[str, Exporter]] = {
    "srt": Exporter("text.exporters:export_transcript", "transcript as SubRip subtitles"),
    "vtt": Exporter("text.exporters:export_transcript", "transcript as WebVTT subtitles"),
    "txt": Exporter("text.exporters:export_transcript", "transcript to read"),
    "chat": Exporter("text.exporters:export_chat", "chat as it stood in the end"),
    "wav": Exporter("audio.exporter:export", "sound"),
    "flac": Exporter("audio.exporter:export", "sound, half as large"),
    "opus": Exporter("audio.exporter:export", "sound, small"),
    "page": Exporter("page.exporter:export", "a page for browsers"),
    "mkv": Exporter("film.session:export", "sound, pictures, subtitles and chapters in one film"),
    "images": Exporter("film.images:images", "each JPEG and PNG of video and shared screens in a file"),
    "remux": Exporter("film.remux:remux", "video and shared screens, not encoded again"),
}

VERBS: Final = frozenset({"remux", "page"})
FORMATS: Final = tuple(name for name in EXPORTERS if name not in VERBS)
"""Those of `rtmsctl recordings export`."""


def find(name: str) -> Export:
    """Return the function of an exporter."""
    module, _, function = EXPORTERS[name].run.partition(":")
    export: Export = getattr(import_module(f"rtmsd.export.{module}"), function)
    return export
