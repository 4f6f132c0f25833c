"""The blocks of sound that a plan's tracks make together."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import attrs

from rtmsd.export.audio.adding import adder
from rtmsd.export.audio.plan import Plan, Track
from rtmsd.export.audio.reading import Reader
from rtmsd.export.report import Report
from rtmsd.export.source import Source
from rtmsd.recording.media.wav.header import SAMPLE_BYTES

BLOCK: Final = 65_536
"""Samples of each channel, at most, in a block."""


@attrs.frozen(kw_only=True)
class Sound:
    """Sound to be written.

    Attributes:
        length: samples of each channel.
        start_ms: time of the first one.
        title: for people.
        blocks: how many samples of each channel, and these as little-endian L16, interleaved; None: silence. In order,
            and once.
    """

    rate_hz: int
    channels: int
    length: int
    start_ms: int
    title: str
    blocks: Iterator[tuple[int, bytes | None]]


def sound(
    source: Source,
    plan: Plan,
    tracks: Sequence[Track],
    report: Report,
    *,
    title: str,
    progress: Callable[[float], None],
) -> Sound:
    """Return the sound of some of the plan's tracks, all of them or one.

    Args:
        report: counts clipped samples.
        progress: takes the part that is done.
    """
    channels = max((track.channels for track in tracks), default=1)
    tracks = [attrs.evolve(track, channels=channels) for track in tracks]
    return Sound(
        rate_hz=plan.rate_hz,
        channels=channels,
        length=plan.length,
        start_ms=plan.from_ms,
        title=title,
        blocks=_blocks(source, plan, tracks, report, progress),
    )


def _blocks(
    source: Source, plan: Plan, tracks: Sequence[Track], report: Report, progress: Callable[[float], None]
) -> Iterator[tuple[int, bytes | None]]:
    add = adder()
    size = SAMPLE_BYTES * max((track.channels for track in tracks), default=1)
    waiting = sorted(
        ((part, track) for track in tracks for part in track.parts), key=lambda pair: pair[0].first, reverse=True
    )
    silence = bytes(BLOCK * size)
    heard: list[tuple[int, int, Reader]] = []
    with ExitStack() as stack:
        for first in range(0, plan.length, BLOCK):
            progress(first / plan.length)
            stop = min(first + BLOCK, plan.length)
            while waiting and waiting[-1][0].first < stop:
                part, track = waiting.pop()
                reader = Reader(source, plan, track, part)
                stack.callback(reader.close)
                heard.append((part.first, part.stop, reader))
            voices = []
            for begin, end, reader in heard:
                block = reader.read(max(first, begin), min(stop, end))
                if block != silence[: len(block)]:
                    before, behind = max(0, begin - first) * size, max(0, stop - end) * size
                    voices.append(bytes(before) + block + bytes(behind) if before or behind else block)
                if end <= stop:
                    reader.close()
            heard = [each for each in heard if each[1] > stop]
            if len(voices) > 1:
                total, clipped = add(voices)
                report.clipped += clipped
                yield stop - first, total
            else:
                yield stop - first, voices[0] if voices else None
    progress(1.0)
