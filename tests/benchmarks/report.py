"""The results of a benchmark: a table to read, the ratios that decide, and all of it as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from tests.benchmarks.goals import Verdict, judged
from tests.benchmarks.recording import RTMSD
from tests.benchmarks.results import Results

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
    ("keep-alive p50", "keep_alive_p50_ms", "{:.0f}"),
    ("p99", "keep_alive_p99_ms", "{:.0f}"),
    ("max ms", "keep_alive_ms", "{:.0f}"),
    ("unsynced ms", "unsynced_ms", "{:.0f}"),
    ("KB/stream", "rss_kb", "{:.0f}"),
    ("webhook p99 ms", "webhook_p99_ms", "{:.0f}"),
    ("ready p50 ms", "ready_p50_ms", "{:.1f}"),
    ("sender core %", "sender_core_percent", "{:.0f}"),
    ("late p99 ms", "sender_late_ms", "{:.1f}"),
    ("skipped", "skipped", "{:d}"),
)

NOTES = (
    "rtmsd, tapped: the same daemon a moment later, with live taps on five streams; rtmsd: nobody listens",
    "msgspec alone, Node alone: the same message decoded again and again, no socket",
    "keep-alive -: only rtmsd and Zoom's SDK have signaling; the others open media sockets alone and answer none",
    "KB/stream -: with one stream, a peer has nothing beyond its first; rtmsd had one before, which is not counted",
    "KB/stream with few streams: what the client's memory does by itself counts for more than the streams do",
    "webhook and ready ms -: a peer is started with its streams, and has no webhooks",
    "core % -: in a flood it says nothing; MB/CPU-s -: rtmsd's is that of floods",
    "of them dropped: what rtmsd counted and named as a gap, for want of room; lost beyond that is a bug",
    "p50 and p99 in a flood: mostly the time in the sockets' buffers",
    "lost, dropped, keep-alive, unsynced: of both rows of rtmsd together",
    "unsynced ms: the most that the oldest byte not yet synced was old; -: the daemon does not say",
    "sender: the load generator; near 100 %, or late by more than a few ms, it was the limit and not the client",
    "keep-alives have the load generator's own lateness in them, since one thread of it asks, sends and hears",
    "skipped: not sent, as the client had left more than its share of bytes in the socket; counted as lost",
)


def to_json(results: Results) -> dict[str, Any]:
    return {
        "machine": results.machine,
        "missing": results.missing,
        "left out": results.left_out,
        "notes": NOTES,
        "goals": [attrs.asdict(each) for each in judged(results)],
        "trials": results.trials,
        "ratios": dict(ratios(results)),
        "cells": [attrs.asdict(cell) for cell in results.cells],
    }


def ratios(results: Results) -> Iterator[tuple[str, float]]:
    """How many times the CPU time of rtmsd, by load and client, the others take for a message."""
    for load in results.loads():
        cells = {cell.client: cell.middle("cpu_us") for cell in results.of(load)}
        for ours in (RTMSD, "rtmsd receive only"):
            base = cells.get(ours)
            for client, cpu_us in cells.items():
                if base and cpu_us and not client.startswith(RTMSD) and not client.endswith(" alone"):
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
    goals = [["goal", "limit", "measured", ""]]
    goals += [
        [
            each.name,
            each.goal,
            _shown(each.measured, "{:.0f}" if (each.measured or 0) >= 100 else "{:.3g}"),
            each.verdict,
        ]
        for each in judged(results)
        if each.verdict is not Verdict.NOT_MEASURED
    ]
    lines += ["", *_aligned(goals), "", *NOTES, *(f"{name}: {why}" for name, why in results.missing.items())]
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
