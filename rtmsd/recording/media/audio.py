"""The WAV files of a stream: which one a packet belongs to, and when there has to be another."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.recording.disk.file_buffer import DiskFile
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.disk.presence import Damage
from rtmsd.recording.media.codecs.decoders import PacketDecoder, decoder, rtp_decoder
from rtmsd.recording.media.track import Track
from rtmsd.recording.media.wav import HEADER_BYTES, PcmFormat, WavHeader
from rtmsd.recording.recovery.damage import CAUSE
from rtmsd.recording.recovery.resume import FoundAudio
from rtmsd.recording.timeline.gaps import Gap

_MAX_FILES: Final = 2000
"""Bound of the files of a stream, for ids that nobody meant; packets past it are dropped."""

_MAX_DECODERS: Final = 2 * _MAX_FILES
"""Past it those are forgotten of whom there is no file."""

_ADJUSTMENTS: Final = ("same_time", "trimmed_ms", "inserted_ms", "cut_ms")

DEFAULT_FORMAT: Final = AudioFormat(codec=PayloadType.L16, rate_hz=16_000, channels=1, mixed=False, send_rate_ms=100)


class AudioFiles:
    """Attributes:
    tracks: where a participant's packets go as a rule: the file that starts last, of those in the format in force.
    revision: changes with every new file.
    """

    def __init__(self, maker: FileMaker, stream_started_ms: int) -> None:
        self.tracks: dict[int | str, Track] = {}
        self.format = DEFAULT_FORMAT
        self.revision = 0
        self._maker = maker
        self._stream_started_ms = stream_started_ms
        self._all: list[Track] = []
        self._gone_adjustments: Counter[str] = Counter()  # of files that somebody removed
        self._gone_bytes = 0
        self._decoders: dict[int | str, PacketDecoder] = {}
        self._new_decoder: Callable[[], PacketDecoder] = decoder(self.format)

    def __iter__(self) -> Iterator[Track]:
        return iter(self._all)

    @property
    def pcm(self) -> PcmFormat:
        """How packets are stored."""
        return PcmFormat(self.format.rate_hz, self.format.channels)

    def use(self, audio: AudioFormat) -> None:
        """A handshake negotiated this format: packets from now on hold it. Decoders start afresh.

        Raises:
            ValueError: the codec cannot be stored.
        """
        self._new_decoder = rtp_decoder(audio) if audio.is_rtp else decoder(audio)
        self._decoders.clear()
        if audio != self.format:
            self.format = audio
            self.tracks.clear()
            for track in self._all:
                self._consider(track)

    def decode(self, user_id: int | str, data: bytes) -> bytes | None:
        """Return L16, None for what is no packet. Each participant has a decoder, which may know what came before."""
        decode = self._decoders.get(user_id)
        if decode is None:
            if len(self._decoders) >= _MAX_DECODERS:
                self._decoders = {each: known for each, known in self._decoders.items() if each in self.tracks}
            decode = self._decoders[user_id] = self._new_decoder()
        return decode(data)

    def track_for(self, user_id: int | str, timestamp_ms: int) -> Track | None:
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
        return self._add(Track(self._new(user_id, timestamp_ms, self.pcm), user_id, timestamp_ms, self.pcm))

    def _new(self, user_id: int | str, start_ms: int, pcm: PcmFormat) -> DiskFile:
        header = WavHeader(pcm=pcm, start_ms=start_ms, stream_started_ms=self._stream_started_ms, owner=user_id)
        return self._maker.new("audio", participant_name(user_id), "wav", header=header.encode)

    def damaged(self, damage: Damage) -> tuple[Track, Gap] | None:
        """A file lost what was on disk: what comes now, and what is queued, goes to another one. Returns the track, and
        what is missing; None if it is none of these files.
        """
        track = next((each for each in self._all if each.file is damage.file), None)
        if track is None:
            return None
        file, user_id = track.file, track.user_id
        size_bytes = HEADER_BYTES if damage.size_bytes is None else damage.size_bytes
        gap = Gap("audio", user_id, track.time_ms(size_bytes), track.time_ms(file.durable_bytes), CAUSE)
        is_usual = self.tracks.get(user_id) is track
        if is_usual:
            del self.tracks[user_id]
        if file.queued:
            start_ms = track.time_ms(min(offset for offset, _ in file.queued))
            moved = track.moved(self._new(user_id, start_ms, track.pcm), start_ms)
            self._all.append(moved)
            if is_usual:
                self.tracks[user_id] = moved
        if damage.size_bytes is None:
            self._maker.forget(file)
            self._all.remove(track)
            self._gone_adjustments.update(_adjustments(track))
            self._gone_bytes += file.received_bytes
        else:
            track.cut(size_bytes)
        self.revision += 1
        return track, gap

    def restore(self, found: FoundAudio) -> None:
        """Take up a file of an earlier run."""
        file = self._maker.existing(found.entry["path"], found.size_bytes, header=found.header.encode)
        header = found.header
        self._add(Track(file, found.user_id, header.start_ms, header.pcm, holes=found.inside.holes, tail=found.tail))

    def settle(self, clock_ms: int) -> None:
        """See `Track.settle`."""
        for track in self._all:
            track.settle(clock_ms)

    def adjustments(self) -> dict[str, int]:
        """How packets were fitted to each other, under the manifest's names."""
        total = Counter(self._gone_adjustments)
        for track in self._all:
            total.update(_adjustments(track))
        return {name: total[name] for name in _ADJUSTMENTS}

    @property
    def received_bytes(self) -> int:
        """Bytes received by this process and kept, be they gone since."""
        return self._gone_bytes + sum(track.file.received_bytes for track in self._all)

    def to_manifest(self) -> list[dict[str, Any]]:
        return [
            {
                "path": self._maker.name(track.file),
                "media": "audio",
                "user_id": track.user_id,
                "start_ms": track.start_ms,
                "duration_ms": track.duration_ms,
                "bytes": track.end,
                "rate_hz": track.pcm.rate_hz,
                "channels": track.pcm.channels,
            }
            for track in self._all
        ]

    def _add(self, track: Track) -> Track:
        self._all.append(track)
        self._consider(track)
        self.revision += 1
        return track

    def _consider(self, track: Track) -> None:
        usual = self.tracks.get(track.user_id)
        if self._suits(track, track.user_id) and (usual is None or track.start_ms > usual.start_ms):
            self.tracks[track.user_id] = track

    def _suits(self, track: Track, user_id: int | str) -> bool:
        return track.user_id == user_id and track.pcm == self.pcm


def _adjustments(track: Track) -> dict[str, int]:
    per_ms = track.pcm.bytes_per_ms
    sizes = (track.trimmed_bytes, track.inserted_bytes, track.cut_bytes)
    return dict(zip(_ADJUSTMENTS, (track.same_time, *(size // per_ms for size in sizes)), strict=True))
