"""Recordings with pictures, whose number is in 16 blocks, black or white; and what is read back from a film."""

import io
import json
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from PIL import Image

from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.images.codecs import codec_of_file
from rtmsd.recording.media.images.segments import SegmentBudget, Segments, with_segments
from tests.export.recordings import Made

BLOCKS = 16
SIZE = (320, 180)


class Sent(NamedTuple):
    """A message as Zoom would send it."""

    offset_ms: int
    data: bytes
    connection: int = 1


def marked(number: int, size: tuple[int, int] = SIZE) -> Any:
    """Return a grey picture with a number, as an array of height times width."""
    width, height = size
    picture = np.full((height, width), 128, np.uint8)
    for bit in range(BLOCKS):
        first = bit * width // BLOCKS
        picture[: height // 4, first : (bit + 1) * width // BLOCKS] = 255 if number >> bit & 1 else 0
    return picture


def number_of(picture: Any) -> int:
    """Return the number in a picture, as it was decoded to grey."""
    height, width = picture.shape
    row = picture[height // 8]
    return sum(int(row[(2 * bit + 1) * width // (2 * BLOCKS)] > 128) << bit for bit in range(BLOCKS))


def h264(numbers: Iterable[int], size: tuple[int, int] = SIZE, every: int = 10, params: str = "") -> list[bytes]:
    """Return access units, the first and each of `every` with parameter sets and a key frame."""
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = *size, "yuv420p"
    codec.time_base = Fraction(1, 25)
    codec.options = {"tune": "zerolatency", "preset": "ultrafast", "g": str(every), "x264-params": params}
    units = []
    for at, number in enumerate(numbers):
        frame = av.VideoFrame.from_ndarray(marked(number, size), format="gray").reformat(format="yuv420p")
        frame.pts = at
        units += [bytes(packet) for packet in codec.encode(frame)]
    return units


def still(form: str, number: int, size: tuple[int, int] = SIZE) -> bytes:
    file = io.BytesIO()
    Image.fromarray(marked(number, size)).save(file, form)
    return file.getvalue()


def add_pictures(made: Made, name: str, messages: Sequence[Sent], *, has_segments: bool = True) -> Path:
    """Add a file such as "video/5.h264" to a recording."""
    path = made.directory / name
    path.parent.mkdir(exist_ok=True)
    codec, segments = codec_of_file(name), Segments(SegmentBudget())
    lines = []
    offset = 0
    for message in messages:
        head, time_ms = codec.read(message.data), made.started_ms + message.offset_ms
        line = {"offset": offset, "length": len(message.data), "timestamp_ms": time_ms}
        if has_segments:
            line |= {"key": head is not None and head.is_key, "connection": message.connection}
        lines.append(line)
        segments.note(time_ms, offset, message.connection, None if head is None else head.size)
        offset += len(message.data)
    path.write_bytes(b"".join(message.data for message in messages))
    path.with_name(f"{path.name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    media, _, stem = name.rpartition(".")[0].partition("/")
    entry = FileEntry(
        name,
        media,
        int(stem.partition("-")[0]) if stem[0].isdecimal() else stem,
        made.started_ms + messages[0].offset_ms,
        max(0, messages[-1].offset_ms - messages[0].offset_ms),
        offset,
        index=f"{name}.jsonl",
    )
    made.files.append(with_segments(entry, codec.name, segments.listed) if has_segments else entry)
    assert participant_name(entry.user_id or 0) == stem.partition("-")[0]
    return path


class Seen(NamedTuple):
    """A film as PyAV shows it; times in milliseconds."""

    codec: str
    size: tuple[int, int]
    times_ms: list[int]
    numbers: list[int]
    metadata: dict[str, str]


def see(path: Path) -> Seen:
    with av.open(str(path)) as film:
        [stream] = film.streams.video
        assert stream.time_base is not None
        frames = list(film.decode(stream))
        return Seen(
            codec=stream.codec_context.name,
            size=(stream.codec_context.width, stream.codec_context.height),
            times_ms=[round(frame.pts * stream.time_base * 1000) for frame in frames if frame.pts is not None],
            numbers=[number_of(frame.to_ndarray(format="gray")) for frame in frames],
            metadata=dict(film.metadata),
        )
