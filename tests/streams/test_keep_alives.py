"""Keep-alives, both ways: Zoom's are answered at once and exactly, and silence for 65 s is a lost connection."""

from typing import Any

import pytest
import trio

from tests.streams.harness import Bench
from tests.streams.zoom import T0, Peer, zoom_ms

KINDS = ["signaling", "audio", "transcript"]
TIMEOUT_S = 65.0
PING = b"\x89\x00"
LONG_FRAME = b"\x81\x7e\x10\x00"  # its head: text of 4096 bytes
BY_THEN_S = 4.5  # the delay before the first attempt, and what is in our buffers


@pytest.fixture
async def up(bench: Bench) -> Bench:
    await bench.up()
    return bench


def answers(peer: Peer) -> list[tuple[float, dict[str, Any]]]:
    return [(at_s, message) for at_s, message in peer.received if message["msg_type"] == 13]


# Answers (the virtual Zoom objects to one that is not the exact echo of what it asked)


@pytest.mark.parametrize("kind", KINDS)
async def test_each_is_answered_at_once_on_the_same_socket(up: Bench, kind: str) -> None:
    await trio.sleep(65)
    peer = up.zoom.last(kind)
    assert [round(at_s) for at_s, _ in answers(peer)] == [10, 20, 30, 40, 50, 60]
    assert all(at_s == pytest.approx(round(at_s), abs=0.05) for at_s, _ in answers(peer))
    assert not peer.unanswered


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [True, False])
async def test_what_is_echoed_is_exact(up: Bench, kind: str, numbers: bool) -> None:
    peer = up.zoom.last(kind)
    peer.numbers = numbers
    odd = [0, -1, 2**53 + 1, 2**63 - 1, 1_790_000_000]
    for timestamp in odd:
        await peer.ask(timestamp=timestamp)
    await trio.sleep(1)
    assert [message["timestamp"] for _, message in answers(peer)] == odd
    assert all(("sequence" in message) == numbers for _, message in answers(peer))
    assert not peer.unanswered


@pytest.mark.parametrize("kind", ["audio", "transcript"])
async def test_media_in_a_flood_delay_no_answer(up: Bench, kind: str) -> None:
    peer = up.zoom.last(kind)
    for number in range(300):
        await peer.audio(T0 + 100 * number)
    await peer.ask(timestamp=zoom_ms())
    for number in range(300, 600):
        await peer.audio(T0 + 100 * number)
    asked_s = trio.current_time()
    await trio.sleep(1)
    assert [at_s for at_s, _ in answers(peer)] == [pytest.approx(asked_s, abs=0.05)]


async def test_they_are_answered_while_media_are_being_connected_again(up: Bench) -> None:
    """Signaling never waits for media."""
    up.zoom.always["audio"] = -1
    await up.zoom.last("audio").cut()
    await trio.sleep(40)
    assert not up.zoom.last("signaling").unanswered
    assert up.zoom.last("signaling").answered == 4


@pytest.mark.parametrize("kind", KINDS)
async def test_those_that_nobody_reads_the_answers_of_are_bounded(up: Bench, kind: str) -> None:
    """Zoom asks without end and reads nothing: we go on reading, and remember no more than a few answers."""
    up.zoom.misses = 10_000
    peer = up.zoom.last(kind)
    peer.stall()
    for _ in range(1000):
        await peer.ask(timestamp=zoom_ms())
    await trio.sleep(20)
    assert up.stream().situation.uplink.is_up
    await up.stop()
    await up.until_gone()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nonsense", ["soon", 1.5, [], {}, True])
async def test_nonsense_in_place_of_a_time_ends_nothing(up: Bench, kind: str, nonsense: object) -> None:
    await up.zoom.last(kind).ask(timestamp=nonsense)
    await trio.sleep(30)
    assert len(up.zoom.hellos(kind)) == 1
    assert up.state() == "active"


# Silence


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_falls_silent_is_lost_after_65_s(up: Bench, kind: str) -> None:
    up.zoom.last(kind).speaks = False
    await up.until(lambda: len(up.zoom.hellos(kind)) == 2)
    assert trio.current_time() == pytest.approx(TIMEOUT_S + BY_THEN_S, abs=1.5)
    assert len(up.zoom.hellos("signaling")) == 1 + (kind == "signaling")
    await up.until_up()
    assert up.state() == "active"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["media", "event", "keep-alive", "rubbish", "ping"])
async def test_any_word_is_a_sign_of_life(up: Bench, kind: str, word: str) -> None:
    peer = up.zoom.last(kind)
    peer.speaks = False
    for _ in range(4):
        await trio.sleep(TIMEOUT_S - 5)
        match word:
            case "media":
                await peer.audio(zoom_ms())
            case "event":
                await peer.event(2, user_id=7, user_name="Ana")
            case "keep-alive":
                await peer.ask(timestamp=zoom_ms())
            case "rubbish":
                await peer.send("}{")
            case "ping":
                await peer.send_raw(PING)
    assert len(up.zoom.hellos(kind)) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_frame_that_never_ends_is_no_sign_of_life(up: Bench, kind: str) -> None:
    peer = up.zoom.last(kind)
    peer.speaks = False
    await peer.send_raw(LONG_FRAME)
    while len(up.zoom.hellos(kind)) == 1:
        await peer.send_raw(b" ")
        await trio.sleep(5)
    assert trio.current_time() == pytest.approx(TIMEOUT_S + BY_THEN_S, abs=6)
    await up.until_up()


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_counts_from_the_last_word(up: Bench, kind: str) -> None:
    peer = up.zoom.last(kind)
    peer.speaks = False
    await trio.sleep(40)
    await peer.ask(timestamp=zoom_ms())
    heard_s = trio.current_time()
    await up.until(lambda: len(up.zoom.hellos(kind)) == 2)
    assert trio.current_time() - heard_s == pytest.approx(TIMEOUT_S + BY_THEN_S, abs=1.5)


async def test_when_everything_falls_silent_there_is_one_reconnection(up: Bench) -> None:
    for kind in KINDS:
        up.zoom.last(kind).speaks = False
    await trio.sleep(TIMEOUT_S + 30)
    assert [len(up.zoom.hellos(kind)) for kind in KINDS] == [2, 2, 2]
    assert up.state() == "active"
