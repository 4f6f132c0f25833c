"""Video and shared screens: what came, one behind the other, with an index of where each message is and when it was."""

from collections import deque
from typing import Any, Final, Literal, NamedTuple

import attrs

from rtmsd.protocol.enums import PayloadType
from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.recovery.damage import CAUSE
from rtmsd.recording.timeline.gaps import Gap

Pictures = Literal["video", "share"]

SUFFIXES: Final[dict[int, str]] = {PayloadType.H264: "h264", PayloadType.JPG: "mjpeg", PayloadType.PNG: "png"}
_FRAME_MS: Final[dict[Pictures, int]] = {"video": 400, "share": 2000}  # of Zoom's JPEGs, where nobody said
_MAX_FILES: Final = 2000
_ENDS_BYTES: Final = 64


class _Message(NamedTuple):
    offset: int
    length: int
    time_ms: int
    line_end: int  # in the index

    def is_durable(self, film: "_Film") -> bool:
        return self.offset < film.file.durable_bytes and self.line_end <= film.index.durable_bytes


@attrs.define
class _Film:
    user_id: int | str
    file: DiskFile
    index: DiskFile
    start_ms: int
    newest_ms: int
    newest: tuple[int, bytes, bytes] | None  # the newest message: its length, beginning and end; None: unknown
    size_bytes: int
    durable_ms: int  # time of the newest message known to be on disk with its line in the index
    queued: deque[_Message] = attrs.field(factory=deque)  # the others

    def note_durable(self) -> None:
        while self.queued and self.queued[0].is_durable(self):
            self.durable_ms = self.queued.popleft().time_ms


class PictureFiles:
    """Attributes:
    newest_ms: time of the newest message; None before the first.
    revision: changes with every new file.
    frame_ms: so long a frame lasts, if no other one follows: twice the time between two, as negotiated.
    """

    def __init__(self, maker: FileMaker, media: Pictures) -> None:
        self.newest_ms: int | None = None
        self.revision = 0
        self.frame_ms = _FRAME_MS[media]
        self._maker = maker
        self._media: Pictures = media
        self._suffix = SUFFIXES[PayloadType.JPG]
        self._films: dict[tuple[int | str, str], _Film] = {}
        self._gone_bytes = 0  # of damaged files
        self._closed: dict[DiskFile, dict[str, Any]] = {}  # entries of damaged files, which are not gone on with

    def use(self, codec: int | None, fps: int | None = None) -> None:
        """A handshake negotiated this codec; one without a name of ours is stored as it comes."""
        self.frame_ms = _FRAME_MS[self._media] if fps is None or fps <= 0 else max(1, 2000 // fps)
        self._suffix = SUFFIXES.get(PayloadType.JPG if codec is None else codec, "bin")

    @property
    def received_bytes(self) -> int:
        """See `DiskFile`."""
        return self._gone_bytes + sum(film.file.received_bytes for film in self._films.values())

    def take(self, user_id: int | str, timestamp_ms: int, data: bytes) -> bool | None:
        """Append one message. False: a repeat of the one before; None: too many files already."""
        film = self._films.get((user_id, self._suffix))
        if film is None:
            if len(self._films) >= _MAX_FILES or self._maker.is_full:
                return None
            film = self._new(user_id, timestamp_ms)
        newest = (len(data), data[:_ENDS_BYTES], data[-_ENDS_BYTES:])
        if film.newest_ms == timestamp_ms and film.newest == newest:
            return False  # with the same time may also come the next part of a picture
        self._append(film, timestamp_ms, data)
        film.newest_ms, film.newest = timestamp_ms, newest
        self.newest_ms = max(self.newest_ms or timestamp_ms, timestamp_ms)
        return True

    @staticmethod
    def _append(film: _Film, timestamp_ms: int, data: bytes) -> None:
        film.note_durable()
        film.file.append(data)
        film.index.append(b'{"offset":%d,"length":%d,"timestamp_ms":%d}\n' % (film.size_bytes, len(data), timestamp_ms))
        film.queued.append(_Message(film.size_bytes, len(data), timestamp_ms, film.index.size_bytes))
        film.size_bytes += len(data)

    def damaged(self, damage: Damage) -> Gap | None:
        """A file, or its index, lost what was on disk: what is queued goes to others. Returns what is missing; None if
        it is none of these files, or was told before.
        """
        if damage.file in self._closed and damage.size_bytes is None:  # now the pictures are gone, too
            del self._closed[damage.file]
            self._maker.forget(damage.file)
            self.revision += 1
        key = next((key for key, film in self._films.items() if damage.file in (film.file, film.index)), None)
        if key is None:
            return None
        film = self._films[key]
        film.note_durable()
        self.revision += 1
        gap = Gap(self._media, film.user_id, film.start_ms, max(film.start_ms, film.durable_ms) + 1, CAUSE)
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
            after = self._new(film.user_id, queued[0].time_ms)
            for message in queued:
                first = message.offset - durable_bytes
                self._append(after, message.time_ms, pieces[first : first + message.length])
            after.newest_ms, after.newest = film.newest_ms, film.newest
            self._films[key] = after
        return gap

    @staticmethod
    def _begin_index(film: _Film) -> None:
        """The index is gone. The pictures are there, only nobody knows when they were: one line stands for them all."""
        known = film.queued[0].offset if film.queued else film.size_bytes
        if not film.queued:
            film.start_ms = film.durable_ms
        line = b'{"offset":0,"length":%d,"timestamp_ms":%d,"damaged":true}\n' % (known, film.start_ms)
        shift_bytes = len(line) - film.index.durable_bytes
        film.index.restart(0, line)
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
        self._closed[film.file] = {
            "path": self._maker.name(film.file),
            "index": self._maker.name(film.index),
            "media": self._media,
            "user_id": film.user_id,
            "start_ms": film.start_ms,
            "duration_ms": max(0, film.durable_ms - film.start_ms),
            "bytes": film.file.durable_bytes,
        }

    def restore(self, entry: dict[str, Any], file_bytes: int, index_bytes: int) -> None:
        """Take up a file of an earlier run; `entry` is the manifest's."""
        film = _Film(
            entry["user_id"],
            self._maker.existing(entry["path"], file_bytes),
            self._maker.existing(entry["index"], index_bytes),
            entry["start_ms"],
            entry["start_ms"] + entry["duration_ms"],
            None,
            file_bytes,
            entry["start_ms"] + entry["duration_ms"],
        )
        self._films[film.user_id, entry["path"].rpartition(".")[2]] = film
        self.newest_ms = max(self.newest_ms or film.newest_ms, film.newest_ms)

    def to_manifest(self) -> list[dict[str, Any]]:
        return [
            {
                "path": self._maker.name(film.file),
                "index": self._maker.name(film.index),
                "media": self._media,
                "user_id": film.user_id,
                "start_ms": film.start_ms,
                "duration_ms": max(0, film.newest_ms - film.start_ms),
                "bytes": film.size_bytes,
            }
            for film in self._films.values()
        ] + list(self._closed.values())

    def _new(self, user_id: int | str, timestamp_ms: int) -> _Film:
        file = self._maker.new(self._media, participant_name(user_id), self._suffix)
        index = self._maker.new(self._media, file.path.name, "jsonl")
        film = self._films[user_id, self._suffix] = _Film(
            user_id, file, index, timestamp_ms, timestamp_ms, None, 0, timestamp_ms
        )
        self.revision += 1
        return film
