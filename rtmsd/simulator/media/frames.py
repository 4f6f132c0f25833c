"""Frames that show their number: real H.264, JPEG and PNG, made by PyAV, or small clips of the package without it.

A frame is cut into 16 blocks of the same size, 4 rows of 4, which are the bits of its number from the most significant
(top left) to the least (bottom right): white is 1, black is 0. `read_counter` reads it from a decoded frame.

The number is not that of the whole stream: frames are encoded once, 64 in a loop, and the numbers run from 0 to 63 and
from 0 again. A film begins at 0 after each change of person and connection, and each pause, with a key frame; every
16th is one, with its SPS and PPS. So a decoder that begins at a key frame finds what the record says was sent
(`SentItem.counter`). H.264 is an Annex B stream, an access unit a frame, without B-frames.
"""

import functools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, NamedTuple

import pybase64

from rtmsd.protocol.enums import PayloadType, Resolution
from rtmsd.simulator.media.clips import read_clip

LOOP_FRAMES: Final = 64
KEY_EVERY: Final = 16
_GRID: Final = 4  # blocks in a row, and rows
_BITS: Final = _GRID * _GRID
_SIZES: Final = {
    Resolution.SD: (640, 360),
    Resolution.HD: (1280, 720),
    Resolution.FHD: (1920, 1080),
    Resolution.QHD: (2560, 1440),
}
_X264: Final = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "x264-params": f"threads=1:scenecut=0:keyint={KEY_EVERY}:min-keyint={KEY_EVERY}",
}
_ENCODERS: Final = {
    PayloadType.H264: ("libx264", "yuv420p", _X264),
    PayloadType.JPG: ("mjpeg", "yuvj420p", {"threads": "1"}),
    PayloadType.PNG: ("png", "rgb24", {"threads": "1"}),
}


class Frame(NamedTuple):
    """An encoded frame, and the number that it shows."""

    counter: int
    data: bytes
    base64: str


class FrameLoop:
    """The frames of one codec, size and rate; each is encoded when it is first asked for, in up to 15 ms."""

    def __init__(self, encoded: Iterator[bytes], length: int) -> None:
        self._encoded = encoded
        self._length = length
        self._frames: list[Frame] = []

    def frame(self, number: int) -> Frame:
        """Return frame `number` of a film."""
        counter = number % self._length
        while len(self._frames) <= counter:
            data = next(self._encoded)
            self._frames.append(Frame(len(self._frames), data, pybase64.b64encode(data).decode()))
        return self._frames[counter]


@functools.lru_cache(maxsize=16)
def frame_loop(codec: PayloadType, resolution: Resolution, fps: int) -> FrameLoop:
    """Return the loop of negotiated parameters, in the full size of the resolution (SD: 640x360); clips have 96x64."""
    try:
        return FrameLoop(encode_frames(codec, *_SIZES[resolution], fps), LOOP_FRAMES)
    except (ImportError, ValueError):
        clip = read_clip(codec.name.lower())
        return FrameLoop(iter(clip), len(clip))


def encode_frames(codec: PayloadType, width: int, height: int, fps: int) -> Iterator[bytes]:
    """Return an iterator over the encoded frames of a loop.

    Raises:
        ImportError: PyAV is not installed. ValueError: it was built without this encoder.
    """
    import av  # noqa: PLC0415 - an extra, and slow to import

    name, pixels, options = _ENCODERS[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, pixels
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps)
    encoder.options = options
    return _encode(av, encoder)


def _encode(av: Any, encoder: Any) -> Iterator[bytes]:
    for number in range(LOOP_FRAMES):
        drawn = av.VideoFrame(encoder.width, encoder.height, "gray")
        plane = drawn.planes[0]
        plane.update(draw(number, encoder.width, encoder.height, plane.line_size))
        frame = drawn.reformat(format=encoder.pix_fmt)
        frame.pts = number
        [packet] = encoder.encode(frame)  # none of the three encoders holds a frame back
        yield bytes(packet)


def draw(counter: int, width: int, height: int, line_bytes: int) -> bytes:
    """Return the grey values of a frame, row by row, each padded to `line_bytes`."""
    rows = []
    for row in range(_GRID):
        bits = (counter >> (_BITS - 1 - _GRID * row - column) & 1 for column in range(_GRID))
        edges = [width * column // _GRID for column in range(_GRID + 1)]
        line = b"".join(
            (b"\xff" if bit else b"\0") * (edges[column + 1] - edges[column]) for column, bit in enumerate(bits)
        )
        rows.append(line.ljust(line_bytes, b"\0") * (height * (row + 1) // _GRID - height * row // _GRID))
    return b"".join(rows)


def read_counter(grey: Sequence[int], width: int, height: int) -> int:
    """Return the number that a decoded frame shows, by the middles of its blocks.

    Args:
        grey: the brightness of each pixel from 0 to 255, row by row without padding: of Pillow
            `image.convert("L").tobytes()`, of PyAV `frame.to_ndarray(format="gray").tobytes()`.

    Raises:
        ValueError: a block is neither black nor white, or the size is another one.
    """
    if len(grey) != width * height:
        raise ValueError(f"{len(grey)} pixels are not {width} x {height}")
    counter = 0
    for block in range(_BITS):
        row, column = divmod(block, _GRID)
        middle = grey[height * (2 * row + 1) // (2 * _GRID) * width + width * (2 * column + 1) // (2 * _GRID)]
        if 64 <= middle < 192:
            raise ValueError(f"block {block} is neither black nor white: {middle}")
        counter = counter << 1 | (middle >= 192)
    return counter
