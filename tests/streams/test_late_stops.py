"""Zoom's stop of a stream that was given up comes when its end is being written down: until then it had not ended."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd.commands import StopStream
from rtmsd.protocol.causes import GapCause
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.test_adoption import resume_nothing, start, stored
from tests.streams.zoom import zoom_ms

UNKNOWN = 2
MISSING = {("audio", "signaling_reconnect"), ("transcript", "signaling_reconnect")}


async def lose(bench: Bench) -> int:
    """Zoom gives up the stream. Returns when that was."""
    await trio.sleep(5)
    bench.zoom.always["signaling"] = UNKNOWN
    await bench.zoom.last("signaling").cut()
    return zoom_ms()


def judge(bench: Bench, lost_ms: int, stopped_ms: int) -> None:
    found = bench.manifest()
    assert (found["stop_reason"], found["ended_ms"], found["pauses"]) == (6, stopped_ms, [])
    last = [gap for gap in found["gaps"] if gap["to_ms"] == stopped_ms]
    assert {(gap["media"], gap["cause"]) for gap in last} == MISSING
    assert all(gap["from_ms"] <= lost_ms for gap in last)


async def test_it_is_known_just_before_the_stream_is_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, is_stopped = bench.journal, trio.Event()
    record, close_stream = journal.record, journal.close_stream

    async def record_slowly(*args: Any) -> Any:
        verdict = await record(*args)
        if isinstance(args[0], StopStream):
            is_stopped.set()
            await bench.until(lambda: STREAM not in bench.supervisor.streams)
        return verdict

    async def close_late(*args: Any, **more: Any) -> None:
        await is_stopped.wait()
        await close_stream(*args, **more)

    monkeypatch.setattr(journal, "record", record_slowly)
    monkeypatch.setattr(journal, "close_stream", close_late)
    await bench.up()
    lost_ms = await lose(bench)
    await bench.until(lambda: bench.manifest()["state"] == "ended")
    stopped_ms = zoom_ms()
    await bench.stop(event_ts=stopped_ms)
    await bench.until_gone()
    judge(bench, lost_ms, stopped_ms)


@pytest.mark.parametrize("cause", [GapCause.DAEMON_RESTART, GapCause.NODE_TAKEOVER])
async def test_the_process_is_killed_before_the_stream_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: GapCause
) -> None:
    async with open_bench(tmp_path, monkeypatch, to_resume=resume_nothing) as bench:
        row = await stored(bench)
        bench.supervisor.adopt(row, begun_by=start())
        await bench.until_up()
        lost_ms = await lose(bench)
        await bench.until_gone()
    async with open_bench(tmp_path, monkeypatch, to_resume=resume_nothing) as bench:
        stopped_ms = zoom_ms()
        bench.supervisor.adopt(attrs.evolve(row, stop_reason=6, stopped_ms=stopped_ms), cause=cause)
        await bench.until_gone()
        judge(bench, lost_ms, stopped_ms)
