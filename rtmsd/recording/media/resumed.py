"""The media that an earlier process left, for the stores that continue them. Pure.

A packet may be stored a little beside its time, and a kill may have cut the last one off. So near the end of a WAV it
is not the place of a packet that tells whether it is new; its bytes do.
"""

from typing import Any, Final

import attrs

from rtmsd.recording.manifest.schema import Counters, FileEntry
from rtmsd.recording.media.wav import HEADER_BYTES, WavHeader
from rtmsd.recording.timeline.intervals import Part

LONGEST_PACKET_MS: Final = 1000
"""The longest that Zoom sends."""


@attrs.frozen
class ResumedAudio:
    """A WAV.

    Attributes:
        path: as the manifest has it.
        holes: of the times that the manifest calls missing, those without audio, as positions in the file.
        kept: those of which there is audio after all, in milliseconds.
        tail: the last bytes.
    """

    path: str
    header: WavHeader
    size_bytes: int
    holes: tuple[tuple[int, int], ...] = ()
    kept: tuple[tuple[int, int], ...] = ()
    tail: bytes = b""

    @property
    def user_id(self) -> int | str:
        return self.header.owner

    @property
    def end_ms(self) -> int:
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
    recent_lines: the last of the transcript.
    """

    sizes: dict[str, int] = attrs.field(factory=dict)
    audio: list[ResumedAudio] = attrs.field(factory=list)
    pictures: list[ResumedPictures] = attrs.field(factory=list)
    recent_lines: list[dict[str, Any]] = attrs.field(factory=list)
    counters: Counters = attrs.field(factory=lambda: Counters({}))


@attrs.frozen
class EarlierAudio:
    """The end of a WAV. Positions are offsets in the file.

    Attributes:
        end: where it ended when it was found.
        tail: its last bytes; empty: it was not read, and all that lies before `end` counts as known.
        reach_bytes: so far from its time a packet may be stored.
    """

    end: int
    tail: bytes
    reach_bytes: int
    block_bytes: int
    bytes_per_ms: int

    def unknown_part(self, at: int, data: bytes) -> bytes:
        """Return what of a packet, whose time is at `at`, is not there yet: all, its end, or nothing.

        Far from the end all of it counts as not there: about that the holes of the file tell.
        """
        if not self.end - LONGEST_PACKET_MS * self.bytes_per_ms - self.reach_bytes <= at < self.end + self.reach_bytes:
            return data
        if not self.tail:
            return b"" if at + len(data) <= self.end else data
        start = self.end - len(self.tail)
        if self._find(data, max(0, at - self.reach_bytes - start), at + len(data) + self.reach_bytes - start):
            return b""
        return data[self._beginning(at, data) :]

    def _find(self, data: bytes, low: int, high: int) -> bool:
        found = self.tail.find(data, low, high)
        while found >= 0 and (found - len(self.tail)) % self.block_bytes:
            found = self.tail.find(data, found + 1, high)
        return found >= 0

    def _beginning(self, at: int, data: bytes) -> int:
        """Return how much of a packet's beginning the file ends with. Silence is no sign, nor are a few samples."""
        shortest = max(self.bytes_per_ms, self.end - at - self.reach_bytes, len(data) - len(data.lstrip(b"\0")) + 1)
        last = self.tail[-self.bytes_per_ms :]
        stop = min(len(data) - self.block_bytes, self.end - at + self.reach_bytes)
        while (found := data.rfind(last, 0, max(0, stop))) >= 0 and found + len(last) >= shortest:
            size = found + len(last)
            if size % self.block_bytes == 0 and self.tail.endswith(data[:size]):
                return size
            stop = size - 1
        return 0
