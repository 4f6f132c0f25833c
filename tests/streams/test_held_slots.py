"""Status 8, another connection has the slot: tried again and again, no window runs, and a person hears of it."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import trio

from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Health
from rtmsd.sinks.hub import LiveHub
from rtmsd.streams.summary import is_slot_held
from rtmsd.zoom_api import ZoomApi
from tests.streams.harness import STREAM, Bench
from tests.streams.zoom import HOST

HELD = 8
GONE = 2
EVERY_S = 1.5
ALARM_S = 65 + 60  # as long as Zoom may take to notice that one of ours is dead, and then to give the slot up
LONG_S = 300.0  # longer than any window


def attempts(bench: Bench) -> list[float]:
    return bench.zoom.hellos("signaling")


async def lose_to_another(bench: Bench) -> float:
    """Signaling is lost, and another connection gets the slot. Returns when Zoom first says so."""
    await bench.up()
    bench.zoom.always["signaling"] = HELD
    await bench.zoom.last("signaling").cut()
    await bench.until(lambda: len(attempts(bench)) == 2)
    return attempts(bench)[-1]


async def test_it_is_tried_again_at_the_same_pace_for_as_long_as_it_takes(bench: Bench) -> None:
    held_s = await lose_to_another(bench)
    await trio.sleep(LONG_S)
    tries = [at_s for at_s in attempts(bench) if at_s >= held_s]
    assert {round(after - before, 3) for before, after in pairwise(tries)} == {EVERY_S}
    assert bench.state() == "recovering"
    assert not bench.logged("stream ended")
    bench.zoom.always.clear()
    await bench.until_up()
    assert bench.state() == "active"
    assert bench.supervisor.tally().reconnects == {("signaling_reconnect", "ok"): 1}


async def test_a_new_stream_waits_for_its_slot_as_well(bench: Bench) -> None:
    bench.zoom.always["signaling"] = HELD
    await bench.start()
    await trio.sleep(LONG_S)
    assert {round(after - before, 3) for before, after in pairwise(attempts(bench))} == {EVERY_S}
    assert bench.state() == "connecting"
    bench.zoom.always.clear()
    await bench.until_up()


async def test_the_window_begins_when_zoom_says_something_else(bench: Bench) -> None:
    await lose_to_another(bench)
    await trio.sleep(LONG_S)
    free_s = trio.current_time()
    bench.zoom.down.add(HOST)
    gone_s = await bench.until_gone()
    assert gone_s - free_s == pytest.approx(60.5, abs=1.5)
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("ended", 19)


async def test_media_have_a_whole_window_when_the_slot_is_ours_again(bench: Bench) -> None:
    await bench.up()
    bench.zoom.always["audio"] = 45
    await bench.zoom.last("audio").cut()
    await trio.sleep(30)
    bench.zoom.always["signaling"] = HELD
    await bench.zoom.last("signaling").cut()
    await trio.sleep(300)
    del bench.zoom.always["signaling"]
    await bench.until(lambda: bench.zoom.open("signaling"))
    await trio.sleep(50)
    assert STREAM in bench.supervisor.streams, "given up"
    bench.zoom.always.clear()
    await bench.until_up()


async def test_a_stream_that_zoom_no_longer_knows_ends(bench: Bench) -> None:
    await lose_to_another(bench)
    await trio.sleep(600)
    bench.zoom.always["signaling"] = GONE
    await bench.until_gone()
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("ended", 19)


async def test_zooms_word_ends_it(bench: Bench) -> None:
    await lose_to_another(bench)
    await trio.sleep(600)
    await bench.stop(6)
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6


async def test_there_is_an_alarm_when_it_lasts_longer_than_a_dead_connection(bench: Bench) -> None:
    held_s = await lose_to_another(bench)
    await bench.until(lambda: is_slot_held(bench.stream()))
    assert trio.current_time() - held_s == pytest.approx(ALARM_S, abs=0.1)
    await trio.sleep(2 * EVERY_S)
    [refused] = bench.logged("signaling handshake refused")
    assert refused["log_level"] == "warning"
    [alarm] = bench.logged("slot held")
    assert alarm["log_level"] == "error"
    bench.zoom.always.clear()
    await bench.until_up()
    assert not is_slot_held(bench.stream())


@pytest.mark.parametrize(
    "answer",
    [lambda bench: bench.zoom.answers["signaling"].append(45), lambda bench: bench.zoom.down.add(HOST)],
    ids=["refused otherwise", "not reached"],
)
async def test_another_answer_in_between_counts_anew(bench: Bench, answer: Callable[[Bench], object]) -> None:
    held_s = await lose_to_another(bench)
    await trio.sleep(ALARM_S - 20)
    answer(bench)
    await trio.sleep(5)
    bench.zoom.down.clear()
    await bench.until(lambda: is_slot_held(bench.stream()))
    assert trio.current_time() - held_s > 2 * ALARM_S - 20


async def test_status_doctor_and_metrics_show_the_alarm(bench: Bench) -> None:
    health = Health(bench.supervisor.config, bench.supervisor, bench.writers)
    backend = Backend(
        bench.directory / "c.toml", bench.supervisor, health, ZoomApi(), events=LiveHub(), stop=lambda **_: None
    )

    def troubles() -> dict[str, str]:
        health.look()
        return {each["code"]: each["detail"] for each in backend.status()["degraded"]}

    await lose_to_another(bench)
    await trio.sleep(20)
    assert "status 8" in troubles()["not_connected"]
    await bench.until(lambda: is_slot_held(bench.stream()))
    assert troubles() == {"slot_held": f"1 not connected, as another connection has their slots at Zoom: {STREAM}"}
    [failing] = [each for each in await backend.doctor() if each["ok"] is False]
    assert (failing["check"], STREAM in failing["detail"]) == ("streams", True)
    assert b'rtmsd_degraded{code="slot_held"} 1' in backend.metrics()
    (listed,) = backend.streams(include_ended=False)
    assert listed["gives_up_in_s"] is None
    bench.zoom.always.clear()
    await bench.until_up()
    assert troubles() == {}
