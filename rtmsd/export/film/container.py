"""The container of a film, Matroska or MP4, into which PyAV puts pictures as they are. Imports PyAV when it is used."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, Final

from rtmsd.export.errors import ExportError
from rtmsd.export.film.pictures import Picture
from rtmsd.export.muxing import container
from rtmsd.recording.media.images.codecs import H264, JPG, PictureCodec

FORMATS: Final[Mapping[str, str]] = {"mkv": "matroska", "mp4": "mp4"}
"""By suffix, as FFmpeg calls them."""

CODECS: Final = (H264, JPG)
"""Those that both containers take."""

_DEMUXERS: Final = {H264: "h264", JPG: "mjpeg"}
_MS: Final = Fraction(1, 1000)
_LAST_MS: Final = 40  # a picture lasts so long, behind which there is none to say
_STEPS_MS: Final = {"mkv": 0, "mp4": 1}  # between one picture and the next, at least


class Track:
    """The pictures of one track, as they are added.

    Attributes:
        pictures: how many.
        moved: those that had to be put behind the one before, as their time was not.
        end_ms: of the last picture, from the start of the container.
    """

    def __init__(self, av: Any, container: Any, stream: Any, *, origin_ms: int, step_ms: int) -> None:
        self.pictures = self.moved = self.end_ms = 0
        self._av, self._container, self._stream = av, container, stream
        self._origin_ms = origin_ms
        self._step_ms = step_ms
        self._waiting: Any = None

    def add(self, picture: Picture) -> None:
        """Add the next picture; it is written once it is known how long it lasts."""
        at_ms = picture.time_ms - self._origin_ms
        waiting = self._waiting
        if waiting is not None:
            earliest_ms = waiting.pts + self._step_ms
            if at_ms < earliest_ms:
                at_ms, self.moved = earliest_ms, self.moved + 1
            waiting.duration = at_ms - waiting.pts
            self._container.mux_one(waiting)
        packet = self._waiting = self._av.Packet(picture.data)
        packet.stream = self._stream
        packet.time_base = _MS
        packet.pts = packet.dts = at_ms
        packet.is_keyframe = picture.head.is_key
        self.pictures += 1

    def finish(self) -> None:
        if self._waiting is not None:
            lasted_ms = self._waiting.duration = _LAST_MS
            self.end_ms = self._waiting.pts + lasted_ms
            self._container.mux_one(self._waiting)
            self._waiting = None


class Pattern:
    """A first picture as FFmpeg reads it: the pattern of a stream to be written.

    Raises:
        ExportError: FFmpeg cannot read it.
    """

    def __init__(self, av: Any, codec: PictureCodec, first: bytes) -> None:
        self.av = av
        try:
            self._input = av.open(io.BytesIO(first), format=_DEMUXERS[codec])
            self.stream = self._input.streams.video[0]
            if not self.stream.codec_context.width:
                raise ExportError("FFmpeg finds no size in the first key frame")
            with av.open(io.BytesIO(), "w", format="matroska") as trial:
                trial.add_stream_from_template(self.stream)
                trial.start_encoding()
        except av.error.FFmpegError as error:
            raise ExportError(f"FFmpeg cannot read the first key frame: {error.strerror}") from error

    def close(self) -> None:
        self._input.close()


@contextmanager
def film(file: BinaryIO, form: str, pattern: Pattern, *, origin_ms: int, title: str) -> Iterator[Track]:
    """A container with one track.

    Args:
        origin_ms: the time since the epoch at which it begins.
    """
    options = {"movflags": "use_metadata_tags"} if form == "mp4" else {}
    with container(pattern.av, file, FORMATS[form], options) as opened:
        stream = opened.add_stream_from_template(pattern.stream)
        stream.time_base = _MS
        opened.metadata["title"] = title
        opened.metadata["RTMS_START_MS"] = str(origin_ms)
        track = Track(pattern.av, opened, stream, origin_ms=origin_ms, step_ms=_STEPS_MS[form])
        yield track
        track.finish()
