"""Opus packets of 20 ms at 48 kHz: speech encoded by PyAV's libopus, or the package's clips of it without PyAV.

A packet has one frame, as Zoom's have. A marked one holds participant and number in its padding (RFC 6716, 3.2.5),
which decoders skip: it sounds as without.
"""

from array import array
from collections.abc import Sequence
from typing import Final

from rtmsd.simulator.media.clips import read_clip
from rtmsd.simulator.media.marks import LABEL_BYTES, label, read_label

RATE_HZ: Final = 48000
SAMPLES: Final = 960  # of each channel, a packet
CLIP_VOICES: Final = 2
_BIT_RATE: Final = 24000
_ONE_PADDED_FRAME: Final = 0x41  # the frame count byte of code 3: padding, one frame
_CODE: Final = 0x03  # of the first byte: how many frames there are, and how they are packed


def opus_packets(mono: "array[int]", channels: int, voice: int) -> Sequence[bytes]:
    """Return a mono signal at 48 kHz as Opus, its end padded with silence; in stereo the right channel is half as loud.

    Args:
        voice: of the clip that is taken instead if PyAV is not installed.
    """
    encoded = encode(mono, channels)
    return read_clip(f"opus-{channels}-{voice % CLIP_VOICES}") if encoded is None else encoded


def encode(mono: "array[int]", channels: int, bit_rate: int = _BIT_RATE) -> Sequence[bytes] | None:
    """Return the packets; None without PyAV, or where it was built without libopus. Six seconds take about 60 ms."""
    try:
        import av  # noqa: PLC0415 - an extra, and slow to import

        encoder = av.AudioCodecContext.create("libopus", "w")
    except (ImportError, ValueError):
        return None
    mono = mono + array("h", bytes(2 * (-len(mono) % SAMPLES)))
    layout = "stereo" if channels == 2 else "mono"
    encoder.sample_rate, encoder.layout, encoder.format, encoder.bit_rate = RATE_HZ, layout, "s16", bit_rate
    encoder.options = {"application": "voip", "frame_duration": "20"}
    packets: list[bytes] = []
    for at in range(0, len(mono), SAMPLES):
        samples = mono[at : at + SAMPLES]
        if channels == 2:
            samples = array("h", (s for sample in samples for s in (sample, sample // 2)))
        frame = av.AudioFrame(format="s16", layout=layout, samples=SAMPLES)
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate, frame.pts = RATE_HZ, at
        packets += map(bytes, encoder.encode(frame))
    packets += map(bytes, encoder.encode(None))
    return packets[: len(mono) // SAMPLES]  # behind them comes what the encoder's look-ahead adds


def marked_opus(packet: bytes, user_id: int, number: int) -> bytes:
    """Return a packet of one frame with a label in its padding.

    Raises:
        ValueError: it has another number of frames.
    """
    if packet[0] & _CODE:
        raise ValueError("not an Opus packet of one frame")
    head = bytes((packet[0] | _CODE, _ONE_PADDED_FRAME, LABEL_BYTES))
    return head + packet[1:] + label(user_id, number)


def opus_mark(packet: bytes) -> tuple[int, int] | None:
    """Return the user id and number in a marked packet; None for one that is not marked."""
    return read_label(packet[-LABEL_BYTES:])
