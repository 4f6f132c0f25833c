"""Opus from a simulated Zoom to files and taps: each packet as it was sent, in its slot of 20 ms."""

import json
from pathlib import Path

import pytest
import soundfile

from rtmsd.config import AudioConfig, MediaConfig
from rtmsd.recording.media.ogg.packets import silence
from rtmsd.recording.media.ogg.pages import read_pages
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator import ARRIVED, Fate, Record
from tests.daemon.whole import assert_well_behaved, directory_of, until_ended, zoom_and_daemon

OPUS = AudioConfig(codec="OPUS", sample_rate_hz=48000, send_rate_ms=20)


def packets(path: Path) -> list[bytes]:
    return [each for page in list(read_pages(path.read_bytes()))[2:] for each in page.packets]


def assert_as_sent(record: Record, directory: Path) -> None:
    manifest = json.loads((directory / "stream.json").read_bytes())
    files = {entry["user_id"]: entry for entry in manifest["files"] if entry["media"] == "audio"}
    assert files
    for user_id, log in record.audio.items():
        sent = {each.timestamp_ms: each.data for each in log if each.fate in ARRIVED | {Fate.IN_FLIGHT}}
        if not sent:
            continue
        entry = files[user_id]
        found = packets(directory / entry["path"])
        times = [entry["start_ms"] + 20 * slot for slot in range(len(found))]
        heard = {time_ms: each for time_ms, each in zip(times, found, strict=True) if each in sent.values()}
        assert heard.keys() >= {each.timestamp_ms for each in log.arrived()}
        assert all(sent.get(time_ms, each) == each for time_ms, each in heard.items())
        assert {each for each in found if each not in sent.values()} <= {silence(entry["channels"])}
        assert entry["duration_ms"] == 20 * len(found)
        assert soundfile.info(directory / entry["path"]).frames == 960 * len(found)
    assert [str(problem) for problem in verify(directory)] == []


@pytest.mark.parametrize(
    "audio",
    [OPUS, AudioConfig(codec="OPUS", sample_rate_hz=48000, send_rate_ms=20, channels=2, streams="mixed")],
    ids=["each", "mixed, stereo"],
)
async def test_packets_are_stored_as_sent_over_a_reconnection(audio: AudioConfig, tmp_path: Path) -> None:
    media = MediaConfig(types=("audio",), audio=audio)
    async with zoom_and_daemon(tmp_path, simulator={"speed": 10.0}, media=media) as (sim, backend):
        session = await sim.start_session(["Ana", "Bo"])
        await session.wait_reconnected()
        await sim.clock.sleep(3)
        session.cut_media()
        await session.wait_reconnected()
        await sim.clock.sleep(3)
        await session.stop()
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
    assert_well_behaved(session.record)
    assert_as_sent(session.record, directory)
    described = {(each["codec"], each["sample_rate_hz"], each["channels"]) for each in manifest["files"]}
    assert described == {("OPUS", 48_000, audio.channels)}
    names = {Path(each["path"]).name for each in manifest["files"]}
    assert (names == {"mixed.opus"}) == (audio.streams == "mixed")
