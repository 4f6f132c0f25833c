"""The reader of a finished recording. It shares no code with the writer, only the WAV reader of `verify`."""

import json
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.recording.verify.wave_reader import read_wave

_DAY_MS: Final = 86_400_000


@attrs.frozen
class Track:
    """One WAV file. `start_ms` is the time of its first sample in the file itself (`bext`).

    Attributes:
        listed_start_ms: the same in the manifest.
    """

    path: str
    user_id: int
    start_ms: int
    listed_start_ms: int
    bytes_per_ms: int
    pcm: bytes

    @property
    def duration_ms(self) -> int:
        return len(self.pcm) // self.bytes_per_ms

    def offset(self, timestamp_ms: int) -> int:
        """Return where in `pcm` an instant is; negative before the file begins."""
        return (timestamp_ms - self.start_ms) * self.bytes_per_ms


@attrs.frozen
class Gap:
    media: str
    user_id: int | None
    from_ms: int
    to_ms: int
    cause: str


@attrs.frozen
class Evidence:
    """The files of one stream."""

    directory: Path
    manifest: dict[str, Any]
    tracks: list[Track]
    gaps: list[Gap]
    transcripts: list[dict[str, Any]]
    events: list[dict[str, Any]]
    cues: int

    def tracks_of(self, user_id: int) -> list[Track]:
        return [track for track in self.tracks if track.user_id == user_id]

    def gaps_of(self, media: str, user_id: int | None = None) -> list[Gap]:
        """Return the gaps of a media type, those of one participant with those of all."""
        return [gap for gap in self.gaps if gap.media == media and gap.user_id in (None, user_id)]


def collect(directory: Path) -> Evidence:
    """Read the directory of one stream.

    Raises:
        OSError, ValueError, KeyError: something is missing or unreadable.
    """
    manifest = json.loads((directory / "stream.json").read_text())
    entries = [entry for entry in manifest["files"] if entry["media"] == "audio"]
    return Evidence(
        directory=directory,
        manifest=manifest,
        tracks=[_track(directory, entry, manifest["started_ms"]) for entry in entries],
        gaps=[
            Gap(gap["media"], gap["user_id"], gap["from_ms"], gap["to_ms"], gap["cause"]) for gap in manifest["gaps"]
        ],
        transcripts=_lines(directory / "transcript.jsonl"),
        events=_lines(directory / "events.jsonl"),
        cues=(directory / "transcript.vtt").read_text().count(" --> "),
    )


def find_directory(recordings: Path, rtms_stream_id: str) -> Path:
    """Return where a stream was recorded.

    Raises:
        FileNotFoundError: there is no recording of it.
    """
    for directory in recordings.glob(f"*/{rtms_stream_id}"):
        return directory
    raise FileNotFoundError(f"no recording of {rtms_stream_id} below {recordings}")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _track(directory: Path, entry: dict[str, Any], started_ms: int) -> Track:
    path = directory / entry["path"]
    wav = read_wave(path)
    if wav.bext is None:
        raise ValueError("a WAV file without a bext chunk")
    return Track(
        path=entry["path"],
        user_id=entry["user_id"],
        start_ms=started_ms // _DAY_MS * _DAY_MS + wav.bext.samples * 1000 // wav.rate_hz,
        listed_start_ms=entry["start_ms"],
        bytes_per_ms=wav.rate_hz * wav.block_bytes // 1000,
        pcm=path.read_bytes()[wav.data_offset : wav.data_offset + wav.data_bytes],
    )
