"""The four scenarios of Zoom's "Failover and reconnection": server failover, signaling, media, terminated."""

import pytest
import trio

from rtmsd.commands import Verdict
from tests.streams.harness import Bench
from tests.streams.zoom import HOST, OTHER_HOST, T0, zoom_ms

SUBSCRIPTION, READY, STATE_REQUEST = 5, 7, 19
SOON_S = 1.0  # for what is in our buffers, and for the close handshake


@pytest.fixture
async def up(bench: Bench) -> Bench:
    """A stream that has been up for a while, with audio."""
    await bench.up()
    for second in range(10):
        await bench.zoom.last("audio").audio(T0 + 1000 * second)
        await trio.sleep(1)
    return bench


def causes(bench: Bench) -> set[str]:
    return {gap["cause"] for gap in bench.manifest()["gaps"]}


async def end(bench: Bench, reason: int = 6) -> None:
    await bench.stop(reason)
    await bench.until_gone()


# 1: another server


async def test_a_failover_connects_to_the_new_server_at_once(up: Bench) -> None:
    moved_s = trio.current_time()
    assert await up.start(host=OTHER_HOST) is Verdict.NEW
    await up.until(lambda: up.zoom.last("signaling").host == OTHER_HOST)
    assert trio.current_time() - moved_s <= SOON_S
    await up.until_up()
    assert trio.current_time() - moved_s <= 2 * SOON_S
    assert {peer.host for kind in ("signaling", "audio", "transcript") for peer in up.zoom.open(kind)} == {OTHER_HOST}
    await trio.sleep(15)  # Zoom says what time it is
    await end(up)
    assert causes(up) <= {"server_failover"}
    assert up.supervisor.tally().reconnects == {("server_failover", "ok"): 1}


async def test_after_a_failover_everything_is_said_anew(up: Bench) -> None:
    await up.start(host=OTHER_HOST)
    await trio.sleep(5)
    signaling = up.zoom.last("signaling")
    assert len(signaling.sent(SUBSCRIPTION)) == 1
    assert len(signaling.sent(READY)) == 2  # audio, transcript
    assert signaling.sent(STATE_REQUEST)


async def test_a_failover_while_the_old_server_is_being_connected_again(up: Bench) -> None:
    up.zoom.down.add(HOST)
    await up.zoom.last("signaling").cut()
    await trio.sleep(30)  # the next attempt would come at 45 s
    moved_s = trio.current_time()
    await up.start(host=OTHER_HOST)
    await up.until_up()
    assert trio.current_time() - moved_s <= SOON_S
    assert up.supervisor.tally().reconnects == {("server_failover", "ok"): 1}


async def test_a_failover_while_the_old_server_does_not_answer_the_dial(up: Bench) -> None:
    up.zoom.deaf.add(HOST)
    await up.zoom.last("signaling").cut()
    await trio.sleep(4)
    moved_s = trio.current_time()
    await up.start(host=OTHER_HOST)
    await up.until_up()
    assert trio.current_time() - moved_s <= SOON_S


async def test_a_failover_begins_a_whole_window(up: Bench) -> None:
    up.zoom.down |= {HOST, OTHER_HOST}
    await up.zoom.last("signaling").cut()
    await trio.sleep(50)
    moved_s = trio.current_time()
    await up.start(host=OTHER_HOST)
    gone_s = await up.until_gone()
    assert gone_s - moved_s == pytest.approx(60, abs=1)
    assert up.supervisor.tally().reconnects == {("server_failover", "failed"): 1}


async def test_failovers_that_follow_each_other_closely(up: Bench) -> None:
    """The last one counts, and there is never a second socket (the virtual Zoom would object)."""
    for number in range(6):
        await up.start(host=(OTHER_HOST, HOST)[number % 2], event_ts=zoom_ms() + number)
        await trio.sleep(0.05 * number)
    await trio.sleep(5)
    assert up.state() == "active"
    assert {peer.host for kind in ("signaling", "audio", "transcript") for peer in up.zoom.open(kind)} == {HOST}


@pytest.mark.parametrize("turns", range(0, 42, 3))
async def test_a_failover_at_any_moment_of_a_handshake_with_the_old_server(up: Bench, turns: int) -> None:
    """A connection that still comes up there is no recovery, and its end no further loss."""
    await up.zoom.last("signaling").cut()
    await trio.sleep(2 * SOON_S)
    up.stream().reconnect()
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    await up.start(host=OTHER_HOST)
    await trio.sleep(5)
    assert up.state() == "active"
    assert {peer.host for kind in ("signaling", "audio", "transcript") for peer in up.zoom.open(kind)} == {OTHER_HOST}
    assert up.supervisor.tally().reconnects == {("server_failover", "ok"): 1}


async def test_a_failover_is_not_done_while_one_medium_is_missing(up: Bench) -> None:
    up.zoom.answers["transcript"].extend([45, 45])
    await up.start(host=OTHER_HOST)
    await up.until_up(links=1)
    assert up.supervisor.tally().reconnects == {}
    await up.until_up()
    assert up.supervisor.tally().reconnects == {("server_failover", "ok"): 1}


async def test_a_start_that_was_overtaken_by_a_failover_is_late(up: Bench) -> None:
    await up.start(host=OTHER_HOST, event_ts=T0 + 10_000)
    await up.until_up()
    assert await up.start(host="rtms3.zoom.test", event_ts=T0 + 9_000) is Verdict.LATE
    await trio.sleep(10)
    assert {host for _, host in up.zoom.dialled} == {HOST, OTHER_HOST}


async def test_an_announced_end_is_called_off_by_a_failover(up: Bench) -> None:
    await up.zoom.last("signaling").stream_state(3, 17)
    await trio.sleep(1)
    await up.start(host=OTHER_HOST)
    await trio.sleep(100)
    assert up.state() == "active"
    assert up.zoom.last("signaling").host == OTHER_HOST


# 2: signaling


async def test_signaling_that_is_cut_comes_back_after_3_s_and_media_with_it(up: Bench) -> None:
    cut_s = trio.current_time()
    await up.zoom.last("signaling").cut()
    await trio.sleep(SOON_S)
    assert up.state() == "recovering"
    assert not up.zoom.open("audio")
    await up.until_up()
    assert trio.current_time() - cut_s == pytest.approx(3.5, abs=0.5)
    await trio.sleep(15)
    assert up.state() == "active"
    await end(up)
    assert causes(up) <= {"signaling_reconnect"}
    assert up.supervisor.tally().reconnects == {("signaling_reconnect", "ok"): 1}


async def test_an_interrupted_webhook_alone_makes_new_connections(up: Bench) -> None:
    """Zoom has lost signaling, and what we hold is a connection that plays dead."""
    for kind in ("signaling", "audio", "transcript"):
        up.zoom.last(kind).speaks = False
    await trio.sleep(20)
    told_s = trio.current_time()
    await up.interrupt()
    await up.until(lambda: len(up.zoom.hellos("signaling")) == 2)
    assert trio.current_time() - told_s == pytest.approx(3.5, abs=0.5)
    await up.until_up()
    assert len(up.zoom.hellos("signaling")) == 2


@pytest.mark.parametrize("webhook_after_s", [0, 2, 5, 20])
async def test_the_interrupted_webhook_of_a_loss_that_was_noticed_changes_nothing(
    up: Bench, webhook_after_s: int
) -> None:
    happened_ms = zoom_ms()
    await up.zoom.last("signaling").cut()
    await trio.sleep(webhook_after_s)
    await up.interrupt(event_ts=happened_ms)
    await trio.sleep(30)
    assert len(up.zoom.hellos("signaling")) == 2
    assert up.state() == "active"


async def test_an_interrupted_webhook_that_came_twice_makes_one_reconnection(up: Bench) -> None:
    up.zoom.last("signaling").speaks = False
    await trio.sleep(20)
    assert await up.interrupt(event_ts=zoom_ms()) is Verdict.NEW
    assert await up.interrupt(event_ts=zoom_ms()) is Verdict.DUPLICATE
    await up.interrupt(event_ts=zoom_ms() + 1)
    await trio.sleep(30)
    assert len(up.zoom.hellos("signaling")) == 2


async def test_an_address_in_the_interrupted_webhook_counts(up: Bench) -> None:
    """Today's schema has none."""
    up.zoom.last("signaling").speaks = False
    await trio.sleep(20)
    await up.interrupt(server_urls=f"ws://{OTHER_HOST}/signaling")
    await up.until(lambda: up.zoom.last("signaling").host == OTHER_HOST)
    await up.until_up()


async def test_signaling_that_zoom_still_holds_is_asked_for_in_short_steps(up: Bench) -> None:
    up.zoom.answers["signaling"].extend([8, 8, 8])
    cut_s = trio.current_time()
    await up.zoom.last("signaling").cut()
    await trio.sleep(SOON_S)
    await up.until_up()
    asked_s = [at_s - cut_s for at_s in up.zoom.hellos("signaling")[1:]]
    assert asked_s == [pytest.approx(at_s + 0.5, abs=0.5) for at_s in (3, 3 + 1.5, 4.5 + 1.5, 6 + 1.5)]


async def test_a_slot_that_is_gone_is_no_failure_of_ours(up: Bench) -> None:
    up.zoom.always["signaling"] = 2
    await up.zoom.last("signaling").cut()
    await trio.sleep(SOON_S)
    await up.until_gone()
    assert (up.manifest()["state"], up.manifest()["stop_reason"]) == ("ended", 19)


async def test_the_webhook_that_says_why_the_slot_is_gone_is_waited_for(up: Bench) -> None:
    up.zoom.always["signaling"] = 2
    await up.zoom.last("signaling").cut()
    await up.until(lambda: len(up.zoom.hellos("signaling")) == 2)
    await trio.sleep(1)
    await up.stop(6)
    await up.until_gone()
    assert up.manifest()["stop_reason"] == 6


async def test_a_slot_that_moved_is_found_by_the_failover_that_reports_it(up: Bench) -> None:
    up.zoom.answers["signaling"].append(2)
    await up.zoom.last("signaling").cut()
    await up.until(lambda: len(up.zoom.hellos("signaling")) == 2)
    await trio.sleep(1)
    await up.start(host=OTHER_HOST)
    await up.until_up()
    assert up.zoom.last("signaling").host == OTHER_HOST


async def test_signaling_that_closes_in_order_but_says_nothing_of_an_end_is_lost_too(up: Bench) -> None:
    """Whoever evicts us closes with 1000."""
    await up.zoom.last("signaling").close()
    await trio.sleep(SOON_S)
    await up.until_up()
    assert up.supervisor.tally().reconnects == {("signaling_reconnect", "ok"): 1}


# 3: media


@pytest.mark.parametrize("kind", ["audio", "transcript"])
async def test_a_media_connection_that_is_cut_comes_back_alone(up: Bench, kind: str) -> None:
    cut_s = trio.current_time()
    hello = up.zoom.last(kind).received[0][1]
    await up.zoom.last(kind).cut()
    await trio.sleep(SOON_S)
    assert up.state() == "recovering"
    await up.until_up()
    assert trio.current_time() - cut_s == pytest.approx(3.5, abs=0.5)
    assert up.zoom.last(kind).received[0][1] == hello  # identical parameters
    await trio.sleep(1)
    assert len(up.zoom.last("signaling").sent(READY)) == 3  # one more
    assert [len(up.zoom.hellos(each)) for each in ("signaling", "audio", "transcript")] == [
        1,
        1 + (kind == "audio"),
        1 + (kind == "transcript"),
    ]
    await trio.sleep(15)
    await end(up)
    assert causes(up) <= {"media_reconnect"}
    assert up.supervisor.tally().reconnects == {("media_reconnect", "ok"): 1}


async def test_media_that_zoom_still_holds_are_asked_for_again(up: Bench) -> None:
    for status in (16, 15):
        up.zoom.answers["audio"].append(status)
    await up.zoom.last("audio").cut()
    await trio.sleep(SOON_S)
    await up.until_up()
    assert len(up.zoom.hellos("audio")) == 4


async def test_signaling_that_goes_while_media_are_away_takes_the_outage_over(up: Bench) -> None:
    up.zoom.answers["audio"].append(45)
    await up.zoom.last("audio").cut()
    await trio.sleep(5)
    await up.zoom.last("signaling").cut()
    await trio.sleep(SOON_S)
    await up.until_up()
    assert up.supervisor.tally().reconnects == {("signaling_reconnect", "ok"): 1}
    await trio.sleep(15)
    await end(up)
    assert causes(up) <= {"signaling_reconnect"}


async def test_an_outage_is_recovered_although_one_medium_is_not_given_any_more(up: Bench) -> None:
    up.zoom.answers["transcript"].append(12)
    await up.zoom.last("signaling").cut()
    await trio.sleep(SOON_S)
    await up.until_up(links=1)
    await trio.sleep(SOON_S)
    assert up.state() == "active"
    assert up.supervisor.tally().reconnects == {("signaling_reconnect", "ok"): 1}


async def test_media_that_zoom_refuses_since_it_has_no_signaling_make_a_new_one(up: Bench) -> None:
    """Zoom noticed that signaling is dead before we did."""
    up.zoom.answers["audio"].append(2)
    await up.zoom.last("audio").cut()
    await trio.sleep(SOON_S)
    await up.until(lambda: len(up.zoom.hellos("signaling")) == 2)
    await up.until_up()
    assert up.state() == "active"


async def test_what_was_buffered_meanwhile_is_taken_in_once(up: Bench) -> None:
    """A burst with old timestamps, half a second of which had come before."""
    await up.zoom.last("audio").cut()
    await trio.sleep(SOON_S)
    await up.until_up()
    audio = up.zoom.last("audio")
    now_ms = zoom_ms()
    for timestamp_ms in range(T0 + 9000, now_ms, 100):
        await audio.audio(timestamp_ms)
    await trio.sleep(15)
    await end(up)
    assert [gap for gap in up.manifest()["gaps"] if gap["media"] == "audio"] == []
    assert up.manifest()["counters"]["duplicates"] == 1


# 4: terminated


@pytest.mark.parametrize("reason", [10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 24])
async def test_a_terminated_stream_is_dead_and_left_to_the_policy(up: Bench, reason: int) -> None:
    dialled = len(up.zoom.dialled)
    await end(up, reason)
    await trio.sleep(100)
    assert len(up.zoom.dialled) == dialled
    assert up.restarter.considered == [("stream-1", reason)]
    assert (up.manifest()["state"], up.manifest()["stop_reason"]) == ("ended", reason)


@pytest.mark.parametrize("reason", [1, 19])
async def test_why_a_stream_that_was_given_up_ended_is_for_zoom_to_say(up: Bench, reason: int) -> None:
    """A host who stopped it meanwhile wants no new one: the policy hears of the reason late, or never."""
    up.zoom.always["signaling"] = 2
    await up.zoom.last("signaling").cut()
    await up.until_gone()
    assert up.manifest()["stop_reason"] == 19
    assert up.restarter.considered == []
    await trio.sleep(300)
    assert await up.stop(reason, event_ts=zoom_ms()) is Verdict.LATE
    await up.until(lambda: up.restarter.considered == [("stream-1", reason)])


async def test_why_an_earlier_life_ended_is_no_news_for_a_stream_that_was_started_again(up: Bench) -> None:
    up.zoom.always["signaling"] = 2
    await up.zoom.last("signaling").cut()
    await up.until_gone()
    told_ms = zoom_ms()
    up.zoom.always.clear()
    await up.start(event_ts=told_ms + 1000)
    await up.until_up()
    assert await up.stop(19, event_ts=told_ms) is Verdict.LATE
    await trio.sleep(10)
    assert up.restarter.considered == []
    assert up.state() == "active"


async def test_the_same_reason_beside_an_interruption_ends_nothing(up: Bench) -> None:
    await up.zoom.last("signaling").stream_state(2, 13)
    await trio.sleep(30)
    assert up.state() == "active"
