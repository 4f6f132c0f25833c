"""The interface between admin commands and the daemon."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from rtmsd.admin.messages import JsonObject
from rtmsd.admin.tap import TapRecorder
from rtmsd.sinks.hub import LiveHub


class DeliveryBackend(Protocol):
    """Deliveries of finished recordings. An id is whatever number somebody wrote: NO_SUCH_DELIVERY for others."""

    async def listed(self) -> Sequence[JsonObject]: ...

    async def show(self, number: int) -> JsonObject: ...

    async def replay(self, number: int) -> JsonObject:
        """Have a dead one run again. Raises AdminError (REFUSED_IN_STATE) for any other."""
        ...


class AdminBackend(Protocol):
    """Implemented by the daemon. A stream's id passed in is one of `ids()`; a recording's is not checked before.

    Any method may raise AdminError to refuse (REFUSED_IN_STATE, ...); other foreseen errors become `failed`, and a
    ConfigError `bad_configuration` with its mistakes. Awaiting methods have no time limit but their own, and a client
    that hangs up does not cancel them.
    """

    @property
    def events(self) -> LiveHub:
        """The hub of all streams' events, as in `events.jsonl`."""
        ...

    @property
    def deliveries(self) -> DeliveryBackend: ...

    def status(self) -> JsonObject: ...

    def ids(self) -> Iterable[str]:
        """The ids that `stream` knows: live streams, and ended ones still remembered."""
        ...

    def streams(self, *, include_ended: bool) -> Sequence[JsonObject]: ...

    def stream(self, rtms_stream_id: str) -> JsonObject: ...

    def recorder(self, rtms_stream_id: str) -> TapRecorder | None:
        """The recorder of a live stream; None when the stream has ended or does not record yet."""
        ...

    async def stop(self, rtms_stream_id: str) -> None:
        """End the stream politely, with STREAM_CLOSE_REQ."""
        ...

    async def reconnect(self, rtms_stream_id: str) -> None:
        """Drop the stream's connections and make new handshakes."""
        ...

    async def reload(self) -> JsonObject:
        """Apply the changed configuration file: `{"changed": [{path, old, new, needs_restart}]}`, or ConfigError."""
        ...

    def drain(self) -> None: ...

    def undrain(self) -> None: ...

    async def shutdown(self, *, end_streams: bool) -> None:
        """Begin to stop. Without `end_streams`, live streams resume at the next start."""
        ...

    def metrics(self) -> bytes:
        """Prometheus text."""
        ...

    def config(self) -> JsonObject:
        """The configuration in force, secrets masked."""
        ...

    async def doctor(self) -> Sequence[JsonObject]:
        """Findings from the likeliest to the least likely: `{check, ok, detail, hint}`."""
        ...

    async def recordings(self) -> Sequence[JsonObject]: ...

    async def remove_recording(self, rtms_stream_id: str) -> None:
        """Raises AdminError: NO_SUCH_RECORDING; REFUSED_IN_STATE while its stream lives."""
        ...

    async def control_session(self, action: str, fields: dict[str, Any]) -> JsonObject:
        """Ask Zoom's REST API to `start`, `stop`, `pause` or `resume` a session's stream."""
        ...
