"""Keeps the signaling connection of a stream up, and with it the media links: when to try again, and until when."""

import math
from typing import TYPE_CHECKING

import structlog
import trio

from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RemoteProtocolError
from rtmsd.protocol.policy import StatusAction
from rtmsd.streams.attempts import Attempts
from rtmsd.streams.core.ending import Outcome, given_up
from rtmsd.streams.core.outage import Cause
from rtmsd.streams.core.reconnect import Backoff, Window
from rtmsd.streams.drivers.signaling import DRAIN_S
from rtmsd.streams.refusal import take_note

if TYPE_CHECKING:
    from rtmsd.streams.drivers.stream import Stream


log = structlog.get_logger()


class Connector:
    """One for each stream, so that there is never a second attempt beside the first.

    Attributes:
        url: of the signaling server.
        dropping: why we close the connections ourselves, until signaling is up again; None: we do not.
        attempts: to bring signaling up.
    """

    def __init__(self, stream: "Stream", url: str) -> None:
        limits = stream.settings.streams
        self.url = url
        self.dropping: Cause | None = None
        self._stream = stream
        self._backoff = Backoff(limits.reconnect_delay_s, limits.reconnect_delay_max_s)
        self._duplicate_backoff = Backoff(limits.reconnect_delay_s / 2, limits.reconnect_delay_max_s)
        self._window = Window(limits.signaling_window_s)
        self.attempts = Attempts(self._window)
        self._epoch = trio.CancelScope()  # of one connection, from TCP to its loss
        self._hurry = trio.Event()
        self._was_up = False  # the present connection
        self._warned = ""  # of which trouble the log knows

    async def run(self) -> None:
        """Return when the end of the stream is decided."""
        ending = self._stream.ending
        self._window.open(trio.current_time())
        while ending.outcome is None:
            delay_s = await self._connect_once()
            if self._stream.expects_end:
                ending.closed_by_zoom()
            if ending.outcome is None:
                await self._wait(self._backoff.next_s() if delay_s is None else delay_s)

    async def _wait(self, delay_s: float) -> None:
        """Wait for the next attempt, or for the end of the window."""
        now = trio.current_time()
        self._window.open(now)
        attempt_s = self._stream.settings.streams.connect_timeout_s
        next_s = self._window.next_attempt(now, delay_s, attempt_s)
        self.attempts.planned(next_s)
        with trio.move_on_at(next_s):
            await self._hurry.wait()
        self.attempts.begun()
        if self._window.is_over(trio.current_time()):
            self._stream.window_passed(f"signaling not back within its window: {self._stream.why}")

    async def _connect_once(self) -> float | None:
        """Live through one signaling connection. Returns the delay before the next one; None: the usual one."""
        stream = self._stream
        self._hurry = trio.Event()
        self._was_up = False
        with trio.CancelScope() as self._epoch:
            try:
                await stream.signaling.run(self.url, stream.links, self._window)
            except HandshakeRejected as refused:
                return await self._after_refusal(refused)
            except ForbiddenHost as forbidden:
                stream.ending.decide(Outcome("failed", None, None, str(forbidden)))
            except (ConnectionLost, RemoteProtocolError) as lost:
                self._warn(str(lost))
                stream.signaling_lost(str(lost))
        if self._epoch.cancelled_caught:
            stream.signaling_lost("connecting afresh")
        return None

    def _warn(self, why: str) -> None:
        """Of attempts that failed the log hears once for each reason; of losses `signaling_lost` tells."""
        if not self._was_up and why != self._warned and not self._stream.expects_end:
            self._warned = why
            log.warning("signaling not connected", why=why)

    async def _after_refusal(self, refused: HandshakeRejected) -> float | None:
        """Return the delay before the next attempt; None: the usual one, unless there shall be none."""
        stream = self._stream
        stream.why = f"handshake refused: {refused}"
        match take_note(stream.history, "signaling", refused):
            case StatusAction.RETRY_DUPLICATE:
                return self._duplicate_backoff.next_s()
            case StatusAction.RETRY | StatusAction.RETRY_STALE:
                return None
            case StatusAction.STREAM_GONE:
                with trio.move_on_after(stream.settings.streams.stop_grace_s):  # for the webhook that says why
                    await self._hurry.wait()
                    return 0.0
                stream.ending.decide(self._slot_gone(refused))
            case _:
                stream.ending.decide(Outcome("failed", None, None, f"signaling handshake refused: {refused}"))
        return None

    def _slot_gone(self, refused: HandshakeRejected) -> Outcome:
        if self._stream.outage.was_up:
            return given_up(f"slot gone: {refused}")
        return Outcome("failed", None, None, f"Zoom does not know the stream: {refused}")

    # What the stream tells

    def signaling_up(self) -> None:
        """A handshake succeeded: the next loss begins with short delays."""
        self._was_up, self._warned = True, ""
        self._backoff.reset()
        self._duplicate_backoff.reset()
        self.attempts.succeeded()
        if self._epoch.deadline == math.inf:  # else this one, too, is to go: it came up to the server of before
            self.dropping = None

    def media_up(self) -> None:
        """Media are connected, too: the next loss has a whole window again."""
        self._window.close()

    def drop(self, cause: Cause) -> None:
        """End the present signaling connection and its media, after what is already in our socket buffers."""
        self.dropping = cause
        self._epoch.deadline = min(self._epoch.deadline, trio.current_time() + DRAIN_S)

    def hurry(self) -> None:
        """Make the next attempt at once."""
        self._hurry.set()

    def move_to(self, url: str) -> None:
        """Connect to another server at once, with a whole window, whatever state the old connections are in."""
        self.url = url
        self._backoff.reset()
        self._window.close()
        self._window.open(trio.current_time())
        self.drop(Cause.FAILOVER)
        self.hurry()
