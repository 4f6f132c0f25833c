"""Repair of the files of lines: what is no line is moved to a file beside, where a person may still read in it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from rtmsd.recording.disk.filesystem import SET_ASIDE
from rtmsd.recording.disk.paths import CHAT, EVENTS, TRANSCRIPT
from rtmsd.recording.manifest.schema import Line, read_line
from rtmsd.recording.recovery.damage import Lost, gap_of, lost_lines
from rtmsd.recording.recovery.plan import Mends
from rtmsd.recording.recovery.repair_files import FileMender

KINDS: Final = {EVENTS: Line.EVENT, TRANSCRIPT: Line.UTTERANCE, CHAT: Line.CHAT}


def repair_lines(mends: Mends, files: FileMender, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Repair events, transcript and chat. Returns the entries of those that the manifest lists."""
    entries = {entry["path"]: entry for entry in manifest["files"]}
    found = []
    for name, kind in KINDS.items():
        path, entry = mends.directory / name, entries.get(name)
        lines: list[dict[str, Any]] = []
        size_bytes = 0
        lost: Lost | None = None
        if mends.exists(path):
            files.cut_torn(path)
            size_bytes = mends.size_bytes(path)
            lines, lost = _sort_out(mends, path, kind, manifest, is_promised=entry is not None)
        times_ms = [_time_ms(line) for line in lines]
        if name == EVENTS:
            promised_bytes = manifest.get("events_bytes", 0)
            if size_bytes < promised_bytes:
                what = f"cut off, {promised_bytes} to {size_bytes} bytes" if size_bytes else "gone"
                mends.say_lost(Lost(name, what))
            elif lost is not None:
                mends.say_lost(Lost(name, lost.what))
            continue
        started_ms, ended_ms = manifest["started_ms"], manifest["ended_ms"]
        if entry is not None:
            until_ms = ended_ms if ended_ms is not None else manifest.get("clock_ms")
            short = lost_lines(entry, size_bytes, times_ms, started_ms, until_ms)
            for each in (lost, short):
                if each is not None:
                    mends.say_lost(each)
            if short is not None or lost is not None:
                entry = entry | {"duration_ms": max(0, max(times_ms, default=started_ms) - started_ms)}
        if mends.exists(path):
            new = {"user_id": None, "start_ms": started_ms, "duration_ms": 0}
            found.append(new | (entry or {}) | {"path": name, "media": path.stem, "bytes": mends.size_bytes(path)})
    return found


def _sort_out(
    mends: Mends, path: Path, kind: Line, manifest: dict[str, Any], *, is_promised: bool
) -> tuple[list[dict[str, Any]], Lost | None]:
    """Move what is no line to the file beside. Returns the lines, and what is lost by it."""
    kept: list[bytes] = []
    broken: list[bytes] = []
    lines: list[dict[str, Any]] = []
    around: list[tuple[int | None, int | None]] = []  # times of the lines before and behind what is broken
    for raw in mends.content(path).split(b"\n")[:-1]:
        line = raw.lstrip(b"\0")  # what a hole before it left
        try:
            known = read_line(line, kind)
        except ValueError:
            if not broken or not around or around[-1][1] is not None:
                around.append((_time_ms(lines[-1]) if lines else None, None))
            broken.append(raw)
            continue
        if around and around[-1][1] is None:
            around[-1] = (around[-1][0], _time_ms(known))
        kept.append(line)
        lines.append(known)
    right = b"".join(line + b"\n" for line in kept)
    if right == mends.content(path):
        return lines, None
    if broken:
        mends.append(path.with_name(f"{path.name}{SET_ASIDE}"), b"".join(line + b"\n" for line in broken))
    mends.replace(path, right)
    mends.say(path, f"{len(broken)} lines that are none moved to {path.name}{SET_ASIDE}")
    if not broken or (not is_promised and kind is not Line.EVENT):
        return lines, None
    started_ms, ended_ms = manifest["started_ms"], manifest["ended_ms"]
    from_ms = _first(around[0][0], started_ms)
    to_ms = _first(around[-1][1], ended_ms, manifest.get("clock_ms"), from_ms + 1)
    gap = gap_of(path.stem, None, min(from_ms, to_ms - 1), to_ms, ended_ms)
    return lines, Lost(path.name, f"{len(broken)} lines are broken", gap)


def _first(*times_ms: int | None) -> int:
    return next(time_ms for time_ms in times_ms if time_ms is not None)


def _time_ms(line: dict[str, Any]) -> int:
    """Return when it was, and of an utterance when it ended."""
    known: Iterable[Any] = (line.get("end_ms"), line.get("timestamp_ms"), line.get("at_ms"))
    return next((each for each in known if type(each) is int), 0)
