"""Mend what a killed run, a power failure or a full disk left in the directory of one stream. No Trio, no daemon.

Media that are on disk are kept; what is cut off is what never was whole: a torn line, half a sample. A WAV tells its
own start and owner, so that a lost manifest can be made again.
"""

import json
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from rtmsd.recording.captions import captions, read_lines
from rtmsd.recording.disk import Disk
from rtmsd.recording.gaps import Gap, tell
from rtmsd.recording.layout import CAPTIONS, CHAT, EVENTS, MANIFEST, TRANSCRIPT
from rtmsd.recording.shape import mistake
from rtmsd.recording.wav_file import HEADER_BYTES, BadWav, PcmFormat, WavHeader

_TEXTS: Final = (EVENTS, TRANSCRIPT, CHAT)
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
    mender = _Mender(directory, Disk() if disk is None else disk)
    mender.mend(identity or {})
    return mender.done


class _Mender:
    def __init__(self, directory: Path, disk: Disk) -> None:
        self.done: list[str] = []
        self._directory = directory
        self._disk = disk

    def mend(self, identity: dict[str, Any]) -> None:
        manifest = read_manifest(self._directory)
        if manifest is not None and manifest["state"] == "revoked":
            return
        for path in self._directory.rglob(".*.tmp"):
            path.unlink()
            self._say(path, "removed, left behind by an interrupted replacement")
        entries = {} if manifest is None else {entry["path"]: entry for entry in manifest["files"]}
        headers: dict[str, WavHeader] = {}
        for path in sorted(self._directory.glob("audio/*.wav")):
            name = self._name(path)
            header = self._mend_wav(path, entries.get(name))
            if header is not None:
                headers[name] = header
        for name in _TEXTS:
            self._mend_lines(self._directory / name)
        indexes = sorted(path for folder in ("video", "share") for path in self._directory.glob(f"{folder}/*.jsonl"))
        for index in indexes:
            self._mend_lines(index)
            self._mend_pictures(index)
        if manifest is None:
            texts = [name for name in _TEXTS if (self._directory / name).exists()]
            if not (identity or headers or indexes or texts):
                self._say(self._directory / MANIFEST, "no manifest of rtmsd, and nothing here to make one from")
                return
            self._set_aside()
            manifest = self._new_manifest(identity, headers)
        files = [
            entry
            for entry in (
                *(self._audio_entry(name, header, entries.get(name)) for name, header in headers.items()),
                *(self._picture_entry(index, entries) for index in indexes if index.exists()),
                *(self._text_entry(name, entries, manifest) for name in (TRANSCRIPT, CHAT)),
            )
            if entry is not None
        ]
        self._mend_manifest(manifest, files)
        self._mend_captions(manifest)

    # Files

    def _mend_wav(self, path: Path, entry: dict[str, Any] | None) -> WavHeader | None:
        """Make the header true to the size of the file. Returns it; None if there is no such file any more."""
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            raw = file.read(HEADER_BYTES)
        try:
            header = WavHeader.decode(raw)
        except BadWav:
            if size_bytes <= HEADER_BYTES:
                path.unlink()
                self._say(path, "removed, it held no audio yet")
                return None
            if entry is None or not entry.keys() >= {"rate_hz", "channels", "start_ms"}:
                self._say(path, "cannot be mended: its header is not readable and the manifest does not know it")
                return None
            header = WavHeader(
                pcm=PcmFormat(entry["rate_hz"], entry["channels"]),
                start_ms=entry["start_ms"],
                stream_started_ms=entry["start_ms"],
                owner=entry["user_id"],
            )
            self._say(path, "header made again from the manifest")
        whole_bytes = size_bytes - (size_bytes - HEADER_BYTES) % header.pcm.block_bytes
        right = header.encode(whole_bytes)
        if right != raw or whole_bytes != size_bytes:
            self._rewrite(path, whole_bytes, right)
            self._say(path, f"lengths in the header corrected, {whole_bytes} bytes")
        return header

    def _mend_lines(self, path: Path) -> None:
        """Cut off a last line that is torn, or that a power failure left as zeros."""
        if not path.exists():
            return
        content = path.read_bytes()
        whole = len(content)
        while whole:
            start = content.rfind(b"\n", 0, whole - 1) + 1
            if content[whole - 1 : whole] == b"\n" and read_lines(content[start:whole]):
                break
            whole = start
        if whole != len(content):
            self._rewrite(path, whole)
            self._say(path, f"torn last line cut off, {len(content) - whole} bytes")

    def _mend_pictures(self, index: Path) -> None:
        """Bring a file of pictures and its index to the same end."""
        data = index.with_suffix("")
        if not data.exists():
            index.unlink()
            self._say(index, "removed, what it lists is gone")
            return
        size_bytes = data.stat().st_size
        lines = index.read_bytes().splitlines(keepends=True)
        end = 0
        kept = 0
        for line in lines:
            picture = json.loads(line)
            if picture["offset"] + picture["length"] > size_bytes:
                break
            end, kept = picture["offset"] + picture["length"], kept + len(line)
        if end != size_bytes:
            self._rewrite(data, end)
            self._say(data, f"end without index cut off, {size_bytes - end} bytes")
        if kept != sum(map(len, lines)):
            self._rewrite(index, kept)
            self._say(index, "lines without pictures cut off")

    def _mend_captions(self, manifest: dict[str, Any]) -> None:
        """The captions can always be made again from the transcript."""
        lines, cues = self._directory / TRANSCRIPT, self._directory / CAPTIONS
        if not lines.exists():
            return
        right = captions(read_lines(lines.read_bytes()), manifest["started_ms"]).encode(errors="replace")
        if not cues.exists() or cues.read_bytes() != right:
            self._disk.replace(cues, right)
            if manifest["state"] == "ended":  # until then they are in order of arrival, which is no damage
                self._say(cues, "made again from the transcript")

    def _rewrite(self, path: Path, size_bytes: int, head: bytes = b"") -> None:
        descriptor = self._disk.open(path)
        try:
            if os.fstat(descriptor).st_size > size_bytes:
                self._disk.truncate(descriptor, size_bytes)
            self._disk.write(descriptor, head, 0)
            self._disk.sync(descriptor)
        finally:
            self._disk.close(descriptor)

    # The manifest

    def _set_aside(self) -> None:
        """Keep what cannot be used: a person may still read in it what no file tells."""
        path = self._directory / MANIFEST
        if path.exists():
            path.replace(path.with_name(_SET_ASIDE))
            self._say(path, f"no manifest of rtmsd, set aside as {_SET_ASIDE}")

    def _new_manifest(self, identity: dict[str, Any], headers: dict[str, WavHeader]) -> dict[str, Any]:
        """A manifest that knows what the files tell: who spoke, from when to when."""
        starts = [header.stream_started_ms for header in headers.values()]
        events = self._directory / EVENTS
        if not starts and events.exists():
            starts = [line["at_ms"] for line in read_lines(events.read_bytes()) if isinstance(line.get("at_ms"), int)]
        started_ms = identity.get("started_ms", min(starts, default=0))
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
                for owner in dict.fromkeys(header.owner for header in headers.values())
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
        known = {entry["path"]: entry for entry in manifest["files"]}
        found = {entry["path"]: entry for entry in files}
        for name in known.keys() - found.keys():
            self._say(self._directory / name, "is gone, taken out of the manifest")
        for name in found.keys() - known.keys():
            self._say(self._directory / name, "added to the manifest")
        changed = [name for name in known.keys() & found.keys() if known[name] != found[name]]
        for name in changed:
            self._say(self._directory / name, f"{found[name]['duration_ms']} ms, corrected in the manifest")
        gaps = [Gap.from_manifest(gap) for gap in manifest["gaps"]]
        told = [gap.to_manifest() for gap in tell(gaps)[0]]
        if told != manifest["gaps"]:
            self._say(self._directory / MANIFEST, "gaps that told one loss twice corrected")
        if known != found or told != manifest["gaps"] or not (self._directory / MANIFEST).exists():
            manifest["files"], manifest["gaps"] = files, told
            content = json.dumps(manifest, indent=1, ensure_ascii=False).encode(errors="replace") + b"\n"
            self._disk.replace(self._directory / MANIFEST, content)

    def _audio_entry(self, name: str, header: WavHeader, entry: dict[str, Any] | None) -> dict[str, Any]:
        size_bytes = (self._directory / name).stat().st_size
        return {
            "path": name,
            "media": "audio",
            "user_id": header.owner,
            "start_ms": header.start_ms,
            **(entry or {}),
            "duration_ms": (size_bytes - HEADER_BYTES) // header.pcm.bytes_per_ms,
            "bytes": size_bytes,
            "rate_hz": header.pcm.rate_hz,
            "channels": header.pcm.channels,
        }

    def _picture_entry(self, index: Path, entries: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
        data = index.with_suffix("")
        pictures = read_lines(index.read_bytes())
        if not pictures:
            return None
        owner = unquote(data.stem)
        start_ms = pictures[0]["timestamp_ms"]
        return {
            "path": self._name(data),
            "index": self._name(index),
            "media": data.parent.name,
            "user_id": int(owner) if owner.isdecimal() else owner,
            **entries.get(self._name(data), {}),
            "start_ms": start_ms,
            "duration_ms": max(0, pictures[-1]["timestamp_ms"] - start_ms),
            "bytes": data.stat().st_size,
        }

    def _text_entry(
        self, name: str, entries: dict[str, dict[str, Any]], manifest: dict[str, Any]
    ) -> dict[str, Any] | None:
        path = self._directory / name
        if not path.exists():
            return None
        media = path.stem
        entry = {"path": name, "media": media, "user_id": None, "start_ms": manifest["started_ms"], "duration_ms": 0}
        return {**entry, **entries.get(name, {}), "bytes": path.stat().st_size}

    def _name(self, path: Path) -> str:
        return path.relative_to(self._directory).as_posix()

    def _say(self, path: Path, what: str) -> None:
        self.done.append(f"{self._name(path)}: {what}")
