"""The core of a stream: Zoom's words, webhooks and operators, and where the decisions on its connections meet."""

import math
from collections.abc import Mapping

from rtmsd.commands import InterruptStream, StartStream
from rtmsd.errors import RtmsdError
from rtmsd.protocol import messages as m
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.enums import EventType, StopReason, StreamState
from rtmsd.protocol.reading import read_int
from rtmsd.streams.core.actions import Log, RecordOutage, RecordPause, RecordStartedAgain, RecordState, Send
from rtmsd.streams.core.connections import MediaLink
from rtmsd.streams.core.ending import LAST_SESSION_GRACE_S, Announced, LastStopped
from rtmsd.streams.core.individual import VideoDecisions
from rtmsd.streams.core.media import MediaDecisions
from rtmsd.streams.core.outcome import Outcome, outcome_of_stop
from rtmsd.streams.core.phase import StreamInput, StreamPhase, SubSessions
from rtmsd.streams.core.signaling import SignalingDecisions
from rtmsd.streams.core.situation import Situation
from rtmsd.streams.core.video.policy import VideoPolicy


class StreamCore:
    """Decides for one stream, from its started webhook to its end. No input waits; a bug of ours raises.

    The inputs are the methods here, in `signaling`, `media` and `video`; what follows from each is then taken from the
    situation. `Connect` is answered by `signaling.permitted`, `signaling_up`, `signaling.went_down` and
    `signaling.closed`, or by the last alone; `OpenMedia` by `media.granted`, `media.up` and `media_closed`, or by the
    last alone.

    Args:
        subscription: what to send when signaling is up.
        video: by which one participant's video is chosen; None: Zoom chooses.
    """

    def __init__(
        self,
        rtms_stream_id: str,
        situation: Situation,
        subscription: m.EventSubscription,
        video: VideoPolicy | None = None,
    ) -> None:
        self.rtms_stream_id = rtms_stream_id
        self.situation = situation
        self._subscription = subscription
        self.signaling = SignalingDecisions(situation)
        self.video = VideoDecisions(situation, video)
        self.media = MediaDecisions(situation, rtms_stream_id, self.video)

    # Time

    def start(self, now_s: float) -> None:
        """Begin to connect, unless it is decided already that the stream ends, or is let go."""
        if self.situation.outcome is None and self.situation.letting_go is None:
            self.situation.uplink.window.open(now_s)
            self.signaling.connect()

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self._tick_ending(now_s)
        self.signaling.tick_drops(now_s)
        self.media.tick(now_s)
        self.signaling.tick(now_s)
        self.video.tick(now_s)

    def _tick_ending(self, now_s: float) -> None:
        s, ending = self.situation, self.situation.ending
        if ending.announced is not None and now_s >= ending.announced.until_s:
            self.stopped(now_s, ending.announced.reason or 0, s.recording.zoom_ms, "announced, but it did not come")
        if ending.last_stopped is not None and now_s >= ending.last_stopped.until_s:
            self._after_last_stop(now_s, ending.last_stopped.stopped_ms)
        if now_s >= ending.look_s:
            s.look(now_s)

    def _after_last_stop(self, now_s: float, stopped_ms: int) -> None:
        """The last sub-session that we know of stopped. Of one that started during a restart of ours, or while
        signaling was lost, Zoom may never have reported; its media show it.
        """
        s = self.situation
        if s.recording.heard_after(stopped_ms):
            s.emit(Log("info", "not the last sub-session", {"why": "media go on"}))
            s.sub_sessions.others = True
            self._session_goes_on(now_s)
        else:
            self.stopped(now_s, s.sub_sessions.stop_reason or 0, s.recording.zoom_ms, "last sub-session stopped")

    # Connections

    def signaling_up(self, now_s: float, media_urls: Mapping[str, str]) -> None:
        """The handshake succeeded."""
        self.signaling.came_up(now_s, media_urls)
        self.situation.emit(Send(self._subscription))
        self.media.open_all(now_s)

    def media_closed(
        self, now_s: float, link: MediaLink, error: RtmsdError | None, *, was_granted: bool, was_read_out: bool
    ) -> None:
        """A media connection, or an attempt at one, ended.

        Args:
            error: None: it was closed by us.
            was_read_out: whether all came then that was on its way.
        """
        self.media.closed(now_s, link, error, was_granted=was_granted, was_read_out=was_read_out)
        self.signaling.check_drained(now_s)

    # Webhooks, operators and the daemon

    def failover(self, now_s: float, start: StartStream) -> None:
        """The RTMS server moved: connect to it at once, with a whole window, whatever state the connections are in."""
        s, u = self.situation, self.situation.uplink
        if s.outcome is not None or s.letting_go is not None:
            return
        s.emit(RecordStartedAgain(start.details))
        if s.sub_sessions.all_stopped:
            s.sub_sessions = SubSessions()
        if s.outage.was_up:
            s.outage.widen(GapCause.SERVER_FAILOVER)
            s.emit(RecordOutage(GapCause.SERVER_FAILOVER))
        s.feed(StreamInput.STARTED_AGAIN, "server failover")
        for link in s.links:
            link.forget_loss()
        u.url = start.server_urls
        u.backoff.reset()
        u.held_since_s = math.inf
        u.window.close()
        u.window.open(now_s)
        u.drop(now_s, GapCause.SERVER_FAILOVER)
        u.hurry(now_s, s.limits.connect_timeout_s)
        s.ending.announced = s.ending.last_stopped = None

    def interrupted(self, now_s: float, command: InterruptStream) -> None:
        """Zoom says signaling was lost. It may be late: then there is another connection, or this one spoke since."""
        s, u = self.situation, self.situation.uplink
        if command.server_urls is not None:
            u.url = command.server_urls
        if s.expects_end or not u.is_up or u.dropping is not None:
            return
        if u.zoom_ms is None or u.zoom_ms > command.event_ts:
            s.emit(Log("info", "interrupted webhook ignored", {"why": "signaling has come up or spoken since"}))
        else:
            u.drop(now_s, GapCause.SIGNALING_RECONNECT)

    def reconnect(self, now_s: float) -> None:
        """Fresh handshakes, because an operator asks for them."""
        s, u = self.situation, self.situation.uplink
        if not s.expects_end and s.letting_go is None:
            for link in s.links:
                link.ask_for_all()
            u.drop(now_s, GapCause.SIGNALING_RECONNECT)
            u.hurry(now_s, s.limits.connect_timeout_s)

    def close(self, now_s: float) -> None:
        """End the stream for good, politely: message 21, then Zoom terminates it. A second time, do not wait for it."""
        s, reason = self.situation, StopReason.RECEIVER_REQUEST_CLOSE
        if self.situation.uplink.is_up and not s.expects_end:
            s.emit(Send(m.StreamCloseReq(rtms_stream_id=self.rtms_stream_id)))
            s.ending.is_ours = True
            self._announced(now_s, reason, s.limits.handshake_timeout_s)
        else:
            s.decide(now_s, Outcome(RecordingState.ENDED, reason, None, "closed while not connected"))

    def stopped(self, now_s: float, reason: int, zoom_ms: int | None, why: str) -> None:
        """Zoom ended the stream. What is on its way may still arrive."""
        self.situation.decide(now_s, outcome_of_stop(reason, zoom_ms, why))

    def suspend(self, now_s: float) -> None:
        """The stream is left as it is at Zoom; the files say why media are missing until it is resumed."""
        s, state = self.situation, RecordingState.RECOVERING
        self.situation.uplink.dropping = GapCause.DAEMON_RESTART
        s.emit(RecordState(state, "the daemon stops"))
        s.recorded = state

    def _announced(self, now_s: float, reason: int | None, within_s: float) -> None:
        """The end is about to come, and so is saying nothing for too long."""
        s = self.situation
        if s.outcome is None and s.phase is not StreamPhase.TERMINATING:
            s.ending.announced = Announced(reason, now_s + within_s)
            s.feed(StreamInput.TERMINATING, f"reason {reason}")

    def _session_goes_on(self, now_s: float) -> None:
        """There is a sub-session after the last one."""
        self.situation.ending.last_stopped = None
        self.media.reopen(now_s)

    # Zoom's messages on signaling

    def message(self, now_s: float, message: m.Message) -> None:
        """Follow a message, whose `timestamp` is milliseconds since the epoch, or None."""
        if self.situation.letting_go is not None:
            return
        zoom_ms: int | None = getattr(message, "timestamp", None)
        is_past = isinstance(message, m.EventUpdate) and message.event_type == EventType.FIRST_PACKET_TIMESTAMP
        if zoom_ms is not None and not is_past:
            self.situation.uplink.zoom_ms = zoom_ms
        match message:
            case m.EventUpdate(event_type=EventType.MEDIA_CONNECTION_INTERRUPTED):
                self.media.suspect(now_s, _media_type(message.details.get("media_type")))
            case m.StreamStateUpdate():
                self._follow(now_s, message.state, message.reason, zoom_ms)
            case m.StreamStateResp() if message.state is not None:
                self._follow(now_s, message.state, None, zoom_ms)
            case m.SessionStateUpdate():
                self._follow_session(now_s, message, zoom_ms)
            case m.EventUpdate():
                self.video.event(now_s, message)
            case m.VideoSubscriptionResp():
                self.video.answered(now_s, message)
            case _:
                pass

    def _follow(self, now_s: float, state: int, reason: int | None, zoom_ms: int | None) -> None:
        """Follow the stream's state as Zoom has it, reported (message 8) or asked for (message 20)."""
        match state:
            case StreamState.ACTIVE | StreamState.RESUMED:
                self._pause(zoom_ms, on=False)
            case StreamState.PAUSED:
                self._pause(zoom_ms, on=True)
            case StreamState.INTERRUPTED if reason == StopReason.DATA_CONNECTION_INTERRUPTED:
                self.media.suspect(now_s, None)
            case StreamState.TERMINATING:
                self._announced(now_s, reason, self.situation.limits.signaling_window_s)
            case StreamState.TERMINATED:
                reason = reason or self.situation.ending.announced_reason or 0
                self.stopped(now_s, reason, zoom_ms, "terminated by Zoom")
            case _:
                pass

    def _follow_session(self, now_s: float, message: m.SessionStateUpdate, zoom_ms: int | None) -> None:
        s = self.situation
        had_stopped = s.sub_sessions.all_stopped
        if not s.sub_sessions.update(message):
            return
        if not s.sub_sessions.all_stopped:
            if had_stopped:
                self._session_goes_on(now_s)
            self._pause(zoom_ms, on=s.sub_sessions.all_paused)
        elif not had_stopped and s.outcome is None:
            s.ending.last_stopped = LastStopped(s.recording.zoom_ms, now_s + LAST_SESSION_GRACE_S)

    def _pause(self, zoom_ms: int | None, *, on: bool) -> None:
        """Take over from Zoom whether media are expected: not while the stream or all its sub-sessions are paused."""
        s = self.situation
        s.is_paused = on
        s.emit(RecordPause(on, zoom_ms))
        s.feed(StreamInput.PAUSED if on else StreamInput.RESUMED, "paused" if on else "resumed")


def _media_type(value: object) -> int | None:
    """No field that names a lost connection is documented: what is no number names none."""
    try:
        return read_int(value)
    except TypeError:
        return None
