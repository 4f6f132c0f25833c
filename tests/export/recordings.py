"""Recordings made by hand, file by file, to be exported."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import UNSET

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import midnight_ms, participant_name
from rtmsd.recording.library.revoke import revoke as revoke_recording
from rtmsd.recording.manifest.lines import json_line
from rtmsd.recording.manifest.schema import (
    MANIFEST,
    ElsewhereEntry,
    FileEntry,
    GapEntry,
    PartEntry,
    ParticipantEntry,
    PauseEntry,
    encode_manifest,
    new_manifest,
)
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat, WavHeader

STARTED_MS = midnight_ms(1_790_000_000_000) + 50_000_000


class Made:
    """A recording of the stream "one" in `directory`. `save` writes the manifest."""

    def __init__(self, directory: Path, started_ms: int = STARTED_MS) -> None:
        self.directory = directory
        self.started_ms = started_ms
        self.files: list[FileEntry] = []
        self.people: list[ParticipantEntry] = []
        self.gaps: list[GapEntry] = []
        self.pauses: list[PauseEntry] = []
        self.elsewhere: list[ElsewhereEntry] = []
        (directory / "audio").mkdir(parents=True)

    def person(self, user_id: int | str, user_name: str | None) -> None:
        self.people.append(ParticipantEntry(user_id, user_name=user_name))

    def audio(
        self, user_id: int | str, offset_ms: int, pcm: bytes, *, rate_hz: int = 16_000, channels: int = 1
    ) -> Path:
        """Add a file of samples that begins so long after the start; a later one of a participant is `-2`, ..."""
        stem = participant_name(user_id)
        number = sum(entry.user_id == user_id for entry in self.files) + 1
        path = self.directory / f"audio/{stem}{f'-{number}' if number > 1 else ''}.wav"
        start_ms, form = self.started_ms + offset_ms, PcmFormat(rate_hz, channels)
        header = WavHeader(pcm=form, start_ms=start_ms, stream_started_ms=self.started_ms, owner=user_id)
        with path.open("wb") as file:
            file.write(header.encode(HEADER_BYTES + len(pcm)) + pcm)
        self.files.append(
            FileEntry(
                path=f"audio/{path.name}",
                media="audio",
                user_id=user_id,
                start_ms=start_ms,
                duration_ms=len(pcm) // form.bytes_per_ms,
                bytes=HEADER_BYTES + len(pcm),
                rate_hz=rate_hz,
                channels=channels,
            )
        )
        return path

    def lines(self, media: str, lines: Iterable[Mapping[str, Any]]) -> Path:
        """Write a file of lines, such as "transcript"."""
        path = self.directory / f"{media}.jsonl"
        path.write_bytes(b"".join(json_line(dict(line)) for line in lines))
        if media != "events":
            size_bytes = path.stat().st_size
            entry = FileEntry(f"{media}.jsonl", media, None, self.started_ms, 0, size_bytes)
            self.files.append(entry)
        return path

    def save(self, state: str = "ended", ended_ms: int | None = None, **more: Any) -> Path:
        """Write the manifest, and return the directory."""
        ends_ms = [entry.start_ms + entry.duration_ms for entry in self.files]
        ended_ms = ended_ms or max([self.started_ms, *ends_ms])
        manifest = new_manifest(
            rtms_stream_id="one",
            product="session",
            id="s",
            id_key="session_id",
            app="main",
            state=state,
            started_ms=self.started_ms,
            ended_ms=ended_ms if state in {"ended", "failed"} else None,
            clock_ms=max([self.started_ms, *ends_ms]),
            participants=self.people,
            files=self.files,
            gaps=self.gaps,
            pauses=self.pauses,
            part=PartEntry("here", elsewhere=self.elsewhere) if self.elsewhere else UNSET,
            **more,
        )
        (self.directory / MANIFEST).write_bytes(encode_manifest(manifest))
        return self.directory


def revoke(directory: Path) -> None:
    """Revoke the recording, as the daemon does."""
    known = json.loads((directory / MANIFEST).read_bytes())
    revoke_recording(Disk(directory.parent), directory, known)
