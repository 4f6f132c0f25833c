"""Shutdown and resumption: signals, drains, second daemons, reloads, and revocations meanwhile."""

import json
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import SimSession
from tests.faults.breakage import audio_of
from tests.faults.process import LIMIT_S, Daemon, Section, Stage, is_machine_busy, open_stage, until
from tests.faults.reckoning import end_all, manifest_of, percentile, reckon, recording_of, sum_of

STREAMS = 50
STOPPED_WITHIN_S = 10
RESUMED_WITHIN_S = 5


async def fifty(stage: Stage) -> list[SimSession]:
    stage.daemon.sections["media.audio"]["send_rate_ms"] = 100
    sessions = await stage.live(STREAMS)
    await until(lambda: all(map(audio_of, sessions)))
    return sessions


def have_more(sessions: list[SimSession], before: list[int]) -> bool:
    """Whether each stream got another packet since then."""
    return all(audio_of(session) > packets for session, packets in zip(sessions, before, strict=True))


def first_frames_s(sessions: list[SimSession], since_s: float) -> list[float]:
    """Return after how long each stream got its first packet."""
    firsts = [
        min(packet.sent_s for log in session.record.audio.values() for packet in log if packet.sent_s > since_s)
        for session in sessions
    ]
    return [first_s - since_s for first_s in firsts]


async def test_fifty_streams_survive_a_stop_and_a_kill(place: Path, show: Callable[..., None]) -> None:
    async with open_stage(place) as stage:
        daemon, sessions = stage.daemon, await fifty(stage)
        figures = []
        for how in (signal.SIGTERM, signal.SIGKILL):
            began_s = time.monotonic()
            if how == signal.SIGTERM:
                assert await daemon.stop() == 0
                assert time.monotonic() - began_s < STOPPED_WITHIN_S or is_machine_busy()
            else:
                daemon.kill()
                await daemon.reap()
            gone_s = time.monotonic()
            states = {manifest_of(recording_of(daemon.recordings, session))["state"] for session in sessions}
            await daemon.start()
            up_s = daemon.spawned_s[-1]
            await until(partial(have_more, sessions, [audio_of(session) for session in sessions]))
            delays = first_frames_s(sessions, up_s)
            figures.append(
                f"{how.name}: gone in {gone_s - began_s:.2f} s; {len(delays)} streams resumed, first frame after the "
                f"start of the process: p99 {percentile(delays, 0.99):.2f} s (ready after {daemon.starts_s[-1]:.2f} s)"
            )
            in_time = percentile(delays, 0.99) < RESUMED_WITHIN_S + daemon.starts_s[-1]
            assert in_time or is_machine_busy()
            if how == signal.SIGTERM:
                assert states == {"recovering"}
        total = sum_of(await end_all(daemon, sessions))
        assert await daemon.stop() == 0
    show(*figures, total)
    assert not total.faults
    assert set(total.gaps) <= {"daemon_restart"}


async def test_a_stop_alone_loses_nothing_that_zoom_buffers(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        await trio.sleep(0.5)
        assert await daemon.stop() == 0
        await daemon.start()
        await session.wait_reconnected()
        total = sum_of(await end_all(daemon, [session]))
    assert not total.faults
    on_their_way_ms = sum(packet.duration_ms for packet in total.lost)  # when the sockets closed
    assert on_their_way_ms <= 200 or is_machine_busy()


async def test_end_streams_closes_them_politely(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        await daemon.start("--end-streams")
        sessions = [await stage.zoom.start_session() for _ in range(5)]
        for session in sessions:
            await session.wait_reconnected()
        await trio.sleep(0.3)
        assert await daemon.stop() == 0
        for session in sessions:
            with trio.fail_after(LIMIT_S):
                await session.ended.wait()
            assert session.stop_reason is StopReason.RECEIVER_REQUEST_CLOSE
            assert manifest_of(recording_of(daemon.recordings, session))["state"] == "ended"
            assert not reckon(daemon.recordings, session).faults


async def rival(stage: Stage, name: str, **shared: Section) -> tuple[int, str]:
    """Run a second daemon that shares something with the first; return its exit status and output."""
    directory = stage.daemon.directory / name
    directory.mkdir()
    second = Daemon(directory, stage.gate, stage.nursery)
    for section, values in shared.items():
        second.sections[section] |= values
    second.spawn()
    return await second.reap(), json.dumps(second.lines)


async def test_the_second_daemon_names_the_holder(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        for name, section in (("by-state", "state"), ("by-recordings", "recording"), ("by-socket", "admin")):
            status, output = await rival(stage, name, **{section: daemon.sections[section]})
            assert status == 1, output
            assert str(daemon.pid) in output or section == "admin"
            assert next(iter(v for k, v in daemon.sections[section].items() if isinstance(v, str))) in output
        total = sum_of(await end_all(daemon, [session]))
    assert not total.faults
    assert not total.lost


async def test_a_reload_good_or_bad_leaves_live_streams_alone(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        for number in range(5):
            daemon.config_file.write_text("nonsense = [")
            daemon.send_signal(signal.SIGHUP)
            await daemon.until_logged("reload refused; nothing changed", count=number + 1)
            daemon.sections["streams"]["reconnect_delay_s"] = 0.06 + number / 100
            daemon.write_config()
            daemon.send_signal(signal.SIGHUP)
            await daemon.until_logged("configuration reloaded", count=number + 1)
        total = sum_of(await end_all(daemon, [session]))
        assert await daemon.stop() == 0
    assert not total.faults
    assert not total.lost
    assert not total.gaps
    assert len(session.record.handshakes) == 3


def mentions(directory: Path, text: bytes) -> bool:
    return any(text in path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_revoked_while_the_daemon_was_down(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        await daemon.start()
        session = await stage.zoom.start_session(["Somebody Private"])
        await session.wait_reconnected()
        await until(lambda: list(daemon.recordings.glob("*/*/audio/*.wav")))
        directory = recording_of(daemon.recordings, session)
        daemon.kill()
        await daemon.reap()
        await session.stop(StopReason.STREAM_REVOKED)
        await daemon.start()  # the webhook comes when Zoom tries again
        await until(lambda: [path.name for path in directory.iterdir()] == ["stream.json"])
        manifest = manifest_of(directory)
        await daemon.until_all_ended()
        assert await daemon.stop() == 0
    assert manifest["state"] == "revoked"
    assert not any(manifest[name] for name in ("participants", "files", "gaps", "connections"))
    assert not mentions(place, b"Somebody Private")
