"""Deliveries of finished recordings to sinks: ls, show, replay."""

import time
from typing import Final
from urllib.parse import quote

from rtmsd.ctl.context import Context
from rtmsd.ctl.formatting import UNKNOWN, duration, moment
from rtmsd.ctl.output import Column, Item, key
from rtmsd.ctl.verbs.streams import WORKER
from rtmsd.terminal import printable


def ls(context: Context) -> None:
    """List deliveries."""
    deliveries = context.client.get("/v1/deliveries")
    state = context.args.state
    chosen = [item for item in deliveries if state is None or item["state"] == state]
    context.warn_of_silent()
    columns = (*LS_COLUMNS, WORKER) if context.client.workers else LS_COLUMNS
    context.out.rows(chosen, columns, empty="no deliveries")


def show(context: Context) -> None:
    """Show one delivery; what its program said comes last, as it may have many lines."""
    delivery = context.client.get(_path(context))
    context.out.record(delivery, (*SHOW_COLUMNS, WORKER) if "worker" in delivery else SHOW_COLUMNS)
    if delivery["output"] and not context.out.as_json:
        context.out.section("output")
        for line in delivery["output"].splitlines():
            context.out.line(printable(line))


def replay(context: Context) -> None:
    """Run a dead delivery again."""
    answer = context.client.post(f"{_path(context)}/replay")
    context.out.said(answer, f"delivery {answer['id']} runs again")


def _path(context: Context) -> str:
    return f"/v1/deliveries/{quote(context.args.delivery, safe='', errors='surrogatepass')}"


def _next(delivery: Item) -> str:
    """Return how long a delivery still waits for its next try."""
    due_ms = delivery.get("due_ms")
    return UNKNOWN if due_ms is None else duration(max(0.0, due_ms / 1000 - time.time()))


_FIRST: Final = (
    Column("ID", key("id"), right=True),
    Column("SINK", key("sink")),
    Column("STREAM", key("rtms_stream_id")),
    Column("EVENT", key("event"), rank=1),
    Column("STATE", key("state")),
    Column("RUNS", key("runs"), right=True, rank=2),
)
_NEXT: Final = Column("NEXT", _next, key("due_ms"), right=True, rank=1)

LS_COLUMNS: Final = (*_FIRST, _NEXT, Column("WHY", lambda delivery: delivery.get("why") or UNKNOWN, rank=1))

SHOW_COLUMNS: Final = (
    *_FIRST,
    Column("TRIES", key("tries")),
    _NEXT,
    Column("QUEUED", lambda delivery: moment(delivery.get("created_ms")), key("created_ms")),
    Column("BEGAN", lambda delivery: moment(delivery.get("began_ms")), key("began_ms")),
    Column("ENDED", lambda delivery: moment(delivery.get("ended_ms")), key("ended_ms")),
    Column("WHY", key("why")),
    Column("DIRECTORY", key("directory")),
)
