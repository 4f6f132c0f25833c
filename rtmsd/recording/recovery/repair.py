"""Mend what a killed run, a power failure or a full disk left in the directory of one stream. No Trio, no daemon.

Media that are on disk are kept; `mending` says what is cut off. A WAV tells its own start and owner, so that a lost
manifest can be made again. What cannot be mended is said so, and left as it is.
"""

import json
import math
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import attrs

from rtmsd.protocol.times import is_believable
from rtmsd.recording.disk.filesystem import SET_ASIDE, Disk
from rtmsd.recording.disk.nofollow import is_file
from rtmsd.recording.disk.paths import CAPTIONS, EVENTS, MANIFEST, TRANSCRIPT, time_of
from rtmsd.recording.manifest.schema import FAR_MS, VERSION, Line, encode_manifest, mistake, read_lines
from rtmsd.recording.media.captions import HEAD, captions
from rtmsd.recording.media.wav import HEADER_BYTES, WavHeader
from rtmsd.recording.recovery import damage
from rtmsd.recording.recovery.damage import Lost, lost_audio
from rtmsd.recording.recovery.plan import Mends
from rtmsd.recording.recovery.repair_files import FileMender, header_of
from rtmsd.recording.recovery.repair_lines import KINDS, repair_lines
from rtmsd.recording.recovery.repair_pictures import FOLDERS, repair_pictures
from rtmsd.recording.timeline.gaps import Gap, Gaps

_OURS: Final = ("audio/*.wav", *(f"{folder}/*.jsonl" for folder in FOLDERS), *KINDS)
_SET_ASIDE: Final = f"{MANIFEST}{SET_ASIDE}"
_WRITTEN_BY_MS: Final = 10_000
"""A stream that has gone on for so long had its manifest on disk: where there is none, somebody took it away."""


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest, None if it is missing or cannot be used.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        path = directory / MANIFEST
        manifest = json.loads(path.read_bytes()) if is_file(path, directory) else None
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) and mistake(manifest) is None else None


def repair(
    directory: Path, identity: dict[str, Any] | None = None, disk: Disk | None = None, *, dry_run: bool = False
) -> list[str]:
    """Mend what can be mended. Nothing may be writing to the directory.

    Args:
        identity: `rtms_stream_id`, `product`, `id`, `app` and `started_ms` for a manifest that has to be made again;
            without it they are guessed from the files.
        dry_run: only look.

    Returns:
        What was done, or would be, a line each; nothing if all was well.

    Raises:
        OSError: the disk refuses.
    """
    plan = look(directory, identity or {})
    if plan.manifest is not None and plan.manifest["state"] != "revoked":
        _mend_captions(plan.mends, plan.manifest)
    if not dry_run:
        plan.mends.apply(Disk(directory) if disk is None else disk)
    return plan.mends.said


@attrs.frozen
class Plan:
    """What a directory holds when it is mended.

    Attributes:
        manifest: None if there is none, and none can be made.
        headers: of the WAVs, by name.
        mends: what has to be done for it.
    """

    manifest: dict[str, Any] | None
    headers: dict[str, WavHeader]
    mends: Mends


def look(directory: Path, identity: dict[str, Any]) -> Plan:
    """Find out what is to be mended, and change nothing. See `repair`, which also makes captions again.

    Raises:
        OSError: it cannot be read.
    """
    mender = _Mender(directory)
    return Plan(mender.mend(identity), mender.headers, mender.mends)


class _Mender:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.headers: dict[str, WavHeader] = {}
        self.mends = Mends(directory)
        self._files = FileMender(self.mends)
        self._say = self.mends.say

    def mend(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """Return the manifest."""
        manifest = read_manifest(self._directory)
        if manifest is not None and manifest["state"] == "revoked":
            return manifest
        for path in self._directory.rglob(".*.tmp"):
            self.mends.remove(path)
            self._say(path, "removed, left behind by an interrupted replacement")
        for path in self._directory.rglob("*"):
            if path.is_symlink() and path.name != MANIFEST and SET_ASIDE not in path.name:
                self.mends.set_aside(path)
                self._say(path, f"a symbolic link, set aside as {path.name}{SET_ASIDE}")
        if manifest is None:
            manifest = self._made_again(identity)
        if manifest is None:
            self._say(self._directory / MANIFEST, "no manifest of rtmsd, and nothing here to make one from")
            return None
        files = [
            *self._mend_wavs(manifest),
            *repair_pictures(self.mends, manifest),
            *repair_lines(self.mends, self._files, manifest),
        ]
        if self.mends.exists(captions_path := self._directory / CAPTIONS):
            self._files.cut_torn(captions_path)
        self._mend_manifest(manifest, files)
        return manifest

    # Files

    def _mend_wavs(self, manifest: dict[str, Any]) -> list[dict[str, Any]]:
        """Mend all audio. Returns its entries for the manifest."""
        entries = {entry["path"]: entry for entry in manifest["files"] if entry["media"] == "audio"}
        found: dict[str, dict[str, Any]] = {}
        for path in self.mends.files("audio/*.wav"):
            name = self.mends.name(path)
            header = self._files.wav(path, entries.get(name), manifest["started_ms"])
            if header is not None:
                self.headers[name] = header
                found[name] = self._audio_entry(name, header, entries.get(name, {}))
        end_ms = manifest["ended_ms"]
        for name, entry in entries.items():
            lost = lost_audio(entry, found.get(name), end_ms)
            if lost is not None:
                self.mends.say_lost(lost)
        for name, zeroed in self._files.zeroed.items():
            header = self.headers[name]
            length_ms = (zeroed - HEADER_BYTES) // header.pcm.bytes_per_ms
            if name in entries and length_ms > 0:
                start_ms = header.start_ms
                gap = damage.gap_of("audio", header.owner, start_ms, start_ms + length_ms, end_ms)
                self.mends.say_lost(Lost(name, "overwritten with zeros from its start on", gap))
        return list(found.values())

    # The manifest

    def _set_aside(self) -> None:
        """Keep what cannot be used: a person may still read in it what no file tells."""
        path = self._directory / MANIFEST
        if path.exists() or path.is_symlink():
            self.mends.set_aside(path)
            self._say(path, f"no manifest of rtmsd, set aside as {_SET_ASIDE}")
            self.mends.lost.append(Lost(MANIFEST, "damaged; made again from the files"))

    def _made_again(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """Return a manifest that knows what the files tell: who spoke, and when; None where they tell nothing."""
        files = [path for pattern in _OURS for path in self.mends.files(pattern)]
        if not (identity or files):
            return None
        self._set_aside()
        headers = [header for path in sorted(files) if (header := _header(path)) is not None]
        starts = [header.stream_started_ms for header in headers]
        events = self._directory / EVENTS
        lines = read_lines(self.mends.content(events), Line.EVENT) if self.mends.exists(events) else []
        written = [line["at_ms"] for line in lines if 0 <= line["at_ms"] <= FAR_MS]
        if written and max(written) - min(written) > _WRITTEN_BY_MS and not self.mends.lost:
            self.mends.lost.append(Lost(MANIFEST, "gone; made again from the files"))
        told = list(filter(is_believable, starts)) or list(filter(is_believable, written))
        day_ms = time_of(self._directory.absolute().parent.name)  # where nothing else tells
        started_ms = identity.get("started_ms", min(told, default=day_ms))
        connection = {"number": 1, "kind": "media", "media": ["audio"], "opened_ms": started_ms}
        connection |= {"heard_ms": None, "closed_ms": None, "why": None}
        self._say(self._directory / MANIFEST, "made again from the files")
        return {
            "version": VERSION,
            "rtms_stream_id": unquote(self._directory.name),
            "product": "session",
            "id": "",
            "app": "",
            "state": "recovering",
            "ended_ms": None,
            "stop_reason": None,
            **identity,
            "started_ms": started_ms,
            "participants": [
                {"user_id": owner, "user_name": None, "joined_ms": None, "left_ms": None}
                for owner in dict.fromkeys(header.owner for header in headers)
            ],
            "files": [],
            "gaps": [],
            "pauses": [],
            "connections": [connection] if headers else [],
            "counters": {
                "messages": {"audio": 0, "transcript": 0},
                "duplicates": 0,
                "dropped": 0,
                "corrupt": 0,
                "unknown": 0,
            },
        }

    def _mend_manifest(self, manifest: dict[str, Any], files: list[dict[str, Any]]) -> None:
        path = self._directory / MANIFEST
        known = {entry["path"]: entry for entry in manifest["files"]}
        found = {entry["path"]: entry for entry in files}
        for name in known.keys() - found.keys():
            there = self.mends.exists(self._directory / name)
            what = "is no file that can be gone on with" if there else "is gone"
            self._say(self._directory / name, f"{what}, taken out of the manifest")
        for name in found.keys() - known.keys():
            self._say(self._directory / name, "added to the manifest")
        for name in known.keys() & found.keys():
            if known[name] != found[name]:
                self._say(self._directory / name, f"{found[name]['duration_ms']} ms, corrected in the manifest")
        if is_twice := len(known) < len(manifest["files"]):
            self._say(path, "files that were named twice corrected")
        gaps = [Gap.from_manifest(gap) for gap in manifest["gaps"]]
        before = [gap.to_manifest() for gap in gaps]
        told = [gap.to_manifest() for gap in Gaps(gaps).listed(())[0]]
        if told != before:
            self._say(path, "gaps that told one loss twice corrected")
        told = self._with_lost(manifest, gaps)
        if manifest["version"] > VERSION:
            self._say(path, f"version {manifest['version']} of a newer rtmsd cannot be mended here")
        if is_older := manifest["version"] < VERSION:  # there was none before
            self._say(path, f"version {manifest['version']} corrected to {VERSION}")
            manifest["version"] = VERSION
        self._write_events(manifest)
        for name in found:
            if found[name]["bytes"] > known.get(name, {"bytes": 0})["bytes"]:
                self.mends.sync(self._directory / name)
        is_new = not self.mends.exists(path)
        if known != found or is_twice or is_older or told != before or self.mends.lost or is_new:
            if told != before:
                manifest["gaps"] = told
            manifest["files"] = files
            self.mends.replace(path, encode_manifest(manifest))

    def _with_lost(self, manifest: dict[str, Any], gaps: list[Gap]) -> list[dict[str, Any]]:
        """Return the gaps, with those of what was promised and is gone: less pauses, in which nothing was expected."""
        pauses = [
            (pause["from_ms"], math.inf if pause["to_ms"] is None else pause["to_ms"])
            for pause in manifest.get("pauses", [])
        ]
        lost = Gaps(lost.gap for lost in self.mends.lost if lost.gap is not None).listed((), pauses)[0]
        told, within = Gaps([*gaps, *lost]).listed(())
        if lost and manifest["ended_ms"] is None:
            manifest["gaps_within"] = [*manifest.get("gaps_within", []), *(gap.to_manifest() for gap in within)]
        return [gap.to_manifest() for gap in told]

    def _write_events(self, manifest: dict[str, Any]) -> None:
        if not self.mends.lost:
            return
        at_ms = time.time_ns() // 1_000_000
        events = self._directory / EVENTS
        self.mends.append(events, b"".join(lost.line(at_ms) for lost in self.mends.lost))
        manifest["events_bytes"] = self.mends.size_bytes(events)

    def _audio_entry(self, name: str, header: WavHeader, entry: dict[str, Any]) -> dict[str, Any]:
        size_bytes = self.mends.size_bytes(self._directory / name)
        return {
            **entry,
            "path": name,
            "media": "audio",
            "user_id": header.owner,
            "start_ms": header.start_ms,
            "duration_ms": (size_bytes - HEADER_BYTES) // header.pcm.bytes_per_ms,
            "bytes": size_bytes,
            "rate_hz": header.pcm.rate_hz,
            "channels": header.pcm.channels,
        }


def _mend_captions(mends: Mends, manifest: dict[str, Any]) -> None:
    """The captions can always be made again from the transcript."""
    lines, cues = mends.directory / TRANSCRIPT, mends.directory / CAPTIONS
    if not mends.exists(lines):
        if mends.exists(cues) and not mends.content(cues).startswith(HEAD.encode()):
            mends.set_aside(cues)
            mends.say(cues, f"no captions, set aside as {CAPTIONS}{SET_ASIDE}")
        return
    is_damaged = any(gap["media"] == "transcript" and gap["cause"] == damage.CAUSE for gap in manifest["gaps"])
    if is_damaged and mends.exists(cues) and mends.content(cues).startswith(HEAD.encode()):
        return  # they may hold what the transcript lost
    utterances = read_lines(mends.content(lines), Line.UTTERANCE)
    right = captions(utterances, manifest["started_ms"]).encode(errors="replace")
    if not mends.exists(cues) or mends.content(cues) != right:
        mends.replace(cues, right)
        if manifest["state"] == "ended":  # until then they are in order of arrival, which is no damage
            mends.say(cues, "made again from the transcript")


def _header(path: Path) -> WavHeader | None:
    if path.suffix != ".wav":
        return None
    with path.open("rb") as file:
        return header_of(file.read(HEADER_BYTES), path.stem)
