"""Gathering: the parts of a stream, joined beside the place of the recording, verified, and only then put there.

It may be interrupted at any time, and run again: until the end the parts are as they were. Only a part in the place of
the joined recording is removed, after that one was verified and has its place.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs
from msgspec import UNSET

from rtmsd.protocol.causes import RecordingState
from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import CAPTIONS, EVENTS, TRANSCRIPT, aside_of, building_of, date_of, safe_name
from rtmsd.recording.gather.audio import join_audio
from rtmsd.recording.gather.coverage import logged_times
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.gather.joining import end_of, joined_manifest, number_connections
from rtmsd.recording.gather.lines import Line, fill, join_lines, renumbered, time_of_event, time_of_text
from rtmsd.recording.gather.pictures import copy_pictures
from rtmsd.recording.gather.sources import NO_LOG, EngineLog, Source, find_parts, read_source, without_guesses
from rtmsd.recording.library.catalog import erase, root_of
from rtmsd.recording.manifest.lines import FILES, json_line
from rtmsd.recording.manifest.schema import MANIFEST, FileEntry, Manifest, encode_manifest, read_manifest
from rtmsd.recording.media.captions import captions
from rtmsd.recording.verify.verify import verify
from rtmsd.system.lock import LockFile

_UNLIMITED: Final = 2**62
_LOCK: Final = ".rtmsd.gather"


@attrs.frozen(kw_only=True)
class Gathered:
    """Attributes:
    directory: of the joined recording, or where it would be.
    parts: that were joined.
    manifest: of the joined recording.
    """

    directory: Path
    parts: list[Path]
    manifest: Manifest


def gather(rtms_stream_id: str, below: Iterable[Path], to: Path, *, without_end: bool = False) -> Gathered:
    """Join the parts of a stream, and verify what was joined.

    Args:
        below: directories of recordings, or of one, with the parts. Nobody may be writing to them.
        to: the directory of recordings in which the joined one gets its place.
        without_end: join also parts none of which knows the end of the stream.

    Raises:
        GatherError: there are no parts, or none that fit together; the stream has not ended; something else is in the
            place; or what was joined does not stand the verification.
        AlreadyRunningError: another process gathers there.
        StorageError: it cannot be locked.
        OSError: something cannot be read or written.
    """
    lock = lock_gathering(to)
    try:
        joined = join(rtms_stream_id, below, Disk(to), without_end=without_end)
        put_in_place(joined)
    finally:
        lock.release()
    return joined


def lock_gathering(to: Path) -> LockFile:
    """Keep other processes from gathering in a directory.

    Raises:
        AlreadyRunningError: one does.
        StorageError: it cannot be locked.
    """
    return LockFile.acquire(to / _LOCK, f"gathering in {to}", itself=to / f"{_LOCK}.file")


def join(
    rtms_stream_id: str,
    below: Iterable[Path],
    disk: Disk,
    *,
    without_end: bool = False,
    log: EngineLog = NO_LOG,
) -> Gathered:
    """Join the parts beside the place of the recording, and verify what was joined. Hold the lock.

    Args:
        disk: of the directory that the joined recording is for.
        log: has lines that may be in no part any more.

    Raises:
        GatherError, OSError: see `gather`.
    """
    to, name = disk.root, safe_name(rtms_stream_id)
    assert to is not None
    _undo_interrupted(to, name)
    parts = find_parts(rtms_stream_id, below)
    if not parts:
        raise GatherError(f"no part of {rtms_stream_id!r} is there: copy the recordings of its nodes there")
    sources = sorted(map(read_source, parts), key=lambda source: (source.first_epoch, str(source.directory)))
    sources = without_guesses(sources)
    _check(sources, without_end=without_end)
    started_ms = min(source.manifest.started_ms for source in sources)
    target = to / date_of(started_ms) / name
    if target.exists() and not any(target.samefile(part) for part in parts):
        raise GatherError(f"{target}: is there already, and none of the parts; name it with --from, or remove it")
    building = building_of(target)
    if building.exists():
        erase(building)
    manifest = _build(sources, log, building, disk)
    if problems := verify(building):
        raise GatherError(f"{building}: what was joined is not right, and was left there: {problems[0]}")
    return Gathered(directory=target, parts=parts, manifest=manifest)


def _check(sources: Sequence[Source], *, without_end: bool) -> None:
    first = sources[0].manifest
    for source in sources[1:]:
        if source.manifest.started_ms != first.started_ms:
            raise GatherError(f"{source.directory}: began at another time than {sources[0].directory}")
    if not without_end and not any(source.has_ended for source in sources):
        raise GatherError(
            "no part knows the end of the stream: it lives, or a part is missing; --without-end joins all"
        )
    seen: dict[str, Path] = {}
    for source in sources:
        for node in source.nodes:
            if node in seen:
                raise GatherError(f"{source.directory}: is of node {node!r}, as {seen[node]} is; name only one of them")
            seen[node] = source.directory


def _is_revoked(part: Path) -> bool:
    manifest = read_manifest(part)
    return manifest is None or manifest.state == RecordingState.REVOKED


def _build(sources: Sequence[Source], log: EngineLog, directory: Path, disk: Disk) -> Manifest:
    """Write the joined recording, its manifest last."""
    disk.make_directory(directory)
    maker = FileMaker(directory, Backlog(_UNLIMITED))
    started_ms = min(source.manifest.started_ms for source in sources)
    numbering = number_connections(sources, end_of(sources)[1])
    audio = join_audio(sources, disk, maker, started_ms)
    files = list(audio.files)
    for source, numbers in zip(sources, numbering.numbers, strict=True):
        files += copy_pictures(source, disk, maker, numbers)
    from_log = Counter[str]()
    for name in FILES:
        if name != EVENTS:
            lines = join_lines([source.lines(name) for source in sources], time_of_text)
            lines, from_log[Path(name).stem] = fill(lines, log.lines(name), time_of_text)
            files += _texts(directory / name, lines, started_ms, disk)
    events = join_lines(
        [renumbered(source.lines(EVENTS), numbers) for source, numbers in zip(sources, numbering.numbers, strict=True)],
        time_of_event,
    )
    events, from_log[Path(EVENTS).stem] = fill(events, log.lines(EVENTS), time_of_event)
    content = b"".join(map(json_line, events))
    if events:
        disk.replace(directory / EVENTS, content)
    manifest = joined_manifest(
        sources,
        numbering,
        files=files,
        heard=audio.heard,
        adjustments=audio.adjustments,
        events_bytes=len(content),
        logged=logged_times(log),
        from_log=+from_log,
    )
    disk.replace(directory / MANIFEST, encode_manifest(manifest))
    disk.sync_directory(directory)
    return manifest


def _texts(path: Path, lines: list[Line], started_ms: int, disk: Disk) -> list[FileEntry]:
    if not lines:
        return []
    content = b"".join(map(json_line, lines))
    disk.replace(path, content)
    if path.name == TRANSCRIPT:
        disk.replace(path.with_name(CAPTIONS), captions(lines, started_ms).encode(errors="replace"))
    newest_ms = max(max(line["timestamp_ms"], line.get("end_ms") or 0) for line in lines)
    return [FileEntry(path.name, path.stem, None, started_ms, max(0, newest_ms - started_ms), len(content))]


def put_in_place(joined: Gathered) -> None:
    """Give the joined recording its name; a part that has it goes aside, and is erased when that is durable.

    Raises:
        GatherError: Zoom revoked the stream meanwhile; what was joined is erased.
        OSError: something cannot be written.
    """
    target = joined.directory
    building, aside, disk = building_of(target), aside_of(target), Disk(root_of(target))
    if any(_is_revoked(part) for part in joined.parts):
        erase(building)
        raise GatherError(f"{target}: Zoom revoked the stream meanwhile")
    if target.exists():
        target.rename(aside)
    building.rename(target)
    disk.sync_directory(target.parent)
    if aside.exists():
        erase(aside)


def _undo_interrupted(to: Path, name: str) -> None:
    """Finish what an earlier run left between two names: a part that went aside comes back, or is erased.

    Raises:
        GatherError: something else has its place.
    """
    for aside in to.glob(f"*/{aside_of(Path(name)).name}"):
        target = aside.with_name(name)
        if not target.exists():
            aside.rename(target)
            continue
        manifest = read_manifest(target)
        if manifest is None or manifest.parts is UNSET:
            raise GatherError(f"{aside}: a part that was set aside, and {target} is no joined recording: look at both")
        erase(aside)
