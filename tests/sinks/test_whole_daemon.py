"""The daemon as a process, with programs that it runs: over a SIGKILL, a stop and a revocation."""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import Person, SimulatorSettings
from rtmsd.webhook.verify import sign
from tests.faults.process import Daemon, Stage, open_stage, until

SCRIPT = """#!/bin/sh
manifest=$(tr -d ' \\n')
case $manifest in *'"state":"ended"'*) state=ended;; *'"state":"revoked"'*) state=revoked;; *) state=other;; esac
echo "$RTMSD_EVENT $state" >>"$0.log"
if [ -e "$0.hold" ]; then cat "$0.hold" >/dev/null; fi
if [ -e "$0.fail" ]; then echo "cannot do it" >&2; exit 1; fi
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield an empty directory with a short name."""
    path = Path(tempfile.mkdtemp(prefix="rtmsd"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Program:
    """A program that writes a line for each run, and hangs or fails as long as a file says so."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "after"
        self.path.write_text(SCRIPT)
        self.path.chmod(0o755)
        self.log, self.hold, self.fail = (self.path.with_name(f"after.{name}") for name in ("log", "hold", "fail"))

    def runs(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


async def let_go(pipe: Path) -> None:
    """Open a pipe that somebody waits at, and let no other wait there."""
    descriptor = await trio.to_thread.run_sync(os.open, pipe, os.O_WRONLY)
    await trio.Path(pipe).unlink()
    os.close(descriptor)


async def revoke(stage: Stage, rtms_stream_id: str) -> None:
    """Post what Zoom posts when it revokes a stream that ended before."""
    payload = {"rtms_stream_id": rtms_stream_id, "session_id": "s", "stop_reason": int(StopReason.STREAM_REVOKED)}
    timestamp = str(int(time.time()))
    event = {"event": "session.rtms_stopped", "event_ts": int(time.time() * 1000), "payload": payload}
    body = json.dumps(event).encode()
    signature = sign(SimulatorSettings().webhook_secret, timestamp, body)
    headers = {"x-zm-request-timestamp": timestamp, "x-zm-signature": signature, "content-type": "application/json"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(stage.gate.url, content=body, headers=headers)
    assert answer.status_code == 200


async def deliveries(daemon: Daemon, *states: str) -> list[dict[str, Any]]:
    """Wait until these are the states of all deliveries."""
    with trio.fail_after(60):
        while True:
            found: list[dict[str, Any]] = await trio.to_thread.run_sync(daemon.admin.get, "/v1/deliveries")
            if [each["state"] for each in found] == list(states):
                return found
            await trio.sleep(0.02)  # another process: nothing tells us


async def test_a_program_runs_until_it_is_through_whatever_happens_to_the_daemon(place: Path) -> None:
    program = Program(place)
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["[sink]"] = {"name": "after", "kind": "exec", "command": [str(program.path)]}
        os.mkfifo(program.hold)  # `cat` waits until somebody opens the other end
        (session,) = await stage.live()
        await session.stop()
        await until(program.runs)
        daemon.kill()
        await daemon.reap()
        await let_go(program.hold)  # nobody kills what a killed daemon ran, but systemd
        await daemon.start()
        await deliveries(daemon, "done")
        assert program.runs() == ["finished ended"] * 2
        program.fail.touch()
        await revoke(stage, session.rtms_stream_id)
        (dead,) = await deliveries(daemon, "dead")
        assert (dead["event"], dead["rtms_stream_id"]) == ("revoked", session.rtms_stream_id)
        shown = await trio.to_thread.run_sync(daemon.admin.get, f"/v1/deliveries/{dead['id']}")
        assert (shown["output"], shown["why"]) == ("cannot do it\n", "exit status 1")
        await daemon.until_status(lambda status: "deliveries_dead" in str(status["degraded"]))
        program.fail.unlink()
        await trio.to_thread.run_sync(daemon.admin.post, f"/v1/deliveries/{dead['id']}/replay")
        await deliveries(daemon, "done")
        assert program.runs()[2:] == ["revoked revoked"] * 2
        assert await daemon.stop() == 0


async def test_films_are_made_of_a_recording_also_after_a_crash(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["recording"]["remux"] = "mkv"
        daemon.sections["media"] = {"types": ["audio", "video"]}
        await daemon.start()
        session = await stage.zoom.start_session([Person(user_name="Ana", camera=True)], product="meeting")
        await until(lambda: [*daemon.recordings.glob("*/*/video/*.mjpeg")])
        await session.stop()
        await deliveries(daemon, "running")  # for as long as Python takes to start
        daemon.kill()
        await daemon.reap()
        await daemon.start()
        (done,) = await deliveries(daemon, "done")
        assert (done["sink"], done["why"]) == ("recording:remux", None)
        [pictures] = daemon.recordings.glob("*/*/video/*.mjpeg")
        film = pictures.parents[1] / f"export/video-{pictures.stem}-1.mkv"
        with av.open(str(film)) as opened:
            frames = list(opened.decode(video=0))
        assert len(frames) == len(pictures.with_name(f"{pictures.name}.jsonl").read_bytes().splitlines())
        assert await daemon.stop() == 0
