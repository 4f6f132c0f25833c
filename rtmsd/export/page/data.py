"""The data of the page: what its script draws and lists. Times in seconds from the start of the recording."""

import json
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

from rtmsd.export.page.peaks import spoken_s
from rtmsd.export.source import Source
from rtmsd.export.span import Span
from rtmsd.export.text.plain import clock, one_line
from rtmsd.recording.manifest.lines import Line
from rtmsd.recording.manifest.schema import OwnerId
from rtmsd.recording.media.captions import begin_ms, speaker

Item: TypeAlias = dict[str, Any]

_FAR_MS: Final = 31 * 86_400_000
"""From the start: a time of Zoom's that cannot be."""

_DETAILS: Final = 300
"""Characters of an event's details; all of them are in `events.jsonl`."""
_OUR_KEYS: Final = frozenset({"at_ms", "kind", "zoom_ms", "participants", "user_id", "user_name", "is_cut"})


class Axis(NamedTuple):
    """The time axis of the page.

    Attributes:
        zero_ms: the start of the recording.
        from_ms, to_ms: what is shown, since the epoch.
        span: what was asked for.
    """

    zero_ms: int
    from_ms: int
    to_ms: int
    span: Span

    def seconds(self, time_ms: int) -> float:
        """Return a time on the axis; of one that is not on it, which may be one that cannot be, the nearer end."""
        return (min(max(time_ms, self.from_ms), self.to_ms) - self.zero_ms) / 1000


class Lane(NamedTuple):
    """A speaker with peaks from a time on, see `peaks`, which are of media of a type, "audio" or "transcript"."""

    user_id: int | str
    name: str
    media: str
    from_ms: int
    peaks: bytes


class Pictures(NamedTuple):
    """A participant's video or share, with the number of its key images and times of them, no two close together."""

    media: str
    user_id: OwnerId
    name: str
    images: int
    times_ms: list[int]


def length(amount_ms: int) -> str:
    """Return a duration for people: "4.3 s", "1:02:03"."""
    if amount_ms < 60_000:
        return f"{amount_ms / 1000:.1f} s"
    return clock(amount_ms)


def page_data(
    source: Source,
    axis: Axis,
    lanes: list[Lane],
    *,
    pictures: list[Pictures],
    utterances: Iterable[Item],
    chat: list[tuple[int, str, str]],
    audio_from_ms: int,
    wants: Callable[[Any], bool],
) -> Item:
    """Return the object that the script reads. Of what may be thousands there are rows, not objects: a line has its
    time, its speaker by number, or none where something is missing, and its text.

    Args:
        utterances: lines of the transcript, revised.
        chat: messages with time, sender and text.
        audio_from_ms: the first sample of the audio.
        wants: whether a participant, by id, is to be in the page.
    """
    missing = list(_missing(source, axis, lanes, pictures, wants))
    speakers: dict[str, int] = {}
    lines: list[tuple[float, int | None, str]] = [
        (axis.seconds(begin_ms(line)), speakers.setdefault(speaker(line), len(speakers)), line["text"])
        for line in utterances
        if axis.span.meets(begin_ms(line), line["end_ms"] or 0)
    ]
    lines += [(item["from_s"], None, item["listed"]) for item in missing]
    return {
        "from_s": axis.seconds(axis.from_ms),
        "to_s": axis.seconds(axis.to_ms),
        "audio_from_s": axis.seconds(audio_from_ms),
        "lanes": [
            {
                "name": lane.name,
                "from_s": axis.seconds(lane.from_ms),
                "peaks": lane.peaks,
                "spoken_s": spoken_s(lane.peaks),
            }
            for lane in lanes
        ],
        "pictures": [
            {
                "name": f"{item.media}: {item.name}",
                "count": item.images,
                "at_s": [axis.seconds(time_ms) for time_ms in item.times_ms],
            }
            for item in pictures
        ],
        "shades": [{key: item[key] for key in ("from_s", "to_s", "text", "pause", "lanes")} for item in missing],
        "speakers": list(speakers),
        "lines": sorted(lines, key=itemgetter(0)),
        "gaps": [item["row"] for item in missing],
        "events": list(_events(source, axis, wants)),
        "chat": [[axis.seconds(at_ms), who, text] for at_ms, who, text in chat if axis.span.contains(at_ms)],
    }


def _missing(
    source: Source, axis: Axis, lanes: list[Lane], pictures: list[Pictures], wants: Callable[[Any], bool]
) -> Iterator[Item]:
    """Yield gaps, pauses and what another node has in the order of time, each with the lanes it concerns."""
    everything = list(range(len(lanes) + len(pictures)))
    owners: list[tuple[str, OwnerId]] = [(lane.media, lane.user_id) for lane in lanes]
    owners += [(item.media, item.user_id) for item in pictures]
    found = []
    for gap in source.gaps:
        if gap.user_id is not None and not wants(gap.user_id):
            continue
        concerned = [
            number
            for number, (media, user_id) in enumerate(owners)
            if media == gap.media and gap.user_id in {None, user_id}
        ]
        whose = gap.media if gap.user_id is None else f"{gap.media}, {one_line(source.name(gap.user_id))}"
        found.append((gap.from_ms, gap.to_ms or source.end_ms, gap.cause, whose, "gap", concerned))
    for pause in source.pauses:
        to_ms = pause.to_ms or source.end_ms
        found.append((pause.from_ms, to_ms, pause.why or "paused", "all", "pause", everything))
    found += [
        (other.from_ms, other.to_ms, f"on node {one_line(other.node)}", "all", "elsewhere", everything)
        for other in source.elsewhere
    ]
    for from_ms, to_ms, what, whose, kind, concerned in sorted(found, key=lambda each: each[0]):
        if not axis.span.meets(from_ms, to_ms):
            continue
        lasting, from_s = length(to_ms - from_ms), axis.seconds(from_ms)
        yield {
            "from_s": from_s,
            "to_s": axis.seconds(to_ms),
            "text": what,
            "pause": kind != "gap",
            "lanes": concerned,
            "listed": f"{kind} {lasting}: {what} ({whose})",
            "row": [from_s, lasting, f"elsewhere, {what}" if kind == "elsewhere" else what, whose],
        }


def _events(source: Source, axis: Axis, wants: Callable[[Any], bool]) -> Iterator[list[Any]]:
    """Yield rows. Zoom's clock is that of the page: an event of ours is put where the last one of Zoom's was."""
    behind_ms = None
    for event in source.lines("events.jsonl", Line.EVENT):
        zoom_ms = event.get("zoom_ms")
        if type(zoom_ms) is int and abs(zoom_ms - axis.zero_ms) < _FAR_MS:
            behind_ms = zoom_ms - event["at_ms"]
        elif behind_ms is None:
            behind_ms = axis.zero_ms - event["at_ms"]
        at_ms = event["at_ms"] + behind_ms
        people = list(_people(event))
        named = [_name(source, person) for person in people if wants(person["user_id"])]
        if axis.span.contains(at_ms) and (named or not people):
            others = {key: value for key, value in event.items() if key not in _OUR_KEYS and value is not None}
            yield [axis.seconds(at_ms), event["kind"], ", ".join(named), _in_short(others)]


def _people(event: Item) -> Iterator[Item]:
    listed = event.get("participants")
    for person in [event, *(listed if isinstance(listed, list) else ())]:
        if isinstance(person, dict) and person.get("user_id") is not None:
            yield person


def _name(source: Source, person: Item) -> str:
    user_id = person["user_id"]
    return str(person.get("user_name") or (source.name(user_id) if isinstance(user_id, int | str) else user_id))


def _in_short(fields: Item) -> str:
    text = ", ".join(
        f"{key} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in fields.items()
    )
    return text if len(text) <= _DETAILS else text[:_DETAILS] + "…"
