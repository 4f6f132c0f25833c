"""A lost manifest, rebuilt from the files: the header of a file of audio holds its start and owner."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.times import is_believable
from rtmsd.recording.disk.filesystem import SET_ASIDE
from rtmsd.recording.disk.paths import EVENTS, time_of
from rtmsd.recording.manifest.lines import FILES, Line, read_lines
from rtmsd.recording.manifest.schema import FAR_MS, MANIFEST, ConnectionEntry, Manifest, ParticipantEntry, new_manifest
from rtmsd.recording.media.ogg.header import HEAD_BYTES, OggHeader
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.recovery.damage import Lost
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair_files import header_of, ogg_header_of
from rtmsd.recording.recovery.repair_pictures import FOLDERS

_OURS: Final = ("audio/*.wav", "audio/*.opus", *(f"{folder}/*.jsonl" for folder in FOLDERS), *FILES)
_WRITTEN_BY_MS: Final = 10_000
"""A stream that has lasted so long had its manifest on disk: where there is none, somebody took it away."""


def rebuild_manifest(plan: RepairPlan, identity: dict[str, Any]) -> Manifest | None:
    """Return a manifest that knows what the files show: who spoke, and when; None where they show nothing."""
    files = [path for pattern in _OURS for path in plan.files(pattern)]
    if not (identity or files):
        return None
    path, events = plan.directory / MANIFEST, plan.directory / EVENTS
    if path.exists() or path.is_symlink():  # a person may still read in it what no file shows
        plan.set_aside(path)
        plan.note(path, f"no manifest of rtmsd, set aside as {MANIFEST}{SET_ASIDE}")
        plan.lost.append(Lost(MANIFEST, "damaged; made again from the files"))
    headers = [header for path in sorted(files) if (header := _header(path)) is not None]
    starts = [header.stream_started_ms for header in headers]
    lines = read_lines(plan.content(events), Line.EVENT) if plan.exists(events) else []
    written = [line["at_ms"] for line in lines if 0 <= line["at_ms"] <= FAR_MS]
    if written and max(written) - min(written) > _WRITTEN_BY_MS and not plan.lost:
        plan.lost.append(Lost(MANIFEST, "gone; made again from the files"))
    times_ms = list(filter(is_believable, starts)) or list(filter(is_believable, written))
    day_ms = time_of(plan.directory.absolute().parent.name)  # where there is no other source
    started_ms = identity.get("started_ms", min(times_ms, default=day_ms))
    plan.note(path, "made again from the files")
    guessed = {"rtms_stream_id": unquote(plan.directory.name), "product": "session", "id": "", "app": ""}
    connection = ConnectionEntry(number=1, kind="media", media=["audio"], opened_ms=started_ms, closed_ms=None)
    # Killed in the first flush, which may have come to one file only, or with nothing written by a process before that:
    # all media are missing from the start on, but for what is there.
    is_first_flush = bool(identity) and not plan.lost
    return new_manifest(
        **{**guessed, **identity, "started_ms": started_ms},
        state=RecordingState.RECOVERING,
        participants=[ParticipantEntry(owner) for owner in dict.fromkeys(header.owner for header in headers)],
        connections=[connection] if headers and not is_first_flush else [],
    )


def _header(path: Path) -> WavHeader | OggHeader | None:
    if path.suffix not in {".wav", ".opus"}:
        return None
    with path.open("rb") as file:
        if path.suffix == ".wav":
            return header_of(file.read(HEADER_BYTES), path.stem)
        return ogg_header_of(file.read(HEAD_BYTES), path.stem)
