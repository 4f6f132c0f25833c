"""The source of an export: one recording, opened to be read. Nothing in it is changed, and no link in it followed."""

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import attrs
from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.export.errors import ExportError, RecordingRevoked
from rtmsd.protocol.causes import FINAL_STATES, RecordingState
from rtmsd.recording.disk.nofollow import open_below
from rtmsd.recording.manifest.lines import Line, read_line
from rtmsd.recording.manifest.schema import (
    MANIFEST,
    MIX_USER_ID,
    ElsewhereEntry,
    FileEntry,
    GapEntry,
    Manifest,
    PauseEntry,
    read_manifest,
)
from rtmsd.recording.media.ogg.packets import RATE_HZ, OpusFormat
from rtmsd.recording.media.wav.header import PcmFormat
from rtmsd.recording.verify.wave_reader import read_wave_file

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_CHECK_EVERY_S: Final = 0.5
_LINE_BYTES: Final = 2**24  # of ours none has more than 64 KiB of text


class Problem(NamedTuple):
    """Something that is damaged; `path` is relative to the recording's directory, `detail` is for people."""

    path: str
    detail: str


@attrs.frozen(kw_only=True)
class AudioFile:
    """A file of one participant's audio, as far as it is whole.

    Attributes:
        path: relative to the recording's directory.
        codec: "L16", little-endian in a WAV, or "OPUS" in Ogg.
        rate_hz: of its samples; of Opus 48 kHz, which is what decoders give.
        data_offset: in bytes, where the samples of a WAV begin.
        blocks: how many samples each channel has.
    """

    path: str
    user_id: int | str
    codec: str
    start_ms: int
    rate_hz: int
    channels: int
    data_offset: int
    blocks: int

    @property
    def end_ms(self) -> int:
        """The time behind its last sample, rounded up."""
        return self.start_ms - -self.blocks * 1000 // self.rate_hz


class Source:
    """Attributes:
    directory: absolute.
    manifest: as it was when the recording was opened.
    is_live: whether the stream has not ended; then there is what was synced by now.
    audio: the readable files of each participant, and of the mix (`MIX_USER_ID`), by their start.
    speakers: names of participants, in the order in which they came; the id where there is no name.
    end_ms: the end of the stream; of a live one the end of what there is.
    gaps, pauses: as the manifest has them; of an open one `to_ms` is `end_ms`.
    elsewhere: times that another member of a cluster has recorded, which are no gaps.
    problems: what is damaged, found so far.

    Raises:
        ExportError: it is no recording, or has no usable manifest.
        RecordingRevoked: it was deleted on Zoom's demand.
        OSError: it cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.problems: list[Problem] = []
        manifest = read_manifest(self.directory)
        if manifest is None:
            hint = f"`rtmsctl recordings verify {directory}` says what is wrong, `repair` makes it again."
            raise ExportError(f"{directory / MANIFEST}: missing or not a manifest of rtmsd", hint)
        self.manifest: Manifest = manifest
        self._seen: object = None
        self._next_check_s = 0.0
        self.check()
        self.started_ms = manifest.started_ms
        self.is_live = manifest.state not in FINAL_STATES
        self.audio: dict[int | str, list[AudioFile]] = {}
        for entry in manifest.files:
            if entry.media == "audio" and entry.user_id is not None and (file := self._audio_file(entry)):
                self.audio.setdefault(file.user_id, []).append(file)
        for files in self.audio.values():
            files.sort(key=lambda file: (file.start_ms, file.path))
        self.speakers: dict[int | str, str] = {
            person.user_id: person.user_name or str(person.user_id) for person in manifest.participants
        } | {user_id: str(user_id) for user_id in self.audio if user_id != MIX_USER_ID and not self._is_listed(user_id)}
        ends_ms = [file.end_ms for files in self.audio.values() for file in files]
        latest_ms = max([manifest.started_ms, manifest.clock_ms, *ends_ms])
        self.end_ms = latest_ms if self.is_live or manifest.ended_ms is None else max([manifest.ended_ms, *ends_ms])
        self.gaps: list[GapEntry] = [self._closed(gap) for gap in manifest.gaps]
        self.elsewhere: list[ElsewhereEntry] = [] if manifest.part is UNSET else manifest.part.elsewhere
        self.pauses: list[PauseEntry] = [self._closed(pause) for pause in manifest.pauses]

    def name(self, user_id: int | str | None) -> str:
        """Return the name of a participant, for people; as anybody may have chosen it."""
        if user_id is None or user_id == MIX_USER_ID:
            return "everybody"
        return self.speakers.get(user_id, str(user_id))

    def files(self, media: str) -> list[FileEntry]:
        """Return the entries of a media type."""
        return [entry for entry in self.manifest.files if entry.media == media]

    def open(self, name: str) -> BinaryIO:
        """Open a file of the recording.

        Raises:
            OSError: it is not there, or is no file.
        """
        path = self.directory / name
        descriptor = open_below(str(path), str(self.directory), _READ)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(2, "is no file", str(path))
        return os.fdopen(descriptor, "rb")

    def lines(self, name: str, kind: Line) -> Iterator[dict[str, Any]]:
        """Yield the lines of a file, in their order; none if there is no such file. Broken ones become one problem."""
        first, broken, number = "", 0, 0
        try:
            file = self.open(name)
        except FileNotFoundError:
            return
        except OSError as error:
            self.damaged(name, error.strerror or str(error))
            return
        with file:
            while content := file.readline(_LINE_BYTES):
                number += 1
                try:
                    line = read_line(content, kind)
                except ValueError as error:
                    if not self.is_live or content.endswith(b"\n"):  # else it is being written
                        first, broken = first or f"line {number}: {error}", broken + 1
                else:
                    yield line
        if broken:
            self.damaged(name, first if broken == 1 else f"{first} (and {broken - 1} more)")

    def damaged(self, name: str, detail: str) -> None:
        """A file of the recording is damaged: the rest is exported, and the exit status is 1."""
        problem = Problem(name, detail)
        if problem not in self.problems:
            self.problems.append(problem)

    def check(self) -> None:
        """Look whether the recording is still there; at most twice a second something is done for it.

        Raises:
            RecordingRevoked: it is not.
        """
        now_s = time.monotonic()
        if now_s >= self._next_check_s:
            self.check_now()
            self._next_check_s = now_s + _CHECK_EVERY_S

    def check_now(self) -> None:
        """As `check`, without delay."""
        try:
            known = (self.directory / MANIFEST).lstat()
        except (FileNotFoundError, NotADirectoryError):
            raise RecordingRevoked(f"{self.directory}: the recording was deleted meanwhile") from None
        seen = (known.st_ino, known.st_size, known.st_mtime_ns)
        if seen != self._seen:
            manifest = read_manifest(self.directory)
            if manifest is not None and manifest.state == RecordingState.REVOKED:
                raise RecordingRevoked(f"{self.directory}: Zoom revoked the stream, and what was recorded is deleted")
            self._seen = seen

    def _is_listed(self, user_id: int | str) -> bool:
        return any(person.user_id == user_id for person in self.manifest.participants)

    def _closed(self, entry: Any) -> Any:
        return entry if entry.to_ms is not None else replace(entry, to_ms=max(entry.from_ms, self.end_ms))

    def _audio_file(self, entry: FileEntry) -> AudioFile | None:
        try:
            with self.open(entry.path) as file:
                return self._opened(file, entry)
        except FileNotFoundError:
            self.damaged(entry.path, "listed in the manifest and not there")
        except (OSError, ValueError) as error:
            self.damaged(entry.path, (error.strerror if isinstance(error, OSError) else None) or str(error))
        return None

    def _opened(self, file: BinaryIO, entry: FileEntry) -> AudioFile:
        """Raises ValueError, OSError."""
        assert entry.user_id is not None
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes < entry.bytes:
            self.damaged(entry.path, f"{size_bytes} bytes, {entry.bytes} in the manifest")
        if entry.path.endswith(".opus"):
            if file.read(4) != b"OggS":
                raise ValueError("not an Ogg file")
            return AudioFile(
                path=entry.path,
                user_id=entry.user_id,
                codec=OpusFormat.codec,
                start_ms=entry.start_ms,
                rate_hz=RATE_HZ,
                channels=1 if entry.channels is UNSET else entry.channels,
                data_offset=0,
                blocks=entry.duration_ms * RATE_HZ // 1000,
            )
        wave = read_wave_file(file)
        there_bytes = size_bytes - wave.data_offset
        if there_bytes < wave.data_bytes and size_bytes >= entry.bytes:
            self.damaged(entry.path, f"its header says {wave.data_bytes} bytes of samples, there are {there_bytes}")
        return AudioFile(
            path=entry.path,
            user_id=entry.user_id,
            codec=PcmFormat.codec,
            start_ms=entry.start_ms,
            rate_hz=wave.rate_hz,
            channels=wave.channels,
            data_offset=wave.data_offset,
            blocks=min(wave.data_bytes, there_bytes) // wave.block_bytes,
        )
