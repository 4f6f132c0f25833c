"""Repair of the files of lines: what is no line is moved to a file beside, for a person to read."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def repair_lines(plan: RepairPlan, manifest: Manifest) -> list[FileEntry]:
    """Repair events and the media that are text. Returns the entries of those that the manifest lists."""
    entries = {entry.path: entry for entry in manifest.files}
    found: list[FileEntry] = []
    for name, kind in FILES.items():
        path, entry = plan.directory / name, entries.get(name)
        lines: list[dict[str, Any]] = []
        size_bytes = 0
        lost: Lost | None = None
        if plan.exists(path):
            cut_torn(plan, path)
            size_bytes = plan.size_bytes(path)
            lines, lost = _sort_out(plan, path, kind, manifest, is_promised=entry is not None)
        times_ms = [_time_ms(line) for line in lines]
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
) -> tuple[list[dict[str, Any]], Lost | None]:
    """Move what is no line to the file beside. Returns the lines, and what is lost by it."""
    kept: list[bytes] = []
    broken: list[bytes] = []
    lines: list[dict[str, Any]] = []
    before_ms = behind_ms = None  # times of the lines around all that is broken
    for raw in plan.content(path).split(b"\n")[:-1]:
        line = raw.lstrip(b"\0")  # what a hole before it left
        try:
            known = read_line(line, kind)
        except ValueError:
            if lines and not broken:
                before_ms = _time_ms(lines[-1])
            broken.append(raw)
            behind_ms = None
            continue
        if behind_ms is None:
            behind_ms = _time_ms(known)
        kept.append(line)
        lines.append(known)
    right = b"".join(line + b"\n" for line in kept)
    if right == plan.content(path):
        return lines, None
    if broken:
        plan.append(path.with_name(f"{path.name}{SET_ASIDE}"), b"".join(line + b"\n" for line in broken))
    plan.replace(path, right)
    plan.note(path, f"{len(broken)} invalid lines moved to {path.name}{SET_ASIDE}")
    if not broken or (not is_promised and kind is not Line.EVENT):
        return lines, None
    started_ms, ended_ms = manifest.started_ms, manifest.ended_ms
    from_ms = started_ms if before_ms is None else before_ms
    ends_ms = (behind_ms, ended_ms, manifest.clock_ms or None, from_ms + 1)
    to_ms = next(each for each in ends_ms if each is not None)
    gap = gap_of(path.stem, None, min(from_ms, to_ms - 1), to_ms, ended_ms)
    return lines, Lost(path.name, f"{len(broken)} lines are broken", gap)


def _time_ms(line: dict[str, Any]) -> int:
    """Return when it was, and of an utterance when it ended."""
    known: Iterable[Any] = (line.get("end_ms"), line.get("timestamp_ms"), line.get("at_ms"))
    return next((each for each in known if type(each) is int), 0)
