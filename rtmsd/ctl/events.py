"""The lines of `events.jsonl`: read from the files of streams, and shown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rtmsd.ctl.formatting import clock, printable
from rtmsd.ctl.output import Item, Output, Style
from rtmsd.protocol.causes import FINAL_STATES

_LEAST_TIME_MS: Final = 10**12  # since the epoch: smaller ones are durations
_SHOWN_APART: Final = frozenset({"rtms_stream_id", "at_ms", "kind"})


class EventFile:
    """The `events.jsonl` of one stream, read on as it grows."""

    def __init__(self, rtms_stream_id: str, directory: str) -> None:
        self._rtms_stream_id = rtms_stream_id
        self._path = Path(directory, "events.jsonl")
        self._offset = 0

    def new(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines since the last time, with the id of their stream. A file that is not there has none."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:  # no event yet, or the stream was revoked
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                event = {"at_ms": 0, "kind": "unreadable_line"}  # `recordings verify` says more
            yield {"rtms_stream_id": self._rtms_stream_id, **event}


def lost_events(stream: Item) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream without a file: its start was refused, or it failed before there was one."""
    if lost := stream.get("lost"):
        kind = "start_refused" if lost["loss"] == "refused" else "stream_lost"
        event = {"rtms_stream_id": stream["rtms_stream_id"], "kind": kind, "why": stream.get("why")}
        yield {**event, "at_ms": lost["first_ms"]}
        if lost["times"] > 1:
            yield {**event, "at_ms": lost["last_ms"], "times": lost["times"]}


def show_event(out: Output, event: Item) -> None:
    """Write one event: a line for people or programs, a JSON text with --json."""
    if out.as_json:
        out.json_line(event)
        return
    stream = str(event.get("rtms_stream_id", ""))
    details = " ".join(_shown(name, value) for name, value in event.items() if _is_shown(name, value))
    if out.terminal:
        head = f"{clock(event.get('at_ms'))}  {printable(stream[:12]):12}"
        out.line(f"{out.styled(head, Style.DIM)}  {out.styled(printable(event.get('kind')), Style.HEAD)}  {details}")
    else:
        out.line("\t".join((str(event.get("at_ms", "")), printable(stream), printable(event.get("kind")), details)))


def _is_shown(name: str, value: Any) -> bool:
    return name not in _SHOWN_APART and value is not None


def _shown(name: str, value: Any) -> str:
    """A time of Zoom's as a time of day, anything else as it is."""
    if name.endswith("_ms") and type(value) is int and value > _LEAST_TIME_MS:
        return f"{printable(name.removesuffix('_ms'))}={clock(value)}"
    return f"{printable(name)}={_value_text(value)}"


def ended(events: Sequence[Item]) -> bool:
    """Say whether the stream has ended after these events; one that was started again has not."""
    states = [event.get("state") for event in events if event.get("kind") == "stream_state"]
    return bool(states) and states[-1] in FINAL_STATES


def _value_text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, Mapping) and "user_name" in item for item in value):
        return printable(",".join(str(item["user_name"] or item.get("user_id")) for item in value))
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
