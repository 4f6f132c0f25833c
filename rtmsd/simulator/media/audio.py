"""The sources of audio packets: prepared loops of speech, WAV files, and marked packets.

A source returns the same bytes for packet `number` every time, so that the record need not keep them. Loops hold their
base64 as well: sending a packet costs no encoding.
"""

import abc
import functools
import wave
from array import array
from collections.abc import Sequence
from pathlib import Path

import pybase64

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.simulator.media.encoders import encode_alaw, encode_g722
from rtmsd.simulator.media.marks import marked_packet
from rtmsd.simulator.media.opus import marked_opus, opus_packets
from rtmsd.simulator.media.voices import VOICES, speech
from rtmsd.simulator.model.audio_log import AudioSource
from rtmsd.simulator.model.settings import Person, Tone

LOOP_MS = 6000
G722_LOOP_MS = 2000  # encoding takes a quarter of real time


class Loop:
    """Packets prepared once and repeated.

    Attributes:
        mono: the signal in them, before it was encoded.
    """

    def __init__(self, audio_format: AudioFormat, mono: "array[int]", packets: Sequence[bytes]) -> None:
        self.format = audio_format
        self.mono = mono
        self._packets = packets
        self._encoded = [(pybase64.b64encode(packet), len(packet)) for packet in packets]

    def packet(self, number: int) -> bytes:
        return self._packets[number % len(self._packets)]

    def encoded(self, number: int) -> tuple[bytes, int]:
        return self._encoded[number % len(self._encoded)]


class _Computed(abc.ABC):
    """Packets computed on each request."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self.format = audio_format

    @abc.abstractmethod
    def packet(self, number: int) -> bytes: ...

    def encoded(self, number: int) -> tuple[bytes, int]:
        packet = self.packet(number)
        return pybase64.b64encode(packet), len(packet)


class Marked(_Computed):
    """L16 packets whose samples hold participant and number."""

    def __init__(self, audio_format: AudioFormat, user_id: int) -> None:
        super().__init__(audio_format)
        self._user_id = user_id
        self._size_bytes = packet_bytes(audio_format)

    def packet(self, number: int) -> bytes:
        return marked_packet(self._user_id, number, self._size_bytes)


class MarkedOpus(_Computed):
    """Opus packets of a loop, which hold participant and number in their padding."""

    def __init__(self, loop: Loop, user_id: int) -> None:
        super().__init__(loop.format)
        self._loop = loop
        self._user_id = user_id

    def packet(self, number: int) -> bytes:
        return marked_opus(self._loop.packet(number), self._user_id, number)


class Mix(_Computed):
    """The sum of several L16 sources; cheap enough for the few sessions that ask for mixed audio."""

    def __init__(self, audio_format: AudioFormat, sources: Sequence[AudioSource]) -> None:
        super().__init__(audio_format)
        self._sources = sources

    def packet(self, number: int) -> bytes:
        return _sum([array("h", source.packet(number)) for source in self._sources]).tobytes()


def _sum(signals: Sequence["array[int]"]) -> "array[int]":
    """Return the sum of signals of one length, clipped."""
    return array("h", (max(-32768, min(32767, sum(at))) for at in zip(*signals, strict=True)))


def packet_bytes(audio_format: AudioFormat) -> int:
    """Return the size of an L16 packet of this format."""
    return audio_format.rate_hz * audio_format.channels * 2 * audio_format.send_rate_ms // 1000


def source_for(
    person: Person, user_id: int, voice: int, audio_format: AudioFormat, tone: Tone, *, phase_ms: int = 0
) -> AudioSource:
    """Return the packets of one participant. Participants with the same voice share a source.

    Args:
        phase_ms: where in the speech packet 0 begins, so that it goes on where packets of another length ended.
    """
    if tone is Tone.MARKED and audio_format.codec == PayloadType.L16:
        return Marked(audio_format, user_id)
    if person.wav is not None:
        loop = _wav_loop(person.wav, audio_format, voice, phase_ms)
    else:
        loop = _voice_loop(voice % VOICES, audio_format, phase_ms % LOOP_MS)
    # G.711 and G.722 would not keep a mark.
    return MarkedOpus(loop, user_id) if tone is Tone.MARKED and audio_format.codec == PayloadType.OPUS else loop


def mix_for(sources: Sequence[AudioSource], audio_format: AudioFormat, tone: Tone) -> AudioSource:
    """Return the packets of `user_id` 0, the mix of `sources`. Of other codecs than L16 it is a loop, too."""
    if tone is Tone.MARKED and audio_format.codec in (PayloadType.L16, PayloadType.OPUS):
        return _marked_mix(audio_format)
    if len(sources) == 1:
        return sources[0]
    if audio_format.codec == PayloadType.L16:
        return Mix(audio_format, sources)
    signals = [source.mono for source in sources if isinstance(source, Loop)]
    samples = max(map(len, signals))
    return _loop(audio_format, _sum([(mono * -(-samples // len(mono)))[:samples] for mono in signals]), 0, 0)


@functools.cache
def _marked_mix(audio_format: AudioFormat) -> AudioSource:
    is_opus = audio_format.codec == PayloadType.OPUS
    return MarkedOpus(_voice_loop(0, audio_format, 0), 0) if is_opus else Marked(audio_format, 0)


@functools.lru_cache(maxsize=64)
def _voice_loop(voice: int, audio_format: AudioFormat, phase_ms: int) -> Loop:
    duration_ms = G722_LOOP_MS if audio_format.codec == PayloadType.G722 else LOOP_MS
    return _loop(audio_format, speech(voice, audio_format.rate_hz, duration_ms), voice, phase_ms)


@functools.lru_cache(maxsize=16)
def _wav_loop(path: Path, audio_format: AudioFormat, voice: int, phase_ms: int) -> Loop:
    return _loop(audio_format, read_wav(path, audio_format.rate_hz), voice, phase_ms)


def _loop(audio_format: AudioFormat, mono: "array[int]", voice: int, phase_ms: int) -> Loop:
    """Cut a mono signal, padded with silence to whole packets, into those from `phase_ms` on, all around."""
    samples = audio_format.rate_hz * audio_format.send_rate_ms // 1000
    mono = mono + array("h", bytes(2 * (-len(mono) % samples)))
    first = audio_format.rate_hz * phase_ms // 1000 % len(mono)
    mono = mono[first:] + mono[:first]
    if audio_format.codec == PayloadType.OPUS:
        return Loop(audio_format, mono, opus_packets(mono, audio_format.channels, voice))
    if audio_format.codec == PayloadType.G711:
        encoded, size = encode_alaw(mono), samples
    elif audio_format.codec == PayloadType.G722:
        encoded, size = encode_g722(mono), samples // 2
    elif audio_format.channels == 2:
        encoded, size = array("h", (s for sample in mono for s in (sample, sample))).tobytes(), samples * 4
    else:
        encoded, size = mono.tobytes(), samples * 2
    return Loop(audio_format, mono, [encoded[at : at + size] for at in range(0, len(encoded), size)])


def read_wav(path: Path, rate_hz: int) -> "array[int]":
    """Return a 16-bit PCM WAV as mono at `rate_hz`, resampled by the nearest sample.

    Raises:
        ValueError: not 16-bit PCM, or empty. OSError, wave.Error: not readable.
    """
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2 or file.getnframes() == 0:
            raise ValueError(f"{path.name}: not a 16-bit PCM WAV with samples in it")
        channels, source_hz = file.getnchannels(), file.getframerate()
        first = array("h", file.readframes(file.getnframes()))[::channels]
    count = len(first) * rate_hz // source_hz
    return array("h", (first[at * source_hz // rate_hz] for at in range(count)))
