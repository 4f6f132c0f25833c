"""Streams that the daemon does not remember, such as those before its restart, read from their recordings."""

import json
from pathlib import Path
from typing import Any, Final

from rtmsd.ctl.client import stream_path
from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.formatting import UNKNOWN
from rtmsd.ctl.output import Item
from rtmsd.nearest import did_you_mean
from rtmsd.protocol.causes import FINAL_STATES
from rtmsd.terminal import complain

REFUSED: Final = "refused"  # a start that was answered with 503: it has no files
ALL_FINAL: Final = FINAL_STATES | {REFUSED}
PART: Final = "part"  # what a member of a cluster has of a stream that it let go; its manifest says "recovering"
MAX_EARLIER: Final = 200  # as many as the daemon remembers; `recordings ls` lists all


def known(context: Context, name: str) -> dict[str, Any]:
    """Return everything known of a stream, by the daemon or else by its recording.

    Args:
        name: its id, or a unique prefix.

    Raises:
        CtlError: neither knows it, or it is ambiguous.
    """
    try:
        stream: dict[str, Any] = context.client.get(stream_path(name))
    except CtlError as unknown:
        if unknown.exit_code is not Exit.NO_SUCH_STREAM:
            raise
        recordings = listed(context)
        found = matching(recordings, name)
        if not found:
            meant = did_you_mean(name, (item["rtms_stream_id"] for item in recordings))
            if "did you mean" in str(unknown) or not meant:
                raise
            raise CtlError(unknown.exit_code, f"{unknown}{meant}") from unknown
        return _from_recording(only(found, name))
    if stream.get("state") == REFUSED:  # it may have been recorded before
        recordings = listed(context)
        found = [item for item in matching(recordings, stream["rtms_stream_id"]) if item["state"] in FINAL_STATES]
        if len(found) == 1:
            return {**_from_recording(found[0]), "lost": stream.get("lost")}
    return stream


def with_earlier(context: Context, streams: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add those that ended and that the daemon does not remember: live ones first, then by their end.

    A failing disk must not hide the live streams: then the others are left out, with a warning.
    """
    try:
        recordings: list[dict[str, Any]] = context.client.get("/v1/recordings")
    except CtlError as error:
        complain(f"rtmsctl: earlier streams are left out: {error}")
        return streams
    remembered = {stream["rtms_stream_id"] for stream in streams if stream["state"] != REFUSED}
    ended = [item for item in recordings if item["state"] in FINAL_STATES]
    earlier = _once([item for item in ended if item["rtms_stream_id"] not in remembered])
    all_of_them = [*streams, *map(_from_recording, earlier[-MAX_EARLIER:])]
    return sorted(all_of_them, key=lambda item: (item["state"] in ALL_FINAL, item.get("ended_ms") or _lost_ms(item)))


def _once(recordings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each stream once: as it was joined of its parts, or else the part that ended last."""
    found: dict[str, dict[str, Any]] = {}
    for item in recordings:
        known = found.get(item["rtms_stream_id"])
        if known is None or known.get("is_part") or not item.get("is_part"):
            found[item["rtms_stream_id"]] = item
    return [item for item in recordings if found[item["rtms_stream_id"]] is item]


def _lost_ms(item: Item) -> int:
    lost_ms: int = (item.get("lost") or {}).get("last_ms", 0)
    return lost_ms


def listed(context: Context) -> list[dict[str, Any]]:
    """Return the recordings, and say which workers' are missing."""
    recordings: list[dict[str, Any]] = context.client.get("/v1/recordings")
    context.warn_of_silent()
    return recordings


def state_of(stream: Item) -> str:
    """Return the state of a stream or recording for people; "part" where another member went on from it."""
    return PART if stream.get("is_let_go") else str(stream.get("state") or UNKNOWN)


def matching(recordings: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """Return the recordings whose id begins with `prefix`, or the one whose id it is."""
    found = [item for item in recordings if item["rtms_stream_id"].startswith(prefix)]
    return [item for item in found if item["rtms_stream_id"] == prefix] or found


def only(found: list[dict[str, Any]], prefix: str) -> dict[str, Any]:
    """Return the only one; of a stream that workers recorded in parts, the one that they were joined to.

    Raises:
        CtlError: USAGE, when there are several.
    """
    name = only_id(found, prefix)
    wholes = found if len(found) == 1 else [item for item in found if not item.get("is_part")]
    if wholes:
        return wholes[-1]
    raise CtlError(
        Exit.USAGE,
        f"{name} is in {len(found)} parts: `rtmsctl recordings gather` joins them, or name the directory of one",
        "\n".join(item["directory"] for item in found),
    )


def only_id(found: list[dict[str, Any]], prefix: str) -> str:
    """Return the id of the only stream. Raises CtlError (USAGE) when there are several."""
    names = list(dict.fromkeys(item["rtms_stream_id"] for item in found))
    if len(names) == 1:
        return str(names[0])
    raise CtlError(Exit.USAGE, f"{len(names)} recordings begin with {prefix!r}: write more of the id", "\n".join(names))


def _from_recording(recording: Item) -> dict[str, Any]:
    """Return the manifest; if that is unreadable, the daemon's entry of the recording."""
    summary = {**recording, "gaps": None}  # there it is a number
    try:
        manifest = json.loads(Path(recording["directory"], "stream.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return summary
    is_its = isinstance(manifest, dict) and manifest.get("state") == recording["state"]
    return summary | manifest | {"directory": recording["directory"]} if is_its else summary
