"""The list of streams, and control of one: ps, stop, reconnect."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rtmsd.ctl.client import stream_path
from rtmsd.ctl.context import Context
from rtmsd.ctl.earlier_streams import ALL_FINAL, with_earlier
from rtmsd.ctl.formatting import UNKNOWN, duration, moment, size
from rtmsd.ctl.output import Column, Item, key
from rtmsd.protocol.explanations import STOP_REASONS

SHORT_ID_CHARS: Final = 12
KEY_CHARS: Final = 16
WORKER: Final = Column("WORKER", key("worker"), rank=5)
"""A column of lists of several workers."""


def ps(context: Context) -> None:
    """List the live streams, or also those that ended, with the reason."""
    streams = context.client.get("/v1/streams", **({"all": "1"} if context.args.all else {}))
    workers = bool(context.client.workers)
    context.warn_of_silent()
    if context.args.all:
        streams = with_earlier(context, streams)
        columns = ps_columns(streams, started=True, workers=workers)
        context.out.rows(streams, columns, empty="no streams, and no recordings")
    else:
        columns = ps_columns(streams, workers=workers)
        context.out.rows(streams, columns, empty="no live streams (-a shows ended ones too)")


def ps_columns(streams: Sequence[Item], *, started: bool = False, workers: bool = False) -> tuple[Column, ...]:
    """Return the columns of a list; its ids are cut to a unique prefix. Programs get all of them,
    in this order, whatever is listed.

    Args:
        started: the start time matters as much as the state.
        workers: several processes are the daemon.
    """
    shown = shortened([stream["rtms_stream_id"] for stream in streams])
    return (
        Column("STREAM", lambda stream: shown[stream["rtms_stream_id"]], key("rtms_stream_id")),
        Column("APP", key("app"), rank=8),
        Column("PRODUCT", key("product"), rank=9),
        Column("STATE", key("state")),
        Column("STARTED", short_moment, key("started_ms"), rank=0 if started else 7),
        Column("LASTED", lasted, lasted_in_s, right=True),
        Column("KEY", lambda stream: cut(session_key(stream), KEY_CHARS), session_key, rank=1),
        Column("LAST PACKET", last_packet, rank=2),
        Column("RECEIVING", rates, rank=6),
        Column("LAG", lag, key("lag_ms"), right=True, rank=5),
        Column("GAPS", lambda stream: count(stream, "gaps"), right=True, rank=3),
        Column("PEOPLE", lambda stream: count(stream, "participants"), right=True, rank=4),
        *((WORKER,) if workers else ()),
        Column("WHY", lambda s: why(s) if s.get("state") != "active" else refused(s) or UNKNOWN, why, rank=1),
    )


def short_moment(stream: Item) -> str:
    """Return the start, to the minute: "09-21 14:13"."""
    started_ms = stream.get("started_ms")
    return UNKNOWN if started_ms is None else moment(started_ms)[5:16]


def session_key(stream: Item) -> Any:
    """Return the developer's own name for the room, from the started webhook."""
    details = stream.get("details")
    found = details.get("session_key") if isinstance(details, Mapping) else None
    return UNKNOWN if found in (None, "") else found


def cut(text: Any, chars: int) -> str:
    """Return the beginning of a text of any length."""
    text = str(text)
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def lasted(stream: Item) -> str:
    """Return the duration of a stream; one that was refused never began, and of some only the end was heard."""
    return UNKNOWN if _lasted_unknown(stream) else duration(lasted_s(stream))


def lasted_in_s(stream: Item) -> str | None:
    """Return the same for programs: "26.502"."""
    return None if _lasted_unknown(stream) else f"{lasted_s(stream):.3f}"


def _lasted_unknown(stream: Item) -> bool:
    return stream.get("state") in ALL_FINAL and stream.get("ended_ms") is None


def last_packet(stream: Item) -> str:
    """Return the age of each medium's latest packet."""
    ages_s = stream.get("last_packet_age_s") or {}
    return " ".join(f"{media} {duration(age_s)}" for media, age_s in ages_s.items()) or UNKNOWN


def shortened(ids: Sequence[str]) -> Mapping[str, str]:
    """Return each id with the beginning that is unique among them, `SHORT_ID_CHARS` long at least."""
    length = SHORT_ID_CHARS
    while len({name[:length] for name in ids}) < len(set(ids)):
        length += 1
    return {name: name[:length] for name in ids}


def why(stream: Item) -> str:
    """Return the reason of its state, Zoom's stop reason, the media refused, and the next attempt to connect."""
    reason = None if stream.get("stop_reason") is None else stop_reason(stream)
    times = (stream.get("lost") or {}).get("times", 1)
    again = f"refused {times} times" if times > 1 else None
    parts = (stream.get("why"), reason, again, refused(stream), *plans(stream))
    return ", ".join(part for part in parts if part) or UNKNOWN


def plans(stream: Item) -> list[str]:
    """Return the planned attempts of a lost connection: "next attempt in 3.0s"."""
    named = (("next_attempt_in_s", "next attempt in"), ("gives_up_in_s", "gives up in"))
    found = [f"{words} {duration(stream[name])}" for name, words in named if stream.get(name) is not None]
    failed = stream.get("failed_attempts")
    return [f"{failed} attempt{'s' * (failed != 1)} failed", *found] if found and failed else found


def refused(stream: Item) -> str:
    """Return the media that were asked for and not granted: "audio refused", "" for none."""
    terms: Mapping[str, Item] = stream.get("media") or {}
    names = ", ".join(sorted(name for name, term in terms.items() if term.get("refused")))
    return f"{names} refused" if names else ""


def lasted_s(stream: Item) -> float:
    """Return how long a stream lasted, up to now if it lives.

    Zoom's clock started it, so a live one is only as exact as the two clocks agree.
    """
    if stream.get("started_ms") is None:  # its manifest is damaged
        return 0.0
    until_ms = stream.get("ended_ms") or time.time() * 1000
    return max(0.0, float(until_ms - stream["started_ms"]) / 1000)


def rates(stream: Item) -> str:
    """Return the rates by media type; a silent one is left out."""
    flows = ((media, rate) for media, rate in (stream.get("rates") or {}).items() if rate["messages_per_s"])
    return (
        "  ".join(f"{media} {rate['messages_per_s']:.1f}/s {size(rate['bytes_per_s'])}/s" for media, rate in flows)
        or UNKNOWN
    )


def lag(stream: Item) -> str:
    """Return how far reception is ahead of the disk."""
    return UNKNOWN if stream.get("lag_ms") is None else f"{stream['lag_ms']:.0f} ms"


def count(stream: Item, name: str) -> str:
    """Return the number of items of a list, which may be given as a number."""
    value = stream.get(name)
    return UNKNOWN if value is None else str(value if isinstance(value, int) else len(value))


def stop_reason(stream: Item) -> str:
    """Return the number and the name of a stop reason: "6 MEETING_ENDED"."""
    number = stream.get("stop_reason")
    if number is None:
        return UNKNOWN
    meaning = STOP_REASONS.get(number)
    return f"{number} {meaning.name}" if meaning else str(number)


def stop(context: Context) -> None:
    """Ask Zoom to end the stream."""
    answer = context.client.post(stream_path(context.args.stream, "stop"))
    context.out.said(answer, f"{answer['rtms_stream_id']} is asked to end")


def reconnect(context: Context) -> None:
    """Drop the stream's connections and make fresh handshakes."""
    answer = context.client.post(stream_path(context.args.stream, "reconnect"))
    context.out.said(answer, f"{answer['rtms_stream_id']} reconnects")
