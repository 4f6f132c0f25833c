"""The counts, rates and events of a recording, beside its media."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_data import Corrupt
from rtmsd.protocol.reading import CorruptKind
from rtmsd.recording.rates import Rates

if TYPE_CHECKING:
    from rtmsd.recording.recorder import Recorder

AUDIO = frozenset({"audio"})


# Counts


async def test_corrupt_messages_are_counted_by_kind_over_restarts(studio: Any, tools: Any) -> None:
    first: Recorder = await studio.open()
    first.media.corrupt(Corrupt(kind=CorruptKind.BAD_JSON))
    first.media.corrupt(Corrupt(kind=CorruptKind.BAD_JSON, media=MediaType.AUDIO))
    first.media.audio(5, "Ana", -1, tools.packet(0))
    await studio.writer.flush()
    second: Recorder = await studio.open()
    second.media.corrupt(Corrupt(kind=CorruptKind.BAD_JSON))
    await second.suspend()
    counters = tools.manifest(second)["counters"]
    assert counters["corrupt"] == 4
    assert counters["corrupt_kinds"] == {"bad_json": 3, "timestamp": 1}


@pytest.mark.parametrize("kinds", [None, [], {"bad_json": "many"}, "bad_json"])
async def test_kinds_that_somebody_broke_are_left_out(studio: Any, tools: Any, kinds: object) -> None:
    first: Recorder = await studio.open()
    await first.suspend()
    path = first.directory / "stream.json"
    manifest = tools.manifest(first)
    manifest["counters"]["corrupt_kinds"] = kinds
    path.write_text(json.dumps(manifest))
    second: Recorder = await studio.open()
    assert second.manifest()["counters"]["corrupt_kinds"] == {}


# Rates


def test_rates_are_those_between_two_samples() -> None:
    rates = Rates(100.0)
    assert rates.latest == {}
    rates.sample(101.0, Counter(audio=10), Counter(audio=32_000))
    assert rates.latest == {"audio": {"messages_per_s": 10.0, "bytes_per_s": 32_000}}
    rates.sample(103.0, Counter(audio=30, chat=1), Counter(audio=96_000, chat=50))
    assert rates.latest == {
        "audio": {"messages_per_s": 10.0, "bytes_per_s": 32_000},
        "chat": {"messages_per_s": 0.5, "bytes_per_s": 25},
    }


async def test_rates_do_not_depend_on_readers_and_count_what_is_not_flushed(
    studio: Any, tools: Any, autojump_clock: MockClock
) -> None:
    recorder: Recorder = await studio.open()
    recorder.media.audio_format(tools.audio_format())
    recorder.connected("media", AUDIO)
    for second in range(3):
        for number in range(10):
            recorder.media.audio(5, "Ana", tools.T + second * 1000 + number * 100, tools.packet(number, 100))
            await trio.sleep(0.1)
            recorder.snapshot()
        recorder.sample_rates()
        assert recorder.snapshot()["rates"] == {"audio": {"messages_per_s": 10.0, "bytes_per_s": 32_000}}
        assert recorder.snapshot()["rates"] == {"audio": {"messages_per_s": 10.0, "bytes_per_s": 32_000}}
