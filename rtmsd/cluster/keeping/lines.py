"""The lines of streams' text files that are copied to the engine."""

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any

from rtmsd.cluster.keeping.appender import Appender
from rtmsd.recording.manifest.lines import json_line
from rtmsd.recording.recorder import Recorder
from rtmsd.streams.finalizer import contained


class Lines:
    """Copies lines as they are written. A bug in it costs the copy.

    Args:
        files: of which lines are copied: "events", "transcript".
    """

    def __init__(self, appender: Appender, files: Collection[str]) -> None:
        self._appender, self._files = appender, files

    def copy(self, event: Mapping[str, Any]) -> None:
        """Copy an event, as it is published: the line has it without the stream."""
        rtms_stream_id = event["rtms_stream_id"]
        if "events" in self._files:
            with _no_streams_end(rtms_stream_id):
                line = {key: value for key, value in event.items() if key != "rtms_stream_id"}
                self._write(rtms_stream_id, "events", json_line(line))

    def follow(self, recorder: Recorder) -> None:
        """Copy what this recording will have in its transcript."""
        rtms_stream_id = recorder.info.rtms_stream_id

        def copy(media: str, line: bytes) -> None:
            if media == "transcript":
                with _no_streams_end(rtms_stream_id):
                    self._write(rtms_stream_id, media, line)

        if "transcript" in self._files:
            recorder.media.context.copy_line = copy

    def _write(self, rtms_stream_id: str, stem: str, line: bytes) -> None:
        self._appender.write(rtms_stream_id, stem, line.decode().rstrip("\n"))


def _no_streams_end(rtms_stream_id: str) -> AbstractContextManager[None]:
    return contained("line not copied to the engine", rtms_stream_id=rtms_stream_id)
