"""The audio of all parts: which clips are of one participant and format, and make one file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs

from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.gather.clips import Clip
from rtmsd.recording.gather.joined_audio import join_clips
from rtmsd.recording.gather.pieces import Run
from rtmsd.recording.gather.sources import Source
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.wav.header import PcmFormat
from rtmsd.recording.timeline.intervals import IntervalSet

_Key: TypeAlias = tuple[int | str, PcmFormat]


@attrs.frozen
class JoinedAudio:
    """Attributes:
    heard: the times of which there is audio, by participant.
    adjustments: the amounts by which audio was fitted together, under the manifest's names.
    """

    files: list[FileEntry] = attrs.field(factory=list)
    heard: dict[int | str, IntervalSet] = attrs.field(factory=dict)
    adjustments: Counter[str] = attrs.field(factory=Counter)


def join_audio(sources: Sequence[Source], disk: Disk, maker: FileMaker, started_ms: int) -> JoinedAudio:
    """Write the joined files, one for each participant and format.

    Raises:
        OSError: something cannot be read or written.
    """
    joined = JoinedAudio()
    clips: dict[_Key, list[tuple[Source, Clip]]] = {}
    for source in sources:
        for clip in source.clips:
            clips.setdefault((clip.header.owner, clip.header.pcm), []).append((source, clip))
    for (owner, _), owned in clips.items():
        runs = [run for number, (source, clip) in enumerate(owned) for run in _runs(number, source, clip)]
        heard = joined.heard.setdefault(owner, IntervalSet())
        for run in runs:
            heard.add(run.from_ms, run.to_ms)
        entry, adjustments = join_clips(runs, [clip for _, clip in owned], disk, maker, started_ms)
        joined.files.append(entry)
        joined.adjustments.update(adjustments)
    return joined


def _runs(number: int, source: Source, clip: Clip) -> Iterator[Run]:
    for from_ms, to_ms in clip.runs():
        for epoch, start_ms, stop_ms in source.epochs(from_ms, int(to_ms)):
            yield Run(epoch, number, start_ms, stop_ms)
