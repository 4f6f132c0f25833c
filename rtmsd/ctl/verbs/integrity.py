"""The integrity of recordings on disk: verify, repair."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from rtmsd.ctl.context import Context
from rtmsd.ctl.earlier_streams import listed
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.formatting import milliseconds, printable
from rtmsd.ctl.output import Item, Style
from rtmsd.ctl.verbs.recordings import directory_of, whole
from rtmsd.protocol.causes import FINAL_STATES, RecordingState
from rtmsd.recording.recovery.repair import repair as repair_recording
from rtmsd.recording.verify.verify import missing
from rtmsd.recording.verify.verify import verify as problems_of

MARKS: Final = frozenset({"stream.json", "events.jsonl"})  # a directory with one is a recording, whole or broken
LIVE_STATES: Final = frozenset(RecordingState) - FINAL_STATES


def verify(context: Context) -> Exit:
    """Read recordings back and name every problem; FAILED when there is one."""
    results = [
        {
            "directory": str(directory),
            "problems": [problem._asdict() for problem in problems_of(directory)],
            **missing(directory)._asdict(),
        }
        for directory in _directories(context)
    ]
    _show(context, results, "problems", Style.BAD)
    if not context.out.as_json:
        context.out.line(verdict(results))
    listed = Exit.OK if context.args.recordings else whole(context)
    return Exit.FAILED if any(result["problems"] for result in results) else listed


def verdict(results: Sequence[Item]) -> str:
    """Sum all recordings up: "2 recordings, no problems, 3 gaps, missing: audio 0.2s (dropped)"."""
    totals: dict[str, Counter[str]] = {}
    for result in results:
        for medium, causes in result["media_ms"].items():
            totals.setdefault(medium, Counter()).update(causes)
    figures = [(len(results), "recording"), (sum(len(result["problems"]) for result in results), "problem")]
    counts = [_count(number, what) for number, what in [*figures, (sum(result["gaps"] for result in results), "gap")]]
    elsewhere_ms = sum(sum((result.get("elsewhere_ms") or {}).values()) for result in results)
    elsewhere = [f"{milliseconds(elsewhere_ms)} elsewhere"] if elsewhere_ms else []
    return ", ".join([*counts, *(["missing: " + amounts(totals)] if totals else []), *elsewhere])


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'s' * (number != 1)}"


def amounts(media_ms: Mapping[str, Mapping[str, int]]) -> str:
    """Return how much of each medium is missing, and why: "audio 0.3s (node_takeover), transcript 9.0s (dropped)"."""
    return ", ".join(
        f"{printable(medium)} {milliseconds(amount_ms)} ({printable(cause)})"
        for medium, causes in sorted(media_ms.items())
        for cause, amount_ms in sorted(causes.items(), key=lambda item: -item[1])
    )


def _ok_text(result: Item) -> str:
    """Return the line for a recording without problems; a gap is none, nor is what another node has."""
    found = []
    if result.get("gaps"):
        found.append(f"{_count(result['gaps'], 'gap')}: {amounts(result['media_ms'])}")
    for node, amount_ms in (result.get("elsewhere_ms") or {}).items():
        found.append(f"{milliseconds(amount_ms)} elsewhere, on node {printable(node)}")
    return ", ".join(["ok", "; ".join(found)]) if found else "ok"


def repair(context: Context) -> None:
    """Repair what can be repaired, and say what was, or would be; a live recording is refused: the daemon writes it."""
    directories = list(_directories(context))
    dry_run = context.args.dry_run
    if live := _live_among(context, directories):
        raise CtlError(Exit.REFUSED, f"{live} is being recorded", "Wait for its end, or `rtmsctl stop` the stream.")
    results: list[dict[str, Any]] = []
    for each in directories:
        repaired = repair_recording(each, dry_run=dry_run)
        results.append({"directory": str(each), "repaired": repaired, "mended": repaired})  # the latter for one release
    _show(context, results, "repaired", Style.WARN)


def _directories(context: Context) -> Iterator[Path]:
    """Yield the recordings that were named: by a directory (also one that holds many), by id or prefix; else all.

    Raises CtlError for a name that is neither, and for a directory without a recording; OSError for one that cannot be
    read.
    """
    for name in context.args.recordings:
        if not Path(name).is_dir():
            yield directory_of(context, name)
            continue
        found = sorted(_recordings_below(name))
        if not found:
            raise CtlError(Exit.FAILED, f"no recording is in {name}: no {' or '.join(sorted(MARKS))} there or below")
        yield from found
    if not context.args.recordings:
        yield from (Path(recording["directory"]) for recording in listed(context))


def _recordings_below(name: str) -> Iterator[Path]:
    def give_up(error: OSError) -> NoReturn:
        raise error

    for directory, _, files in os.walk(name, onerror=give_up):
        if MARKS.intersection(files):
            yield Path(directory)


def _live_among(context: Context, directories: list[Path]) -> Path | None:
    """Return a directory that the daemon is writing to; None also when no daemon runs."""
    try:
        recordings = context.client.get("/v1/recordings")
    except CtlError as error:
        if error.exit_code is Exit.UNREACHABLE:
            return None
        raise
    if silent := context.client.silent:
        raise CtlError(Exit.TIMED_OUT, f"worker {', '.join(silent)} does not answer, and may be recording to it")
    live = {Path(item["directory"]).resolve() for item in recordings if item["state"] in LIVE_STATES}
    return next((directory for directory in directories if directory.resolve() in live), None)


def _show(context: Context, results: list[dict[str, Any]], what: str, style: Style) -> None:
    if context.out.as_json:
        context.out.json(results)
        return
    for result in results:
        for found in result[what]:
            line = printable(found if isinstance(found, str) else f"{found['path']}: {found['detail']}")
            context.out.labelled(result["directory"], line, style)
        if not result[what]:
            context.out.labelled(result["directory"], _ok_text(result), Style.GOOD)
