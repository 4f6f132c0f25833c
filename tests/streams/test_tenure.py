"""The tenure: who may not connect lets go, and who does not know tries once."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from rtmsd.protocol.causes import GapCause
from rtmsd.streams.drivers.tenure import Permission
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import HOST, T0

HELD = 8
TRIAL_S = 30.0
LONG_S = 300.0  # longer than any window


class ScriptedTenure:
    """Answers as a test wants it.

    Attributes:
        answers: the next ones; GRANTED when there are none left.
        slow_s: how long an answer takes.
        asked: (id, time) of each question.
    """

    takeover_cause = GapCause.DAEMON_RESTART

    def __init__(self) -> None:
        self.answers: list[Permission] = []
        self.slow_s = 0.0
        self.asked: list[tuple[str, float]] = []

    async def may_connect(self, rtms_stream_id: str) -> Permission:
        self.asked.append((rtms_stream_id, trio.current_time()))
        await trio.sleep(self.slow_s)
        return self.answers.pop(0) if self.answers else Permission.GRANTED


@pytest.fixture
def tenure() -> ScriptedTenure:
    return ScriptedTenure()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tenure: ScriptedTenure) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, monkeypatch, tenure=tenure) as opened:
        yield opened


def hellos(bench: Bench) -> int:
    return len(bench.zoom.hellos("signaling"))


async def check_let_go(bench: Bench, why: str) -> None:
    """It is suspended, for good, and nothing ended."""
    await bench.until(lambda: STREAM not in bench.supervisor.streams)
    assert [told[0] for told in bench.let_go] == [STREAM]
    assert why in bench.let_go[0][1]
    dialled = len(bench.zoom.dialled)
    await trio.sleep(LONG_S)
    assert len(bench.zoom.dialled) == dialled
    assert not [peer for peer in bench.zoom.peers if peer.sent(21) or peer.is_open]
    manifest = bench.manifest()
    assert (manifest["state"], manifest["ended_ms"], manifest["stop_reason"]) == ("recovering", None, None)
    assert [row.rtms_stream_id for row in await bench.journal.unfinished()] == [STREAM]
    assert not [*bench.restarter.considered, *bench.supervisor.ended, *bench.supervisor.lost.all()]
    assert not bench.logged("stream ended")


async def test_it_is_asked_before_each_signaling_handshake_and_no_other(bench: Bench, tenure: ScriptedTenure) -> None:
    await bench.up()
    await bench.zoom.last("audio").cut()
    await trio.sleep(10)
    assert tenure.asked == [(STREAM, 0.0)]
    await bench.zoom.last("signaling").cut()
    await bench.until(lambda: hellos(bench) == 2)
    await bench.until_up()
    assert len(tenure.asked) == 2


async def test_who_is_not_the_owner_dials_nobody(bench: Bench, tenure: ScriptedTenure) -> None:
    tenure.answers = [Permission.LOST]
    await bench.start()
    await bench.until(lambda: bench.let_go)
    assert bench.zoom.dialled == []
    assert STREAM not in bench.supervisor.streams


async def test_who_has_lost_a_stream_learns_it_at_the_next_handshake(bench: Bench, tenure: ScriptedTenure) -> None:
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    tenure.answers = [Permission.LOST]
    await bench.zoom.last("signaling").cut()
    await check_let_go(bench, "another member owns it")
    assert hellos(bench) == 1
    assert bench.manifest()["counters"]["messages"]["audio"] == 1


async def test_the_owner_waits_for_a_slot_that_is_held_and_may_lose_it_meanwhile(
    bench: Bench, tenure: ScriptedTenure
) -> None:
    await bench.up()
    bench.zoom.always["signaling"] = HELD
    await bench.zoom.last("signaling").cut()
    await trio.sleep(LONG_S)
    assert len(tenure.asked) == hellos(bench) > LONG_S / 2
    tenure.answers = [Permission.LOST]
    await check_let_go(bench, "another member owns it")


async def test_while_it_waits_for_an_answer_the_stream_can_be_stopped(bench: Bench, tenure: ScriptedTenure) -> None:
    tenure.slow_s = 20
    await bench.start()
    await trio.sleep(10)
    await bench.stop(6)
    assert await bench.until_gone() < 15
    assert bench.zoom.dialled == []


async def test_while_it_waits_for_an_answer_it_can_be_let_go(bench: Bench, tenure: ScriptedTenure) -> None:
    tenure.slow_s = 20
    await bench.start()
    await trio.sleep(10)
    await bench.supervisor.let_go(STREAM, "drained")
    assert trio.current_time() < 15
    await check_let_go(bench, "drained")
    assert bench.zoom.dialled == []


# Blind


async def lose_blindly(bench: Bench, tenure: ScriptedTenure) -> None:
    """Signaling is lost, and nobody can say whose the stream is."""
    await bench.up()
    tenure.answers = [Permission.BLIND]
    await bench.zoom.last("signaling").cut()


async def test_a_blind_attempt_that_succeeds_is_a_connection_like_any(bench: Bench, tenure: ScriptedTenure) -> None:
    await lose_blindly(bench, tenure)
    await bench.until(lambda: hellos(bench) == 2)
    await trio.sleep(TRIAL_S + 1)
    assert bench.state() == "active"
    await bench.zoom.last("signaling").cut()
    await bench.until(lambda: hellos(bench) == 3)
    await bench.until_up()
    assert bench.let_go == []


async def test_a_blind_attempt_is_refused_because_another_has_the_slot(bench: Bench, tenure: ScriptedTenure) -> None:
    bench.zoom.answers["signaling"].extend([0, HELD])
    await lose_blindly(bench, tenure)
    await check_let_go(bench, "another has its slot")
    assert hellos(bench) == 2


@pytest.mark.parametrize("is_clean", [False, True])
async def test_a_blind_connection_is_thrown_out_by_who_has_the_stream(
    bench: Bench, tenure: ScriptedTenure, is_clean: bool
) -> None:
    await lose_blindly(bench, tenure)
    await bench.until(lambda: hellos(bench) == 2)
    await trio.sleep(TRIAL_S - 2)
    newest = bench.zoom.last("signaling")
    await (newest.close() if is_clean else newest.cut())
    await check_let_go(bench, "lost soon after")
    assert hellos(bench) == 2


async def test_a_blind_attempt_that_reaches_nobody_proves_nothing(bench: Bench, tenure: ScriptedTenure) -> None:
    await bench.up()
    tenure.answers = [Permission.BLIND, Permission.BLIND]
    bench.zoom.down.add(HOST)
    await bench.zoom.last("signaling").cut()
    await bench.until(lambda: len(tenure.asked) == 3)
    bench.zoom.down.clear()
    await bench.until_up()
    assert bench.let_go == []


async def test_nobody_who_is_cut_off_from_everything_says_that_a_stream_ended(
    bench: Bench, tenure: ScriptedTenure
) -> None:
    await bench.up()
    tenure.answers = [Permission.BLIND] * 100
    bench.zoom.down.add(HOST)
    await bench.zoom.last("signaling").cut()
    await check_let_go(bench, "whose it is was not known")


async def test_a_blind_connection_that_we_close_ourselves_proves_nothing(bench: Bench, tenure: ScriptedTenure) -> None:
    await lose_blindly(bench, tenure)
    await bench.until(lambda: hellos(bench) == 2)
    await bench.until_up()
    await bench.start(host="rtms2.zoom.test")
    await bench.until(lambda: hellos(bench) == 3)
    await bench.until_up()
    assert bench.let_go == []


async def test_the_end_of_a_stream_on_a_blind_connection_is_its_end(bench: Bench, tenure: ScriptedTenure) -> None:
    await lose_blindly(bench, tenure)
    await bench.until(lambda: hellos(bench) == 2)
    await bench.until_up()
    await bench.zoom.last("signaling").stream_state(4, 6)
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6
    assert bench.let_go == []
