"""The media that an earlier process left, for the stores that continue them. Pure."""

from typing import Any

import attrs

from rtmsd.recording.manifest.schema import Counters, FileEntry
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.packets import RATE_HZ
from rtmsd.recording.media.ogg.reader import End
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.timeline.intervals import Part


@attrs.frozen
class ResumedAudio:
    """A WAV, or an Ogg file.

    Attributes:
        path: as the manifest has it.
        holes: of the times that the manifest calls missing or another member's, those without audio, as positions.
        kept: those of which there is audio after all, in milliseconds.
        tail: the last bytes of a WAV.
        end: the last page of an Ogg file.
        packets: the last ones of an Ogg file, with their positions.
    """

    path: str
    header: WavHeader | OggHeader
    size_bytes: int
    holes: tuple[tuple[int, int], ...] = ()
    kept: tuple[tuple[int, int], ...] = ()
    tail: bytes = b""
    end: End | None = None
    packets: tuple[tuple[int, bytes], ...] = ()

    @property
    def user_id(self) -> int | str:
        return self.header.owner

    @property
    def end_ms(self) -> int:
        if self.end is not None:
            return self.header.start_ms + self.end.samples * 1000 // RATE_HZ
        return self._ms(self.size_bytes)

    @property
    def empty(self) -> list[Part]:
        """The times of the holes."""
        return [(self._ms(start), self._ms(stop)) for start, stop in self.holes]

    def _ms(self, position: int) -> int:
        return self.header.start_ms + (position - HEADER_BYTES) // self.header.pcm.bytes_per_ms


@attrs.frozen
class ResumedPictures:
    """A file of video or shared screens, and the path of its index."""

    entry: FileEntry
    user_id: int | str
    size_bytes: int
    index: str
    index_bytes: int


@attrs.frozen(kw_only=True)
class ResumedMedia:
    """Attributes:
    sizes: of the text files, by name.
    recent_lines: the last of each of them, by media type.
    """

    sizes: dict[str, int] = attrs.field(factory=dict)
    audio: list[ResumedAudio] = attrs.field(factory=list)
    pictures: list[ResumedPictures] = attrs.field(factory=list)
    recent_lines: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict)
    counters: Counters = attrs.field(factory=lambda: Counters({}))

    @property
    def media(self) -> set[str]:
        """The media types of which there are files."""
        audio = {"audio"} if self.audio else set()
        return audio | {each.entry.media for each in self.pictures} | {name.partition(".")[0] for name in self.sizes}
