"""The actions that the core asks its drivers for: they are carried out in order, at once, and report by inputs only."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from rtmsd.errors import ConnectionLost, HandshakeRejected
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.messages import MediaParams, Message
from rtmsd.protocol.policy import StatusAction
from rtmsd.streams.core.connections import MediaLink
from rtmsd.streams.core.outcome import Outcome
from rtmsd.streams.core.video.requests import Chosen, Settled


class Action:
    """Base of all actions."""


# Connections


@attrs.frozen
class Connect(Action):
    """Open a signaling connection, and give up at `deadline_s`. Its end is the input `signaling_closed`."""

    url: str = attrs.field(repr=False)
    deadline_s: float


@attrs.frozen
class Send(Action):
    """Send a message on signaling."""

    message: Message


@attrs.frozen
class Drop(Action):
    """Close the signaling connection."""


@attrs.frozen
class OpenMedia(Action):
    """Open a media connection, and give up at `deadline_s`. Its end is the input `media_closed`.

    Attributes:
        urls: of the media servers, as signaling named them.
    """

    link: MediaLink
    urls: Mapping[str, str] = attrs.field(repr=False)
    deadline_s: float


@attrs.frozen
class CloseMedia(Action):
    """Close a media connection.

    Attributes:
        lost: what to report as its loss; None: it is closed along with signaling.
    """

    link: MediaLink
    lost: ConnectionLost | None = None


# The recording


@attrs.frozen
class RecordState(Action):
    state: RecordingState
    why: str


@attrs.frozen
class RecordStartedAgain(Action):
    """What a new start said besides."""

    details: Mapping[str, Any]


@attrs.frozen
class RecordConnected(Action):
    """A handshake succeeded.

    Attributes:
        link: None: of signaling.
        granted: what Zoom will send on it.
    """

    link: MediaLink | None
    granted: MediaParams | None = None


@attrs.frozen
class RecordLost(Action):
    """A connection is gone.

    Attributes:
        link: None: of signaling.
        cause: None: because the stream ends, which opens no gap.
        in_order: all that was sent on it has come.
    """

    link: MediaLink | None
    cause: GapCause | None
    why: str
    in_order: bool = False


@attrs.frozen
class RecordOutage(Action):
    """Media that were lost just now were lost for this cause, which takes theirs in."""

    cause: GapCause


@attrs.frozen
class RecordPause(Action):
    """A pause began, or, not `on`, ended: at `zoom_ms`, or `by_now` at that time or earlier."""

    on: bool
    zoom_ms: int | None
    by_now: bool = False


@attrs.frozen
class RecordRefused(Action):
    """These media were asked for and will not come."""

    media: frozenset[str]
    status: int | None
    why: str


@attrs.frozen
class RecordVideoChoice(Action):
    """It was chosen whose video to ask for."""

    chosen: Chosen


@attrs.frozen
class KeepVideo(Action):
    """This of the choice of a participant's video is to be known after a restart."""

    known: Mapping[str, Any]


# Words about it, time and the end


@attrs.frozen
class SettleVideoChoice(Action):
    """An operator who waits for a choice hears what became of it."""

    settled: Settled


@attrs.frozen
class NoteMedia(Action):
    """Media are connected: a note for `rtmsctl doctor`.

    Attributes:
        first: for the first time in this stream.
    """

    media: frozenset[str]
    first: bool


@attrs.frozen
class Log(Action):
    level: Literal["info", "warning", "error"]
    event: str
    fields: Mapping[str, Any]

    @classmethod
    def of_refusal(cls, of: str, refused: HandshakeRejected, action: StatusAction, **more: object) -> "Log":
        """Wrong credentials are an error: they concern all streams of the app, and only a person can correct them."""
        fields = {"status_code": refused.status_code, "reason": refused.reason, "action": action.name.lower()}
        level: Literal["error", "warning"] = "error" if action is StatusAction.BAD_CREDENTIALS else "warning"
        return cls(level, f"{of} handshake refused", fields | more)


@attrs.frozen
class Wait(Action):
    """Call `tick` at this time, and at no other."""

    until_s: float


@attrs.frozen
class End(Action):
    """The stream is over: whatever is open is closed."""

    outcome: Outcome


@attrs.frozen
class Leave(Action):
    """Nothing of the stream is open any more, and it is somebody else's."""


OUTGOING: Final = (Connect, Send, OpenMedia)
"""What reaches Zoom, and is no good-bye."""
