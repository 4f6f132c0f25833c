"""The recording of a stream, opened: begun, or continued from what an earlier process left, which is repaired first, or
from where another member of a cluster has come.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.paths import EVENTS, stream_directory
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.events import EventLog
from rtmsd.recording.flusher import Flusher
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited
from rtmsd.recording.recorder import Recorder
from rtmsd.recording.recovery.resume import ResumeState, load_resume_state
from rtmsd.recording.state import RecordingContents

log = structlog.get_logger()


async def open_recorder(
    info: StreamInfo,
    writer: Writer,
    *,
    local_ms: Callable[[], int],
    on_event: Callable[[dict[str, Any]], None] | None = None,
    cause: GapCause = GapCause.DAEMON_RESTART,
    tenure: PartTenure | None = None,
    inherited: Inherited | None = None,
) -> Recorder:
    """Return a stream's recorder, below the writer's directory, which flushes it from now on.

    Args:
        cause: of what is missing since an earlier process, or another member of the cluster, had the stream.
        tenure: as whose owner it is recorded, in a cluster.
        inherited: what the member knew that had it until now. None: nobody, or this one.

    Directories and files are made by the writer, so that a full disk does not keep a stream from starting; one that
    cannot be read is tried again until it can.
    """
    directory, resume_state = await writer.retrier.run(partial(_find, writer.directory, info), info.rtms_stream_id)
    for note in resume_state.repairs:
        log.warning("recording repaired", rtms_stream_id=info.rtms_stream_id, what=note)
    backlog = writer.buffer.open_share()
    maker = FileMaker(directory, backlog, resume_state.names)
    events_file = maker.existing(EVENTS, resume_state.sizes.get(EVENTS, 0))
    contents = RecordingContents(
        maker,
        events_file,
        backlog,
        info.identity,
        resume_state,
        started_again_ms=info.started_again_ms,
        local_ms=local_ms,
        nudge=writer.nudge,
        cause=cause,
        tenure=tenure,
        inherited=inherited,
    )
    events = EventLog(events_file, info.rtms_stream_id, contents.media.dropped, local_ms, on_event)
    is_new = resume_state.manifest is None and resume_state.repair is None and inherited is None
    resumed, repair = None if is_new else contents.manifest(), resume_state.repair
    flusher = Flusher(directory, info.rtms_stream_id, contents, maker, writer, resumed=resumed, repair=repair)
    for lost in resume_state.lost:  # the repair writes the line
        events.publish(lost.event(local_ms()))
    recorder = Recorder(info, writer, contents, events, flusher)
    writer.add(flusher)
    writer.nudge()  # so that a kill leaves a trace of it
    return recorder


def _find(root: Path, info: StreamInfo) -> tuple[Path, ResumeState]:
    directory = stream_directory(root, info.started_ms, info.rtms_stream_id)
    return directory, load_resume_state(directory, info.identity)
