"""The streams of one member as all see them, and the lists of all as one."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import trio

from rtmsd.admin.fleet.streams import is_live
from rtmsd.admin.messages import JsonObject
from rtmsd.cluster.records import Held, Holding
from rtmsd.node.questions import Flag, StreamLine

AT_ONCE: Final = 200  # entries between two turns of the event loop


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


async def merged(lists: Mapping[str, Sequence[StreamLine]], orphans: Iterable[Held]) -> list[JsonObject]:
    """Return the streams of all, each once with its `node`: live ones first, in the order of their start.

    One that is being handed over, or has come back to a member, is listed where it lives, in the latest tenure. They
    may be tens of thousands, so the event loop has its turn in between.
    """
    found: dict[str, tuple[str | None, StreamLine]] = {}
    for node, lines in lists.items():
        await trio.lowlevel.checkpoint()
        for line in lines:
            known = found.get(line.rtms_stream_id)
            if known is None or _rank(known[1]) < _rank(line):
                found[line.rtms_stream_id] = (node, line)
    for held in orphans:
        orphan = _orphan(held)
        if orphan is not None and not ((known := found.get(orphan.rtms_stream_id)) and known[1].is_live):
            found[orphan.rtms_stream_id] = (None, orphan)
    entries: list[JsonObject] = []
    for number, (owner, line) in enumerate(sorted(found.values(), key=_order)):
        if number % AT_ONCE == 0:
            await trio.lowlevel.checkpoint()
        entries.append({"node": owner, **msgspec.to_builtins(line)})
    return entries


def _rank(line: StreamLine) -> tuple[bool, int]:
    return line.is_live, line.epoch or 0


def _order(each: tuple[str | None, StreamLine]) -> tuple[bool, int]:
    _, line = each
    return not (line.is_live or Flag.ORPHAN in line.flags), line.started_ms or 0


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
