"""The events of one recording: lines of `events.jsonl`, of which live readers hear at once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from rtmsd.protocol.bounds import bounded_object
from rtmsd.protocol.enums import SessionState, StreamState
from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.manifest.lines import json_line


class EventLog:
    """Writes events, and hands each to `publish` with the id of its stream.

    Args:
        dropped: counts events for which there was no room.
    """

    def __init__(
        self,
        file: DiskFile,
        rtms_stream_id: str,
        dropped: Counter[tuple[str, str]],
        local_ms: Callable[[], int],
        publish: Callable[[dict[str, Any]], None] | None,
    ) -> None:
        self._file = file
        self._rtms_stream_id = rtms_stream_id
        self._dropped = dropped
        self._local_ms = local_ms
        self._publish = publish

    def write(self, kind: str, zoom_ms: int | None, fields: dict[str, Any]) -> None:
        """Write and publish an event: of what came from outside, no more than has bounds."""
        fields, is_whole = bounded_object(fields)
        line = {"at_ms": self._local_ms(), "kind": kind, "zoom_ms": zoom_ms, **fields}
        if not is_whole:
            line["is_cut"] = True
        if self._file.backlog.full:
            self._dropped["events", "no_room"] += 1
        else:
            self._file.append(json_line(line))
        self.publish(line)

    def stream_state_update(self, state: int, reason: int | None, zoom_ms: int | None) -> None:
        """Write message 8, as it came; what follows for the recording, the recorder hears besides."""
        self.write("stream_state_update", zoom_ms, {"zoom_state": _name(StreamState, state), "reason": reason})

    def session_state(
        self, rtms_session_id: str | None, state: int, stop_reason: int | None, zoom_ms: int | None
    ) -> None:
        """Write message 9."""
        fields = {"rtms_session_id": rtms_session_id, "state": _name(SessionState, state), "stop_reason": stop_reason}
        self.write("session_state", zoom_ms, fields)

    def publish(self, line: dict[str, Any]) -> None:
        """Publish an event that is in the file already, or gets there on another way."""
        if self._publish is not None:
            self._publish({"rtms_stream_id": self._rtms_stream_id, **line})


def _name(states: type[SessionState] | type[StreamState], value: int) -> str:
    try:
        return states(value).name.lower()
    except ValueError:
        return str(value)
