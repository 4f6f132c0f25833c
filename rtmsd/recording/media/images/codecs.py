"""The codecs of pictures: the name of each, the suffix of its files, and the reader of its messages."""

from collections.abc import Callable, Mapping
from typing import Final

import attrs

from rtmsd.protocol.enums import PayloadType
from rtmsd.recording.media.images.h264 import H264_REACH_BYTES, read_h264
from rtmsd.recording.media.images.head import NOT_KEY, Head
from rtmsd.recording.media.images.stills import JPEG_REACH_BYTES, PNG_REACH_BYTES, read_jpeg, read_png


@attrs.frozen(eq=False)
class PictureCodec:
    """Attributes:
    name: as the manifest has it; None for what has no name of ours and is stored as it comes.
    read: returns the head of a message, None where it is nothing of this codec.
    reach_bytes: so much of a message `read` looks at.
    """

    name: str | None
    suffix: str
    read: Callable[[bytes], Head | None]
    reach_bytes: int


H264: Final = PictureCodec("H264", "h264", read_h264, H264_REACH_BYTES)
JPG: Final = PictureCodec("JPG", "mjpeg", read_jpeg, JPEG_REACH_BYTES)
PNG: Final = PictureCodec("PNG", "pngs", read_png, PNG_REACH_BYTES)
_UNNAMED: Final = PictureCodec(None, "bin", lambda data: NOT_KEY, 0)

_BY_NUMBER: Final[Mapping[int, PictureCodec]] = {
    PayloadType.H264: H264,
    PayloadType.JPG: JPG,
    PayloadType.PNG: PNG,
}
_BY_SUFFIX: Final = {codec.suffix: codec for codec in _BY_NUMBER.values()} | {"png": PNG}
"""Earlier recordings call a file of PNG images `.png`, in which programs see the first image only."""


def codec_of(number: int | None) -> PictureCodec:
    """Return the codec that a handshake names, which is JPEG where it names none."""
    return _BY_NUMBER.get(PayloadType.JPG if number is None else number, _UNNAMED)


def codec_of_file(name: str) -> PictureCodec:
    """Return the codec of a file by its suffix."""
    return _BY_SUFFIX.get(name.rpartition(".")[2], _UNNAMED)
