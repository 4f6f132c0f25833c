"""Senseless packets, and what they may cost."""

import sys
import weakref
from typing import Any

import pytest

from rtmsd.protocol.enums import MediaType, PayloadType
from rtmsd.protocol.media_data import Corrupt
from rtmsd.protocol.reading import CorruptKind
from rtmsd.recording.media.codecs.decoders import Decoder
from rtmsd.recording.verify.verify import verify

AUDIO = frozenset({"audio"})


async def test_a_packet_without_audio_is_counted_and_changes_nothing(studio: Any, tools: Any) -> None:
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.connected("media", AUDIO)
    recorder.media.audio_format(tools.audio_format())
    recorder.media.audio(9, None, T, b"")
    recorder.media.audio(7, None, T, tools.packet(0))
    recorder.media.audio(7, None, T + 20, b"")
    recorder.media.audio(7, None, T + 20, tools.packet(1))
    recorder.media.audio(7, None, T + 5000, b"")
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


@pytest.mark.parametrize("users", [1, 3, 5000])
async def test_a_corrupt_packet_costs_the_same_however_many_were_before_it(studio: Any, tools: Any, users: int) -> None:
    """Calls are counted, not seconds: to look through 10 000 gaps takes thousands."""
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.connected("media", AUDIO)
    recorder.media.audio_format(tools.audio_format())
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    def corrupt(numbers: range) -> None:
        for number in numbers:
            recorder.media.corrupt(
                Corrupt(
                    kind=CorruptKind.BAD_BASE64,
                    media=MediaType.AUDIO,
                    user_id=number % users + 1,
                    timestamp_ms=T + 40 * number,
                )
            )

    corrupt(range(13_000))
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        corrupt(range(13_000, 14_000))
    finally:
        sys.setprofile(before)
    assert calls / 1000 < 100
    gaps = recorder.manifest()["gaps"]
    assert len(gaps) <= 10_000
    assert gaps[-1]["to_ms"] == T + 40 * 13_999 + 20


async def test_senseless_ids_take_no_decoder_each(studio: Any, tools: Any, monkeypatch: Any) -> None:
    T = tools.T
    decoders = weakref.WeakSet[Decoder]()

    class Copy:
        """Stands for a codec that remembers."""

        def __init__(self) -> None:
            decoders.add(self)

        def __call__(self, data: bytes) -> bytes:
            return data

    monkeypatch.setattr("rtmsd.recording.media.audio.decoder", lambda codec: Copy)
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    recorder.connected("media", AUDIO)
    recorder.media.audio_format(tools.audio_format(codec=PayloadType.G722))
    recorder.media.audio(1, None, T, tools.packet(0))
    first = next(iter(decoders))
    for user_id in range(2, 6000):
        recorder.media.audio(user_id, None, T, tools.packet(0))
    assert len(recorder.manifest()["files"]) <= 2000
    assert first in decoders
    assert len(decoders) <= 4000
