"""Packets that nobody would send on purpose, and what they may cost."""

from typing import Any

from rtmsd.recording.verify import verify

AUDIO = frozenset({"audio"})


async def test_a_packet_without_audio_is_counted_and_changes_nothing(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.connected("media", AUDIO)
    recorder.audio_format(tools.audio_format())
    recorder.audio(9, None, T, b"")
    recorder.audio(7, None, T, tools.packet(0))
    recorder.audio(7, None, T + 20, b"")
    recorder.audio(7, None, T + 20, tools.packet(1))
    recorder.audio(7, None, T + 5000, b"")
    await studio.writer.flush()
    assert verify(recorder.directory) == []
    recorder.ended(6, T + 6000)
    await recorder.finish()
    found = tools.manifest(recorder)
    assert [(each["path"], each["duration_ms"]) for each in found["files"]] == [("audio/7.wav", 40)]
    assert tools.samples(recorder.directory / "audio/7.wav") == tools.packet(0) + tools.packet(1)
    assert (found["counters"]["corrupt_kinds"], found["counters"]["duplicates"]) == ({"empty": 3}, 0)
    assert found["gaps"] == []
    assert verify(recorder.directory) == []
