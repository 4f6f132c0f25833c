"""A daemon that is killed while it writes the first of a file: its successor continues, and nothing is left over."""

from collections.abc import Sequence
from typing import Any

import pytest

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.messages import Participant
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.verify.verify import verify


class Killed(BaseException):
    """No `except Exception` cleans up behind it, as nothing does behind a kill."""


class KilledDisk(Disk):
    """Pulls the plug behind the first samples, before their header says how many there are."""

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        super().write_pieces(descriptor, pieces, offset)
        if offset:
            raise Killed


async def test_a_wav_whose_first_flush_was_cut_off_is_continued(studio: Any, tools: Any) -> None:
    sound = studio.disk
    first = await studio.open()
    first.connected("media", frozenset({"audio"}))
    await studio.writer.flush()  # the manifest, without the file
    studio.writer.disk = KilledDisk()
    first.media.audio(7, "Bo", tools.T, tools.packet(0))
    with pytest.raises(Killed):
        await studio.writer.flush()
    studio.disk = sound
    second = await studio.open()
    second.connected("media", frozenset({"audio"}))
    second.media.audio(7, "Bo", tools.T + 20, tools.packet(1))
    second.ended(6, tools.T + 40)
    await second.finish()
    assert [path.name for path in (second.directory / "audio").iterdir()] == ["7.wav"]
    assert tools.samples(second.directory / "audio/7.wav") == tools.packet(0) + tools.packet(1)
    assert verify(second.directory) == []


async def run_until_killed(studio: Any, tools: Any, at_ms: int, *, resumed: bool) -> None:
    """A process that is killed in the first flush of its recording, which has written one of two files by then."""
    sound = studio.disk
    recorder = await studio.open()
    if resumed:
        recorder.interrupted(GapCause.DAEMON_RESTART, ["audio"])
    recorder.connected("signaling", frozenset())
    recorder.connected("media", frozenset({"audio"}))
    recorder.heard(at_ms)
    recorder.media.audio(7, "Bo", at_ms, tools.packet(0))
    recorder.media.audio(8, "Cy", at_ms, tools.packet(0))
    studio.writer.disk = KilledDisk()
    with pytest.raises(Killed):
        await studio.writer.flush()
    assert not (recorder.directory / "stream.json").exists()
    assert len(list((recorder.directory / "audio").iterdir())) == 1
    studio.disk = sound


@pytest.mark.parametrize("resumed", [False, True])  # after a process that left nothing at all
async def test_a_first_flush_that_was_cut_off_hides_no_loss(studio: Any, tools: Any, resumed: bool) -> None:
    await run_until_killed(studio, tools, tools.T + 500 if resumed else tools.T, resumed=resumed)
    last = await studio.open()
    last.interrupted(GapCause.DAEMON_RESTART, ["audio"])
    last.connected("signaling", frozenset())
    last.connected("media", frozenset({"audio"}))
    last.heard(tools.T + 1000)
    for user_id in (7, 8):
        last.media.audio(user_id, "Somebody", tools.T + 1000, tools.packet(1))
    last.ended(6, tools.T + 1020)
    await last.finish()
    (gap,) = tools.manifest(last)["gaps"]
    assert (gap["user_id"], gap["from_ms"], gap["to_ms"]) == (None, tools.T, tools.T + 1000)
    assert verify(last.directory) == []


class KilledInMediaDisk(Disk):
    """Pulls the plug behind the first long write."""

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        super().write_pieces(descriptor, pieces, offset)
        if sum(map(len, pieces)) > 20_000:
            raise Killed


@pytest.mark.parametrize("comes_at_once", [True, False])
async def test_of_whom_the_last_flush_wrote_nothing_the_next_packet_may_be_lost_as_well(
    studio: Any, tools: Any, comes_at_once: bool
) -> None:
    """It was on its way to the process that died, and that of another was not: Zoom sends only the latter again."""
    sound = studio.disk
    first = await studio.open()
    first.connected("signaling", frozenset())
    first.connected("media", frozenset({"audio"}))
    people = (7, 8)
    for tick in range(10):
        for user_id in people:
            first.media.audio(user_id, None, tools.T + 20 * tick, tools.packet(tick))
    first.heard(tools.T + 200)
    await studio.writer.flush()
    for tick in range(10, 100):
        for user_id in people:
            first.media.audio(user_id, None, tools.T + 20 * tick, tools.packet(tick))
    studio.writer.disk = KilledInMediaDisk()
    with pytest.raises(Killed):
        await studio.writer.flush()
    studio.disk = sound
    sizes = {int(path.stem): path.stat().st_size for path in (first.directory / "audio").iterdir()}
    cut_off, other = sorted(people, key=lambda user_id: sizes[user_id])

    second = await studio.open()
    second.connected("signaling", frozenset())
    second.connected("media", frozenset({"audio"}))
    for tick in range(100, 110):
        second.media.audio(other, None, tools.T + 20 * tick, tools.packet(tick))
        if tick > 100 or comes_at_once:
            second.media.audio(cut_off, None, tools.T + 20 * tick, tools.packet(tick))
    second.heard(tools.T + 2200)
    second.ended(6, tools.T + 2200)
    await second.finish()
    (gap,) = tools.manifest(second)["gaps"]
    lost_until = 2000 if comes_at_once else 2020
    assert (gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T) == (cut_off, 200, lost_until)
    assert verify(second.directory) == []


async def test_of_two_whose_buffered_audio_was_coming_one_may_lose_a_packet(studio: Any, tools: Any) -> None:
    """Zoom had said what time it was long before all it had buffered had come."""

    def say(recorder: Any, ticks: range, *people: int) -> None:
        for tick in ticks:
            for user_id in people:
                recorder.media.audio(user_id, None, tools.T + 20 * tick, tools.packet(tick))

    recorder = await studio.open()
    for last_tick in (10, 20):
        recorder.connected("signaling", frozenset())
        recorder.connected("media", frozenset({"audio"}))
        recorder.heard(tools.T + (100 if last_tick == 10 else 5000))
        say(recorder, range(last_tick - 10, last_tick), 7, 8)
        await studio.writer.flush()
        await studio.writer.flush()  # the first one repairs
        recorder = await studio.open()  # the one before was killed
    recorder.connected("signaling", frozenset())
    recorder.connected("media", frozenset({"audio"}))
    say(recorder, range(30, 31), 8)
    say(recorder, range(31, 300), 7, 8)
    recorder.heard(tools.T + 6000)
    recorder.ended(6, tools.T + 6000)
    await recorder.finish()
    gaps = [
        (gap["user_id"], gap["from_ms"] - tools.T, gap["to_ms"] - tools.T) for gap in tools.manifest(recorder)["gaps"]
    ]
    assert gaps == [(None, 400, 600), (7, 600, 620)]
    assert verify(recorder.directory) == []


async def test_who_had_just_joined_may_have_lost_what_the_flush_did_not_come_to(studio: Any, tools: Any) -> None:
    sound = studio.disk
    first = await studio.open()
    first.connected("signaling", frozenset())
    first.connected("media", frozenset({"audio"}))
    first.heard(tools.T)
    first.participants_joined([Participant(user_id=9, user_name="Silent")], tools.T - 5000)
    first.participants_joined([Participant(user_id=7), Participant(user_id=8)], tools.T + 50)
    await studio.writer.flush()  # the manifest, with them and without a file
    for tick in range(5):
        for user_id in (7, 8):
            first.media.audio(user_id, None, tools.T + 20 * tick, tools.packet(tick))
    studio.writer.disk = KilledDisk()
    with pytest.raises(Killed):
        await studio.writer.flush()
    studio.disk = sound
    [file] = (first.directory / "audio").iterdir()
    second = await studio.open()
    await second.suspend()  # another has the stream by now, and hears both of them next
    [lost] = {"7", "8"} - {file.stem}
    gaps = [(gap["user_id"], gap["from_ms"], gap["to_ms"]) for gap in tools.manifest(second)["gaps"]]
    assert gaps == [(int(lost), tools.T, tools.T + 100), (None, tools.T + 100, None)]
    assert verify(second.directory) == []
