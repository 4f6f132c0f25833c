"""One stream, from its started webhook to its end: what happens when a connection is lost, and when to give up.

`SignalingLink` and `MediaLink` own the sockets; the state table is `protocol.stream`; this module decides.
"""

import functools
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import attrs
import structlog
import trio

from rtmsd.config.media import MediaConfig
from rtmsd.config.model import StreamsConfig, ZoomConfig
from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RemoteProtocolError
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import DataOption, MediaType, StopReason, StreamState
from rtmsd.protocol.media_params import audio_format
from rtmsd.protocol.messages import MediaParams
from rtmsd.protocol.policy import StatusAction, on_status
from rtmsd.protocol.signature import handshake_signature
from rtmsd.protocol.stream import StreamInput, StreamMachine, StreamPhase, SubSessions, manifest_state
from rtmsd.recording.recorder import Recorder
from rtmsd.state.ledger import StreamRow
from rtmsd.streams.commands import InterruptStream, StartStream
from rtmsd.streams.media import LinkState, MediaLink
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
        why: what the latest change of state came from.
        reconnects: recoveries by (cause of the outage, "ok" or "failed").
        loss_cause: the `cause` of a gap that a connection lost now opens; None when the stream is ending anyway.
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
        if resumed:
            self._machine.feed(StreamInput.SIGNALING_LOST)
            recorder.interrupted("daemon_restart", settings.media.types)
        self._url = row.server_urls or ""
        self._cause: str | None = "daemon_restart" if resumed else None
        self._was_up = resumed
        self._outage: str | None = self._cause
        self.why = ""
        self.reconnects: Counter[tuple[str, str]] = Counter()
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
    def loss_cause(self) -> str | None:
        if self.expects_end:
            return None
        if self._cause is not None:
            return self._cause
        return "media_reconnect" if self.signaling.is_up else "signaling_reconnect"

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
            if self._window.is_over(now):
                self.window_passed("signaling not back within its window")
                return
            assert self._window.deadline is not None
            if delay_s is None:
                delay_s = self._backoff.next_s()
            with trio.move_on_at(min(now + delay_s, self._window.deadline)):
                await self._hurry.wait()

    async def _connect_once(self) -> float | None:
        """Live through one signaling connection. Returns the delay before the next one; None: the usual one."""
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
            self._signaling_lost("reconnecting on demand")
            if self._cause == "server_failover":
                return 0.0
        return None

    def _signaling_lost(self, why: str) -> None:
        if not self.expects_end:
            if self._was_up:
                self._outage = self.loss_cause
            self.recorder.same_outage(self.loss_cause)
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
        self._window.close()
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
        if self.outcome is not None:
            return
        self.signaling.send(m.ClientReadyAck(rtms_stream_id=self.rtms_stream_id))
        if self._was_up:
            # Its answer says whether the stream was paused meanwhile, and gives Zoom's time: where the gap ends.
            self.signaling.send(m.StreamStateReq(rtms_stream_id=self.rtms_stream_id))
        log.info("media up", media=sorted(link.media))
        first = self.phase is StreamPhase.CONNECTING
        if first or all(other.state in {LinkState.STREAMING, LinkState.REFUSED} for other in self.links):
            if self._outage is not None:
                self.reconnects[self._outage, "ok"] += 1
            self._cause = self._outage = None
            self._was_up = True
            self._input(StreamInput.HANDSHAKES_OK, "media handshake")
            if self._is_paused:
                self._input(StreamInput.PAUSED, "still paused")

    def media_down(self, link: MediaLink, why: str) -> None:
        if self.signaling.is_up and not self.expects_end:
            log.warning("media lost", media=sorted(link.media), why=why)
            self._outage = self._outage or self.loss_cause
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
        self.recorder.event("media_refused", None, media=sorted(media), why=why)
        if all(link.state is LinkState.REFUSED for link in self.links):
            self.end(Outcome("failed", None, None, f"no media left: {why}"))

    def signaling_gone(self) -> None:
        """Zoom refused media because it has no signaling connection of ours, although we believe that we have one."""
        self._cause = "signaling_reconnect"
        self._drop_connections()

    def slot_gone(self, refused: HandshakeRejected) -> None:
        if self._was_up:
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
        if self._outage is not None:
            self.reconnects[self._outage, "failed"] += 1
        self.end(Outcome("ended", StopReason.AWAIT_RECONNECTION_TIMEOUT, None, why))

    async def wait_room(self) -> None:
        """Wait while unwritten media fill their bound, so that TCP holds Zoom back, for as long as that is safe."""
        await self._wait_room(UNREAD_LIMIT_S)

    # What webhooks and operators say

    def failover(self, start: StartStream) -> None:
        """The RTMS server moved: connect to the new one at once, whatever state the old connections are in."""
        if self.outcome is None:
            self._url = start.server_urls
            self._cause = "server_failover" if self._was_up else None
            self.recorder.same_outage(self._cause)
            self._input(StreamInput.STARTED_AGAIN, "server failover")
            self._backoff.reset()
            self._window.close()
            for link in self.links:
                link.forget_loss()
            self._drop_connections()
            self._hurry.set()

    def interrupted(self, command: InterruptStream) -> None:
        """Zoom says signaling was lost. It may be late: then the connection has spoken since, and stays."""
        if command.server_urls is not None:
            self._url = command.server_urls
        if self.expects_end or not self.signaling.is_up:
            return
        if self.signaling.zoom_ms > command.event_ts:
            log.info("interrupted webhook ignored", why="signaling has spoken since")
            return
        self._cause = "signaling_reconnect"
        self._drop_connections()

    def reconnect(self) -> None:
        """Fresh handshakes, because an operator asks for them."""
        if not self.expects_end:
            self._drop_connections()
            self._hurry.set()

    def _drop_connections(self) -> None:
        """End the present signaling connection and its media, after what is already in our socket buffers."""
        self._epoch.deadline = trio.current_time() + DRAIN_S

    def close(self) -> None:
        """End the stream for good, politely: message 21, then Zoom terminates it."""
        if self.signaling.is_up:
            self.signaling.send(m.StreamCloseReq(rtms_stream_id=self.rtms_stream_id))
            self._nursery.start_soon(self._end_unanswered)
        else:
            self.end(Outcome("ended", StopReason.RECEIVER_REQUEST_CLOSE, None, "closed while not connected"))

    async def _end_unanswered(self) -> None:
        await trio.sleep(self.settings.streams.handshake_timeout_s)
        self.end(Outcome("ended", StopReason.RECEIVER_REQUEST_CLOSE, None, "close request not answered"))

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
        self._cause = "daemon_restart"
        self.recorder.state("recovering")

    # What Zoom says on signaling (`incoming` reads the messages)

    def stream_state_is(self, state: int, reason: int | None, zoom_ms: int | None) -> None:
        """Follow the stream's state as Zoom has it, told (message 8) or asked for (message 20)."""
        match state:
            case StreamState.ACTIVE | StreamState.RESUMED:
                self.pause(False, zoom_ms)
            case StreamState.PAUSED:
                self.pause(True, zoom_ms)
            case StreamState.INTERRUPTED if reason == StopReason.DATA_CONNECTION_INTERRUPTED:
                self.suspect_media(None)
            case StreamState.TERMINATING:
                self._announced_reason = reason
                self._input(StreamInput.TERMINATING, f"reason {reason}")
            case StreamState.TERMINATED:
                self.stop(reason or self._announced_reason or 0, zoom_ms, "terminated by Zoom")
            case _:
                pass

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
        self._nursery.start_soon(self._end_if_still_stopped)

    async def _end_if_still_stopped(self) -> None:
        await trio.sleep(LAST_SESSION_GRACE_S)
        if self.sub_sessions.all_stopped:
            self.stop(self.sub_sessions.stop_reason or 0, self.recorder.zoom_ms, "last sub-session stopped")

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
        if before != after:
            self.why = why
            self.recorder.state(after)
            if self.outcome is None:  # the end is logged when the files are finished
                log.info("stream state", state=after, was=before, why=why)
