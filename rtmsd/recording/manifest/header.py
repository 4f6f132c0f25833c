"""What a manifest says of a stream as a whole: whose it is, how it stands, when it began, and how it ended."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from rtmsd.protocol.bounds import bounded_text
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.library.revoke import receipt
from rtmsd.recording.manifest.schema import KEYS

FINAL_STATES: Final = frozenset({"ended", "failed", "revoked"})


@attrs.frozen(kw_only=True)
class StreamInfo:
    """What a recording is of.

    Attributes:
        started_ms: `event_ts` of the first started webhook.
        started_again_ms: of the latest one: since when media are expected of a stream that had ended.
        details: what the latest one said besides.
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


class Facts:
    """Attributes:
    state: as the manifest names it; a final one comes together with `ended_ms` and `stop_reason`.
    why: what it came from, for people; None when nobody said.
    started_ms: of the first start, which names the directory.
    first_packet_ms: where small timestamps count from; None before Zoom said.

    Args:
        identity: `rtms_stream_id`, `product`, `id`, `id_key`, `app` and `started_ms`.
    """

    def __init__(self, identity: dict[str, Any]) -> None:
        self.state = "connecting"
        self.why: str | None = None
        self.started_ms: int = identity["started_ms"]
        self.ended_ms: int | None = None
        self.stop_reason: int | None = None
        self.first_packet_ms: int | None = None
        self._identity = identity
        self._others: dict[str, Any] = {}

    def resume(self, manifest: dict[str, Any]) -> None:
        """Go on with the stream that an earlier process wrote of."""
        self.state, self.why = "recovering", "taken up again"
        if not self._identity["id"]:  # all that was ever heard of is a stop that named no session
            self._identity = {**self._identity, **{name: manifest.get(name) for name in ("id", "id_key")}}
        if isinstance(details := manifest.get("details"), dict):
            self._identity = {**self._identity, "details": {**details, **self._identity.get("details", {})}}
        self.started_ms = manifest["started_ms"]
        self.first_packet_ms = manifest.get("first_packet_ms")
        self._others = {name: value for name, value in manifest.items() if name not in KEYS}

    def know(self, details: Mapping[str, Any]) -> None:
        """Take in what a later start said besides: it has the last word, and what it is silent of stays."""
        self._identity = {**self._identity, "details": {**self._identity.get("details", {}), **details}}

    def enter(self, state: str, why: str | None) -> None:
        """The stream is in this state now."""
        self.state, self.why = state, None if why is None else bounded_text(why)

    @property
    def origin_ms(self) -> int:
        """Where small timestamps count from, as far as known."""
        return self.started_ms if self.first_packet_ms is None else self.first_packet_ms

    def manifest(self, **details: Any) -> dict[str, Any]:
        """Return a manifest; of a stream that was revoked, what may be kept of one."""
        manifest = {
            **self._others,  # of a later version
            "version": 1,
            **self._identity,
            "state": self.state,
            "why": self.why,
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
            "stop_reason": self.stop_reason,
            "first_packet_ms": self.first_packet_ms,
            **details,
        }
        return receipt(manifest) if self.state == "revoked" else manifest
