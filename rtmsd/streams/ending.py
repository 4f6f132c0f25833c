"""The end of a stream: announced or expected by Zoom's word, perhaps called off, and at last decided."""

from typing import TYPE_CHECKING, Final, Literal

import attrs
import structlog
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.stream import StreamInput, StreamPhase

if TYPE_CHECKING:
    from rtmsd.streams.stream import Stream

log = structlog.get_logger()

LAST_SESSION_GRACE_S: Final = 5.0  # for another sub-session to start after the last one stopped


@attrs.frozen
class Outcome:
    """How a stream ended.

    Attributes:
        zoom_ms: Zoom's time of it, None when only we noticed.
        is_guess: Zoom has not said so, nor why; its word is still awaited by who must know the reason.
    """

    state: Literal["ended", "failed", "revoked"]
    reason: int | None
    zoom_ms: int | None
    why: str
    is_guess: bool = False


def given_up(why: str) -> Outcome:
    """The stream is lost: what Zoom will give as the reason is only probable."""
    return Outcome("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT, None, why, is_guess=True)


def outcome_of_stop(reason: int, zoom_ms: int | None, why: str) -> Outcome:
    return Outcome("revoked" if reason == StopReason.STREAM_REVOKED else "ended", reason, zoom_ms, why)


class Ending:
    """Knows whether the end is near, and decides on it once.

    Attributes:
        outcome: set when it is decided that the stream ends; sockets may be read a little longer.
        scope: the stream's life, which ends with that little.
    """

    def __init__(self, stream: "Stream") -> None:
        self.outcome: Outcome | None = None
        self.scope = trio.CancelScope()
        self._stream = stream
        self._announced_reason: int | None = None
        self._called_off = trio.Event()

    @property
    def is_expected(self) -> bool:
        """Whether a connection that closes now is the end and no loss."""
        stream = self._stream
        return self.outcome is not None or stream.phase is StreamPhase.TERMINATING or stream.sub_sessions.all_stopped

    # Expected

    def announced(self, reason: int | None, within_s: float) -> None:
        """The end is about to come, and so is saying nothing for too long."""
        if self._stream.phase is not StreamPhase.TERMINATING:
            self._announced_reason = reason
            self._stream.feed(StreamInput.TERMINATING, f"reason {reason}")
            self._stream.nursery.start_soon(self._decide_unless, self._called_off, within_s, reason or 0)

    def last_session_stopped(self) -> None:
        stopped_ms = self._stream.recorder.zoom_ms
        self._stream.nursery.start_soon(self._decide_unless_media_go_on, self._called_off, stopped_ms)

    def call_off(self) -> None:
        """The end does not come after all: what was let go for it is wanted again."""
        self._announced_reason = None
        called_off, self._called_off = self._called_off, trio.Event()
        called_off.set()

    async def until_called_off(self) -> None:
        """Wait as long as a new connection makes no sense. Mostly the end comes."""
        while self.is_expected:
            await self._called_off.wait()

    async def _decide_unless(self, called_off: trio.Event, within_s: float, reason: int) -> None:
        with trio.move_on_after(within_s):
            await called_off.wait()
            return
        self.stopped(reason, self._stream.recorder.zoom_ms, "announced, but it did not come")

    async def _decide_unless_media_go_on(self, called_off: trio.Event, stopped_ms: int) -> None:
        """The last sub-session that we know of stopped. Of one that started during a restart of ours, or while
        signaling was lost, Zoom may never have told us; its media do.
        """
        stream = self._stream
        with trio.move_on_after(LAST_SESSION_GRACE_S):
            await called_off.wait()
            return
        if stream.recorder.heard_after(stopped_ms):
            log.info("not the last sub-session", why="media go on")
            stream.sub_sessions.others = True
            self.call_off()
        else:
            self.stopped(stream.sub_sessions.stop_reason or 0, stream.recorder.zoom_ms, "last sub-session stopped")

    # Decided

    def closed_by_zoom(self) -> None:
        """Signaling was closed when the end was expected."""
        self.stopped(self._announced_reason or self._stream.sub_sessions.stop_reason or 0, None, "closed by Zoom")

    def terminated(self, reason: int | None, zoom_ms: int | None) -> None:
        self.stopped(reason or self._announced_reason or 0, zoom_ms, "terminated by Zoom")

    def stopped(self, reason: int, zoom_ms: int | None, why: str) -> None:
        """Zoom ended the stream. What is on its way may still arrive until Zoom closes, or the grace is over."""
        self.decide(outcome_of_stop(reason, zoom_ms, why))

    def decide(self, outcome: Outcome) -> None:
        """Decide how the stream ended, once; a later word replaces a guess at the most, and shortens the reading on."""
        stream = self._stream
        is_better = self.outcome is None or (self.outcome.is_guess and outcome.zoom_ms is not None)
        if is_better or outcome.state == "revoked":
            self.outcome = outcome
            stream.feed(StreamInput.ENDED, outcome.why)
        patient = stream.signaling.is_up and outcome.state == "ended"
        grace_s = stream.settings.streams.stop_grace_s if patient else 0.0
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + grace_s)
