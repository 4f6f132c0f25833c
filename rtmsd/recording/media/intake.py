"""The media of one stream, taken in message by message and handed to the store of their type."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from rtmsd.accelerator import PacketReader
from rtmsd.protocol.bounds import bounded_name
from rtmsd.protocol.media_data import Corrupt, Text, UserId
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.media_types import NAMES
from rtmsd.protocol.unknown import Unknown
from rtmsd.protocol.unknown_media import unknown_in_text
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.audio import AudioStore
from rtmsd.recording.media.chat import ChatStore
from rtmsd.recording.media.pictures import PictureStore
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.media.store import IntakeContext, MediaStore
from rtmsd.recording.media.transcript import TranscriptStore
from rtmsd.recording.media.wav.track import Track
from rtmsd.recording.timeline.gaps import Gap

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader
    from rtmsd.sinks.base import LiveSink

_TEXTS: Final = (TranscriptStore, ChatStore)
_STORES: Final[Mapping[str, Callable[[IntakeContext], MediaStore[Any]]]] = {
    "audio": AudioStore,
    **{media: partial(PictureStore, media=media) for media in ("video", "share")},
    **{store.media: store for store in _TEXTS},
}


class MediaIntake:
    """Takes in media, as `MediaHandler`; nothing here waits or raises for content.

    Attributes:
        context: what the stores share, with their counts.
        backlog, dropped: those of the context.
        stores: one for each media type of which there is something, by name: with all five a stream would take 4 KB
            more, and its files would be looked for at each flush.
        listeners: who hears what is kept (live taps).
    """

    def __init__(self, context: IntakeContext, resumed: ResumedMedia) -> None:
        self.context = context
        self.backlog, self.dropped = context.backlog, context.dropped
        self.listeners: list[LiveSink] = []
        self._timeline = context.timeline
        self._participants = context.participants
        self._earlier = resumed.counters
        self._audio = AudioStore(context)
        self.stores: dict[str, MediaStore[Any]] = {"audio": self._audio}
        for media in _STORES:
            if media in resumed.media:
                self._store(media).restore(resumed)

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one packet. The way of nearly all packets is this method and `Track.append`: about 0.6 µs."""
        store = self._audio
        store.messages += 1
        if store.decodes:
            decoded = store.decode(user_id, timestamp_ms, data)
            if decoded is None:
                return
            data = decoded
        track = store.tracks.get(user_id)
        if track is None or timestamp_ms < self._timeline.audio_watch_ms or not track.append(timestamp_ms, data):
            placed_ms = store.take(user_id, user_name, timestamp_ms, data)
            if placed_ms is None:
                return
            timestamp_ms = placed_ms
            track = store.tracks[user_id]
        if user_name != track.user_name:
            track.user_name = user_name = None if user_name is None else bounded_name(user_name)
            self._participants.named(user_id, user_name)
        if self.listeners:
            for listener in tuple(self.listeners):
                listener.audio(user_id, user_name, timestamp_ms, data)

    def packet_reader(self) -> "Reader | None":
        """Return a reader for one connection, to take packets past `audio` and `Track.append`; see `accelerator`."""
        if PacketReader is None or self._audio.decodes:
            return None
        return PacketReader(
            track_type=Track,
            tracks=self._audio.tracks,
            store=self._audio,
            timeline=self._timeline,
            backlog=self.backlog,
            listeners=self.listeners,
        )

    def took_packets(self, count: int) -> None:
        """So many were taken by a packet reader."""
        self._audio.messages += count

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        store = self._store("video")
        store.messages += 1
        if store.take(user_id, user_name, timestamp_ms, data) is not None:
            for listener in tuple(self.listeners):
                listener.video(user_id, user_name, timestamp_ms, data)

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        store = self._store("share")
        store.messages += 1
        if store.take(user_id, user_name, timestamp_ms, data) is not None:
            for listener in tuple(self.listeners):
                listener.share(user_id, user_name, timestamp_ms, data)

    def text(self, data: Text) -> None:
        store = self._store(data.media)
        store.messages += 1
        for what in unknown_in_text(data):
            self.unknown(what)
        if store.take(data.user_id, data.user_name, data.timestamp_ms, data) is not None:
            for listener in tuple(self.listeners):
                listener.text(data)

    def corrupt(self, problem: Corrupt) -> None:
        """Count a message that could not be read; where it says whose and when, that time is a gap."""
        if problem.media is None or problem.media not in NAMES:
            self.context.corrupt_kinds[problem.kind.value] += 1
        else:
            self._store(NAMES[problem.media]).corrupt(problem.kind.value, problem.user_id, problem.timestamp_ms)

    def unknown(self, what: Unknown) -> None:
        """Count what this version does not know, without keeping it."""
        self.context.unknown.add(what)

    def _store(self, media: str) -> MediaStore[Any]:
        store = self.stores.get(media)
        if store is None:
            store = self.stores[media] = _STORES[media](self.context)
        return store

    # What handshakes negotiate: messages hold it from then on

    def audio_format(self, audio: AudioFormat) -> None:
        self._audio.use(audio)

    def video_format(self, codec: int | None, fps: int | None = None) -> None:
        self._pictures("video").use(codec, fps)

    def share_format(self, codec: int | None, fps: int | None = None) -> None:
        self._pictures("share").use(codec, fps)

    def _pictures(self, media: str) -> PictureStore:
        store = self._store(media)
        assert isinstance(store, PictureStore)
        return store

    @property
    def pcm(self) -> AudioFormat | None:
        """The audio format in force; None while audio was never connected."""
        return self._audio.format if self._timeline.knows("audio") else None

    # For the recorder

    def newest_ms(self, media: Iterable[str]) -> int | None:
        """Return the end of the newest media of these types; see `MediaStore.newest_ms`."""
        ends = [store.newest_ms for store in self._of(media)]
        return max((end for end in ends if end is not None), default=None)

    def heard(self) -> dict[UserId, int]:
        """Return until when each person was heard; see `AudioStore`."""
        return self._audio.heard()

    def connection_lost(self, media: Iterable[str]) -> None:
        self.advance_clock()
        for store in self._of(media):
            store.interrupted()

    def advance_clock(self) -> None:
        """Tell the timeline how far the media have come."""
        timeline = self._timeline
        timeline.clock_ms = max(timeline.clock_ms, self._audio.newest_ms or 0)
        timeline.connections.brought(self.newest_ms, self._received, timeline.clock_ms)
        self._audio.settle(timeline.clock_ms)

    def _received(self, media: Iterable[str]) -> int:
        """How many messages of these media this process received."""
        return sum(store.messages for store in self._of(media))

    def _of(self, media: Iterable[str]) -> list[MediaStore[Any]]:
        return [self.stores[name] for name in media if name in self.stores]  # a later version may know others

    def damaged(self, damage: Damage) -> Gap | None:
        """A file lost what was on disk; see `MediaStore.damaged`. The gap is in the timeline then."""
        gaps = [store.damaged(damage) for store in self.stores.values()]
        gap = next((gap for gap in gaps if gap is not None), None)
        if gap is not None:
            self._timeline.missing(gap.media, gap.user_id, gap.from_ms, int(gap.to_ms), gap.cause)
        return gap

    @property
    def messages(self) -> Counter[str]:
        """Messages received by this process, by media."""
        return Counter({name: number for name, store in self.stores.items() if (number := store.messages)})

    @property
    def media_bytes(self) -> Counter[str]:
        """Bytes received by this process and kept, by media."""
        return Counter({name: size for name, store in self.stores.items() if (size := store.received_bytes)})

    @property
    def rtp_lost(self) -> int:
        """See `AudioStore.rtp_lost`."""
        return self._audio.rtp_lost or 0

    def counters(self) -> dict[str, Any]:
        """All counts of the stream, those of earlier processes included, as the manifest has them."""
        context, earlier = self.context, self._earlier
        now = {
            "duplicates": context.duplicates,
            "dropped": self.dropped.total(),
            "corrupt": context.corrupt_kinds.total(),
            "unknown": context.unknown.whole,
            **self._audio.adjustments(),
        }
        if self._audio.rtp_lost is not None or "rtp_lost" in earlier.others:
            now["rtp_lost"] = self.rtp_lost
        if context.segments.unlisted or earlier["unlisted_segments"]:
            now["unlisted_segments"] = context.segments.unlisted
        return {
            "messages": {"audio": 0, "transcript": 0, **(self.messages + Counter(earlier.messages))},
            **{name: count + earlier[name] for name, count in now.items()},
            "corrupt_kinds": dict(context.corrupt_kinds + Counter(earlier.corrupt_kinds)),
            "unknown_kinds": dict(context.unknown.names),
        }

    def entries(self) -> list[FileEntry]:
        return [entry for store in self.stores.values() for entry in store.entries()]

    def last_work(self) -> list[Callable[[Disk], None]]:
        """See `MediaStore.last_work`."""
        return [work for store in self.stores.values() if (work := store.last_work()) is not None]
