"""Decoders of Zoom's audio to what is stored: L16, and Opus as it is."""

import importlib
from collections.abc import Callable
from typing import Final, TypeAlias

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.rtp import MaybeRtpReader, RtpReader, RtpSequence

Decoder: TypeAlias = Callable[[bytes], bytes]
"""From the packets of one participant, in order, to signed 16-bit little-endian samples."""

PayloadReader: TypeAlias = Callable[[bytes], bytes | None]
"""From the packets of one participant, in order, to what a `Decoder` takes; None for what is no packet."""


def decoder(audio: AudioFormat) -> Callable[[], Decoder]:
    """Return what makes a decoder for one participant.

    Raises:
        ValueError: what cannot be stored (G.722 that is not its 16 kHz mono); the configuration does not let it be
            asked for.
    """
    match audio.codec:
        case PayloadType.G722 if (audio.rate_hz, audio.channels) != (16_000, 1):
            raise ValueError(f"G722 with {audio.rate_hz} Hz and {audio.channels} channels")
        case PayloadType.L16 | PayloadType.OPUS:
            return _unchanged
        case PayloadType.G711:
            return lambda: decode_alaw
        case PayloadType.G722:
            return G722Decoder
        case _:
            raise ValueError(f"{audio.codec.name} cannot be stored")


def _unchanged() -> Decoder:
    return bytes


def rtp_reader(audio: AudioFormat, sequence: RtpSequence, note_lost: Callable[[int], None]) -> PayloadReader:
    """Return a reader for one participant whose packets are said to be RTP.

    Args:
        sequence, note_lost: see `RtpReader`.
    """
    samples_per_ms = audio.rate_hz // 1000 * audio.channels
    # G.711 has a byte for each sample; of G.722 one byte stands for two; packets of Opus have any size.
    sizes = {PayloadType.L16: 40 * samples_per_ms, PayloadType.G711: 20 * samples_per_ms, PayloadType.OPUS: 1}
    unit_bytes = sizes.get(audio.codec, 10 * samples_per_ms)
    if audio.codec is PayloadType.L16:
        return MaybeRtpReader(unit_bytes).payload
    return RtpReader(audio.codec, unit_bytes, sequence, note_lost).payload


def _alaw_sample(code: int) -> int:
    """Expand one A-law octet (ITU-T G.711) to 16 bits."""
    code ^= 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 15) << 4
    magnitude = mantissa + 8 if exponent == 0 else (mantissa + 0x108) << (exponent - 1)
    return magnitude if code & 0x80 else -magnitude


_SAMPLES: Final = [_alaw_sample(code).to_bytes(2, "little", signed=True) for code in range(256)]
_LOW: Final = bytes(sample[0] for sample in _SAMPLES)
_HIGH: Final = bytes(sample[1] for sample in _SAMPLES)


def decode_alaw(data: bytes) -> bytes:
    """Decode G.711 A-law: one table for the low bytes, one for the high ones."""
    samples = bytearray(2 * len(data))
    samples[0::2] = data.translate(_LOW)
    samples[1::2] = data.translate(_HIGH)
    return bytes(samples)


class G722Decoder:
    """Decodes 64 kbit/s G.722 to 16 kHz. The codec remembers, so each participant has its own."""

    def __init__(self) -> None:
        # Loaded on demand: an extension module without type information that few configurations need.
        self._decode: Callable[[bytes], memoryview] = importlib.import_module("G722").G722(16_000, 64_000).decode

    def __call__(self, data: bytes) -> bytes:
        return bytes(memoryview(self._decode(data)).cast("B"))
