"""Video and shared screens: messages one behind the other, with an index of where each is and when it was."""

from collections import deque
from typing import Final, NamedTuple

import attrs

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.media_data import UserId
from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.images.codecs import PictureCodec, codec_of, codec_of_file
from rtmsd.recording.media.images.head import NOT_KEY, Head
from rtmsd.recording.media.images.segments import Segments, listed_segments, with_segments
from rtmsd.recording.media.resumed import ResumedMedia, ResumedPictures
from rtmsd.recording.media.store import FRESH_MS, IntakeContext, Kept, MediaStore
from rtmsd.recording.timeline.gaps import Gap

_FRAME_MS: Final[dict[str, int]] = {"video": 400, "share": 2000}  # of Zoom's JPEGs, where none was negotiated
_MAX_FILES: Final = 2000
_ENDS_BYTES: Final = 64


class _Message(NamedTuple):
    offset: int
    length: int
    time_ms: int
    line_end: int  # in the index
    head: Head
    connection: int


@attrs.define(kw_only=True)
class _Film:
    """Attributes:
    newest: the newest message: its length, beginning and end; None: unknown.
    durable_ms: time of the newest message known to be on disk with its line in the index.
    queued: the others.
    user_name: of the newest message, as it came.
    """

    user_id: int | str
    codec: PictureCodec
    file: DiskFile
    index: DiskFile
    start_ms: int
    newest_ms: int
    durable_ms: int
    segments: Segments
    size_bytes: int = 0
    index_bytes: int = 0
    newest: tuple[int, bytes, bytes] | None = None
    queued: deque[_Message] = attrs.field(factory=deque)
    user_name: str | None = None

    def note_durable(self) -> None:
        queued, durable_bytes = self.queued, self.file.durable_bytes
        while queued and queued[0].offset < durable_bytes and queued[0].line_end <= self.index.durable_bytes:
            self.durable_ms = queued.popleft().time_ms


class PictureStore(MediaStore[bytes]):
    """Video, or shared screens.

    Attributes:
        frame_ms: so long a frame lasts, if no other one follows: twice the time between two, as negotiated.
    """

    def __init__(self, context: IntakeContext, media: str) -> None:
        super().__init__(context)
        self.media = media
        self.frame_ms = _FRAME_MS[media]
        self._maker = context.maker
        self._codec = codec_of(None)
        self._films: dict[tuple[int | str, PictureCodec], _Film] = {}
        self._gone_bytes = 0  # of damaged files
        self._closed: dict[DiskFile, FileEntry] = {}  # entries of damaged files, which are not continued

    def use(self, codec: int | None, fps: int | None = None) -> None:
        """A handshake negotiated this codec; one without a name of ours is stored as it comes."""
        self.frame_ms = _FRAME_MS[self.media] if fps is None or fps <= 0 else max(1, 2000 // fps)
        self._codec = codec_of(codec)

    @property
    def received_bytes(self) -> int:
        return self._gone_bytes + sum(film.file.received_bytes for film in self._films.values())

    def take(self, user_id: UserId | None, user_name: str | None, timestamp_ms: int, data: bytes) -> int | None:
        if not data:  # no gap either: it is a picture of nothing
            self._context.corrupt_kinds["empty"] += 1
            return None
        return super().take(user_id, user_name, timestamp_ms, data)

    def _keep(self, user_id: UserId | None, user_name: str | None, time_ms: int, data: bytes) -> Kept:
        assert user_id is not None, "only a chat message may name nobody"
        film = self._films.get((user_id, self._codec))
        if film is None:
            if len(self._films) >= _MAX_FILES or self._maker.is_full:
                return Kept.NO_FILE
            film = self._new(user_id, self._codec, time_ms)
        newest = (len(data), data[:_ENDS_BYTES], data[-_ENDS_BYTES:])
        if film.newest_ms == time_ms and film.newest == newest:
            return Kept.REPEAT  # with the same time may also come the next part of a picture
        context, timeline = self._context, self._context.timeline
        head = film.codec.read(data)
        if head is None:
            context.corrupt_kinds["image"] += 1
            head = NOT_KEY
        self._append(film, time_ms, data, head, timeline.connection_of(self.media))
        film.newest_ms, film.newest = time_ms, newest
        self._note_newest(time_ms)
        if user_name is None or user_name != film.user_name:
            film.user_name = user_name
            context.participants.named(user_id, user_name)
        if time_ms < timeline.watch_ms(self.media) and time_ms <= timeline.clock_ms + FRESH_MS:
            timeline.shown(self.media, user_id, time_ms, time_ms + self.frame_ms)
        return Kept.KEPT

    def _append(self, film: _Film, timestamp_ms: int, data: bytes, head: Head, connection: int) -> None:
        film.note_durable()
        film.file.append(data)
        offset, length = film.size_bytes, len(data)
        line = b'{"offset":%d,"length":%d,"timestamp_ms":%d,"key":%s,"connection":%d}\n' % (
            offset,
            length,
            timestamp_ms,
            b"true" if head.is_key else b"false",
            connection,
        )
        film.index.append(line)
        film.index_bytes += len(line)
        film.queued.append(_Message(offset, length, timestamp_ms, film.index_bytes, head, connection))
        film.size_bytes = offset + length
        if film.segments.note(timestamp_ms, offset, connection, head.size):
            self._context.changes.note()

    def damaged(self, damage: Damage) -> Gap | None:
        if damage.file in self._closed and damage.size_bytes is None:  # now the pictures are gone, too
            del self._closed[damage.file]
            self._maker.forget(damage.file)
            self._context.changes.note()
        key = next((key for key, film in self._films.items() if damage.file in (film.file, film.index)), None)
        if key is None:
            return None
        film = self._films[key]
        film.note_durable()
        self._context.changes.note()
        gap = Gap(self.media, film.user_id, film.start_ms, max(film.start_ms, film.durable_ms) + 1, GapCause.DAMAGED)
        if damage.file is film.index and damage.size_bytes is None:
            self._begin_index(film)
            return gap
        del self._films[key]
        self._close(film, damage)
        queued = [message for message in film.queued if message.offset >= film.file.durable_bytes]
        durable_bytes = film.file.durable_bytes
        pieces = b"".join(piece for _, pieces in film.file.queued for piece in pieces)
        self._gone_bytes += film.file.received_bytes - len(pieces)  # those count where they are moved to
        film.file.discard()
        film.file.cut(durable_bytes)
        film.index.discard()
        self._maker.forget(film.index)
        if queued:
            after = self._new(film.user_id, film.codec, queued[0].time_ms)
            for message in queued:
                first = message.offset - durable_bytes
                data = pieces[first : first + message.length]
                self._append(after, message.time_ms, data, message.head, message.connection)
            after.newest_ms, after.newest = film.newest_ms, film.newest
            self._films[key] = after
        return gap

    @staticmethod
    def _begin_index(film: _Film) -> None:
        """The index is gone. The pictures are there, without their times: one line stands for them all."""
        known = film.queued[0].offset if film.queued else film.size_bytes
        if not film.queued:
            film.start_ms = film.durable_ms
        line = b'{"offset":0,"length":%d,"timestamp_ms":%d,"damaged":true}\n' % (known, film.start_ms)
        shift_bytes = len(line) - film.index.durable_bytes
        film.index.restart(0, line)
        film.index_bytes += shift_bytes
        film.queued = deque(message._replace(line_end=message.line_end + shift_bytes) for message in film.queued)

    def _close(self, film: _Film, damage: Damage) -> None:
        """Keep of a damaged pair what there is: one of which a part is left is for `repair`, which looks into it."""
        if damage.size_bytes is None and damage.file is film.file:
            self._maker.forget(film.file)
            self._maker.doomed.append(film.index.path)
            return
        self._maker.dirty.pop(film.file, None)
        if damage.file is film.file:
            self._maker.forget(film.file)  # it would be reported again and again
        self._closed[film.file] = self._entry(film, film.durable_ms, film.file.durable_bytes)

    def restore(self, resumed: ResumedMedia) -> None:
        ours = [pictures for pictures in resumed.pictures if pictures.entry.media == self.media]
        for pictures in sorted(ours, key=lambda pictures: pictures.entry.start_ms):
            film = self._restored(pictures)
            if earlier := self._films.get((film.user_id, film.codec)):  # it was damaged, and went on in this one
                self._maker.forget(earlier.index)
                self._closed[earlier.file] = self._entry(earlier, earlier.newest_ms, earlier.size_bytes)
            self._films[film.user_id, film.codec] = film
            self._note_newest(film.newest_ms)

    def _restored(self, pictures: ResumedPictures) -> _Film:
        entry = pictures.entry
        end_ms = entry.start_ms + entry.duration_ms
        return _Film(
            user_id=pictures.user_id,
            codec=codec_of_file(entry.path),
            file=self._maker.existing(entry.path, pictures.size_bytes),
            index=self._maker.existing(pictures.index, pictures.index_bytes),
            start_ms=entry.start_ms,
            newest_ms=end_ms,
            durable_ms=end_ms,
            segments=Segments(self._context.segments, listed_segments(entry)),
            size_bytes=pictures.size_bytes,
            index_bytes=pictures.index_bytes,
        )

    def entries(self) -> list[FileEntry]:
        films = [self._entry(film, film.newest_ms, film.size_bytes) for film in self._films.values()]
        return [*films, *self._closed.values()]

    def _entry(self, film: _Film, last_ms: int, size_bytes: int) -> FileEntry:
        entry = FileEntry(
            path=self._maker.name(film.file),
            index=self._maker.name(film.index),
            media=self.media,
            user_id=film.user_id,
            start_ms=film.start_ms,
            duration_ms=max(0, last_ms - film.start_ms),
            bytes=size_bytes,
        )
        listed = (each for each in film.segments.listed if each.offset < size_bytes)
        return with_segments(entry, film.codec.name, listed)

    def _new(self, user_id: int | str, codec: PictureCodec, timestamp_ms: int) -> _Film:
        file = self._maker.new(self.media, participant_name(user_id), codec.suffix)
        film = self._films[user_id, codec] = _Film(
            user_id=user_id,
            codec=codec,
            file=file,
            index=self._maker.new(self.media, file.path.name, "jsonl"),
            start_ms=timestamp_ms,
            newest_ms=timestamp_ms,
            durable_ms=timestamp_ms,
            segments=Segments(self._context.segments),
        )
        self._context.changes.note()
        return film
