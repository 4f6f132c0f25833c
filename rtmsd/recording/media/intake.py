"""The media of one stream, taken in packet by packet: kept in their files, or counted and made a gap with a cause."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from rtmsd.protocol.bounds import bounded_name
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_data import ChatData, Corrupt, TranscriptData, UserId
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.media_types import NAMES
from rtmsd.protocol.times import normalise_ms
from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import CAPTIONS, CHAT, TRANSCRIPT
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.participants import Roster
from rtmsd.recording.media.audio import AudioFiles
from rtmsd.recording.media.listener import Listener
from rtmsd.recording.media.pictures import PictureFiles, Pictures
from rtmsd.recording.media.track import Placement, Track
from rtmsd.recording.media.transcript import Transcript, json_line, text_entry
from rtmsd.recording.recovery.damage import CAUSE
from rtmsd.recording.recovery.resume import Found
from rtmsd.recording.timeline.gaps import Gap
from rtmsd.recording.timeline.timeline import Timeline

_FRESH_MS: Final = 15 * 60_000
"""A timestamp that jumps so far ahead of the time known does not tell how far the stream has come."""

_FELL_SILENT_MS: Final = 1000
"""Who said nothing for so long before an outage is not expected to have gone on in it."""


class MediaIntake:
    """Takes in media; nothing here waits or raises for content.

    Attributes:
        backlog: what of this stream is not written yet, and its bound.
        listeners: who hears what is kept (live taps).
        dropped: messages for which there was no room, by media and reason.
        corrupt_kinds: messages that could not be kept as they were, by kind.
        duplicates, unknown_messages: counts.
        origin_ms: where small timestamps count from: the first packet, or as long as that is unknown the start.
    """

    def __init__(
        self,
        maker: FileMaker,
        backlog: Backlog,
        roster: Roster,
        timeline: Timeline,
        *,
        started_ms: int,
        local_ms: Callable[[], int],
        nudge: Callable[[], None],
        found: Found,
    ) -> None:
        self.listeners: list[Listener] = []
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.corrupt_kinds: Counter[str] = Counter()
        self.duplicates = 0
        self.unknown_messages = 0
        self.origin_ms = started_ms
        self._timeline = timeline
        self._earlier = attrs.evolve(found, audio=[])  # their last bytes need not stay
        self.backlog = backlog
        self._roster = roster
        self._started_ms = started_ms
        self._local_ms = local_ms
        self._nudge = nudge
        self._messages: Counter[str] = Counter()
        self._audio_messages = 0
        self._audio = AudioFiles(maker, started_ms)
        self._tracks = self._audio.tracks
        self._ahead: set[Track] = set()  # files with a jump so far ahead that it may be a broken timestamp
        self._decodes = False
        self._pictures: dict[str, PictureFiles] = {
            "video": PictureFiles(maker, "video"),
            "share": PictureFiles(maker, "share"),
        }
        self._chat = maker.existing(CHAT, found.sizes.get(CHAT, 0))
        lines, cues = (maker.existing(name, found.sizes.get(name, 0)) for name in (TRANSCRIPT, CAPTIONS))
        self._transcript = Transcript(lines, cues, started_ms)
        for audio in found.audio:
            self._audio.restore(audio)
        for entry, size_bytes, index_bytes in found.pictures:
            self._pictures[entry["media"]].restore(entry, size_bytes, index_bytes)
        for line in found.recent_lines:
            self._transcript.remember(line)

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one packet. The way of nearly all packets is this method and `Track.append`: about 0.6 µs."""
        self._audio_messages += 1
        if self._decodes:
            decoded = self._audio.decode(user_id, data)
            if decoded is None:
                self._corrupt("rtp", "audio", user_id, timestamp_ms)
                return
            data = decoded
        track = self._tracks.get(user_id)
        if track is None or timestamp_ms < self._timeline.audio_watch_ms or not track.append(timestamp_ms, data):
            placed_ms = self._place(user_id, timestamp_ms, data)
            if placed_ms is None:
                return
            timestamp_ms = placed_ms
            track = self._tracks[user_id]
        if user_name != track.user_name:
            track.user_name = user_name = None if user_name is None else bounded_name(user_name)
            self._roster.named(user_id, user_name)
        if self.listeners:
            for listener in tuple(self.listeners):
                listener.audio(user_id, user_name, timestamp_ms, data)

    def _place(self, user_id: UserId, timestamp_ms: int, data: bytes) -> int | None:
        """Take a packet that does not simply continue its file. Returns its time, None if it was not kept."""
        if not data:  # no gap either: nothing says that anybody was to be heard
            self.corrupt_kinds["empty"] += 1
            return None
        time_ms = self._time(timestamp_ms)
        pcm = self._audio.pcm
        duration_ms = len(data) // pcm.bytes_per_ms
        if time_ms is None or len(data) % pcm.block_bytes:
            self._corrupt("timestamp" if time_ms is None else "odd_length", "audio", user_id, timestamp_ms)
            return None
        if self._has_no_room("audio", user_id, time_ms, time_ms + duration_ms):
            return None
        track = self._audio.track_for(user_id, time_ms)
        if track is None:
            self._drop("audio", "files", user_id, time_ms, time_ms + duration_ms)
            return None
        if time_ms > self._timeline.clock_ms + _FRESH_MS:
            self.advance_clock()
            if time_ms > self._timeline.clock_ms + _FRESH_MS:
                self._ahead.add(track)
        end_ms = track.end_ms
        placement = track.place(time_ms, data)
        if placement is Placement.TOO_FAR:
            self._corrupt("timestamp", "audio", user_id, timestamp_ms)
            return None
        if placement is Placement.KEPT and time_ms < self._timeline.audio_watch_ms:
            outage = self._timeline.outage_ending("audio")
            self._timeline.covered("audio", user_id, time_ms, time_ms + duration_ms)
            if track.end_ms not in {
                end_ms,
                time_ms + duration_ms,
            }:  # where it was put counts, too: of a coarse clock several have the same time
                self._timeline.covered("audio", user_id, track.end_ms - duration_ms, track.end_ms)
            if outage is not None:
                self._doubt_others(track, time_ms + duration_ms, *outage)
            self._nudge()  # out of Zoom's buffer: many seconds in a moment, and no second time
        self.duplicates += placement is Placement.REPEAT
        return time_ms if placement is Placement.KEPT else None

    def _doubt_others(self, first: Track, until_ms: int, since_ms: int, cause: str) -> None:
        """Audio is back with a packet of one person: that of another for the same time may have been lost on the way.

        What is called missing here is so until the packet comes, which it does at once if it was not lost.
        """
        for track in self._tracks.values():
            if track is not first and since_ms - _FELL_SILENT_MS < track.heard_ms < until_ms:
                self._timeline.missing("audio", track.user_id, track.heard_ms, until_ms, cause)

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        if self._picture("video", user_id, user_name, timestamp_ms, data):
            for listener in tuple(self.listeners):
                listener.video(user_id, user_name, timestamp_ms, data)

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        if self._picture("share", user_id, user_name, timestamp_ms, data):
            for listener in tuple(self.listeners):
                listener.share(user_id, user_name, timestamp_ms, data)

    def _picture(self, media: Pictures, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> bool:
        self._messages[media] += 1
        time_ms = self._time(timestamp_ms)
        if time_ms is None:
            self._corrupt("timestamp", media, user_id, timestamp_ms)
            return False
        if self._has_no_room(media, user_id, time_ms, time_ms + 1):
            return False
        kept = self._pictures[media].take(user_id, time_ms, data)
        if kept is None:
            self._drop(media, "files", user_id, time_ms, time_ms + 1)
            return False
        if not kept:
            self.duplicates += 1
            return False
        self._roster.named(user_id, user_name)
        if time_ms < self._timeline.watch_ms(media) and time_ms <= self._timeline.clock_ms + _FRESH_MS:
            self._timeline.shown(media, user_id, time_ms, time_ms + self._pictures[media].frame_ms)
        return True

    def transcript(self, data: TranscriptData) -> None:
        self._messages["transcript"] += 1
        time_ms = self._time(data.timestamp_ms)
        if time_ms is None:
            self._corrupt("timestamp", "transcript", data.user_id, data.timestamp_ms)
            return
        line = self._transcript.line(data, self._roster.name(data.user_id), time_ms, self._time, self._local_ms())
        start_ms, end_ms = line["start_ms"] or time_ms, line["end_ms"] or time_ms
        if self._has_no_room("transcript", data.user_id, start_ms, max(end_ms, start_ms + 1)):
            return
        if not self._transcript.take(line):
            self.duplicates += 1
            return
        self._roster.named(data.user_id, data.user_name)
        # It says nothing of a gap: what was said in the same time may have been told in another message that is lost.
        for listener in tuple(self.listeners):
            listener.transcript(data)

    def chat(self, data: ChatData) -> None:
        self._messages["chat"] += 1
        time_ms = self._time(data.timestamp_ms)
        if time_ms is None:
            self._corrupt("timestamp", "chat", data.user_id, data.timestamp_ms)
            return
        if self._has_no_room("chat", data.user_id, time_ms, time_ms + 1):
            return
        line = attrs.asdict(data, recurse=False) | {"timestamp_ms": time_ms, "received_ms": self._local_ms()}
        self._chat.append(json_line(line))
        for listener in tuple(self.listeners):
            listener.chat(data)

    def corrupt(self, problem: Corrupt) -> None:
        """Count a message that could not be read; where it says whose and when, that time is a gap."""
        media = None if problem.media is None else NAMES.get(problem.media)
        self._corrupt(problem.kind.value, media, problem.user_id, problem.timestamp_ms)

    def unknown(self) -> None:
        """Count a message of a type that this version does not know."""
        self.unknown_messages += 1

    def audio_format(self, audio: AudioFormat) -> None:
        """Audio was negotiated: packets hold this from now on."""
        self._audio.use(audio)
        self._decodes = audio.codec is not PayloadType.L16 or audio.is_rtp

    def video_format(self, codec: int | None, fps: int | None = None) -> None:
        """Video was negotiated: messages hold this from now on, so many a second."""
        self._pictures["video"].use(codec, fps)

    def share_format(self, codec: int | None, fps: int | None = None) -> None:
        self._pictures["share"].use(codec, fps)

    @property
    def pcm(self) -> AudioFormat | None:
        """The audio format in force; None while audio was never connected."""
        return self._audio.format if self._timeline.knows("audio") else None

    def _time(self, time_ms: int) -> int | None:
        """Return a timestamp as milliseconds since the epoch; None for one that cannot be."""
        known = normalise_ms(time_ms, self.origin_ms)
        return known if known is not None and self._timeline.is_plausible(known) else None

    def _has_no_room(self, media: str, user_id: UserId | None, from_ms: int, to_ms: int) -> bool:
        """Whether this stream's share of the buffer is full. What is dropped then is a gap."""
        if not self.backlog.full:
            return False
        self._drop(media, "no_room", user_id, from_ms, to_ms)
        return True

    def _drop(self, media: str, reason: str, user_id: UserId | None, from_ms: int, to_ms: int) -> None:
        self.dropped[media, reason] += 1
        if media == "audio" and user_id in self._tracks:
            from_ms, to_ms = self._tracks[user_id].missed(from_ms, to_ms - from_ms)
        self._timeline.missing(media, user_id, from_ms, to_ms, "dropped")

    def _corrupt(self, kind: str, media: str | None, user_id: UserId | None, timestamp_ms: int | None) -> None:
        self.corrupt_kinds[kind] += 1
        time_ms = None if timestamp_ms is None else self._time(timestamp_ms)
        if media is None or time_ms is None or user_id is None or kind == "timestamp":
            return
        if abs(time_ms - self._timeline.clock_ms) > _FRESH_MS:
            return  # corrupt as it is, its time is not to be believed either
        length_ms = self._audio.format.send_rate_ms if media == "audio" else 1
        track = self._tracks.get(user_id) if media == "audio" else None
        if track is not None:
            track.interrupted()
        whole = (time_ms, time_ms + length_ms)
        for from_ms, to_ms in [whole] if track is None else track.unwritten(*whole):
            self._timeline.missing(media, user_id, from_ms, to_ms, "corrupt")

    # For the recorder

    def damaged(self, damage: Damage) -> Gap | None:
        """Somebody took from the disk what was written: go on elsewhere. Returns the gap; None where no media are lost
        by it.
        """
        gap = self._transcript.damaged(damage)
        for pictures in self._pictures.values():
            gap = gap or pictures.damaged(damage)
        if damage.file is self._chat:
            gap = Gap("chat", None, self._started_ms, max(self._timeline.clock_ms, self._started_ms + 1), CAUSE)
            self._chat.restart(damage.size_bytes or 0)
        elif (known := self._audio.damaged(damage)) is not None:
            track, gap = known
            self._ahead.discard(track)
        if gap is not None:
            self._timeline.missing(gap.media, gap.user_id, gap.from_ms, int(gap.to_ms), gap.cause)
        return gap

    def newest_ms(self, media: Iterable[str]) -> int | None:
        """Return the end of the newest media of these types, leaving out what jumped far ahead of Zoom's time."""
        ends: list[int | None] = []
        doubtful: list[int | None] = []
        for name in media:
            if name == "audio":
                ends += [track.heard_ms for track in self._audio if track not in self._ahead]
                doubtful += [track.heard_ms for track in self._ahead]
            elif name == "transcript":
                doubtful.append(self._transcript.newest_ms)
            elif name in self._pictures:
                doubtful.append(self._pictures[name].newest_ms)
        latest_ms = self._timeline.clock_ms + _FRESH_MS
        ends += [end for end in doubtful if end is not None and end <= latest_ms]
        return max((end for end in ends if end is not None), default=None)

    def connection_lost(self, media: Iterable[str]) -> None:
        """The connection that brought these media is gone."""
        self.advance_clock()
        for track in self._audio if "audio" in media else ():
            track.interrupted()

    def advance_clock(self) -> None:
        """Tell the timeline how far the media have come."""
        self._timeline.clock_ms = max(self._timeline.clock_ms, self.newest_ms(("audio",)) or 0)
        self._timeline.connections.brought(self.newest_ms, self._arrived, self._timeline.clock_ms)
        self._audio.settle(self._timeline.clock_ms)

    def _arrived(self, media: Iterable[str]) -> int:
        """How many messages of these media this process received."""
        return sum(self._audio_messages if name == "audio" else self._messages[name] for name in media)

    @property
    def messages(self) -> Counter[str]:
        """Messages received by this process, by media."""
        return Counter(audio=self._audio_messages) + self._messages

    @property
    def media_bytes(self) -> Counter[str]:
        """Bytes received by this process and kept, by media."""
        sizes = Counter(audio=self._audio.received_bytes)
        sizes += Counter({media: pictures.received_bytes for media, pictures in self._pictures.items()})
        return sizes + Counter(transcript=self._transcript.lines.received_bytes, chat=self._chat.received_bytes)

    @property
    def revision(self) -> tuple[int, ...]:
        """Changes with every new file."""
        return (self._audio.revision, *(pictures.revision for pictures in self._pictures.values()))

    def counters(self) -> dict[str, Any]:
        """All counts of the stream, those of earlier processes included, as the manifest has them."""
        now = {
            "duplicates": self.duplicates,
            "dropped": self.dropped.total(),
            "corrupt": self.corrupt_kinds.total(),
            "unknown": self.unknown_messages,
            **self._audio.adjustments(),
        }
        earlier = self._earlier
        return {
            "messages": {"audio": 0, "transcript": 0, **(self.messages + Counter(earlier.messages))},
            **{name: count + earlier.counters.get(name, 0) for name, count in now.items()},
            "corrupt_kinds": dict(self.corrupt_kinds + Counter(earlier.corrupt_kinds)),
        }

    def files(self) -> list[dict[str, Any]]:
        """The manifest's list of files."""
        return [
            *self._audio.to_manifest(),
            *(entry for pictures in self._pictures.values() for entry in pictures.to_manifest()),
            *text_entry("transcript", self._transcript.lines, self._started_ms, self._transcript.newest_ms),
            *text_entry("chat", self._chat, self._started_ms, None),
        ]

    def sort_captions(self, disk: Disk) -> None:
        """Write the captions again, in order and with revisions in place. In a worker thread, after the last flush.

        Raises:
            OSError: the disk refuses.
        """
        self._transcript.sort_captions(disk)
