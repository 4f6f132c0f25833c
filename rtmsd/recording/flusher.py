"""One recording handed to the writer, file by file and its manifest last: the side of it that the `Writer` sees."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
import structlog
import trio

from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.flush import Job, Outcome
from rtmsd.recording.disk.retrying import RETRY_S
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.schema import Manifest
from rtmsd.recording.state import RecordingContents

if TYPE_CHECKING:
    from rtmsd.recording.recovery.damage import Lost

log = structlog.get_logger()

_COUNTERS_EVERY_S: Final = 5.0


@attrs.frozen
class _Mark:
    """The state that a manifest reports: written at once when `changes` grow, now and then when only `counts` do."""

    changes: int = -1
    counts: str = ""


class Flusher:
    """See `writer.Flushable`.

    Attributes:
        directory: of the recording.
        on_broken: called when a bug of ours keeps the recording from the disk.
        on_lost: called with each file of which others took something from the disk.
        on_saved: called with each manifest that is on disk, and so is all that it says.

    Args:
        maker: knows the files, and which have something to write.
        resumed: the manifest as it was when files of an earlier process were taken up. Before anything else is
            written, it has to be: were we killed behind that, what our successor finds in the files would look as if it
            had come without the gap at which they were taken up.
        repair: what has to be done to those files before.
    """

    def __init__(
        self,
        directory: Path,
        rtms_stream_id: str,
        contents: RecordingContents,
        maker: FileMaker,
        writer: Writer,
        *,
        resumed: Manifest | None,
        repair: Callable[[Disk], None] | None = None,
    ) -> None:
        self.on_broken: Callable[[], None] = lambda: None
        self.on_lost: Callable[[Lost], None] = lambda lost: None
        self.on_saved: Callable[[Manifest], None] = lambda manifest: None
        self.directory = directory
        self._rtms_stream_id = rtms_stream_id
        self._contents = contents
        self._maker = maker
        self._dirty = maker.dirty
        self._writer = writer
        self._resumed = resumed
        self._repair = repair
        self._bug: Exception | None = None
        self._is_open = True
        self._saved = self._collected = _Mark()
        self._counted_s = -math.inf

    def touch(self) -> None:
        """Something changed that the manifest has to say at once."""
        self._contents.changes.note()
        self._writer.nudge()

    # The writer's turn: see `Flushable`

    def collect(self, now_s: float) -> Job | None:
        if self._resumed is not None:
            self._collected = _Mark()
            return Job(self.directory, (), self._resumed, self._repair)
        if self._dirty:
            self._contents.media.advance_clock()
        changes = self._contents.changes.count
        due = self._is_due(changes, now_s)
        if not due and not self._dirty:
            return None
        if due:
            self._collected = _Mark(changes, self._contents.counts)
            self._counted_s = now_s
        batches = tuple(file.take() for file in self._dirty)
        manifest = self._contents.manifest() if due else None
        doomed = tuple(self._maker.doomed)
        return Job(
            self.directory,
            batches,
            manifest,
            partial(_remove, doomed) if due and doomed else None,
            tuple(self._maker.files) if due else (),
        )

    def _is_due(self, changes: int, now_s: float) -> bool:
        """Whether the manifest is to be written. Counts are looked at as seldom as they are written: they cost more."""
        if changes != self._saved.changes:
            return True
        if now_s - self._counted_s < _COUNTERS_EVERY_S or not self._writer.counts_left:
            return False
        self._counted_s = now_s
        if self._contents.counts == self._saved.counts:
            return False
        self._writer.counts_left -= 1
        return True

    def settled(self, job: Job, outcome: Outcome) -> None:
        for batch in outcome.written:
            if not batch.file.written(batch):
                self._dirty.pop(batch.file, None)
        if outcome.damages:
            losses = [self._contents.damaged(damage) for damage in outcome.damages]
            what = {"files": len(losses), "first": [lost.path for lost in losses[:3]]}
            log.error("files of a recording were damaged by others", rtms_stream_id=self._rtms_stream_id, **what)
            for lost in losses:
                self.on_lost(lost)
            self.touch()
        elif job.manifest is not None and outcome.error is None:
            self._saved = self._collected
            self._maker.doomed.clear()
            self.on_saved(job.manifest)
            if job.manifest is self._resumed:
                self._resumed = None
                self._writer.nudge()

    def broke(self, bug: Exception) -> None:
        log.error("recorder crashed", rtms_stream_id=self._rtms_stream_id, exc_info=bug)
        self._bug = bug
        self.on_broken()

    # The end

    async def flush(self) -> None:
        """Bring everything to disk, however long the disk fails. Once the directory was let go, there is nothing.

        Raises:
            Exception: the bug that keeps it from the disk. What is there then is all there will be.
        """
        if not self._is_open:
            return
        self.touch()  # so that the manifest has the last counts, too
        self._writer.add(self)  # also after a bug: it may pass, and else the end is in no file
        while self._is_open:
            # To wait a moment for others who end took 0.9 of the CPU, within the noise, and 80 ms more.
            await self._writer.flush()
            if self._bug is not None and self._is_open and not self._writer.holds(self):
                self._let_go()
                self._forget()
                raise self._bug
            if not self._dirty and self._saved.changes == self._contents.changes.count:
                return
            if self._writer.error is not None:
                await trio.sleep(RETRY_S)

    async def finish(self) -> None:
        """Write everything, with the captions in order, and let go of the directory."""
        await self.flush()
        for work in self._contents.media.last_work():
            await self._writer.retrier.run(partial(work, self._writer.disk), self._rtms_stream_id)
        self._let_go()

    async def suspend(self) -> None:
        """Write everything and let go of the directory: another process goes on with it."""
        await self.flush()
        self._let_go()

    async def discard(self) -> None:
        """Let go of the directory with nothing more written: it is to be deleted."""
        async with self._writer.quiet():
            self._forget()
            self._let_go()

    def _forget(self) -> None:
        """What is queued will not be written: let others have its room."""
        for file in tuple(self._dirty):
            file.discard()

    def _let_go(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._writer.remove(self)
        self._writer.buffer.close_share(self._contents.media.backlog)
        for listener in tuple(self._contents.media.listeners):
            listener.ended()


def _remove(paths: tuple[Path, ...], disk: Disk) -> None:
    for path in paths:
        disk.remove(path)
