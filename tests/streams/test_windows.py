"""Delays and windows after a loss: the delays grow, the windows do not move."""

from pathlib import Path

import pytest
import trio

from rtmsd.config import StreamsConfig
from tests.streams.harness import Bench, open_bench
from tests.streams.zoom import HOST, SILENT, Peer

MEDIA_HOST = "media.zoom.test"
LONG = StreamsConfig(signaling_window_s=300, media_window_s=300)
RETRY_LATER = 45
GRACE_S = 2.0  # signaling is up: what is on its way when we give up may still arrive
NOTICED_S = 1.0  # from the cut to the first timer: what is in our buffers is read, what is open is closed

# 3 s, then double; but the last attempt is made when there is just time for it before the window ends.
IN_60_S = [3, 9, 21, 45, 55]
IN_65_S = [3, 9, 21, 45, 60]


@pytest.fixture
async def up(bench: Bench) -> Bench:
    bench.zoom.media_host = MEDIA_HOST
    await bench.up()
    await trio.sleep(5)
    return bench


async def lose(peer: Peer) -> float:
    """Cut a connection, and return the time of it when everybody has noticed."""
    await peer.cut()
    lost_s = trio.current_time()
    await trio.sleep(NOTICED_S)
    return lost_s


def dials(bench: Bench, host: str, since_s: float) -> list[float]:
    """The times at which a host was dialled, from a moment on."""
    return [at_s - since_s for at_s, dialled in bench.zoom.dialled if dialled == host and at_s > since_s]


def about(expected_s: list[int]) -> list[object]:
    return [pytest.approx(at_s + NOTICED_S / 2, abs=NOTICED_S / 2) for at_s in expected_s]


# Signaling


async def test_signaling_is_tried_again_and_again_until_its_window_ends(up: Bench) -> None:
    up.zoom.down.add(HOST)
    lost_s = await lose(up.zoom.last("signaling"))
    gone_s = await up.until_gone()
    assert dials(up, HOST, lost_s) == about(IN_60_S)
    assert gone_s - lost_s == pytest.approx(60.5, abs=1)
    assert (up.manifest()["state"], up.manifest()["stop_reason"]) == ("ended", 19)
    assert up.supervisor.tally().reconnects == {("signaling_reconnect", "failed"): 1}


async def test_delays_double_up_to_30_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch, streams=LONG) as bench:
        bench.zoom.media_host = MEDIA_HOST
        await bench.up()
        bench.zoom.down.add(HOST)
        lost_s = await lose(bench.zoom.last("signaling"))
        await trio.sleep(170)
        assert dials(bench, HOST, lost_s) == about([3, 9, 21, 45, 75, 105, 135, 165])


async def test_after_a_handshake_the_delays_are_short_again(up: Bench) -> None:
    up.zoom.answers["signaling"].extend([RETRY_LATER, RETRY_LATER])
    lost_s = await lose(up.zoom.last("signaling"))
    await up.until_up()
    assert dials(up, HOST, lost_s) == about([3, 9, 21])
    lost_s = await lose(up.zoom.last("signaling"))
    await up.until_up()
    assert dials(up, HOST, lost_s) == about([3])


async def test_a_further_interruption_does_not_move_the_end_of_the_window(up: Bench) -> None:
    """Signaling comes back for a moment, but media do not."""
    up.zoom.always["audio"] = up.zoom.always["transcript"] = RETRY_LATER
    first_s = await lose(up.zoom.last("signaling"))
    await up.until(lambda: len(up.zoom.hellos("signaling")) == 2)
    await trio.sleep(20)
    up.zoom.down.add(HOST)
    second_s = await lose(up.zoom.last("signaling"))
    gone_s = await up.until_gone()
    assert second_s - first_s > 20
    assert gone_s - first_s == pytest.approx(60.5, abs=1)
    assert up.manifest()["stop_reason"] == 19


async def test_an_interrupted_webhook_during_the_outage_changes_nothing(up: Bench) -> None:
    up.zoom.down.add(HOST)
    lost_s = await lose(up.zoom.last("signaling"))
    await trio.sleep(30)
    await up.interrupt()
    gone_s = await up.until_gone()
    assert dials(up, HOST, lost_s) == about(IN_60_S)
    assert gone_s - lost_s == pytest.approx(60.5, abs=1)


async def test_after_media_are_back_the_next_loss_has_a_whole_window(up: Bench) -> None:
    await lose(up.zoom.last("signaling"))
    await up.until_up()
    await trio.sleep(50)
    up.zoom.down.add(HOST)
    lost_s = await lose(up.zoom.last("signaling"))
    gone_s = await up.until_gone()
    assert gone_s - lost_s == pytest.approx(60.5, abs=1)


@pytest.mark.parametrize("trouble", ["deaf", "silent"])
async def test_an_attempt_that_nobody_answers_ends_with_the_window_at_the_latest(up: Bench, trouble: str) -> None:
    """5 s for TCP, TLS and the upgrade, 10 s for the handshake, but none beyond the window."""
    if trouble == "deaf":
        up.zoom.deaf.add(HOST)
        expected_s = [3, 3 + 5 + 6, 14 + 5 + 12, 55]
    else:
        up.zoom.always["signaling"] = SILENT
        expected_s = [3, 3 + 10 + 6, 19 + 10 + 12, 55]
    lost_s = await lose(up.zoom.last("signaling"))
    gone_s = await up.until_gone()
    assert dials(up, HOST, lost_s) == [pytest.approx(at_s + 1, abs=1.5) for at_s in expected_s]
    assert gone_s - lost_s == pytest.approx(60.5, abs=1)


async def test_a_stream_that_never_connects_fails_at_the_end_of_the_window(bench: Bench) -> None:
    bench.zoom.down.add(HOST)
    await bench.start()
    gone_s = await bench.until_gone()
    assert gone_s == pytest.approx(60, abs=1)
    assert dials(bench, HOST, -1) == about([1 + at_s for at_s in [0, 3, 9, 21, 45, 55]])
    assert bench.manifest()["gaps"] == []


# Media


async def test_a_media_connection_is_tried_again_until_its_window_ends_and_the_stream_with_it(up: Bench) -> None:
    up.zoom.always["audio"] = RETRY_LATER
    lost_s = await lose(up.zoom.last("audio"))
    gone_s = await up.until_gone()
    assert dials(up, MEDIA_HOST, lost_s) == about(IN_65_S)
    assert gone_s - lost_s - GRACE_S == pytest.approx(65.5, abs=1)
    assert (up.manifest()["state"], up.manifest()["stop_reason"]) == ("ended", 19)
    assert len(up.zoom.hellos("transcript")) == 1


async def test_after_a_media_handshake_the_delays_are_short_again(up: Bench) -> None:
    up.zoom.answers["audio"].extend([RETRY_LATER, RETRY_LATER])
    lost_s = await lose(up.zoom.last("audio"))
    await up.until_up()
    assert dials(up, MEDIA_HOST, lost_s) == about([3, 9, 21])
    lost_s = await lose(up.zoom.last("audio"))
    await up.until_up()
    assert dials(up, MEDIA_HOST, lost_s) == about([3])


async def test_each_media_connection_has_a_window_of_its_own(up: Bench) -> None:
    up.zoom.always["audio"] = RETRY_LATER
    lost_s = await lose(up.zoom.last("audio"))
    await trio.sleep(40)
    await lose(up.zoom.last("transcript"))
    gone_s = await up.until_gone()
    assert len(up.zoom.hellos("transcript")) == 2
    assert gone_s - lost_s - GRACE_S == pytest.approx(65.5, abs=1)


async def test_a_loss_of_signaling_does_not_move_the_end_of_a_media_window(up: Bench) -> None:
    up.zoom.always["audio"] = RETRY_LATER
    lost_s = await lose(up.zoom.last("audio"))
    for _ in range(3):
        await trio.sleep(15)
        await lose(up.zoom.last("signaling"))
    gone_s = await up.until_gone()
    assert gone_s - lost_s - GRACE_S == pytest.approx(65.5, abs=1)
    assert up.manifest()["stop_reason"] == 19


async def test_media_are_not_tried_while_signaling_is_away(up: Bench) -> None:
    up.zoom.down.add(HOST)
    lost_s = await lose(up.zoom.last("signaling"))
    await trio.sleep(40)
    assert dials(up, MEDIA_HOST, lost_s) == []
    up.zoom.down.clear()
    await up.until_up()


async def test_media_that_never_came_do_not_end_those_that_flow(bench: Bench) -> None:
    bench.zoom.always["transcript"] = RETRY_LATER
    await bench.start()
    await trio.sleep(100)
    assert bench.state() == "active"
    assert bench.zoom.open("audio")
    assert bench.logged("media refused")[0]["media"] == ["transcript"]


async def test_media_that_never_came_do_not_end_those_that_are_just_being_connected_again(bench: Bench) -> None:
    bench.zoom.always["transcript"] = RETRY_LATER
    await bench.start()
    await bench.until_up(links=1)
    await trio.sleep(63)
    await lose(bench.zoom.last("audio"))
    await trio.sleep(30)
    assert bench.state() == "active"
    assert bench.zoom.open("audio")


async def test_when_no_media_ever_come_the_stream_ends(bench: Bench) -> None:
    bench.zoom.always["audio"] = bench.zoom.always["transcript"] = RETRY_LATER
    await bench.start()
    assert await bench.until_gone() - GRACE_S == pytest.approx(65, abs=1)
    assert bench.manifest()["stop_reason"] == 19
