"""What is left to do when a stream is over: its files are finished or deleted, and the journal forgets it."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import structlog
import trio

from rtmsd.config.model import Config
from rtmsd.errors import StorageError
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.library.revoke import revoke_stored
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.state.journal import Journal
from rtmsd.streams.core.ending import Outcome
from rtmsd.streams.diagnostics import History
from rtmsd.streams.managed_stream import Life, info_of
from rtmsd.streams.summary import Tally, told

log = structlog.get_logger()

RETRY_S: Final = 1.0
REMEMBERED: Final = 200  # ended streams that `rtmsctl ps -a` can show


class Aftermath:
    """Attributes:
    ended: what is told of the streams that ended last, the newest at the end; each of them once.
    tally: sums over all streams that ended.
    """

    def __init__(
        self, journal: Journal, writer: Writer, history: History, config: Callable[[], Config], deliveries: Deliveries
    ) -> None:
        self.ended: deque[dict[str, Any]] = deque(maxlen=REMEMBERED)
        self.tally = Tally()
        self._journal = journal
        self._writer = writer
        self._history = history
        self._config = config
        self._deliveries = deliveries

    async def of(self, life: Life) -> None:
        """Write down how a stream ended. What fails in it is no other stream's trouble."""
        if not life.is_revoked:
            with life.unless_revoked(), _contained(life):
                await self._keep(life)
        if life.is_revoked:  # or is so by now
            with _contained(life):
                await self._delete(life)
        with _contained(life):
            self._remember(life)

    async def _keep(self, life: Life) -> None:
        """Say in the files how it ended, and only then forget the stream in the journal."""
        assert life.outcome is not None
        if life.recorder is not None:
            end = life.outcome
            try:
                life.recorder.ended(end.reason, end.zoom_ms, state=end.state, why=end.why, is_zooms=end.is_zooms)
            finally:  # what there is goes to disk, and the directory is free for a life to come
                await life.recorder.finish()
        await self._forget(life, life.outcome)

    async def _delete(self, life: Life) -> None:
        """Delete what was stored, and only then forget the stream in the journal, which knows it from the beginning."""
        assert life.outcome is not None
        await self._deliveries.revoke(life.row.rtms_stream_id)
        try:
            await self._journal.revoke(
                life.row.rtms_stream_id, stopped_ms=_ended_ms(life, life.outcome), event_ts=life.row.event_ts
            )
        except StorageError as error:  # the sooner it is deleted
            log.warning("journal refuses a revocation", error=str(error))
        if life.recorder is not None:
            await life.recorder.delete(life.outcome.zoom_ms)
        else:
            info, root = info_of(life.row), self._config().recording.directory
            delete = partial(revoke_stored, self._writer.disk, root, info.identity, life.outcome.zoom_ms)
            await self._writer.retrier.run(delete, info.rtms_stream_id)
        await self._forget(life, life.outcome)

    async def _forget(self, life: Life, outcome: Outcome) -> None:
        """Close a stream in the journal, however long that refuses: the next start takes up what is not closed."""
        if outcome.reason is not None:
            self._history.stopped(outcome.reason)
        tell = log.warning if outcome.state == "failed" else log.info
        tell("stream ended", state=outcome.state, reason=outcome.reason, why=outcome.why)
        refused = False
        if life.is_revoked:
            on_closed = self._deliveries.closing_revoked(life.row.rtms_stream_id)
        else:
            directory = None if life.recorder is None else life.recorder.directory
            on_closed = self._deliveries.closing(life.row.rtms_stream_id, directory)
        while True:
            try:
                await self._journal.close_stream(
                    life.row.rtms_stream_id,
                    reason=outcome.reason or 0,
                    ended_ms=_ended_ms(life, outcome),
                    event_ts=life.row.event_ts,
                    on_closed=on_closed,
                )
            except StorageError as error:
                if not refused:
                    log.error("journal refuses the end of a stream", error=str(error))  # noqa: TRY400 foreseen
                refused = True
                await trio.sleep(RETRY_S)
            else:
                self._deliveries.closed(life.row.rtms_stream_id)
                return

    def _remember(self, life: Life) -> None:
        """Take note of how it was, in place of what was told of the stream before: that may have had to be deleted."""
        if life.stream is not None:
            self.tally.add(life.stream)
        assert life.outcome is not None
        if life.recorder is not None or life.outcome.state != "ended":
            others = [each for each in self.ended if each["rtms_stream_id"] != life.row.rtms_stream_id]
            self.ended = deque([*others, told(life)], maxlen=REMEMBERED)


@contextmanager
def _contained(life: Life) -> Iterator[None]:
    try:
        yield
    except* Exception:
        why = None if life.outcome is None else life.outcome.why
        log.exception("stream could not be finished", rtms_stream_id=life.row.rtms_stream_id, why=why)


def _ended_ms(life: Life, outcome: Outcome) -> int:
    return life.row.event_ts if outcome.zoom_ms is None else outcome.zoom_ms
