"""The words of a manifest: how a recording stands (`RecordingState`), and why time is missing from it (`GapCause`)."""

import enum
from typing import Final


class RecordingState(enum.StrEnum):
    """The `state` of a manifest, of `rtmsctl ps` and of the metrics."""

    CONNECTING = "connecting"
    ACTIVE = "active"
    PAUSED = "paused"
    RECOVERING = "recovering"
    ENDED = "ended"
    FAILED = "failed"
    REVOKED = "revoked"


FINAL_STATES: Final = frozenset({RecordingState.ENDED, RecordingState.FAILED, RecordingState.REVOKED})


class GapCause(enum.StrEnum):
    """The `cause` of a gap. Each of `OUTAGE_CAUSES` takes in those before it."""

    MEDIA_RECONNECT = "media_reconnect"
    SIGNALING_RECONNECT = "signaling_reconnect"
    SERVER_FAILOVER = "server_failover"
    DAEMON_RESTART = "daemon_restart"
    NODE_TAKEOVER = "node_takeover"
    DROPPED = "dropped"
    CORRUPT = "corrupt"
    REFUSED = "refused"
    DAMAGED = "damaged"


OUTAGE_CAUSES: Final = (
    GapCause.MEDIA_RECONNECT,
    GapCause.SIGNALING_RECONNECT,
    GapCause.SERVER_FAILOVER,
    GapCause.DAEMON_RESTART,
    GapCause.NODE_TAKEOVER,
)
"""The causes of a lost connection, narrowest first."""


def is_wider(cause: str, than: str) -> bool:
    """Whether `cause` takes in the outage that `than` explains; False where either is no cause of a lost connection."""
    return cause in OUTAGE_CAUSES and than in OUTAGE_CAUSES and OUTAGE_CAUSES.index(cause) > OUTAGE_CAUSES.index(than)
