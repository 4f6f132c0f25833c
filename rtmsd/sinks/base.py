"""The two interfaces of outputs: live sinks, which may lose, and archive sinks, which may not."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from rtmsd.protocol.media_data import ChatData, TranscriptData, UserId

JsonObject: TypeAlias = Mapping[str, Any]


class LiveSink(Protocol):
    """Hears what a stream's recorder keeps, a repeat excepted, and what the hub publishes.

    Each method is called on the packet path: it must neither wait nor raise. Lossy by contract: a sink whose reader is
    slow drops what it cannot hold, and says how much. `pcm` is L16, whatever the codec was.
    """

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, pcm: bytes) -> None: ...
    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def transcript(self, data: TranscriptData) -> None: ...
    def chat(self, data: ChatData) -> None: ...
    def event(self, event: JsonObject) -> None:
        """A line of `events.jsonl`, of any stream, with its `rtms_stream_id`."""

    def ended(self) -> None:
        """The recording is finished: no media follow."""
