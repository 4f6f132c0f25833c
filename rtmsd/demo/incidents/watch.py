"""The view of processes and their streams through admin sockets, as `rtmsctl` has it, written into the scene."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, NoReturn

import httpx
import trio

from rtmsd.demo.scene import Kind, Scene

POLL_S: Final = 0.25
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
    for process in status.get("workers", ()):
        before, now = scene.processes.get(process["worker"]), _in_words(process)
        if before is not None and before != now:
            scene.log(Kind.DAEMON, f"{scene.noun} {process['worker']} is {now}")
        scene.processes[process["worker"]] = now
    for stream in streams:
        if scene.processes.get(stream["worker"]) == STARTING:  # it has yet to learn who took its streams over
            continue
        known = scene.streams.get(stream["rtms_stream_id"], {})
        if known and stream["worker"] != known["worker"]:
            scene.log(Kind.DAEMON, f"stream {stream['rtms_stream_id'][:8]} is at {scene.noun} {stream['worker']}")
        scene.streams[stream["rtms_stream_id"]] = dict(stream)


def _in_words(process: Mapping[str, Any]) -> str:
    if process.get("silent"):
        return "silent"
    if process.get("draining"):
        return "draining"
    return f"process {process['pid']}" if process.get("ready") else STARTING
