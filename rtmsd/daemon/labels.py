"""Label sets of the metrics that are known in advance. Each starts at 0, or `increase()` would miss its first event."""

from collections.abc import Mapping
from typing import Final

from rtmsd.protocol.causes import OUTAGE_CAUSES, RecordingState
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.media_types import NAMES
from rtmsd.protocol.unknown import UnknownKind
from rtmsd.streams.summary import reason_label
from rtmsd.webhook.stats import Result

MEDIA: Final[Mapping[str, int]] = dict.fromkeys(NAMES.values(), 0)
DROP_REASONS: Final = ("no_room", "files")
DROPPED: Final[Mapping[tuple[str, str], int]] = {
    **{(media, reason): 0 for media in MEDIA for reason in DROP_REASONS},
    ("audio", "late"): 0,
    ("events", "no_room"): 0,
}
WEBHOOKS: Final[Mapping[str, int]] = {result.value: 0 for result in Result}
RECONNECTS: Final[Mapping[tuple[str, str], int]] = {
    (cause.value, result): 0 for cause in OUTAGE_CAUSES for result in ("ok", "failed")
}
UNKNOWN: Final[Mapping[str, int]] = {kind.value: 0 for kind in UnknownKind}
KEEP_ALIVES: Final[Mapping[str, int]] = {"signaling": 0, "media": 0}
STREAMS_ENDED: Final[Mapping[tuple[str, str], int]] = {
    **{(RecordingState.ENDED, reason_label(reason)): 0 for reason in StopReason if reason != StopReason.STREAM_REVOKED},
    (RecordingState.ENDED, "other"): 0,
    (RecordingState.FAILED, "none"): 0,
    (RecordingState.REVOKED, reason_label(StopReason.STREAM_REVOKED)): 0,
}
