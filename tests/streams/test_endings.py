"""A stream is ended at any time, by whoever may: it goes quickly, for good, and with the right reason."""

from collections.abc import Awaitable, Callable
from typing import Final

import pytest
import trio

from tests.streams.harness import STREAM, Bench
from tests.streams.zoom import HOST, SILENT, T0, zoom_ms

MEDIA_HOST = "media.zoom.test"
REVOKED = 8
STARTED, PAUSED, STOPPED = 2, 3, 5
TERMINATING, TERMINATED = 3, 4
CLOSE_REQUEST = 21
GRACE_S = 2.0  # streams.stop_grace_s: what is on its way may still arrive
SESSION_GRACE_S = 5.0  # for another sub-session
SOON_S = 1.0

Reach = Callable[[Bench], Awaitable[None]]
End = Callable[[Bench], Awaitable[None]]


# Where a stream may be


async def dialling(bench: Bench) -> None:
    bench.zoom.deaf.add(HOST)
    await bench.start()
    await trio.sleep(1)


async def shaking_hands(bench: Bench) -> None:
    bench.zoom.always["signaling"] = SILENT
    await bench.start()
    await trio.sleep(1)


async def refused_for_now(bench: Bench) -> None:
    bench.zoom.always["signaling"] = 8
    await bench.start()
    await trio.sleep(1)


async def dialling_media(bench: Bench) -> None:
    bench.zoom.media_host = MEDIA_HOST
    bench.zoom.deaf.add(MEDIA_HOST)
    await bench.start()
    await trio.sleep(1)


async def between_the_handshakes(bench: Bench) -> None:
    bench.zoom.always |= {"audio": SILENT, "transcript": SILENT}
    await bench.start()
    await trio.sleep(1)


async def streaming(bench: Bench) -> None:
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    await trio.sleep(1)


async def waiting_for_signaling(bench: Bench) -> None:
    await streaming(bench)
    bench.zoom.down.add(HOST)
    await bench.zoom.last("signaling").cut()
    await trio.sleep(5)


async def dialling_signaling_again(bench: Bench) -> None:
    await streaming(bench)
    bench.zoom.deaf.add(HOST)
    await bench.zoom.last("signaling").cut()
    await trio.sleep(5)


async def waiting_for_media(bench: Bench) -> None:
    await streaming(bench)
    bench.zoom.always["audio"] = 45
    await bench.zoom.last("audio").cut()
    await trio.sleep(5)


async def paused(bench: Bench) -> None:
    await streaming(bench)
    await bench.zoom.last("signaling").session_state("rs-1", PAUSED)
    await trio.sleep(20)


WITH_SIGNALING: Final = (dialling_media, between_the_handshakes, streaming, waiting_for_media, paused)
WITHOUT: Final = (dialling, shaking_hands, refused_for_now, waiting_for_signaling, dialling_signaling_again)


async def ends_for_good(bench: Bench, reason: int, within_s: float) -> None:
    """It is gone in time, and nothing is dialled any more."""
    asked_s = trio.current_time()
    assert await bench.until_gone() - asked_s <= within_s
    dialled = len(bench.zoom.dialled)
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("ended", reason)
    assert await bench.journal.unfinished() == []
    await trio.sleep(100)
    assert len(bench.zoom.dialled) == dialled
    assert not any(peer.is_open for peer in bench.zoom.peers)
    assert not bench.logged("stream crashed")


@pytest.mark.parametrize("reach", [*WITH_SIGNALING, *WITHOUT])
async def test_by_webhook(bench: Bench, reach: Reach) -> None:
    await reach(bench)
    await bench.stop(6)
    await ends_for_good(bench, 6, GRACE_S + SOON_S if reach in WITH_SIGNALING else SOON_S)


@pytest.mark.parametrize("reach", WITH_SIGNALING)
async def test_by_the_state_of_the_stream(bench: Bench, reach: Reach) -> None:
    """Message 8, terminated."""
    await reach(bench)
    await bench.zoom.last("signaling").stream_state(TERMINATED, 3)
    await ends_for_good(bench, 3, GRACE_S + SOON_S)


@pytest.mark.parametrize("reach", WITH_SIGNALING)
async def test_by_the_state_of_the_last_sub_session(bench: Bench, reach: Reach) -> None:
    """Message 9, stopped; and no other one starts."""
    await reach(bench)
    await bench.zoom.last("signaling").session_state("rs-1", STARTED)
    await bench.zoom.last("signaling").session_state("rs-1", STOPPED, stop_reason=2)
    await ends_for_good(bench, 2, SESSION_GRACE_S + GRACE_S + SOON_S)


@pytest.mark.parametrize("reach", WITH_SIGNALING)
async def test_by_an_operator_politely(bench: Bench, reach: Reach) -> None:
    """Messages 21 and 22, then Zoom terminates the stream."""
    await reach(bench)
    bench.supervisor.close(STREAM)
    await ends_for_good(bench, 20, GRACE_S + SOON_S)
    assert bench.zoom.last("signaling").sent(CLOSE_REQUEST) == [{"msg_type": 21, "rtms_stream_id": STREAM}]


@pytest.mark.parametrize("reach", WITHOUT)
async def test_by_an_operator_when_there_is_no_connection_to_say_it_on(bench: Bench, reach: Reach) -> None:
    await reach(bench)
    bench.supervisor.close(STREAM)
    await ends_for_good(bench, 20, SOON_S)


async def test_by_an_operator_whom_zoom_does_not_answer(bench: Bench) -> None:
    """10 s, as for any handshake."""
    bench.zoom.closes_politely = False
    await streaming(bench)
    bench.supervisor.close(STREAM)
    await trio.sleep(9)
    assert STREAM in bench.supervisor.streams
    await ends_for_good(bench, 20, 1 + GRACE_S + SOON_S)


async def test_by_an_operator_who_asks_twice(bench: Bench) -> None:
    bench.zoom.closes_politely = False
    await streaming(bench)
    bench.supervisor.close(STREAM)
    bench.supervisor.close(STREAM)
    await ends_for_good(bench, 20, GRACE_S + SOON_S)
    assert len(bench.zoom.last("signaling").sent(CLOSE_REQUEST)) == 1


async def test_by_an_operator_while_zoom_reads_nothing(bench: Bench) -> None:
    await streaming(bench)
    bench.zoom.last("signaling").stall()
    bench.supervisor.close(STREAM)
    await ends_for_good(bench, 20, 10 + GRACE_S + SOON_S)


async def test_by_a_connection_that_closes_after_the_end_was_announced(bench: Bench) -> None:
    """No word more than "terminating": no reconnection, and no gap."""
    await streaming(bench)
    await bench.zoom.last("signaling").stream_state(TERMINATING, 4)
    await trio.sleep(1)
    for kind in ("audio", "transcript", "signaling"):
        await bench.zoom.last(kind).close()
    await ends_for_good(bench, 4, SOON_S)
    assert bench.manifest()["gaps"] == []


async def test_by_an_announcement_that_nothing_follows(bench: Bench) -> None:
    """A whole window later."""
    await streaming(bench)
    await bench.zoom.last("signaling").stream_state(TERMINATING, 4)
    await ends_for_good(bench, 4, 60 + GRACE_S + SOON_S)


@pytest.mark.parametrize("closes_first", ["audio", "signaling"])
async def test_by_sockets_that_close_before_the_webhook_comes(bench: Bench, closes_first: str) -> None:
    await streaming(bench)
    for kind in (closes_first, *({"audio", "transcript", "signaling"} - {closes_first})):
        await bench.zoom.last(kind).close()
    await trio.sleep(1)
    await bench.stop(6)
    await ends_for_good(bench, 6, SOON_S)


async def test_by_all_means_at_once(bench: Bench) -> None:
    """The first word counts."""
    await streaming(bench)
    signaling = bench.zoom.last("signaling")
    await signaling.stream_state(TERMINATED, 5)
    await bench.until(lambda: bench.supervisor.streams[STREAM].end is not None)
    bench.supervisor.close(STREAM)
    await bench.stop(6)
    await signaling.session_state("rs-1", STOPPED, stop_reason=2)
    await signaling.stream_state(TERMINATING, 4)
    await signaling.stream_state(TERMINATED, 3)
    await ends_for_good(bench, 5, GRACE_S + SOON_S)


async def test_what_comes_while_zoom_closes_is_kept(bench: Bench) -> None:
    await streaming(bench)
    await bench.stop(6)
    await trio.sleep(1)
    content = {"user_id": 7, "data": "Goodbye.", "timestamp": zoom_ms(), "start_time": zoom_ms() - 500}
    await bench.zoom.last("transcript").say(17, content=content)
    await bench.until_gone()
    assert "Goodbye." in (bench.recording() / "transcript.jsonl").read_text()


async def test_an_end_that_carries_no_reason_has_the_announced_one(bench: Bench) -> None:
    await streaming(bench)
    await bench.zoom.last("signaling").stream_state(TERMINATING, 1)
    await bench.zoom.last("signaling").stream_state(TERMINATED)
    await ends_for_good(bench, 1, GRACE_S + SOON_S)


# No end


async def test_a_sub_session_of_several_that_stops_ends_nothing(bench: Bench) -> None:
    await streaming(bench)
    signaling = bench.zoom.last("signaling")
    for session, state in (("rs-1", STARTED), ("rs-2", STARTED), ("rs-1", STOPPED)):
        await signaling.session_state(session, state)
    await trio.sleep(60)
    assert bench.state() == "active"


async def test_a_sub_session_that_starts_soon_after_the_last_one_keeps_the_stream(bench: Bench) -> None:
    await streaming(bench)
    signaling = bench.zoom.last("signaling")
    for session, state in (("rs-1", STARTED), ("rs-1", STOPPED), ("rs-2", STARTED)):
        await signaling.session_state(session, state)
        await trio.sleep(3)
    await trio.sleep(60)
    assert bench.state() == "active"
    assert len(bench.zoom.hellos("audio")) == 1


async def test_media_let_go_between_two_sub_sessions_are_connected_again(bench: Bench) -> None:
    await streaming(bench)
    signaling = bench.zoom.last("signaling")
    await signaling.session_state("rs-1", STARTED)
    await signaling.session_state("rs-1", STOPPED)
    await trio.sleep(1)
    await bench.zoom.last("audio").close()
    await trio.sleep(1)
    assert not bench.zoom.open("audio")
    await signaling.session_state("rs-2", STARTED)
    await bench.until_up()
    assert len(bench.zoom.hellos("signaling")) == 1
    await trio.sleep(30)
    assert bench.state() == "active"


async def test_a_sub_session_whose_start_was_not_heard_keeps_the_stream_by_its_media(bench: Bench) -> None:
    await streaming(bench)
    signaling = bench.zoom.last("signaling")
    await signaling.session_state("rs-1", STARTED)
    await signaling.session_state("rs-1", STOPPED)
    for _ in range(80):
        await bench.zoom.last("audio").audio(zoom_ms())
        await trio.sleep(0.1)
    assert bench.state() == "active"
    await bench.zoom.last("audio").close()  # a loss, and not the end
    await bench.until_up()
    await signaling.session_state("rs-2", STARTED)
    await signaling.session_state("rs-2", STOPPED)
    await trio.sleep(60)
    assert bench.state() == "active"
    await bench.stop(6)
    await ends_for_good(bench, 6, GRACE_S + SOON_S)


# Revoked


@pytest.mark.parametrize("reach", [*WITH_SIGNALING, *WITHOUT])
async def test_revoked_by_webhook(bench: Bench, reach: Reach) -> None:
    await reach(bench)
    asked_s = trio.current_time()
    await bench.stop(REVOKED)
    assert await bench.until_gone() - asked_s <= SOON_S
    assert bench.manifest()["state"] == "revoked"
    assert [path.name for path in bench.recording().iterdir()] == ["stream.json"]


async def test_revoked_on_signaling(bench: Bench) -> None:
    await streaming(bench)
    await bench.zoom.last("signaling").stream_state(TERMINATED, REVOKED)
    await bench.until_gone()
    assert bench.manifest()["state"] == "revoked"
    assert [path.name for path in bench.recording().iterdir()] == ["stream.json"]


async def test_revoked_in_the_grace_after_another_end(bench: Bench) -> None:
    await streaming(bench)
    await bench.stop(6)
    await trio.sleep(1)
    asked_s = trio.current_time()
    await bench.stop(REVOKED)
    assert await bench.until_gone() - asked_s <= SOON_S
    assert bench.manifest()["state"] == "revoked"


# Hosts


async def test_a_server_we_may_not_connect_to_is_refused_and_said_so(bench: Bench) -> None:
    await bench.start(host="rtms.evil.test")
    await bench.until_gone()
    assert not bench.zoom.dialled
    assert bench.manifest()["state"] == "failed"
    assert "rtms.evil.test" in bench.logged("stream ended")[0]["why"]


async def test_a_media_server_we_may_not_connect_to_is_refused_and_said_so(bench: Bench) -> None:
    bench.zoom.media_host = "media.evil.test"
    await bench.start()
    await bench.until_gone()
    assert {host for _, host in bench.zoom.dialled} == {HOST}
    assert bench.manifest()["state"] == "failed"
    assert "media.evil.test" in bench.logged("media refused")[0]["why"]


async def test_a_failover_to_a_server_we_may_not_connect_to_ends_the_stream(bench: Bench) -> None:
    await streaming(bench)
    await bench.start(host="rtms.evil.test")
    await bench.until_gone()
    assert {host for _, host in bench.zoom.dialled} == {HOST}
    assert bench.manifest()["state"] == "failed"
