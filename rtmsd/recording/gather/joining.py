"""The manifest of a joined recording, from those of its parts and from what was joined of their files."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.recording.gather.coverage import PartTimes, missing_behind, missing_in_all
from rtmsd.recording.gather.sources import Source
from rtmsd.recording.manifest.schema import (
    ConnectionEntry,
    Counters,
    ElsewhereEntry,
    FileEntry,
    Manifest,
    PartEntry,
    ParticipantEntry,
    PauseEntry,
    SourceEntry,
    new_manifest,
)
from rtmsd.recording.timeline.gaps import Gap, Gaps
from rtmsd.recording.timeline.intervals import IntervalSet, Part

_LOST_AT_ONCE: Final = frozenset({GapCause.DROPPED, GapCause.CORRUPT, GapCause.REFUSED})


@attrs.frozen
class Numbering:
    """The connections of all parts, in order, and by part the numbers that they have now."""

    connections: list[ConnectionEntry]
    numbers: list[dict[int, int]]


def number_connections(sources: Sequence[Source], ended_ms: int) -> Numbering:
    """Return the connections as those of one recording, none of which lasts longer than the stream."""
    every = [
        (source.connections[number].opened_ms or 0, at, number)
        for at, source in enumerate(sources)
        for number in range(len(source.connections))
    ]
    connections = []
    numbers: list[dict[int, int]] = [{} for _ in sources]
    for new, (_, at, number) in enumerate(sorted(every), 1):
        entry = sources[at].connections[number]
        numbers[at][entry.number] = new
        closed_ms = ended_ms if entry.closed_ms is None else min(entry.closed_ms, ended_ms)
        opened_ms = closed_ms if entry.opened_ms is None else min(entry.opened_ms, ended_ms)
        connections.append(replace(entry, number=new, opened_ms=opened_ms, closed_ms=max(opened_ms, closed_ms)))
    return Numbering(connections, numbers)


def end_of(sources: Sequence[Source]) -> tuple[Source, int]:
    """Return the part that knows the end of the stream, or for want of one the newest, and when that was."""
    last = max(sources, key=lambda source: (source.has_ended, source.last_epoch))
    ends = [last.manifest.ended_ms, *(source.newest_ms for source in sources if not last.has_ended)]
    ended_ms = max(end for end in ends if end is not None)
    return last, max([ended_ms, *(clip.end_ms for source in sources for clip in source.clips)])


def joined_manifest(
    sources: Sequence[Source],
    numbering: Numbering,
    *,
    files: list[FileEntry],
    heard: Mapping[int | str, IntervalSet],
    adjustments: Mapping[str, int],
    events_bytes: int,
    logged: Sequence[tuple[int, int]] = (),
    from_log: Mapping[str, int] | None = None,
) -> Manifest:
    """Return the manifest.

    Args:
        sources: in the order of their tenures.
        logged: the times of which the engine's log has the transcript.
        from_log: lines that came from there alone, by the name of the file.
    """
    last, ended_ms = end_of(sources)
    known, started_ms = last.manifest, min(source.manifest.started_ms for source in sources)
    pauses = _pauses(sources, ended_ms)
    terms = {name: term for source in sources for name, term in source.manifest.media.items()}
    nodes = frozenset[str]().union(*(source.nodes for source in sources))
    parts = [_times(source, nodes) for source in sources]
    media = {name for part in parts for name in [*part.connected, *(gap.media for gap in part.gaps)]}
    media |= {name for name, term in terms.items() if term.refused is not None}
    missing = missing_in_all(
        [*parts, PartTimes(connected={"transcript": logged}, gaps=_never_written(parts))],
        sorted(media),
        (started_ms, ended_ms),
        pauses=[(pause.from_ms, math.inf if pause.to_ms is None else pause.to_ms) for pause in pauses],
        heard=heard,
    )
    gaps = Gaps([*missing.gaps, *missing_behind(missing.gaps, heard)]).listed(())[0]
    connections = [*numbering.connections]
    for media_name, times, why in (
        ("audio", missing.heard, "out of Zoom's buffer"),
        ("transcript", _unconnected(logged, parts, (started_ms, ended_ms)), "out of the engine's log"),
    ):
        connections += _brought_later(media_name, times, why, len(connections))
    filled = Counters(messages={}, others={"from_log": dict(from_log)} if from_log else {})
    details = [source.manifest.details for source in sources if isinstance(source.manifest.details, dict)]
    return new_manifest(
        rtms_stream_id=known.rtms_stream_id,
        product=known.product,
        id=known.id,
        id_key=known.id_key,
        app=known.app,
        details={name: value for each in details for name, value in each.items()} if details else UNSET,
        state=known.state if last.has_ended else RecordingState.ENDED,
        why=known.why if last.has_ended else "joined from parts none of which knows the end",
        started_ms=started_ms,
        ended_ms=ended_ms,
        stop_reason=known.stop_reason,
        first_packet_ms=next((ms for source in sources if (ms := source.manifest.first_packet_ms) is not None), None),
        participants=_participants(sources),
        media=terms,
        files=files,
        gaps=[gap.entry() for gap in gaps],
        pauses=pauses,
        connections=connections,
        clock_ms=max(ended_ms, *(source.manifest.clock_ms for source in sources)),
        counters=_counters([*(source.manifest.counters for source in sources), filled], adjustments),
        events_bytes=events_bytes,
        part=_absent(sources, missing.elsewhere, nodes),
        parts=[_entry(source) for source in sources],
    )


def _brought_later(media: str, times: Iterable[Part], why: str, count: int) -> Iterator[ConnectionEntry]:
    """Yield media from times at which no part says that it was connected as what they are: from elsewhere."""
    for number, (from_ms, to_ms) in enumerate(times, count + 1):
        yield ConnectionEntry(
            number=number, kind="media", media=[media], opened_ms=from_ms, closed_ms=int(to_ms), why=why
        )


def _never_written(parts: Iterable[PartTimes]) -> list[Gap]:
    """Return the gaps of what was lost before anything could be done with it: the log has none of it either."""
    return [gap for part in parts for gap in part.gaps if gap.cause in _LOST_AT_ONCE]


def _unconnected(logged: Iterable[Part], parts: Iterable[PartTimes], span: tuple[int, int]) -> Iterator[Part]:
    """Yield the times of the transcript in the log at which no part was connected to it."""
    connected = IntervalSet(times for part in parts for times in part.connected.get("transcript", ()))
    for each in logged:
        for from_ms, to_ms in connected.uncovered(*each):
            if max(from_ms, span[0]) < min(to_ms, span[1]):
                yield max(from_ms, span[0]), min(to_ms, span[1])


def _entry(source: Source) -> SourceEntry:
    size_bytes = sum(file.bytes for file in source.manifest.files) + source.manifest.events_bytes
    name = ", ".join(sorted(source.nodes))
    return SourceEntry(name, str(source.directory), size_bytes, source.tenures)


def _times(source: Source, nodes: frozenset[str]) -> PartTimes:
    connected: dict[str, list[tuple[int, int]]] = {}
    for each in source.connections:
        for name in each.media:
            if each.opened_ms is not None and each.closed_ms is not None:
                connected.setdefault(name, []).append((each.opened_ms, each.closed_ms))
    part = source.manifest.part
    others = [] if part is UNSET else [each for each in part.elsewhere if each.node not in nodes]
    return PartTimes(connected=connected, gaps=source.gaps, elsewhere=[(each.from_ms, each.to_ms) for each in others])


def _absent(sources: Sequence[Source], elsewhere: IntervalSet, nodes: frozenset[str]) -> Any:
    """Return what the joined recording is a part of, where a part is not at hand that has more."""
    found = []
    for source in sources:
        part = source.manifest.part
        for each in [] if part is UNSET else part.elsewhere:
            if each.node not in nodes:
                found += [
                    replace(each, from_ms=from_ms, to_ms=int(to_ms))
                    for from_ms, to_ms in elsewhere.intersect(each.from_ms, each.to_ms)
                ]
    if not found:
        return UNSET
    taken = IntervalSet()
    entries: list[ElsewhereEntry] = []
    for each in found:
        entries += [
            replace(each, from_ms=from_ms, to_ms=int(to_ms)) for from_ms, to_ms in taken.add(each.from_ms, each.to_ms)
        ]
    return PartEntry(", ".join(sorted(nodes)), [], sorted(entries, key=lambda each: each.from_ms))


def _pauses(sources: Sequence[Source], ended_ms: int) -> list[PauseEntry]:
    """Return the pauses that any part knows. One that a part left open ended with its tenure, as far as it knows."""
    taken = IntervalSet()
    found = []
    for source in sources:
        until_ms = ended_ms if source.has_ended else source.newest_ms
        for pause in source.pauses:
            to_ms = until_ms if pause.to_ms is None else pause.to_ms
            stretches = taken.add(pause.from_ms, min(to_ms, ended_ms))
            found += [PauseEntry(start, int(stop), pause.why) for start, stop in stretches if start < stop]
    return sorted(found, key=lambda pause: pause.from_ms)


def _participants(sources: Sequence[Source]) -> list[ParticipantEntry]:
    """Return everybody, as the latest part knows them; of when they came, the earliest counts."""
    people: dict[int | str, ParticipantEntry] = {}
    for person in (person for source in sources for person in source.manifest.participants):
        before = people.get(person.user_id, person)
        joined = [ms for ms in (before.joined_ms, person.joined_ms) if ms is not None]
        people[person.user_id] = replace(
            before,
            user_name=person.user_name or before.user_name,
            joined_ms=min(joined, default=None),
            left_ms=person.left_ms,
            role=person.role or before.role,
            phone_number=person.phone_number or before.phone_number,
            others={**before.others, **person.others},
        )
    return list(people.values())


def _counters(every: Iterable[Counters], adjustments: Mapping[str, int]) -> Counters:
    """Return the sums. What was fitted together once more is counted once more."""
    messages, counts, kinds = Counter[str](), Counter[str](adjustments), dict[str, Counter[str]]()
    for counters in every:
        messages.update(counters.messages)
        for name, count in counters.others.items():
            if isinstance(count, dict):
                kinds.setdefault(name, Counter()).update(count)
            elif isinstance(count, int):
                counts[name] += count
    return Counters(messages=dict(messages), others={**counts, **{name: dict(each) for name, each in kinds.items()}})
