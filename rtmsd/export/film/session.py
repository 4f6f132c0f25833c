"""Exporter of the format `mkv`: sound, pictures, subtitles and chapters of a recording in one Matroska file.

Sound is encoded as Opus, pictures are copied. All is put in by its time: what the muxer holds back to sort it stays
small.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any, Final

import attrs

from rtmsd.export.audio.encoding import frames, opus_stream
from rtmsd.export.audio.mixing import Sound, sound
from rtmsd.export.audio.plan import Plan, make_plan
from rtmsd.export.audio.reading import check_libraries
from rtmsd.export.errors import ExportError
from rtmsd.export.extra import need
from rtmsd.export.film.chapters import chapters
from rtmsd.export.film.container import CODECS, Pattern, Track
from rtmsd.export.film.pictures import Picture, PictureFile, picture_files
from rtmsd.export.film.segments import read_segments
from rtmsd.export.muxing import container
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.text.exporters import within
from rtmsd.export.text.plain import one_line
from rtmsd.export.text.srt import cues
from rtmsd.protocol.languages import iso_639_2
from rtmsd.recording.manifest.lines import MEDIA_FILES, Line
from rtmsd.recording.media.captions import utterances

_MS: Final = Fraction(1, 1000)
_MAX_PICTURE_TRACKS: Final = 50
"""Matroska has 127 tracks, and players fewer; each participant, codec and size is one."""

_MAX_SOUND_TRACKS: Final = 60

_Key = tuple[str, int | str, str | None, tuple[int, int] | None]  # media, participant, codec and size
_Feed = Iterator[tuple[int, Callable[[], None]]]
"""Times, and what puts in what is of that time."""


def export(source: Source, request: Request, report: Report) -> None:
    """Write `session.mkv`."""
    request.check_options(tracks=True)
    av = need("av", "--format mkv")
    pictures = picture_files(source, request)
    files = [file for file in pictures if file.codec in CODECS]
    if len(files) < len(pictures):
        report.notes.append("PNG images left out, which Matroska cannot hold; `--format images` writes them one by one")
    plan = make_plan(source, request) if any(map(request.wants, source.audio)) else None
    if plan is not None:
        check_libraries(plan)
    said = utterances(source.lines(MEDIA_FILES["transcript"], Line.UTTERANCE))
    said = list(within(request.span(source), [line for line in said if request.wants(line["user_id"])]))
    patterns = _patterns(av, source, request, files, report)
    if plan is None and not patterns and not said:
        raise ExportError("there is no sound, no video, no shared screen and no transcript")
    film = _Film(av=av, source=source, request=request, report=report, plan=plan, patterns=patterns, said=said)
    report.duration_ms = film.to_ms - film.from_ms
    with (
        Output(source, request, report) as output,
        output.file("session.mkv", duration_ms=report.duration_ms) as file,
        container(av, file, "matroska") as opened,
    ):
        film.write(opened, files)
    for pattern, _ in patterns.values():
        pattern.close()


def _patterns(
    av: Any, source: Source, request: Request, files: list[PictureFile], report: Report
) -> dict[_Key, tuple[Pattern, int]]:
    """Look through all pictures for the tracks that they need. Returns the pattern and the first time of each."""
    found: dict[_Key, tuple[Pattern, int]] = {}
    quiet = Report(source)
    for file in files:
        for segment in read_segments(source, file, request.span(source), quiet):
            key = _key(file, segment.first)
            if key in found:
                continue
            if len(found) >= _MAX_PICTURE_TRACKS:
                report.notes.append(f"pictures of more than {_MAX_PICTURE_TRACKS} participants and sizes left out")
                return found
            try:
                found[key] = Pattern(av, file.codec, segment.first.data), segment.first.time_ms
            except ExportError as error:
                source.damaged(file.entry.path, f"{segment.where}: {error}; not exported")
    return found


def _key(file: PictureFile, first: Picture) -> _Key:
    return file.entry.media, file.user_id, file.codec.name, first.head.size


@attrs.define(kw_only=True)
class _Film:
    """What goes into one file.

    Attributes:
        from_ms, to_ms: its time.
    """

    av: Any
    source: Source
    request: Request
    report: Report
    plan: Plan | None
    patterns: dict[_Key, tuple[Pattern, int]]
    said: list[dict[str, Any]]
    from_ms: int = attrs.field(init=False)
    to_ms: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        span = self.request.span(self.source)
        starts = [first_ms for _, first_ms in self.patterns.values()]
        ends = [self.source.end_ms]
        if self.plan is not None:
            starts.append(self.plan.from_ms)
            ends.append(self.plan.from_ms + self.plan.duration_ms)
        self.from_ms = min(starts or [self.source.started_ms]) if span.from_ms is None else span.from_ms
        self.to_ms = max(self.from_ms + 1, *ends) if span.to_ms is None else span.to_ms

    def write(self, container: Any, files: list[PictureFile]) -> None:
        container.metadata["RTMS_START_MS"] = str(self.from_ms)
        container.set_chapters(chapters(self.source, self.request, self.from_ms, self.to_ms))
        sounds = [(each, self._sound_stream(container, each)) for each in self._sounds()]
        tracks = {key: self._picture_track(container, key) for key in self.patterns}
        feeds = [self._hear(container, each, stream) for each, stream in sounds]
        feeds += [self._see(file, tracks) for file in files]
        if self.said:
            feeds.append(self._read(container, self._subtitle_stream(container)))
        for _, put in heapq.merge(*feeds, key=lambda item: item[0]):
            put()
        for _, stream in sounds:
            container.mux(stream.encode(None))
        for track in tracks.values():
            track.finish()

    # Sound

    def _sounds(self) -> Iterator[Sound]:
        if self.plan is None:
            return
        source, report, plan = self.source, self.report, self.plan
        if not self.request.is_tracks:
            yield sound(source, plan, plan.tracks, report, title="mix", progress=report.progress)
            return
        if len(plan.tracks) > _MAX_SOUND_TRACKS:
            report.notes.append(f"sound of all but the first {_MAX_SOUND_TRACKS} participants left out")
        for track in plan.tracks[:_MAX_SOUND_TRACKS]:
            title = one_line(source.name(track.user_id))
            yield sound(source, plan, [track], report, title=title, progress=report.progress)

    def _sound_stream(self, container: Any, each: Sound) -> Any:
        stream = opus_stream(container, each, self.request.bitrate)
        stream.metadata["title"] = each.title
        return stream

    def _hear(self, container: Any, each: Sound, stream: Any) -> _Feed:
        offset = (each.start_ms - self.from_ms) * each.rate_hz // 1000
        for frame in frames(self.av, each):
            at_ms = each.start_ms + frame.pts * 1000 // each.rate_hz
            frame.pts += offset
            yield at_ms, partial(_encode, container, stream, frame)

    # Pictures

    def _picture_track(self, container: Any, key: _Key) -> Track:
        media, user_id, *_ = key
        stream = container.add_stream_from_template(self.patterns[key][0].stream)
        stream.time_base = _MS
        stream.metadata["title"] = f"{media}: {one_line(self.source.name(user_id))}"
        return Track(self.av, container, stream, origin_ms=self.from_ms, step_ms=0)

    def _see(self, file: PictureFile, tracks: dict[_Key, Track]) -> _Feed:
        for segment in read_segments(self.source, file, self.request.span(self.source), Report(self.source)):
            if (track := tracks.get(_key(file, segment.first))) is not None:
                yield from ((picture.time_ms, partial(track.add, picture)) for picture in segment.pictures)

    # Subtitles

    def _subtitle_stream(self, container: Any) -> Any:
        stream = container.add_mux_stream("subrip")
        stream.time_base = _MS
        languages = Counter(line.get("language_tag") for line in self.said)
        stream.metadata["language"] = iso_639_2(languages.most_common(1)[0][0])
        return stream

    def _read(self, container: Any, stream: Any) -> _Feed:
        for start_ms, end_ms, text in sorted(cues(self.said, self.from_ms)):
            packet = self.av.Packet(text.encode(errors="replace"))
            packet.stream, packet.time_base = stream, _MS
            packet.pts = packet.dts = start_ms
            packet.duration = end_ms - start_ms
            yield self.from_ms + start_ms, partial(container.mux_one, packet)


def _encode(container: Any, stream: Any, frame: Any) -> None:
    container.mux(stream.encode(frame))
