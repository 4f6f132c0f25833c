"""Zoom reports that a media connection broke, by event 7 and message 8, and mostly does not say which one.

Audio and transcript have a connection each. One is found by its silence: a live one brings at least a keep-alive every
10 s. Whoever is innocent is left alone, since transcripts of a lost connection are lost for good.
"""

from pathlib import Path

import pytest
import trio

from rtmsd.config import MediaConfig
from tests.streams.harness import Bench, open_bench
from tests.streams.zoom import zoom_ms

INTERRUPTED, DATA_CONNECTION = 2, 14
AUDIO, TRANSCRIPT, ALL = 1, 8, 32
RETRY_LATER = 45


async def talk(bench: Bench, kind: str = "audio") -> None:
    """Send media every second on the latest connection of a kind, as long as it lives."""
    peer = bench.zoom.last(kind)
    while peer.is_open and peer.speaks:
        await peer.audio(zoom_ms())
        await trio.sleep(1)


async def report(bench: Bench, media_type: int | None = None) -> None:
    await bench.zoom.last("signaling").event(7, **({} if media_type is None else {"media_type": media_type}))


def reconnections(bench: Bench) -> tuple[int, int]:
    """The number of times that audio and transcript were connected again."""
    return len(bench.zoom.hellos("audio")) - 1, len(bench.zoom.hellos("transcript")) - 1


async def test_the_connection_that_falls_silent_is_the_broken_one(bench: Bench, nursery: trio.Nursery) -> None:
    await bench.up()
    nursery.start_soon(talk, bench, "audio")
    bench.zoom.last("transcript").speaks = False
    await trio.sleep(30)
    reported_s = trio.current_time()
    await report(bench)
    await trio.sleep(30)
    assert reconnections(bench) == (0, 1)
    assert bench.zoom.hellos("transcript")[1] - reported_s == pytest.approx(3 + 3, abs=1)


@pytest.mark.parametrize("media_type", [AUDIO, None])
async def test_a_connection_that_goes_on_speaking_is_kept_whatever_is_said_of_it(
    bench: Bench, nursery: trio.Nursery, media_type: int | None
) -> None:
    await bench.up()
    nursery.start_soon(talk, bench, "audio")
    nursery.start_soon(talk, bench, "transcript")
    await report(bench, media_type)
    await trio.sleep(60)
    assert reconnections(bench) == (0, 0)


async def test_a_named_connection_is_suspected_alone(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(5)
    await report(bench, AUDIO)
    await trio.sleep(60)
    assert reconnections(bench) == (1, 0)


async def test_a_name_acquits_those_who_were_suspected_without_one(bench: Bench) -> None:
    """Message 8 comes before event 7."""
    await bench.up()
    await trio.sleep(5)
    await bench.zoom.last("signaling").stream_state(INTERRUPTED, DATA_CONNECTION)
    await trio.sleep(1)
    await report(bench, AUDIO)
    await trio.sleep(60)
    assert reconnections(bench) == (1, 0)


async def test_two_reports_of_one_loss_make_one_reconnection(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(5)
    await report(bench, AUDIO)
    await bench.zoom.last("signaling").stream_state(INTERRUPTED, DATA_CONNECTION)
    await trio.sleep(60)
    assert reconnections(bench) == (1, 0)


@pytest.mark.parametrize("media_type", [AUDIO, None])
@pytest.mark.parametrize("report_is_late", [False, True])
async def test_a_report_of_a_connection_that_was_closed_is_about_that_one(
    bench: Bench, media_type: int | None, report_is_late: bool
) -> None:
    await bench.up()
    await trio.sleep(5)
    if not report_is_late:
        await report(bench, media_type)
    await bench.zoom.last("audio").cut()
    await trio.sleep(2)
    if report_is_late:
        await report(bench, media_type)
    await trio.sleep(60)
    assert reconnections(bench) == (1, 0)


async def keep_audio_away(bench: Bench) -> None:
    bench.zoom.always["audio"] = RETRY_LATER
    await bench.zoom.last("audio").cut()
    await trio.sleep(20)


async def test_while_one_is_known_to_be_lost_a_quiet_one_is_left_alone(bench: Bench) -> None:
    await bench.up()
    await keep_audio_away(bench)
    await report(bench)
    await trio.sleep(20)
    del bench.zoom.always["audio"]
    await bench.until_up()
    assert len(bench.zoom.hellos("transcript")) == 1


async def test_while_one_is_known_to_be_lost_another_that_has_been_silent_for_too_long_is_found(bench: Bench) -> None:
    """The watchdog would find it only after more than half of Zoom's window."""
    await bench.up()
    bench.zoom.last("transcript").speaks = False
    await keep_audio_away(bench)
    reported_s = trio.current_time()
    await report(bench)
    await bench.until(lambda: len(bench.zoom.hellos("transcript")) == 2)
    assert trio.current_time() - reported_s < 10


async def test_a_name_that_is_none_of_our_connections_says_nothing(bench: Bench) -> None:
    """With a connection for each medium there is none for all media."""
    await bench.up()
    await trio.sleep(5)
    await report(bench, ALL)
    await bench.zoom.last("audio").audio(zoom_ms())
    await trio.sleep(60)
    assert reconnections(bench) == (0, 1)


@pytest.mark.parametrize("media_type", [AUDIO | TRANSCRIPT, ALL, None])
async def test_a_unified_connection_is_the_only_one_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media_type: int | None
) -> None:
    async with open_bench(tmp_path, monkeypatch, media=MediaConfig(connections="unified")) as bench:
        bench.zoom.unified = True
        await bench.start()
        await bench.until_up(links=1)
        await trio.sleep(5)
        await report(bench, media_type)
        await trio.sleep(60)
        assert len(bench.zoom.hellos("all")) == 2
        assert len(bench.zoom.hellos("signaling")) == 1
