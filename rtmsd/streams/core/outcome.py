"""The outcome of a stream: how it ended, and who said so; or that it goes on, but not here."""

import attrs

from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import StopReason


@attrs.frozen
class Outcome:
    """The end of a stream.

    Attributes:
        state: a final one.
        zoom_ms: Zoom's time of it, None when only we noticed.
        is_guess: Zoom has not said so, nor why; its word is still awaited by who must know the reason.
        is_zooms: Zoom ended it.
    """

    state: RecordingState
    reason: int | None
    zoom_ms: int | None
    why: str
    is_guess: bool = False
    is_zooms: bool = False


@attrs.frozen
class LetGo:
    """The stream is left to somebody else, as it is: nothing ended, at Zoom or in the journal."""

    why: str


def failed(why: str) -> Outcome:
    """Return the end of a stream that cannot be recorded."""
    return Outcome(RecordingState.FAILED, None, None, why)


def given_up(why: str) -> Outcome:
    """Return the end of a lost stream: what Zoom will give as the reason is only probable."""
    return Outcome(RecordingState.ENDED, StopReason.AWAIT_RECONNECTION_TIMEOUT, None, why, is_guess=True)


def outcome_of_stop(reason: int, zoom_ms: int | None, why: str) -> Outcome:
    """Return an end by Zoom."""
    state = RecordingState.REVOKED if reason == StopReason.STREAM_REVOKED else RecordingState.ENDED
    return Outcome(state, reason, zoom_ms, why, is_zooms=True)
