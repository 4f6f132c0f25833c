"""One stream, from its started webhook to its end: what happens when a connection is lost, and when to give up.

`SignalingLink` and `MediaLink` own the sockets; the state table is `protocol.stream`; this module decides.
"""

import functools
import math
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import attrs
import structlog
import trio

from rtmsd.config.media import MediaConfig
from rtmsd.config.model import StreamsConfig, ZoomConfig
from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RemoteProtocolError
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import DataOption, MediaType, StopReason
from rtmsd.protocol.media_params import audio_format
from rtmsd.protocol.messages import MediaParams
from rtmsd.protocol.policy import StatusAction, on_status
from rtmsd.protocol.signature import handshake_signature
from rtmsd.protocol.stream import StreamInput, StreamMachine, StreamPhase, SubSessions, manifest_state
from rtmsd.recording.recorder import Recorder
from rtmsd.state.ledger import StreamRow
from rtmsd.streams.commands import InterruptStream, StartStream
from rtmsd.streams.media import LinkState, MediaLink
from rtmsd.streams.outage import Cause, Outage
from rtmsd.streams.report import History
from rtmsd.streams.retry import Backoff, Window
from rtmsd.streams.signaling import DRAIN_S, SignalingLink
from rtmsd.streams.tasks import Wake

log = structlog.get_logger()

LAST_SESSION_GRACE_S: Final = 5.0  # for another sub-session to start after the last one stopped
UNREAD_LIMIT_S: Final = (
    20.0  # an unread socket cannot answer its keep-alive: then reading goes on and frames are dropped
)


@attrs.frozen(kw_only=True)
class StreamSettings:
    """The slices of the configuration that a stream keeps for its life, whatever a reload changes."""

    streams: StreamsConfig
    zoom: ZoomConfig
    media: MediaConfig


@attrs.frozen
class Outcome:
    """How a stream ended. `zoom_ms` is Zoom's time of it, None when only we noticed."""

    state: Literal["ended", "failed", "revoked"]
    reason: int | None
    zoom_ms: int | None
    why: str


def outcome_of_stop(reason: int, zoom_ms: int | None, why: str) -> Outcome:
    return Outcome("revoked" if reason == StopReason.STREAM_REVOKED else "ended", reason, zoom_ms, why)


class Stream:
    """Keeps one stream connected. All methods but `run` and `wait_room` are synchronous and may come at any time.

    Attributes:
        outcome: set once, when it is decided that the stream ends; sockets may be read a little longer.
        why: what the latest change of state, or the latest failed attempt to connect, came from.
        outage: what is lost now, and how earlier losses ended.
    """

    def __init__(
        self,
        row: StreamRow,
        credentials: tuple[str, str],
        settings: StreamSettings,
        recorder: Recorder,
        *,
        history: History,
        wait_room: Callable[[float], Awaitable[None]],
        resumed: bool,
    ) -> None:
        self.product = row.product
        self.session = row.session
        self.rtms_stream_id = row.rtms_stream_id
        self.signature = handshake_signature(*credentials, row.session.id, row.rtms_stream_id)
        self.settings = settings
        self.media_params: MediaParams = settings.media.params()
        self.recorder = recorder
        self.history = history
        self.outcome: Outcome | None = None
        self.sub_sessions = SubSessions()
        self.signaling = SignalingLink(self)
        self.links = tuple(MediaLink(self, types) for types in self._connections())
        self._machine = StreamMachine()
        self.outage = Outage(Cause.RESTART if resumed else None)
        if resumed:
            self._machine.feed(StreamInput.SIGNALING_LOST)
            recorder.interrupted(Cause.RESTART, settings.media.types)
        self._url = row.server_urls or ""
        self._dropping: Cause | None = None  # why we close connections ourselves; until signaling is up again
        self.why = ""
        self._is_paused = False  # by the latest word of Zoom's
        self._announced_reason: int | None = None
        self._wait_room = wait_room
        limits = settings.streams
        self._backoff = Backoff(limits.reconnect_delay_s, limits.reconnect_delay_max_s)
        self._duplicate_backoff = Backoff(limits.reconnect_delay_s / 2, limits.reconnect_delay_max_s)
        self._window = Window(limits.signaling_window_s)
        self._scope = trio.CancelScope()
        self._epoch = trio.CancelScope()
        self._hurry = Wake()
        self._goes_on = trio.Event()

    def _connections(self) -> tuple[MediaType, ...]:
        requested = self.settings.media.requested
        if self.settings.media.connections == "unified":
            return (requested,)
        return tuple(bit for bit in MediaType if bit & requested)

    @property
    def phase(self) -> StreamPhase:
        return self._machine.phase

    @property
    def expects_end(self) -> bool:
        """Whether a connection that closes now is the end and no loss."""
        return self.outcome is not None or self.phase is StreamPhase.TERMINATING or self.sub_sessions.all_stopped

    @property
    def loss_cause(self) -> Cause | None:
        """The `cause` of a gap that a connection lost now opens; None when the stream is ending anyway."""
        if self.expects_end:
            return None
        return self._dropping or (Cause.MEDIA if self.signaling.is_up else Cause.SIGNALING)

    @property
    def give_up_s(self) -> float:
        """Until when signaling may be connected, in Trio's clock."""
        return math.inf if self._window.deadline is None else self._window.deadline

    async def run(self) -> Outcome:
        """Live until the end. Cancelled from outside, it leaves the slot at Zoom as it is, to be resumed."""
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                await self._stay_connected()
                self._nursery.cancel_scope.cancel()
        assert self.outcome is not None
        return self.outcome

    async def _stay_connected(self) -> None:
        self._window.open(trio.current_time())
        while self.outcome is None:
            delay_s = await self._connect_once()
            if self.expects_end:
                self.stop(self._announced_reason or self.sub_sessions.stop_reason or 0, None, "closed by Zoom")
            if self.outcome is not None:
                return
            now = trio.current_time()
            self._window.open(now)
            if delay_s is None:
                delay_s = self._backoff.next_s()
            with trio.move_on_at(self._window.next_attempt(now, delay_s, self.settings.streams.connect_timeout_s)):
                await self._hurry.wait()
            if self._window.is_over(trio.current_time()):
                self.window_passed("signaling not back within its window")

    async def _connect_once(self) -> float | None:
        """Live through one signaling connection. Returns the delay before the next one; None: the usual one."""
        self._hurry = Wake()
        with trio.CancelScope() as self._epoch:
            try:
                await self.signaling.run(self._url, self.links)
            except HandshakeRejected as refused:
                return await self._after_refusal(refused)
            except ForbiddenHost as forbidden:
                self.end(Outcome("failed", None, None, str(forbidden)))
            except (ConnectionLost, RemoteProtocolError) as lost:
                self._signaling_lost(str(lost))
        if self._epoch.cancelled_caught:
            self._signaling_lost("connecting afresh")
        return None

    def _signaling_lost(self, why: str) -> None:
        cause = self.loss_cause
        if cause is not None:
            self.why = why
            self.outage.grew(cause)
            self.recorder.same_outage(cause)
            self._input(StreamInput.SIGNALING_LOST, why)

    async def _after_refusal(self, refused: HandshakeRejected) -> float | None:
        action = on_status(refused.status_code)
        self.history.refused(refused.status_code)
        log.warning(
            "signaling handshake refused",
            status_code=refused.status_code,
            reason=refused.reason,
            action=action.name.lower(),
        )
        match action:
            case StatusAction.RETRY_DUPLICATE:
                return self._duplicate_backoff.next_s()
            case StatusAction.RETRY | StatusAction.RETRY_STALE:
                return None
            case StatusAction.STREAM_GONE:
                with trio.move_on_after(self.settings.streams.stop_grace_s):  # for the webhook that says why
                    await self._hurry.wait()
                    return 0.0
                self.slot_gone(refused)
            case _:
                self.end(Outcome("failed", None, None, f"signaling handshake refused: {refused}"))
        return None

    # What the links say

    def signaling_up(self) -> None:
        self._backoff.reset()
        self._duplicate_backoff.reset()
        self._dropping = None
        self.history.accepted()
        log.info("signaling up")

    def negotiated(self, params: MediaParams) -> None:
        """Set the recorder up for what Zoom will send, which need not be what was asked for."""
        if params.audio is not None:
            self.recorder.audio_format(audio_format(params.audio))
            asked = self.media_params.audio
            if asked is not None and asked.data_opt != params.audio.data_opt == DataOption.AUDIO_MIXED_STREAM:
                log.error("Zoom sends mixed audio although streams per participant were asked for")
        if params.video is not None:
            self.recorder.video_format(params.video.codec)
        if params.deskshare is not None:
            self.recorder.share_format(params.deskshare.codec)

    def media_up(self, link: MediaLink) -> None:
        """A media handshake succeeded: say so on signaling, or nothing will flow."""
        if self.outcome is not None or not self.signaling.is_up:
            return
        self._window.close()
        self.signaling.send(m.ClientReadyAck(rtms_stream_id=self.rtms_stream_id))
        if self.outage.was_up:
            # Its answer says whether the stream was paused meanwhile, and gives Zoom's time: where the gap ends.
            self.signaling.send(m.StreamStateReq(rtms_stream_id=self.rtms_stream_id))
        log.info("media up", media=sorted(link.media))
        first = self.phase is StreamPhase.CONNECTING
        if first or all(other.state in {LinkState.STREAMING, LinkState.REFUSED} for other in self.links):
            self.outage.is_over()
            self._input(StreamInput.HANDSHAKES_OK, "media handshake")
            if self._is_paused:
                self._input(StreamInput.PAUSED, "still paused")

    def media_down(self, link: MediaLink, why: str) -> None:
        """A media connection is gone; of one that goes with signaling, `_signaling_lost` tells."""
        if self.loss_cause is Cause.MEDIA:
            log.warning("media lost", media=sorted(link.media), why=why)
            self.outage.grew(Cause.MEDIA)
            self._input(StreamInput.MEDIA_LOST, why)

    def media_arrived(self) -> None:
        """Media were received; called once a read."""
        match self.phase:
            case StreamPhase.READY:
                self._input(StreamInput.MEDIA, "media")
            case StreamPhase.PAUSED if (heard_ms := self.recorder.heard_in_pause_ms) is not None:
                self._is_paused = False  # the word that it goes on was lost, or is on its way
                self.recorder.resumed(heard_ms, by_now=True)
                self._input(StreamInput.RESUMED, "media")
            case _:
                pass

    def media_refused(self, media: frozenset[str], why: str) -> None:
        log.error("media refused", media=sorted(media), why=why)
        self.recorder.event("media_refused", None, media=sorted(media), why=why)
        if all(link.state is LinkState.REFUSED for link in self.links):
            self.end(Outcome("failed", None, None, f"no media left: {why}"))

    def signaling_gone(self) -> None:
        """Zoom refused media because it has no signaling connection of ours, although we believe that we have one."""
        self._drop_connections(Cause.SIGNALING)

    def slot_gone(self, refused: HandshakeRejected) -> None:
        if self.outage.was_up:
            self.end(Outcome("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT, None, f"slot gone: {refused}"))
        else:
            self.end(Outcome("failed", None, None, f"Zoom does not know the stream: {refused}"))

    def media_given_up(self, link: MediaLink) -> None:
        """The window of a media connection passed: Zoom ends the stream, unless these media never came at all."""
        media = "+".join(sorted(link.media))
        if link.was_up or not any(other.state is LinkState.STREAMING for other in self.links):
            self.window_passed(f"{media} not back within its window")
        else:
            self.media_refused(link.media, f"not connected within streams.media_window_s: {link.why}")

    def window_passed(self, why: str) -> None:
        self.outage.is_for_good()
        self.end(Outcome("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT, None, why))

    async def wait_room(self) -> None:
        """Wait while unwritten media fill their bound, so that TCP holds Zoom back, for as long as that is safe."""
        await self._wait_room(UNREAD_LIMIT_S)

    # What webhooks and operators say

    def failover(self, start: StartStream) -> None:
        """The RTMS server moved: connect to the new one at once, whatever state the old connections are in."""
        if self.outcome is not None:
            return
        self._url = start.server_urls
        self._announced_reason = None
        if self.sub_sessions.all_stopped:
            self.sub_sessions = SubSessions()
        if self.outage.was_up:
            self.outage.grew(Cause.FAILOVER)
            self.recorder.same_outage(Cause.FAILOVER)
        self._input(StreamInput.STARTED_AGAIN, "server failover")
        self._backoff.reset()
        self._window.close()
        self._window.open(trio.current_time())
        for link in self.links:
            link.forget_loss()
        self._drop_connections(Cause.FAILOVER)
        self._hurry.set()
        self.goes_on()

    def interrupted(self, command: InterruptStream) -> None:
        """Zoom says signaling was lost. It may be late: then there is another connection, or this one spoke since."""
        if command.server_urls is not None:
            self._url = command.server_urls
        if self.expects_end or not self.signaling.is_up or self._dropping is not None:
            return
        if self.signaling.zoom_ms is None or self.signaling.zoom_ms > command.event_ts:
            log.info("interrupted webhook ignored", why="signaling has come up or spoken since")
            return
        self._drop_connections(Cause.SIGNALING)

    def reconnect(self) -> None:
        """Fresh handshakes, because an operator asks for them."""
        if not self.expects_end:
            self._drop_connections(Cause.SIGNALING)
            self._hurry.set()

    def _drop_connections(self, cause: Cause) -> None:
        """End the present signaling connection and its media, after what is already in our socket buffers."""
        self._dropping = cause
        self._epoch.deadline = trio.current_time() + DRAIN_S

    def close(self) -> None:
        """End the stream for good, politely: message 21, then Zoom terminates it. A second time, do not wait for it."""
        reason = StopReason.RECEIVER_REQUEST_CLOSE
        if self.signaling.is_up and not self.expects_end:
            self.signaling.send(m.StreamCloseReq(rtms_stream_id=self.rtms_stream_id))
            self.terminating(reason, self.settings.streams.handshake_timeout_s)
        else:
            self.end(Outcome("ended", reason, None, "closed while not connected"))

    def stop(self, reason: int, zoom_ms: int | None, why: str) -> None:
        """Zoom ended the stream. What is on its way may still arrive until Zoom closes, or the grace is over."""
        self.end(outcome_of_stop(reason, zoom_ms, why))

    def end(self, outcome: Outcome) -> None:
        """Decide how the stream ended, once; a later word only shortens the time to read on."""
        if self.outcome is None or outcome.state == "revoked":
            self.outcome = outcome
            self._input(StreamInput.ENDED, outcome.why)
        patient = self.signaling.is_up and outcome.state == "ended"
        grace_s = self.settings.streams.stop_grace_s if patient else 0.0
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + grace_s)

    def suspend(self) -> None:
        """The daemon stops: leave the slot at Zoom, and say in the files why media are missing until the restart."""
        self._dropping = Cause.RESTART
        self.recorder.state("recovering")

    # What Zoom says on signaling (`incoming` reads the messages)

    def pause(self, on: bool, zoom_ms: int | None) -> None:
        """Take over from Zoom whether media are expected: not while the stream or all its sub-sessions are paused."""
        self._is_paused = on
        if on:
            self.recorder.paused(zoom_ms)
            self._input(StreamInput.PAUSED, "paused")
        else:
            self.recorder.resumed(zoom_ms)
            self._input(StreamInput.RESUMED, "resumed")

    def last_session_stopped(self) -> None:
        self._expect_end(LAST_SESSION_GRACE_S, self.sub_sessions.stop_reason or 0, "last sub-session stopped")

    def terminated(self, reason: int | None, zoom_ms: int | None) -> None:
        self.stop(reason or self._announced_reason or 0, zoom_ms, "terminated by Zoom")

    def terminating(self, reason: int | None, within_s: float) -> None:
        """The end was announced: connections that close now are part of it, and so is saying nothing for too long."""
        if self.phase is not StreamPhase.TERMINATING:
            self._announced_reason = reason
            self._input(StreamInput.TERMINATING, f"reason {reason}")
            self._expect_end(within_s, reason or 0, "announced, but it did not come")

    def goes_on(self) -> None:
        """The end does not come after all: what was let go for it is wanted again."""
        goes_on, self._goes_on = self._goes_on, trio.Event()
        goes_on.set()

    async def until_wanted(self) -> None:
        """Wait as long as a new connection makes no sense, since the end is expected. Mostly it comes."""
        while self.expects_end:
            await self._goes_on.wait()

    def _expect_end(self, within_s: float, reason: int, why: str) -> None:
        self._nursery.start_soon(self._end_unless, self._goes_on, within_s, reason, why)

    async def _end_unless(self, goes_on: trio.Event, within_s: float, reason: int, why: str) -> None:
        with trio.move_on_after(within_s):
            await goes_on.wait()
            return
        self.stop(reason, self.recorder.zoom_ms, why)

    def suspect_media(self, media_type: int | None) -> None:
        """Zoom says a media connection broke, and does not reliably say which: one that is known to be lost, or that is
        under suspicion already, or whichever stays silent.
        """
        is_named = media_type is not None
        if not is_named and any(link.is_suspect or link.is_lost for link in self.links):
            return
        for link in self.links:
            if media_type is None or link.types & media_type:
                delay_s = self.settings.streams.reconnect_delay_s
                self._nursery.start_soon(functools.partial(link.suspect, delay_s, is_named=is_named))

    def _input(self, what: StreamInput, why: str) -> None:
        """Move the state, and where it changed tell the files and the log, once."""
        before = self.recorder.state_name
        self._machine.feed(what)
        after = manifest_state(self.phase) if self.outcome is None else self.outcome.state
        if self.phase is StreamPhase.TERMINATING:  # nothing changes until the end is there
            after = before
        if before != after:
            self.why = why
            self.recorder.state(after)
            if self.outcome is None:  # the end is logged when the files are finished
                log.info("stream state", state=after, was=before, why=why)
