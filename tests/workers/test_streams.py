"""Streams of several workers, compared packet by packet with what Zoom sent, while workers die."""

import json
import os
import random
import re
import signal
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.simulator import SimSession
from tests.faults.breakage import audio_of
from tests.faults.process import LIMIT_S, Daemon, Stage, open_stage, until
from tests.faults.reckoning import end_all, sum_of
from tests.faults.workers import owners

WORKERS = 2


async def live(stage: Stage, streams: int) -> list[SimSession]:
    """Start the daemon, and sessions one after the other, so that each is given to the worker that has least."""
    stage.daemon.sections["daemon"] = {"workers": WORKERS}
    stage.daemon.sections["media.audio"]["send_rate_ms"] = 100
    sessions = await stage.live(streams)
    await until(lambda: all(map(audio_of, sessions)))
    return sessions


def process_of(daemon: Daemon, worker: str) -> int:
    pid: int = daemon.logged("worker ready", worker=worker)[-1]["pid"]
    return pid


async def until_fed(sessions: list[SimSession]) -> None:
    """Wait until each stream gets audio again."""
    before = [audio_of(session) for session in sessions]
    await until(lambda: all(audio_of(session) > had for session, had in zip(sessions, before, strict=True)))


async def kill_worker(daemon: Daemon, worker: str, number: signal.Signals = signal.SIGKILL) -> None:
    os.kill(process_of(daemon, worker), number)


async def until_ready_again(daemon: Daemon, worker: str, lives: int) -> None:
    await daemon.until_logged("worker ready", count=lives, worker=worker)


async def test_streams_are_shared_out_and_reached_at_whichever_worker(place: Path) -> None:
    async with open_stage(place) as stage:
        sessions = await live(stage, 6)
        shares = await owners(stage.daemon)
        assert set(shares.values()) == {"1", "2"}  # evenly, if the machine has time: see README
        total = sum_of(await end_all(stage.daemon, sessions))  # each stop came to whichever worker
        assert not total.faults
        assert not total.gaps
        assert await stage.daemon.stop() == 0
        assert not stage.daemon.complaints()


async def test_the_streams_of_a_killed_worker_go_on_at_the_other(place: Path) -> None:
    async with open_stage(place) as stage:
        sessions = await live(stage, 6)
        daemon = stage.daemon
        of_dead = [name for name, worker in (await owners(daemon)).items() if worker == "1"]
        await kill_worker(daemon, "1")
        await daemon.until_logged("stream taken over", count=len(of_dead))
        await until_fed(sessions)
        shares = await owners(daemon)
        assert {shares[name] for name in of_dead} == {"2"}
        assert sorted(line["rtms_stream_id"] for line in daemon.logged("stream taken over")) == sorted(of_dead)
        await until_ready_again(daemon, "1", lives=2)
        more = [await stage.zoom.start_session(("Cy",)) for _ in range(3)]
        for session in more:
            await session.wait_reconnected()
        shares = await owners(daemon)
        assert "1" in {shares[session.rtms_stream_id] for session in more}  # which had none
        reckonings = await end_all(daemon, [*sessions, *more])
        assert not sum_of(reckonings).faults
        hit = {session.rtms_stream_id for session, each in zip(sessions, reckonings, strict=False) if each.gaps}
        assert hit <= set(of_dead)
        assert set(sum_of(reckonings).gaps) <= {"daemon_restart"}
        assert not [violation for session in sessions for violation in session.record.violations]
        assert await daemon.stop() == 0


async def test_a_worker_that_lives_keeps_its_streams_also_when_its_socket_is_removed(place: Path) -> None:
    """Another that took them would write to the same files."""
    async with open_stage(place) as stage:
        sessions = await live(stage, 4)
        daemon = stage.daemon
        shares = await owners(daemon)
        await trio.Path(f"{daemon.sections['admin']['socket']}.worker-1").unlink()
        for session in sessions:
            statuses = [await session.interrupt() for _ in range(6)]  # whichever worker gets it
            assert set(statuses) == {200}
        await until_fed(sessions)
        with closing(sqlite3.connect(daemon.sections["state"]["file"])) as db:
            assert sorted(db.execute("SELECT node, epoch FROM own")) == sorted((node, 1) for node in shares.values())
        assert not [violation for session in sessions for violation in session.record.violations]
        assert await daemon.stop() == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_a_restart_resumes_all_streams_once(place: Path, how: signal.Signals) -> None:
    async with open_stage(place) as stage:
        sessions = await live(stage, 6)
        daemon = stage.daemon
        shares = await owners(daemon)
        daemon.send_signal(how)
        assert await daemon.reap() == (0 if how is signal.SIGTERM else -signal.SIGKILL)
        await daemon.start()
        await until_fed(sessions)
        assert await owners(daemon) == shares  # whichever worker was ready first
        total = sum_of(await end_all(daemon, sessions))
        assert not total.faults
        assert set(total.gaps) <= {"daemon_restart"}
        assert not [violation for session in sessions for violation in session.record.violations]
        assert await daemon.stop() == 0


async def test_from_one_process_to_workers_and_back(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        sessions = await stage.live(3)
        for workers in (2, 1):
            assert await daemon.stop() == 0
            daemon.sections["daemon"] = {"workers": workers}
            await daemon.start()
            await until_fed(sessions)
        assert not sum_of(await end_all(daemon, sessions)).faults
        assert await daemon.stop() == 0


async def test_each_recording_is_delivered_once_whichever_worker_made_it(place: Path) -> None:
    """The parent runs the programs; any worker lists and replays deliveries."""
    program, log = place / "after", place / "after.log"
    program.write_text(f'#!/bin/sh\necho "$RTMSD_STREAM_ID" >>{log}\n[ ! -e {place}/broken ]\n')
    program.chmod(0o755)
    (place / "broken").touch()
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["[sink]"] = {"name": "after", "kind": "exec", "command": [str(program)]}
        sessions = await live(stage, 4)
        names = sorted(session.rtms_stream_id for session in sessions)
        assert not sum_of(await end_all(daemon, sessions)).faults

        async def deliveries(state: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            with trio.fail_after(LIMIT_S):
                while len(found) != len(names) or {each["state"] for each in found} != {state}:
                    await trio.sleep(0.02)
                    found = await trio.to_thread.run_sync(daemon.admin.get, "/v1/deliveries")
            return found

        dead = await deliveries("dead")
        assert sorted(log.read_text().split()) == names
        await daemon.until_status(lambda status: status["deliveries"]["dead"] == len(names))
        (place / "broken").unlink()
        for each in dead:
            await trio.to_thread.run_sync(daemon.admin.post, f"/v1/deliveries/{each['id']}/replay")
        await deliveries("done")
        assert sorted(log.read_text().split()) == sorted(names * 2)

        async def attempts() -> dict[str, float]:
            text = await trio.to_thread.run_sync(daemon.admin.text, "/v1/metrics")
            found = re.findall(r'^rtmsd_delivery_attempts_total\{.*result="(\w+)".*\} (\S+)$', text, re.MULTILINE)
            return {result: float(number) for result, number in found}

        with trio.fail_after(LIMIT_S):
            while (await attempts())["done"] < len(names):  # noqa: ASYNC110 another process
                await trio.sleep(0.02)
        assert await attempts() == {"done": len(names), "retry": 0, "dead": len(names)}  # counted once
        assert await daemon.stop() == 0


async def kill_again_and_again(place: Path, kills: int, seed: int) -> str:
    """Kill workers at random instants. Returns what it cost."""
    chance = random.Random(seed)
    async with open_stage(place) as stage:
        sessions = await live(stage, 8)
        daemon, lives = stage.daemon, {"1": 1, "2": 1}
        for _ in range(kills):
            worker = chance.choice("12")
            await kill_worker(daemon, worker)
            lives[worker] += 1
            await until(partial(daemon.logged, "worker died; it is started again", worker=worker))
            await until_ready_again(daemon, worker, lives[worker])
            await trio.sleep(chance.uniform(0, 1))
        await until_fed(sessions)
        total = sum_of(await end_all(daemon, sessions))
        violations = [violation for session in sessions for violation in session.record.violations]
        assert await daemon.stop() == 0
    assert not total.faults
    assert not violations
    assert set(total.gaps) <= {"daemon_restart"}
    return f"{kills} kills: {total}"


async def test_three_kills(place: Path) -> None:
    await kill_again_and_again(place, 3, seed=1)


@pytest.mark.long
async def test_a_hundred_kills(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cost = await kill_again_and_again(place, 100, seed=2)
    with capsys.disabled():
        print(json.dumps(cost))
