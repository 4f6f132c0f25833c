"""One stream let go while the process goes on, and taken up again; and a tenure that forbids to connect."""

import pytest
import trio

from rtmsd.commands import Verdict
from tests.streams.harness import STREAM, Bench
from tests.streams.zoom import OTHER_HOST, T0

REVOKED = 8


@pytest.fixture
async def released(bench: Bench) -> Bench:
    """Two streams, of which one is let go; its files are the test's to look at."""
    await bench.start("other")
    await bench.until_up(rtms_stream_id="other")
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    await trio.sleep(1)
    await bench.supervisor.release(STREAM)
    return bench


def hellos(bench: Bench) -> int:
    return sum(peer.rtms_stream_id == STREAM for peer in bench.zoom.peers if peer.kind == "signaling")


async def test_nothing_ends_at_zoom_in_the_journal_or_in_the_files(released: Bench) -> None:
    assert STREAM not in released.supervisor.streams
    assert not [peer for peer in released.zoom.peers if peer.sent(21)]
    assert not [peer for peer in released.zoom.peers if peer.rtms_stream_id == STREAM and peer.is_open]
    assert STREAM in [row.rtms_stream_id for row in await released.journal.unfinished()]
    manifest = released.manifest()
    assert (manifest["state"], manifest["ended_ms"], manifest["stop_reason"]) == ("recovering", None, None)
    assert {gap["cause"] for gap in manifest["gaps"]} == {"daemon_restart"}
    assert not released.logged("stream ended")
    await trio.sleep(90)
    assert hellos(released) == 1
    assert released.state("other") == "active"


@pytest.mark.parametrize("start", ["delivered again", "newer"])
async def test_its_start_is_accepted_again_and_takes_it_up(released: Bench, start: str) -> None:
    await trio.sleep(10)
    [event_ts] = [row.event_ts for row in await released.journal.unfinished() if row.rtms_stream_id == STREAM]
    if start == "delivered again":
        assert await released.start(event_ts=event_ts) is Verdict.NEW
    else:
        assert await released.start(host=OTHER_HOST) is Verdict.NEW
    await released.until_up()
    await trio.sleep(11)  # Zoom says what time it is
    assert released.state() == "active"
    assert released.stream().situation.outage.recoveries == {("daemon_restart", "ok"): 1}
    assert await released.start(event_ts=event_ts) in {Verdict.DUPLICATE, Verdict.LATE}
    await released.stop()
    await released.until_gone()
    assert released.manifest()["started_ms"] == event_ts
    assert released.manifest()["counters"]["messages"]["audio"] == 1
    assert {gap["cause"] for gap in released.manifest()["gaps"]} == {"daemon_restart"}


async def test_its_stop_ends_it_without_connecting(released: Bench) -> None:
    await trio.sleep(10)
    await released.stop(6)
    await released.until_gone()
    assert hellos(released) == 1
    manifest = released.manifest()
    assert (manifest["state"], manifest["stop_reason"]) == ("ended", 6)
    assert STREAM not in [row.rtms_stream_id for row in await released.journal.unfinished()]


async def test_its_revocation_deletes_it(released: Bench) -> None:
    await released.stop(REVOKED)
    await released.until(lambda: STREAM not in released.supervisor.streams)
    assert released.manifest()["state"] == "revoked"


async def test_a_stop_while_it_is_let_go_ends_it(bench: Bench) -> None:
    await bench.up()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.release, STREAM)
        await trio.testing.wait_all_tasks_blocked()
        await bench.stop(6)
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6


async def test_a_stream_that_ends_is_not_let_go(bench: Bench) -> None:
    await bench.up()
    await bench.zoom.last("signaling").stream_state(4, 6)
    await bench.until(lambda: bench.supervisor.streams[STREAM].end is not None)
    await bench.supervisor.release(STREAM)
    await bench.supervisor.release("nobody")
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6


async def test_without_tenure_no_socket_is_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [False, False, True]
    asked_s: list[float] = []

    async def may_connect() -> bool:
        asked_s.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return answers.pop(0)

    monkeypatch.setattr(bench.supervisor._runner._tenure, "may_connect", may_connect)
    await bench.start()
    await bench.until_up()
    assert [round(at_s) for at_s in asked_s] == [0, 3, 9]
    assert hellos(bench) == 1
    assert [line["why"] for line in bench.logged("signaling not connected")] == [
        "this process may not connect to the stream now"
    ]
