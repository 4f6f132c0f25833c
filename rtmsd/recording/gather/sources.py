"""What a stream is joined of: a part, read from its directory as it would be once repaired, and a copy of the engine's
log. Nothing in them is changed.
"""

import contextlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.protocol.causes import FINAL_STATES, GapCause, RecordingState
from rtmsd.recording.disk.paths import EVENTS, dates, safe_name
from rtmsd.recording.gather.clips import Clip, OpusClip, WavClip
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.gather.lines import Line, Logged
from rtmsd.recording.manifest.lines import FILES, read_lines
from rtmsd.recording.manifest.schema import MANIFEST, ConnectionEntry, Manifest, PauseEntry, TenureEntry, read_manifest
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair import plan_repair
from rtmsd.recording.timeline.gaps import Gap
from rtmsd.recording.timeline.resuming import resume_timeline


@attrs.frozen
class Source:
    """Attributes:
    nodes: the members that recorded it: one, or those of a joined recording.
    tenures: in order; none without a cluster.
    connections, gaps, pauses: as they are when all that is open is lost.
    """

    directory: Path
    manifest: Manifest
    nodes: frozenset[str]
    tenures: list[TenureEntry]
    clips: list[Clip]
    connections: list[ConnectionEntry]
    gaps: list[Gap]
    pauses: list[PauseEntry]
    _plan: RepairPlan

    @property
    def has_ended(self) -> bool:
        return self.manifest.state in FINAL_STATES

    @property
    def first_epoch(self) -> int:
        return self.tenures[0].epoch if self.tenures else 0

    @property
    def last_epoch(self) -> int:
        return self.tenures[-1].epoch if self.tenures else 0

    @property
    def newest_ms(self) -> int:
        return max([self.manifest.started_ms, self.manifest.clock_ms, *(clip.end_ms for clip in self.clips)])

    def epochs(self, from_ms: int, to_ms: int) -> Iterator[tuple[int, int, int]]:
        """Yield a time in stretches that belong to one tenure each, with its epoch. What was recorded between two of
        them, such as the rest of a socket or of Zoom's buffer, belongs to the nearer one.
        """
        pairs = zip(self.tenures, self.tenures[1:], strict=False)
        ends = [((one.from_ms if one.to_ms is None else one.to_ms) + two.from_ms) // 2 for one, two in pairs]
        while from_ms < to_ms:
            number = bisect_right(ends, from_ms)
            stop_ms = min([to_ms, *ends[number : number + 1]])
            yield self.tenures[number].epoch if self.tenures else 0, from_ms, stop_ms
            from_ms = stop_ms

    def first_word_ms(self, number: int) -> int:
        """Return the first time of Zoom's that an event names once a connection was open; without one, the last."""
        word_ms, is_open = self.manifest.started_ms, False
        for event in self.lines(EVENTS):
            zoom_ms = event.get("zoom_ms")
            if isinstance(zoom_ms, int) and zoom_ms > word_ms:
                word_ms = zoom_ms
                if is_open:
                    break
            is_open = is_open or (event.get("connection"), event.get("change")) == (number, "opened")
        return word_ms

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a file."""
        path = self.directory / name
        return read_lines(self._plan.content(path), FILES[name]) if self._plan.exists(path) else []

    def size_bytes(self, name: str) -> int:
        path = self.directory / name
        return self._plan.size_bytes(path) if self._plan.exists(path) else 0

    def content(self, name: str) -> bytes:
        return self._plan.content(self.directory / name)


@attrs.frozen
class EngineLog:
    """What the engine had of a stream's lines, each append a line of JSON. Read anew each time: it may be long.

    Attributes:
        path: None: there is none.
    """

    path: Path | None = None

    def __iter__(self) -> Iterator[Logged]:
        """Yield what was appended, in order and without repeats: those of one tenure come one after the other.

        Raises:
            OSError: it cannot be read.
        """
        newest = (0, -1)
        if self.path is None:
            return
        with self.path.open("rb") as file:
            for line in file:
                with contextlib.suppress(msgspec.MsgspecError):  # the last one may be torn
                    each = msgspec.json.decode(line, type=Logged)
                    if (each.token, each.n) > newest:
                        newest = each.token, each.n
                        yield each

    def lines(self, name: str) -> Iterator[tuple[int, Line]]:
        """Yield the lines of a file, each with the token of its tenure. Raises OSError."""
        for each in self:
            for line in each.of(name):
                yield each.token, line


NO_LOG: Final = EngineLog()


def find_parts(rtms_stream_id: str, below: Iterable[Path]) -> list[Path]:
    """Return the directories of a stream's parts, each once.

    Args:
        below: directories of recordings, or of one.

    Raises:
        OSError: one cannot be read.
    """
    found: dict[Path, None] = {}
    for root in below:
        is_one = (root / MANIFEST).is_file()
        candidates = [root] if is_one else [day / safe_name(rtms_stream_id) for day in dates(root)]
        for directory in candidates:
            manifest = read_manifest(directory) if directory.is_dir() else None
            if manifest is not None and manifest.rtms_stream_id == rtms_stream_id:
                found[directory.resolve()] = None
    return list(found)


def read_source(directory: Path) -> Source:
    """Read a part.

    Raises:
        GatherError: it is none, or was revoked.
        OSError: it cannot be read.
    """
    repaired = plan_repair(directory, {})
    manifest, plan = repaired.manifest, repaired.plan
    if manifest is None:
        raise GatherError(f"{directory}: no recording is there")
    if manifest.state == RecordingState.REVOKED:
        raise GatherError(f"{directory}: Zoom revoked the stream, and what was recorded of it must be deleted")
    clips = [
        OpusClip(directory / name, header, plan.size_bytes(directory / name))
        if isinstance(header, OggHeader)
        else WavClip(directory / name, header, plan.size_bytes(directory / name))
        for name, header in sorted(repaired.headers.items())
    ]
    cause = GapCause.DAEMON_RESTART if manifest.part is UNSET else GapCause.NODE_TAKEOVER
    heard: dict[int | str, int] = {}
    for clip in clips:
        heard[clip.header.owner] = max(clip.end_ms, heard.get(clip.header.owner, 0))
    timeline = resume_timeline(manifest, max(heard.values(), default=None), cause=cause, heard=heard)
    listed = timeline.to_manifest()
    gaps = listed["gaps"] if manifest.ended_ms is None else manifest.gaps
    return Source(
        directory=directory,
        manifest=manifest,
        nodes=nodes_of(manifest),
        tenures=sorted(_tenures(manifest), key=lambda tenure: tenure.epoch),
        clips=clips,
        connections=listed["connections"],
        gaps=[*map(Gap.from_entry, gaps)],
        pauses=listed["pauses"],
        plan=plan,
    )


def without_guesses(sources: Sequence[Source]) -> list[Source]:
    """Return parts of which one at most was connected since the start of the stream.

    Who connects first counts from there, as nothing is expected before. If several began without knowing of each other,
    that is true of the earliest: for the others a connection begins with Zoom's first word.
    """
    words_ms = {
        (at, each.number): source.first_word_ms(each.number)
        for at, source in enumerate(sources)
        for each in source.connections
        if each.opened_ms == source.manifest.started_ms
    }
    earliest, _ = min(words_ms, key=words_ms.__getitem__, default=(0, 0))

    def corrected(at: int, each: ConnectionEntry) -> ConnectionEntry:
        if at == earliest or (at, each.number) not in words_ms:
            return each
        word_ms = words_ms[at, each.number]
        return replace(each, opened_ms=word_ms if each.closed_ms is None else min(word_ms, each.closed_ms))

    return [
        attrs.evolve(source, connections=[corrected(at, each) for each in source.connections])
        for at, source in enumerate(sources)
    ]


def nodes_of(manifest: Manifest) -> frozenset[str]:
    """Return the members that recorded what a manifest describes."""
    if manifest.parts is not UNSET:
        return frozenset(part.node for part in manifest.parts)
    return frozenset[str]() if manifest.part is UNSET else frozenset({manifest.part.node})


def _tenures(manifest: Manifest) -> list[TenureEntry]:
    if manifest.parts is not UNSET:
        return [tenure for part in manifest.parts for tenure in part.tenures]
    return [] if manifest.part is UNSET else manifest.part.tenures
