"""The finalizer of ended streams: their files are finished or deleted, and the journal forgets them."""

from collections.abc import Collection, Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final

import attrs
import structlog
import trio

from rtmsd.errors import StorageError
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.library.revoke import revoke_stored
from rtmsd.recording.writers import Writers
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.state.journal import Journal
from rtmsd.streams.core.outcome import Outcome
from rtmsd.streams.drivers.diagnostics import Diagnostics
from rtmsd.streams.managed_stream import ManagedStream, info_of
from rtmsd.streams.summary import Tally, describe

log = structlog.get_logger()

RETRY_S: Final = 1.0
REMEMBERED: Final = 200  # ended streams that `rtmsctl ps -a` can show


@attrs.define(eq=False)
class Finalizer:
    """One for all streams.

    Attributes:
        takeover_cause: of what is missing of a stream that somebody else goes on with.
        tally: sums over all streams that ended.
    """

    _journal: Journal
    _writers: Writers
    _diagnostics: Diagnostics
    _deliveries: Deliveries
    takeover_cause: GapCause
    tally: Tally = attrs.field(factory=Tally, init=False)
    _ended: dict[str, dict[str, Any]] = attrs.field(factory=dict, init=False)

    @property
    def ended(self) -> list[dict[str, Any]]:
        """Descriptions of the streams that ended last, the newest at the end; each of them once."""
        return list(self._ended.values())

    async def finalize(self, stream: ManagedStream) -> None:
        """Write down how a stream ended. What fails in it is no other stream's trouble."""
        if not stream.is_revoked:
            with stream.unless_revoked(), _contained(stream):
                await self._keep(stream)
        if stream.is_revoked:  # or is so by now
            with _contained(stream):
                await self._delete(stream)
        with _contained(stream):
            self._remember(stream)

    async def suspend(self, stream: ManagedStream) -> None:
        """Bring its files to disk as they are: it will be resumed, here or by somebody else."""
        try:
            if stream.recorder is not None and stream.letting_go is not None:
                await stream.recorder.suspend(self.takeover_cause, stream.letting_go.why)
            elif stream.recorder is not None:
                await stream.recorder.suspend()
        except* Exception:
            log.exception("stream could not be suspended", rtms_stream_id=stream.row.rtms_stream_id)

    async def close_down(self, streams: Collection[ManagedStream]) -> None:
        """Finalize or suspend all of these side by side, since the process ends."""
        unfinished = {each.row.rtms_stream_id for each in streams if each.recorder is not None or each.end is not None}

        async def finish(stream: ManagedStream) -> None:
            await (self.finalize(stream) if stream.outcome is not None else self.suspend(stream))
            unfinished.remove(stream.row.rtms_stream_id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._log_unfinished, unfinished)
            async with trio.open_nursery() as files:
                for stream in streams:
                    if stream.row.rtms_stream_id in unfinished:
                        files.start_soon(finish, stream)
            nursery.cancel_scope.cancel()

    async def _log_unfinished(self, unfinished: Set[str]) -> None:
        """Say what was not written as soon as time is up: a thread that waits for the disk may never come back."""
        try:
            await trio.sleep_forever()
        finally:
            if unfinished:
                log.error(
                    "files not finished in time",
                    streams=sorted(unfinished),
                    pending_bytes=self._writers.pending_bytes,
                )

    async def _keep(self, stream: ManagedStream) -> None:
        """Say in the files how it ended, and only then forget the stream in the journal."""
        assert stream.outcome is not None
        if stream.recorder is not None:
            end = stream.outcome
            try:
                stream.recorder.ended(end.reason, end.zoom_ms, state=end.state, why=end.why, is_zooms=end.is_zooms)
            finally:  # what there is goes to disk, and the directory is free for one to come
                await stream.recorder.finish()
        await self._forget(stream, stream.outcome)

    async def _delete(self, stream: ManagedStream) -> None:
        """Delete what was stored, and only then forget the stream in the journal, which knows it from the beginning."""
        assert stream.outcome is not None
        await self._deliveries.revoke(stream.row.rtms_stream_id)
        try:
            await self._journal.revoke(
                stream.row.rtms_stream_id, stopped_ms=_ended_ms(stream, stream.outcome), event_ts=stream.row.event_ts
            )
        except StorageError as error:  # the sooner it is deleted
            log.warning("journal refuses a revocation", error=str(error))
        if stream.recorder is not None:
            await stream.recorder.delete(stream.outcome.zoom_ms)
        else:
            async with trio.open_nursery() as nursery:  # wherever it is, also where its app recorded before
                for directory in self._writers.directories:
                    nursery.start_soon(_revoke_in, self._writers[directory], stream, stream.outcome.zoom_ms)
        await self._forget(stream, stream.outcome)

    async def _forget(self, stream: ManagedStream, outcome: Outcome) -> None:
        """Close a stream in the journal, however long that refuses: the next start takes up what is not closed."""
        if outcome.reason is not None:
            self._diagnostics.stopped(outcome.reason)
        report = log.warning if outcome.state == "failed" else log.info
        report("stream ended", state=outcome.state.value, reason=outcome.reason, why=outcome.why)
        refused = False
        if stream.is_revoked:
            on_closed = self._deliveries.closing_revoked(stream.row.rtms_stream_id)
        else:
            directory = None if stream.recorder is None else stream.recorder.directory
            on_closed = self._deliveries.closing(stream.row.rtms_stream_id, directory)
        while True:
            try:
                await self._journal.close_stream(
                    stream.row.rtms_stream_id,
                    reason=outcome.reason or 0,
                    ended_ms=_ended_ms(stream, outcome),
                    event_ts=stream.row.event_ts,
                    on_closed=on_closed,
                )
            except StorageError as error:
                if not refused:
                    log.error("journal refuses the end of a stream", error=str(error))  # noqa: TRY400 foreseen
                refused = True
                await trio.sleep(RETRY_S)
            else:
                self._deliveries.closed(stream.row.rtms_stream_id)
                return

    def _remember(self, stream: ManagedStream) -> None:
        """Keep a description, in place of an earlier one of the stream: that may have had to be deleted."""
        if stream.stream is not None:
            self.tally.add(stream.stream)
        assert stream.outcome is not None
        if stream.recorder is not None or stream.outcome.state != "ended":
            rtms_stream_id = stream.row.rtms_stream_id
            self._ended.pop(rtms_stream_id, None)
            self._ended[rtms_stream_id] = describe(stream)
            if len(self._ended) > REMEMBERED:
                del self._ended[next(iter(self._ended))]


async def _revoke_in(writer: Writer, stream: ManagedStream, ended_ms: int | None) -> None:
    info = info_of(stream.row)
    delete = partial(revoke_stored, writer.disk, writer.directory, info.identity, ended_ms)
    await writer.retrier.run(delete, info.rtms_stream_id)


@contextmanager
def contained(what: str, **fields: Any) -> Iterator[None]:
    """A bug in what is done about one stream is no other stream's trouble: it is logged, with these fields."""
    try:
        yield
    except* Exception:
        log.exception(what, **fields)


def _contained(stream: ManagedStream) -> AbstractContextManager[None]:
    why = None if stream.outcome is None else stream.outcome.why
    return contained("stream could not be finished", rtms_stream_id=stream.row.rtms_stream_id, why=why)


def _ended_ms(stream: ManagedStream, outcome: Outcome) -> int:
    return stream.row.event_ts if outcome.zoom_ms is None else outcome.zoom_ms
