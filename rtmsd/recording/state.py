"""The contents of one recording: all that is known of its stream, and the manifest made of it. Nothing here waits."""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.disk.file_buffer import Backlog, DiskFile
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.header import ManifestHeader
from rtmsd.recording.manifest.media_terms import MediaTerms
from rtmsd.recording.manifest.part import PartHistory, PartTenure
from rtmsd.recording.manifest.participants import Participants
from rtmsd.recording.manifest.schema import Counters, Manifest
from rtmsd.recording.manifest.unknown_counts import UnknownCounts
from rtmsd.recording.media.intake import MediaIntake
from rtmsd.recording.media.store import IntakeContext
from rtmsd.recording.parts import Inherited
from rtmsd.recording.recovery.damage import Lost
from rtmsd.recording.recovery.resume import ResumeState
from rtmsd.recording.timeline.resuming import resume_timeline
from rtmsd.recording.timeline.timeline import Timeline


class RecordingContents:
    """Begins empty, or with what an earlier process left, or another member of a cluster knew.

    Attributes:
        header, participants, timeline, terms, media: each a subject of its own.
        part: whose the stream was and is, in a cluster.
        changes: of all of them, as far as the manifest has to report them at once.
    """

    def __init__(
        self,
        maker: FileMaker,
        events: DiskFile,
        backlog: Backlog,
        identity: dict[str, Any],
        resumed: ResumeState,
        *,
        started_again_ms: int,
        local_ms: Callable[[], int],
        nudge: Callable[[], None],
        cause: GapCause = GapCause.DAEMON_RESTART,
        tenure: PartTenure | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        self._cause = cause
        self.changes = ChangeCounter()
        self._maker = maker
        self._events = events
        self.header = ManifestHeader(identity)
        self.participants = Participants((), self.changes)
        self.terms = MediaTerms(None, self.changes)
        if resumed.manifest is None:
            self.timeline = Timeline(self.header.started_ms, self.changes)
        else:
            self.timeline = self._resume(resumed.manifest, resumed, started_again_ms)
        self.part = PartHistory(UNSET if resumed.manifest is None else resumed.manifest.part, self.changes)
        self._take_over(tenure, inherited, started_again_ms)
        context = IntakeContext(
            maker=maker,
            backlog=backlog,
            participants=self.participants,
            timeline=self.timeline,
            changes=self.changes,
            started_ms=self.header.started_ms,
            origin_ms=self.header.origin_ms,
            local_ms=local_ms,
            nudge=nudge,
            unknown=UnknownCounts(resumed.counters.unknown_kinds),
        )
        self.media = MediaIntake(context, resumed)

    def _resume(self, manifest: Manifest, resumed: ResumeState, started_again_ms: int) -> Timeline:
        """Continue where an earlier process stopped, or where the stream had ended. Returns the timeline."""
        self.header.resume(manifest)
        self.participants = Participants(manifest.participants, self.changes)
        self.terms = MediaTerms(manifest.media, self.changes)
        ended_ms = manifest.ended_ms
        is_guess = manifest.stop_reason == StopReason.AWAIT_RECONNECTION_TIMEOUT
        if ended_ms is not None and is_guess and started_again_ms <= ended_ms:  # Zoom said neither, and it went on
            manifest = replace(manifest, ended_ms=None, clock_ms=max(manifest.clock_ms, ended_ms))
        timeline = resume_timeline(manifest, resumed.newest_audio_ms, self.changes, cause=self._cause)
        for audio in resumed.audio:
            for from_ms, to_ms in audio.kept:
                timeline.covered("audio", audio.user_id, from_ms, to_ms)
        for user_id, from_ms, to_ms in resumed.lost_audio():
            timeline.missing("audio", user_id, from_ms, to_ms, self._cause)
        if manifest.ended_ms is not None:
            timeline.reopened(started_again_ms, manifest.ended_ms)
            self.terms.started_again()
        return timeline

    def _take_over(self, tenure: PartTenure | None, inherited: Inherited | None, started_again_ms: int) -> None:
        """Know what the member knew that had the stream until now; of that time nothing is missing here."""
        self.part.end(self.timeline.clock_ms)
        if inherited is not None:
            if self.header.first_packet_ms is None:
                self.header.first_packet_ms = inherited.first_packet_ms
            self.participants.inherit(inherited.participants)
            self.terms.inherit(inherited.media)
            if inherited.clock_ms is not None:
                self._begin_behind(inherited, inherited.clock_ms)
            if inherited.has_ended and self.timeline.clock_ms < started_again_ms:
                self.timeline.reopened(started_again_ms, self.timeline.clock_ms)
                self.terms.started_again()
        if tenure is not None:
            self.part.begin(tenure, self.timeline.clock_ms)

    def _begin_behind(self, inherited: Inherited, clock_ms: int) -> None:
        from_ms, to_ms = self.timeline.had_elsewhere(clock_ms, self._cause)
        if from_ms == to_ms:
            return
        self.part.had(inherited.node, inherited.epoch, from_ms, to_ms)
        pauses, since_ms = self.timeline.pauses, inherited.paused_since_ms
        if since_ms is None:
            pauses.end(to_ms, is_exact=True)
        elif self.timeline.is_plausible(since_ms):
            pauses.begin(since_ms)
            pauses.doubt(to_ms)

    def damaged(self, damage: Damage) -> Lost:
        """Somebody took from the disk what was written: its file goes on elsewhere, or begins again."""
        gap = self.media.damaged(damage)
        if damage.file is self._events:
            self._events.restart(damage.size_bytes or 0)
        return Lost(self._maker.name(damage.file), damage.what, gap)

    @property
    def counts(self) -> str:
        """What changes all the time, and may be reported now and then: a text to compare, smaller than what it says."""
        return f"{self.media.counters()} {self.timeline.clock_ms}"

    def manifest(self) -> Manifest:
        """The manifest, as of now; of a stream that was revoked, what may be kept of it."""
        counts = self.media.counters()
        if unlisted := self.participants.unlisted:
            counts["unlisted_participants"] = unlisted
        return self.header.manifest(
            participants=self.participants.entries(),
            media=self.terms.entries(),
            files=self.media.entries(),
            **self.timeline.to_manifest(),
            counters=Counters(counts.pop("messages"), others=counts),
            events_bytes=self._events.size_bytes,
            part=self.part.entry(),
        )
