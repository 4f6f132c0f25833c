"""One stream, from its started webhook to its end: what follows from what its parts, Zoom and operators say.

`SignalingLink` and `MediaLink` own the sockets; `Connector` decides when signaling is connected again and when it is
given up, `Ending` when the stream is over; `StreamMachine` is the state table.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

import attrs
import structlog
import trio

from rtmsd.commands import InterruptStream, StartStream
from rtmsd.config.media import MediaConfig
from rtmsd.config.model import StreamsConfig, ZoomConfig
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import MediaType, StopReason
from rtmsd.protocol.media_params import Difference, audio_format, differences, with_defaults
from rtmsd.protocol.messages import MediaParams
from rtmsd.protocol.signature import handshake_signature
from rtmsd.recording.recorder import Recorder
from rtmsd.state.ledger import StreamRow
from rtmsd.streams.core.ending import Ending, Outcome, given_up
from rtmsd.streams.core.outage import Cause, Outage
from rtmsd.streams.core.phase import StreamInput, StreamMachine, StreamPhase, SubSessions, manifest_state
from rtmsd.streams.core.signaling import Connector
from rtmsd.streams.diagnostics import History
from rtmsd.streams.drivers.media import LinkState, MediaLink
from rtmsd.streams.drivers.signaling import SignalingLink
from rtmsd.streams.drivers.watchdog import Watchdog

log = structlog.get_logger()

UNREAD_LIMIT_S: Final = 20.0
"""An unread socket cannot answer its keep-alive: after this time it is read again, and frames are dropped."""


_MAX_DIFFERENCES: Final = 100  # told; an honest server has one for each field at most


@attrs.frozen(kw_only=True)
class StreamSettings:
    """The slices of the configuration that a stream keeps for its life, whatever a reload changes."""

    streams: StreamsConfig
    zoom: ZoomConfig
    media: MediaConfig


class Stream:
    """Keeps one stream connected. All methods but `run` and `wait_room` are synchronous and may come at any time.

    Attributes:
        nursery: for tasks that must not outlive the stream; there is one while it runs.
        why: what the latest change of state, or the latest failed attempt to connect, came from.
        outage: what is lost now, and how earlier losses ended.
        watchdog: of all its connections.
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
        self.app = row.app
        self.product = row.product
        self.session = row.session
        self.rtms_stream_id = row.rtms_stream_id
        self.signature = handshake_signature(*credentials, row.session.id, row.rtms_stream_id)
        self.settings = settings
        self.media_params: MediaParams = settings.media.params()
        self.recorder = recorder
        self.history = history
        self.sub_sessions = SubSessions()
        self.watchdog = Watchdog(settings.streams.keep_alive_timeout_s)
        self.signaling = SignalingLink(self)
        self.links = tuple(MediaLink(self, types) for types in self._connections())
        self._machine = StreamMachine()
        self.outage = Outage(Cause.RESTART if resumed else None)
        if resumed:
            self._machine.feed(StreamInput.SIGNALING_LOST)
        self.connector = Connector(self, row.server_urls or "")
        self.ending = Ending(self)
        self.nursery: trio.Nursery
        self.why = ""
        self._is_paused = False  # by the latest word of Zoom's
        self._wait_room = wait_room
        self.unknown_events = 0
        self._told: set[Difference] = set()
        recorder.flusher.on_broken = self._not_recorded
        recorder.terms.asked(with_defaults(self.media_params, settings.media.requested))

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
        return self.ending.is_expected

    @property
    def loss_cause(self) -> Cause | None:
        """The `cause` of a gap that a connection lost now opens; None when the stream is ending anyway."""
        if self.expects_end:
            return None
        return self.connector.dropping or (Cause.MEDIA if self.signaling.is_up else Cause.SIGNALING)

    async def run(self) -> Outcome:
        """Live until the end. Cancelled from outside, it leaves the slot at Zoom as it is, to be resumed."""
        with self.ending.scope:
            async with trio.open_nursery() as self.nursery:
                self.nursery.start_soon(self.watchdog.run)
                await self.connector.run()
                self.nursery.cancel_scope.cancel()
        assert self.ending.outcome is not None
        return self.ending.outcome

    # What the links say

    def signaling_up(self) -> None:
        self.connector.signaling_up()
        self.history.accepted()
        log.info("signaling up")

    def signaling_lost(self, why: str) -> None:
        cause = self.loss_cause
        if cause is not None:
            self.why = why
            self.outage.grew(cause)
            self.recorder.same_outage(cause)
            self.feed(StreamInput.SIGNALING_LOST, why)

    def negotiated(self, params: MediaParams) -> Mapping[MediaType, str]:
        """Set the recorder up for what Zoom will send, which need not be what was asked for.

        Returns what of it cannot be stored, and why.
        """
        self._tell_differences(differences(self.media_params, params))
        if params.audio is not None:
            try:
                self.recorder.media.audio_format(audio_format(params.audio))
            except ValueError as unfit:
                return {MediaType.AUDIO: f"Zoom granted audio that cannot be stored: {unfit}"}
        if params.video is not None:
            self.recorder.media.video_format(params.video.codec, params.video.fps)
        if params.deskshare is not None:
            self.recorder.media.share_format(params.deskshare.codec, params.deskshare.fps)
        return {}

    def _tell_differences(self, found: Iterable[Difference]) -> None:
        """Say loudly, but once, that Zoom sends something else than was asked for."""
        for each in found:
            if each not in self._told and len(self._told) < _MAX_DIFFERENCES:
                self._told.add(each)
                fields = {"field": f"{each.media}.{each.field}", "asked": each.asked, "got": each.got}
                log.error("Zoom sends other media than was asked for", **fields)
                self.recorder.event("media_changed", None, **fields)

    def media_up(self, link: MediaLink) -> None:
        """A media handshake succeeded: say so on signaling, or nothing will flow."""
        if self.ending.outcome is not None or not self.signaling.is_up or self.connector.dropping is not None:
            return
        self.connector.media_up()
        self.history.media_granted(self.app, link.media)
        self.signaling.send(m.ClientReadyAck(rtms_stream_id=self.rtms_stream_id))
        if self.outage.was_up:
            # Its answer says whether the stream was paused meanwhile, and gives Zoom's time: where the gap ends.
            self.signaling.send(m.StreamStateReq(rtms_stream_id=self.rtms_stream_id))
        else:
            self.history.connected(self.app)
        self.outage.was_up = True
        log.info("media up", media=sorted(link.media))
        if self.phase is StreamPhase.CONNECTING:  # one is enough to begin with
            self._connected()
        self._check_whole()

    def _check_whole(self) -> None:
        """See whether an outage is over: nothing is missing any more that Zoom will give."""
        if all(link.state in {LinkState.STREAMING, LinkState.REFUSED} for link in self.links):
            self.outage.is_over()
            self._connected()

    def _connected(self) -> None:
        self.feed(StreamInput.HANDSHAKES_OK, "media handshake")
        if self._is_paused:
            self.feed(StreamInput.PAUSED, "still paused")

    def media_down(self, link: MediaLink, why: str) -> None:
        """A media connection is gone; of one that goes with signaling, `signaling_lost` tells."""
        if self.loss_cause is Cause.MEDIA:
            log.warning("media lost", media=sorted(link.media), why=why)
            self.outage.grew(Cause.MEDIA)
            self.feed(StreamInput.MEDIA_LOST, why)

    def media_arrived(self) -> None:
        """Media were received; called once a read."""
        match self.phase:
            case StreamPhase.READY:
                self.feed(StreamInput.MEDIA, "media")
            case StreamPhase.PAUSED if (heard_ms := self.recorder.heard_in_pause_ms) is not None:
                self._is_paused = False  # the word that it goes on was lost, or is on its way
                self.recorder.resumed(heard_ms, by_now=True)
                self.feed(StreamInput.RESUMED, "media")
            case _:
                pass

    def media_refused(self, media: frozenset[str], why: str, status: int | None = None) -> None:
        """These media will not come: until the end, or until another server is asked."""
        log.error("media refused", media=sorted(media), status=status, why=why)
        self.recorder.refused(media, status, why)
        self.history.media_refused(self.app, self.rtms_stream_id, media, why)
        if all(link.state is LinkState.REFUSED for link in self.links):
            self.ending.decide(Outcome("failed", None, None, f"no media left: {why}"))
        elif self.ending.outcome is None:
            self._check_whole()

    def signaling_gone(self) -> None:
        """Zoom refused media because it has no signaling connection of ours, although we believe that we have one."""
        self.connector.drop(Cause.SIGNALING)

    def media_given_up(self, link: MediaLink) -> None:
        """The window of a media connection passed: Zoom ends the stream, unless only these media never came at all."""
        others_came = any(other.was_up and not other.is_refused for other in self.links)
        if link.was_up or not others_came:
            self.window_passed(f"{'+'.join(sorted(link.media))} not back within its window: {link.why}")
        else:
            self.media_refused(link.media, f"not connected within streams.media_window_s: {link.why}")

    def window_passed(self, why: str) -> None:
        self.outage.is_for_good()
        self.ending.decide(given_up(why))

    async def wait_room(self) -> None:
        """Wait while unwritten media fill their bound, so that TCP holds Zoom back, for as long as that is safe."""
        await self._wait_room(UNREAD_LIMIT_S)

    def _not_recorded(self) -> None:
        self.ending.decide(Outcome("failed", None, None, "a bug of ours kept it from the disk, see the log"))

    # What webhooks and operators say

    def failover(self, start: StartStream) -> None:
        """The RTMS server moved."""
        if self.ending.outcome is not None:
            return
        self.recorder.started_again(start.details)
        if self.sub_sessions.all_stopped:
            self.sub_sessions = SubSessions()
        if self.outage.was_up:
            self.outage.grew(Cause.FAILOVER)
            self.recorder.same_outage(Cause.FAILOVER)
        self.feed(StreamInput.STARTED_AGAIN, "server failover")
        for link in self.links:
            link.forget_loss()
        self.connector.move_to(start.server_urls)
        self.ending.call_off()

    def interrupted(self, command: InterruptStream) -> None:
        """Zoom says signaling was lost. It may be late: then there is another connection, or this one spoke since."""
        if command.server_urls is not None:
            self.connector.url = command.server_urls
        if self.expects_end or not self.signaling.is_up or self.connector.dropping is not None:
            return
        if self.signaling.zoom_ms is None or self.signaling.zoom_ms > command.event_ts:
            log.info("interrupted webhook ignored", why="signaling has come up or spoken since")
            return
        self.connector.drop(Cause.SIGNALING)

    def reconnect(self) -> None:
        """Fresh handshakes, because an operator asks for them."""
        if not self.expects_end:
            for link in self.links:
                link.ask_for_all()
            self.connector.drop(Cause.SIGNALING)
            self.connector.hurry()

    def close(self) -> None:
        """End the stream for good, politely: message 21, then Zoom terminates it. A second time, do not wait for it."""
        reason = StopReason.RECEIVER_REQUEST_CLOSE
        if self.signaling.is_up and not self.expects_end:
            self.signaling.send(m.StreamCloseReq(rtms_stream_id=self.rtms_stream_id))
            self.ending.asked_for()
            self.ending.announced(reason, self.settings.streams.handshake_timeout_s)
        else:
            self.ending.decide(Outcome("ended", reason, None, "closed while not connected"))

    def suspend(self) -> None:
        """The daemon stops: leave the slot at Zoom, and say in the files why media are missing until the restart."""
        self.connector.dropping = Cause.RESTART
        self.recorder.state("recovering", "the daemon stops")

    # What Zoom says on signaling (`incoming` reads the messages)

    def pause(self, on: bool, zoom_ms: int | None) -> None:
        """Take over from Zoom whether media are expected: not while the stream or all its sub-sessions are paused."""
        self._is_paused = on
        if on:
            self.recorder.paused(zoom_ms)
            self.feed(StreamInput.PAUSED, "paused")
        else:
            self.recorder.resumed(zoom_ms)
            self.feed(StreamInput.RESUMED, "resumed")

    def suspect_media(self, media_type: int | None) -> None:
        """Zoom says that a media connection broke: the one it names, else one of ours, and we are to look which.

        No field that names it is documented, so mostly there is no name, and one loss is reported more than once (by
        event 7 and message 8), before or after we notice it. A report without a name is therefore put down to what is
        known to be lost, and costs no other connection, except one so silent that it cannot be alive.
        """
        named = [link for link in self.links if link.types & (media_type or 0)]
        is_explained = any(link.is_suspect or link.is_lost for link in self.links)
        for link in self.links:
            if named and link not in named:
                link.acquit()
            elif named or not is_explained or link.is_overdue:
                is_sure = bool(named) or is_explained
                delay_s = self.settings.streams.reconnect_delay_s
                self.nursery.start_soon(functools.partial(link.suspect, delay_s, is_sure=is_sure))

    def feed(self, what: StreamInput, why: str) -> None:
        """Move the state, and where it changed tell the files and the log, once."""
        before = self.recorder.state_name
        self._machine.feed(what)
        after = manifest_state(self.phase) if self.ending.outcome is None else self.ending.outcome.state
        if self.phase is StreamPhase.TERMINATING:  # nothing changes until the end is there
            after = before
        if before != after:
            self.why = why
            self.recorder.state(after, why)
            if self.ending.outcome is None:  # the end is logged when the files are finished
                log.info("stream state", state=after, was=before, why=why)
