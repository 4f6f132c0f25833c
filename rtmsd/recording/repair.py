"""Mend what a killed run, a power failure or a full disk left in the directory of one stream. No Trio, no daemon.

Media that are on disk are kept; `mending` says what is cut off. A WAV tells its own start and owner, so that a lost
manifest can be made again. What cannot be mended is said so, and left as it is.
"""

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import attrs

from rtmsd.recording.captions import captions
from rtmsd.recording.disk import Disk
from rtmsd.recording.gaps import Gap, tell
from rtmsd.recording.layout import CAPTIONS, CHAT, EVENTS, MANIFEST, TRANSCRIPT
from rtmsd.recording.mending import CANNOT, FileMender, header_of, owner_of
from rtmsd.recording.mends import Mends
from rtmsd.recording.shape import FAR_MS, Line, mistake, read_lines
from rtmsd.recording.wav_file import HEADER_BYTES, WavHeader

_TEXTS: Final = (EVENTS, TRANSCRIPT, CHAT)
_FOLDERS: Final = ("video", "share")
_OURS: Final = ("audio/*.wav", *(f"{folder}/*.jsonl" for folder in _FOLDERS), *_TEXTS)
_SET_ASIDE: Final = f"{MANIFEST}.damaged"


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the manifest, None if it is missing or cannot be used.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return manifest if isinstance(manifest, dict) and mistake(manifest) is None else None


def repair(directory: Path, identity: dict[str, Any] | None = None, disk: Disk | None = None) -> list[str]:
    """Mend what can be mended. Nothing may be writing to the directory.

    Args:
        identity: `rtms_stream_id`, `product`, `id`, `app` and `started_ms` for a manifest that has to be made again;
            without it they are guessed from the files.

    Returns:
        What was done, a line each; nothing if all was well.

    Raises:
        OSError: the disk refuses.
    """
    plan = look(directory, identity or {})
    if plan.manifest is not None and plan.manifest["state"] != "revoked":
        _mend_captions(plan.mends, plan.manifest)
    plan.mends.apply(Disk() if disk is None else disk)
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
        if manifest is None:
            manifest = self._made_again(identity)
        if manifest is None:
            self._say(self._directory / MANIFEST, "no manifest of rtmsd, and nothing here to make one from")
            return None
        entries = {entry["path"]: entry for entry in manifest["files"]}
        self._mend_wavs(entries, manifest["started_ms"])
        texts = [name for name in _TEXTS if (self._directory / name).is_file()]
        for name in (*texts, *([CAPTIONS] if (self._directory / CAPTIONS).is_file() else [])):
            self._files.cut_torn(self._directory / name)
        files = [
            *(self._audio_entry(name, header, entries.get(name, {})) for name, header in self.headers.items()),
            *self._mend_pictures(entries),
            *(
                self._text_entry(name, entries.get(name, {}), manifest["started_ms"])
                for name in (TRANSCRIPT, CHAT)
                if name in texts
            ),
        ]
        self._mend_manifest(manifest, files)
        return manifest

    # Files

    def _mend_wavs(self, entries: dict[str, dict[str, Any]], started_ms: int) -> None:
        for path in sorted(self._directory.glob("audio/*.wav")):
            name = self.mends.name(path)
            header = self._files.wav(path, entries.get(name), started_ms)
            if header is not None:
                self.headers[name] = header

    def _mend_pictures(self, entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Mend all pictures. Returns their entries for the manifest."""
        found = []
        indexes = {path for folder in _FOLDERS for path in self._directory.glob(f"{folder}/*.jsonl")}
        lost = {self._directory / f"{name}.jsonl" for name in entries if name.partition("/")[0] in _FOLDERS} - indexes
        for index in sorted(indexes):
            self._files.cut_torn(index)
            entry = entries.get(self.mends.name(index.with_suffix("")), {})
            self._files.pictures(index, entry.get("bytes", 0))
            if self.mends.exists(index):
                found.append(self._picture_entry(index, entry, read_lines(self.mends.content(index), Line.PICTURE)))
        for index in sorted(lost):
            if index.with_suffix("").is_file():
                self._say(index, f"{CANNOT}: it is gone, and what it listed is there")
                found.append(self._picture_entry(index, entries[self.mends.name(index.with_suffix(""))], []))
        return [entry for entry in found if entry is not None]

    # The manifest

    def _set_aside(self) -> None:
        """Keep what cannot be used: a person may still read in it what no file tells."""
        path = self._directory / MANIFEST
        if path.exists():
            self.mends.set_aside(path, _SET_ASIDE)
            self._say(path, f"no manifest of rtmsd, set aside as {_SET_ASIDE}")

    def _made_again(self, identity: dict[str, Any]) -> dict[str, Any] | None:
        """Return a manifest that knows what the files tell: who spoke, and when; None where they tell nothing."""
        files = [path for pattern in _OURS for path in self._directory.glob(pattern)]
        if not (identity or files):
            return None
        self._set_aside()
        headers = [header for path in sorted(files) if (header := _header(path)) is not None]
        starts = [header.stream_started_ms for header in headers]
        events = self._directory / EVENTS
        if not starts and events.exists():
            starts = [line["at_ms"] for line in read_lines(events.read_bytes(), Line.EVENT)]
        started_ms = identity.get("started_ms", min((each for each in starts if 0 <= each <= FAR_MS), default=0))
        connection = {"number": 1, "kind": "media", "media": ["audio"], "opened_ms": started_ms}
        connection |= {"heard_ms": None, "closed_ms": None, "why": None}
        self._say(self._directory / MANIFEST, "made again from the files")
        return {
            "version": 1,
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
        told = [gap.to_manifest() for gap in tell(gaps)[0]]
        if told != before:
            self._say(path, "gaps that told one loss twice corrected")
            manifest["gaps"] = told
        if known != found or is_twice or told != before or not self.mends.exists(path):
            manifest["files"] = files
            content = json.dumps(manifest, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"
            self.mends.replace(path, content)

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

    def _picture_entry(
        self, index: Path, entry: dict[str, Any], pictures: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        data = index.with_suffix("")
        if not pictures and not entry:
            return None
        start_ms = pictures[0]["timestamp_ms"] if pictures else entry["start_ms"]
        end_ms = pictures[-1]["timestamp_ms"] if pictures else start_ms
        return {
            "user_id": owner_of(data.stem),
            **entry,
            "path": self.mends.name(data),
            "index": self.mends.name(index),
            "media": data.parent.name,
            "start_ms": start_ms,
            "duration_ms": max(0, end_ms - start_ms),
            "bytes": self.mends.size_bytes(data),
        }

    def _text_entry(self, name: str, entry: dict[str, Any], started_ms: int) -> dict[str, Any]:
        path = self._directory / name
        new = {"user_id": None, "start_ms": started_ms, "duration_ms": 0}
        return new | entry | {"path": name, "media": path.stem, "bytes": self.mends.size_bytes(path)}


def _mend_captions(mends: Mends, manifest: dict[str, Any]) -> None:
    """The captions can always be made again from the transcript."""
    lines, cues = mends.directory / TRANSCRIPT, mends.directory / CAPTIONS
    if not lines.exists():
        return
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
