"""One participant's video: who is seen, and the choice of another."""

from typing import Any, Final

from rtmsd.ctl.client import stream_path
from rtmsd.ctl.context import Context
from rtmsd.ctl.formatting import UNKNOWN
from rtmsd.ctl.output import Column, Item, key


def video(context: Context) -> None:
    """Make the choice that was asked for, with Zoom's answer; without one, show how it is."""
    path = stream_path(context.args.stream, "video")
    if (choice := _choice(context)) is None:
        _show(context, context.client.get(path))
    else:
        known = context.client.post(path, choice)
        context.out.said(known, _sentence(choice, known))


def _choice(context: Context) -> dict[str, Any] | None:
    args = context.args
    if args.user is not None:
        return {"user_id": args.user}
    return {"off": True} if args.off else {"auto": True} if args.auto else None


def _sentence(choice: Item, known: Item) -> str:
    if "user_id" in choice:
        is_on = any(camera.get("user_id") == choice["user_id"] for camera in known.get("cameras", ()))
        return f"Zoom sends the video of {choice['user_id']}" + ("" if is_on else " as soon as the camera is on")
    return "no video is asked for" if "off" in choice else f"follow = {known.get('follow')}: {seen(known)} is seen"


def _show(context: Context, known: Item) -> None:
    out = context.out
    out.record(known, COLUMNS)
    if not out.as_json:
        out.section("cameras on")
        out.rows(known.get("cameras", ()), CAMERAS, empty="no camera is on")


def seen(known: Item) -> str:
    """Return who is seen, by name and id."""
    user_id = known.get("user_id")
    return "nobody" if user_id is None else f"{known.get('user_name') or UNKNOWN} ({user_id})"


def chosen_by(known: Item) -> str:
    """Return who chose, and what."""
    if known.get("chosen_by") == "operator":
        return f"operator: {known.get('choice')}"
    return f"follow = {known.get('follow')}"


def latest(known: Item) -> str:
    """Return the latest choice, and what became of it."""
    if not (choice := known.get("latest")):
        return UNKNOWN
    whom = "nobody" if choice.get("user_id") is None else choice["user_id"]
    what = "" if choice.get("subscribe") or choice.get("user_id") is None else "no more of "
    words = f", {choice['status_text']}" if choice.get("result") != "ok" and choice.get("status_text") else ""
    return f"{what}{whom} ({choice.get('why')}): {choice.get('result')}{words}"


COLUMNS: Final = (
    Column("seen", seen),
    Column("chosen by", chosen_by),
    Column("asking for", key("asking_for")),
    Column("connected", lambda known: "yes" if known.get("is_connected") else "no"),
    Column("latest choice", latest),
)

CAMERAS: Final = (Column("USER", key("user_id")), Column("NAME", key("user_name")))
