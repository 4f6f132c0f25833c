"""A daemon of several workers whose processes are killed, frozen and stopped, and whose files are taken away."""

import os
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import SimSession
from rtmsd.state import deliveries as queue
from rtmsd.workers.sharing import only_life
from tests.faults.breakage import fill
from tests.faults.process import LIMIT_S, Stage, open_stage, until
from tests.faults.reckoning import end_all, manifest_of, recording_of, sum_of
from tests.faults.workers import Play, owners, workers_of, wrong_ends, zombies_of


async def live(stage: Stage, streams: int = 4, workers: int = 2) -> list[SimSession]:
    stage.daemon.sections["daemon"] = {"workers": workers}
    stage.daemon.sections["media.audio"]["send_rate_ms"] = 100
    return await stage.live(streams)


def codes(status: dict[str, Any]) -> set[str]:
    return {trouble["code"] for trouble in status["degraded"]}


async def test_a_state_file_that_is_taken_away_is_said_by_all_workers(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.module = ("tests.faults.impatient",)
        sessions = await live(stage)
        state = Path(daemon.sections["state"]["file"])
        await trio.to_thread.run_sync(state.rename, place / "elsewhere")
        refused = await stage.zoom.start_session()
        assert refused.record.webhooks[0].status == 503
        await daemon.until_status(lambda status: "state_file" in codes(status))
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)
        await daemon.until_logged("state file was written anew")
        await daemon.until_status(lambda status: not status["degraded"])
        with trio.fail_after(LIMIT_S):
            await refused.wait_reconnected()  # Zoom asked again
        daemon.kill()
        await daemon.reap()
        await daemon.start()
        for each in (*sessions, refused):
            await each.wait_reconnected()
        total = sum_of(await end_all(daemon, [*sessions, refused]))
        assert await daemon.stop() == 0
    assert not total.faults
    assert set(total.gaps) <= {"daemon_restart"}


async def test_what_a_worker_queued_in_its_last_instant_is_delivered(place: Path) -> None:
    program, log = place / "after", place / "after.log"
    program.write_text(f'#!/bin/sh\necho "$RTMSD_STREAM_ID" >>{log}\n')
    program.chmod(0o755)
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["[sink]"] = {"name": "after", "kind": "exec", "command": [str(program)]}
        [session] = await live(stage, 1)
        await until(lambda: any(daemon.recordings.glob(f"*/{session.rtms_stream_id}")))
        directory = recording_of(daemon.recordings, session).relative_to(daemon.recordings)
        with closing(sqlite3.connect(daemon.sections["state"]["file"])) as db, db:
            queue.finished(db, sinks=["after"], rtms_stream_id="its last", directory=str(directory), now_ms=0)
        os.kill(workers_of(daemon.pid)["2"], signal.SIGKILL)  # it had no time to say so
        await until(lambda: log.exists() and log.read_text() == "its last\n")
        assert await daemon.stop() == 0


async def test_a_stop_while_a_worker_waits_for_its_next_life_is_clean(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        sessions = await live(stage)
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)
        await daemon.until_logged("worker died; it is started again")
        assert await daemon.stop() == 0
        await daemon.start()
        total = sum_of(await end_all(daemon, sessions))
    assert not total.faults


async def test_a_revocation_at_whichever_worker_deletes_the_stream(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        sessions = await live(stage, 6)
        ended, *rest = sessions
        for session in sessions:
            await until(lambda: any(daemon.recordings.glob(f"*/{session.rtms_stream_id}/audio/*.wav")))  # noqa: B023
        await ended.stop()
        await daemon.until_logged("stream ended", rtms_stream_id=ended.rtms_stream_id)
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)
        for session in rest[:3]:
            await session.stop(StopReason.STREAM_REVOKED)
        for session in rest[:3]:
            directory = recording_of(daemon.recordings, session)
            await until(lambda: [path.name for path in directory.iterdir()] == ["stream.json"])  # noqa: B023
        await until(lambda: len(workers_of(daemon.pid)) == 2)
        assert not sum_of(await end_all(daemon, rest[3:])).faults
        assert await daemon.stop() == 0


async def test_webhooks_for_a_worker_that_hangs_are_kept_for_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "600000000")  # it is not killed meanwhile
    async with open_stage(place, webhook_timeout_s=3) as stage:
        daemon = stage.daemon
        sessions = await live(stage, 6)
        shares = await owners(daemon)
        [(busiest, _)] = Counter(shares.values()).most_common(1)
        frozen = workers_of(daemon.pid)[busiest]
        os.kill(frozen, signal.SIGSTOP)
        theirs = [session for session in sessions if shares[session.rtms_stream_id] == busiest]
        stopped, revoked, *_ = theirs
        for session, reason in ((stopped, StopReason.MEETING_ENDED), (revoked, StopReason.STREAM_REVOKED)):
            await session.stop(reason)
        fresh = await stage.zoom.start_session()
        with trio.fail_after(LIMIT_S):
            await fresh.wait_reconnected()
        shown = await trio.to_thread.run_sync(daemon.admin.get, f"/v1/streams/{fresh.rtms_stream_id}")
        assert shown["worker"] != busiest
        os.kill(frozen, signal.SIGCONT)
        await daemon.until_logged("stream ended", rtms_stream_id=stopped.rtms_stream_id)
        directory = recording_of(daemon.recordings, revoked)
        await until(lambda: [path.name for path in directory.iterdir()] == ["stream.json"])
        left = [session for session in (*sessions, fresh) if session not in (stopped, revoked)]
        total = sum_of(await end_all(daemon, left))
        assert await daemon.stop() == 0
    assert not total.faults
    assert not total.gaps


async def play(place: Path, *, rounds: int, workers: int, streams: int, seed: int) -> str:
    """Play rounds of faults at random, and compare what was recorded with what was sent. Returns what it cost."""
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["daemon"] = {"workers": workers}
        daemon.sections["media.audio"]["send_rate_ms"] = 100 if seed % 2 else 20
        game = Play(stage, workers, random.Random(seed), streams)
        await daemon.start()
        await game.begin(streams)
        await game.until_recovered()
        before = daemon.descriptors()
        for _ in range(rounds):
            await game.round()
        assert daemon.descriptors() <= before + workers  # one that starts again takes a pidfd and a socket
        assert not zombies_of(daemon.pid)
        total = sum_of(await game.reckonings())
        sessions = [*game.live, *game.ended]
        assert not total.faults, (total.faults, daemon.lines[-100:])
        assert not wrong_ends(daemon, sessions)
        assert not [violation for session in sessions for violation in session.record.violations]
        assert set(total.gaps) <= {"daemon_restart", "signaling_reconnect", "media_reconnect"}
        assert await daemon.stop() == 0
    return f"{rounds} rounds, {len(sessions)} streams: {total}, {dict(game.rounds)}"


async def test_rounds_of_faults(place: Path) -> None:
    await play(place, rounds=3, workers=2, streams=6, seed=3)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4, 8))
async def test_a_hundred_rounds_of_faults(place: Path, show: Callable[..., None], seed: int) -> None:
    show(await play(place, rounds=100, workers=2 + seed % 3, streams=20, seed=seed))


async def test_a_damaged_state_file_is_said_by_all_workers(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await live(stage, 1)
        await until(lambda: list(daemon.recordings.glob("*/*/stream.json")))
        assert await daemon.stop() == 0
        state = Path(daemon.sections["state"]["file"])
        await trio.to_thread.run_sync(state.write_bytes, b"\0" * 5000)
        await daemon.start()
        line = await daemon.until_logged("the state file was damaged and is set aside")
        for _ in range(4):  # whichever worker answers
            status = await daemon.status()
            assert status["state"]["set_aside"] == line["set_aside"]
            assert "state_file_damaged" in codes(status)
        await daemon.until_all_ended()
        assert manifest_of(recording_of(daemon.recordings, session))["state"] == "failed"
        assert await daemon.stop() == 0


async def test_recordings_that_are_moved_away_go_on_anew_at_all_workers(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        sessions = await live(stage)
        await until(lambda: len(list(daemon.recordings.glob("*/*/audio/*.wav"))) >= 4)
        await trio.sleep(1)
        await trio.to_thread.run_sync(daemon.recordings.rename, place / "away")
        await daemon.until_logged("files of a recording were damaged by others", count=4)
        await daemon.until_logged("recording directory was replaced; the new one is locked")
        os.kill(workers_of(daemon.pid)["1"], signal.SIGKILL)
        await daemon.until_logged("worker ready", count=2, worker="1")
        another = await stage.zoom.start_session()
        await another.wait_reconnected()
        total = sum_of(await end_all(daemon, [*sessions, another]))
        assert await daemon.stop() == 0
    assert not total.faults
    assert set(total.gaps) <= {"damaged", "daemon_restart"}


async def test_a_worker_starts_on_a_full_disk(small_disk: Path) -> None:
    state_file = small_disk / "state.sqlite"
    with only_life(state_file, "1", "ab"):
        pass
    os.truncate(small_disk / "state.sqlite.workers" / "1", 0)  # or it has room for the next name
    fill(small_disk)
    with only_life(state_file, "1", "cd"):
        assert (small_disk / "state.sqlite.workers" / "1").exists()
