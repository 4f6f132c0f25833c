"""A driver and a Zoom without IO: what the core asks for is held against what it may ask for."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from rtmsd.commands import InterruptStream, StartStream
from rtmsd.config import StreamsConfig
from rtmsd.errors import ConnectionLost, HandshakeRejected, RtmsdError
from rtmsd.protocol.causes import FINAL_STATES, OUTAGE_CAUSES, GapCause, RecordingState
from rtmsd.protocol.enums import MediaType, StatusCode
from rtmsd.protocol.messages import EventSubscription, MediaParams, SessionRef
from rtmsd.streams.core import actions as a
from rtmsd.streams.core.connections import READ_OUT_S, TRIAL_S, LinkState, MediaLink
from rtmsd.streams.core.phase import StreamPhase
from rtmsd.streams.core.reconnect import Permission
from rtmsd.streams.core.situation import Situation
from rtmsd.streams.core.stream_core import StreamCore

if TYPE_CHECKING:
    from rtmsd.streams.core.outcome import Outcome

P = ParamSpec("P")

URLS = {"all": "wss://media.zoom.test"}
CLOSE_S = 1.0  # no socket takes longer to be closed
SLACK_S = 2 * CLOSE_S  # from a loss to the moment it is noticed everywhere


class FakeRecording:
    """A recording, as a test wants the core to see it."""

    def __init__(self) -> None:
        self.zoom_ms = 0
        self.heard_in_pause_ms: int | None = None
        self.messages: Counter[str] = Counter()
        self.is_short = False
        self.media_go_on = False

    def heard_after(self, zoom_ms: int) -> bool:
        return self.media_go_on


class Model:
    """Carries out what the core decides, and knows by itself what is open, until when, and what was lost.

    Attributes:
        signaling, media: how far each connection is, None where there is none.
        dropped: what the core wants closed.
        up: what the recording knows as connected; None is signaling.
        losses: the causes of all that was lost.
        is_broken: something was found that must not be.
        windows: until when each connection may be tried; none while it is up.
        permission: what the tenure says; None: nothing for now.
        let_go_s: since when the stream is let go; None: it is not.
        is_left: nothing of it is open any more, and it is somebody else's.
        is_held: another connection has the slot, by Zoom's latest word.
    """

    def __init__(self, connections: Iterable[MediaType], *, resumed: bool = False, transfers: bool = False) -> None:
        self.now_s = 0.0
        self.limits = StreamsConfig()
        self.recording = FakeRecording()
        situation = Situation(
            "wss://one.zoom.test",
            self.limits,
            self.recording,
            connections=tuple(connections),
            recorded=RecordingState.RECOVERING if resumed else RecordingState.CONNECTING,
            cause=GapCause.DAEMON_RESTART if resumed else None,
            transfers=transfers,
        )
        self.core = StreamCore("stream", situation, EventSubscription(events=()))
        self.signaling: str | None = None
        self.media: dict[MediaLink, str | None] = dict.fromkeys(self.core.situation.links)
        self.dropped: set[MediaLink | None] = set()
        self.up: set[MediaLink | None] = set()
        self.losses: list[GapCause | None] = []
        self.windows: dict[MediaLink | None, float] = {}
        self.permission: Permission | None = Permission.GRANTED
        self.let_go_s: float | None = None
        self.is_left = False
        self.permitted = Permission.GRANTED
        self.up_s = 0.0
        self.is_held = False
        self.wake_s = math.inf
        self.end: Outcome | None = None
        self.is_broken = False

    # The actions

    def report(self, decide: Callable[Concatenate[float, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Give the core an input, and carry out what follows."""
        self.is_broken = True  # unless all of it holds
        decide(self.now_s, *args, **kwargs)
        for action in self.core.situation.take_actions(self.now_s):
            self._carry_out(action)
        self.check()
        self.is_broken = False
        if self.signaling == "asking" and None not in self.dropped and self.permission is not None:
            self.permit(self.permission)

    def _carry_out(self, action: a.Action) -> None:
        match action:
            case a.Connect():
                assert self.end is None, "connected after the end"
                assert self.signaling is None, "a second signaling connection"
                assert not any(self.media.values()), "media of before are still open"
                self._check_window(None, action.deadline_s, self.limits.signaling_window_s)
                self._check_ours()
                self.signaling = "asking"
            case a.OpenMedia(link):
                assert self.end is None, "media opened after the end"
                self._check_ours()
                assert self.media[link] is None, "a second connection for the same media"
                assert self.signaling == "up"
                self._check_window(link, action.deadline_s, self.limits.media_window_s)
                self.media[link] = "connecting"
            case a.Send():
                assert self.end is None, "sent after the end"
                self._check_ours()
                assert self.signaling == "up"
            case a.Drop():
                assert self.signaling in {"asking", "connecting", "up"}
                self.dropped.add(None)
            case a.CloseMedia(link):
                assert self.media[link] is not None
                self.dropped.add(link)
            case a.RecordConnected(link):
                assert link not in self.up
                self.up.add(link)
            case a.RecordLost(link, cause):
                assert link in self.up, "a loss that was reported before"
                self.up.remove(link)
                self.losses.append(cause)
                assert cause is None or cause is GapCause.DROPPED or cause in OUTAGE_CAUSES
            case a.Wait(until_s):
                self.wake_s = until_s
            case a.End(outcome):
                assert self.end is None, "a second end"
                self._check_ours()
                assert outcome.why, "an end without a reason"
                assert outcome.state in FINAL_STATES
                self.end = outcome
            case a.Leave():
                assert self.core.situation.letting_go is not None
                assert not self.is_left
                assert not any((self.signaling, *self.media.values())), "left with something open"
                self.is_left = True
            case _:
                pass

    def _check_ours(self) -> None:
        assert self.core.situation.letting_go is None, "something is done to a stream that is let go"

    def _check_window(self, link: MediaLink | None, deadline_s: float, length_s: float) -> None:
        """Only a success, or another server, gives a connection more time than it had."""
        assert deadline_s <= self.windows.get(link, math.inf), "an interruption extended the window"
        if self.is_held and link is None:
            assert deadline_s == math.inf, "a held slot runs the window down"
        else:
            assert deadline_s <= self.now_s + length_s
        self.windows[link] = deadline_s

    def check(self) -> None:
        """Check the invariants of any time."""
        phase, outcome = self.core.situation.phase, self.core.situation.outcome
        assert (outcome is not None) == (phase in {StreamPhase.READING_ON, StreamPhase.ENDED}), phase
        assert (self.end is not None) == (phase is StreamPhase.ENDED), phase
        letting_go = self.core.situation.letting_go
        assert (letting_go is not None) == (phase in {StreamPhase.LETTING_GO, StreamPhase.LET_GO}), phase
        assert self.is_left == (phase is StreamPhase.LET_GO), phase
        if letting_go is not None and self.let_go_s is None:
            self.let_go_s = self.now_s
        for link, stage in self.media.items():
            assert link.is_open == (stage is not None), (link, stage)
            assert (link.state is LinkState.STREAMING) == (stage == "up"), (link, stage)
        if not self.is_over and self.signaling is None and not self.dropped:
            assert self.wake_s < math.inf or any(self.media.values()), "waits for nothing"

    # What happens

    @property
    def is_over(self) -> bool:
        return self.end is not None or self.is_left

    def start(self) -> None:
        self.report(self.core.start)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all timers, and with the sockets that are being closed."""
        until_s = self.now_s + seconds
        while self.wake_s <= until_s and not self.is_over:
            at_s = max(self.now_s, self.wake_s)
            if at_s > self.now_s + CLOSE_S:
                self.finish_closing()
            self.now_s = at_s
            self.report_tick()
        if seconds > CLOSE_S:
            self.finish_closing()
        self.now_s = max(self.now_s, until_s if self.wake_s > until_s else self.now_s)
        if self.let_go_s is not None and self.now_s > self.let_go_s + READ_OUT_S + SLACK_S:
            assert self.is_left, "it takes too long to let it go"

    def report_tick(self) -> None:
        self.recording.zoom_ms = round(self.now_s * 1000)
        for _ in range(10):
            if self.wake_s > self.now_s or self.is_over:
                return
            self.report(self.core.tick)
        raise AssertionError("a timer that never is done")

    def finish_closing(self) -> None:
        for link in [each for each in self.dropped if each is not None]:
            self.close_media(link, None)
        if None in self.dropped:
            self.close_signaling(None)

    def permit(self, permission: Permission) -> None:
        """The tenure answers who asks whether to connect."""
        is_ours = self.core.situation.outcome is None
        self.signaling = "connecting"
        self.permitted = permission
        self.report(self.core.signaling.permitted, permission)
        if permission is Permission.LOST and is_ours:
            assert None in self.dropped, "dials although the stream is another's"

    def signaling_up(self) -> None:
        self.up_s = self.now_s
        self.signaling = "up"
        self.is_held = False
        self.report(self.core.signaling_up, URLS)

    def close_signaling(self, error: RtmsdError | None, *, by_zoom: bool = False) -> None:
        was_up, lost = self.signaling == "up", len(self.losses)
        if was_up:
            self.signaling = "down"
            self.report(self.core.signaling.went_down, by_zoom=by_zoom)
        self.signaling = None
        self._follow_slot(error)
        is_dropped = None in self.dropped
        self.dropped.discard(None)
        expects_end = self.core.situation.expects_end
        must_let_go = self._must_let_go(error, was_up) and not is_dropped and not expects_end
        self.report(self.core.signaling.closed, error)
        self._check_losses(lost, was_up, expects_end)
        if must_let_go:
            assert self.core.situation.letting_go is not None, "a blind attempt stands against who has the stream"

    def _must_let_go(self, error: RtmsdError | None, was_up: bool) -> bool:
        """Whether Zoom, or whoever has the stream, shows that an attempt made blindly was wrong."""
        if self.permitted is not Permission.BLIND or error is None:
            return False
        return self.now_s - self.up_s < TRIAL_S if was_up else is_held(error)

    def _follow_slot(self, error: RtmsdError | None) -> None:
        """Only Zoom's word says whether another connection has the slot: then no window has begun."""
        if is_held(error) and None not in self.dropped:
            self.is_held = True
            self.windows.clear()
        elif error is not None:
            self.is_held = False

    def grant(self, link: MediaLink, absent: MediaType) -> None:
        self.media[link] = "granted"
        self.report(self.core.media.granted, link, absent, {}, MediaParams())

    def media_up(self, link: MediaLink) -> None:
        self.media[link] = "up"
        self.windows.pop(link, None)
        uplink = self.core.situation.uplink
        if self.signaling == "up" and self.core.situation.outcome is None and uplink.dropping is None:
            self.windows.pop(None, None)
        self.report(self.core.media.up, link)

    def connect(self) -> None:
        """Bring up signaling and, in one connection, all media."""
        self.start()
        self.signaling_up()
        [link] = self.core.situation.links
        self.grant(link, MediaType(0))
        self.media_up(link)

    def close_media(self, link: MediaLink, error: RtmsdError | None) -> None:
        was_granted, lost = self.media[link] in {"granted", "up"}, len(self.losses)
        self.media[link] = None
        self.dropped.discard(link)
        expects_end = self.core.situation.expects_end
        self.report(self.core.media_closed, link, error, was_granted=was_granted, was_read_out=True)
        self._check_losses(lost, was_granted, expects_end)

    def _check_losses(self, before: int, was_up: bool, expects_end: bool) -> None:
        """Of what was up, one loss with one cause; at the end, with none but that we cut it off."""
        new = self.losses[before:]
        assert len(new) == was_up, "a loss without, or with more than one, cause"
        for cause in new:
            assert (cause in OUTAGE_CAUSES) == (not expects_end), f"a loss {'with' if cause else 'without'} a cause"

    def fail_over(self) -> None:
        if self.core.situation.outcome is None:
            self.windows = {None: self.now_s + self.limits.signaling_window_s}
            self.is_held = False
        start = StartStream(
            product="meeting",
            session=SessionRef("meeting_uuid", "m"),
            rtms_stream_id="stream",
            server_urls="wss://two.zoom.test",
            app="main",
            event_ts=1,
        )
        self.report(self.core.failover, start)

    def interrupt(self, event_ts: int) -> None:
        command = InterruptStream(
            product="meeting",
            session=SessionRef("meeting_uuid", "m"),
            rtms_stream_id="stream",
            app="main",
            event_ts=event_ts,
        )
        self.report(self.core.interrupted, command)


def is_held(error: RtmsdError | None) -> bool:
    return isinstance(error, HandshakeRejected) and error.status_code == StatusCode.DUPLICATE_SIGNAL_REQUEST


LOST = ConnectionLost("gone")


class ClosedNormally(ConnectionLost):
    code = 1000


TRANSFERRED = ClosedNormally("closed with code 1000")
