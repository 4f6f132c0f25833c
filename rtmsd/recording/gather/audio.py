"""The audio of all parts, joined by the rule of the recorder: as if one daemon had received it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final, TypeAlias

import attrs

from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.flush import Job, write_jobs
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.gather.clips import Clip
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.gather.pieces import Run, choose
from rtmsd.recording.gather.seams import cut_at_seams
from rtmsd.recording.gather.sources import Source
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.ogg.file import OggFile
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.track import OpusTrack
from rtmsd.recording.media.wav.header import PcmFormat, WavHeader
from rtmsd.recording.media.wav.track import Placement, Track
from rtmsd.recording.timeline.intervals import IntervalSet

_FLUSH_BYTES: Final = 2**24
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


def join_clips(
    runs: Iterable[Run], clips: Sequence[Clip], disk: Disk, maker: FileMaker, started_ms: int
) -> tuple[FileEntry, Counter[str]]:
    """Write the joined file of one participant, in one format.

    Args:
        runs: of the clips, by their numbers.
        started_ms: start of the stream.

    Returns:
        Its entry in the manifest, and the amounts by which audio was fitted together, under the manifest's names.

    Raises:
        GatherError: it cannot be one file.
        OSError: something cannot be read or written.
    """
    start_ms = min(clip.header.start_ms for clip in clips)
    header = attrs.evolve(clips[0].header, start_ms=start_ms, stream_started_ms=started_ms)
    track = _new_track(maker, header)
    for cut in cut_at_seams(choose(runs), clips):
        if not cut.is_seamless:
            track.interrupted()
        for time_ms, data in cut.clip.packets(cut.start, cut.stop):
            if track.place(time_ms, data) is Placement.TOO_FAR:
                raise GatherError(f"{cut.clip.path}: goes on after more than 12 h of silence, which cannot be joined")
            if track.file.backlog.pending_bytes > _FLUSH_BYTES:
                _flush(track, disk, maker)
    _flush(track, disk, maker)
    return _entry(track, maker), Counter(track.adjustments())


def _new_track(maker: FileMaker, header: WavHeader | OggHeader) -> Track:
    owner, start_ms, pcm = header.owner, header.start_ms, header.pcm
    name = maker.free_name("audio", participant_name(owner), pcm.suffix)
    if isinstance(header, OggHeader):
        return OpusTrack(maker.add(name, partial(OggFile, header=header)), owner, start_ms, header.pcm)
    return Track(maker.existing(name, 0, header=header.encode), owner, start_ms, pcm)


def _flush(track: Track, disk: Disk, maker: FileMaker) -> None:
    track.settle(track.newest_ms)
    batch = track.file.take()
    (outcome,) = write_jobs(disk, [Job(maker.directory, (batch,), None)])
    if outcome.error is not None:
        raise outcome.error
    if outcome.damages:
        raise OSError(f"{track.file.path}: was changed by others while it was written")
    track.file.written(batch)


def _entry(track: Track, maker: FileMaker) -> FileEntry:
    return FileEntry(
        path=maker.name(track.file),
        media="audio",
        user_id=track.user_id,
        start_ms=track.start_ms,
        duration_ms=track.duration_ms,
        bytes=track.size_bytes,
        codec=track.pcm.codec,
        sample_rate_hz=track.pcm.rate_hz,
        channels=track.pcm.channels,
    )
