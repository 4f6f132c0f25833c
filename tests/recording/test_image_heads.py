"""Heads of pictures: sizes and key frames as other programs wrote them, and any bytes without an error."""

import io
import time
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rtmsd.recording.media.images.codecs import H264, JPG, PNG, PictureCodec
from rtmsd.recording.media.images.h264 import sps_size
from rtmsd.recording.media.images.head import Head

CODECS = (H264, JPG, PNG)
SIZES = [(1, 1), (8, 8), (639, 481), (1920, 1080)]


def still(name: str, size: tuple[int, int], **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, name, **options)
    return file.getvalue()


def encoded(
    size: tuple[int, int], pixels: str = "yuv420p", frames: int = 3, options: dict[str, str] | None = None
) -> list[bytes]:
    """Return access units of x264, whose parameter sets have been written by somebody else."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = *size, pixels
    codec.time_base = Fraction(1, 25)
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", **(options or {})}
    blank = av.VideoFrame(*size, pixels)
    for plane in blank.planes:
        plane.update(bytes(plane.buffer_size))
    units = []
    for number in range(frames):
        blank.pts = number
        units += [bytes(packet) for packet in codec.encode(blank)]
    return units


UNIT = encoded((640, 360), frames=1)[0]


@pytest.mark.parametrize("size", SIZES)
def test_images_say_their_size(size: tuple[int, int]) -> None:
    assert PNG.read(still("PNG", size)) == Head(is_key=True, size=size)
    for options in ({}, {"progressive": True}, {"icc_profile": bytes(100_000)}, {"exif": b"Exif\0\0" + bytes(60_000)}):
        assert JPG.read(still("JPEG", size, **options)) == Head(is_key=True, size=size)
    assert JPG.read(still("PNG", size)) is None
    assert PNG.read(still("JPEG", size)) is None


@pytest.mark.parametrize(
    ("size", "pixels", "profile"),
    [
        ((16, 16), "yuv420p", {"profile": "baseline"}),
        ((640, 360), "yuv420p", {"profile": "baseline"}),  # cropped: 360 is no multiple of 16
        ((1920, 1080), "yuv420p", {"profile": "high"}),
        ((638, 362), "yuv420p", {"profile": "main"}),
        ((1280, 720), "yuv420p", {"profile": "high", "x264-params": "cqm=jvt"}),  # with scaling matrices
        ((640, 484), "yuv420p", {"profile": "high", "x264-params": "interlaced=1"}),
        ((642, 361), "yuv422p", {"profile": "high422"}),
        ((641, 361), "yuv444p", {"profile": "high444"}),
    ],
)
def test_parameter_sets_of_x264(size: tuple[int, int], pixels: str, profile: dict[str, str]) -> None:
    first, *others = encoded(size, pixels, options=profile)
    assert H264.read(first) == Head(is_key=True, size=size)
    assert [H264.read(unit) for unit in others] == [Head(is_key=False, size=None)] * 2


def test_parameter_sets_alone_are_no_key_frame() -> None:
    slice_at = UNIT.index(b"\0\0\x01\x65")
    assert H264.read(UNIT[:slice_at]) == Head(is_key=False, size=(640, 360))
    assert H264.read(UNIT[slice_at:]) == Head(is_key=True, size=None)


@pytest.mark.parametrize("before_bytes", [0, 1, 2, 3, 4, 5, 1000])
def test_a_message_may_begin_with_the_end_of_a_picture(before_bytes: int) -> None:
    assert H264.read(b"\x80" * before_bytes + UNIT) == Head(is_key=True, size=(640, 360))
    assert H264.read(b"\x80" * before_bytes) == Head(is_key=False, size=None)


def test_emulation_prevention_is_taken_out() -> None:
    """With constraints and level of zero there are two zero bytes, and what is below 4 behind them is escaped."""
    start = UNIT.index(b"\0\0\x01\x67") + 3
    sps = UNIT[start : UNIT.index(b"\0\0\x01", start)].rstrip(b"\0")
    assert sps_size(sps) == (640, 360)
    assert sps_size(sps[:2] + b"\0\0\x03" + sps[4:]) == (640, 360)


@given(st.sampled_from(CODECS), st.binary(max_size=400))
def test_any_bytes(codec: PictureCodec, data: bytes) -> None:
    starts = {"H264": b"\0\0\0\x01\x67", "JPG": b"\xff\xd8\xff", "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"}
    for message in (data, starts[str(codec.name)] + data):
        head = codec.read(message)
        assert head is None or head.size is None or min(head.size) > 0
        assert codec.read(message[: codec.reach_bytes]) == head


@given(st.integers(0, 2000), st.integers(0, 255))
def test_any_byte_of_a_real_parameter_set_may_be_another(at: int, value: int) -> None:
    data = bytearray(UNIT)
    data[at % len(UNIT)] = value
    head = H264.read(bytes(data))
    assert head is not None
    assert head.size is None or max(head.size) < 65536


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_sizes_up_to_what_a_format_can_say(width: int, height: int) -> None:
    png = still("PNG", (1, 1))
    large = png[:16] + width.to_bytes(4) + height.to_bytes(4) + png[24:]
    assert PNG.read(large) == (Head(is_key=True, size=(width, height)) if width and height else None)
    jpeg = still("JPEG", (1, 1))
    at = jpeg.index(b"\xff\xc0") + 5
    wide = jpeg[:at] + (height % 65536).to_bytes(2) + (width % 65536).to_bytes(2) + jpeg[at + 4 :]
    expected = Head(is_key=True, size=(width % 65536, height % 65536))
    assert JPG.read(wide) == (expected if width % 65536 and height % 65536 else None)


@pytest.mark.parametrize(
    "message",
    [
        bytes(2**27),
        b"\xff" * 2**27,
        b"\xff\xd8" + b"\xff" * 2**27,
        b"\xff\xd8" + b"\xff\xe0\0\0" * 2**20,
        b"\0\0\x01\x67" * 2**20,
        b"\0\0\x01\x67" + b"\xff" * 2**27,
        b"\0\0\x01\x06" + b"\x80" * 2**27,
    ],
    ids=["zeros", "ones", "fill bytes", "empty segments", "parameter sets", "one parameter set", "no slice"],
)
def test_of_a_hundred_megabytes_only_the_beginning_is_looked_at(message: bytes) -> None:
    started_s = time.process_time()
    for codec in CODECS:
        for _ in range(10):
            codec.read(message)
    assert time.process_time() - started_s < 0.25
