"""The header of a manifest: whose stream it is, how it stands, when it began, and how it ended."""

from collections.abc import Mapping
from typing import Any, Final

import attrs
from msgspec import UNSET

from rtmsd.protocol.bounds import bounded_text
from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.manifest.schema import Manifest, new_manifest

_KEPT: Final = ("rtms_stream_id", "product", "id", "id_key", "app", "started_ms", "ended_ms")


@attrs.frozen(kw_only=True)
class StreamInfo:
    """A stream that is recorded.

    Attributes:
        started_ms: `event_ts` of the first started webhook.
        started_again_ms: of the latest one: since when media are expected of a stream that had ended; 0: none was
            heard.
        details: the rest of the latest one.
    """

    rtms_stream_id: str
    product: str
    session: SessionRef
    app: str
    started_ms: int
    started_again_ms: int = attrs.field(default=attrs.Factory(lambda self: self.started_ms, takes_self=True))
    details: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    @property
    def identity(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {
            "rtms_stream_id": self.rtms_stream_id,
            "product": self.product,
            "id": self.session.id,
            "id_key": self.session.key,
            "app": self.app,
            "started_ms": self.started_ms,
            "details": dict(self.details),
        }


class ManifestHeader:
    """Attributes:
    state: a final one comes together with `ended_ms` and `stop_reason`.
    why: the reason for the state, for people; None when there is none.
    started_ms: of the first start, which names the directory.
    first_packet_ms: where small timestamps count from; None while unknown.
    video: what a restart has to know of the choice of a participant's video; UNSET: nothing.

    Args:
        identity: `rtms_stream_id`, `product`, `id`, `id_key`, `app` and `started_ms`.
    """

    def __init__(self, identity: dict[str, Any]) -> None:
        self.state: str = RecordingState.CONNECTING
        self.why: str | None = None
        self.started_ms: int = identity["started_ms"]
        self.ended_ms: int | None = None
        self.stop_reason: int | None = None
        self.first_packet_ms: int | None = None
        self.video: Any = UNSET
        self._identity = identity
        self._others: dict[str, Any] = {}
        self._parts: Any = UNSET  # of a recording that was joined, and whose stream goes on after all

    def resume(self, manifest: Manifest) -> None:
        """Continue the stream that an earlier process recorded."""
        self.state, self.why = RecordingState.RECOVERING, "taken up again"
        if not self._identity["id"]:  # all that was ever heard of is a stop that named no session
            self._identity = {**self._identity, "id": manifest.id, "id_key": manifest.id_key}
        if isinstance(details := manifest.details, dict):
            self._identity = {**self._identity, "details": {**details, **self._identity.get("details", {})}}
        self.started_ms = manifest.started_ms
        self.first_packet_ms = manifest.first_packet_ms
        self.video = manifest.video
        self._parts = manifest.parts
        self._others = manifest.others

    def know(self, details: Mapping[str, Any]) -> None:
        """Add the details of a later start, which replace those of the same name."""
        self._identity = {**self._identity, "details": {**self._identity.get("details", {}), **details}}

    def enter(self, state: str, why: str | None) -> None:
        self.state, self.why = state, None if why is None else bounded_text(why)

    @property
    def origin_ms(self) -> int:
        """Where small timestamps count from, as far as known."""
        return self.started_ms if self.first_packet_ms is None else self.first_packet_ms

    def manifest(self, **lists: Any) -> Manifest:
        """Return a manifest; of a stream that was revoked, what may be kept of one."""
        identity = {**self._identity, "started_ms": self.started_ms, "ended_ms": self.ended_ms}
        if self.state == RecordingState.REVOKED:
            return receipt(identity)
        return new_manifest(
            others=self._others,
            **identity,
            state=self.state,
            why=self.why,
            stop_reason=self.stop_reason,
            first_packet_ms=self.first_packet_ms,
            video=self.video,
            parts=self._parts,
            **lists,
        )


def receipt(known: Mapping[str, Any]) -> Manifest:
    """Return what may be kept of a manifest: that there was a stream, and nobody's name.

    Args:
        known: keys of a manifest, with at least `rtms_stream_id` and `started_ms`.
    """
    kept = {name: known[name] for name in _KEPT if name in known}
    return new_manifest(**kept, state=RecordingState.REVOKED, stop_reason=int(StopReason.STREAM_REVOKED))
