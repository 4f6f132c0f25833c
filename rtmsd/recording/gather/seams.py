"""The seams between pieces of different clips. Two parts may store the same sound some way apart, as each follows the
jitter that it saw: so where one takes over from the other, it is the sound that shows where, and not its time.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import attrs

from rtmsd.recording.gather.clips import Clip
from rtmsd.recording.gather.pieces import Piece
from rtmsd.recording.media.wav.track import REACH_MS
from rtmsd.recording.timeline.gaps import CONTIGUOUS_MS

_SHORT_MS: Final = 2 * REACH_MS
"""What is left of a run beside another one, and no longer than this, may be nothing but the distance of the two."""


@attrs.define
class Cut:
    """What is copied of a clip.

    Attributes:
        start, stop: positions.
        is_seamless: it goes on with the sound that the cut before ends with, whatever its time.
    """

    clip: Clip
    start: int
    stop: int
    is_seamless: bool = False


def cut_at_seams(pieces: Sequence[Piece], clips: Sequence[Clip]) -> list[Cut]:
    """Return what is copied of the clips, in the order of time.

    Raises:
        OSError: a clip cannot be read.
    """
    kept = list(_without_leftovers(pieces, clips))
    cuts = [Cut(_clip(piece, clips), *_positions(piece, clips)) for piece in kept]
    for (one, two), (cut, following) in zip(pairwise(kept), pairwise(cuts), strict=True):
        if two.from_ms - one.to_ms <= REACH_MS and cut.clip is not following.clip:
            _fit(one, cut, two, following)
    return cuts


def _fit(one: Piece, cut: Cut, two: Piece, following: Cut) -> None:
    """Let one cut end where the next one begins: at the sound that both have or, where neither knows the other's, with
    all of a run that overlaps by no more than jitter.
    """
    clip = following.clip
    start = clip.after(cut.clip, cut.stop, two.from_ms) if two.run.from_ms < two.from_ms else None
    stop = cut.clip.before(clip, following.start, two.from_ms) if one.to_ms < one.run.to_ms else None
    if start is not None:
        following.start, following.is_seamless = start, True
    elif stop is not None:
        cut.stop, following.is_seamless = stop, True
    else:
        if 0 < one.run.to_ms - one.to_ms <= REACH_MS:
            cut.stop, following.is_seamless = cut.clip.position(one.run.to_ms), True
        if 0 < two.from_ms - two.run.from_ms <= REACH_MS:
            following.start, following.is_seamless = clip.position(two.run.from_ms), True
        if size := clip.overlap(following.start, cut.clip, cut.stop):
            following.start, following.is_seamless = following.start + size, True
        elif 0 < two.from_ms - one.to_ms <= CONTIGUOUS_MS:  # it begins with silence, which would be left out as jitter
            following.start = min(following.start, clip.position(one.to_ms))


def _without_leftovers(pieces: Sequence[Piece], clips: Sequence[Clip]) -> Iterator[Piece]:
    """Yield the pieces but for those short ends of a run that are in the piece beside, at another time."""
    for number, piece in enumerate(pieces):
        is_end = piece.run.from_ms < piece.from_ms or piece.to_ms < piece.run.to_ms
        beside = [pieces[each] for each in (number - 1, number + 1) if 0 <= each < len(pieces)]
        if not (is_end and piece.to_ms - piece.from_ms <= _SHORT_MS and _is_held(piece, beside, clips)):
            yield piece


def _is_held(piece: Piece, beside: Sequence[Piece], clips: Sequence[Clip]) -> bool:
    clip, (start, stop) = _clip(piece, clips), _positions(piece, clips)
    return any(
        _clip(each, clips).holds(clip, start, stop, piece.from_ms, _positions(each, clips))
        for each in beside
        if each.run.clip != piece.run.clip
    )


def _clip(piece: Piece, clips: Sequence[Clip]) -> Clip:
    return clips[piece.run.clip]


def _positions(piece: Piece, clips: Sequence[Clip]) -> tuple[int, int]:
    clip = _clip(piece, clips)
    return clip.position(piece.from_ms), clip.position(piece.to_ms)
