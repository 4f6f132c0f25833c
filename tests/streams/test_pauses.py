"""The host pauses: nothing comes, nothing is missing, nothing is connected anew; and it goes on."""

import pytest
import trio

from tests.streams.harness import Bench
from tests.streams.zoom import OTHER_HOST, zoom_ms

ACTIVE, STREAM_PAUSED, STREAM_RESUMED = 1, 5, 6
STARTED, PAUSED, RESUMED, STOPPED = 2, 3, 4, 5
PAUSE_S = 120.0
KINDS = ["signaling", "audio", "transcript"]


@pytest.fixture
async def up(bench: Bench) -> Bench:
    """A stream with one sub-session and 10 s of audio."""
    await bench.up()
    await bench.zoom.last("signaling").session_state("rs-1", STARTED)
    await speak(bench, 10)
    return bench


async def speak(bench: Bench, seconds: int) -> None:
    for _ in range(seconds):
        for _ in range(10):
            await bench.zoom.last("audio").audio(zoom_ms())
            await trio.sleep(0.1)


async def pause(bench: Bench) -> None:
    await bench.zoom.last("signaling").session_state("rs-1", PAUSED)
    bench.zoom.stream_state = STREAM_PAUSED
    await bench.until(lambda: bench.state() == "paused")


async def resume(bench: Bench) -> None:
    bench.zoom.stream_state = ACTIVE
    await bench.zoom.last("signaling").session_state("rs-1", RESUMED)
    await bench.until(lambda: bench.state() == "active")


async def ends_without_a_gap(bench: Bench, pauses: int = 1) -> None:
    await speak(bench, 2)
    await bench.stop()
    await bench.until_gone()
    assert bench.manifest()["gaps"] == []
    assert len(bench.manifest()["pauses"]) == pauses


async def test_a_pause_of_the_only_sub_session(up: Bench) -> None:
    await pause(up)
    await trio.sleep(PAUSE_S)
    assert up.state() == "paused"
    await resume(up)
    assert [len(up.zoom.hellos(kind)) for kind in KINDS] == [1, 1, 1]
    await ends_without_a_gap(up)
    [paused] = up.manifest()["pauses"]
    assert paused["to_ms"] - paused["from_ms"] == pytest.approx(PAUSE_S * 1000, abs=200)


async def test_a_pause_of_the_stream(up: Bench) -> None:
    await up.zoom.last("signaling").stream_state(STREAM_PAUSED)
    await up.until(lambda: up.state() == "paused")
    await trio.sleep(PAUSE_S)
    await up.zoom.last("signaling").stream_state(STREAM_RESUMED)
    await up.until(lambda: up.state() == "active")
    assert [len(up.zoom.hellos(kind)) for kind in KINDS] == [1, 1, 1]
    await ends_without_a_gap(up)


async def test_keep_alives_are_answered_while_paused(up: Bench) -> None:
    await pause(up)
    before = [up.zoom.last(kind).answered for kind in KINDS]
    await trio.sleep(PAUSE_S)
    assert [up.zoom.last(kind).answered for kind in KINDS] == [count + PAUSE_S // 10 for count in before]


async def test_a_connection_that_falls_silent_while_paused_is_lost_all_the_same(up: Bench) -> None:
    await pause(up)
    up.zoom.last("audio").speaks = False
    await trio.sleep(PAUSE_S)
    assert len(up.zoom.hellos("audio")) == 2
    assert up.state() == "paused"
    await resume(up)
    await ends_without_a_gap(up)


async def test_sub_sessions_pause_by_themselves_and_the_stream_with_the_last_of_them(up: Bench) -> None:
    signaling = up.zoom.last("signaling")
    course = [
        ("rs-2", STARTED, "active"),
        ("rs-1", PAUSED, "active"),
        ("rs-2", PAUSED, "paused"),
        ("rs-3", STARTED, "active"),
        ("rs-3", STOPPED, "paused"),
        ("rs-1", RESUMED, "active"),
        ("rs-1", PAUSED, "paused"),
        ("rs-2", RESUMED, "active"),
        ("rs-2", STOPPED, "paused"),
        ("rs-1", RESUMED, "active"),
    ]
    for session, state, expected in course:
        await signaling.session_state(session, state)
        await trio.sleep(1)
        assert up.state() == expected, (session, state)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_lost_while_paused_comes_back_to_a_pause(up: Bench, kind: str) -> None:
    await pause(up)
    await trio.sleep(20)
    await up.zoom.last(kind).cut()
    await trio.sleep(1)
    assert up.state() == "recovering"
    await up.until_up()
    await trio.sleep(1)
    assert up.state() == "paused"
    await trio.sleep(20)
    await resume(up)
    await ends_without_a_gap(up)


async def test_a_resumption_that_comes_while_signaling_is_away_is_asked_for(up: Bench) -> None:
    await pause(up)
    await trio.sleep(20)
    await up.zoom.last("signaling").cut()
    up.zoom.stream_state = ACTIVE
    await trio.sleep(1)
    await up.until_up()
    await trio.sleep(1)
    assert up.state() == "active"


async def test_a_pause_that_begins_while_signaling_is_away_is_asked_for(up: Bench) -> None:
    await up.zoom.last("signaling").cut()
    up.zoom.stream_state = STREAM_PAUSED
    await trio.sleep(1)
    await up.until_up()
    await trio.sleep(1)
    assert up.state() == "paused"


async def test_a_resumption_while_media_are_away_counts_when_they_are_back(up: Bench) -> None:
    await pause(up)
    up.zoom.answers["audio"].append(45)
    await up.zoom.last("audio").cut()
    await trio.sleep(5)
    up.zoom.stream_state = ACTIVE
    await up.zoom.last("signaling").session_state("rs-1", RESUMED)
    await up.until_up()
    await trio.sleep(1)
    assert up.state() == "active"


async def test_a_failover_of_a_stream_that_is_paused(up: Bench) -> None:
    await pause(up)
    await trio.sleep(20)
    await up.start(host=OTHER_HOST)
    await trio.sleep(5)
    assert up.zoom.last("signaling").host == OTHER_HOST
    assert up.state() == "paused"
    await resume(up)
    await ends_without_a_gap(up)


async def test_media_end_a_pause_whose_end_zoom_did_not_report(up: Bench) -> None:
    await pause(up)
    await trio.sleep(20)
    await speak(up, 2)
    assert up.state() == "active"


async def test_media_from_before_the_pause_do_not_end_it(up: Bench) -> None:
    """They were on their way, on another connection."""
    last_ms = zoom_ms()
    await pause(up)
    await up.zoom.last("audio").audio(last_ms)
    await trio.sleep(5)
    assert up.state() == "paused"


async def test_the_end_of_a_stream_that_is_paused(up: Bench) -> None:
    await pause(up)
    await trio.sleep(20)
    await up.stop()
    await up.until_gone()
    assert up.manifest()["gaps"] == []
    assert up.manifest()["state"] == "ended"


async def test_a_pause_that_is_reported_twice_is_one(up: Bench) -> None:
    signaling = up.zoom.last("signaling")
    for _ in range(2):
        await signaling.session_state("rs-1", PAUSED)
        await signaling.stream_state(STREAM_PAUSED)
        await trio.sleep(10)
    for _ in range(2):
        await signaling.session_state("rs-1", RESUMED)
        await signaling.stream_state(STREAM_RESUMED)
        await trio.sleep(1)
    await ends_without_a_gap(up)
