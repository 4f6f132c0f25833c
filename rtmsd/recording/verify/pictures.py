"""Verification of a file of pictures against its index, and of its segments in the manifest against both."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from rtmsd.recording.manifest.lines import Line, read_line
from rtmsd.recording.media.images.codecs import PictureCodec, codec_of_file
from rtmsd.recording.verify.times import Problem

_Picture: TypeAlias = dict[str, Any]  # a line of the index
_Segment: TypeAlias = dict[str, Any]


def check_pictures(
    directory: Path, entry: dict[str, Any], *, has_ended: bool, has_all_segments: bool
) -> Iterator[Problem]:
    """Yield what is wrong: the first problem of the index, and the first of the segments.

    Args:
        has_all_segments: whether there was room for all of them in the manifest.
    """
    index = directory / entry["index"]
    if not index.is_file():
        yield Problem(entry["index"], "missing", "listed in the manifest and not there")
        return
    try:
        pictures = _read_index(index)
    except ValueError as exc:
        yield Problem(entry["index"], "index", str(exc))
        return
    end = pictures[-1]["offset"] + pictures[-1]["length"] if pictures else 0
    if end != (directory / entry["path"]).stat().st_size:
        yield Problem(entry["index"], "index", f"ends at {end}, the file does not")
        return
    times_ms = [picture["timestamp_ms"] for picture in pictures]
    listed_ms = (entry["start_ms"], entry["duration_ms"])
    if has_ended and times_ms and listed_ms != (times_ms[0], max(0, times_ms[-1] - times_ms[0])):
        yield Problem(
            entry["path"], "length", f"{listed_ms[1]} ms from {listed_ms[0]} in the manifest, not in the index"
        )
    try:
        check_segments(directory / entry["path"], entry, pictures, has_all=has_all_segments)
    except ValueError as exc:
        yield Problem(entry["path"], "segments", str(exc))


def _read_index(path: Path) -> list[_Picture]:
    """Return the lines of an index, which list the bytes of the file without a hole; else ValueError."""
    end = 0
    pictures = []
    with path.open("rb") as file:
        for line in file:
            try:
                picture = read_line(line, Line.PICTURE)
            except ValueError as exc:
                raise ValueError(f"broken at offset {end}: {exc}") from None
            if not line.endswith(b"\n"):
                raise ValueError(f"last line is not whole, at offset {end}")
            if picture["offset"] != end:
                raise ValueError(f"broken at offset {end}")
            end += picture["length"]
            pictures.append(picture)
    return pictures


def check_segments(
    path: Path, entry: dict[str, Any], pictures: Iterable[_Picture], *, has_all: bool, looks: bool = True
) -> None:
    """Check that each segment begins with a picture, and that the pictures in it are like it.

    A stretch of pictures whose lines are gone may hold the beginnings of segments.

    Args:
        entry: of the manifest; that of an earlier recording has no segments.
        pictures: the lines of the index, which may be longer than the manifest knows.
        has_all: whether there was room for all of them in the manifest.
        looks: whether to look into the pictures for their sizes.

    Raises:
        ValueError: naming the first that does not agree.
    """
    if "segments" not in entry:
        return
    codec, segments = codec_of_file(path.name), entry["segments"]
    if entry.get("codec") != codec.name:
        raise ValueError(f"codec {entry.get('codec')!r}, by its name it is {codec.name}")
    sizes = [(each["width"], each["height"]) for each in segments if each["width"] is not None]
    if (entry.get("width"), entry.get("height")) != (sizes[-1] if sizes else (None, None)):
        raise ValueError(f"{entry.get('width')}x{entry.get('height')}, not as the newest segment that has a size")
    offsets = [each["offset"] for each in segments]
    if offsets != sorted(set(offsets)):
        raise ValueError("are not in order")
    if offsets and offsets[-1] >= entry["bytes"]:
        raise ValueError(f"one begins at {offsets[-1]}, behind the end")
    coming = iter([*segments, None])
    segment, following = None, next(coming)
    with path.open("rb") as file:
        for picture in pictures:
            if picture["offset"] >= entry["bytes"]:
                break
            # Unlike a stretch whose lines are gone, and earlier recordings, which may also have pictures of nothing.
            is_known = "connection" in picture and picture["length"] > 0
            while following is not None and following["offset"] < picture["offset"] + picture["length"]:
                segment, following = following, next(coming)
                if is_known and segment["offset"] != picture["offset"]:
                    raise ValueError(f"one begins at {segment['offset']}, within a picture")
                if is_known and segment["from_ms"] != picture["timestamp_ms"]:
                    raise ValueError(f"the one at {segment['offset']} does not begin at the time of its picture")
            if is_known:
                _check_picture(file if looks else None, codec, picture, segment, has_all=has_all)


def _check_picture(
    file: BinaryIO | None, codec: PictureCodec, picture: _Picture, segment: _Segment | None, *, has_all: bool
) -> None:
    at = picture["offset"]
    if segment is None:
        raise ValueError(f"the picture at {at} is in none")
    if not has_all and at != segment["offset"]:
        return
    if picture["connection"] != segment["connection"]:
        raise ValueError(f"the picture at {at} came on another connection than its segment")
    if file is not None:
        file.seek(at)
        head = codec.read(file.read(min(picture["length"], codec.reach_bytes)))
        if head is not None and head.size not in {None, (segment["width"], segment["height"])}:
            raise ValueError(f"the picture at {at} has another size than its segment")
