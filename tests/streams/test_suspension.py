"""The daemon stops while streams go on: they keep their slots at Zoom, and nobody is alarmed."""

import errno
import os
from pathlib import Path

import pytest
import trio

from rtmsd.commands import Verdict
from rtmsd.protocol.causes import GapCause
from tests.streams.harness import STREAM, Bench, HastyDisk, open_bench
from tests.streams.zoom import HOST, SILENT, T0

GONE = 2
PHASES = ["streaming", "paused", "recovering media", "recovering signaling", "connecting"]


class StubbornDisk(HastyDisk):
    """Takes nothing while it is full."""

    is_full = False

    def open(self, path: Path, *, create: bool = False) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return super().open(path, create=create)


async def reach(bench: Bench, phase: str) -> None:
    if phase == "connecting":
        bench.zoom.always["signaling"] = SILENT
        await bench.start()
        await trio.sleep(1)
        return
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    match phase:
        case "paused":
            await bench.zoom.last("signaling").stream_state(5)
        case "recovering media":
            bench.zoom.always["audio"] = 45
            await bench.zoom.last("audio").cut()
        case "recovering signaling":
            bench.zoom.down.add(HOST)
            await bench.zoom.last("signaling").cut()
    await trio.sleep(15)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_stream_is_left_to_be_resumed_and_nothing_is_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await reach(bench, phase)
        logged = len(bench.logs)
        zoom = bench.zoom
    assert [line for line in bench.logs[logged:] if line["log_level"] != "info"] == []
    assert bench.manifest()["state"] == "recovering"
    assert bench.manifest()["stop_reason"] is None
    assert not [peer for peer in zoom.peers if peer.sent(21)]


@pytest.mark.parametrize("phase", PHASES)
async def test_the_next_daemon_takes_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await reach(bench, phase)
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.until_up()
        await trio.sleep(15)
        assert bench.state() == "active"
        assert bench.supervisor.tally().reconnects == {("daemon_restart", "ok"): 1}
        await bench.stop()
        await bench.until_gone()
        causes = {(gap["media"], gap["cause"]) for gap in bench.manifest()["gaps"]}
        assert ("audio", "daemon_restart") in causes or phase.startswith("recovering")


async def test_what_begins_while_the_process_ends_is_left_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other processes, and what was claimed in the last instant, do not wait for the files to be written."""
    async with open_bench(tmp_path, monkeypatch) as bench:
        bench.supervisor.suspend()
        assert await bench.start("at once") is Verdict.NEW
        await trio.sleep(1)
        assert await bench.start() is Verdict.NEW
        [*rows] = await bench.journal.unfinished()
        for row in rows:
            bench.supervisor.adopt(row, cause=GapCause.DAEMON_RESTART)
        assert not bench.supervisor.streams
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.until_up(rtms_stream_id="at once")
        await bench.until_up()


async def test_no_stream_is_started_again_while_the_process_ends(bench: Bench) -> None:
    await bench.up()
    bench.zoom.always["signaling"] = GONE
    await bench.zoom.last("signaling").cut()
    await bench.until_gone()
    bench.supervisor.suspend()
    await trio.sleep(1)
    assert await bench.stop(19) is Verdict.LATE
    await trio.sleep(1)
    assert bench.restarter.considered == []


@pytest.mark.parametrize("is_read_out", [True, False])
async def test_what_may_have_been_on_its_way_when_the_daemon_stopped_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_read_out: bool
) -> None:
    """Zoom answers our close behind all that it sent. Where it does not in time, only one of two may have come."""
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.up()
        audio = bench.zoom.last("audio")
        for at_ms, user_id in ((T0, 7), (T0, 8), (T0 + 100, 7)):
            await audio.audio(at_ms, user_id)
        await trio.sleep(1)
        if not is_read_out:
            audio.stall()
    gaps = [gap for gap in bench.manifest()["gaps"] if gap["media"] == "audio" and gap["user_id"] is not None]
    assert [(gap["user_id"], gap["from_ms"] - T0, gap["to_ms"] - T0, gap["cause"]) for gap in gaps] == (
        [] if is_read_out else [(8, 100, 200, "daemon_restart")]
    )


async def test_what_is_not_written_in_time_is_logged_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = StubbornDisk()
    async with open_bench(tmp_path, monkeypatch, disk=disk) as bench:
        await bench.up()
        disk.is_full = True
        await bench.zoom.last("audio").audio(T0)
        with trio.move_on_after(8):
            await bench.supervisor.suspend_files()
        [line] = bench.logged("files not finished in time")
        assert line["log_level"] == "error"
        assert line["streams"] == [STREAM]
        assert line["pending_bytes"] >= 3200
        disk.is_full = False


async def test_what_is_written_in_time_is_not_logged(bench: Bench) -> None:
    await bench.up()
    with trio.move_on_after(8):
        await bench.supervisor.suspend_files()
    assert not bench.logged("files not finished in time")


async def test_a_bug_with_one_streams_files_costs_no_other_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.start("sick")
        await bench.start("sound")
        await bench.until_up(rtms_stream_id="sick")
        await bench.until_up(rtms_stream_id="sound")
        monkeypatch.setattr(bench.stream("sick").recorder, "suspend", None)
    [line] = bench.logged("stream could not be suspended")
    assert line["rtms_stream_id"] == "sick"
    assert line["exc_info"]
    assert bench.manifest("sound")["state"] == "recovering"
