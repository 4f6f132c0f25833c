"""The exporters of the formats wav, flac and opus."""

from typing import BinaryIO, Final

from rtmsd.export.audio import wav
from rtmsd.export.audio.encoding import BITRATES, write_flac, write_opus
from rtmsd.export.audio.mixing import Sound, sound
from rtmsd.export.audio.plan import make_plan
from rtmsd.export.audio.reading import check_libraries
from rtmsd.export.errors import WrongRequest
from rtmsd.export.extra import need
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import STDOUT, Request
from rtmsd.export.source import Source
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.manifest.schema import MIX_USER_ID

_LIBRARIES: Final = {"flac": "soundfile", "opus": "av"}


def export(source: Source, request: Request, report: Report) -> None:
    """Write `mix.<format>`, or `tracks/<user_id>.<format>` for each participant."""
    request.check_options(tracks=True, stdout=request.format == "wav" and not request.is_tracks)
    if request.bitrate is not None and request.format != "opus":
        raise WrongRequest(f"--bitrate: {request.format} has none; --format opus has")
    if request.bitrate is not None and request.bitrate not in BITRATES:
        raise WrongRequest(f"--bitrate {request.bitrate}: a bitrate is from {BITRATES[0]} to {BITRATES[-1]} bit/s")
    plan = make_plan(source, request)
    if request.format in _LIBRARIES:
        need(_LIBRARIES[request.format], f"--format {request.format}")
    check_libraries(plan)
    report.duration_ms = plan.duration_ms
    with Output(source, request, report) as output:
        if not request.is_tracks:
            mixed = sound(source, plan, plan.tracks, report, title="mix", progress=report.progress)
            with output.file(f"mix.{request.format}", duration_ms=plan.duration_ms) as file:
                _write(file, mixed, source, request, MIX_USER_ID)
            return
        for number, track in enumerate(plan.tracks):
            share = report.share(number, len(plan.tracks))
            alone = sound(source, plan, [track], report, title=source.name(track.user_id), progress=share)
            name = f"{participant_name(track.user_id)}.{request.format}"
            with output.file(name, "tracks", user_id=track.user_id, duration_ms=plan.duration_ms) as file:
                _write(file, alone, source, request, track.user_id)


def _write(file: BinaryIO, sound: Sound, source: Source, request: Request, owner: int | str) -> None:
    purpose = f"--format {request.format}"
    match request.format:
        case "flac":
            write_flac(file, sound, purpose)
        case "opus":
            write_opus(file, sound, purpose, request.bitrate)
        case _:
            is_stdout = request.output == STDOUT
            wav.write(file, sound, owner=owner, stream_started_ms=source.started_ms, is_stdout=is_stdout)
