"""The end of a stream: announced or expected by Zoom's word, perhaps called off, and at last decided."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal

import attrs
import structlog
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.streams.core.phase import StreamInput, StreamPhase
from rtmsd.streams.drivers.media import LinkState

if TYPE_CHECKING:
    from rtmsd.streams.drivers.stream import Stream

log = structlog.get_logger()

LAST_SESSION_GRACE_S: Final = 5.0  # for another sub-session to start after the last one stopped
READING_ON_S: Final = 30.0  # after an end by Zoom, at most, however much still comes
FLOWING_S: Final = 1.0  # media that came so lately are cut off when we close now
LOOK_S: Final = 0.25


@attrs.frozen
class Outcome:
    """How a stream ended.

    Attributes:
        zoom_ms: Zoom's time of it, None when only we noticed.
        is_guess: Zoom has not said so, nor why; its word is still awaited by who must know the reason.
        is_zooms: Zoom ended it.
    """

    state: Literal["ended", "failed", "revoked"]
    reason: int | None
    zoom_ms: int | None
    why: str
    is_guess: bool = False
    is_zooms: bool = False


def given_up(why: str) -> Outcome:
    """The stream is lost: what Zoom will give as the reason is only probable."""
    return Outcome("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT, None, why, is_guess=True)


def outcome_of_stop(reason: int, zoom_ms: int | None, why: str) -> Outcome:
    """An end by Zoom."""
    state: Literal["ended", "revoked"] = "revoked" if reason == StopReason.STREAM_REVOKED else "ended"
    return Outcome(state, reason, zoom_ms, why, is_zooms=True)


class Ending:
    """Knows whether the end is near, and decides on it once.

    Attributes:
        outcome: set when it is decided that the stream ends; sockets may be read a little longer.
        scope: the stream's life, which ends with that little.
        reads_on: whether they are.
    """

    def __init__(self, stream: "Stream") -> None:
        self.outcome: Outcome | None = None
        self.scope = trio.CancelScope()
        self._stream = stream
        self._announced_reason: int | None = None
        self._called_off = trio.Event()
        self._is_ours = False  # we asked Zoom for it
        self._came_s: dict[str, float] = {}  # by media, when the latest of it came since the end was decided
        self.reads_on = False

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
        self._wake_up()

    def _wake_up(self) -> None:
        called_off, self._called_off = self._called_off, trio.Event()
        called_off.set()

    async def until_called_off(self) -> None:
        """Wait as long as a new connection makes no sense, or until the end is decided."""
        while self.is_expected and self.outcome is None:
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

    def asked_for(self) -> None:
        """We ask Zoom for the end: once it has come, `streams.stop_grace_s` is all that is left to read."""
        self._is_ours = True

    def closed_by_zoom(self) -> None:
        """Signaling was closed when the end was expected."""
        self.stopped(self._announced_reason or self._stream.sub_sessions.stop_reason or 0, None, "closed by Zoom")

    def terminated(self, reason: int | None, zoom_ms: int | None) -> None:
        self.stopped(reason or self._announced_reason or 0, zoom_ms, "terminated by Zoom")

    def stopped(self, reason: int, zoom_ms: int | None, why: str) -> None:
        """Zoom ended the stream. What is on its way may still arrive."""
        self.decide(outcome_of_stop(reason, zoom_ms, why))

    def decide(self, outcome: Outcome) -> None:
        """Decide how the stream ended, once; a later word replaces a guess at the most.

        After an end by Zoom its media are read until none have come for `streams.stop_grace_s`; when we end it, for no
        longer than that; a revocation ends reading at once.
        """
        stream, now_s = self._stream, trio.current_time()
        is_better = self.outcome is None or (self.outcome.is_guess and outcome.zoom_ms is not None)
        if is_better or outcome.state == "revoked":
            self.outcome = outcome
            stream.feed(StreamInput.ENDED, outcome.why)
        self._wake_up()
        can_read = stream.signaling.is_up or any(link.state is LinkState.STREAMING for link in stream.links)
        if outcome.state != "ended" or not can_read:
            self.cut_short(0.0)
            return
        is_patient = outcome.is_zooms and not self._is_ours
        if not self.reads_on:
            self.reads_on = True
            self.scope.deadline = now_s + (READING_ON_S if is_patient else stream.settings.streams.stop_grace_s)
            stream.nursery.start_soon(self._read_on)
        elif not is_patient:
            self.cut_short(stream.settings.streams.stop_grace_s)

    def cut_short(self, within_s: float) -> None:
        """Read no longer than this."""
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + within_s)

    async def _read_on(self) -> None:
        """Watch the media that still come, and end the stream when none do; what waits because there is no room for
        it still comes.
        """
        intake, grace_s = self._stream.recorder.media, self._stream.settings.streams.stop_grace_s
        arrived, came_s = intake.messages, trio.current_time()
        while (now_s := trio.current_time()) < came_s + grace_s:
            await trio.sleep(min(LOOK_S, came_s + grace_s - now_s))
            before, arrived = arrived, intake.messages
            held_up = self._stream.links if intake.backlog.is_short else ()
            fresh = {*(arrived - before)}.union(*(link.media for link in held_up))
            if fresh:
                came_s = trio.current_time()
                self._came_s |= dict.fromkeys(fresh, came_s)
        self.scope.cancel()

    def cuts_off(self, media: Iterable[str]) -> bool:
        """Whether these media still come, after the end: who closes their connection now cuts them off."""
        since_s = trio.current_time() - min(FLOWING_S, self._stream.settings.streams.stop_grace_s / 2)
        return any(self._came_s.get(name, -math.inf) >= since_s for name in media)
