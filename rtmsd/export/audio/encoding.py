"""Encoded audio: FLAC by soundfile, Opus in Ogg by PyAV."""

from typing import Any, BinaryIO, Final

from rtmsd.export.audio.mixing import BLOCK, Sound
from rtmsd.export.extra import need
from rtmsd.export.muxing import container
from rtmsd.recording.media.wav.header import SAMPLE_BYTES

BITRATE: Final = 24_000
"""Of Opus, for each channel, unless another is asked for: speech without audible loss."""

BITRATES: Final = range(500, 256_001)
"""What the encoder takes, whatever the channels are."""

OPUS_RATES_HZ: Final = (8000, 12_000, 16_000, 24_000, 48_000)


class _File:
    """A file for soundfile, which drops what Python's files raise: the first error, or signal, is kept."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, content: bytes) -> int:
        if self.error is None:
            try:
                return self._file.write(content)
            except BaseException as error:
                self.error = error
        return 0

    def read(self, size_bytes: int) -> bytes:
        return self._file.read(size_bytes)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        pass


def write_flac(file: BinaryIO, sound: Sound, purpose: str) -> None:
    """Write a sound as FLAC.

    Raises:
        ExportError: the library is missing.
        OSError: the disk refuses.
    """
    soundfile = need("soundfile", purpose)
    silence = bytes(BLOCK * SAMPLE_BYTES * sound.channels)
    kept = _File(file)
    form = {"samplerate": sound.rate_hz, "channels": sound.channels, "format": "FLAC", "subtype": "PCM_16"}
    try:
        with soundfile.SoundFile(kept, "w", **form) as flac:
            flac.title = sound.title
            for samples, block in sound.blocks:
                content = silence[: samples * SAMPLE_BYTES * sound.channels] if block is None else block
                flac.buffer_write(content, "int16")
                if kept.error is not None:
                    break
    except (soundfile.LibsndfileError, AssertionError):  # the latter: fewer samples taken than given
        if kept.error is None:
            raise
    if kept.error is not None:
        raise kept.error


def write_opus(file: BinaryIO, sound: Sound, purpose: str, bitrate: int | None) -> None:
    """Write a sound as Opus, in a rate that it has.

    Raises:
        ExportError: the library is missing.
        OSError: the disk refuses.
    """
    av = need("av", purpose)
    with container(av, file, "ogg") as opened:
        opened.metadata.update({"title": sound.title, "RTMS_START_MS": str(sound.start_ms)})
        stream = opus_stream(opened, sound, bitrate)
        for frame in frames(av, sound):
            opened.mux(stream.encode(frame))
        opened.mux(stream.encode(None))


def opus_stream(container: Any, sound: Sound, bitrate: int | None) -> Any:
    """Add a stream of Opus to a container of PyAV. What its encoder gets is converted to a rate that Opus has."""
    rate_hz = next((each for each in OPUS_RATES_HZ if each >= sound.rate_hz), OPUS_RATES_HZ[-1])
    layout = "mono" if sound.channels == 1 else "stereo"
    stream = container.add_stream("libopus", rate=rate_hz, layout=layout, options={"application": "voip"})
    stream.bit_rate = bitrate or BITRATE * sound.channels
    return stream


def frames(av: Any, sound: Sound) -> Any:
    """Yield a sound as frames of PyAV, whose `pts` count samples."""
    layout = "mono" if sound.channels == 1 else "stereo"
    silence = bytes(BLOCK * SAMPLE_BYTES * sound.channels)
    at = 0
    for samples, block in sound.blocks:
        frame = av.AudioFrame(format="s16", layout=layout, samples=samples)
        frame.planes[0].update(silence[: samples * SAMPLE_BYTES * sound.channels] if block is None else block)
        frame.sample_rate, frame.pts = sound.rate_hz, at
        yield frame
        at += samples
