"""Chapters of a film: who joins and leaves, shared screens, pauses, gaps, and what another node has."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.text.plain import one_line
from rtmsd.recording.manifest.lines import Line

_MAX: Final = 1000
_SHARES: Final = {"sharing_start": "share", "sharing_stop": "end of share"}
_MS: Final = Fraction(1, 1000)


def chapters(source: Source, request: Request, from_ms: int, to_ms: int) -> list[dict[str, Any]]:
    """Return the chapters between two times, as PyAV takes them: each lasts until the next one."""
    titles: dict[int, list[str]] = {from_ms: []}
    for at_ms, title in sorted(_moments(source, request)):
        if from_ms <= at_ms < to_ms and (at_ms in titles or len(titles) < _MAX):
            titles.setdefault(at_ms, []).append(title)
    starts = [*titles, to_ms]
    return [
        {
            "id": number,
            "start": at_ms - from_ms,
            "end": starts[number] - from_ms,
            "time_base": _MS,
            "metadata": {"title": "; ".join(dict.fromkeys(titles[at_ms])) or "start"},
        }
        for number, at_ms in enumerate(titles, 1)
    ]


def _moments(source: Source, request: Request) -> Iterator[tuple[int, str]]:
    for person in source.manifest.participants:
        name = one_line(source.name(person.user_id))
        if person.joined_ms is not None:
            yield person.joined_ms, f"{name} joins"
        if person.left_ms is not None:
            yield person.left_ms, f"{name} leaves"
    for line in source.lines("events.jsonl", Line.EVENT):
        if (what := _SHARES.get(line["kind"])) and isinstance(line.get("zoom_ms"), int):
            user_id = line.get("user_id")
            whose = f" of {one_line(source.name(user_id))}" if isinstance(user_id, int | str) else ""
            yield line["zoom_ms"], f"{what}{whose}"
    for pause in source.pauses:
        yield pause.from_ms, f"pause {_seconds(pause.from_ms, pause.to_ms)}"
    for other in source.elsewhere:
        yield other.from_ms, f"elsewhere {_seconds(other.from_ms, other.to_ms)}: on node {one_line(other.node)}"
    for gap in source.gaps:
        if gap.user_id is None or request.wants(gap.user_id):
            yield gap.from_ms, f"gap {_seconds(gap.from_ms, gap.to_ms)}: {gap.cause}"


def _seconds(from_ms: int, to_ms: int | None) -> str:
    return f"{(0 if to_ms is None else to_ms - from_ms) / 1000:.1f} s"
