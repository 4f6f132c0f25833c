"""Segments of a file of pictures, read: those pictures of each that can be decoded."""

from collections.abc import Iterable, Iterator
from itertools import chain, groupby

import attrs

from rtmsd.export.film.access_units import join_pictures
from rtmsd.export.film.pictures import Picture, PictureFile, read_pictures
from rtmsd.export.report import Report
from rtmsd.export.source import Source
from rtmsd.export.span import Span, write_offset
from rtmsd.recording.media.images.codecs import H264


@attrs.define
class Segment:
    """Pictures of one size from one connection, from a key frame on; where something is missing, from the next one on.

    Attributes:
        number: in the file, from 1 on.
        first: the key frame.
        pictures: all of them, to be read in order, and before the next segment.
        left_out: how many could not be decoded, of those read by now.
        where: for people.
    """

    number: int
    first: Picture
    pictures: Iterator[Picture]
    left_out: int
    where: str


def read_segments(source: Source, file: PictureFile, span: Span, report: Report) -> Iterator[Segment]:
    """Yield the segments of a file. One without a key frame becomes a problem of the source."""
    pictures = read_pictures(source, file, span, report)
    if file.codec is H264:
        pictures = join_pictures(pictures)
    needs_others = file.codec is H264
    for number, group in groupby(pictures, key=_Numbering()):
        whole = iter(group)
        begin = next(whole)
        first, left_out = _first_key(chain((begin,), whole))
        where = f"segment {number}, from {write_offset(begin.time_ms - source.started_ms)} on"
        if first is None:
            what = "key frame" if needs_others else "image"
            source.damaged(file.entry.path, f"{where}: no {what} in {left_out} pictures; not exported")
            continue
        segment = Segment(number, first, iter(()), left_out, where)
        segment.pictures = chain((first,), _decodable(segment, whole, needs_others=needs_others))
        yield segment


def _first_key(pictures: Iterable[Picture]) -> tuple[Picture | None, int]:
    """Return the first key frame, and how many pictures are before it."""
    before = 0
    for before, picture in enumerate(pictures):
        if picture.head.is_key:
            return picture, before
    return None, before + 1


def _decodable(segment: Segment, pictures: Iterable[Picture], *, needs_others: bool) -> Iterator[Picture]:
    has_key = True
    for picture in pictures:
        has_key = picture.head.is_key or (needs_others and has_key and picture.is_continued)
        if has_key:
            yield picture
        else:
            segment.left_out += 1


class _Numbering:
    """The number of a picture's segment: another one after each reconnection and change of size."""

    def __init__(self) -> None:
        self._number = 0
        self._connection: int | None = None
        self._size: tuple[int, int] | None = None

    def __call__(self, picture: Picture) -> int:
        size = picture.head.size
        if picture.connection != self._connection:
            self._number += 1
            self._connection, self._size = picture.connection, size
        elif size is not None and size != self._size:
            self._number += self._size is not None
            self._size = size
        return self._number
