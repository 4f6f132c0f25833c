"""The results of a benchmark: a table to read, the ratios that decide, and all of it as JSON."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

import attrs

from tests.benchmarks.figures import Figures
from tests.benchmarks.loads import Load
from tests.benchmarks.measure import RTMSD

_COLUMNS = (
    ("rounds", "rounds", "{:d}"),
    ("msg/CPU-s", "messages_per_cpu_s", "{:.0f}"),
    ("µs/msg", "cpu_us", "{:.1f}"),
    ("core %", "core_percent", "{:.1f}"),
    ("MB/CPU-s", "payload_mb_per_s", "{:.0f}"),
    ("p50 ms", "p50_ms", "{:.2f}"),
    ("p99 ms", "p99_ms", "{:.2f}"),
    ("lost", "lost", "{:d}"),
    ("of them dropped", "dropped", "{:d}"),
    ("keep-alive ms", "keep_alive_ms", "{:.0f}"),
    ("KB/stream", "rss_kb", "{:.0f}"),
    ("webhook p99 ms", "webhook_p99_ms", "{:.0f}"),
    ("ready p50 ms", "ready_p50_ms", "{:.1f}"),
)

NOTES = (
    "keep-alive ms -: only rtmsd and Zoom's SDK have signaling; the others open media sockets alone and answer none",
    "KB/stream -: with one stream, a peer has nothing beyond its first; rtmsd had one before, which is not counted",
    "KB/stream with few streams: what the client's memory does by itself counts for more than the streams do",
    "webhook and ready ms -: a peer is started with its streams, and has no webhooks",
    "core % -: in a flood it says nothing; MB/CPU-s -: rtmsd's is that of floods",
    "of them dropped: what rtmsd counted and named as a gap, for want of room; lost beyond that is a bug",
    "p50 and p99 in a flood: mostly the time in the sockets' buffers; rtmsd's are of a second flood, with taps open",
)


@attrs.define
class Cell:
    """A client under a load, once for each round; or why it could not be measured."""

    client: str
    load: Load
    rounds: list[Figures] = attrs.field(factory=list)
    failure: str = ""

    def middle(self, field: str) -> Any:
        if field == "rounds":
            return len(self.rounds)
        values = [value for each in self.rounds if (value := getattr(each, field)) is not None]
        if not values:
            return None
        return sum(values) if field in {"lost", "dropped"} else median(values)


@attrs.define
class Results:
    """Everything measured, in the order of the plan."""

    cells: list[Cell] = attrs.field(factory=list)
    trials: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    missing: dict[str, str] = attrs.field(factory=dict)
    machine: dict[str, Any] = attrs.field(factory=dict)
    left_out: list[str] = attrs.field(factory=list)  # for want of time

    def cell(self, client: str, load: Load) -> Cell:
        for cell in self.cells:
            if cell.client == client and cell.load == load:
                return cell
        self.cells.append(Cell(client, load))
        return self.cells[-1]

    def loads(self) -> list[Load]:
        return list(dict.fromkeys(cell.load for cell in self.cells))

    def of(self, load: Load) -> list[Cell]:
        return [cell for cell in self.cells if cell.load == load]

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "missing": self.missing,
            "left out": self.left_out,
            "notes": NOTES,
            "trials": self.trials,
            "ratios": dict(ratios(self)),
            "cells": [attrs.asdict(cell) for cell in self.cells],
        }


def ratios(results: Results) -> Iterator[tuple[str, float]]:
    """How many times the CPU time of rtmsd, by load and client, the others take for a message."""
    for load in results.loads():
        cells = {cell.client: cell.middle("cpu_us") for cell in results.of(load)}
        for ours in (RTMSD, "rtmsd receive only"):
            base = cells.get(ours)
            for client, cpu_us in cells.items():
                if base and cpu_us and not client.startswith(RTMSD):
                    yield f"{load.name}: {client} / {ours}", cpu_us / base


def table(results: Results) -> str:
    lines = [", ".join(f"{name}: {value}" for name, value in results.machine.items())]
    for load in results.loads():
        rows = [[load.name, *(name for name, _, _ in _COLUMNS)]]
        base = next((cell.middle("cpu_us") for cell in results.of(load) if cell.client == RTMSD), None)
        rows[0].append("× rtmsd")
        for cell in results.of(load):
            if cell.failure and not cell.rounds:
                rows.append([cell.client, cell.failure])
                continue
            values = [_shown(cell.middle(field), form) for _, field, form in _COLUMNS]
            values.append(_shown(cell.middle("cpu_us") / base if base else None, "{:.2f}"))
            rows.append([cell.client, *values])
        lines += ["", *_aligned(rows)]
    for name, found in results.trials.items():
        lines += ["", name, *(f"  {key}: {_shown(value, '{:.1f}')}" for key, value in found.items())]
    lines += ["", *NOTES, *(f"{name}: {why}" for name, why in results.missing.items())]
    lines += [f"left out for want of time: {name}" for name in results.left_out]
    return "\n".join(lines)


def _shown(value: Any, form: str) -> str:
    if value is None:
        return "-"
    return form.format(value) if not isinstance(value, int | str) or form == "{:d}" else str(value)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    whole = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in whole) for column in range(len(rows[0]))]
    return [
        "  ".join(
            value.ljust(widths[0]) if not column else value.rjust(widths[column]) for column, value in enumerate(row)
        )
        if len(row) == len(rows[0])
        else f"{row[0]}: {row[1]}"
        for row in rows
    ]
