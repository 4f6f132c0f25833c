"""inspect: everything known of one stream."""

import json
from collections.abc import Mapping
from typing import Any, Final

from rtmsd.ctl.context import Context
from rtmsd.ctl.earlier_streams import known, state_of
from rtmsd.ctl.formatting import UNKNOWN, clock, listed, milliseconds, moment, size
from rtmsd.ctl.output import Column, Item, key
from rtmsd.ctl.verbs.streams import lag, last_packet, lasted, lasted_in_s, plans, rates, session_key, stop_reason
from rtmsd.ctl.verbs.video import chosen_by, seen


def inspect(context: Context) -> None:
    """Show everything known of one stream."""
    stream = known(context, context.args.stream)
    context.out.record(stream, INSPECT_COLUMNS if stream.get("worker") is None else (*INSPECT_COLUMNS, WORKER_COLUMN))
    if not context.out.as_json:
        names = _names(stream)
        for name, columns in INSPECT_TABLES.items():
            if items := _rows(stream, name):
                if name in ("files", "gaps"):
                    items = [{**item, "user_name": _name_of(item.get("user_id"), names)} for item in items]
                context.out.section(name)
                context.out.rows(items, columns)


def _rows(stream: Item, table: str) -> Any:
    if table == "elsewhere":
        return (stream.get("part") or {}).get("elsewhere")
    return media_rows(stream) if table == "media" else stream.get(table)


def _names(stream: Item) -> Mapping[Any, Any]:
    return {person.get("user_id"): person.get("user_name") for person in stream.get("participants") or ()}


def _name_of(user_id: object, names: Mapping[Any, Any]) -> object:
    """Return the name of the user of a file or gap: the mix has user 0, and pictures may have none."""
    return names.get(user_id) or ("(the mix)" if user_id == 0 else None)


def media_rows(stream: Item) -> list[Item]:
    """Return a row for each media type: asked for, granted, refused."""
    return [{**term, "media": name} for name, term in (stream.get("media") or {}).items()]


def refusal(term: Item) -> str:
    """Return why a medium is not granted: "status 9: ..."."""
    refused = term.get("refused")
    if not refused:
        return UNKNOWN
    status = "" if refused.get("status") is None or "status" in refused["why"] else f"status {refused['status']}: "
    return f"{status}{refused['why']}"


def gap_ms(gap: Item) -> int | None:
    """Return how long a gap, or another time, is; None while it is open."""
    return None if gap.get("to_ms") is None else gap["to_ms"] - gap["from_ms"]


def details(fields: object) -> str:
    """Return the other fields of the started webhook: "session_key room-7, account_id Acct"."""
    if not isinstance(fields, dict) or not fields:
        return UNKNOWN
    return ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items()
    )


def refusals(stream: Item) -> str:
    """Return how often, and when, its start was answered with 503."""
    lost = stream.get("lost") or {}
    if lost.get("loss") != "refused":
        return UNKNOWN
    return f"{lost['times']} times, first {moment(lost['first_ms'])}, last {moment(lost['last_ms'])}: not recorded then"


def video_of(stream: Item) -> str:
    """Return whose video is asked for, and by whom: "Ana (7), follow = active-speaker"."""
    video = stream.get("video") or {}
    if "streams" not in video:  # in a manifest it is what a restart has to know
        return UNKNOWN
    if video["streams"] != "individual":
        return f"not granted: {video['streams']}"
    named = _names(stream).get(video.get("user_id"))
    return f"{seen({**video, 'user_name': named})}, {chosen_by(video)}"


INSPECT_COLUMNS: Final = (
    Column("stream", key("rtms_stream_id")),
    Column("product", key("product")),
    Column("id", key("id")),
    Column("session key", session_key),
    Column("app", key("app")),
    Column("state", state_of),
    Column("why", lambda stream: stream.get("why") or UNKNOWN),
    Column("connecting", lambda stream: ", ".join(plans(stream)) or UNKNOWN),
    Column("refused", refusals),
    Column("started", lambda stream: moment(stream.get("started_ms")), key("started_ms")),
    Column("ended", lambda stream: moment(stream.get("ended_ms")), key("ended_ms")),
    Column("lasted", lasted, lasted_in_s),
    Column("stop reason", stop_reason, key("stop_reason")),
    Column("receiving", rates),
    Column("last packet", last_packet),
    Column("lag", lag, key("lag_ms")),
    Column("signaling", lambda stream: "up" if stream.get("signaling_up") else "down"),
    Column("keep-alives", lambda stream: listed(stream.get("keep_alives"))),
    Column("video of", video_of),
    Column("counters", lambda stream: listed(stream.get("counters"))),
    Column("details", lambda stream: details(stream.get("details"))),
    Column("directory", key("directory")),
)

WORKER_COLUMN: Final = Column("worker", key("worker"))

INSPECT_TABLES: Final[Mapping[str, tuple[Column, ...]]] = {
    "participants": (
        Column("USER", key("user_id")),
        Column("NAME", key("user_name")),
        Column("ROLE", key("role"), rank=1),
        Column("JOINED", lambda person: clock(person.get("joined_ms")), key("joined_ms")),
        Column("LEFT", lambda person: clock(person.get("left_ms")), key("left_ms")),
    ),
    "files": (
        Column("FILE", key("path")),
        Column("MEDIA", key("media")),
        Column("USER", key("user_id")),
        Column("NAME", key("user_name")),
        Column("START", lambda file: clock(file.get("start_ms")), key("start_ms")),
        Column("LENGTH", lambda file: milliseconds(file.get("duration_ms")), key("duration_ms"), right=True),
        Column("SIZE", lambda file: size(file.get("bytes")), key("bytes"), right=True),
    ),
    "media": (
        Column("MEDIA", key("media")),
        Column("ASKED FOR", lambda term: listed(term.get("asked"))),
        Column("GRANTED", lambda term: listed(term.get("granted"))),
        Column("REFUSED", refusal),
    ),
    "links": (
        Column("LINK FOR", lambda link: ", ".join(link["media"])),
        Column("STATE", key("state")),
        Column("LATEST LOSS", lambda link: ", ".join([link.get("why") or UNKNOWN, *plans(link)])),
    ),
    "connections": (
        Column("CONNECTION", key("kind")),
        Column("OPENED", lambda item: clock(item.get("opened_ms")), key("opened_ms")),
        Column("CLOSED", lambda item: clock(item.get("closed_ms")), key("closed_ms")),
        Column("WHY", key("why")),
    ),
    "gaps": (
        Column("GAP IN", key("media")),
        Column("USER", lambda gap: "all" if gap.get("user_id") is None else gap["user_id"]),
        Column("NAME", key("user_name"), rank=1),
        Column("FROM", lambda gap: clock(gap.get("from_ms")), key("from_ms")),
        Column("TO", lambda gap: clock(gap.get("to_ms")), key("to_ms")),
        Column("LENGTH", lambda gap: milliseconds(gap_ms(gap)), gap_ms, right=True),
        Column("CAUSE", key("cause")),
    ),
    "elsewhere": (
        Column("ON NODE", key("node")),
        Column("FROM", lambda other: clock(other.get("from_ms")), key("from_ms")),
        Column("TO", lambda other: clock(other.get("to_ms")), key("to_ms")),
        Column("LENGTH", lambda other: milliseconds(gap_ms(other)), gap_ms, right=True),
    ),
}
