"""A recorder on a real directory, with a writer that works at once instead of in a thread."""

import errno
import json
import os
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder

STARTED_MS = 1_790_000_000_000


async def at_once(work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 2**20


class FailingDisk(Disk):
    """Refuses like a real one: a budget of bytes, after which there is no space, or an error for everything."""

    def __init__(self) -> None:
        super().__init__()
        self.budget_bytes: float = float("inf")
        self.error: int | None = None

    def _check(self) -> None:
        if self.error is not None:
            raise OSError(self.error, "refused")

    def open(self, path: Path, *, create: bool = False) -> int:
        self._check()
        return super().open(path, create=create)

    def write(self, descriptor: int, data: bytes, offset: int) -> None:
        self._check()
        growth_bytes = max(0, offset + len(data) - os.fstat(descriptor).st_size)
        if growth_bytes > self.budget_bytes:
            super().write(descriptor, data[: len(data) - growth_bytes + int(self.budget_bytes)], offset)
            raise OSError(errno.ENOSPC, "refused")
        self.budget_bytes -= growth_bytes
        super().write(descriptor, data, offset)

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        self.write(descriptor, b"".join(pieces), offset)

    def sync(self, descriptor: int) -> None:
        self._check()
        super().sync(descriptor)


class Studio:
    """Opens recorders of one stream, one after the other, as daemons would that are started again."""

    def __init__(self, directory: Path) -> None:
        self.settings = Settings(directory)
        self.disk = FailingDisk()
        self.events: list[dict[str, Any]] = []
        self.started_ms = STARTED_MS
        self.started_again_ms: int | None = None

    def limit(self, buffer_bytes: int) -> None:
        self.settings = attrs.evolve(self.settings, buffer_bytes=buffer_bytes)

    async def open(self) -> Recorder:
        self.writer = Writer(self.settings, run_sync=at_once, disk=self.disk)
        info = StreamInfo(
            rtms_stream_id="stream/1",
            product="session",
            session=SessionRef("session_id", "a+b/c=="),
            app="main",
            started_ms=self.started_ms,
            started_again_ms=self.started_ms if self.started_again_ms is None else self.started_again_ms,
        )
        return await open_recorder(info, self.writer, local_ms=lambda: 7, on_event=self.events.append)


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    return Studio(tmp_path)


def audio_format(rate_hz: int = 16_000, codec: PayloadType = PayloadType.L16) -> AudioFormat:
    return AudioFormat(codec=codec, rate_hz=rate_hz, channels=1, mixed=False, send_rate_ms=20)


def packet(number: int, ms: int = 20) -> bytes:
    """Samples of 16 kHz mono that say which packet they are of."""
    return (number % 30_000 + 1).to_bytes(2, "little") * (16 * ms)


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        frames: bytes = file.readframes(file.getnframes())
    return frames


def manifest(recorder: Recorder) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((recorder.directory / "stream.json").read_bytes())
    return loaded


@pytest.fixture
def tools() -> Any:
    """The helpers above, for modules that cannot import them by name."""

    class Tools:
        T = STARTED_MS

    for helper in (audio_format, packet, samples, manifest):
        setattr(Tools, helper.__name__, staticmethod(helper))
    return Tools
