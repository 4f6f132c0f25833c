"""Repair of the files of lines: what is no line is moved to a file beside, for a person to read."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from rtmsd.recording.disk.filesystem import SET_ASIDE
from rtmsd.recording.disk.paths import EVENTS
from rtmsd.recording.manifest.lines import FILES, Line, read_line
from rtmsd.recording.manifest.schema import FileEntry, Manifest
from rtmsd.recording.recovery.damage import Lost, gap_of, lost_lines
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair_files import cut_torn

if TYPE_CHECKING:
    from collections.abc import Iterable


_HOLE: Final = b"\0"
"""The trace of a hole before a line."""


def repair_lines(plan: RepairPlan, manifest: Manifest) -> list[FileEntry]:
    """Repair events and the media that are text. Returns the entries of those that the manifest lists."""
    entries = {entry.path: entry for entry in manifest.files}
    found: list[FileEntry] = []
    for name, kind in FILES.items():
        path, entry = plan.directory / name, entries.get(name)
        times_ms: list[int] = []
        size_bytes = 0
        lost: Lost | None = None
        if plan.exists(path):
            cut_torn(plan, path)
            size_bytes = plan.size_bytes(path)
            times_ms, lost = _sort_out(plan, path, kind, manifest, is_promised=entry is not None)
        if name == EVENTS:
            promised_bytes = manifest.events_bytes
            if size_bytes < promised_bytes:
                what = f"cut off, {promised_bytes} to {size_bytes} bytes" if size_bytes else "gone"
                plan.note_lost(Lost(name, what))
            elif lost is not None:
                plan.note_lost(Lost(name, lost.what))
            continue
        started_ms, ended_ms = manifest.started_ms, manifest.ended_ms
        if entry is not None:
            until_ms = ended_ms if ended_ms is not None else manifest.clock_ms or None
            short = lost_lines(entry, size_bytes, times_ms, started_ms, until_ms)
            for each in (lost, short):
                if each is not None:
                    plan.note_lost(each)
            if short is not None or lost is not None:
                entry = replace(entry, duration_ms=max(0, max(times_ms, default=started_ms) - started_ms))
        if plan.exists(path):
            entry = entry or FileEntry(name, path.stem, None, started_ms, 0, 0)
            found.append(replace(entry, media=path.stem, bytes=plan.size_bytes(path)))
    return found


def _sort_out(
    plan: RepairPlan, path: Path, kind: Line, manifest: Manifest, *, is_promised: bool
) -> tuple[list[int], Lost | None]:
    """Move what is no line to the file beside. Returns the times of the lines, and what is lost by it."""
    broken: dict[int, bytes] = {}  # by number; the others stay in the file, as a million of them may
    times_ms: list[int] = []
    before_ms = behind_ms = None  # times of the lines around all that is broken
    content = plan.content(path)
    is_right = True
    for number, line in enumerate(_raw_lines(content)):
        try:
            time_ms = _time_ms(read_line(line.lstrip(_HOLE), kind))
        except ValueError:
            if times_ms and not broken:
                before_ms = times_ms[-1]
            broken[number] = line
            behind_ms = None
            continue
        if behind_ms is None:
            behind_ms = time_ms
        is_right &= not line.startswith(_HOLE)
        times_ms.append(time_ms)
    if is_right and not broken:
        return times_ms, None
    if broken:
        plan.append(path.with_name(f"{path.name}{SET_ASIDE}"), b"".join(broken.values()))
    kept = (line.lstrip(_HOLE) for number, line in enumerate(_raw_lines(content)) if number not in broken)
    plan.replace(path, b"".join(kept))
    plan.note(path, f"{len(broken)} invalid lines moved to {path.name}{SET_ASIDE}")
    if not broken or (not is_promised and kind is not Line.EVENT):
        return times_ms, None
    started_ms, ended_ms = manifest.started_ms, manifest.ended_ms
    from_ms = started_ms if before_ms is None else before_ms
    ends_ms = (behind_ms, ended_ms, manifest.clock_ms or None, from_ms + 1)
    to_ms = next(each for each in ends_ms if each is not None)
    gap = gap_of(path.stem, None, min(from_ms, to_ms - 1), to_ms, ended_ms)
    return times_ms, Lost(path.name, f"{len(broken)} lines are broken", gap)


def _raw_lines(content: bytes) -> Iterator[bytes]:
    """Yield the whole lines, each with its end."""
    return (line for line in BytesIO(content) if line.endswith(b"\n"))


def _time_ms(line: dict[str, Any]) -> int:
    """Return when it was, and of an utterance when it ended."""
    known: Iterable[Any] = (line.get("end_ms"), line.get("timestamp_ms"), line.get("at_ms"))
    return next((each for each in known if type(each) is int), 0)
