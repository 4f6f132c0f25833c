"""Check the directory of one stream against what was promised. A reader of its own: it shares nothing with what writes.

What is found is for people; nothing found means: every file is whole and as the manifest says, and every instant from
the first media handshake to the end was connected, paused, or is a gap with a cause.
"""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from rtmsd.protocol.times import EARLIEST_MS, LATEST_MS
from rtmsd.recording.manifest.schema import VERSION, Line, mistake, read_line
from rtmsd.recording.verify.wave_reader import read_wave

CAUSES: Final = frozenset(
    {
        "media_reconnect",
        "signaling_reconnect",
        "server_failover",
        "daemon_restart",
        "dropped",
        "corrupt",
        "refused",
        "damaged",
    }
)
STATES: Final = frozenset({"connecting", "active", "paused", "recovering", "ended", "failed", "revoked"})
JITTER_MS: Final = 20  # what is shorter is no gap
_LISTED_LINES: Final = ("transcript.jsonl", "chat.jsonl")
_SET_ASIDE: Final = re.compile(r"\.damaged(-\d+)?$")  # by a repair, for people
_FINAL: Final = frozenset({"ended", "failed"})
_LISTS: Final = ("participants", "files", "gaps", "connections")
_LINES: Final = {"events.jsonl": Line.EVENT, "transcript.jsonl": Line.UTTERANCE, "chat.jsonl": Line.CHAT}


class Missing(NamedTuple):
    """The gaps of a recording, which are no problems: each has its cause.

    Attributes:
        gaps: how many.
        missing_ms: how much they leave out, by cause; of one that still goes on, what is known by now.
    """

    gaps: int
    missing_ms: dict[str, int]


class Problem(NamedTuple):
    """`path` is relative to the stream's directory; `kind` is stable, `detail` is for people."""

    path: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}"


def verify(directory: Path) -> list[Problem]:
    """Return what is wrong with a recording. A stream that still goes on is checked as far as it can be.

    Raises:
        OSError: something cannot be read.
    """
    try:
        manifest = json.loads((directory / "stream.json").read_bytes())
    except FileNotFoundError:
        return [Problem("stream.json", "manifest", "missing")]
    except (ValueError, RecursionError) as exc:
        return [Problem("stream.json", "manifest", f"not readable: {exc}")]
    wrong = [Problem("stream.json", "manifest", text) for text in _manifest_mistakes(manifest)]
    if wrong:
        return wrong
    if manifest["state"] == "revoked":
        return list(_check_receipt(directory, manifest))
    return [
        *_check_files(directory, manifest),
        *_check_strays(directory, manifest),
        *_check_lines(directory),
        *_check_events(directory, manifest),
        *_check_times(manifest),
        *verify_manifest(manifest),
    ]


def missing(directory: Path) -> Missing:
    """Return what a recording's manifest says is missing; nothing where it cannot be read: `verify` says so.

    Raises:
        OSError: something cannot be read.
    """
    try:
        manifest = json.loads((directory / "stream.json").read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return Missing(0, {})
    if mistake(manifest) is not None:
        return Missing(0, {})
    totals: dict[str, int] = {}
    for gap in manifest["gaps"]:
        to_ms = manifest.get("clock_ms", 0) if gap["to_ms"] is None else gap["to_ms"]
        totals[gap["cause"]] = totals.get(gap["cause"], 0) + max(0, to_ms - gap["from_ms"])
    return Missing(len(manifest["gaps"]), totals)


def verify_manifest(manifest: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with what a manifest says of time."""
    yield from _check_gaps(manifest)
    yield from _check_tiling(manifest)


def _manifest_mistakes(manifest: Any) -> Iterator[str]:
    if (why := mistake(manifest)) is not None:
        yield f"not a manifest of rtmsd: {why}"
        return
    if manifest["version"] != VERSION:
        yield f"version {manifest['version']!r}, known is {VERSION}"
    if manifest["state"] not in STATES:
        yield f"unknown state {manifest['state']!r}"
    if manifest["state"] in _FINAL and manifest["ended_ms"] is None:
        yield "ended_ms is missing although the stream is over"


def _check_receipt(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    for path in sorted(directory.iterdir()):
        if path.name != "stream.json":
            yield Problem(path.name, "revoked", "must have been deleted")
    for name in _LISTS:
        if manifest[name]:
            yield Problem("stream.json", "revoked", f"{name} must be empty")


# Files


def _check_files(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    is_over = manifest["state"] in _FINAL
    names = [entry["path"] for entry in manifest["files"]]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem(name, "manifest", "listed more than once")
    for entry in manifest["files"]:
        name, path = entry["path"], directory / entry["path"]
        if entry["media"] != name.rpartition("/")[0] and name != f"{entry['media']}.jsonl":
            yield Problem(name, "manifest", f"is called {entry['media']}")
        if not path.is_file():
            yield Problem(name, "missing", "listed in the manifest and not there")
            continue
        size_bytes = path.stat().st_size
        if (size_bytes != entry["bytes"]) if is_over else (size_bytes < entry["bytes"]):
            yield Problem(name, "length", f"{size_bytes} bytes, {entry['bytes']} in the manifest")
        if entry["media"] == "audio":
            yield from _check_wave(path, entry, manifest, is_over=is_over)
        elif "index" in entry:
            yield from _check_index(directory, entry, is_over=is_over)


def _check_wave(path: Path, entry: dict[str, Any], manifest: dict[str, Any], *, is_over: bool) -> Iterator[Problem]:
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
    duration_ms = there_bytes // wave.block_bytes * 1000 // wave.rate_hz
    if (duration_ms != entry["duration_ms"]) if is_over else (duration_ms < entry["duration_ms"]):
        yield Problem(name, "length", f"{duration_ms} ms, {entry['duration_ms']} in the manifest")
    said = (wave.rate_hz, wave.channels)
    if said != (entry.get("rate_hz", wave.rate_hz), entry.get("channels", wave.channels)):
        yield Problem(name, "header", f"says {said[0]} Hz and {said[1]} channels, the manifest does not")
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


def _seconds(date_and_time: str) -> int | None:
    """Return the time since the epoch; None for what is no time."""
    try:
        return int(datetime.strptime(f"{date_and_time} +0000", "%Y-%m-%d %H:%M:%S %z").timestamp())
    except ValueError:
        return None


def _check_index(directory: Path, entry: dict[str, Any], *, is_over: bool) -> Iterator[Problem]:
    index = directory / entry["index"]
    if not index.is_file():
        yield Problem(entry["index"], "missing", "listed in the manifest and not there")
        return
    end = 0
    times_ms = []
    for line in index.read_bytes().splitlines():
        try:
            picture = read_line(line, Line.PICTURE)
        except ValueError as exc:
            yield Problem(entry["index"], "index", f"broken at offset {end}: {exc}")
            return
        if picture["offset"] != end:
            yield Problem(entry["index"], "index", f"broken at offset {end}")
            return
        end += picture["length"]
        times_ms.append(picture["timestamp_ms"])
    if end != (directory / entry["path"]).stat().st_size:
        yield Problem(entry["index"], "index", f"ends at {end}, the file does not")
    told_ms = (entry["start_ms"], entry["duration_ms"])
    if is_over and times_ms and told_ms != (times_ms[0], max(0, times_ms[-1] - times_ms[0])):
        yield Problem(entry["path"], "length", f"{told_ms[1]} ms from {told_ms[0]} in the manifest, not in the index")


def _check_strays(directory: Path, manifest: dict[str, Any]) -> Iterator[Problem]:
    listed = {entry["path"] for entry in manifest["files"]} | {entry.get("index") for entry in manifest["files"]}
    # Of a stream that goes on, the manifest names these a moment after their first line.
    of_lines = _LISTED_LINES if manifest["state"] in _FINAL else ()
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            if not _SET_ASIDE.search(name):
                yield Problem(name, "link", "a symbolic link in the place of what was recorded; not followed")
        elif path.name.endswith(".tmp"):
            yield Problem(name, "stray", "left behind by an interrupted replacement")
        elif path.is_file() and name not in listed and (path.parent != directory or name in of_lines):
            yield Problem(name, "stray", "not in the manifest")


def _check_lines(directory: Path) -> Iterator[Problem]:
    for name, kind in _LINES.items():
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


# Time


def _check_times(manifest: dict[str, Any]) -> Iterator[Problem]:
    """No time may be absurd, as those are that came in another unit than they were taken for."""
    told = [(name, manifest.get(name)) for name in ("started_ms", "ended_ms", "first_packet_ms")]
    for person in manifest["participants"]:
        told += [(f"{name} of {person['user_id']!r}", person.get(name)) for name in ("joined_ms", "left_ms")]
    told += [(f"start_ms of {entry['path']}", entry["start_ms"]) for entry in manifest["files"]]
    for name, time_ms in told:
        if time_ms is not None and not EARLIEST_MS <= time_ms < LATEST_MS:
            yield Problem("stream.json", "time", f"{name} is {time_ms}, which no stream can be of")


def _check_gaps(manifest: dict[str, Any]) -> Iterator[Problem]:
    is_over = manifest["state"] in _FINAL
    for gap in manifest["gaps"]:
        span = f"{gap['media']} {gap['from_ms']} to {gap['to_ms']}"
        if gap["cause"] not in CAUSES:
            yield Problem("stream.json", "gap", f"{span}: unknown cause {gap['cause']!r}")
        if gap["to_ms"] is None:
            if is_over:
                yield Problem("stream.json", "gap", f"{span}: open although the stream is over")
        elif gap["to_ms"] <= gap["from_ms"]:
            yield Problem("stream.json", "gap", f"{span}: empty")
        elif is_over and gap["to_ms"] > manifest["ended_ms"]:
            yield Problem("stream.json", "gap", f"{span}: after the end")
    yield from _check_told_once(manifest["gaps"])


def _check_told_once(gaps: list[dict[str, Any]]) -> Iterator[Problem]:
    """No loss may be counted twice: of one media type, everybody's gaps overlap nobody's, and nobody's their own."""
    ends: dict[tuple[str, Any], float] = {}  # by media and user: where the furthest gap so far ends
    for gap in sorted(gaps, key=lambda gap: gap["from_ms"]):
        media, user_id = gap["media"], gap["user_id"]
        rivals = [who for what, who in ends if what == media and (user_id is None or who in {None, user_id})]
        if any(ends[media, who] > gap["from_ms"] for who in rivals):
            yield Problem("stream.json", "gap", f"{media} {gap['from_ms']} of {user_id}: told before, overlaps another")
        end_ms = float("inf") if gap["to_ms"] is None else gap["to_ms"]
        ends[media, user_id] = max(ends.get((media, user_id), 0), end_ms)


def _check_tiling(manifest: dict[str, Any]) -> Iterator[Problem]:
    """Nothing may be missing without a cause between the first handshake of a media type and the end."""
    if manifest["state"] not in _FINAL:
        return
    ended_ms = manifest["ended_ms"]
    connections = [each for each in manifest["connections"] if each["kind"] == "media"]
    pauses = [(pause["from_ms"], pause["to_ms"]) for pause in manifest.get("pauses", [])]
    ends = [pause["to_ms"] for pause in manifest.get("pauses", []) if pause.get("why") == "ended" and pause["to_ms"]]
    started_ms = max([manifest["started_ms"], *ends])  # since the stream was started again, if it was
    refused = {name for name, term in manifest.get("media", {}).items() if term.get("refused")}
    for media in sorted({name for each in connections for name in each["media"]} | refused):
        connected = [(each["opened_ms"], each["closed_ms"]) for each in connections if media in each["media"]]
        gaps = [(gap["from_ms"], gap["to_ms"]) for gap in manifest["gaps"] if gap["media"] == media]
        if any(None in span for span in connected):
            yield Problem("stream.json", "connection", f"{media}: a connection is open although the stream is over")
            continue
        never = media in refused and not connected
        first_ms = started_ms if never else min(opened_ms for opened_ms, _ in connected)
        for from_ms, to_ms in _holes([*connected, *pauses, *gaps], first_ms, ended_ms):
            if never and to_ms - from_ms <= JITTER_MS:
                continue
            yield Problem(
                "stream.json",
                "unexplained",
                f"{media} from {from_ms} to {to_ms} ({to_ms - from_ms} ms): neither connected nor paused nor a gap",
            )


def _holes(spans: Iterable[tuple[int, int | None]], from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """Yield what `spans` leave uncovered."""
    for start_ms, end_ms in sorted((start, to_ms if end is None else end) for start, end in spans):
        if start_ms > from_ms and from_ms < to_ms:
            yield from_ms, min(start_ms, to_ms)
        from_ms = max(from_ms, end_ms)
    if from_ms < to_ms:
        yield from_ms, to_ms
