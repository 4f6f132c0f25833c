"""The sound of a page: in it, beside it, or none."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import attrs

from rtmsd.export.audio import wav
from rtmsd.export.audio.encoding import BITRATE, write_opus
from rtmsd.export.audio.mixing import Sound, sound
from rtmsd.export.audio.plan import Plan, make_plan
from rtmsd.export.audio.reading import check_libraries
from rtmsd.export.errors import ExportError, RecordingRevoked
from rtmsd.export.extra import have
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.recording.manifest.schema import MIX_USER_ID

_EMBED_BYTES: Final = 64 * 2**20
"""Of base64 in a page, at most, unless it is asked for."""

_PIECE_BYTES: Final = 3 * 2**16  # of three bytes base64 makes four


class Mix(NamedTuple):
    """Attributes:
    note: for people: where the sound is.
    from_ms: time of its first sample.
    url: of the audio element, in pieces; none without sound.
    """

    note: str
    from_ms: int
    url: Iterator[str] = iter(())


def make_mix(
    source: Source,
    request: Request,
    report: Report,
    output: Output,
    *,
    spool: BinaryIO,
    progress: Callable[[float], None],
) -> Mix:
    """Make the sound as `--audio` says, for a page that goes to `output`.

    Args:
        progress: takes the part of the mix that is done.
        spool: an empty file for sound that is to be in the page.

    Raises:
        ExportError: it cannot be had in the way that was asked for.
    """
    if request.audio == "none":
        return Mix("Without sound, as asked for.", source.started_ms)
    try:
        plan = make_plan(source, attrs.evolve(request, is_tracks=False))
        check_libraries(plan)
        is_small = plan.duration_ms * BITRATE // 8000 * 4 // 3 <= _EMBED_BYTES
        if request.audio == "embed" or (request.audio == "auto" and is_small and have("av")):
            write_opus(spool, _mixed(source, plan, report, progress), "--audio embed", BITRATE)
            size_mib = spool.seek(0, os.SEEK_END) * 4 / 3 / 2**20
            return Mix(f"The sound is in this page ({size_mib:.1f} MiB).", plan.from_ms, _data_url(spool))
        name = _beside(source, request, plan, output, _mixed(source, plan, report, progress))
    except ExportError as error:
        if request.audio != "auto" or isinstance(error, RecordingRevoked):
            raise
        return Mix(f"Without sound: {error}.", source.started_ms)
    return Mix(f"The sound is in {name} beside this page: keep both together.", plan.from_ms, iter((name,)))


def _mixed(source: Source, plan: Plan, report: Report, progress: Callable[[float], None]) -> Sound:
    return sound(source, plan, plan.tracks, report, title="mix", progress=progress)


def _data_url(file: BinaryIO) -> Iterator[str]:
    file.seek(0)
    yield "data:audio/ogg;base64,"
    while content := file.read(_PIECE_BYTES):
        yield base64.b64encode(content).decode()


def _beside(source: Source, request: Request, plan: Plan, output: Output, mixed: Sound) -> str:
    """Return the name of a WAV beside the page. It is the page's own: in `mix.wav` others may be heard."""
    if request.output is not None and not Path(request.output).is_dir():
        raise ExportError("there is no place for it beside --output FILE", "Name a directory.")
    with output.file("page.wav", duration_ms=plan.duration_ms) as file:
        wav.write(file, mixed, owner=MIX_USER_ID, stream_started_ms=source.started_ms, is_stdout=False)
    return "page.wav"
