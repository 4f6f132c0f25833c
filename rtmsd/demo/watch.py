"""The view of the daemon through its admin socket, as `rtmsctl` has it, written into the scene."""

import json
import re
from array import array
from base64 import b64decode
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final, cast

import httpx
import trio

from rtmsd.demo.daemon import Admin, DaemonError
from rtmsd.demo.scene import Kind, Scene, Voice
from rtmsd.protocol.causes import GapCause

POLL_S: Final = 0.25
RETRY_S: Final = 0.2
_EXCEPTION: Final = re.compile(r"[ |]*[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")
_LOUD: Final = 9000  # the peak of the simulator's voices
_CAUSES: Final[Mapping[str, str]] = {
    GapCause.MEDIA_RECONNECT: "media connection lost",
    GapCause.SIGNALING_RECONNECT: "signaling lost",
    GapCause.SERVER_FAILOVER: "server failed over",
    GapCause.DAEMON_RESTART: "daemon was gone",
    GapCause.NODE_TAKEOVER: "taken over by another node",
    GapCause.REFUSED: "not granted by Zoom",
}


async def watch(admin: Admin, rtms_stream_id: str, scene: Scene, *, levels: bool) -> None:
    """Follow one stream until cancelled, over restarts of the daemon.

    Args:
        levels: tap the audio, too, for level bars.
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_poll, admin, rtms_stream_id, scene)
        nursery.start_soon(_listen, admin, rtms_stream_id, scene, levels)


async def fail_at_crash(admin: Admin, log_path: Path) -> None:
    """Poll for webhooks that the daemon answered with 500: a bug, after which no check could hold.

    Raises:
        DaemonError: with the last error of its log.
    """
    while True:
        with suppress(httpx.HTTPError):  # killed on purpose, perhaps
            status = await admin.get("/v1/status")
            if status["webhook"]["results"].get("crashed"):
                error = last_error(await trio.Path(log_path).read_text(errors="replace"))
                raise DaemonError(f"the daemon answered a webhook with 500, see {log_path}\n{error}")
        await trio.sleep(POLL_S)


def last_error(text: str) -> str:
    """Return the last error in a log of JSON lines, on one line; "" without one."""
    for line in reversed(text.splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "critical"):
            traceback = str(entry.get("exception", "")).strip().splitlines()
            exceptions = [row.strip(" |+-") for row in traceback if _EXCEPTION.match(row)]
            return ": ".join([str(entry.get("event")), *exceptions[-1:]])
    return ""


async def _poll(admin: Admin, rtms_stream_id: str, scene: Scene) -> None:
    while True:
        try:
            scene.stream = await admin.get(f"/v1/streams/{rtms_stream_id}")
            scene.daemon_is_up = True
        except httpx.HTTPStatusError:  # up, without the stream yet
            scene.daemon_is_up = True
        except httpx.HTTPError:
            scene.stream, scene.daemon_is_up = {}, False
        await trio.sleep(POLL_S)


async def _listen(admin: Admin, rtms_stream_id: str, scene: Scene, levels: bool) -> None:
    media = "audio,transcript,events" if levels else "transcript,events"
    path = f"/v1/streams/{rtms_stream_id}/tap?media={media}&format=ndjson"
    while True:
        try:
            tap = cast("AsyncGenerator[dict[str, Any]]", admin.lines(path))
            async with aclosing(tap) as items:
                async for item in items:
                    take(scene, item)
        except httpx.HTTPError:
            pass  # killed, or not recording yet: retry
        await trio.sleep(RETRY_S)


def take(scene: Scene, item: dict[str, Any]) -> None:
    """Write one line of a tap into the scene."""
    match item:
        case {"media": "audio", "user_id": int(user_id), "timestamp_ms": at_ms, "data": data}:
            voice = scene.voices.setdefault(user_id, Voice(item.get("user_name") or str(user_id)))
            voice.level, voice.at_ms = level_of(b64decode(data)), at_ms
        case {"media": "transcript", "text": text}:
            scene.say(item.get("user_name") or str(item.get("user_id")), text)
        case {"media": "events", "kind": "participant_join", "participants": people}:
            for person in people:
                name = person.get("user_name") or str(person["user_id"])
                scene.voices.setdefault(person["user_id"], Voice(name)).present = True
        case {"media": "events", "kind": "participant_leave", "participants": people}:
            for person in people:
                if person["user_id"] in scene.voices:
                    scene.voices[person["user_id"]].present = False
        case {"media": "events", "kind": "connection"}:
            scene.log(Kind.DAEMON, _connection(item))
        case {"media": "events", "kind": "stream_state", "state": state}:
            scene.log(Kind.DAEMON, f"stream is {state}")
        case _:
            pass


def _connection(event: dict[str, Any]) -> str:
    what = " ".join(filter(None, (event.get("of"), "+".join(event.get("event_media") or ()))))
    if event.get("change") == "opened":
        return f"{what} connected"
    because = _CAUSES.get(str(event.get("cause")), "stream ended")
    return f"{what} closed ({because}): {event.get('why')}"


def level_of(pcm: bytes) -> float:
    """Return the loudness of L16 samples, 0 to 1: the peak of every eighth sample is near enough for a bar."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])[::8]
    return min(1.0, max(map(abs, samples), default=0) / _LOUD)
