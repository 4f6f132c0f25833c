"""From the wire to the file: no speech is cut for how its packets are stamped or wrapped."""

import struct
import wave
from collections.abc import Sequence
from typing import Any

import pytest

from tests.streams.harness import Bench
from tests.streams.zoom import T0

JITTERS_MS = (0, 30, -30, 22, -28, 30, 0, 40, -30, -30, 30, 30, -25, 0, 10, -10, 30, -30)  # one is 40 ms late


def sound(number: int, ms: int) -> bytes:
    return struct.pack("<H", number + 1) * (16 * ms)


async def recorded(bench: Bench, packets: Sequence[tuple[int, bytes]]) -> tuple[bytes, dict[str, Any]]:
    """Send packets, end the stream, and return what is in the file, and the manifest."""
    await bench.up()
    peer = bench.zoom.last("audio")
    for at_ms, data in packets:
        await peer.audio(T0 + at_ms, data=data)
    await bench.until(lambda: bench.manifest()["counters"]["messages"]["audio"] == len(packets))
    await bench.stop(6)
    await bench.until_gone()
    manifest = bench.manifest()
    assert manifest["gaps"] == []
    with wave.open(str(bench.recording() / "audio" / "7.wav")) as file:
        return file.readframes(file.getnframes()), manifest


async def test_jitter_costs_no_speech(bench: Bench) -> None:
    sounds = [sound(number, 100) for number in range(len(JITTERS_MS))]
    packets = [(100 * number + jitter, sounds[number]) for number, jitter in enumerate(JITTERS_MS)]
    samples, manifest = await recorded(bench, packets)
    assert samples == b"".join(sounds)
    assert [manifest["counters"][name] for name in ("duplicates", "trimmed_ms", "inserted_ms", "cut_ms")] == [0] * 4


async def test_packets_of_a_coarse_clock_are_no_duplicates(bench: Bench) -> None:
    sounds = [sound(number, 20) for number in range(50)]
    packets = [(number // 5 * 100, sounds[number]) for number in range(50)]
    samples, manifest = await recorded(bench, [*packets, *packets[40:]])  # and some of them twice
    assert samples == b"".join(sounds)
    assert (manifest["counters"]["duplicates"], manifest["counters"]["same_time"]) == (10, 40)


@pytest.mark.parametrize("is_wrapped", [True, False])
async def test_rtp_that_zoom_grants_is_stored_without_its_headers(bench: Bench, is_wrapped: bool) -> None:
    """And where plain PCM comes after all, it is stored as it is."""
    bench.zoom.grants["audio"] = {"content_type": 1, "sample_rate": 1, "codec": 1, "channel": 1, "send_rate": 100}
    sounds = [sound(number + 127, 100) for number in range(9)]  # whose first bytes look like RTP's
    headers = [b"\x80\x60" + struct.pack(">HI4s", number, 1600 * number, b"Zoom") for number in range(9)]
    packets = [
        (100 * number, headers[number] + sounds[number] if is_wrapped else sounds[number]) for number in range(9)
    ]
    samples, manifest = await recorded(bench, packets)
    assert samples == b"".join(sounds)
    assert manifest["counters"]["corrupt"] == 0
