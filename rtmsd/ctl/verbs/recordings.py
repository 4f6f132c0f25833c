"""Recordings on disk: ls, verify, repair, rm."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rtmsd.ctl.exits import CtlError, Exit
from rtmsd.ctl.figures import UNKNOWN, milliseconds, moment, printable, size
from rtmsd.ctl.output import Column, Item, Style, key
from rtmsd.ctl.verb import Call, Verb
from rtmsd.ctl.verbs.streams import count

MARKS: Final = ("stream.json", "events.jsonl")  # a directory with one of them is a recording, whole or broken
LIVE_STATES: Final = frozenset({"connecting", "active", "paused", "recovering"})


def ls(call: Call) -> Exit:
    """List what is recorded."""
    call.out.rows(call.client.get("/v1/recordings"), LS_COLUMNS, empty="no recordings")
    return Exit.OK


def lasted_ms(recording: Item) -> int | None:
    """Return the length of a recording by Zoom's clock; None while it goes on."""
    return None if recording.get("ended_ms") is None else recording["ended_ms"] - recording["started_ms"]


def _plain_lasted_ms(recording: Item) -> int | str:
    lasted = lasted_ms(recording)
    return UNKNOWN if lasted is None else lasted


LS_COLUMNS: Final = (
    Column("STREAM", key("rtms_stream_id")),
    Column("APP", key("app")),
    Column("STATE", key("state")),
    Column("STARTED", lambda recording: moment(recording.get("started_ms")), key("started_ms")),
    Column("LASTED", lambda recording: milliseconds(lasted_ms(recording)), _plain_lasted_ms, right=True),
    Column("SIZE", lambda recording: size(recording.get("bytes")), key("bytes"), right=True),
    Column("GAPS", lambda recording: count(recording, "gaps"), right=True),
    Column("DIRECTORY", key("directory")),
)


def verify(call: Call) -> Exit:
    """Read recordings back and name every problem; FAILED when there is one."""
    from rtmsd.recording.verify import verify as problems_of  # noqa: PLC0415

    results = [
        {"directory": str(directory), "problems": [problem._asdict() for problem in problems_of(directory)]}
        for directory in _directories(call)
    ]
    _show(call, results, "problems", Style.BAD)
    return Exit.FAILED if any(result["problems"] for result in results) else Exit.OK


def repair(call: Call) -> Exit:
    """Mend what can be mended, and say what was; a live recording is the daemon's, and refused."""
    from rtmsd.recording.repair import repair as mend  # noqa: PLC0415

    directories = list(_directories(call))
    if live := _live_among(call, directories):
        raise CtlError(Exit.REFUSED, f"{live} is being recorded", "Wait for its end, or `rtmsctl stop` the stream.")
    _show(call, [{"directory": str(each), "mended": mend(each)} for each in directories], "mended", Style.WARN)
    return Exit.OK


def remove(call: Call) -> Exit:
    """Delete a recording for good. The daemon does it, and refuses while the stream lives."""
    name = _named(call, call.args.recording)["rtms_stream_id"]
    if not call.args.yes and not _confirmed(name):
        raise CtlError(Exit.FAILED, f"{name} is kept", "" if sys.stdin.isatty() else "Without a terminal, say --yes.")
    call.out.said(call.client.delete(f"/v1/recordings/{quote(name, safe='')}"), f"{name} is deleted")
    return Exit.OK


def _confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"Delete the recording {printable(name)} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _directories(call: Call) -> Iterator[Path]:
    """Yield the recordings that were named: by a directory (also one that holds many), by id or prefix; else all.

    Raises CtlError for a name that is neither, and for a directory without a recording.
    """
    for name in call.args.recordings:
        if not Path(name).is_dir():
            yield Path(_named(call, name)["directory"])
            continue
        found = sorted({file.parent for mark in MARKS for file in Path(name).rglob(mark)})
        if not found:
            raise CtlError(Exit.FAILED, f"no recording is in {name}: no {' or '.join(MARKS)} there or below")
        yield from found
    if not call.args.recordings:
        yield from (Path(recording["directory"]) for recording in call.client.get("/v1/recordings"))


def _named(call: Call, prefix: str) -> dict[str, Any]:
    """Return the one recording whose id is, or begins with, `prefix`. Raises CtlError (NO_SUCH_STREAM, USAGE)."""
    if not prefix:
        raise CtlError(Exit.USAGE, "a recording's name is empty", "`rtmsctl recordings ls` lists them.")
    recordings: list[dict[str, Any]] = call.client.get("/v1/recordings")
    found = [item for item in recordings if item["rtms_stream_id"].startswith(prefix)]
    exact = [item for item in found if item["rtms_stream_id"] == prefix]
    match exact or found:
        case [only]:
            return only
        case []:
            raise CtlError(Exit.NO_SUCH_STREAM, f"no recording is called {prefix!r}, and no directory")
    names = "\n".join(item["rtms_stream_id"] for item in found)
    raise CtlError(Exit.USAGE, f"{len(found)} recordings begin with {prefix!r}: write more of the id", names)


def _live_among(call: Call, directories: list[Path]) -> Path | None:
    """Return a directory that the daemon is writing to; None also when no daemon is there to write."""
    try:
        recordings = call.client.get("/v1/recordings")
    except CtlError as error:
        if error.exit_code is Exit.UNREACHABLE:
            return None
        raise
    live = {Path(item["directory"]).resolve() for item in recordings if item["state"] in LIVE_STATES}
    return next((directory for directory in directories if directory.resolve() in live), None)


def _show(call: Call, results: list[dict[str, Any]], what: str, style: Style) -> None:
    if call.out.as_json:
        call.out.json(results)
        return
    for result in results:
        directory = printable(result["directory"])
        for found in result[what]:
            line = printable(found if isinstance(found, str) else f"{found['path']}: {found['detail']}")
            call.out.line(
                f"{directory}: {call.out.styled(line, style)}" if call.out.terminal else f"{directory}\t{line}"
            )
        if not result[what]:
            call.out.line(
                f"{directory}: {call.out.styled('ok', Style.GOOD)}" if call.out.terminal else f"{directory}\tok"
            )


def _recordings_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "recordings",
        metavar="RECORDING",
        nargs="*",
        help="id or its beginning, or a directory; needs no daemon for a directory (default: all)",
    )


def _rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", metavar="RECORDING", help="id of a recording, or the beginning of one")
    parser.add_argument("--yes", action="store_true", help="do not ask")


VERBS: Final = (
    Verb("recordings ls", ls, "list recordings"),
    Verb("recordings verify", verify, "read recordings back, and name every problem", _recordings_arguments),
    Verb("recordings repair", repair, "mend recordings as far as possible", _recordings_arguments),
    Verb("recordings rm", remove, "delete a recording", _rm_arguments),
)
