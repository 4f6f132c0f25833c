"""The decisions on media connections: when one is opened, what a loss or a refusal means, which one Zoom reports."""

from collections.abc import Mapping
from typing import Final

from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RtmsdError, UnspokenProtocol
from rtmsd.protocol import messages as m
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_types import REFUSED_TYPE, names_of
from rtmsd.protocol.policy import StatusAction, on_status
from rtmsd.streams.core.actions import (
    CloseMedia,
    Log,
    NoteMedia,
    OpenMedia,
    RecordConnected,
    RecordLost,
    RecordPause,
    RecordRefused,
    Send,
)
from rtmsd.streams.core.connections import (
    GRANTED_WITHOUT,
    OVERDUE_S,
    LinkState,
    MediaLink,
    MediaNotGranted,
    SuspectedLoss,
)
from rtmsd.streams.core.individual import VideoDecisions
from rtmsd.streams.core.outcome import failed
from rtmsd.streams.core.phase import StreamInput, StreamPhase
from rtmsd.streams.core.situation import Situation

_BROKEN_OFF: Final = frozenset({None, 1006})  # codes of losses without a close frame: what was on its way is lost


class MediaDecisions:
    """A part of the core, with the inputs that concern media alone."""

    def __init__(self, situation: Situation, rtms_stream_id: str, video: VideoDecisions) -> None:
        self._s = situation
        self._id = rtms_stream_id
        self._video = video

    # Opening

    def open_all(self, now_s: float) -> None:
        """Signaling is up."""
        for link in self._s.links:
            link.backoff.reset()
            self._open(now_s, link)

    def reopen(self, now_s: float) -> None:
        """The end was called off: what was let go for it is wanted again."""
        for link in self._s.links:
            if link.state is LinkState.IDLE or (link.state is LinkState.LOST and link.attempts.is_idle):
                self._open(now_s, link)

    def _open(self, now_s: float, link: MediaLink) -> None:
        s = self._s
        link.attempts.begin()
        is_wanted = link.state is not LinkState.REFUSED and not s.expects_end
        if is_wanted and s.uplink.is_up and s.uplink.dropping is None:
            link.window.open(now_s)
            link.state = LinkState.CONNECTING
            link.heard_s = now_s
            s.emit(OpenMedia(link, s.uplink.media_urls, link.window.deadline_s))

    def tick(self, now_s: float) -> None:
        for link in self._s.links:
            if link.suspicion is not None and now_s >= link.suspicion.due_s:
                self._judge(link)
            if link.state is LinkState.LOST and now_s >= link.attempts.next_s:
                if link.window.has_passed(now_s) and not self._s.expects_end:
                    self._give_up_waiting(now_s, link)
                else:
                    self._open(now_s, link)

    def _give_up_waiting(self, now_s: float, link: MediaLink) -> None:
        """The window passed: Zoom ends the stream, unless only these media never came at all."""
        link.attempts.begin()
        link.state = LinkState.REFUSED
        others_came = any(other.was_up and other.state is not LinkState.REFUSED for other in self._s.links)
        if link.was_up or not others_came:
            why = f"{'+'.join(sorted(link.media))} not back within its window: {link.why}"
            self._s.window_passed(now_s, why)
        else:
            self._refused(now_s, link.media, f"not connected within streams.media_window_s: {link.why}")

    # Up

    def check_wanted(self) -> None:
        """Raises ConnectionLost where a handshake comes too late: nothing would come, so it must not count."""
        if self._s.outcome is not None:
            raise ConnectionLost("the stream has ended")

    def granted(
        self,
        now_s: float,
        link: MediaLink,
        absent: MediaType,
        unusable: Mapping[MediaType, str],
        granted: m.MediaParams,
    ) -> None:
        """A handshake was answered with status 0; what follows on the connection is media.

        Raises:
            MediaNotGranted: nothing, or something that cannot be stored.
        """
        absent &= link.types
        if unusable or not link.types & ~absent:
            raise MediaNotGranted({bit: GRANTED_WITHOUT for bit in MediaType if bit & absent} | {**unusable})
        for bit in MediaType:
            if bit & absent:
                self._leave_out(now_s, link, bit, GRANTED_WITHOUT)
        self._s.emit(RecordConnected(link, granted))
        if MediaType.VIDEO & link.types:
            self._video.handshake(granted)

    def up(self, now_s: float, link: MediaLink) -> None:
        """The handshake is done: say so on signaling, or nothing will flow."""
        s = self._s
        link.backoff.reset()
        link.window.close()
        link.state, link.warned = LinkState.STREAMING, ""
        link.attempts.succeed()
        link.was_up = True
        if s.outcome is not None or not s.uplink.is_up or s.uplink.dropping is not None:
            return
        s.uplink.window.close()  # media are connected, too: the next loss has a whole window again
        s.emit(NoteMedia(link.media, not s.outage.was_up), Send(m.ClientReadyAck(rtms_stream_id=self._id)))
        if s.outage.was_up:
            # Its answer says whether the stream was paused meanwhile, and gives Zoom's time: where the gap ends.
            s.emit(Send(m.StreamStateReq(rtms_stream_id=self._id)))
        s.outage.was_up = True
        s.emit(Log("info", "media up", {"media": sorted(link.media)}))
        if s.phase is StreamPhase.CONNECTING:  # one is enough to begin with
            self._connected()
        if MediaType.VIDEO & link.types:
            self._video.up(now_s)
        self._check_whole()

    def _check_whole(self) -> None:
        """See whether the outage has been recovered: nothing is missing any more that Zoom will give."""
        is_whole = all(link.state in {LinkState.STREAMING, LinkState.REFUSED} for link in self._s.links)
        if is_whole and self._s.uplink.is_up:
            self._s.outage.recovered()
            self._connected()

    def _connected(self) -> None:
        self._s.feed(StreamInput.HANDSHAKES_OK, "media handshake")
        if self._s.is_paused:
            self._s.feed(StreamInput.PAUSED, "still paused")

    def arrived(self, _now_s: float) -> None:
        """Media were received; called once a read while the phase is not `ACTIVE`."""
        s = self._s
        match s.phase:
            case StreamPhase.READY:
                s.feed(StreamInput.MEDIA, "media")
            case StreamPhase.PAUSED if (heard_ms := s.recording.heard_in_pause_ms) is not None:
                s.is_paused = False  # the word that it goes on was lost, or is on its way
                s.emit(RecordPause(False, heard_ms, by_now=True))
                s.feed(StreamInput.RESUMED, "media")
            case _:
                pass

    # Down

    def closed(
        self, now_s: float, link: MediaLink, error: RtmsdError | None, *, was_granted: bool, was_read_out: bool
    ) -> None:
        """A connection, or an attempt at one, ended; `error` None: it was closed along with signaling, or by us."""
        if MediaType.VIDEO & link.types:
            self._video.down()
        if was_granted:
            self._lost(now_s, link, error, was_read_out=was_read_out)
        if error is not None and not isinstance(error, SuspectedLoss | ForbiddenHost):
            link.lost_s = now_s
        link.state = LinkState.LOST
        delay_s: float | None = None
        match error:
            case None:
                link.state = LinkState.IDLE
            case HandshakeRejected():
                delay_s = self._rejected(now_s, link, error)
            case MediaNotGranted():
                delay_s = self._go_on_without(now_s, link, error.whys)
            case ForbiddenHost():
                self._give_up(now_s, link, str(error))
            case UnspokenProtocol():
                self._not_connected(link, str(error), is_news=True)
                self._s.decide(now_s, failed(str(error)))
            case _:
                self._not_connected(link, str(error), is_news=not was_granted)
        if link.state is LinkState.LOST:
            self._plan(now_s, link, delay_s)

    def _lost(self, now_s: float, link: MediaLink, error: RtmsdError | None, *, was_read_out: bool) -> None:
        s, why = self._s, "closed by us" if error is None else str(error)
        cause = s.loss_cause
        s.look(now_s)
        if error is None and s.ending.cuts_off(now_s, link.media & {"audio"} or link.media):
            cause, why = GapCause.DROPPED, "closed by us while media still came after the end"
        s.emit(RecordLost(link, cause, why, in_order=self._came_in_order(cause, error, was_read_out)))
        if cause is GapCause.MEDIA_RECONNECT:  # one that goes with signaling is part of that loss
            s.emit(Log("warning", "media lost", {"media": sorted(link.media), "why": why}))
            s.outage.widen(cause)
            s.feed(StreamInput.MEDIA_LOST, why)

    def _came_in_order(self, cause: GapCause | None, error: RtmsdError | None, was_read_out: bool) -> bool:
        """Whether all that Zoom had sent has come: it closed behind that, or we left a connection that was well and had
        the time to read what was on its way.
        """
        if error is None:
            return was_read_out and (self._s.letting_go is not None or cause is GapCause.DAEMON_RESTART)
        return isinstance(error, ConnectionLost) and error.code not in _BROKEN_OFF

    def _plan(self, now_s: float, link: MediaLink, delay_s: float | None) -> None:
        """Plan the next attempt, unless signaling is gone or the end is expected."""
        s = self._s
        link.attempts.begin()
        if not s.uplink.is_up:
            link.state = LinkState.IDLE
        elif not s.expects_end:
            link.window.open(now_s)
            delay_s = link.backoff.next_s() if delay_s is None else delay_s
            link.attempts.plan(link.window.next_attempt(now_s, delay_s, s.limits.connect_timeout_s))

    def _not_connected(self, link: MediaLink, why: str, *, is_news: bool) -> None:
        """Of an attempt that failed the log hears once for each reason; of a loss it has heard."""
        link.why = why
        if is_news and why != link.warned and not self._s.expects_end:
            link.warned = why
            self._s.emit(Log("warning", "media not connected", {"media": sorted(link.media), "why": why}))

    # Refused

    def _rejected(self, now_s: float, link: MediaLink, refused: HandshakeRejected) -> float | None:
        """Return the delay before the next attempt; None: the usual one, unless there shall be none."""
        link.why = str(refused)
        action = on_status(refused.status_code)
        match action:
            case StatusAction.DROP_MEDIA if (bit := REFUSED_TYPE[refused.status_code]) & link.types:
                # On a unified connection it is one of several.
                return self._go_on_without(now_s, link, {bit: link.why}, refused.status_code)
            case StatusAction.RETRY | StatusAction.RETRY_STALE | StatusAction.RETRY_DUPLICATE:
                pass
            case StatusAction.STREAM_GONE:
                # Or signaling is: Zoom noticed that it is dead before we did. A new one will tell.
                self._s.uplink.drop(now_s, GapCause.SIGNALING_RECONNECT)
            case _:
                self._give_up(now_s, link, link.why, refused.status_code)
                return None
        self._s.emit(Log.of_refusal("media", refused, action, media=sorted(link.media)))
        return None

    def _go_on_without(
        self, now_s: float, link: MediaLink, whys: Mapping[MediaType, str], status: int | None = None
    ) -> float:
        """Some of these media are not given: ask at once for the others, if there are any, or never again.

        Returns the delay before the next attempt.
        """
        for bit, why in whys.items():
            if link.types & ~bit:
                self._leave_out(now_s, link, bit, why, status)
            else:
                self._give_up(now_s, link, why, status)
        return 0.0

    def _leave_out(self, now_s: float, link: MediaLink, bit: MediaType, why: str, status: int | None = None) -> None:
        self._refused(now_s, names_of(bit & link.types), why, status)
        link.types &= ~bit

    def _give_up(self, now_s: float, link: MediaLink, why: str, status: int | None = None) -> None:
        link.why = why
        link.state = LinkState.REFUSED
        self._refused(now_s, link.media, why, status)

    def _refused(self, now_s: float, media: frozenset[str], why: str, status: int | None = None) -> None:
        """These media will not come: until the end, or until another server is asked."""
        s = self._s
        s.emit(
            Log("error", "media refused", {"media": sorted(media), "status": status, "why": why}),
            RecordRefused(media, status, why),
        )
        if all(link.state is LinkState.REFUSED for link in s.links):
            s.decide(now_s, failed(f"no media left: {why}"))
        elif s.outcome is None:
            self._check_whole()

    # Reported

    def suspect(self, now_s: float, media_type: int | None) -> None:
        """Zoom says that a media connection broke: the one it names, else one of ours, and we are to look which.

        No field that names it is documented, so mostly there is no name, and one loss is reported more than once (by
        event 7 and message 8), before or after we notice it. A report without a name is therefore put down to what is
        known to be lost, and costs no other connection, except one so silent that it cannot be alive.
        """
        links = self._s.links
        named = [link for link in links if link.types & (media_type or 0)]
        is_explained = any(link.suspicion is not None or link.is_lost for link in links)
        for link in links:
            if named and link not in named:
                link.suspicion = None  # Zoom has said by now that it meant another connection
            elif named or not is_explained or link.is_silent(now_s, OVERDUE_S):
                link.suspect(now_s, self._s.limits.reconnect_delay_s, is_sure=bool(named) or is_explained)

    def _judge(self, link: MediaLink) -> None:
        """Close a connection that stayed silent. Unless Zoom must have meant it, another that is lost since explains
        the report, and silence proves nothing: nobody spoke.
        """
        suspected, link.suspicion = link.suspicion, None
        assert suspected is not None
        was_another = not suspected.is_sure and any(other.lost_s >= suspected.since_s for other in self._s.links)
        if link.went_silent(suspected) and not was_another:
            self._s.emit(CloseMedia(link, SuspectedLoss("Zoom reported the media connection as interrupted")))
