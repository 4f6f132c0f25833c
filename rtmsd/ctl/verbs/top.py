"""top: a live view of status and streams."""

import sys
import time
from contextlib import suppress
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rtmsd.ctl.context import Context
from rtmsd.ctl.formatting import duration, printable
from rtmsd.ctl.output import STATE_STYLES, Item, Style, shown
from rtmsd.ctl.verbs.status import by_worker, disk, health, received, summed_up, troubles, webhooks
from rtmsd.ctl.verbs.streams import ps_columns

RICH_STYLES: Final = {Style.GOOD: "green", Style.WARN: "yellow", Style.BAD: "red", Style.DIM: "dim", Style.HEAD: "bold"}


def top(context: Context) -> None:
    """Show a live view until Ctrl-C; without a terminal, or as JSON, show it once."""
    if context.out.as_json:
        status, streams = _look(context)
        context.out.json({"status": status, "streams": streams})
    elif not context.out.terminal:
        status, streams = _look(context)
        context.out.rows(streams, ps_columns(streams, workers="workers" in status))
    else:
        with suppress(KeyboardInterrupt):
            _live(context)


def _look(context: Context) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return context.client.get("/v1/status"), context.client.get("/v1/streams")


def _live(context: Context) -> None:
    console = Console(file=sys.stdout)
    first = picture(*_look(context), console.width)
    with Live(first, console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(context.args.interval)
            live.update(picture(*_look(context), console.width), refresh=True)


def picture(status: Item, streams: list[dict[str, Any]], width: int) -> RenderableType:
    def words(text: Any, style: Style | None = None) -> Text:
        plain = printable(text)
        chosen = style or STATE_STYLES.get(plain)
        return Text(plain, style=RICH_STYLES[chosen] if chosen else "")

    all_columns = ps_columns(streams, workers="workers" in status)
    rows = [[column.title for column in all_columns]]
    rows += [[printable(column.cell(stream)) for column in all_columns] for stream in streams]
    kept = shown(all_columns, rows, width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for index in kept:
        is_last = index == kept[-1]
        table.add_column(rows[0][index], justify="right" if all_columns[index].right else "left", no_wrap=not is_last)
    for row in rows[1:]:
        table.add_row(*(words(row[index]) for index in kept))
    return Group(
        Text.assemble(
            "rtmsd ", words(health(status)), f"  up {duration(status.get('uptime_s'))}  {time.strftime('%H:%M:%S')}"
        ),
        words(f"streams   {summed_up(status.get('streams'))}"),
        *([words(f"workers   {by_worker(status)}")] if status.get("workers") else ()),
        words(f"webhooks  {webhooks(status)}"),
        words(f"received  {received(status)}"),
        words(f"disk      {disk(status)}"),
        *(words(text, style) for style, text in troubles(status)),
        Text(),
        table,
    )
