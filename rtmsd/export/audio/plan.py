"""The plan of an audio export: where each file is heard, in samples of one rate. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from rtmsd.export.errors import ExportError, WrongRequest
from rtmsd.export.request import Request
from rtmsd.export.source import AudioFile, Source
from rtmsd.recording.manifest.schema import MAX_RATE_HZ, MIX_USER_ID

_MIN_RATE_HZ: Final = 8000
_LONGEST_DAYS: Final = 31


@attrs.frozen
class Part:
    """A file, or a part of one, in a track. Positions are samples of the plan.

    Attributes:
        start: of the file's first sample, be it heard or not.
        first, stop: what is heard of it.
    """

    file: AudioFile
    start: int
    first: int
    stop: int


@attrs.frozen
class Track:
    """The sound of one participant, or of the mix that Zoom made."""

    user_id: int | str
    channels: int
    parts: tuple[Part, ...]


@attrs.frozen(kw_only=True)
class Plan:
    """Attributes:
    from_ms: the time of position 0.
    length: in samples.
    tracks: in the order in which the participants came; with Zoom's own mix that comes first.
    """

    rate_hz: int
    from_ms: int
    length: int
    tracks: tuple[Track, ...]

    @property
    def channels(self) -> int:
        return max(track.channels for track in self.tracks)

    @property
    def duration_ms(self) -> int:
        """Rounded up."""
        return -(-self.length * 1000 // self.rate_hz)

    @property
    def files(self) -> Iterator[AudioFile]:
        return (part.file for track in self.tracks for part in track.parts)


def make_plan(source: Source, request: Request) -> Plan:
    """Return the plan of what was asked for.

    Raises:
        ExportError: there is no such audio.
        WrongRequest: the rate, or the time, makes no sense.
        NoSuchParticipant: an id is nobody's.
    """
    request.check_participants(source, also=source.audio)
    audio = {user_id: files for user_id, files in source.audio.items() if request.wants(user_id)}
    if not audio:
        raise ExportError(
            f"{source.directory}: of {', '.join(sorted(request.user_ids)) or 'this recording'} there is no audio"
        )
    files = [file for each in audio.values() for file in each]
    rate_hz = request.rate_hz or max(file.rate_hz for file in files)
    if not _MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise WrongRequest(f"--rate {rate_hz}: a rate is from {_MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    span = request.span(source)
    first_ms, last_ms = min(file.start_ms for file in files), max(file.end_ms for file in files)
    from_ms = first_ms if span.from_ms is None else max(span.from_ms, min(first_ms, source.started_ms))

    def position(time_ms: int) -> int:
        return ((time_ms - from_ms) * rate_hz + 500) // 1000

    def whole(file: AudioFile) -> Part:
        start = position(file.start_ms)
        return Part(file, start, start, start - -file.blocks * rate_hz // file.rate_hz)

    tracks: dict[int | str, list[Part]] = {user_id: [whole(file) for file in each] for user_id, each in audio.items()}
    if span.to_ms is None:
        length = max(part.stop for parts in tracks.values() for part in parts)
    else:
        length = position(min(span.to_ms, max(last_ms, source.end_ms)))
    if length <= 0:
        raise ExportError(f"{source.directory}: there is no audio in that time")
    if length > _LONGEST_DAYS * 86_400 * rate_hz:
        last = max(files, key=lambda file: file.end_ms)
        raise ExportError(
            f"{source.directory}: from the first sample to the last, of {last.path}, it is over {_LONGEST_DAYS} days",
            "A time in the manifest must be wrong: --from and --to choose a part.",
        )
    if not request.is_tracks and MIX_USER_ID in tracks:  # who is in the mix is not heard twice
        mix = tracks.pop(MIX_USER_ID)
        others = {user_id: list(_outside(parts, mix)) for user_id, parts in tracks.items()}
        tracks = {MIX_USER_ID: mix, **others}
    return Plan(
        rate_hz=rate_hz,
        from_ms=from_ms,
        length=length,
        tracks=tuple(_track(user_id, parts, length) for user_id, parts in tracks.items()),
    )


def _track(user_id: int | str, parts: Iterable[Part], length: int) -> Track:
    """Return a track with what is heard between 0 and `length`."""
    known = list(parts)
    cut = (attrs.evolve(part, first=max(part.first, 0), stop=min(part.stop, length)) for part in known)
    channels = max((part.file.channels for part in known), default=1)
    return Track(user_id, channels, tuple(part for part in cut if part.first < part.stop))


def _outside(parts: Iterable[Part], others: Iterable[Part]) -> Iterator[Part]:
    """Yield what of `parts` is at no position of the others."""
    left = list(parts)
    for other in others:
        left = [
            attrs.evolve(part, first=first, stop=stop)
            for part in left
            for first, stop in (
                (part.first, min(part.stop, other.first)),
                (max(part.first, other.stop), part.stop),
            )
            if first < stop
        ]
    yield from left
