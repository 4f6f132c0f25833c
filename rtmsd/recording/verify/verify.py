"""Verification of the directory of one stream against its manifest.

Problems are for people; none means: every file is whole and as the manifest says, and every instant from the first
media handshake to the end was connected, paused, is recorded elsewhere in a cluster, or is a gap with a cause.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rtmsd.recording.disk.paths import recorded_paths
from rtmsd.recording.manifest.lines import FILES, read_line
from rtmsd.recording.manifest.schema import manifest_from_json
from rtmsd.recording.verify.opus_reader import read_opus
from rtmsd.recording.verify.pictures import check_pictures
from rtmsd.recording.verify.times import ENDED, Problem, check_form, verify_manifest
from rtmsd.recording.verify.wave_reader import read_wave

_LISTED_LINES: Final = FILES.keys() - {"events.jsonl"}
_SET_ASIDE: Final = re.compile(r"\.damaged(-\d+)?$")  # by a repair, for people
_LISTS: Final = ("participants", "files", "gaps", "connections")


class Missing(NamedTuple):
    """What is not in a recording, which is no problem: each gap has its cause, and the rest is another member's.

    Attributes:
        gaps: how many.
        missing_ms: how much they leave out, by cause; of an open one, what is known by now.
        elsewhere_ms: how much other members of a cluster have, by node.
        media_ms: `missing_ms` of each medium.
    """

    gaps: int
    missing_ms: dict[str, int]
    elsewhere_ms: dict[str, int]
    media_ms: dict[str, dict[str, int]]


def verify(directory: Path) -> list[Problem]:
    """Return what is wrong with a recording. A stream that has not ended is checked as far as it can be.

    Raises:
        OSError: something cannot be read.
    """
    try:
        manifest = json.loads((directory / "stream.json").read_bytes())
    except FileNotFoundError:
        return [Problem("stream.json", "manifest", "missing")]
    except (ValueError, RecursionError) as exc:
        return [Problem("stream.json", "manifest", f"not readable: {exc}")]
    if wrong := list(check_form(manifest)):
        return wrong
    if manifest["state"] == "revoked":
        return list(_check_receipt(directory, manifest))
    return [
        *_check_files(directory, manifest),
        *_check_strays(directory, manifest),
        *_check_lines(directory),
        *_check_events(directory, manifest),
        *verify_manifest(manifest),
    ]


def missing(directory: Path) -> Missing:
    """Return what a recording's manifest says is not in it; nothing where it cannot be read: `verify` says so.

    Raises:
        OSError: something cannot be read.
    """
    try:
        manifest = json.loads((directory / "stream.json").read_bytes())
        manifest_from_json(manifest)
    except (FileNotFoundError, ValueError, RecursionError):
        return Missing(0, {}, {}, {})
    totals, media_ms = Counter[str](), dict[str, Counter[str]]()
    for gap in manifest["gaps"]:
        to_ms = manifest.get("clock_ms", 0) if gap["to_ms"] is None else gap["to_ms"]
        amount = {gap["cause"]: max(0, to_ms - gap["from_ms"])}
        totals.update(amount)
        media_ms.setdefault(gap["media"], Counter()).update(amount)
    elsewhere: dict[str, int] = {}
    for other in (manifest.get("part") or {}).get("elsewhere", ()):
        elsewhere[other["node"]] = elsewhere.get(other["node"], 0) + max(0, other["to_ms"] - other["from_ms"])
    by_medium = {medium: dict(causes) for medium, causes in media_ms.items()}
    return Missing(len(manifest["gaps"]), dict(totals), elsewhere, by_medium)


def _check_receipt(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    for path in sorted(directory.iterdir()):
        if path.name != "stream.json":
            yield Problem(path.name, "revoked", "must have been deleted")
    for name in _LISTS:
        if manifest[name]:
            yield Problem("stream.json", "revoked", f"{name} must be empty")


# Files


def _check_files(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    has_ended = manifest["state"] in ENDED
    names = [entry["path"] for entry in manifest["files"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(name, "manifest", "listed more than once")
    for entry in manifest["files"]:
        name, path = entry["path"], directory / entry["path"]
        if entry["media"] != (name.rpartition("/")[0] or name.removesuffix(".jsonl")):
            yield Problem(name, "manifest", f"is listed as {entry['media']}")
        if not path.is_file():
            yield Problem(name, "missing", "listed in the manifest and not there")
            continue
        size_bytes = path.stat().st_size
        if (size_bytes != entry["bytes"]) if has_ended else (size_bytes < entry["bytes"]):
            yield Problem(name, "length", f"{size_bytes} bytes, {entry['bytes']} in the manifest")
        if entry["media"] == "audio" and entry.get("codec") == "OPUS":
            yield from _check_opus(path, entry, manifest, has_ended=has_ended)
        elif entry["media"] == "audio":
            yield from _check_wave(path, entry, manifest, has_ended=has_ended)
        elif "index" in entry:
            has_all = not manifest["counters"].get("unlisted_segments")
            yield from check_pictures(directory, entry, has_ended=has_ended, has_all_segments=has_all)


def _check_wave(path: Path, entry: dict[str, Any], manifest: dict[str, Any], *, has_ended: bool) -> Iterator[Problem]:
    name, size_bytes = entry["path"], path.stat().st_size
    try:
        wave = read_wave(path)
    except ValueError as exc:
        yield Problem(name, "header", str(exc))
        return
    there_bytes = size_bytes - wave.data_offset
    if wave.data_bytes != there_bytes:
        yield Problem(name, "header", f"says {wave.data_bytes} bytes of samples, there are {there_bytes}")
    if there_bytes % wave.block_bytes:
        yield Problem(name, "length", "ends within a sample")
    yield from _check_duration(there_bytes // wave.block_bytes * 1000 // wave.rate_hz, entry, has_ended=has_ended)
    is_older = "rate_hz" in entry and "sample_rate_hz" not in entry  # of before there was any other codec
    listed = ("L16", entry["rate_hz"]) if is_older else (entry.get("codec"), entry.get("sample_rate_hz"))
    if (*listed, entry.get("channels")) != ("L16", wave.rate_hz, wave.channels):
        yield Problem(name, "header", f"says {wave.rate_hz} Hz and {wave.channels} channels, the manifest does not")
    started_ms = manifest["started_ms"]
    if wave.bext is None:
        yield Problem(name, "header", "has no bext chunk")
        return
    if wave.bext.samples != max(0, entry["start_ms"] - started_ms + started_ms % 86_400_000) * wave.rate_hz // 1000:
        yield Problem(name, "header", "bext time reference is not start_ms")
    if _seconds(wave.bext.started) != started_ms // 1000:
        yield Problem(name, "header", f"bext is of a stream that started at {wave.bext.started!r}")
    if wave.bext.description != json.dumps({"user_id": entry["user_id"]}).encode()[:256]:
        yield Problem(name, "header", f"bext is of {wave.bext.description!r}, not of {entry['user_id']!r}")


def _check_opus(path: Path, entry: dict[str, Any], manifest: dict[str, Any], *, has_ended: bool) -> Iterator[Problem]:
    name = entry["path"]
    try:
        opus = read_opus(path)
    except ValueError as exc:
        yield Problem(name, "header", str(exc))
        return
    if opus.problem is not None and (has_ended or not opus.is_torn):  # before the end a page may be on its way
        yield Problem(name, "page", opus.problem)
    yield from _check_duration(opus.samples // 48, entry, has_ended=has_ended)
    if (48_000, opus.channels) != (entry.get("sample_rate_hz"), entry.get("channels")):
        yield Problem(name, "header", f"says 48000 Hz and {opus.channels} channels, the manifest does not")
    wanted = {
        "RTMS_START_MS": str(entry["start_ms"]),
        "RTMS_STREAM_STARTED_MS": str(manifest["started_ms"]),
        "RTMS_USER_ID": json.dumps(entry["user_id"])[:256],
    }
    for key, value in wanted.items():
        if opus.comments.get(key) != value:
            yield Problem(name, "header", f"{key} is {opus.comments.get(key)!r}, not {value!r}")


def _check_duration(duration_ms: int, entry: dict[str, Any], *, has_ended: bool) -> Iterator[Problem]:
    if (duration_ms != entry["duration_ms"]) if has_ended else (duration_ms < entry["duration_ms"]):
        yield Problem(entry["path"], "length", f"{duration_ms} ms, {entry['duration_ms']} in the manifest")


def _seconds(date_and_time: str) -> int | None:
    """Return the time since the epoch; None for what is no time."""
    try:
        return int(datetime.strptime(f"{date_and_time} +0000", "%Y-%m-%d %H:%M:%S %z").timestamp())
    except ValueError:
        return None


def _check_strays(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    listed = {entry["path"] for entry in manifest["files"]} | {entry.get("index") for entry in manifest["files"]}
    # Before the end, the manifest lists these a moment after their first line.
    of_lines = _LISTED_LINES if manifest["state"] in ENDED else frozenset()
    for path in recorded_paths(directory):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            if not _SET_ASIDE.search(name):
                yield Problem(name, "link", "a symbolic link in the place of what was recorded; not followed")
        elif path.name.endswith(".tmp"):
            yield Problem(name, "stray", "left behind by an interrupted replacement")
        elif path.is_file() and name not in listed and (path.parent != directory or name in of_lines):
            yield Problem(name, "stray", "not in the manifest")


def _check_lines(directory: Path) -> Iterator[Problem]:
    for name, kind in FILES.items():
        path = directory / name
        if not path.exists():
            continue
        *lines, last = path.read_bytes().split(b"\n")
        if last:
            yield Problem(name, "torn", "last line is not whole")
        for number, line in enumerate(lines, 1):
            try:
                read_line(line, kind)
            except ValueError as exc:
                yield Problem(name, "line", f"line {number}: {exc}")
    cues = directory / "transcript.vtt"
    if cues.exists() and not cues.read_bytes().startswith(b"WEBVTT\n"):
        yield Problem(cues.name, "header", "not WebVTT")


def _check_events(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    path, promised_bytes = directory / "events.jsonl", manifest.get("events_bytes", 0)
    size_bytes = path.stat().st_size if path.is_file() else 0
    if size_bytes < promised_bytes:
        detail = f"{size_bytes} bytes, {promised_bytes} in the manifest" if size_bytes else "not there"
        yield Problem(path.name, "length" if size_bytes else "missing", detail)
