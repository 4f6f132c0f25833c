"""One stream's recording. Everything that comes in is taken synchronously; the `Writer` brings it to disk.

Nothing here raises for content, and nothing waits: what cannot be kept is counted and becomes a gap with a cause.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import attrs
import structlog
import trio

from rtmsd.errors import StorageError
from rtmsd.protocol.enums import MediaType, PayloadType, SessionState, StopReason, StreamState
from rtmsd.protocol.media_data import ChatData, Corrupt, TranscriptData, UserId
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.messages import Participant, SessionRef
from rtmsd.protocol.times import normalise_ms
from rtmsd.recording import captions
from rtmsd.recording.audio_files import AudioFiles
from rtmsd.recording.disk import Disk
from rtmsd.recording.files import FileMaker
from rtmsd.recording.layout import CAPTIONS, CHAT, EVENTS, MANIFEST, TRANSCRIPT, stream_directory
from rtmsd.recording.picture_files import PictureFiles
from rtmsd.recording.restore import Found, find
from rtmsd.recording.roster import Roster
from rtmsd.recording.timeline import Timeline
from rtmsd.recording.track import Placement, Track
from rtmsd.recording.transcript import Transcript, json_line
from rtmsd.recording.writer import Job, Outcome, RecordingSettings, Writer, encode_manifest

log = structlog.get_logger()

_COUNTERS_EVERY_S: Final = 5.0
_FRESH_MS: Final = 15 * 60_000
"""A timestamp that jumps so far ahead of the time known does not tell how far the stream has come."""

_MEDIA_NAMES: Final = {
    MediaType.AUDIO: "audio",
    MediaType.VIDEO: "video",
    MediaType.DESKSHARE: "share",
    MediaType.TRANSCRIPT: "transcript",
    MediaType.CHAT: "chat",
}


@attrs.frozen(kw_only=True)
class StreamInfo:
    """What a recording is of. `started_ms` is the `event_ts` of the started webhook."""

    rtms_stream_id: str
    product: str
    session: SessionRef
    app: str
    started_ms: int


class Listener(Protocol):
    """Hears every item that was kept, at once; must neither wait nor raise. Audio comes as L16, whatever the codec."""

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, pcm: bytes) -> None: ...
    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def transcript(self, data: TranscriptData) -> None: ...
    def chat(self, data: ChatData) -> None: ...
    def ended(self) -> None: ...


async def open_recorder(
    settings: RecordingSettings,
    info: StreamInfo,
    writer: Writer,
    *,
    local_ms: Callable[[], int],
    on_event: Callable[[dict[str, Any]], None] | None = None,
) -> "Recorder":
    """Begin the recording of a stream, or go on with the one there is; what a killed run left is repaired first.

    Directories and files are made by the writer, so that a full disk does not keep a stream from starting.

    Raises:
        StorageError: what is there cannot be read.
    """
    directory = stream_directory(settings.directory, info.started_ms, info.rtms_stream_id)
    try:
        found: Found = await writer.run_sync(find, directory, _identity(info))
    except OSError as error:
        raise StorageError(f"{directory}: {error.strerror or error}") from error
    for repair in found.repairs:
        log.warning("recording repaired", rtms_stream_id=info.rtms_stream_id, what=repair)
    recorder = Recorder(directory, info, writer, local_ms, on_event, found)
    writer.add(recorder)
    return recorder


class Recorder:
    """See the module. All methods but `flush`, `finish`, `suspend` and `delete` are synchronous.

    Attributes:
        listeners: who hears what is kept (live taps).
        counters: `duplicates`, `dropped`, `corrupt`, `unknown`.
        corrupt_kinds: the corrupt ones by kind.
        dropped: media that could not be kept, by (media, reason).
    """

    def __init__(
        self,
        directory: Path,
        info: StreamInfo,
        writer: Writer,
        local_ms: Callable[[], int],
        on_event: Callable[[dict[str, Any]], None] | None,
        found: Found,
    ) -> None:
        self.directory = directory
        self.info = info
        self.listeners: list[Listener] = []
        self.counters: Counter[str] = Counter(found.counters)
        self.corrupt_kinds: Counter[str] = Counter()
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._messages: Counter[str] = Counter(found.messages)
        self._audio_messages = self._messages.pop("audio", 0)
        self._media_bytes: Counter[str] = Counter()
        self._writer = writer
        self._backlog = writer.backlog
        self._local_ms = local_ms
        self._on_event = on_event
        manifest = found.manifest
        self._started_ms: int = info.started_ms if manifest is None else manifest["started_ms"]
        self._ended_ms: int | None = None
        self._stop_reason: int | None = None
        self._first_packet_ms: int | None = None if manifest is None else manifest.get("first_packet_ms")
        self._roster = Roster([] if manifest is None else manifest["participants"])
        self._maker = FileMaker(directory, self._backlog)
        self._events = self._maker.existing(EVENTS, found.sizes.get(EVENTS, 0))
        self._chat = self._maker.existing(CHAT, found.sizes.get(CHAT, 0))
        lines = self._maker.existing(TRANSCRIPT, found.sizes.get(TRANSCRIPT, 0))
        cues = self._maker.existing(CAPTIONS, found.sizes.get(CAPTIONS, 0))
        self._transcript = Transcript(lines, cues, self._started_ms)
        self._audio = AudioFiles(self._maker, self._started_ms)
        self._tracks = self._audio.tracks
        self._ahead: set[Track] = set()  # files with a jump so far ahead that it may be a broken timestamp
        self._pictures = {"video": PictureFiles(self._maker, "video"), "share": PictureFiles(self._maker, "share")}
        self._decodes = False
        self._revision = 0
        self._saved: tuple[int, ...] | None = None
        self._saved_counts: tuple[int, ...] | None = None
        self._saved_s = 0.0
        self._rate_mark: tuple[int, Counter[str], Counter[str]] = (local_ms(), Counter(), Counter())
        self._restore(found)
        self._timeline = self._timeline_of(found)
        self._state = "connecting" if manifest is None else "recovering"
        self._watch_ms = self._timeline.watch_ms("audio")
        self.event("stream_state", None, state=self._state)

    def _restore(self, found: Found) -> None:
        for entry, header, size_bytes in found.audio:
            self._audio.restore(entry, header, size_bytes)
        for entry, size_bytes, index_bytes in found.pictures:
            self._pictures[entry["media"]].restore(entry, size_bytes, index_bytes)
        for line in found.recent_lines:
            self._transcript.remember(line)

    def _timeline_of(self, found: Found) -> Timeline:
        if found.manifest is None:
            return Timeline(self._started_ms)
        timeline = Timeline.from_manifest(found.manifest, max((track.end_ms for track in self._audio), default=None))
        ended_ms = found.manifest["ended_ms"]
        if ended_ms is not None:
            timeline.reopened(self.info.started_ms, ended_ms)
        return timeline

    # Media

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one packet. The way of nearly all packets is this method and `Track.append`: about 0.6 µs."""
        self._audio_messages += 1
        if self._decodes:
            data = self._audio.decode(user_id, data)
        track = self._tracks.get(user_id)
        if track is None or timestamp_ms < self._watch_ms or not track.append(timestamp_ms, data):
            placed_ms = self._place(user_id, timestamp_ms, data)
            if placed_ms is None:
                return
            timestamp_ms = placed_ms
            track = self._tracks[user_id]
        if user_name != track.user_name:
            track.user_name = user_name
            self._roster.named(user_id, user_name)
        if self.listeners:
            for listener in tuple(self.listeners):
                listener.audio(user_id, user_name, timestamp_ms, data)

    def _place(self, user_id: UserId, timestamp_ms: int, data: bytes) -> int | None:
        """Take a packet that does not simply continue its file. Returns its time, None if it was not kept."""
        time_ms = self._time(timestamp_ms)
        pcm = self._audio.pcm
        duration_ms = len(data) // pcm.bytes_per_ms
        if time_ms is None or len(data) % pcm.block_bytes:
            self._corrupt("timestamp" if time_ms is None else "odd_length", "audio", user_id, timestamp_ms)
            return None
        if self._drops("audio", user_id, time_ms, time_ms + duration_ms):
            return None
        track = self._audio.track_for(user_id, time_ms)
        if track is None:
            self._dropped("audio", user_id, time_ms, time_ms + duration_ms)
            return None
        if time_ms > self._timeline.clock_ms + _FRESH_MS:
            self._advance_clock()
            if time_ms > self._timeline.clock_ms + _FRESH_MS:
                self._ahead.add(track)
        placement = track.place(time_ms, data)
        if placement is Placement.TOO_FAR:
            self._corrupt("timestamp", "audio", user_id, timestamp_ms)
            return None
        if time_ms < self._watch_ms:
            self._timeline.covered("audio", user_id, time_ms, time_ms + duration_ms)
            self._watch()
        if placement is Placement.REPEAT:
            self.counters["duplicates"] += 1
            return None
        return time_ms

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        if self._picture("video", user_id, user_name, timestamp_ms, data):
            for listener in tuple(self.listeners):
                listener.video(user_id, user_name, timestamp_ms, data)

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        if self._picture("share", user_id, user_name, timestamp_ms, data):
            for listener in tuple(self.listeners):
                listener.share(user_id, user_name, timestamp_ms, data)

    def _picture(self, media: str, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> bool:
        self._messages[media] += 1
        self._media_bytes[media] += len(data)
        time_ms = self._time(timestamp_ms)
        if time_ms is None:
            self._corrupt("timestamp", media, user_id, timestamp_ms)
            return False
        if self._drops(media, user_id, time_ms, time_ms + 1):
            return False
        kept = self._pictures[media].take(user_id, time_ms, data)
        if kept is None:
            self._dropped(media, user_id, time_ms, time_ms + 1)
            return False
        if not kept:
            self.counters["duplicates"] += 1
            return False
        self._roster.named(user_id, user_name)
        if time_ms < self._timeline.watch_ms(media):
            self._timeline.covered(media, user_id, time_ms, time_ms + 1)
        return True

    def transcript(self, data: TranscriptData) -> None:
        self._messages["transcript"] += 1
        time_ms = self._time(data.timestamp_ms)
        if time_ms is None:
            self._corrupt("timestamp", "transcript", data.user_id, data.timestamp_ms)
            return
        line = self._transcript.line(data, self._roster.name(data.user_id), time_ms, self._origin_ms, self._local_ms())
        start_ms, end_ms = line["start_ms"] or time_ms, line["end_ms"] or time_ms
        if self._drops("transcript", data.user_id, start_ms, max(end_ms, start_ms + 1)):
            return
        if not self._transcript.take(line):
            self.counters["duplicates"] += 1
            return
        self._roster.named(data.user_id, data.user_name)
        if self._timeline.is_plausible(start_ms) and start_ms < self._timeline.watch_ms("transcript"):
            self._timeline.covered("transcript", data.user_id, start_ms, max(end_ms, start_ms))
        for listener in tuple(self.listeners):
            listener.transcript(data)

    def chat(self, data: ChatData) -> None:
        self._messages["chat"] += 1
        time_ms = self._time(data.timestamp_ms)
        if time_ms is None:
            self._corrupt("timestamp", "chat", data.user_id, data.timestamp_ms)
            return
        if self._drops("chat", data.user_id, time_ms, time_ms + 1):
            return
        line = attrs.asdict(data, recurse=False) | {"timestamp_ms": time_ms, "received_ms": self._local_ms()}
        self._chat.append(json_line(line))
        for listener in tuple(self.listeners):
            listener.chat(data)

    def corrupt(self, problem: Corrupt) -> None:
        """Count a message that could not be read; where it says whose and when, that time is a gap."""
        media = None if problem.media is None else _MEDIA_NAMES.get(problem.media)
        self._corrupt(problem.kind.value, media, problem.user_id, problem.timestamp_ms)

    def unknown(self) -> None:
        """Count a message of a type that this version does not know."""
        self.counters["unknown"] += 1

    def audio_format(self, audio: AudioFormat) -> None:
        """Audio was negotiated: packets hold this from now on."""
        self._audio.use(audio)
        self._decodes = audio.codec is not PayloadType.L16
        self._touch()

    def video_format(self, codec: int | None) -> None:
        self._pictures["video"].use(codec)

    def share_format(self, codec: int | None) -> None:
        self._pictures["share"].use(codec)

    @property
    def pcm(self) -> AudioFormat | None:
        """The audio format in force; None while audio was never connected."""
        return self._audio.format if self._timeline.knows("audio") else None

    def _time(self, time_ms: int) -> int | None:
        """Return a timestamp as milliseconds since the epoch; None for one that cannot be."""
        known = normalise_ms(time_ms, self._origin_ms)
        return known if known is not None and self._timeline.is_plausible(known) else None

    @property
    def _origin_ms(self) -> int:
        return self._started_ms if self._first_packet_ms is None else self._first_packet_ms

    def _drops(self, media: str, user_id: UserId | None, from_ms: int, to_ms: int) -> bool:
        """Whether there is no room for more. What is dropped is a gap."""
        if not self._backlog.full:
            return False
        self._dropped(media, user_id, from_ms, to_ms)
        return True

    def _dropped(self, media: str, user_id: UserId | None, from_ms: int, to_ms: int) -> None:
        self.counters["dropped"] += 1
        self.dropped[media, "no_room"] += 1
        self._timeline.missing(media, user_id, from_ms, to_ms, "dropped")

    def _corrupt(self, kind: str, media: str | None, user_id: UserId | None, timestamp_ms: int | None) -> None:
        self.counters["corrupt"] += 1
        self.corrupt_kinds[kind] += 1
        time_ms = None if timestamp_ms is None else self._time(timestamp_ms)
        if media is None or time_ms is None or user_id is None or kind == "timestamp":
            return
        if (
            abs(time_ms - self._timeline.clock_ms) > _FRESH_MS
        ):  # corrupt as it is, its time is not to be believed either
            return
        length_ms = self._audio.format.send_rate_ms if media == "audio" else 1
        self._timeline.missing(media, user_id, time_ms, time_ms + length_ms, "corrupt")

    # What Zoom says

    def event(self, kind: str, zoom_ms: int | None, **fields: Any) -> None:
        """Write a line to `events.jsonl`, and tell `on_event`."""
        line = {"at_ms": self._local_ms(), "kind": kind, "zoom_ms": zoom_ms, **fields}
        if self._backlog.full:
            self.counters["dropped"] += 1
        else:
            self._events.append(json_line(line))
        if self._on_event is not None:
            self._on_event({"rtms_stream_id": self.info.rtms_stream_id, **line})

    def state(self, name: str) -> None:
        """The stream's state, as the manifest names it."""
        if name != self._state:
            self._state = name
            self.event("stream_state", None, state=name)
            self._touch()

    def stream_state(self, state: int, reason: int | None, zoom_ms: int | None) -> None:
        """Message 8, as it came; what follows for the recording is told by `state`, `paused`, `resumed`."""
        self.event("stream_state_update", zoom_ms, zoom_state=_name(StreamState, state), reason=reason)

    def session_state(self, rtms_session_id: str, state: int, stop_reason: int | None, zoom_ms: int | None) -> None:
        """Message 9."""
        name = _name(SessionState, state)
        self.event("session_state", zoom_ms, rtms_session_id=rtms_session_id, state=name, stop_reason=stop_reason)

    def first_packet(self, zoom_ms: int | None) -> None:
        """Where offsets count from. Zoom may say it again after a reconnection: the first counts."""
        if self._first_packet_ms is None and zoom_ms is not None and self._timeline.is_plausible(zoom_ms):
            self._first_packet_ms = zoom_ms
            self._touch()

    def participants_joined(self, participants: Iterable[Participant], zoom_ms: int | None) -> None:
        for user_id, user_name in _identified(participants):
            self._roster.joined(user_id, user_name, self._timeline.clock_ms if zoom_ms is None else zoom_ms)
        self._touch()

    def participants_left(self, participants: Iterable[Participant], zoom_ms: int | None) -> None:
        for user_id, _ in _identified(participants):
            self._roster.left(user_id, self._timeline.clock_ms if zoom_ms is None else zoom_ms)
        self._touch()

    def participants_named(self, participants: Iterable[Participant]) -> None:
        """An event names people, whatever else it is about."""
        for user_id, user_name in _identified(participants):
            self._roster.named(user_id, user_name)

    # Connections, pauses, the end

    @property
    def zoom_ms(self) -> int:
        """The latest time heard from Zoom."""
        return self._timeline.clock_ms

    def connected(self, kind: Literal["signaling", "media"], media: frozenset[str]) -> int:
        """A handshake succeeded. Returns a number for `heard_on` and `lost`."""
        number = self._timeline.connected(kind, media)
        self._connection_event(number, kind, media, change="opened")
        return number

    def heard(self, zoom_ms: int) -> None:
        """A live time of Zoom's on signaling."""
        self._timeline.heard(zoom_ms)
        self._watch()

    def heard_on(self, connection: int, zoom_ms: Any) -> None:
        """The time in a keep-alive on a connection; anything that is no time is ignored."""
        time_ms = normalise_ms(zoom_ms) if isinstance(zoom_ms, int) and not isinstance(zoom_ms, bool) else None
        if time_ms is not None:
            self._timeline.heard(time_ms, connection)
            self._watch()

    def lost(self, connection: int, cause: str | None, why: str) -> None:
        """A connection is gone; `cause` None: because the stream ends, which opens no gap."""
        known = next((each for each in self._timeline.connections if each.number == connection), None)
        if known is None:
            return
        self._timeline.lost(connection, self._newest_ms(known.media), cause, why)
        self._connection_event(connection, known.kind, known.media, change="closed", why=why, cause=cause)

    def same_outage(self, cause: str | None) -> None:
        """Signaling went as well: media that were lost with it have its cause."""
        if cause is not None:
            self._timeline.same_outage(cause)
            self._touch()

    def paused(self, zoom_ms: int | None) -> None:
        self._timeline.paused(zoom_ms)
        self._touch()

    def resumed(self, zoom_ms: int | None) -> None:
        self._timeline.resumed(zoom_ms)
        self._touch()

    def ended(
        self, reason: int | None, zoom_ms: int | None, state: Literal["ended", "failed", "revoked"] = "ended"
    ) -> None:
        """The stream is over: open gaps and connections end with it. `finish` or `delete` is next."""
        self._stop_reason = reason
        self._ended_ms = self._timeline.ended(zoom_ms, self._newest_ms(("audio", "video", "share", "transcript")))
        self.state(state)

    def _connection_event(self, number: int, kind: str, media: Iterable[str], **fields: Any) -> None:
        zoom_ms = self._timeline.clock_ms
        self.event("connection", zoom_ms, connection=number, of=kind, media=sorted(media), **fields)
        self._watch()
        self._touch()

    def _newest_ms(self, media: Iterable[str]) -> int | None:
        """Return the end of the newest media of these types, leaving out what jumped far ahead of Zoom's time."""
        ends: list[int | None] = []
        doubtful: list[int | None] = []
        for name in media:
            if name == "audio":
                ends += [track.end_ms for track in self._audio if track not in self._ahead]
                doubtful += [track.end_ms for track in self._ahead]
            elif name == "transcript":
                doubtful.append(self._transcript.newest_ms)
            elif name in self._pictures:
                doubtful.append(self._pictures[name].newest_ms)
        latest_ms = self._timeline.clock_ms + _FRESH_MS
        ends += [end for end in doubtful if end is not None and end <= latest_ms]
        return max((end for end in ends if end is not None), default=None)

    def _advance_clock(self) -> None:
        self._timeline.clock_ms = max(self._timeline.clock_ms, self._newest_ms(("audio",)) or 0)

    def _watch(self) -> None:
        self._watch_ms = self._timeline.watch_ms("audio")

    # The writer's side

    def _touch(self) -> None:
        self._revision += 1
        self._writer.nudge()

    @property
    def _structure(self) -> tuple[int, ...]:
        pictures = (pictures.revision for pictures in self._pictures.values())
        return (self._revision, self._timeline.revision, self._roster.revision, self._audio.revision, *pictures)

    @property
    def _counts(self) -> tuple[int, ...]:
        return (self._audio_messages, self._timeline.clock_ms, *self._messages.values(), *self.counters.values())

    @property
    def state_name(self) -> str:
        """The stream's state, as the manifest names it."""
        return self._state

    @property
    def messages(self) -> Counter[str]:
        """How many messages came, by media."""
        return Counter({**self._messages, "audio": self._audio_messages})

    @property
    def media_bytes(self) -> Counter[str]:
        """How many bytes of media are in files, by media."""
        return self._media_bytes + Counter({"audio": sum(track.end for track in self._audio)})

    def collect(self, now_s: float) -> Job | None:
        """See `writer.Flushable`."""
        self._advance_clock()
        structure, counts = self._structure, self._counts
        due = structure != self._saved or (now_s - self._saved_s >= _COUNTERS_EVERY_S and counts != self._saved_counts)
        if not due and not self._maker.dirty:
            return None
        batches = tuple(file.take() for file in self._maker.dirty)
        if due:
            self._collected = (structure, counts, now_s)
        return Job(self.directory, batches, self.manifest() if due else None)

    def settled(self, job: Job, outcome: Outcome) -> None:
        for batch in outcome.written:
            if not batch.file.written(batch):
                self._maker.dirty.pop(batch.file, None)
        if job.manifest is not None and outcome.error is None:
            self._saved, self._saved_counts, self._saved_s = self._collected

    @property
    def is_saved(self) -> bool:
        """Whether everything is on disk."""
        return not self._maker.dirty and (self._structure, self._counts) == (self._saved, self._saved_counts)

    def manifest(self) -> dict[str, Any]:
        """The manifest, as of now."""
        files = self._audio.to_manifest(self.directory)
        for pictures in self._pictures.values():
            files += pictures.to_manifest(self.directory)
        files += self._text_files()
        return {
            "version": 1,
            **_identity(self.info),
            "state": self._state,
            "started_ms": self._started_ms,
            "ended_ms": self._ended_ms,
            "stop_reason": self._stop_reason,
            "first_packet_ms": self._first_packet_ms,
            "participants": self._roster.to_manifest(),
            "files": files,
            **self._timeline.to_manifest(),
            "counters": {
                "messages": {"audio": self._audio_messages, "transcript": 0, **self._messages},
                **{name: self.counters[name] for name in ("duplicates", "dropped", "corrupt", "unknown")},
                "corrupt_kinds": dict(self.corrupt_kinds),
            },
        }

    def _text_files(self) -> list[dict[str, Any]]:
        newest_ms = {TRANSCRIPT: self._transcript.newest_ms, CHAT: None}
        return [
            {
                "path": name,
                "media": media,
                "user_id": None,
                "start_ms": self._started_ms,
                "duration_ms": max(0, (newest_ms[name] or self._started_ms) - self._started_ms),
                "bytes": file.size_bytes,
            }
            for name, media, file in ((TRANSCRIPT, "transcript", self._transcript.lines), (CHAT, "chat", self._chat))
            if file.size_bytes
        ]

    def snapshot(self) -> dict[str, Any]:
        """The manifest, and what is only true now: `rates` per second since the last snapshot, `lag` to the disk."""
        now_ms = self._local_ms()
        messages, sizes = self.messages, self.media_bytes
        since_ms, old_messages, old_sizes = self._rate_mark
        seconds = (now_ms - since_ms) / 1000
        if seconds >= 1:
            self._rate_mark = (now_ms, messages, sizes)
        rates = {
            name: {
                "messages_per_s": round((messages[name] - old_messages[name]) / seconds, 1) if seconds > 0 else 0.0,
                "bytes_per_s": round((sizes[name] - old_sizes[name]) / seconds) if seconds > 0 else 0,
            }
            for name in messages
        }
        return {**self.manifest(), "rates": rates, "unsynced_s": round(self._writer.last_sync_age_s, 3)}

    async def flush(self) -> None:
        """Bring everything to disk, however long the disk refuses."""
        while True:
            await self._writer.flush()
            if self.is_saved:
                return
            if self._writer.error is not None:
                await trio.sleep(1)

    async def finish(self) -> None:
        """Write everything, with the captions in order, and let go of the directory."""
        await self.flush()
        if self._transcript.lines.size_bytes:
            paths = (self._transcript.lines.path, self.directory / CAPTIONS)
            await self._retry(partial(_sort_captions, self._writer.disk, *paths, self._started_ms))
        self._close()

    async def suspend(self) -> None:
        """Write everything and let go, the stream still being alive: the next start goes on with it."""
        for connection in self._timeline.connections:
            if connection.closed_ms is None:
                self.lost(connection.number, "daemon_restart", "daemon stopped")
        self.state("recovering")
        await self.flush()
        self._close()

    async def delete(self) -> None:
        """Delete everything that was stored, at once, and leave a receipt without personal data."""
        self.ended(StopReason.STREAM_REVOKED, None, "revoked")
        async with self._writer.quiet():
            for file in tuple(self._maker.dirty):
                file.discard()
            self._close()
            await self._retry(partial(revoke, self._writer.disk, self.directory, self.manifest()))

    def _close(self) -> None:
        self._writer.remove(self)
        for listener in tuple(self.listeners):
            listener.ended()

    async def _retry(self, work: Callable[[], None]) -> None:
        """Do something to the disk, again until it succeeds."""
        while True:
            try:
                await self._writer.run_sync(work)
            except OSError as error:
                log.warning("disk refuses", error=str(error), rtms_stream_id=self.info.rtms_stream_id)
                await trio.sleep(1)
            else:
                return


def _identity(info: StreamInfo) -> dict[str, Any]:
    return {
        "rtms_stream_id": info.rtms_stream_id,
        "product": info.product,
        "id": info.session.id,
        "id_key": info.session.key,
        "app": info.app,
        "started_ms": info.started_ms,
    }


def revoke(disk: Disk, directory: Path, manifest: Mapping[str, Any]) -> None:
    """Put a receipt in place of a recording. First the manifest, which holds names; then all the files.

    Raises:
        OSError: something is left; call again.
    """
    kept = ("version", "rtms_stream_id", "product", "id", "id_key", "app", "started_ms", "ended_ms")
    receipt = {name: manifest[name] for name in kept if name in manifest}
    receipt |= {"state": "revoked", "stop_reason": int(StopReason.STREAM_REVOKED)}
    receipt |= {"participants": [], "files": [], "gaps": [], "connections": [], "pauses": []}
    zero = {"messages": {"audio": 0, "transcript": 0}, "duplicates": 0, "dropped": 0, "corrupt": 0, "unknown": 0}
    disk.make_directory(directory)
    disk.replace(directory / MANIFEST, encode_manifest(receipt | {"counters": zero}))
    for path in directory.iterdir():
        if path.name == MANIFEST:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    disk.sync_directory(directory)


def _sort_captions(disk: Disk, lines: Path, cues: Path, started_ms: int) -> None:
    text = captions.captions(captions.read_lines(lines.read_bytes()), started_ms)
    disk.replace(cues, text.encode(errors="replace"))


def _identified(participants: Iterable[Participant]) -> Iterable[tuple[UserId, str | None]]:
    for person in participants:
        user_id = person.channel_id if person.user_id is None else person.user_id
        if user_id is not None:
            yield user_id, person.user_name


def _name(states: type[SessionState] | type[StreamState], value: int) -> str:
    try:
        return states(value).name.lower()
    except ValueError:
        return str(value)
