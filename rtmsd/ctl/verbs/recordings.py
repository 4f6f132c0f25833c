"""The list of recordings, and deletion: ls, rm."""

import os
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from rtmsd.ctl.context import Context
from rtmsd.ctl.earlier_streams import listed, matching, only, only_id, state_of
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.formatting import UNKNOWN, milliseconds, moment, printable, size
from rtmsd.ctl.output import Column, Item, key
from rtmsd.ctl.verbs.streams import WORKER, count
from rtmsd.nearest import did_you_mean
from rtmsd.terminal import complain


def ls(context: Context) -> Exit:
    """List all recordings; FAILED when a directory of them cannot be listed."""
    recordings = listed(context)
    columns = (*LS_COLUMNS, WORKER) if context.client.workers else LS_COLUMNS
    context.out.rows(recordings, columns, empty="no recordings")
    return whole(context)


def whole(context: Context) -> Exit:
    """Return whether the list just asked for has all recordings; else name the directories that it lacks."""
    directories = (context.client.get("/v1/status").get("disk") or {}).get("directories") or ()
    unread = [each for each in directories if each.get("unread")]
    for each in unread:
        complain(f"rtmsctl: recordings are left out: {each['unread']}")
    return Exit.FAILED if unread else Exit.OK


def lasted_ms(recording: Item) -> int | None:
    """Return the length of a recording by Zoom's clock; None while it is live."""
    return None if recording.get("ended_ms") is None else recording["ended_ms"] - recording["started_ms"]


def _plain_lasted_ms(recording: Item) -> int | str:
    lasted = lasted_ms(recording)
    return UNKNOWN if lasted is None else lasted


LS_COLUMNS: Final = (
    Column("STREAM", key("rtms_stream_id")),
    Column("APP", key("app")),
    Column("STATE", state_of),
    Column("STARTED", lambda recording: moment(recording.get("started_ms")), key("started_ms")),
    Column("LASTED", lambda recording: milliseconds(lasted_ms(recording)), _plain_lasted_ms, right=True),
    Column("SIZE", lambda recording: size(recording.get("bytes")), key("bytes"), right=True),
    Column("GAPS", lambda recording: count(recording, "gaps"), right=True),
    Column("DIRECTORY", key("directory")),
    Column("SESSION KEY", lambda recording: recording.get("session_key") or UNKNOWN),
)


def remove(context: Context) -> None:
    """Delete a recording permanently. The daemon does it, and refuses while the stream is live."""
    prefix = context.args.recording
    name = only_id(_called(context, prefix), prefix)
    if not context.args.yes and not _confirmed(name):
        raise CtlError(
            Exit.FAILED, f"{name} is kept", "" if sys.stdin.isatty() else "Without a terminal, --yes is needed."
        )
    context.out.said(
        context.client.delete(f"/v1/recordings/{quote(name, safe='', errors='surrogatepass')}"), f"{name} is deleted"
    )


def _confirmed(name: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(f"Delete the recording {printable(name)} permanently? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def named(context: Context, prefix: str) -> dict[str, Any]:
    """Return the one recording whose id is, or begins with, `prefix`. Raises CtlError (NO_SUCH_STREAM, USAGE)."""
    return only(_called(context, prefix), prefix)


def _called(context: Context, prefix: str) -> list[dict[str, Any]]:
    """Return the recordings whose id begins with `prefix`, one at least. Raises CtlError (NO_SUCH_STREAM, USAGE)."""
    if not prefix:
        raise CtlError(Exit.USAGE, "a recording's name is empty", "`rtmsctl recordings ls` lists them.")
    recordings = listed(context)
    found = matching(recordings, prefix)
    if not found:
        meant = did_you_mean(prefix, (item["rtms_stream_id"] for item in recordings))
        raise CtlError(Exit.NO_SUCH_STREAM, f"no recording is called {prefix!r}, and no directory{meant}")
    return found


def directory_of(context: Context, name: str) -> Path:
    """Return the directory that is named, or that of the recording with an id, for which alone the daemon is needed.

    Raises:
        CtlError: there is neither.
    """
    if Path(name).is_dir():
        return Path(name)
    try:
        return Path(named(context, name)["directory"])
    except CtlError as error:
        if error.exit_code is not Exit.UNREACHABLE:
            raise
        if os.sep in name:
            raise CtlError(Exit.NO_SUCH_STREAM, f"{name}: there is no such directory") from error
        raise CtlError(
            error.exit_code, f"{name!r} is no directory, and for an id the daemon is needed: {error}", error.hint
        ) from error
