"""The log of a daemon, read while it is written."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen
class Line:
    """A line. `at_ms` is Unix time."""

    at_ms: int
    event: str
    fields: Mapping[str, Any]


def read_log(path: Path) -> Iterator[Line]:
    """Yield the lines of a log. One that is no JSON, as of an interpreter that crashed, is an event without time."""
    whole, _, _ = path.read_text(errors="replace").rpartition("\n")
    for text in whole.splitlines():
        try:
            fields = json.loads(text)
            at_ms = int(datetime.fromisoformat(fields["timestamp"]).timestamp() * 1000)
            yield Line(at_ms, fields["event"], fields)
        except (ValueError, KeyError, TypeError):
            yield Line(0, text, {"exception": text})


def crashes(lines: Iterable[Line]) -> list[Line]:
    """Return what no fault excuses."""
    return [line for line in lines if "exception" in line.fields or "crash" in line.event]
