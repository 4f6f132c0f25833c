"""A bug in one stream ends that stream, with a traceback; what was foreseen, with one line. Others notice nothing."""

from collections.abc import Callable
from typing import Any

import pytest
import trio

from rtmsd.errors import StorageError
from rtmsd.recording.recorder import Recorder
from rtmsd.streams import finalizer, running
from rtmsd.streams.core.stream_core import StreamCore
from rtmsd.streams.drivers.media import MediaDriver
from rtmsd.streams.drivers.stream import Stream
from tests.streams.harness import STREAM, Bench
from tests.streams.zoom import OTHER_HOST, T0

SICK, SOUND = "sick", "sound"
BUG = ZeroDivisionError("a bug of ours")


@pytest.fixture
async def both(bench: Bench) -> Bench:
    for name in (SICK, SOUND):
        await bench.start(name)
        await bench.until_up(rtms_stream_id=name)
    return bench


async def only_the_sick_one_is_gone(bench: Bench) -> None:
    """With a traceback, and with its sockets; the other one goes on and loses nothing."""
    await bench.until(lambda: SICK not in bench.supervisor.streams, within_s=10)
    assert bench.manifest(SICK)["state"] == "failed"
    [line] = [line for line in bench.logs if "exc_info" in line]
    assert (line["event"], line["log_level"]) == ("stream crashed", "error")
    assert not [peer for peer in bench.zoom.peers if peer.rtms_stream_id == SICK and peer.is_open]
    [audio] = [peer for peer in bench.zoom.open("audio") if peer.rtms_stream_id == SOUND]
    for number in range(100):
        await audio.audio(T0 + 100 * number)
    await trio.sleep(60)
    assert bench.state(SOUND) == "active"
    await bench.stop(rtms_stream_id=SOUND)
    await bench.until_gone(SOUND)
    assert bench.manifest(SOUND)["gaps"] == []
    assert bench.manifest(SOUND)["counters"]["messages"]["audio"] == 100
    assert await bench.journal.unfinished() == []


def fail_for_the_sick(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, of: Callable[[Any], str], error: Exception = BUG
) -> None:
    """Let a method of the sick stream's raise, whoever's `of` says that it is."""
    real = getattr(owner, name)

    def raising(self: Any, *args: Any, **kwargs: Any) -> Any:
        if of(self) == SICK:
            raise error
        return real(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, raising)


def of_link(driver: MediaDriver) -> str:
    return driver._context.row.rtms_stream_id


def of_core(core: StreamCore) -> str:
    return core.rtms_stream_id


def of_stream(stream: Stream) -> str:
    return stream.core.rtms_stream_id


async def test_a_bug_where_media_come_in(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for_the_sick(monkeypatch, MediaDriver, "control", of_link)
    await only_the_sick_one_is_gone(both)


async def test_a_bug_that_keeps_a_recording_from_the_disk(both: Bench) -> None:
    """All streams have one writer, and it goes on; once the bug is gone, the end is written like any other."""
    recorder: Any = both.stream(SICK).recorder
    collect = recorder.flusher.collect

    def raising(now_s: float) -> None:
        recorder.flusher.collect = collect
        raise BUG

    recorder.flusher.collect = raising
    recorder.event("anything", None)
    await both.until(lambda: SICK not in both.supervisor.streams, within_s=10)
    assert both.manifest(SICK)["state"] == "failed"
    assert [line["rtms_stream_id"] for line in both.logs if "exc_info" in line] == [SICK]
    [ended] = [line for line in both.logged("stream ended") if line["state"] == "failed"]
    assert ended["why"] == "a bug of ours kept it from the disk, see the log"
    [audio] = [peer for peer in both.zoom.open("audio") if peer.rtms_stream_id == SOUND]
    await audio.audio(T0)
    await both.stop(rtms_stream_id=SOUND)
    await both.until_gone(SOUND)
    assert both.manifest(SOUND)["counters"]["messages"]["audio"] == 1
    assert await both.journal.unfinished() == []


async def test_a_bug_where_connections_are_lost(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for_the_sick(monkeypatch, StreamCore, "media_closed", of_core)
    [audio] = [peer for peer in both.zoom.open("audio") if peer.rtms_stream_id == SICK]
    await audio.cut()
    await only_the_sick_one_is_gone(both)


async def test_a_bug_in_a_task_beside_the_connections(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for_the_sick(monkeypatch, StreamCore, "tick", of_core)
    [signaling] = [peer for peer in both.zoom.open("signaling") if peer.rtms_stream_id == SICK]
    await signaling.session_state("rs-1", 5)
    await only_the_sick_one_is_gone(both)


@pytest.mark.parametrize("command", ["a webhook", "an operator"])
async def test_a_bug_in_applying_a_command_spares_its_sender(
    both: Bench, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The event is safe in the journal, and the end of the others goes on."""
    fail_for_the_sick(monkeypatch, StreamCore, "failover", of_core)
    fail_for_the_sick(monkeypatch, StreamCore, "close", of_core)
    if command == "a webhook":
        await both.start(SICK, host=OTHER_HOST)
    else:
        both.supervisor.close(SICK)
    await only_the_sick_one_is_gone(both)


async def test_a_bug_in_making_a_stream(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.start(SOUND)
    await bench.until_up(rtms_stream_id=SOUND)
    with monkeypatch.context() as patch:

        def fail(*args: Any, **kwargs: Any) -> Stream:
            raise BUG

        patch.setattr(running, "Stream", fail)
        await bench.start(SICK)
        await bench.until(lambda: SICK not in bench.supervisor.streams)
    await only_the_sick_one_is_gone(bench)


async def test_a_bug_in_finishing_a_stream(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for_the_sick(monkeypatch, Recorder, "finish", lambda recorder: recorder.info.rtms_stream_id)
    await both.stop(rtms_stream_id=SICK)
    await both.until(lambda: SICK not in both.supervisor.streams)
    [line] = both.logged("stream could not be finished")
    assert line["exc_info"]
    assert line["rtms_stream_id"] == SICK
    await trio.sleep(30)
    assert both.state(SOUND) == "active"
    assert [row.rtms_stream_id for row in await both.journal.unfinished()] == [SICK, SOUND]


async def test_a_bug_in_describing_a_stream_that_ended(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(life: Any) -> dict[str, Any]:
        raise BUG

    with monkeypatch.context() as patch:
        patch.setattr(finalizer, "describe", fail)
        await both.stop(rtms_stream_id=SICK)
        await both.until(lambda: SICK not in both.supervisor.streams)
    await trio.sleep(30)
    assert both.manifest(SICK)["state"] == "ended"
    assert both.state(SOUND) == "active"


async def test_a_foreseen_error_is_one_line_without_a_traceback(both: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_for_the_sick(monkeypatch, MediaDriver, "control", of_link, StorageError("the disk refused"))
    await both.until(lambda: SICK not in both.supervisor.streams, within_s=20)
    assert [line["why"] for line in both.logged("stream ended")] == ["the disk refused"]
    assert not [line for line in both.logs if "exc_info" in line]
    assert both.state(SOUND) == "active"


async def test_a_journal_that_refuses_the_end_of_a_stream_is_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the next start would take up what has ended. It is said once."""
    await bench.up()

    async def refuse(*args: Any, **kwargs: Any) -> None:
        raise StorageError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(bench.journal, "close_stream", refuse)
        await bench.stop()
        await trio.sleep(30)
        [line] = bench.logged("journal refuses the end of a stream")
        assert line["error"] == "no space"
        assert STREAM in bench.supervisor.streams
    await bench.until_gone()
    assert await bench.journal.unfinished() == []
    assert not [line for line in bench.logs if "exc_info" in line]
