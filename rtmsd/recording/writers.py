"""The writers of a daemon, one for each directory of recordings: a disk that is slow or full holds up its own alone."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.disk.retrying import plain
from rtmsd.recording.disk.writer import RecordingSettings, Writer
from rtmsd.recording.manifest.header import StreamInfo

log = structlog.get_logger()

_LOOK_S: Final = 2.0  # so long a stream waits for other disks than its own to say whether it is there


class Writers:
    """All writers; figures are of the one that is worst off. They share the memory for what is not written yet."""

    def __init__(self, writers: Iterable[Writer]) -> None:
        self._writers = {writer.directory: writer for writer in writers}
        self.buffer = next(iter(self._writers.values())).buffer

    @classmethod
    def open(cls, settings: RecordingSettings, directories: Iterable[Path]) -> "Writers":
        first, *others = directories
        writer = Writer(settings, directory=first)
        return cls([writer, *(Writer(settings, directory=each, buffer=writer.buffer) for each in others)])

    @property
    def directories(self) -> Sequence[Path]:
        """The directories that recordings are in."""
        return list(self._writers)

    def __getitem__(self, directory: Path) -> Writer:
        return self._writers[directory]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Flush for ever. Cancel it only when all recorders are finished."""
        async with trio.open_nursery() as nursery:
            for writer in self._writers.values():
                await nursery.start(writer.run)
            task_status.started()

    async def of_stream(self, own: Path, info: StreamInfo) -> Writer:
        """Return the writer of the directory that a stream is recorded in already, else that of its own directory.

        Args:
            own: of its app; another one where that was changed, or the app is gone.
        """
        mine = self._writers[own]
        others = [writer for writer in self._writers.values() if writer is not mine]
        if not others or await mine.retrier.run(partial(_holds, own, info), info.rtms_stream_id):
            return mine
        found: list[Writer] = []

        async def look(writer: Writer) -> None:
            try:
                if await writer.run_sync(_holds, writer.directory, info, abandon_on_cancel=True):
                    found.append(writer)
            except OSError as error:
                log.warning("directory not looked into", rtms_stream_id=info.rtms_stream_id, error=plain(error))

        with trio.move_on_after(_LOOK_S):
            async with trio.open_nursery() as nursery:
                for writer in others:
                    nursery.start_soon(look, writer)
        return next((writer for writer in others if writer in found), mine)

    # What health and metrics are made of

    def observe(self, on_sync: Callable[[float], None], on_written: Callable[[float, int], None]) -> None:
        """Call these for each flush; see `Writer`."""
        for writer in self._writers.values():
            writer.on_sync, writer.on_written = on_sync, on_written

    @property
    def pending_bytes(self) -> int:
        return self.buffer.pending_bytes

    @property
    def error(self) -> str | None:
        errors = [writer.error for writer in self._writers.values() if writer.error is not None]
        return "; ".join(errors) or None

    @property
    def last_sync_age_s(self) -> float:
        return max(writer.last_sync_age_s for writer in self._writers.values())

    @property
    def unsynced_s(self) -> float:
        return max(writer.unsynced_s for writer in self._writers.values())

    @property
    def unsynced_max_s(self) -> float:
        return max(writer.unsynced_max_s for writer in self._writers.values())

    @property
    def is_alive(self) -> bool:
        return all(writer.is_alive for writer in self._writers.values())


def _holds(root: Path, info: StreamInfo) -> bool:
    return stream_directory(root, info.started_ms, info.rtms_stream_id).is_dir()
