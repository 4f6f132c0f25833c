"""The streams of one member as all see them, and the lists of all as one. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from rtmsd.admin.fleet.streams import is_live
from rtmsd.admin.messages import JsonObject
from rtmsd.cluster.ownership import Holding
from rtmsd.cluster.records import Held
from rtmsd.node.questions import Flag, StreamLine


def lines_of(
    streams: Iterable[JsonObject],
    mine: Mapping[str, Holding],
    *,
    held_slots: Collection[str],
    ungathered: Collection[str],
) -> list[StreamLine]:
    """Return the streams of this member.

    Args:
        streams: as its admin API has them.
        mine: those that are claimed.
    """
    return [_line(stream, mine, held_slots, ungathered) for stream in streams]


def _line(
    stream: JsonObject, mine: Mapping[str, Holding], held_slots: Collection[str], ungathered: Collection[str]
) -> StreamLine:
    name: str = stream["rtms_stream_id"]
    holding = mine.get(name)
    flags = {
        Flag.SLOT_HELD: name in held_slots,
        Flag.UNCLAIMED: is_live(stream) and (holding is None or holding.token == 0),
        Flag.UNGATHERED: name in ungathered,
    }
    gaps = stream.get("gaps") or ()
    return StreamLine(
        rtms_stream_id=name,
        state=stream.get("state"),
        epoch=None if holding is None else holding.epoch,
        app=stream.get("app"),
        started_ms=stream.get("started_ms"),
        ended_ms=stream.get("ended_ms"),
        gaps=gaps if isinstance(gaps, int) else len(gaps),
        why=_cut(stream.get("why")),
        flags=tuple(flag for flag, holds in flags.items() if holds),
    )


def _cut(text: str | None, chars: int = 500) -> str | None:
    return text if text is None or len(text) <= chars else f"{text[: chars - 1]}…"


def merged(lists: Mapping[str, Sequence[StreamLine]], orphans: Iterable[Held]) -> list[JsonObject]:
    """Return the streams of all, each once with its `node`: live ones first, in the order of their start.

    One that is being handed over, or has come back to a member, is listed where it lives, in the latest tenure.
    """
    found: dict[str, tuple[tuple[bool, int], JsonObject]] = {}
    for node, lines in lists.items():
        for line in lines:
            entry = {"node": node, **attrs.asdict(line)}
            rank = (is_live(entry), line.epoch or 0)
            if line.rtms_stream_id not in found or found[line.rtms_stream_id][0] < rank:
                found[line.rtms_stream_id] = (rank, entry)
    for held in orphans:
        if (orphan := _orphan(held)) is not None and not found.get(orphan.rtms_stream_id, ((False, 0),))[0][0]:
            found[orphan.rtms_stream_id] = ((True, 0), {"node": None, **attrs.asdict(orphan)})
    order = sorted(found.values(), key=lambda each: (not each[0][0], each[1]["started_ms"] or 0))
    return [entry for _, entry in order]


def _orphan(held: Held) -> StreamLine | None:
    row = held.known.row
    if row is None:
        return None
    epoch = None if held.own is None else held.own.epoch
    return StreamLine(
        rtms_stream_id=row.rtms_stream_id,
        epoch=epoch,
        app=row.app,
        started_ms=row.started_ms,
        flags=(Flag.ORPHAN,),
    )
