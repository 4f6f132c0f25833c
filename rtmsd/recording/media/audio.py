"""The audio of a stream: which file a packet belongs to, and when another one is begun. Opus is kept as sent, in Ogg;
all else decoded to L16, in WAV.
"""

from collections import Counter
from functools import partial
from typing import Final

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_data import UserId
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.rtp import RtpSequence
from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.codecs.decoders import Decoder, PayloadReader, decoder, rtp_reader
from rtmsd.recording.media.ogg.file import OggFile
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.packets import RATE_HZ, OpusFormat
from rtmsd.recording.media.ogg.track import OpusTrack
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.media.store import FRESH_MS, IntakeContext, Kept, MediaStore
from rtmsd.recording.media.wav.header import PcmFormat, WavHeader
from rtmsd.recording.media.wav.recent_packets import RecentPackets
from rtmsd.recording.media.wav.track import ADJUSTMENTS, Placement, Track
from rtmsd.recording.timeline.gaps import CONTIGUOUS_MS, Gap
from rtmsd.recording.timeline.medium import FELL_SILENT_MS

_MAX_FILES: Final = 2000
"""Bound of the files of a stream, against senseless ids; packets past it are dropped."""

_MAX_DECODERS: Final = 2 * _MAX_FILES
"""Past it those are forgotten of whom there is no file."""

_PROCESS_DIED: Final = frozenset({GapCause.DAEMON_RESTART, GapCause.NODE_TAKEOVER})

DEFAULT_FORMAT: Final = AudioFormat(codec=PayloadType.L16, rate_hz=16_000, channels=1, mixed=False, send_rate_ms=100)


class AudioStore(MediaStore[bytes]):
    """The WAV and Ogg files. A packet that continues its file goes to `Track.append`, straight from the intake.

    Attributes:
        tracks: where a participant's packets go as a rule: the file that starts last, of those in the format in force.
        format: the format in force.
        decodes: whether packets have to go through `decode`.
        rtp_lost: packets that sequence numbers of RTP say were sent, and that did not come, to this process. None: it
            received no RTP.
    """

    media = "audio"

    def __init__(self, context: IntakeContext) -> None:
        super().__init__(context)
        self.tracks: dict[UserId, Track] = {}
        self.format = DEFAULT_FORMAT
        self.decodes = False
        self._remembers = False
        self._maker = context.maker
        self._all: list[Track] = []
        self._ahead: set[Track] = set()  # files with a jump so far ahead that it may be a broken timestamp
        self._gone_adjustments: Counter[str] = Counter()  # of files that others removed
        self._gone_bytes = 0
        self.rtp_lost: int | None = None
        self._back: tuple[int, int, int, str] | None = None  # of the latest outage: see `_doubt_first`
        self._decoders: dict[UserId, tuple[PayloadReader | None, Decoder]] = {}
        self._sequences: dict[UserId, RtpSequence] = {}
        self._coded: dict[UserId, RecentPackets] = {}  # as they came, of codecs that remember

    @property
    def pcm(self) -> PcmFormat:
        """How packets are stored."""
        audio = self.format
        if audio.codec is PayloadType.OPUS:
            return OpusFormat(RATE_HZ, audio.channels)
        return PcmFormat(audio.rate_hz, audio.channels)

    def use(self, audio: AudioFormat) -> None:
        """A handshake negotiated this format: packets from now on hold it. Decoders start afresh.

        Raises:
            ValueError: the format cannot be stored, which the configuration does not let be asked for.
        """
        decoder(audio)
        self._decoders.clear()
        self.decodes = audio.codec is not PayloadType.L16 or audio.is_rtp
        self._remembers = audio.codec is PayloadType.G722
        if audio.is_rtp:
            self.rtp_lost = self.rtp_lost or 0
        if audio != self.format:
            self.format = audio
            self.tracks.clear()
            for track in self._all:
                self._consider(track)

    def decode(self, user_id: UserId, timestamp_ms: int, data: bytes) -> bytes | None:
        """Return what is stored, None for what is no packet, or came before. Each participant has a decoder, which may
        know what came before.
        """
        known = self._decoders.get(user_id)
        if known is None:
            if len(self._decoders) >= _MAX_DECODERS:
                self._decoders = {each: known for each, known in self._decoders.items() if each in self.tracks}
                self._sequences = {each: known for each, known in self._sequences.items() if each in self._decoders}
                self._coded = {each: known for each, known in self._coded.items() if each in self._decoders}
            known = self._decoders[user_id] = self._payload_reader(user_id), decoder(self.format)()
        read, decode = known
        payload = data if read is None else read(data)
        if payload is None:
            self.corrupt("rtp", user_id, timestamp_ms)
            return None
        if self._remembers and self._came_before(user_id, timestamp_ms, payload):
            self._context.duplicates += 1
            return None
        return decode(payload)

    def _payload_reader(self, user_id: UserId) -> PayloadReader | None:
        if not self.format.is_rtp:
            return None
        sequence = self._sequences.setdefault(user_id, RtpSequence())  # it goes on over reconnections
        return rtp_reader(self.format, sequence, self._note_lost)

    def _came_before(self, user_id: UserId, timestamp_ms: int, payload: bytes) -> bool:
        """Whether a packet is a repeat, which no track would know: G.722 decodes it to other samples each time."""
        time_ms = self._context.known_ms(timestamp_ms)
        if time_ms is None or not payload:
            return False
        return not self._coded.setdefault(user_id, RecentPackets()).take(time_ms, payload)

    def _note_lost(self, packets: int) -> None:
        self.rtp_lost = (self.rtp_lost or 0) + packets

    # Packets that do not simply continue their file

    def take(self, user_id: UserId | None, user_name: str | None, timestamp_ms: int, data: bytes) -> int | None:
        if not data:  # no gap either: nothing says that anybody was to be heard
            self._context.corrupt_kinds["empty"] += 1
            return None
        if not self.pcm.size_bytes(data) and self._context.known_ms(timestamp_ms) is not None:
            self.corrupt(self.pcm.mistake, user_id, timestamp_ms)
            return None
        return super().take(user_id, user_name, timestamp_ms, data)

    def _span(self, time_ms: int, data: bytes) -> tuple[int, int]:
        return time_ms, time_ms + self.pcm.size_bytes(data) // self.pcm.bytes_per_ms

    def _keep(self, user_id: UserId | None, user_name: str | None, time_ms: int, data: bytes) -> Kept:
        assert user_id is not None, "only a chat message may name nobody"
        timeline, is_new = self._context.timeline, user_id not in self.tracks
        track = self._track_for(user_id, user_name, time_ms)
        if track is None:
            return Kept.NO_FILE
        if time_ms > timeline.clock_ms + FRESH_MS:
            timeline.clock_ms = max(timeline.clock_ms, self.newest_ms or 0)
            if time_ms > timeline.clock_ms + FRESH_MS:
                self._ahead.add(track)
        end_ms, heard_ms = track.end_ms, track.heard_ms
        match track.place(time_ms, data):
            case Placement.KEPT:
                if time_ms < timeline.audio_watch_ms:
                    self._cover(track, end_ms, heard_ms, *self._span(time_ms, data))
                if self._back is not None:
                    self._doubt_first(user_id, None if is_new else heard_ms, time_ms, self._back)
                return Kept.KEPT
            case Placement.REPEAT:
                return Kept.REPEAT
            case Placement.TOO_FAR:
                self.corrupt("timestamp", user_id, time_ms)
            case Placement.CUT:  # the track counts it
                pass
            case Placement.LATE:
                super()._drop("late", user_id, *self._span(time_ms, data))
        return Kept.NOT

    def _cover(self, track: Track, end_ms: int, heard_ms: int, from_ms: int, to_ms: int) -> None:
        """A packet was kept that may make a gap shorter; `end_ms` and `heard_ms` are its track's from before it."""
        timeline = self._context.timeline
        outage = timeline.outage_ending("audio", from_ms)
        timeline.covered("audio", track.user_id, from_ms, to_ms)
        if track.end_ms not in {end_ms, to_ms}:
            # Where it was put counts, too: of a coarse clock several have the same time.
            timeline.covered("audio", track.user_id, track.end_ms - (to_ms - from_ms), track.end_ms)
        if outage is not None:
            self._doubt(track, heard_ms, (from_ms, to_ms), outage)
        self._context.nudge()  # out of Zoom's buffer: many seconds in a moment, and no second time

    def _doubt(self, first: Track, heard_ms: int, back: tuple[int, int], outage: tuple[int, str]) -> None:
        """Audio is back with a packet of one person: that of another for the same time may have been lost on the way,
        and so may what this one said up to the loss, if another's packet was the last that came.

        What is called missing here is so until the packet comes, which it does at once if it was not lost.
        """
        (from_ms, to_ms), (since_ms, cause) = back, outage
        self._back = from_ms, to_ms, since_ms, cause
        expected_ms = since_ms - FELL_SILENT_MS
        if expected_ms < heard_ms < since_ms and from_ms - heard_ms >= CONTIGUOUS_MS:
            self._context.timeline.missing("audio", first.user_id, heard_ms, from_ms, cause)
        missed = self._context.timeline.missed("audio", since_ms)  # of whom a kill took what others have
        for track in self.tracks.values():
            known_ms = max(track.heard_ms, missed.get(track.user_id, 0))
            if track is not first and expected_ms < known_ms < to_ms:
                self._context.timeline.missing("audio", track.user_id, known_ms, to_ms, cause)

    def _doubt_first(
        self, user_id: UserId, heard_ms: int | None, time_ms: int, back: tuple[int, int, int, str]
    ) -> None:
        """Somebody is heard first with the packet with which audio was back, or right behind it: what they said in its
        time may have been lost; and where a process died, what it had not written of them, while it had of others.

        Args:
            heard_ms: until when they were heard here before; None: never. Who had fallen silent here may have talked to
                the member that had the stream since.
            back: from when to when that packet lasts; since when the outage was, and its cause.
        """
        from_ms, to_ms, since_ms, cause = back
        expected_ms = since_ms - FELL_SILENT_MS
        if not from_ms <= time_ms <= to_ms + CONTIGUOUS_MS:
            return
        if heard_ms is not None and (heard_ms > expected_ms or cause != GapCause.NODE_TAKEOVER):
            return
        self._context.timeline.missing("audio", user_id, from_ms, time_ms, cause)
        if heard_ms is None and cause in _PROCESS_DIED:
            unwritten_ms = max(self._context.started_ms, expected_ms)
            self._context.timeline.missing("audio", user_id, unwritten_ms, since_ms, cause)

    def _drop(self, reason: str, user_id: UserId | None, from_ms: int, to_ms: int) -> None:
        track = None if user_id is None else self.tracks.get(user_id)
        if user_id is not None:
            self._coded.pop(user_id, None)  # what came was not all kept: if it comes again, it is new
        if track is not None:
            from_ms, to_ms = track.missed(from_ms, to_ms - from_ms)
        super()._drop(reason, user_id, from_ms, to_ms)

    def _unwritten(self, user_id: UserId, time_ms: int) -> list[tuple[int, int]]:
        whole, track = (time_ms, time_ms + self.format.send_rate_ms), self.tracks.get(user_id)
        if track is None:
            return [whole]
        track.interrupted()
        return track.unwritten(*whole)

    def interrupted(self) -> None:
        for track in self._all:
            track.interrupted()

    def settle(self, clock_ms: int) -> None:
        for track in self._all:
            track.settle(clock_ms)

    @property
    def newest_ms(self) -> int | None:
        ends = map(self._heard_ms, self._all)
        return max((end for end in ends if end is not None), default=None)

    def heard(self) -> dict[UserId, int]:
        """Return until when each person was heard."""
        ends: dict[UserId, int] = {}
        for track in self._all:
            if (end_ms := self._heard_ms(track)) is not None:
                ends[track.user_id] = max(end_ms, ends.get(track.user_id, end_ms))
        return ends

    def _heard_ms(self, track: Track) -> int | None:
        return track.heard_ms if track not in self._ahead else self._credible(track.heard_ms)

    # Files

    def _track_for(self, user_id: UserId, user_name: str | None, timestamp_ms: int) -> Track | None:
        """Return the file for a packet, opened if need be; None when there are too many already."""
        usual = self.tracks.get(user_id)
        if usual is not None and timestamp_ms >= usual.start_ms:
            return usual
        if usual is not None:
            older = [each for each in self._all if self._suits(each, user_id) and each.start_ms <= timestamp_ms]
            if older:
                return max(older, key=lambda track: track.start_ms)
        if len(self._all) >= _MAX_FILES or self._maker.is_full:
            return None
        file, pcm = self._new(user_id, user_name, timestamp_ms, self.pcm), self.pcm
        if isinstance(file, OggFile) and isinstance(pcm, OpusFormat):
            return self._add(OpusTrack(file, user_id, timestamp_ms, pcm))
        return self._add(Track(file, user_id, timestamp_ms, pcm))

    def _new(self, user_id: UserId, user_name: str | None, start_ms: int, pcm: PcmFormat) -> DiskFile:
        started_ms, stem = self._context.started_ms, participant_name(user_id)
        if not isinstance(pcm, OpusFormat):
            header = WavHeader(pcm=pcm, start_ms=start_ms, stream_started_ms=started_ms, owner=user_id)
            return self._maker.new("audio", stem, pcm.suffix, header=header.encode)
        name = user_name or self._context.participants.name(user_id)
        ogg = OggHeader(pcm=pcm, start_ms=start_ms, stream_started_ms=started_ms, owner=user_id, user_name=name)
        return self._maker.add(self._maker.free_name("audio", stem, pcm.suffix), partial(OggFile, header=ogg))

    def damaged(self, damage: Damage) -> Gap | None:
        track = next((each for each in self._all if each.file is damage.file), None)
        if track is None:
            return None
        file, user_id = track.file, track.user_id
        gap = Gap("audio", user_id, *track.lost(damage.size_bytes), GapCause.DAMAGED)
        is_usual = self.tracks.get(user_id) is track
        if is_usual:
            del self.tracks[user_id]
        start_ms = track.queued_ms
        if start_ms is not None:
            moved = track.moved(self._new(user_id, track.user_name, start_ms, track.pcm), start_ms)
            self._all.append(moved)
            if is_usual:
                self.tracks[user_id] = moved
        if damage.size_bytes is None:
            self._maker.forget(file)
            self._all.remove(track)
            self._gone_adjustments.update(track.adjustments())
            self._gone_bytes += file.received_bytes
        else:
            track.cut(damage.size_bytes)
        self._ahead.discard(track)
        self._context.changes.note()
        return gap

    def restore(self, resumed: ResumedMedia) -> None:
        for audio in resumed.audio:
            header, user_id = audio.header, audio.user_id
            if isinstance(header, OggHeader):
                ogg = self._maker.add(audio.path, partial(OggFile, header=header, end=audio.end))
                self._add(
                    OpusTrack(ogg, user_id, header.start_ms, header.pcm, holes=audio.holes, packets=audio.packets)
                )
                continue
            file = self._maker.existing(audio.path, audio.size_bytes, header=header.encode)
            self._add(Track(file, user_id, header.start_ms, header.pcm, holes=audio.holes, tail=audio.tail))

    def adjustments(self) -> dict[str, int]:
        """Return the amounts by which packets were fitted to each other, under the manifest's names."""
        total = {name: self._gone_adjustments[name] for name in ADJUSTMENTS}
        for track in self._all:
            for name, amount in track.adjustments().items():
                total[name] += amount
        return total

    @property
    def received_bytes(self) -> int:
        return self._gone_bytes + sum(track.received_bytes for track in self._all)

    def entries(self) -> list[FileEntry]:
        return [
            FileEntry(
                path=self._maker.name(track.file),
                media="audio",
                user_id=track.user_id,
                start_ms=track.start_ms,
                duration_ms=track.duration_ms,
                bytes=track.size_bytes,
                codec=track.pcm.codec,
                sample_rate_hz=track.pcm.rate_hz,
                channels=track.pcm.channels,
            )
            for track in self._all
        ]

    def _add(self, track: Track) -> Track:
        self._all.append(track)
        self._consider(track)
        self._context.changes.note()
        return track

    def _consider(self, track: Track) -> None:
        usual = self.tracks.get(track.user_id)
        if self._suits(track, track.user_id) and (usual is None or track.start_ms > usual.start_ms):
            self.tracks[track.user_id] = track

    def _suits(self, track: Track, user_id: UserId) -> bool:
        return track.user_id == user_id and track.pcm == self.pcm
