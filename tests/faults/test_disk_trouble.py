"""Disks that are full, broken, read-only, slow or stuck: the daemon stays up, reports it, and recovers with them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import Timing
from tests.faults.breakage import fill
from tests.faults.process import Stage, is_machine_busy, open_stage, until
from tests.faults.reckoning import end_all, manifest_of, percentile, recording_of, sum_of

SAID_WITHIN_S = 5


class Control:
    """The control file of the disk of `faulty.py`."""

    def __init__(self, stage: Stage) -> None:
        self._file = stage.daemon.directory / "disk.control"
        self.does("ok")
        stage.daemon.module = ("tests.faults.faulty", str(self._file))

    def does(self, word: str) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(word)
        fresh.replace(self._file)


def is_degraded(code: str) -> Callable[[dict[str, list[dict[str, str]]]], bool]:
    return lambda status: any(trouble["code"] == code for trouble in status["degraded"])


def is_well(status: dict[str, list[object]]) -> bool:
    return not status["degraded"]


@pytest.mark.parametrize("full_s", [2, pytest.param(24, marks=pytest.mark.long)])
async def test_a_disk_that_fills_up_and_is_cleaned(
    place: Path, small_disk: Path, full_s: float, show: Callable[..., None]
) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["recording"] |= {"directory": str(small_disk), "buffer_bytes": 65536}
        daemon.sections["media.audio"]["send_rate_ms"] = 100  # one that found room between others is no jitter
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(1_950_000))
        await daemon.start()
        session = await stage.zoom.start_session()
        await daemon.until_status(is_degraded("disk_error"))
        await daemon.until_logged("disk write failed; retrying")
        await daemon.until_status(is_degraded("buffer_full"))
        await trio.sleep(full_s)  # back-pressure holds Zoom off for 20 s; then frames are dropped
        ballast.unlink()
        await daemon.until_status(is_well)
        await daemon.until_logged("disk recovered")
        await trio.sleep(0.5)
        total = sum_of(await end_all(daemon, [session]))
        assert await daemon.stop() == 0
    show(total)
    assert not total.faults
    assert total.recorded
    assert total.gaps["dropped"] or full_s < 20
    assert len(session.record.handshakes) == 3


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_daemon_that_starts_on_a_full_disk_resumes_its_streams(place: Path, small_disk: Path, how: str) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["recording"] |= {"directory": str(small_disk / "recordings")}
        daemon.sections["state"] = {"file": str(small_disk / "state.sqlite")}
        daemon.sections["media.audio"]["send_rate_ms"] = 100
        await daemon.start()
        session = await stage.zoom.start_session()
        await session.wait_reconnected()
        await trio.sleep(1)
        if how == "stop":
            assert await daemon.stop() == 0
        ballast = fill(small_disk)
        if how == "kill":
            daemon.kill()
            await daemon.reap()
        await daemon.start()
        await session.wait_reconnected()
        await daemon.until_status(is_degraded("disk_error"))
        await trio.sleep(1)
        ballast.unlink()
        await daemon.until_status(is_well)
        total = sum_of(await end_all(daemon, [session]))
        assert await daemon.stop() == 0
    assert not total.faults
    assert total.recorded
    assert set(total.gaps) == {"daemon_restart"}


async def test_a_revocation_on_a_full_disk_is_carried_out_at_once(place: Path, small_disk: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.sections["recording"] |= {"directory": str(small_disk)}
        daemon.sections["media.audio"]["send_rate_ms"] = 100
        await daemon.start()
        revoked = await stage.zoom.start_session(["Somebody Private"])
        other = await stage.zoom.start_session()
        for session in (revoked, other):
            await session.wait_reconnected()
        await until(lambda: list(small_disk.glob(f"*/{revoked.rtms_stream_id}/audio/*.wav")))
        ballast = fill(small_disk)
        await daemon.until_status(is_degraded("disk_error"))
        await revoked.stop(StopReason.STREAM_REVOKED)
        directory = recording_of(small_disk, revoked)
        await until(lambda: [path.name for path in directory.iterdir()] == ["stream.json"])
        assert "Private" not in (directory / "stream.json").read_text()
        ballast.unlink()
        await daemon.until_status(is_well)
        total = sum_of(await end_all(daemon, [other]))
    assert manifest_of(directory)["state"] == "revoked"
    assert not total.faults
    assert total.recorded == total.sent > 0


async def test_a_disk_that_refuses_for_a_while_costs_nothing(place: Path) -> None:
    async with open_stage(place) as stage:
        control, daemon = Control(stage), stage.daemon
        sessions = await stage.live()
        for times, error in enumerate(("EIO", "EROFS", "ENOSPC"), start=1):
            await trio.sleep(0.3)
            control.does(error)
            said_s = await daemon.until_status(is_degraded("disk_error"))
            assert said_s < SAID_WITHIN_S or is_machine_busy()
            await daemon.until_logged("disk write failed; retrying", count=times)
            assert 'code="disk_error"' in await trio.to_thread.run_sync(lambda: daemon.admin.text("/v1/metrics"))
            other = await stage.zoom.start_session()  # refused by no low-water mark: held in memory like the others
            assert other.record.webhooks[-1].status == 200
            await other.wait_reconnected()
            sessions.append(other)
            await trio.sleep(0.3)
            control.does("ok")
            await daemon.until_status(is_well)
        total = sum_of(await end_all(daemon, sessions))
    assert not total.faults
    assert total.recorded == total.sent > 0
    assert not total.gaps


@pytest.mark.parametrize("full_s", [1, pytest.param(23, marks=pytest.mark.long)])
async def test_a_stream_that_cannot_write_costs_others_nothing(
    place: Path, full_s: float, show: Callable[..., None]
) -> None:
    async with open_stage(place) as stage:
        control, daemon = Control(stage), stage.daemon
        daemon.sections["recording"]["buffer_bytes"] = 2**19
        sick, *healthy = await stage.live(4)
        await trio.sleep(0.7)
        control.does(f"ok {sick.rtms_stream_id}")
        await daemon.until_status(is_degraded("buffer_full"))
        await trio.sleep(full_s)  # back-pressure holds Zoom off for 20 s; then frames are dropped
        status = await daemon.status()
        (full,) = [trouble["detail"] for trouble in status["degraded"] if trouble["code"] == "buffer_full"]
        control.does("ok")
        await daemon.until_status(is_well)
        first, *others = await end_all(daemon, [sick, *healthy])
        alone, total = sum_of([first]), sum_of(others)
    show(total, alone)
    assert sick.rtms_stream_id in full
    assert "1 of 4 streams" in full
    assert not total.faults
    assert not total.gaps
    assert total.recorded == total.sent > 0
    assert not alone.faults
    assert set(alone.gaps) <= {"dropped"}
    assert alone.gaps or full_s < 20


async def test_a_stalled_disk_costs_nothing_and_delays_no_keep_alive(place: Path, show: Callable[..., None]) -> None:
    timing = Timing(keep_alive_s=0.2, keep_alive_misses=99, utterance_s=1, transcript_lag_s=0.2, stop_grace_s=0.1)
    async with open_stage(place, timing=timing) as stage:
        control, daemon = Control(stage), stage.daemon
        sessions = await stage.live(5)
        control.does("slow 2")
        await trio.sleep(2.5)
        control.does("ok")
        answers = [latency for session in sessions for latency in session.record.keep_alive_latency_s()]
        total = sum_of(await end_all(daemon, sessions))
    show(total, f"{len(answers)} keep-alives, p99 {percentile(answers, 0.99) * 1000:.0f} ms")
    assert not total.faults
    assert total.recorded == total.sent > 0
    assert not total.gaps
    assert len(answers) > 50
    assert percentile(answers, 0.99) < 0.5 or is_machine_busy()


async def test_new_streams_are_refused_below_the_low_water_mark(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        daemon.sections["recording"]["min_free_bytes"] = 2**59
        daemon.write_config()
        await trio.to_thread.run_sync(lambda: daemon.admin.post("/v1/reload"))
        said_s = await daemon.until_status(is_degraded("disk_low"))
        assert said_s < SAID_WITHIN_S or is_machine_busy()
        refused = await stage.zoom.start_session()
        assert refused.record.webhooks[0].status == 503  # so that Zoom tries again
        daemon.sections["recording"]["min_free_bytes"] = 0
        daemon.write_config()
        await trio.to_thread.run_sync(lambda: daemon.admin.post("/v1/reload"))
        await refused.wait_reconnected()
        total = sum_of(await end_all(daemon, [session, refused]))
    assert not total.faults
    assert total.recorded == total.sent > 0


@pytest.mark.long
async def test_a_stuck_disk_under_a_flood_fills_the_buffer_up_to_its_bound(
    place: Path, show: Callable[..., None]
) -> None:
    bound = 8 * 2**20
    async with open_stage(place) as stage:
        control, daemon = Control(stage), stage.daemon
        daemon.sections["recording"]["buffer_bytes"] = bound
        sessions = await stage.live(50, ["A", "B", "C"])
        await trio.sleep(3)
        before = daemon.rss_bytes()
        control.does("stuck")
        await daemon.until_status(is_degraded("buffer_full"))
        peak = 0
        for _ in range(60):
            await trio.sleep(0.5)
            peak = max(peak, daemon.rss_bytes())
        pending = (await daemon.status())["disk"]["pending_bytes"]
        control.does("ok")
        await daemon.until_status(is_well)
        total = sum_of(await end_all(daemon, sessions))
    show(f"resident {before >> 20} MiB, peak {peak >> 20} MiB, queued {pending} of {bound}", total)
    assert pending < bound * 1.1
    assert peak - before < 6 * bound
    assert not total.faults
    assert total.gaps["dropped"]
