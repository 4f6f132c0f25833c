"""The recording of one stream: all that happens to the stream comes here, synchronously; `Flusher` brings it to disk.

Nothing here raises for content, and nothing waits: what cannot be kept is counted and becomes a gap with a cause.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal

import structlog
import trio

from rtmsd.protocol.causes import FINAL_STATES, GapCause, RecordingState
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.media_types import NAMES
from rtmsd.protocol.messages import Participant
from rtmsd.protocol.times import time_ms
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.events import EventLog
from rtmsd.recording.flusher import Flusher
from rtmsd.recording.library.revoke import revoke
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.manifest.participants import identified
from rtmsd.recording.rates import Rates
from rtmsd.recording.recovery.damage import EVENT
from rtmsd.recording.state import RecordingContents
from rtmsd.recording.timeline.closed_with_end import ClosedWithEnd
from rtmsd.recording.timeline.medium import NOBODY
from rtmsd.recording.unknown import UnknownLog

log = structlog.get_logger()

_LATE_MS: Final = 1000  # packets from before a pause may come so much after its announcement on another connection


class Recorder:
    """See the module. All methods but `finish`, `suspend` and `delete` are synchronous.

    Attributes:
        media: takes in media, and counts them.
        terms: what was asked for, granted and refused.
        events: `events.jsonl`.
        unknown: keeps and counts what this version does not know.
        flusher: brings it all to disk.
        listeners: who hears what is kept.
        arrived: to be called with the time of each read, and the number of messages it brought.
    """

    def __init__(
        self, info: StreamInfo, writer: Writer, contents: RecordingContents, events: EventLog, flusher: Flusher
    ) -> None:
        self.info = info
        self.directory = flusher.directory
        self.events = events
        self.flusher = flusher
        self.arrived = writer.arrivals.note
        self._writer = writer
        self._contents = contents
        self._header, self._participants, self._timeline = contents.header, contents.participants, contents.timeline
        self.media, self.terms, self.listeners = contents.media, contents.terms, contents.media.listeners
        self.unknown = UnknownLog(events, contents.media.context.unknown)
        self._closed_with_end = ClosedWithEnd()
        self._rates = Rates(trio.current_time())
        flusher.on_lost = lambda lost: self.event(EVENT, self.zoom_ms, **lost.fields)
        self._state_event()

    @property
    def pcm(self) -> AudioFormat | None:
        return self.media.pcm

    # What Zoom says

    def event(self, kind: str, zoom_ms: int | None, **fields: Any) -> None:
        """Write a line to `events.jsonl`, and publish it; see `EventLog`."""
        self.events.write(kind, zoom_ms, fields)

    @property
    def state_name(self) -> str:
        return self._header.state

    def state(self, name: str, why: str | None = None) -> None:
        """The stream's state, as the manifest names it, and what it came from.

        A final one only says that the end is decided: it counts from `ended` on, together with when and why it was.
        """
        if name in FINAL_STATES:
            self._closed_with_end.decided(trio.current_time())
        else:
            self._enter(name, why)

    def _enter(self, state: str, why: str | None) -> None:
        if state != self._header.state:
            self._header.enter(state, why)
            self._state_event()
            self.flusher.touch()

    def _state_event(self) -> None:
        header = self._header
        reason = {} if header.stop_reason is None else {"stop_reason": header.stop_reason}
        self.event("stream_state", None, state=header.state, why=header.why, **reason)

    def started_again(self, details: Mapping[str, Any]) -> None:
        """Zoom moved the stream; `details` is what that start said besides."""
        self._header.know(details)
        self.flusher.touch()

    def first_packet(self, zoom_ms: int | None) -> None:
        """Where offsets count from. Zoom may say it again after a reconnection: the first counts."""
        header = self._header
        if header.first_packet_ms is None and zoom_ms is not None and self._timeline.is_plausible(zoom_ms):
            header.first_packet_ms = self.media.context.origin_ms = zoom_ms
            self.flusher.touch()

    def participants_joined(self, participants: Iterable[Participant], zoom_ms: int | None) -> None:
        at_ms = self.zoom_ms if zoom_ms is None else zoom_ms
        for user_id, person in identified(participants):
            self._participants.joined(user_id, person.user_name, at_ms)
            self._participants.described(user_id, person.role, person.phone_number)
        self.flusher.touch()

    def participants_left(self, participants: Iterable[Participant], zoom_ms: int | None) -> None:
        at_ms = self.zoom_ms if zoom_ms is None else zoom_ms
        for user_id, person in identified(participants):
            self._participants.left(user_id, at_ms)
            self._participants.described(user_id, person.role, person.phone_number)
        self.flusher.touch()

    def participants_named(self, participants: Iterable[Participant]) -> None:
        """An event names people, whatever else it is about."""
        for user_id, person in identified(participants):
            self._participants.named(user_id, person.user_name)
            self._participants.described(user_id, person.role, person.phone_number)

    @property
    def video(self) -> Any:
        """The value of `keep_video`, also of an earlier process; anything where a manifest was changed by hand."""
        return self._header.video

    def owned(self, tenure: PartTenure) -> None:
        """This member of a cluster owns the stream from now on, if it was not so from the beginning."""
        self._contents.part.begin(tenure, self._timeline.clock_ms)

    def keep_video(self, known: Mapping[str, Any]) -> None:
        """Keep the choice of video, and the cameras that are on, for a restart."""
        self._header.video = dict(known)
        self.flusher.touch()

    # Media that do not come, connections, pauses, the end

    def refused(self, media: Iterable[str], status: int | None, why: str) -> None:
        """These media were asked for and will not come."""
        media = sorted(media)
        self._timeline.refused(media)
        self.terms.refused(media, status=status, why=why, at_ms=self._timeline.clock_ms)
        self.event("media_refused", None, media=media, status=status, why=why)
        self.flusher.touch()

    @property
    def zoom_ms(self) -> int:
        """The latest time heard from Zoom."""
        return self._timeline.clock_ms

    def heard_after(self, zoom_ms: int) -> bool:
        """Whether media came that are from after a time of Zoom's."""
        newest_ms = self.media.newest_ms(NAMES.values())
        return newest_ms is not None and newest_ms > zoom_ms + _LATE_MS

    @property
    def heard_in_pause_ms(self) -> int | None:
        """Where the audio ends that is from a time at which the stream was paused; None: there is none."""
        newest_ms, paused_ms = self.media.newest_ms(("audio",)), self._timeline.pauses.since_ms
        if newest_ms is None or paused_ms is None or newest_ms <= paused_ms + _LATE_MS:
            return None
        return newest_ms

    def connected(self, kind: Literal["signaling", "media"], media: frozenset[str]) -> int:
        """A handshake succeeded. Returns a number for `heard` and `lost`."""
        number = self._timeline.connected(kind, media)
        self.media.advance_clock()
        self._connection_event(number, kind, media, change="opened")
        return number

    def interrupted(self, cause: str, media: Iterable[str]) -> None:
        """An earlier process had this stream, and may have been connected without having had the time to say so.

        Args:
            media: that are asked for now. What was connected and is not among them stays a gap; an event says why.
        """
        media = frozenset(media)
        self._timeline.interrupted(cause, media)
        if given_up := self._timeline.known_without(media):
            why = "the configuration asks for it no more: a gap until the end"
            self.event("media_given_up", None, media=given_up, why=why)
            log.warning("media given up", rtms_stream_id=self.info.rtms_stream_id, media=given_up, why=why)

    def heard(self, zoom_ms: Any, connection: int | None = None) -> None:
        """A live time of Zoom's on signaling, or in a connection's keep-alive; what is no time is ignored."""
        if (known_ms := time_ms(zoom_ms)) is not None:
            self._timeline.heard(known_ms, connection)

    def lost(self, connection: int, cause: str | None, why: str, *, in_order: bool = False) -> None:
        """A connection is gone.

        Args:
            cause: None: because the stream ends, which opens no gap.
            in_order: all that was sent on it has come. Else the last packet of one person may, and another's not.
        """
        known = self._timeline.connections.get(connection)
        if known is None:
            return
        self._closed_with_end.lost(connection, trio.current_time())
        self.media.connection_lost(known.media)
        newest_ms, audio_ms = self.media.newest_ms(known.media), self.media.newest_ms(("audio",))
        heard = NOBODY if in_order else self.media.heard()
        self._timeline.lost(connection, newest_ms, cause, why, audio_ms=audio_ms, heard=heard)
        self._connection_event(connection, known.kind, known.media, change="closed", why=why, cause=cause)

    def same_outage(self, cause: str) -> None:
        """Signaling went as well: media that were lost with it have its cause."""
        self._timeline.same_outage(cause)
        self.flusher.touch()

    def paused(self, zoom_ms: int | None) -> None:
        self._timeline.paused(zoom_ms)
        self.flusher.touch()

    def resumed(self, zoom_ms: int | None, *, by_now: bool = False) -> None:
        """A pause ended; `by_now`: at `zoom_ms` or earlier, and Zoom's word on when may follow."""
        self._timeline.resumed(zoom_ms, by_now=by_now)
        self.flusher.touch()

    def ended(
        self,
        reason: int | None,
        zoom_ms: int | None,
        state: str = "ended",
        why: str | None = None,
        *,
        is_zooms: bool = False,
    ) -> None:
        """The stream ended: open gaps and connections end with it. `finish` is next.

        The first time counts; later only that it was revoked is news.

        Args:
            zoom_ms: when Zoom ended it; None where it did not say, or when it did not.
            is_zooms: whether it did.
        """
        if self._header.ended_ms is None:
            self.state(state)
            self.media.advance_clock()
            newest_ms, closing = self.media.newest_ms(NAMES.values()), self._closed_with_end.numbers
            if left := self._timeline.never_connected(self.terms.asked_now):
                self.refused(left, None, "not connected before the end")
            self._header.ended_ms = self._timeline.ended(
                zoom_ms,
                newest_ms,
                closing,
                is_zooms=is_zooms,
                is_guess=reason == StopReason.AWAIT_RECONNECTION_TIMEOUT and not is_zooms,
                heard=self.media.heard(),
            )
            self._header.stop_reason = reason
            self._contents.part.end(self._header.ended_ms)
            self._enter(state, why)
        elif state == "revoked":
            self._enter(state, why)

    def _connection_event(self, number: int, kind: str, media: Iterable[str], **fields: Any) -> None:
        zoom_ms = self._timeline.clock_ms
        self.event("connection", zoom_ms, connection=number, of=kind, media=sorted(media), **fields)
        self.flusher.touch()

    # What others see, and the files' end

    def manifest(self) -> dict[str, Any]:
        return to_json(self._contents.manifest())

    def snapshot(self) -> dict[str, Any]:
        """The manifest, and what is only true now: `rates` per second as sampled last, `lag` to the disk."""
        ages_s = self._rates.last_packet_age_s(trio.current_time(), self.media.messages)
        lag_ms = round(self._writer.last_sync_age_s * 1000)
        return {**self.manifest(), "rates": self._rates.latest, "lag_ms": lag_ms, "last_packet_age_s": ages_s}

    def sample_rates(self) -> None:
        self._rates.sample(trio.current_time(), self.media.messages, self.media.media_bytes)

    async def finish(self) -> None:
        await self.flusher.finish()

    async def suspend(self, cause: GapCause = GapCause.DAEMON_RESTART, why: str = "the daemon stopped") -> None:
        """Write everything and let go, the stream still being alive: the next start goes on with it, or somebody else.

        Args:
            cause: of what is missing until then.
        """
        for connection in self._timeline.connections.open:
            self.lost(connection.number, cause, why, in_order=True)
        self.state(RecordingState.RECOVERING, why)
        self._contents.part.end(self._timeline.clock_ms)
        await self.flusher.suspend()

    async def delete(self, zoom_ms: int | None = None) -> None:
        """End, if that did not happen yet, delete everything that was stored, and leave a receipt without names.

        Raises:
            Exception: a bug in the end. Everything is deleted all the same.
        """
        try:
            self.ended(StopReason.STREAM_REVOKED, zoom_ms, "revoked")
        finally:
            await self.flusher.discard()
            known = {"version": 1, **self.info.identity, "ended_ms": self._header.ended_ms}
            delete = partial(revoke, self._writer.disk, self.directory, known)
            await self._writer.retrier.run(delete, self.info.rtms_stream_id)
