"""Video and shared screens: what came, one behind the other, with an index of where each message is and when it was."""

from typing import Any, Final, Literal

import attrs

from rtmsd.protocol.enums import PayloadType
from rtmsd.recording.disk_file import DiskFile
from rtmsd.recording.files import FileMaker
from rtmsd.recording.layout import participant_name

Pictures = Literal["video", "share"]

SUFFIXES: Final[dict[int, str]] = {PayloadType.H264: "h264", PayloadType.JPG: "mjpeg", PayloadType.PNG: "png"}
_MAX_FILES: Final = 2000
_ENDS_BYTES: Final = 64


@attrs.define
class _Film:
    user_id: int | str
    file: DiskFile
    index: DiskFile
    start_ms: int
    newest_ms: int
    newest: tuple[int, bytes, bytes] | None  # the newest message: its length, beginning and end; None: unknown
    size_bytes: int


class PictureFiles:
    """Attributes:
    newest_ms: time of the newest message; None before the first.
    revision: changes with every new file.
    """

    def __init__(self, maker: FileMaker, media: Pictures) -> None:
        self.newest_ms: int | None = None
        self.revision = 0
        self._maker = maker
        self._media: Pictures = media
        self._suffix = SUFFIXES[PayloadType.JPG]
        self._films: dict[tuple[int | str, str], _Film] = {}

    def use(self, codec: int | None) -> None:
        """A handshake negotiated this codec; one without a name of ours is stored as it comes."""
        self._suffix = SUFFIXES.get(PayloadType.JPG if codec is None else codec, "bin")

    @property
    def received_bytes(self) -> int:
        """See `DiskFile`."""
        return sum(film.file.received_bytes for film in self._films.values())

    def take(self, user_id: int | str, timestamp_ms: int, data: bytes) -> bool | None:
        """Append one message. False: a repeat of the one before; None: too many files already."""
        film = self._films.get((user_id, self._suffix))
        if film is None:
            if len(self._films) >= _MAX_FILES:
                return None
            film = self._new(user_id, timestamp_ms)
        newest = (len(data), data[:_ENDS_BYTES], data[-_ENDS_BYTES:])
        if film.newest_ms == timestamp_ms and film.newest == newest:
            return False  # with the same time may also come the next part of a picture
        film.file.append(data)
        film.index.append(b'{"offset":%d,"length":%d,"timestamp_ms":%d}\n' % (film.size_bytes, len(data), timestamp_ms))
        film.newest_ms, film.newest = timestamp_ms, newest
        film.size_bytes += len(data)
        self.newest_ms = max(self.newest_ms or timestamp_ms, timestamp_ms)
        return True

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
        ]

    def _new(self, user_id: int | str, timestamp_ms: int) -> _Film:
        file = self._maker.new(self._media, participant_name(user_id), self._suffix)
        index = self._maker.new(self._media, file.path.name, "jsonl")
        film = self._films[user_id, self._suffix] = _Film(user_id, file, index, timestamp_ms, timestamp_ms, None, 0)
        self.revision += 1
        return film
