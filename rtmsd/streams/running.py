"""The run of one stream: its files are opened, then the stream, and whatever fails ends this one only."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import structlog
import trio

from rtmsd.config.model import Config
from rtmsd.errors import LocalProtocolError, RtmsdError, leaves
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.library.librarian import Librarian
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.writers import Writers
from rtmsd.streams.core.outcome import LetGo, Outcome, failed, outcome_of_stop
from rtmsd.streams.drivers.diagnostics import Diagnostics
from rtmsd.streams.drivers.stream import Stream
from rtmsd.streams.drivers.tenure import Tenure
from rtmsd.streams.managed_stream import ManagedStream, info_of

log = structlog.get_logger()

NO_ADDRESS = "the state file was lost, and with it the address of the server: not connected again"


def local_ms() -> int:
    return time.time_ns() // 1_000_000


@attrs.define(eq=False)
class Runner:
    """The boundary around each stream."""

    _config: Callable[[], Config]
    _librarian: Librarian
    _writers: Writers
    _diagnostics: Diagnostics
    _tenure: Tenure
    _on_event: Callable[[dict[str, Any]], None]
    _on_recorder: Callable[[Recorder], None]

    async def run(self, managed: ManagedStream) -> Outcome | LetGo:
        """Run it to its end, or until it is let go: then whatever goes wrong on the way is no end."""
        outcome: Outcome | LetGo = failed("a bug of ours, see the log")
        try:
            with managed.opening_scope:
                outcome = await self._run(managed)
        except* LocalProtocolError as group:
            outcome = _crashed(group)
        except* RtmsdError as group:
            outcome = failed("; ".join(dict.fromkeys(str(error) for error in leaves(group))))
        except* Exception as group:
            outcome = _crashed(group)
        return managed.letting_go or outcome

    async def _run(self, managed: ManagedStream) -> Outcome | LetGo:
        """Open the files, then the stream, and return how it ended."""
        row, cause = managed.row, managed.beginning.cause
        config, info = self._config().of_app(row.app), info_of(row)
        stopped = (
            None if row.stop_reason is None else outcome_of_stop(row.stop_reason, row.stopped_ms, "stopped webhook")
        )
        await self._librarian.wait_free(row.rtms_stream_id)
        if stopped is not None and stopped.state == "revoked":
            return stopped  # what is to be deleted need not be read
        with managed.unless_revoked():
            writer = await self._writers.of_stream(config.recording.directory, info)
            if stopped is None or (cause is not None and row.started_ms is not None) or await _has_files(writer, info):
                managed.recorder = await open_recorder(
                    info,
                    writer,
                    local_ms=local_ms,
                    on_event=self._on_event,
                    cause=cause or GapCause.DAEMON_RESTART,
                    tenure=managed.beginning.tenure,
                    inherited=managed.beginning.inherited,
                )
                self._on_recorder(managed.recorder)
        if managed.outcome is not None:
            return managed.outcome
        if managed.recorder is None:
            assert stopped is not None
            return stopped
        managed.record_beginning()
        if cause is not None:  # before the end, which closes what is missing
            managed.recorder.interrupted(cause, config.media.types)
        if stopped is not None:
            return stopped
        app = next((app for app in config.apps if app.name == row.app), None)
        if app is None:
            return failed(f"app {row.app!r} is no longer in the configuration")
        if not row.server_urls:
            return failed(NO_ADDRESS)
        stream = Stream(
            row,
            app,
            config,
            managed.recorder,
            diagnostics=self._diagnostics,
            wait_room=partial(_wait_room, writer, managed.recorder.media.backlog),
            tenure=self._tenure,
            cause=cause,
        )
        managed.opened(stream)
        return await stream.run()


async def _has_files(writer: Writer, info: StreamInfo) -> bool:
    look = partial(stream_directory, writer.directory, info.started_ms, info.rtms_stream_id)
    return await writer.retrier.run(lambda: look().is_dir(), info.rtms_stream_id)


async def _wait_room(writer: Writer, backlog: Backlog, limit_s: float) -> None:
    with trio.move_on_after(limit_s):
        await writer.wait_room(backlog)


def _crashed(group: BaseExceptionGroup[Exception]) -> Outcome:
    """How a stream ends that we drove into a bug: whole in the log, by its name in the files."""
    log.error("stream crashed", exc_info=group)
    names = ", ".join(dict.fromkeys(type(bug).__name__ for bug in leaves(group)))
    return failed(f"a bug of ours ({names}), see the log")
