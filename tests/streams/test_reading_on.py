"""After an end by Zoom its media are read until none come any more; the end is where they end, or what Zoom said."""

from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.config import StreamsConfig
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import HOST, OTHER_HOST, T0, Peer, zoom_ms

GRACE_S = 2.0  # streams.stop_grace_s
LONGEST_S = 30.0
SOON_S = 1.0
TERMINATING, TERMINATED = 3, 4
REVOKED = 8
WAYS = ["webhook", "message"]


async def talk(peer: Peer, seconds: float, behind_ms: int = 0) -> int:
    """Send audio ten times a second, for so long or until the connection is gone. Returns where it ended."""
    until_s, end_ms = trio.current_time() + seconds, 0
    while trio.current_time() < until_s and peer.is_open:
        end_ms = zoom_ms() - behind_ms + 100
        await peer.audio(end_ms - 100)
        await trio.sleep(0.1)
    return end_ms


async def stop(bench: Bench, by: str) -> None:
    if by == "webhook":
        await bench.stop(6)
    else:
        await bench.zoom.last("signaling").stream_state(TERMINATED, 6)


def audio_ms(manifest: dict[str, Any]) -> int:
    [file] = [each for each in manifest["files"] if each["media"] == "audio"]
    return int(file["start_ms"] + file["duration_ms"])


@pytest.mark.parametrize("by", WAYS)
async def test_media_that_go_on_after_the_end_are_kept(bench: Bench, by: str) -> None:
    await bench.up()
    audio = bench.zoom.last("audio")
    await talk(audio, 5)
    await stop(bench, by)
    end_ms = await talk(audio, 20)
    last_s = trio.current_time()
    assert await bench.until_gone() - last_s == pytest.approx(GRACE_S, abs=SOON_S)
    manifest = bench.manifest()
    assert manifest["ended_ms"] == audio_ms(manifest) == pytest.approx(end_ms, abs=20)
    assert (manifest["state"], manifest["stop_reason"], manifest["gaps"]) == ("ended", 6, [])
    assert bench.zoom.last("signaling").answered >= 1
    assert [len(bench.zoom.hellos(kind)) for kind in ("signaling", "audio", "transcript")] == [1, 1, 1]


async def test_a_keep_alive_after_the_end_does_not_move_it(bench: Bench) -> None:
    await bench.up()
    await talk(bench.zoom.last("audio"), 1)
    stopped_ms = zoom_ms()
    await bench.stop(6)
    for kind in ("signaling", "audio", "transcript"):
        await trio.sleep(0.3)
        await bench.zoom.last(kind).ask(timestamp=zoom_ms())
    await bench.until_gone()
    assert bench.manifest()["ended_ms"] == stopped_ms
    assert all(each["closed_ms"] <= stopped_ms for each in bench.manifest()["connections"])


async def test_media_that_never_stop_are_cut_off(bench: Bench) -> None:
    await bench.up()
    audio = bench.zoom.last("audio")
    await talk(audio, 5)
    stopped_s = trio.current_time()
    await bench.stop(6)
    await talk(audio, 60)
    assert await bench.until_gone() - stopped_s == pytest.approx(LONGEST_S, abs=SOON_S)
    manifest = bench.manifest()
    assert manifest["ended_ms"] - T0 == pytest.approx((stopped_s + LONGEST_S) * 1000, abs=1000)
    assert manifest["gaps"] == []


async def test_what_is_cut_off_is_a_gap_until_the_end(bench: Bench, nursery: trio.Nursery) -> None:
    """Zoom's buffer, which comes no faster than time passes."""
    await bench.up()
    audio = bench.zoom.last("audio")
    await talk(audio, 30, behind_ms=0)
    await trio.sleep(60)
    stopped_s, stopped_ms = trio.current_time(), zoom_ms()
    await bench.stop(6)
    nursery.start_soon(talk, audio, 100, 50_000)
    assert await bench.until_gone() - stopped_s == pytest.approx(LONGEST_S, abs=SOON_S)
    manifest = bench.manifest()
    [gap] = manifest["gaps"]
    assert (gap["media"], gap["to_ms"], gap["cause"]) == ("audio", stopped_ms, "dropped")
    assert gap["from_ms"] == audio_ms(manifest) < stopped_ms - 10_000
    assert manifest["ended_ms"] == stopped_ms


async def test_media_that_wait_for_room_are_waited_for(bench: Bench, nursery: trio.Nursery) -> None:
    """The disk stalls at the end: what Zoom sent before it is in the socket, and not lost."""
    await bench.up()
    audio = bench.zoom.last("audio")
    await talk(audio, 5)
    recorder = bench.supervisor.streams[STREAM].recorder
    assert recorder is not None
    backlog, everything = recorder.media.backlog, bench.writer.buffer.limit_bytes
    backlog.pending_bytes += everything
    await bench.stop(6)
    nursery.start_soon(talk, audio, 3)
    await trio.sleep(10)
    backlog.pending_bytes -= everything
    bench.writer.nudge()
    await bench.until_gone()
    manifest = bench.manifest()
    assert sum(gap["to_ms"] - gap["from_ms"] for gap in manifest["gaps"]) <= 100  # the one that was being read
    assert audio_ms(manifest) == pytest.approx(T0 + 8_200, abs=300)


async def test_media_are_read_although_signaling_closes_first(bench: Bench) -> None:
    await bench.up()
    audio = bench.zoom.last("audio")
    await talk(audio, 5)
    await bench.zoom.last("signaling").stream_state(TERMINATING, 6)
    await bench.zoom.last("signaling").close()
    end_ms = await talk(audio, 8)
    await bench.until_gone()
    assert audio_ms(bench.manifest()) == bench.manifest()["ended_ms"] == pytest.approx(end_ms, abs=20)
    assert bench.manifest()["gaps"] == []


async def test_all_sockets_closed_need_no_waiting(bench: Bench) -> None:
    await bench.up()
    await talk(bench.zoom.last("audio"), 5)
    await bench.stop(6)
    for kind in ("audio", "transcript", "signaling"):
        await bench.zoom.last(kind).close()
    closed_s = trio.current_time()
    assert await bench.until_gone() - closed_s <= SOON_S


@pytest.mark.parametrize("by", WAYS)
async def test_a_revocation_meanwhile_ends_reading_at_once(bench: Bench, nursery: trio.Nursery, by: str) -> None:
    await bench.up()
    await bench.stop(6)
    nursery.start_soon(talk, bench.zoom.last("audio"), 60)
    await trio.sleep(10)
    revoked_s = trio.current_time()
    if by == "webhook":
        await bench.stop(REVOKED)
    else:
        await bench.zoom.last("signaling").stream_state(TERMINATED, REVOKED)
    assert await bench.until_gone() - revoked_s <= SOON_S
    assert bench.manifest()["state"] == "revoked"
    assert [path.name for path in bench.recording().iterdir()] == ["stream.json"]


async def test_an_operator_waits_no_longer_than_before(bench: Bench, nursery: trio.Nursery) -> None:
    await bench.up()
    nursery.start_soon(talk, bench.zoom.last("audio"), 60)
    await trio.sleep(3)
    asked_s = trio.current_time()
    bench.supervisor.close(STREAM)
    assert await bench.until_gone() - asked_s <= GRACE_S + SOON_S
    assert bench.manifest()["gaps"] == []


async def test_ending_all_streams_shortens_the_reading_on(bench: Bench, nursery: trio.Nursery) -> None:
    await bench.up()
    await bench.stop(6)
    nursery.start_soon(talk, bench.zoom.last("audio"), 60)
    await trio.sleep(5)
    asked_s = trio.current_time()
    await bench.supervisor.end_all()
    assert trio.current_time() - asked_s <= GRACE_S + SOON_S


async def test_a_new_start_does_not_wait_for_the_old_end(bench: Bench, nursery: trio.Nursery) -> None:
    await bench.up()
    await bench.stop(6)
    nursery.start_soon(talk, bench.zoom.last("audio"), 60)
    await trio.sleep(5)
    started_s = trio.current_time()
    await bench.start(host=OTHER_HOST)
    await bench.until(lambda: len(bench.zoom.hellos("signaling")) == 2)
    assert trio.current_time() - started_s <= SOON_S
    await bench.until_up()
    await talk(bench.zoom.last("audio"), 5)
    await bench.stop(6)
    await bench.until_gone()
    assert bench.manifest()["gaps"] == []


async def test_a_stop_of_the_process_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench, trio.open_nursery() as nursery:
        await bench.up()
        stopped_ms = zoom_ms()
        await bench.stop(6)
        nursery.start_soon(talk, bench.zoom.last("audio"), 60)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
        asked_s = trio.current_time()
    assert trio.current_time() - asked_s <= SOON_S
    assert bench.manifest()["state"] == "ended"
    assert bench.manifest()["ended_ms"] > stopped_ms


@pytest.mark.parametrize("grace_s", [0, 0.2, 5])
async def test_the_grace_is_what_is_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grace_s: float) -> None:
    async with open_bench(tmp_path, monkeypatch, streams=StreamsConfig(stop_grace_s=grace_s)) as bench:
        await bench.up()
        await talk(bench.zoom.last("audio"), 5)
        stopped_s = trio.current_time()
        await bench.stop(6)
        assert await bench.until_gone() - stopped_s == pytest.approx(grace_s, abs=SOON_S)
        assert bench.manifest()["gaps"] == []


# When the end was


async def test_a_stop_that_does_not_say_when_ends_with_the_last_sample(bench: Bench) -> None:
    await bench.up()
    end_ms = await talk(bench.zoom.last("audio"), 5)
    await trio.sleep(20)  # keep-alives
    await bench.zoom.last("signaling").say(8, state=TERMINATED, reason=6)
    await bench.until_gone()
    assert bench.manifest()["ended_ms"] == pytest.approx(end_ms, abs=20)


async def test_a_stop_that_does_not_say_when_and_nobody_spoke(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(25)
    await bench.zoom.last("signaling").say(8, state=TERMINATED, reason=6)
    await bench.until_gone()
    assert bench.manifest()["ended_ms"] >= T0 + 20_000


async def test_signaling_that_is_never_back_is_a_gap_from_the_loss_to_the_end(bench: Bench) -> None:
    await bench.up()
    end_ms = await talk(bench.zoom.last("audio"), 5)
    bench.zoom.down.add(HOST)
    await bench.zoom.last("signaling").cut()
    await trio.sleep(30)
    stopped_ms = zoom_ms()
    await bench.stop(6)
    await bench.until_gone()
    found = {gap["media"]: gap for gap in bench.manifest()["gaps"]}
    assert {(gap["to_ms"], gap["cause"]) for gap in found.values()} == {(stopped_ms, "signaling_reconnect")}
    assert found["audio"]["from_ms"] == pytest.approx(end_ms, abs=500)
    assert len(bench.manifest()["gaps"]) == len(found) == 2
