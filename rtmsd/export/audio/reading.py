"""The samples of one file, in the rate and the channels of a track, from any position on."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import Any, BinaryIO, Final

from rtmsd.export.audio.adding import widened
from rtmsd.export.audio.plan import Part, Plan, Track
from rtmsd.export.extra import need
from rtmsd.export.source import AudioFile, Source
from rtmsd.recording.media.ogg.packets import RATE_HZ, OpusFormat
from rtmsd.recording.media.wav.header import SAMPLE_BYTES

_PIECE: Final = 65_536  # samples that are read, or decoded, at once
_EARLIER_MS: Final = 1000  # decoders and resamplers need what comes before


def check_libraries(plan: Plan) -> None:
    """Raises ExportError: a library is needed to read a file of the plan, and missing."""
    for file in plan.files:
        if file.codec == OpusFormat.codec:
            need("av", f"reading {file.path}")
    rates = {file.rate_hz for file in plan.files} | {plan.rate_hz}
    if len(rates) > 1:
        need("av", f"converting sample rates ({', '.join(map(str, sorted(rates)))} Hz)")


class Reader:
    """The samples of a track's part, read in order.

    Damage is reported to the source; what is missing is silent.
    """

    def __init__(self, source: Source, plan: Plan, track: Track, part: Part) -> None:
        self._source = source
        self._part = part
        self._is_widened = part.file.channels < track.channels
        self._rate_hz = plan.rate_hz
        self._is_plain = part.file.codec == "L16" and part.file.rate_hz == plan.rate_hz
        self._stack = ExitStack()
        self._pieces: Iterator[tuple[int, bytes]] | None = None
        self._at = 0
        self._piece = b""

    def close(self) -> None:
        self._stack.close()

    def read(self, first: int, stop: int) -> bytes:
        """Return samples by their positions in the plan, which must be in the part, and behind those read before."""
        first, stop = first - self._part.start, stop - self._part.start
        block = self._read_plain(first, stop) if self._is_plain else self._read_converted(first, stop)
        missing_bytes = (stop - first) * self._block_bytes - len(block)
        if missing_bytes > 0:
            block += bytes(missing_bytes)
        return widened(block) if self._is_widened else block

    @property
    def _block_bytes(self) -> int:
        return SAMPLE_BYTES * self._part.file.channels

    def _read_plain(self, first: int, stop: int) -> bytes:
        """Each time the file is opened anew: two thousand of them may be read by turns."""
        file = self._part.file
        size_bytes = (stop - first) * self._block_bytes
        try:
            with self._source.open(file.path) as opened:
                opened.seek(file.data_offset + first * self._block_bytes)
                block = opened.read(size_bytes)
        except OSError as error:
            self._damaged(error.strerror or str(error))
            return b""
        if len(block) < size_bytes:
            self._damaged("became shorter while it was read")
        return block

    def _read_converted(self, first: int, stop: int) -> bytes:
        if self._pieces is None:
            from_ms = max(0, first * 1000 // self._rate_hz - _EARLIER_MS)
            self._pieces = self._stack.enter_context(closing(self._converted(from_ms)))
        size = self._block_bytes
        block = bytearray()
        while first < stop:
            while self._at + len(self._piece) // size <= first:
                piece = self._next_piece()
                if piece is None:
                    return bytes(block)
                self._at, self._piece = piece
            if self._at > first:  # a hole
                silent = min(self._at, stop) - first
                block += bytes(silent * size)
                first += silent
            until = min(self._at + len(self._piece) // size, stop)
            block += self._piece[(first - self._at) * size : (until - self._at) * size]
            first = max(first, until)
        return bytes(block)

    def _next_piece(self) -> tuple[int, bytes] | None:
        assert self._pieces is not None
        try:
            return next(self._pieces, None)
        except OSError as error:
            self._damaged(error.strerror or str(error))
            return None

    def _damaged(self, detail: str) -> None:
        self._source.damaged(self._part.file.path, detail)

    def _converted(self, from_ms: int) -> Generator[tuple[int, bytes], None, None]:
        """Yield pieces of samples, each with its position in the file, in the plan's rate. Raises OSError."""
        av = need("av", "reading audio")
        file = self._part.file
        layout = "mono" if file.channels == 1 else "stereo"
        resampler = av.AudioResampler(format="s16", layout=layout, rate=self._rate_hz)
        at, expected = 0, -1
        for frame in self._frames(av, file, layout, from_ms):
            if frame.pts != expected:  # the first one, or behind a hole
                at = frame.pts * self._rate_hz // file.rate_hz
            expected = frame.pts + frame.samples
            frame.pts = None
            for converted in resampler.resample(frame):
                yield at, _content(converted, file.channels)
                at += converted.samples
        for converted in resampler.resample(None) if expected >= 0 else ():
            yield at, _content(converted, file.channels)
            at += converted.samples

    def _frames(self, av: Any, file: AudioFile, layout: str, from_ms: int) -> Iterator[Any]:
        """Yield frames whose `pts` is the position of the first sample in the file, in the file's rate."""
        with self._source.open(file.path) as opened:
            if file.codec == OpusFormat.codec:
                try:
                    yield from self._decoded(av, opened, from_ms)
                except (av.FFmpegError, IndexError) as error:  # the latter: no audio is in it
                    raise OSError(f"not Opus in Ogg ({getattr(error, 'strerror', error)})") from None
                return
            first = from_ms * file.rate_hz // 1000
            opened.seek(file.data_offset + first * self._block_bytes)
            while first < file.blocks:
                count = min(_PIECE, file.blocks - first)
                content = opened.read(count * self._block_bytes)
                if len(content) < count * self._block_bytes:
                    raise OSError("became shorter while it was read")
                frame = av.AudioFrame(format="s16", layout=layout, samples=count)
                frame.planes[0].update(content)
                frame.sample_rate, frame.pts = file.rate_hz, first
                yield frame
                first += count

    def _decoded(self, av: Any, opened: BinaryIO, from_ms: int) -> Iterator[Any]:
        """Raises FFmpegError, IndexError. A packet that cannot be decoded is a hole."""
        with av.open(opened, format="ogg") as container:
            if from_ms:
                container.seek(from_ms * 1000)
            for packet in container.demux(container.streams.audio[0]):
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:
                    self._damaged(f"a packet cannot be decoded ({error.strerror})")
                    continue
                for frame in frames:
                    frame.pts = round(frame.pts * frame.time_base * RATE_HZ)
                    yield frame


def _content(frame: Any, channels: int) -> bytes:
    """Return the samples of a frame without the padding behind them."""
    return bytes(frame.planes[0])[: frame.samples * SAMPLE_BYTES * channels]
