"""One stream let go while the process goes on: nothing ends, and what is in its sockets is kept."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rtmsd.commands import StreamCommand, Verdict
from rtmsd.protocol.causes import GapCause
from rtmsd.streams.drivers.tenure import LocalTenure
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import HOST, OTHER_HOST, SILENT, T0, zoom_ms

REVOKED = 8
READ_OUT_S = 1.0
CLOSED_S = 0.5  # a socket is closed in order for so long


@pytest.fixture
async def left(bench: Bench) -> Bench:
    """Two streams, of which one was let go."""
    await bench.start("other")
    await bench.until_up(rtms_stream_id="other")
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    await trio.sleep(1)
    await bench.supervisor.let_go(STREAM, "drained")
    return bench


def hellos(bench: Bench) -> int:
    return sum(peer.rtms_stream_id == STREAM for peer in bench.zoom.peers if peer.kind == "signaling")


async def unfinished(bench: Bench) -> set[str]:
    return {row.rtms_stream_id for row in await bench.journal.unfinished()}


async def test_nothing_ends_at_zoom_in_the_journal_or_in_the_files(left: Bench) -> None:
    assert STREAM not in left.supervisor.streams
    assert not [peer for peer in left.zoom.peers if peer.sent(21)]
    assert not [peer for peer in left.zoom.peers if peer.rtms_stream_id == STREAM and peer.is_open]
    assert STREAM in await unfinished(left)
    manifest = left.manifest()
    assert (manifest["state"], manifest["ended_ms"], manifest["stop_reason"]) == ("recovering", None, None)
    assert {gap["cause"] for gap in manifest["gaps"]} == {"daemon_restart"}
    assert not left.logged("stream ended")
    assert left.let_go == [(STREAM, "drained")]
    await trio.sleep(90)
    assert hellos(left) == 1
    assert left.restarter.considered == []
    assert left.supervisor.ended == []
    assert left.state("other") == "active"


class MemberTenure(LocalTenure):
    takeover_cause = GapCause.NODE_TAKEOVER


async def test_its_gap_says_that_another_member_of_the_cluster_goes_on(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch, tenure=MemberTenure()) as bench:
        await bench.up()
        await bench.zoom.last("audio").audio(T0)
        await trio.sleep(1)
        await bench.supervisor.let_go(STREAM, "moved")
    assert {gap["cause"] for gap in bench.manifest()["gaps"]} == {"node_takeover"}
    lines = map(json.loads, (bench.recording() / "events.jsonl").read_text().splitlines())
    states = [(line["state"], line["why"]) for line in lines if line["kind"] == "stream_state"]
    assert states[-1] == ("recovering", "moved")


async def test_signaling_is_closed_at_once_and_media_are_read_for_a_second_more(bench: Bench) -> None:
    await bench.up()
    audio = bench.zoom.last("audio")
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
        await bench.until(lambda: not bench.zoom.open("signaling"))
        assert trio.current_time() - began_s <= CLOSED_S
        await audio.audio(zoom_ms())
        await trio.sleep(0.4)
        assert audio.is_open
        await audio.audio(zoom_ms())
    assert READ_OUT_S <= trio.current_time() - began_s <= READ_OUT_S + CLOSED_S
    assert bench.manifest()["counters"]["messages"]["audio"] == 2


async def test_when_zoom_closes_media_nobody_waits(bench: Bench) -> None:
    await bench.up()
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
        await bench.until(lambda: not bench.zoom.open("signaling"))
        for kind in ("audio", "transcript"):
            await bench.zoom.last(kind).cut()
    assert trio.current_time() - began_s < READ_OUT_S


PHASES = ["connecting", "paused", "recovering media", "recovering signaling", "not known to Zoom", "terminating"]


async def reach(bench: Bench, phase: str) -> None:
    if phase == "connecting":
        bench.zoom.always["signaling"] = SILENT
        await bench.start()
        await trio.sleep(1)
        return
    await bench.up()
    match phase:
        case "paused":
            await bench.zoom.last("signaling").stream_state(5)
        case "recovering media":
            bench.zoom.always["audio"] = 45
            await bench.zoom.last("audio").cut()
        case "recovering signaling":
            bench.zoom.down.add(HOST)
            await bench.zoom.last("signaling").cut()
        case "not known to Zoom":
            bench.zoom.always["signaling"] = 2
            await bench.zoom.last("signaling").cut()
            await bench.until(lambda: hellos(bench) == 2)
            await trio.sleep(0.5)
            return
        case "terminating":
            await bench.zoom.last("signaling").stream_state(3)
    await trio.sleep(5)


@pytest.mark.parametrize("phase", PHASES)
async def test_it_is_let_go_in_any_phase(bench: Bench, phase: str) -> None:
    await reach(bench, phase)
    logged, dialled = len(bench.logs), len(bench.zoom.dialled)
    with trio.fail_after(READ_OUT_S + CLOSED_S):
        await bench.supervisor.let_go(STREAM, "drained")
    assert [line for line in bench.logs[logged:] if line["log_level"] != "info"] == []
    await trio.sleep(120)
    assert len(bench.zoom.dialled) == dialled
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("recovering", None)
    assert STREAM in await unfinished(bench)
    assert bench.let_go == [(STREAM, "drained")]


async def test_it_is_let_go_while_its_files_are_being_opened(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait_free(_: str) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(bench.supervisor.librarian, "wait_free", wait_free)
    await bench.start()
    await trio.testing.wait_all_tasks_blocked()
    await bench.supervisor.let_go(STREAM, "drained")
    assert bench.let_go == [(STREAM, "drained")]
    assert STREAM not in bench.supervisor.streams
    assert STREAM in await unfinished(bench)


@pytest.mark.parametrize("where", ["signaling", "media"])
async def test_a_bug_on_the_way_is_no_end(bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    stream = await bench.up()
    if where == "signaling":
        monkeypatch.setattr(stream._signaling, "drop", None)
    else:
        monkeypatch.setattr(stream._media[stream.situation.links[0]], "close", None)
    await bench.supervisor.let_go(STREAM, "drained")
    assert bench.logged("stream crashed")
    assert not bench.logged("stream ended")
    assert bench.manifest()["state"] == "recovering"
    assert STREAM in await unfinished(bench)


async def test_a_stream_that_ends_is_not_let_go(bench: Bench) -> None:
    await bench.up()
    await bench.zoom.last("signaling").stream_state(4, 6)
    await bench.until(lambda: bench.supervisor.streams[STREAM].end is not None)
    await bench.supervisor.let_go(STREAM, "drained")
    await bench.supervisor.let_go("nobody", "drained")
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6
    assert bench.let_go == []


async def test_an_owner_who_fails_costs_no_other_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        monkeypatch.setattr(bench.supervisor, "_on_let_go", lambda *_: 1 / 0)
        await bench.start("other")
        await bench.up()
        await bench.supervisor.let_go(STREAM, "drained")
        assert bench.logged("owner not notified that a stream is let go")
        assert bench.state("other") == "active"


# What comes for it meanwhile


async def test_without_others_a_webhook_takes_it_up_again(bench: Bench) -> None:
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
        await trio.testing.wait_all_tasks_blocked()
        assert await bench.start(host=OTHER_HOST) is Verdict.NEW
        assert await bench.interrupt() is Verdict.NEW
    await bench.until_up()
    assert bench.zoom.last("signaling").host == OTHER_HOST
    await trio.sleep(11)  # Zoom says what time it is
    await bench.stop()
    await bench.until_gone()
    assert bench.manifest()["counters"]["messages"]["audio"] == 1
    assert {gap["cause"] for gap in bench.manifest()["gaps"]} == {"daemon_restart"}


@pytest.mark.parametrize("reason", [6, REVOKED])
async def test_without_others_a_stop_ends_it_without_connecting(bench: Bench, reason: int) -> None:
    await bench.up()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
        await trio.testing.wait_all_tasks_blocked()
        await bench.stop(reason)
    await bench.until_gone()
    assert hellos(bench) == 1
    assert bench.manifest()["state"] == ("revoked" if reason == REVOKED else "ended")
    assert bench.manifest()["stop_reason"] == reason
    assert STREAM not in await unfinished(bench)


@pytest.mark.parametrize("when", ["while it is let go", "while it is written to the journal"])
async def test_webhooks_are_for_who_has_it_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    redirected: list[StreamCommand] = []
    async with open_bench(tmp_path, monkeypatch, redirect=redirected.append) as bench:
        await bench.up()
        record = bench.journal.record

        async def slow_record(*args: Any) -> Verdict:
            verdict = await record(*args)
            await bench.supervisor.let_go(STREAM, "drained")
            return verdict

        async with trio.open_nursery() as nursery:
            if when == "while it is let go":
                nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
                await trio.testing.wait_all_tasks_blocked()
            else:
                monkeypatch.setattr(bench.journal, "record", slow_record)
            assert await bench.stop(6) is Verdict.NEW
        [stop] = redirected
        assert stop.rtms_stream_id == STREAM
        assert STREAM not in bench.supervisor.streams
        assert bench.manifest()["state"] == "recovering"
        assert bench.let_go == [(STREAM, "drained")]
