"""One joined file of audio, made of pieces of clips by the rule of the recorder: as if one daemon had received it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import attrs

from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.flush import Job, write_jobs
from rtmsd.recording.disk.paths import participant_name
from rtmsd.recording.gather.clips import Clip
from rtmsd.recording.gather.pieces import Run, choose
from rtmsd.recording.gather.seams import cut_at_seams
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.ogg.file import OggFile
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.track import OpusTrack
from rtmsd.recording.media.wav.header import WavHeader
from rtmsd.recording.media.wav.track import Track

_FLUSH_BYTES: Final = 2**24


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
        OSError: something cannot be read or written.
    """
    start_ms = min(clip.header.start_ms for clip in clips)
    header = attrs.evolve(clips[0].header, start_ms=start_ms, stream_started_ms=started_ms)
    track = _new_track(maker, header)
    for cut in cut_at_seams(choose(runs), clips):
        if not cut.is_seamless:
            track.interrupted()
        for time_ms, data in cut.clip.packets(cut.start, cut.stop):
            track.place(time_ms, data)
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
