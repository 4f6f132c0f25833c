"""The turns of the writer, which are few: what happens at about the same time shares one call."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd.protocol.media_data import TranscriptData
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.unknown import UNEXPECTED
from rtmsd.recording.disk import writer as writer_module
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.flusher import Flusher
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder

STARTED_MS = 1_790_000_000_000


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 2**24


class Calls:
    """Runs what is for a worker thread, slowly, and keeps the sizes of flushes."""

    def __init__(self) -> None:
        self.jobs: list[int] = []
        self.others = 0
        self.takes_s = 0.01

    async def run_sync(self, work: Any, *args: Any) -> Any:
        if args:
            self.jobs.append(len(args[1]))
        else:
            self.others += 1
        await trio.sleep(self.takes_s)
        return work(*args)


async def opened(root: Path, writer: Writer, name: str = "s") -> Recorder:
    info = StreamInfo(
        rtms_stream_id=name,
        product="session",
        session=SessionRef("session_id", "a"),
        app="main",
        started_ms=STARTED_MS,
    )
    return await open_recorder(info, writer, local_ms=lambda: 7)


async def test_streams_that_end_together_share_two_flushes(
    tmp_path: Path, autojump_clock: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Any] = []
    collect = Flusher.collect

    def look(flusher: Flusher, now_s: float) -> Any:
        looks.append(flusher)
        return collect(flusher, now_s)

    monkeypatch.setattr(Flusher, "collect", look)
    writer = Writer(Settings(tmp_path), run_sync=Calls().run_sync)
    recorders = [await opened(tmp_path, writer, f"stream-{number}") for number in range(40)]
    await writer.flush()
    looks.clear()
    async with trio.open_nursery() as ends:
        for recorder in recorders:
            recorder.ended(6, STARTED_MS + 1000)
            ends.start_soon(recorder.finish)
    assert len(looks) <= 2 * len(recorders)  # and not each time for all
    assert {tools.manifest(recorder)["state"] for recorder in recorders} == {"ended"}


async def test_what_comes_during_a_flush_is_on_disk_when_the_next_one_is_done(
    tmp_path: Path, autojump_clock: Any, tools: Any
) -> None:
    writer = Writer(Settings(tmp_path), run_sync=Calls().run_sync)
    recorder = await opened(tmp_path, writer)
    async with trio.open_nursery() as flushes:
        flushes.start_soon(writer.flush)
        await trio.sleep(0.005)  # in the middle of it
        recorder.state("active")
        await writer.flush()
        assert tools.manifest(recorder)["state"] == "active"


async def test_a_stream_that_begins_writes_its_manifest_once(
    tmp_path: Path, autojump_clock: Any, tools: Any, nursery: trio.Nursery
) -> None:
    calls = Calls()
    writer = Writer(Settings(tmp_path), run_sync=calls.run_sync)
    await nursery.start(writer.run)
    await trio.sleep(10.05)
    recorder = await opened(tmp_path, writer)
    recorder.connected("signaling", frozenset())
    await trio.sleep(0.005)
    recorder.connected("media", frozenset({"audio"}))
    recorder.state("active")
    await trio.sleep(0.15)
    assert calls.jobs == [1]
    assert tools.manifest(recorder)["state"] == "active"


@pytest.mark.parametrize("media", ["audio", "transcript"])
async def test_only_captions_need_another_look_at_the_end(
    tmp_path: Path, autojump_clock: Any, tools: Any, media: str
) -> None:
    calls = Calls()
    recorder = await opened(tmp_path, Writer(Settings(tmp_path), run_sync=calls.run_sync))
    recorder.connected("media", frozenset({media}))
    if media == "audio":
        recorder.media.audio_format(tools.audio_format())
        recorder.media.audio(5, None, STARTED_MS + 20, tools.packet(1))
    else:
        said = TranscriptData(
            user_id=5,
            user_name="Ann",
            text="Hi",
            timestamp_ms=STARTED_MS + 20,
            start_ms=None,
            end_ms=None,
            language=None,
            attribute=None,
        )
        recorder.media.text(said)
    before = calls.others
    recorder.ended(6, STARTED_MS + 1000)
    await recorder.finish()
    assert calls.others - before == (media == "transcript")


async def test_a_flush_writes_few_manifests_that_tell_only_new_counts_and_each_has_its_turn(
    tmp_path: Path, autojump_clock: Any, tools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_MOST_COUNTS", 2)
    calls = Calls()
    writer = Writer(Settings(tmp_path), run_sync=calls.run_sync)
    recorders = [await opened(tmp_path, writer, f"stream-{number}") for number in range(5)]
    await writer.flush()
    told = []
    for _ in range(5):
        await trio.sleep(10)  # all are due again
        for recorder in recorders:
            recorder.media.unknown(UNEXPECTED)
        before = [tools.manifest(recorder)["counters"]["unknown"] for recorder in recorders]
        await writer.flush()
        after = [tools.manifest(recorder)["counters"]["unknown"] for recorder in recorders]
        told.append([number for number in range(5) if after[number] != before[number]])
    assert told == [[0, 1], [2, 3], [0, 4], [1, 2], [3, 4]]
    await trio.sleep(10)
    for recorder in recorders:
        recorder.media.unknown(UNEXPECTED)
    for recorder in recorders[:3]:
        recorder.state("active")
    await writer.flush()
    assert calls.jobs[-1] == 5  # changes wait for nothing, and keep no counts back


async def test_where_a_flush_takes_long_it_writes_fewer_of_them(tmp_path: Path, autojump_clock: Any) -> None:
    calls = Calls()
    writer = Writer(Settings(tmp_path), run_sync=calls.run_sync)
    recorders = [await opened(tmp_path, writer, f"stream-{number}") for number in range(80)]
    for calls.takes_s in (0.6, 0.6, 0.01, 0.01):
        await trio.sleep(100)
        for recorder in recorders:
            recorder.media.unknown(UNEXPECTED)
        await writer.flush()
    assert calls.jobs == [80, 50, 25, 35]
