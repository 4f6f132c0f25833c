"""The view of processes and their streams through admin sockets, as `rtmsctl` has it, written into the scene."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import httpx
import trio

from rtmsd.demo.scene import Kind, Scene

POLL_S: Final = 0.25
SILENT: Final = "silent"
STARTING: Final = "starting"


async def watch(ask: Callable[[str], Awaitable[Any]], scene: Scene, node: str = "") -> NoReturn:
    """Follow all processes that an admin socket answers for, and their streams, until cancelled, over restarts.

    Args:
        ask: returns the answer to a path.
        node: what to call a process that answers for itself alone.
    """
    while True:
        try:
            status, streams = await ask("/v1/status"), await ask("/v1/streams")
        except httpx.HTTPError:
            scene.daemon_is_up = False
            status, streams = {"silent": True}, []
        else:
            scene.daemon_is_up = True
        if node:
            status = {"workers": [{**status, "worker": node}]}
            streams = [{**stream, "worker": node} for stream in streams]
        take(scene, status, streams)
        await trio.sleep(POLL_S)


def take(scene: Scene, status: Mapping[str, Any], streams: Iterable[Mapping[str, Any]]) -> None:
    """Write an answer into the scene."""
    streams = [*streams]
    states = {process["worker"]: _in_words(process) for process in status.get("workers", ())}
    for name, now in states.items():
        if scene.processes.get(name, now) != now:
            scene.log(Kind.DAEMON, f"{scene.noun} {name} is {now}")
        scene.processes[name] = now
    for name, now in states.items():
        if now != SILENT:
            # Who starts has yet to learn who took its streams over.
            _take_streams(scene, name, [] if now == STARTING else [each for each in streams if each["worker"] == name])


def _take_streams(scene: Scene, name: str, streams: Iterable[Mapping[str, Any]]) -> None:
    before = scene.listed.get(name, frozenset())
    listed = {stream["rtms_stream_id"]: dict(stream) for stream in streams}
    for stream_id, stream in listed.items():
        known = scene.streams.get(stream_id, stream)
        if known["worker"] != name and stream_id in before:
            continue  # it was frozen, or is slow, and has yet to learn that another took it over
        if known["worker"] != name:
            scene.log(Kind.DAEMON, f"stream {stream_id[:8]} is at {scene.noun} {name}")
        scene.streams[stream_id] = stream
    scene.listed[name] = frozenset(listed)


def _in_words(process: Mapping[str, Any]) -> str:
    if process.get("silent"):
        return SILENT
    if process.get("draining"):
        return "draining"
    return f"process {process['pid']}" if process.get("ready") else STARTING
