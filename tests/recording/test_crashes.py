"""A bug in one recording costs that one: the others continue, and its stream hears of it."""

from typing import Any

import attrs
import pytest
import structlog
import trio
from msgspec.structs import replace

from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.verify.verify import verify

AUDIO = frozenset({"audio"})


class Bug(Exception):
    pass


@attrs.define
class Fault:
    """Stands in for a method, and raises as long as it is there."""

    is_there: bool = True
    calls: int = 0

    def before(self, method: Any) -> Any:
        def broken(*args: Any) -> Any:
            self.calls += 1
            if self.is_there:
                raise Bug
            return method(*args)

        return broken


def break_collect(recorder: Any, fault: Fault) -> None:
    recorder.flusher.collect = fault.before(recorder.flusher.collect)


def break_settled(recorder: Any, fault: Fault) -> None:
    recorder.flusher.settled = fault.before(recorder.flusher.settled)


def break_manifest(recorder: Any, fault: Fault) -> None:
    """A manifest that the worker thread cannot encode."""
    contents = recorder.flusher._contents
    sound = contents.manifest
    contents.manifest = lambda: replace(sound(), others={"odd": object()} if fault.is_there else {})


def break_header(recorder: Any, fault: Fault) -> None:
    """A file whose header the worker thread cannot make."""
    for file in recorder.flusher._dirty:
        if file.header is not None:
            file.header = fault.before(file.header)


@attrs.frozen
class Two:
    """Two streams on one writer, the first of which is going to break."""

    writer: Writer
    broken: Any
    sound: Any
    broke: list[str] = attrs.field(factory=list)

    def speak(self, tools: Any, number: int) -> None:
        for recorder in (self.broken, self.sound):
            recorder.media.audio(5, None, tools.T + 20 * number, tools.packet(number))


async def two(studio: Any) -> Two:
    writer = Writer(studio.settings, run_sync=_at_once, disk=studio.disk)
    recorders = []
    for name in ("broken", "sound"):
        info = StreamInfo(
            rtms_stream_id=name,
            product="session",
            session=SessionRef("session_id", "a"),
            app="main",
            started_ms=studio.started_ms,
        )
        recorders.append(await open_recorder(info, writer, local_ms=lambda: 7))
    broken, sound = recorders
    streams = Two(writer, broken, sound)
    streams.broken.flusher.on_broken = lambda: streams.broke.append("broken")
    streams.sound.flusher.on_broken = lambda: streams.broke.append("sound")
    for recorder in recorders:
        recorder.connected("media", AUDIO)
    return streams


async def _at_once(work: Any, *args: Any) -> Any:
    return work(*args)


BREAKS = pytest.mark.parametrize("break_it", [break_collect, break_settled, break_manifest, break_header])


async def broken_and_running(studio: Any, tools: Any, break_it: Any, fault: Fault) -> Two:
    streams = await two(studio)
    streams.speak(tools, 0)
    break_it(streams.broken, fault)
    with structlog.testing.capture_logs() as logs:
        await streams.writer.flush()
        streams.speak(tools, 1)
        await streams.writer.flush()
        streams.speak(tools, 2)
        await streams.writer.flush()
    assert streams.broke == ["broken"]
    assert [(line["event"], line["rtms_stream_id"]) for line in logs] == [("recorder crashed", "broken")]
    assert isinstance(logs[0]["exc_info"], Exception)
    assert streams.writer.error is None  # it is not the disk that fails
    return streams


@BREAKS
async def test_the_others_go_on(studio: Any, tools: Any, break_it: Any) -> None:
    streams = await broken_and_running(studio, tools, break_it, Fault())
    sound = streams.sound
    assert tools.samples(sound.directory / "audio/5.wav") == b"".join(tools.packet(number) for number in range(3))
    sound.ended(6, tools.T + 60)
    await sound.finish()
    assert tools.manifest(sound)["state"] == "ended"
    assert verify(sound.directory) == []


@BREAKS
async def test_a_bug_that_passes_leaves_a_whole_recording_that_failed(studio: Any, tools: Any, break_it: Any) -> None:
    fault = Fault()
    streams = await broken_and_running(studio, tools, break_it, fault)
    fault.is_there = False
    broken = streams.broken
    broken.ended(None, tools.T + 60, state="failed")
    await broken.finish()
    assert tools.samples(broken.directory / "audio/5.wav") == b"".join(tools.packet(number) for number in range(3))
    assert tools.manifest(broken)["state"] == "failed"
    assert verify(broken.directory) == []


@BREAKS
async def test_a_bug_that_stays_is_raised_at_the_end_and_holds_no_room(studio: Any, tools: Any, break_it: Any) -> None:
    streams = await broken_and_running(studio, tools, break_it, Fault())
    streams.broken.ended(None, tools.T + 60, state="failed")
    with pytest.raises((Bug, TypeError)):
        await streams.broken.finish()
    await streams.writer.flush()
    assert streams.writer.pending_bytes == 0
    assert streams.broke == ["broken", "broken"]


async def test_the_writer_itself_continues(studio: Any, tools: Any, autojump_clock: Any) -> None:
    streams = await two(studio)
    break_collect(streams.broken, Fault())
    async with trio.open_nursery() as nursery:
        await nursery.start(streams.writer.run)
        await trio.sleep(1)
        streams.speak(tools, 0)
        await trio.sleep(1)
        assert streams.writer.is_alive
        nursery.cancel_scope.cancel()
    assert tools.samples(streams.sound.directory / "audio/5.wav") == tools.packet(0)
