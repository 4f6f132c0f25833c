"""All streams: the boundary between them, and commands that come early, late, twice, or for the life after this one."""

from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.commands import Verdict
from rtmsd.errors import LocalProtocolError, StorageError
from rtmsd.protocol.messages import Message
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder
from rtmsd.streams import running
from rtmsd.streams.drivers.messages import MessageWriter
from tests.streams.harness import STREAM, Bench, open_bench
from tests.streams.zoom import OTHER_HOST, T0, zoom_ms

REVOKED = 8
DAY_MS = 86_400_000


def fail_with(monkeypatch: pytest.MonkeyPatch, rtms_stream_id: str, error: Exception) -> None:
    """Let one stream's signaling raise at its next message."""

    real = MessageWriter.write

    def raising(writer: MessageWriter, message: Message) -> Message:
        if writer._recorder.info.rtms_stream_id == rtms_stream_id:
            raise error
        return real(writer, message)

    monkeypatch.setattr(MessageWriter, "write", raising)


# The boundary


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), LocalProtocolError("we broke the rules")])
async def test_a_bug_ends_one_stream_with_a_traceback(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await bench.start("sick")
    await bench.start("sound")
    await bench.until_up(rtms_stream_id="sick")
    await bench.until_up(rtms_stream_id="sound")
    fail_with(monkeypatch, "sick", error)
    await bench.until(lambda: "sick" not in bench.supervisor.streams)
    [line] = bench.logged("stream crashed")
    assert line["log_level"] == "error"
    assert line["exc_info"]
    assert bench.manifest("sick")["state"] == "failed"
    await trio.sleep(60)
    assert bench.stream("sound").situation.uplink.is_up
    assert bench.state("sound") == "active"


async def test_a_foreseen_error_ends_one_stream_with_one_line_that_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.up()
    fail_with(monkeypatch, STREAM, StorageError("the disk refused"))
    await bench.until_gone()
    [line] = bench.logged("stream ended")
    assert (line["log_level"], line["state"], line["why"]) == ("warning", "failed", "the disk refused")
    assert "exc_info" not in line
    assert not bench.logged("stream crashed")


async def test_a_bug_in_the_restart_policy_ends_no_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def consider(row: Any, reason: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.restarter, "consider", consider)
    await bench.start("ends")
    await bench.start("lives")
    await bench.until_up(rtms_stream_id="ends")
    await bench.until_up(rtms_stream_id="lives")
    await bench.stop(19, "ends")
    await bench.until_gone("ends")
    await trio.sleep(10)
    assert bench.logged("stream not started again")
    assert bench.stream("lives").situation.uplink.is_up


# Delivered twice, late, or not wanted


async def test_a_repeated_start_does_nothing(bench: Bench) -> None:
    await bench.up()
    assert await bench.start(event_ts=T0) is Verdict.DUPLICATE
    await trio.sleep(30)
    assert len(bench.zoom.hellos("signaling")) == 1


async def test_a_late_retry_of_an_ended_stream_does_nothing(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(10)
    await bench.stop(event_ts=T0 + 10_000)
    await bench.until_gone()
    assert await bench.start(event_ts=T0 + 5_000) is Verdict.LATE
    assert await bench.start(event_ts=T0 + 10_000) is Verdict.LATE
    assert not bench.supervisor.streams


async def test_a_stop_that_overtakes_its_start(bench: Bench) -> None:
    assert await bench.stop(event_ts=T0 + 2_000) is Verdict.NEW
    assert await bench.start(event_ts=T0 + 1_000) is Verdict.LATE
    await trio.sleep(30)
    assert not bench.zoom.dialled
    assert not bench.supervisor.streams


async def test_a_stop_of_before_the_failover_does_nothing(bench: Bench) -> None:
    await bench.up()
    await bench.start(host=OTHER_HOST, event_ts=T0 + 10_000)
    await trio.sleep(5)
    assert await bench.stop(event_ts=T0 + 9_000) is Verdict.LATE
    await trio.sleep(30)
    assert bench.state() == "active"


async def test_a_stop_delivered_twice_is_one(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(5)
    assert await bench.stop(event_ts=T0 + 5_000) is Verdict.NEW
    assert await bench.stop(event_ts=T0 + 5_000) is Verdict.DUPLICATE
    await bench.until_gone()
    assert await bench.stop(event_ts=T0 + 5_000) is Verdict.DUPLICATE
    await trio.sleep(5)
    assert len(bench.logged("stream ended")) == 1


async def test_a_stream_that_starts_again_after_its_end_goes_on_in_the_same_directory(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(10)
    await bench.stop()
    await bench.until_gone()
    assert await bench.start(event_ts=T0 + DAY_MS) is Verdict.NEW
    await bench.until_up()
    await bench.stop(event_ts=T0 + DAY_MS + 30_000)
    await bench.until_gone()
    assert bench.manifest()["started_ms"] == T0


async def test_no_new_stream_while_draining_but_live_ones_go_on(bench: Bench) -> None:
    await bench.up()
    bench.supervisor.refuse_starts = "draining"
    assert await bench.start("other") is Verdict.REFUSED
    assert await bench.start(host=OTHER_HOST) is Verdict.NEW  # a failover
    await bench.until(lambda: bench.zoom.last("signaling").host == OTHER_HOST)
    assert await bench.stop() is Verdict.NEW
    await bench.until_gone()
    bench.supervisor.refuse_starts = None
    assert await bench.start("other") is Verdict.NEW


async def test_an_interruption_of_no_stream_does_nothing(bench: Bench) -> None:
    assert await bench.interrupt() is Verdict.NEW
    assert not bench.supervisor.streams


async def test_a_start_that_cannot_be_journalled_is_refused_but_a_stop_is_applied(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.up()

    async def record(command: object, others: object) -> Verdict:
        raise StorageError("no space")

    monkeypatch.setattr(bench.journal, "record", record)
    with pytest.raises(StorageError):
        await bench.start("other")
    assert "other" not in bench.supervisor.streams
    with pytest.raises(StorageError):
        await bench.stop()
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 6


# Early: the files are still being opened


@pytest.fixture
def slow_files(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Files open only when this is set."""
    ready = trio.Event()
    real = open_recorder

    async def open_slowly(*args: Any, **kwargs: Any) -> Any:
        await ready.wait()
        return await real(*args, **kwargs)

    monkeypatch.setattr(running, "open_recorder", open_slowly)
    return ready


async def test_a_stop_that_comes_before_the_files_are_open(bench: Bench, slow_files: trio.Event) -> None:
    await bench.start()
    await trio.sleep(1)
    await bench.stop()
    slow_files.set()
    await bench.until_gone()
    assert not bench.zoom.dialled
    assert bench.manifest()["stop_reason"] == 6


async def test_a_failover_that_comes_before_the_files_are_open(bench: Bench, slow_files: trio.Event) -> None:
    await bench.start()
    await trio.sleep(1)
    await bench.start(host=OTHER_HOST)
    slow_files.set()
    await bench.until_up()
    assert {host for _, host in bench.zoom.dialled} == {OTHER_HOST}


async def test_stopped_and_started_again_before_the_files_are_open(bench: Bench, slow_files: trio.Event) -> None:
    await bench.start()
    for change in (bench.stop, bench.start, bench.stop, bench.start):
        await trio.sleep(1)
        await change()
    slow_files.set()
    await bench.until_up()
    assert bench.state() == "active"
    assert len(bench.logged("stream ended")) == 2


# Late: the files are being finished


@pytest.fixture
def slow_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> trio.Event:
    """Files are finished only when this is set."""
    ready = trio.Event()
    real = Recorder.finish

    async def finish(recorder: Any) -> None:
        await ready.wait()
        await real(recorder)

    monkeypatch.setattr(Recorder, "finish", finish)
    return ready


async def end_slowly(bench: Bench) -> None:
    await bench.up()
    await bench.stop()
    await bench.until(lambda: bench.supervisor.streams[STREAM].outcome is not None)
    await trio.sleep(1)


async def test_a_start_while_the_files_are_being_finished(bench: Bench, slow_end: trio.Event) -> None:
    await end_slowly(bench)
    assert await bench.start() is Verdict.NEW
    await trio.sleep(5)
    assert len(bench.zoom.hellos("signaling")) == 1
    slow_end.set()
    await bench.until_up()
    assert bench.state() == "active"


async def test_a_start_while_a_stream_that_crashed_is_being_finished(
    bench: Bench, slow_end: trio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.up()
    with monkeypatch.context() as patch:
        fail_with(patch, STREAM, ZeroDivisionError())
        await bench.until(lambda: bench.supervisor.streams[STREAM].outcome is not None)
    assert await bench.start() is Verdict.NEW
    slow_end.set()
    await bench.until_up()
    assert bench.state() == "active"


async def test_started_and_stopped_again_while_the_files_are_being_finished(bench: Bench, slow_end: trio.Event) -> None:
    await end_slowly(bench)
    await bench.start()
    await trio.sleep(1)
    await bench.stop(3)
    slow_end.set()
    await bench.until_gone()
    assert bench.manifest()["stop_reason"] == 3


async def test_a_second_stop_while_the_files_are_being_finished_does_nothing(
    bench: Bench, slow_end: trio.Event
) -> None:
    await end_slowly(bench)
    await bench.stop(3)
    slow_end.set()
    await bench.until_gone()
    await trio.sleep(5)
    assert bench.manifest()["stop_reason"] == 6
    assert len(bench.logged("stream ended")) == 1


async def test_a_revocation_while_the_files_are_being_finished_deletes_them(bench: Bench, slow_end: trio.Event) -> None:
    await end_slowly(bench)
    assert await bench.stop(REVOKED) is Verdict.NEW
    slow_end.set()
    await bench.until(lambda: not bench.supervisor.streams)
    assert bench.manifest()["state"] == "revoked"
    assert [path.name for path in bench.recording().iterdir()] == ["stream.json"]
    assert await bench.journal.unfinished() == []


async def test_a_revocation_is_not_forgotten_when_the_daemon_dies_before_it_is_applied(
    bench: Bench, slow_end: trio.Event
) -> None:
    await end_slowly(bench)
    await bench.stop(REVOKED)
    await bench.journal.close_stream(STREAM, reason=6, ended_ms=zoom_ms(), event_ts=T0)
    assert [row.stop_reason for row in await bench.journal.unfinished()] == [REVOKED]
    slow_end.set()


async def test_a_revocation_long_after_the_end_deletes_what_was_stored_on_another_day(bench: Bench) -> None:
    await bench.up()
    await bench.stop()
    await bench.until_gone()
    await bench.stop(REVOKED, event_ts=T0 + 2 * DAY_MS)
    await bench.until(lambda: not bench.supervisor.streams)
    assert bench.manifest()["state"] == "revoked"


# The journal's end of a stream


async def test_a_stream_that_failed_over_is_closed_in_the_journal(bench: Bench) -> None:
    await bench.up()
    await trio.sleep(5)
    await bench.start(host=OTHER_HOST)
    await bench.until(lambda: bench.zoom.last("signaling").host == OTHER_HOST)
    await bench.until_up()
    await bench.stop()
    await bench.until_gone()
    assert await bench.journal.unfinished() == []


@pytest.mark.parametrize("reason", [0, 6, 10, 19])
async def test_the_policy_hears_of_each_end(bench: Bench, reason: int) -> None:
    await bench.up()
    await bench.stop(reason)
    await bench.until_gone()
    assert bench.restarter.considered == [(STREAM, reason)]


# The end of the daemon


async def test_streams_that_live_are_resumed_by_the_next_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.up()
        await bench.zoom.last("audio").audio(T0)
        await trio.sleep(1)
    assert bench.manifest()["state"] == "recovering"
    async with open_bench(tmp_path, monkeypatch) as bench:
        await bench.until_up()
        await trio.sleep(11)  # Zoom says what time it is
        assert bench.state() == "active"
        assert bench.stream().situation.outage.recoveries == {("daemon_restart", "ok"): 1}
        assert {gap["cause"] for gap in bench.stream().recorder.manifest()["gaps"]} == {"daemon_restart"}
        await bench.stop()
        await bench.until_gone()


async def test_ending_all_streams_closes_them_politely(bench: Bench) -> None:
    await bench.up()
    await bench.start("second")
    await bench.until_up(rtms_stream_id="second")
    with trio.fail_after(10):
        await bench.supervisor.end_all()
    assert not bench.supervisor.streams
    assert {bench.manifest(name)["stop_reason"] for name in (STREAM, "second")} == {20}
    assert all(len(peer.sent(21)) == 1 for peer in bench.zoom.peers if peer.kind == "signaling")


async def test_ending_all_streams_does_not_forget_one_whose_files_are_still_being_opened(
    bench: Bench, slow_files: trio.Event
) -> None:
    await bench.start()
    await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.end_all)
        await trio.sleep(1)
        slow_files.set()
        nursery.cancel_scope.deadline = trio.current_time() + 10
    assert not bench.supervisor.streams
    assert not bench.zoom.dialled
    assert (bench.manifest()["state"], bench.manifest()["stop_reason"]) == ("ended", 20)


async def test_ending_all_streams_does_not_forget_one_that_waits_for_the_end_of_its_predecessor(
    bench: Bench, slow_end: trio.Event
) -> None:
    await end_slowly(bench)
    await bench.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.supervisor.end_all)
        await trio.sleep(1)
        slow_end.set()
        nursery.cancel_scope.deadline = trio.current_time() + 10
    assert not bench.supervisor.streams
    assert len(bench.zoom.hellos("signaling")) == 1
    assert bench.manifest()["stop_reason"] == 20
