"""The view of the workers and their streams through the admin socket, as `rtmsctl` has it, written into the scene."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn

import httpx
import trio

from rtmsd.demo.daemon import Admin
from rtmsd.demo.scene import Kind, Scene

POLL_S: Final = 0.25


async def watch(admin: Admin, scene: Scene) -> NoReturn:
    """Follow all workers and streams until cancelled, over restarts of the daemon."""
    while True:
        try:
            status, streams = await admin.get("/v1/status"), await admin.get("/v1/streams")
        except httpx.HTTPError:
            scene.daemon_is_up = False
        else:
            scene.daemon_is_up = True
            take(scene, status, streams)
        await trio.sleep(POLL_S)


def take(scene: Scene, status: Mapping[str, Any], streams: Iterable[Mapping[str, Any]]) -> None:
    """Write an answer for all workers into the scene."""
    for worker in status.get("workers", ()):
        before, now = scene.workers.get(worker["worker"]), _in_words(worker)
        if before is not None and before != now:
            scene.log(Kind.DAEMON, f"worker {worker['worker']} is {now}")
        scene.workers[worker["worker"]] = now
    for stream in streams:
        known = scene.streams.get(stream["rtms_stream_id"], {})
        if known and stream["worker"] != known["worker"]:
            scene.log(Kind.DAEMON, f"stream {stream['rtms_stream_id'][:8]} is at worker {stream['worker']}")
        scene.streams[stream["rtms_stream_id"]] = dict(stream)


def _in_words(worker: Mapping[str, Any]) -> str:
    if worker.get("silent"):
        return "silent"
    return f"process {worker['pid']}" if worker.get("ready") else "starting"
