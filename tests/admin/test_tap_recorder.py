"""A tap on the recorder itself: the two sides fit each other, and the end of a recording is the end of its taps."""

import json
from pathlib import Path

import attrs
import trio

from rtmsd.admin.tap import TapRecorder, TapRequest, tap_reply
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.sinks.hub import LiveHub
from rtmsd.sinks.taps import wav_head

START_MS = 1_790_000_000_000
PACKET = b"\x01\x02" * 1600  # 100 ms
INFO = StreamInfo(
    rtms_stream_id="stream-1",
    product="session",
    session=SessionRef(key="session_id", id="s"),
    app="main",
    started_ms=START_MS,
)


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 1 << 20


async def test_a_tap_hears_what_the_recorder_keeps_until_it_finishes(tmp_path: Path) -> None:
    hub, settings = LiveHub(), Settings(tmp_path)
    writer = Writer(settings)
    recorder = await open_recorder(INFO, writer, local_ms=lambda: START_MS, on_event=hub.publish)
    tapped: TapRecorder = recorder
    recorder.connected("media", frozenset({"audio"}))
    recorder.media.audio_format(
        AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=True, send_rate_ms=100)
    )
    wav = tap_reply(TapRequest.parse({"format": "wav"}), "stream-1", tapped, hub)
    lines = tap_reply(TapRequest.parse({}), "stream-1", tapped, hub)
    with wav.open() as sound, lines.open() as everything:
        recorder.media.audio(0, None, START_MS, PACKET)
        recorder.media.audio(0, None, START_MS, PACKET)  # a repeat: heard once
        assert [await sound.chunk(), await sound.chunk()] == [wav_head(16000, 1), PACKET]
        recorder.ended(6, START_MS + 100)
        with trio.fail_after(60):
            await recorder.finish()
        assert await sound.chunk() is None
        chunk = await everything.chunk()
        assert chunk is not None
        first, *events = (json.loads(line) for line in chunk.splitlines())
        assert (first["media"], first["timestamp_ms"]) == ("audio", START_MS)
        assert events[-1]["kind"] == "stream_state"
        assert events[-1]["state"] == "ended"
        assert await everything.chunk() is None
