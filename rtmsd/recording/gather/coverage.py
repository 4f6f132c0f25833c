"""The times that are missing in all parts of a stream, and in the engine's log, each with its cause. Pure."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import attrs

from rtmsd.protocol.causes import OUTAGE_CAUSES, GapCause
from rtmsd.recording.disk.paths import EVENTS, TRANSCRIPT
from rtmsd.recording.gather.lines import Line, Logged
from rtmsd.recording.manifest.schema import OwnerId
from rtmsd.recording.timeline.gaps import AT_ONCE_MS, CONTIGUOUS_MS, Gap
from rtmsd.recording.timeline.intervals import IntervalSet, Part


@attrs.frozen(kw_only=True)
class PartTimes:
    """What one part says.

    Attributes:
        connected: by media type, when it was connected.
        gaps: that go on to infinity where the part has no end.
        elsewhere: times that other nodes have, of which no part is at hand.
    """

    connected: Mapping[str, Sequence[tuple[int, int]]]
    gaps: Sequence[Gap]
    elsewhere: Sequence[tuple[int, int]] = ()


def logged_times(log: Iterable[Logged]) -> list[tuple[int, int]]:
    """Return the times of which the log has all of the transcript: from line to line, of one tenure, for as long as its
    events say that the transcript is connected, and no append is missing.
    """
    found = IntervalSet()
    connected: set[object] = set()
    since_ms: int | None = None
    last = (0, 0)
    for each in log:
        if (each.token, each.n) != (last[0], last[1] + 1):
            connected, since_ms = set(), None
        last = each.token, each.n
        changes = [line for line in each.of(EVENTS) if line["kind"] == "connection" and _is_transcripts(line)]
        connected |= {str(line.get("connection")) for line in changes if line.get("change") == "opened"}
        closed = {str(line.get("connection")) for line in changes if line.get("change") == "closed"}
        connected -= closed
        if closed or not connected:
            since_ms = None  # and before or after which lines of this append that was is not known
            continue
        for line in each.of(TRANSCRIPT):
            time_ms: int = line["timestamp_ms"]
            since_ms = time_ms if since_ms is None else since_ms
            found.add(since_ms, time_ms)
    return [(from_ms, int(to_ms)) for from_ms, to_ms in found]


def _is_transcripts(line: Line) -> bool:
    media = line.get("media")
    return isinstance(media, list) and "transcript" in media


@attrs.frozen
class Missing:
    """Attributes:
    gaps: in no order.
    elsewhere: what only a part has that is not at hand.
    heard: audio from times at which no part was connected: out of Zoom's buffer.
    """

    gaps: list[Gap]
    elsewhere: IntervalSet
    heard: IntervalSet


def missing_in_all(
    parts: Sequence[PartTimes],
    media: Iterable[str],
    span: tuple[int, int],
    *,
    pauses: Iterable[Part] = (),
    heard: Mapping[int | str, IntervalSet] | None = None,
) -> Missing:
    """Return what no part has.

    Args:
        parts: in the order of their tenures: the cause of an instant is the one that was named first, a gap with an end
            before one without.
        span: from the start of the stream to its end.
        heard: audio that there is, by participant: any of it shows that something came for everybody.
    """
    heard, expected, elsewhere = heard or {}, IntervalSet(), IntervalSet()
    for part in _inverse(pauses, span):
        expected.add(*part)
    for each in (span for part in parts for span in part.elsewhere):
        elsewhere.add(*each)
    gaps: list[Gap] = []
    only_elsewhere, only_heard = IntervalSet(), IntervalSet()
    for name in media:
        everybodys = [
            _union(_inverse(part.connected.get(name, ()), span), _times(part.gaps, name, None)) for part in parts
        ]
        came = IntervalSet(stretch for each in heard.values() for stretch in each) if name == "audio" else IntervalSet()
        missing = _common([expected, *everybodys])
        unconnected = (_union(_inverse(part.connected.get(name, ()), span)) for part in parts)
        for stretch in _common([missing, came, *unconnected]):
            only_heard.add(*stretch)
        missing = _less(missing, came)
        for stretch in _common([missing, elsewhere]):
            only_elsewhere.add(*stretch)
        missing = _less(missing, elsewhere)
        gaps += _explained(missing, parts, name, None)
        for user_id in {gap.user_id for part in parts for gap in part.gaps if gap.media == name} - {None}:
            theirs = [
                _union(everybody, _times(part.gaps, name, user_id))
                for everybody, part in zip(everybodys, parts, strict=True)
            ]
            own = heard.get(user_id, IntervalSet()) if user_id is not None and name == "audio" else IntervalSet()
            left = _less(_less(_less(_common([expected, *theirs]), own), missing), elsewhere)
            gaps += _explained(left, parts, name, user_id)
    return Missing(gaps, only_elsewhere, only_heard)


def missing_behind(outages: Iterable[Gap], heard: Mapping[int | str, IntervalSet]) -> Iterator[Gap]:
    """Yield what single people lack where audio is back with another's packet: theirs of that time was the last that
    Zoom gave to a connection that was dead, and they are to be heard right behind it.
    """
    for gap in outages:
        to_ms = int(gap.to_ms) if (gap.media, gap.user_id) == ("audio", None) and gap.cause in OUTAGE_CAUSES else None
        if to_ms is None or not any(any(theirs.intersect(to_ms, to_ms + 1)) for theirs in heard.values()):
            continue
        for user_id, theirs in heard.items():
            from_ms, back_ms = next(theirs.uncovered(to_ms), (0, math.inf))
            if from_ms == to_ms and CONTIGUOUS_MS <= back_ms - to_ms < AT_ONCE_MS:
                yield Gap("audio", user_id, to_ms, back_ms, gap.cause)


def _explained(missing: IntervalSet, parts: Sequence[PartTimes], media: str, user_id: OwnerId) -> list[Gap]:
    """Return what is missing as gaps, each with the cause that the parts name first."""
    named = [gap for part in parts for gap in part.gaps if gap.media == media and gap.user_id in {None, user_id}]
    left, gaps = missing, []
    for gap in [*sorted(named, key=lambda gap: gap.to_ms == math.inf), None]:
        cause = GapCause.NODE_TAKEOVER if gap is None else gap.cause
        stretch = IntervalSet([(0, math.inf) if gap is None else (gap.from_ms, gap.to_ms)])
        gaps += [Gap(media, user_id, from_ms, to_ms, cause) for from_ms, to_ms in _common([left, stretch])]
        left = _less(left, stretch)
    return gaps


def _times(gaps: Iterable[Gap], media: str, user_id: OwnerId) -> Collection[Part]:
    return [(gap.from_ms, gap.to_ms) for gap in gaps if gap.media == media and gap.user_id == user_id]


def _union(*parts: Iterable[Part]) -> IntervalSet:
    return IntervalSet(part for each in parts for part in each)


def _inverse(parts: Iterable[Part], span: tuple[int, int]) -> Iterable[Part]:
    return IntervalSet(parts).uncovered(*span)


def _common(sets: Sequence[IntervalSet]) -> IntervalSet:
    common = sets[0]
    for each in sets[1:]:
        common = IntervalSet(part for start, end in common for part in each.intersect(start, end))
    return common


def _less(parts: IntervalSet, others: IntervalSet) -> IntervalSet:
    return IntervalSet(part for start, end in parts for part in others.uncovered(start, end))
