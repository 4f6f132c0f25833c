"""The decisions on signaling: when it is connected again, what a loss or a refusal means, when it is given up."""

import math
from collections.abc import Mapping
from typing import Final

from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RtmsdError, UnspokenProtocol
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.policy import StatusAction, on_status
from rtmsd.streams.core.actions import CloseMedia, Connect, Drop, Log, RecordConnected, RecordLost, RecordOutage
from rtmsd.streams.core.connections import DRAIN_S, READ_OUT_S, LinkState, UplinkState
from rtmsd.streams.core.outcome import Outcome, failed, given_up, outcome_of_stop
from rtmsd.streams.core.phase import StreamInput, StreamPhase
from rtmsd.streams.core.reconnect import Permission
from rtmsd.streams.core.situation import Situation

CLOSED_NORMALLY: Final = 1000
SLOT_HELD: Final = "another connection has the slot, longer than Zoom keeps one that is dead"


class SignalingDecisions:
    """A part of the core, with the inputs that concern signaling alone."""

    def __init__(self, situation: Situation) -> None:
        self._s = situation

    def connect(self) -> None:
        u = self._s.uplink
        u.begin()
        self._s.emit(Connect(u.url, u.window.deadline_s))

    def permitted(self, now_s: float, permission: Permission) -> None:
        """The answer to whether we may make this attempt, before anything is dialled."""
        self._s.uplink.permission = permission
        if permission is Permission.LOST:
            self.let_go(now_s, "another member owns it")

    def came_up(self, now_s: float, media_urls: Mapping[str, str]) -> None:
        """The handshake succeeded."""
        self._s.uplink.came_up(now_s, media_urls)
        self._s.emit(RecordConnected(None), Log("info", "signaling up", {}))

    def tick(self, now_s: float) -> None:
        """Try again, or give up."""
        s, u = self._s, self._s.uplink
        if u.state is UplinkState.WAITING and now_s >= u.attempts.next_s:
            if u.window.has_passed(now_s) and u.permission is Permission.BLIND:
                self.let_go(now_s, f"not connected, and whose it is was not known: {s.why}")
            elif u.window.has_passed(now_s):
                u.attempts.begin()
                s.window_passed(now_s, f"signaling not back within its window: {s.why}")
            elif s.outcome is None:
                self.connect()
        elif u.state is UplinkState.ASKING_WHY and now_s >= u.asked_until_s:
            u.forget_drops()
            s.decide(now_s, self._slot_gone())

    def tick_drops(self, now_s: float) -> None:
        """Close what was read long enough."""
        s, u = self._s, self._s.uplink
        if now_s < min(u.drop_s, u.drain_s):
            return
        if now_s >= u.drop_s and u.state in {UplinkState.CONNECTING, UplinkState.UP}:
            u.move(UplinkState.DROPPED)
            s.emit(Drop())
        u.forget_drops()
        s.emit(*(CloseMedia(link) for link in s.links if link.is_open))

    def went_down(self, now_s: float, *, by_zoom: bool) -> None:
        """A connection that was up carries nothing any more; `closed` follows when its socket is closed."""
        s, u = self._s, self._s.uplink
        if u.state is UplinkState.UP:
            u.move(UplinkState.LOST)
        if by_zoom and s.expects_end:
            self._closed_by_zoom(now_s)
        if s.phase not in {StreamPhase.READING_ON, StreamPhase.LETTING_GO}:
            u.drain_s = now_s + DRAIN_S
        for link in s.links:
            if link.state is LinkState.LOST:
                link.state = LinkState.IDLE

    def closed(self, now_s: float, error: RtmsdError | None) -> None:
        """A connection, or an attempt at one, ended; `error` None: it was cancelled."""
        s, u = self._s, self._s.uplink
        is_dropped = u.state is UplinkState.DROPPED
        is_torn_down = error is None and not is_dropped  # with the whole stream
        cause = s.loss_cause
        if u.was_up:
            s.emit(RecordLost(None, cause, "closed by us" if error is None else str(error)))
        if is_torn_down:
            return
        if error is not None and not _is_slot_held(error):
            u.held_since_s = math.inf
        if isinstance(error, HandshakeRejected) and u.state is UplinkState.CONNECTING:
            self._rejected(now_s, error)
            return
        if isinstance(error, ForbiddenHost | UnspokenProtocol):
            s.decide(now_s, failed(str(error)))
        else:
            if self._is_transfer(now_s, error):
                u.transfer_s, u.hurried = now_s, True
            self._lost(cause, "connecting afresh" if error is None else str(error))
        u.move(UplinkState.DRAINING)
        if u.is_on_trial(now_s) and not is_dropped and not s.expects_end:
            self.let_go(now_s, "lost soon after it was connected without knowing whose it is")
        self.check_drained(now_s)

    def let_go(self, now_s: float, why: str, cause: GapCause | None = None) -> None:
        """Leave the stream to somebody else. What is in our media sockets nobody else has: it is read, for `READ_OUT_S`
        at most. An end that is decided is kept.

        Args:
            cause: of what is lost by it; None: nothing is.
        """
        s, u = self._s, self._s.uplink
        if not s.let_go(why):
            return
        u.dropping = cause or u.dropping
        u.forget_drops()
        if u.state in {UplinkState.CONNECTING, UplinkState.UP}:
            u.move(UplinkState.DROPPED)
            s.emit(Drop())
        for link in s.links:
            if link.state is LinkState.CONNECTING:
                s.emit(CloseMedia(link))
            elif link.state is LinkState.LOST:
                link.state = LinkState.IDLE
        u.drain_s = now_s + READ_OUT_S
        self.check_drained(now_s)

    def _is_transfer(self, now_s: float, error: RtmsdError | None) -> bool:
        """Whether the stream moved, and is at the same address already. A server that closes again soon is treated as
        any that fails.
        """
        s, u = self._s, self._s.uplink
        is_normal = isinstance(error, ConnectionLost) and error.code == CLOSED_NORMALLY
        is_rare = now_s - u.transfer_s >= s.limits.reconnect_delay_max_s
        return s.transfers and is_normal and is_rare and u.was_up and not s.expects_end

    def _lost(self, cause: GapCause | None, why: str) -> None:
        """One loss, put down to one cause. Of attempts that failed the log hears once for each reason."""
        s, u = self._s, self._s.uplink
        if not u.was_up and why != u.warned and not s.expects_end and s.letting_go is None:
            u.warned = why
            s.emit(Log("warning", "signaling not connected", {"why": why}))
        if cause is not None:
            s.why = why
            s.outage.widen(cause)
            s.emit(RecordOutage(cause))
            s.feed(StreamInput.SIGNALING_LOST, why)

    def check_drained(self, now_s: float, delay_s: float | None = None) -> None:
        """When signaling and its media are closed: plan the next attempt, or end, or leave."""
        s, u = self._s, self._s.uplink
        if u.is_open or any(link.is_open for link in s.links):
            return
        if s.letting_go is not None:
            s.leave()
        if u.state is not UplinkState.DRAINING or s.letting_go is not None:
            return
        if s.expects_end:
            self._closed_by_zoom(now_s)
        if s.outcome is None:
            if delay_s is None:
                delay_s = 0.0 if u.hurried else u.backoff.next_s()
            u.plan(now_s, delay_s, s.limits.connect_timeout_s)
        else:
            s.ending.cut_short(now_s, 0.0)

    def _rejected(self, now_s: float, refused: HandshakeRejected) -> None:
        s, u = self._s, self._s.uplink
        s.why = f"handshake refused: {refused}"
        action = on_status(refused.status_code)
        if action is not StatusAction.RETRY_DUPLICATE or math.isinf(u.held_since_s):
            s.emit(Log.of_refusal("signaling", refused, action))
        if action is StatusAction.STREAM_GONE and not u.hurried:
            u.ask_why(now_s, refused, s.limits.stop_grace_s)
            return
        u.move(UplinkState.DRAINING)
        delay_s: float | None = None
        match action:
            case StatusAction.RETRY_DUPLICATE if u.permission is Permission.BLIND:
                self.let_go(now_s, f"whose it is was not known, and another has its slot: {refused}")
            case StatusAction.RETRY_DUPLICATE:
                self._slot_held(now_s)
                delay_s = s.limits.reconnect_delay_s / 2
            case StatusAction.RETRY | StatusAction.RETRY_STALE | StatusAction.STREAM_GONE:
                pass
            case _:
                s.decide(now_s, failed(f"signaling handshake refused: {refused}"))
        self.check_drained(now_s, delay_s)

    def _slot_held(self, now_s: float) -> None:
        """Zoom has not noticed yet that a connection of before is dead, or another process is connected. Either way the
        stream lives: its windows begin when Zoom says something else.
        """
        s, u = self._s, self._s.uplink
        u.slot_held(now_s)
        for link in s.links:
            link.window.close()
        if u.is_held_too_long(now_s) and u.warned != SLOT_HELD:
            u.warned = SLOT_HELD
            s.emit(Log("error", "slot held", {"why": SLOT_HELD}))

    def _slot_gone(self) -> Outcome:
        refused = self._s.uplink.refused
        if self._s.outage.was_up:
            return given_up(f"slot gone: {refused}")
        return failed(f"Zoom does not know the stream: {refused}")

    def _closed_by_zoom(self, now_s: float) -> None:
        """Signaling was closed when the end was expected."""
        s = self._s
        reason = s.ending.announced_reason or s.sub_sessions.stop_reason or 0
        s.decide(now_s, outcome_of_stop(reason, None, "closed by Zoom"))


def _is_slot_held(error: RtmsdError) -> bool:
    return isinstance(error, HandshakeRejected) and on_status(error.status_code) is StatusAction.RETRY_DUPLICATE
