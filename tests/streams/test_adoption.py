"""Streams that are taken on while the process runs: new ones, those of others, and those that are here already."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd.commands import InterruptStream, StartStream, StopStream
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.manifest.schema import ParticipantEntry
from rtmsd.recording.parts import Inherited
from rtmsd.recording.verify.verify import verify
from rtmsd.state.rows import StreamRow
from rtmsd.streams.beginning import row_of
from tests.streams.harness import SESSION, STREAM, Bench, open_bench
from tests.streams.zoom import HOST, OTHER_HOST, T0, zoom_ms

TAKEOVER = {"why": "died", "node": "2", "from_node": "1", "epoch": 3}


def start(event_ts: int = T0, host: str = HOST) -> StartStream:
    return StartStream(
        product="session",
        session=SESSION,
        rtms_stream_id=STREAM,
        server_urls=f"ws://{host}/signaling",
        app="main",
        event_ts=event_ts,
    )


async def stored(bench: Bench) -> StreamRow:
    """A stream that this journal knows, as members that share one find it."""
    await bench.journal.record(start(), set())
    [row] = await bench.journal.unfinished()
    return row


async def recorded_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has recorded the stream, and is no more."""
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.up()
        await bench.zoom.last("audio").audio(T0)
        await trio.sleep(1)


def events(bench: Bench, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (bench.recording() / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["kind"] == kind]


async def resume_nothing() -> Sequence[StreamRow]:
    await trio.lowlevel.checkpoint()
    return []


async def test_a_new_stream_begins_by_its_webhook(bench: Bench) -> None:
    bench.supervisor.adopt(await stored(bench), begun_by=start())
    await bench.until_up()
    assert bench.state() == "active"
    await bench.stop()
    await bench.until_gone()
    assert bench.manifest()["gaps"] == []
    assert [line["event"] for line in events(bench, "webhook")] == ["rtms_started", "rtms_stopped"]


@pytest.mark.parametrize("cause", [GapCause.DAEMON_RESTART, GapCause.NODE_TAKEOVER])
async def test_a_stream_of_another_is_gone_on_with_for_the_cause_that_is_handed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: GapCause
) -> None:
    await recorded_elsewhere(tmp_path, monkeypatch)
    async with open_bench(tmp_path, monkeypatch, to_resume=resume_nothing) as bench:
        assert bench.supervisor.streams == {}
        [row] = await bench.journal.unfinished()
        await trio.sleep(5)
        bench.supervisor.adopt(row, cause=cause, takeover=TAKEOVER)
        await bench.until_up()
        await trio.sleep(11)  # Zoom says what time it is
        assert bench.supervisor.tally().reconnects == {(cause.value, "ok"): 1}
        await bench.stop()
        await bench.until_gone()
        assert bench.manifest()["counters"]["messages"]["audio"] == 1
        [takeover] = [line for line in events(bench, "stream_state") if "node" in line]
        assert takeover | TAKEOVER == takeover
        assert takeover["state"] == "recovering"


async def test_a_part_is_recorded_from_where_another_node_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch, to_resume=resume_nothing) as bench:
        row = await stored(bench)
        await trio.sleep(5)
        had = Inherited(
            node="a", epoch=1, clock_ms=zoom_ms() - 1000, participants=(ParticipantEntry(5, user_name="Ana"),)
        )
        tenure = PartTenure(node="b", epoch=2, token=77)
        bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER, takeover=TAKEOVER, tenure=tenure, inherited=had)
        await bench.until_up()
        await bench.zoom.last("audio").audio(zoom_ms())
        await trio.sleep(11)
        await bench.stop()
        await bench.until_gone()
        found = bench.manifest()
        assert [each["node"] for each in found["part"]["elsewhere"]] == ["a"]
        assert [(each["epoch"], each["token"]) for each in found["part"]["tenures"]] == [(2, 77)]
        assert found["participants"][0]["user_name"] == "Ana"
        assert {gap["cause"] for gap in found["gaps"]} == {"node_takeover"}
        assert verify(bench.recording()) == []


async def test_a_webhook_takes_a_stream_over_from_the_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await recorded_elsewhere(tmp_path, monkeypatch)
    async with open_bench(tmp_path, monkeypatch, to_resume=resume_nothing) as bench:
        [row] = await bench.journal.unfinished()
        moved = start(row.event_ts + 5_000, OTHER_HOST)
        await bench.journal.record(moved, set())
        [row] = await bench.journal.unfinished()
        bench.supervisor.adopt(row, begun_by=moved, cause=GapCause.NODE_TAKEOVER)
        await bench.until_up()
        assert bench.zoom.last("signaling").host == OTHER_HOST
        await trio.sleep(1)
        assert [line["event"] for line in events(bench, "webhook")] == ["rtms_started", "rtms_started"]


async def test_a_stream_that_was_stopped_meanwhile_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await recorded_elsewhere(tmp_path, monkeypatch)
    async with open_bench(tmp_path, monkeypatch, to_resume=resume_nothing) as bench:
        [row] = await bench.journal.unfinished()
        bench.supervisor.adopt(attrs.evolve(row, stop_reason=6, stopped_ms=T0 + 5_000), cause=GapCause.NODE_TAKEOVER)
        await bench.until_gone()
        assert bench.zoom.dialled == []
        assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("ended", 6)


async def test_only_what_is_said_to_be_ours_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.start("ours")
        await bench.start("theirs")
        await bench.until_up(rtms_stream_id="ours")
        await bench.until_up(rtms_stream_id="theirs")
        rows = await bench.journal.unfinished()

    async def to_resume() -> Sequence[StreamRow]:
        await trio.lowlevel.checkpoint()
        return tuple(row for row in rows if row.rtms_stream_id == "ours")

    async with open_bench(tmp_path, monkeypatch, to_resume=to_resume) as bench:
        await bench.until_up(rtms_stream_id="ours")
        await trio.sleep(60)
        assert set(bench.supervisor.streams) == {"ours"}


# What is here already


async def test_what_was_let_go_here_is_gone_on_with(bench: Bench) -> None:
    await bench.up()
    await bench.zoom.last("audio").audio(T0)
    await trio.sleep(1)
    [row] = await bench.journal.unfinished()
    await bench.supervisor.let_go(STREAM, "drained")
    await trio.sleep(5)
    bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER)
    await bench.until_up()
    await bench.zoom.last("audio").audio(zoom_ms())
    await trio.sleep(11)
    await bench.stop()
    await bench.until_gone()
    manifest = bench.manifest()
    assert manifest["counters"]["messages"]["audio"] == 2
    assert len([file for file in manifest["files"] if file["media"] == "audio"]) == 1


async def test_while_it_is_let_go_it_waits_for_its_turn(bench: Bench) -> None:
    await bench.up()
    [row] = await bench.journal.unfinished()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
        await trio.testing.wait_all_tasks_blocked()
        bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER)
        await bench.start(event_ts=zoom_ms() + 1, host=OTHER_HOST)  # it is ours by then
    await bench.until_up()
    assert bench.zoom.last("signaling").host == OTHER_HOST
    assert len(bench.zoom.hellos("signaling")) in {2, 3}
    assert bench.let_go == [(STREAM, "drained")]


async def test_what_waits_for_its_turn_can_be_let_go_as_well(bench: Bench) -> None:
    await bench.up()
    [row] = await bench.journal.unfinished()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.let_go, STREAM, "drained")
        await trio.testing.wait_all_tasks_blocked()
        bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER)
        nursery.start_soon(bench.supervisor.let_go, STREAM, "lost")
    await trio.sleep(60)
    assert STREAM not in bench.supervisor.streams
    assert len(bench.zoom.hellos("signaling")) == 1


async def test_one_that_lives_here_lives_on(bench: Bench) -> None:
    stream = await bench.up()
    [row] = await bench.journal.unfinished()
    bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER)
    bench.supervisor.adopt(row, begun_by=start())
    await trio.sleep(10)
    assert bench.stream() is stream
    assert len(bench.zoom.hellos("signaling")) == 1
    assert bench.manifest()["gaps"] == []


async def test_one_that_lives_here_follows_what_somebody_else_was_told(bench: Bench) -> None:
    stream = await bench.up()
    [row] = await bench.journal.unfinished()
    moved = attrs.evolve(row, server_urls=f"ws://{OTHER_HOST}/signaling", event_ts=row.event_ts + 1)
    bench.supervisor.adopt(moved, cause=GapCause.NODE_TAKEOVER)
    await bench.until(lambda: len(bench.zoom.hellos("signaling")) == 2)
    await bench.until_up()
    assert bench.stream() is stream
    assert bench.zoom.last("signaling").host == OTHER_HOST
    interrupted = InterruptStream(
        product="session", session=SESSION, rtms_stream_id=STREAM, app="main", event_ts=zoom_ms() + 60_000
    )
    await trio.sleep(11)
    bench.supervisor.adopt(moved, begun_by=interrupted, cause=GapCause.NODE_TAKEOVER)
    await bench.until(lambda: len(bench.zoom.hellos("signaling")) == 3)
    bench.supervisor.adopt(attrs.evolve(moved, stop_reason=6, stopped_ms=zoom_ms()), cause=GapCause.NODE_TAKEOVER)
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6


async def test_one_whose_files_are_being_opened_is_one_stream(bench: Bench) -> None:
    row = await stored(bench)
    for _ in range(3):
        bench.supervisor.adopt(row, begun_by=start())
    await bench.until_up()
    await trio.sleep(10)
    assert len(bench.zoom.hellos("signaling")) == 1


async def test_one_that_ends_here_is_not_taken_up_unless_it_was_started_again(bench: Bench) -> None:
    await bench.up()
    [row] = await bench.journal.unfinished()
    await bench.stop(6)
    assert bench.supervisor.streams[STREAM].end is not None
    bench.supervisor.adopt(row, cause=GapCause.NODE_TAKEOVER)
    again = start(zoom_ms() + 1, OTHER_HOST)
    await bench.journal.record(again, set())
    bench.supervisor.adopt(row_of(again), begun_by=again)
    await bench.until(lambda: len(bench.zoom.hellos("signaling")) == 2)
    await bench.until_up()
    assert bench.zoom.last("signaling").host == OTHER_HOST
    assert bench.logged("stream not taken up")
    await bench.stop(7)
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 7


async def test_a_revocation_that_somebody_else_was_told_deletes_what_is_here(bench: Bench) -> None:
    await bench.up()
    [row] = await bench.journal.unfinished()
    bench.supervisor.adopt(attrs.evolve(row, stop_reason=8, stopped_ms=zoom_ms()), cause=GapCause.NODE_TAKEOVER)
    await bench.until(lambda: STREAM not in bench.supervisor.streams)
    assert bench.manifest()["state"] == "revoked"


async def test_a_stop_of_an_unknown_stream_is_as_before(bench: Bench) -> None:
    stop = StopStream(product="session", session=SESSION, rtms_stream_id=STREAM, app="main", event_ts=T0, stop_reason=6)
    bench.supervisor.adopt(row_of(stop), begun_by=stop)
    await bench.until(lambda: STREAM not in bench.supervisor.streams)
    assert bench.zoom.dialled == []
