"""Opus of the simulator, read by an independent decoder: speech as it was made, with and without PyAV, and marked."""

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence

import av
import numpy as np
import pytest

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.simulator import Person, Tone, open_simulator
from rtmsd.simulator.media import clips
from rtmsd.simulator.media.audio import mix_for, source_for
from rtmsd.simulator.media.opus import marked_opus, opus_mark, opus_packets
from rtmsd.simulator.media.voices import speech
from tests.simulator.conftest import SETTINGS, Client
from tests.simulator.make_clips import DIRECTORY

_DELAYS = range(300, 320)  # samples by which libopus is late: 312, less a fraction of its resampler
_CORRELATES = 0.9
ANA = Person(user_name="Ana")


def opus(channels: int = 1) -> AudioFormat:
    return AudioFormat(PayloadType.OPUS, 48000, channels, mixed=False, send_rate_ms=20)


def heard(packets: Sequence[bytes], channels: int) -> list["array[int]"]:
    """The channels of a packet sequence, decoded."""
    decoder = av.AudioCodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = 48000, "mono" if channels == 1 else "stereo"
    resampler = av.AudioResampler(format="s16", layout=decoder.layout.name, rate=48000)
    samples = array("h")
    for packet in packets:
        for frame in decoder.decode(av.Packet(packet)):
            for plain in resampler.resample(frame):
                samples.frombytes(bytes(plain.planes[0])[: plain.samples * channels * 2])
    return [samples[channel::channels] for channel in range(channels)]


def likeness(decoded: "array[int]", said: "array[int]") -> float:
    """The correlation of two signals, 1 for the same at any loudness, at the best of the codec's possible delays."""
    heard, meant = np.array(decoded, float), np.array(said, float)
    return max(float(np.corrcoef(heard[late : len(meant)], meant[: len(meant) - late])[0, 1]) for late in _DELAYS)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_voice_is_heard_as_it_was_said(channels: int) -> None:
    said = speech(1, 48000, 6000)
    source = source_for(ANA, 7, 1, opus(channels), Tone.SPEECH)
    decoded = heard([source.packet(number) for number in range(300)], channels)
    assert {len(each) for each in decoded} == {300 * 960}
    assert all(likeness(each, said) > _CORRELATES for each in decoded)
    loudness = [sum(map(abs, each)) for each in decoded]
    assert loudness[0] / loudness[-1] == pytest.approx(channels, rel=0.1)  # the right one is half as loud
    assert source.packet(300) == source.packet(0)
    assert len({source.encoded(number)[1] for number in range(300)}) > 10


@pytest.mark.parametrize("channels", [1, 2])
def test_a_mix_is_heard_as_all_that_was_said(channels: int) -> None:
    sources = [source_for(ANA, 7, voice, opus(channels), Tone.SPEECH) for voice in (0, 1)]
    mix = mix_for(sources, opus(channels), Tone.SPEECH)
    both = array("h", map(sum, zip(*(speech(voice, 48000, 6000) for voice in (0, 1)), strict=True)))
    assert all(likeness(each, both) > _CORRELATES for each in heard([mix.packet(n) for n in range(300)], channels))


@pytest.mark.parametrize("channels", [1, 2])
def test_without_pyav_the_clips_are_heard(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    packets = opus_packets(array("h", bytes(960)), channels, voice=1)
    assert packets == clips.read_clip(f"opus-{channels}-1")
    monkeypatch.undo()
    decoded = heard(packets, channels)
    assert all(likeness(each, speech(1, 48000, 3000)) > _CORRELATES for each in decoded)


def test_the_clips_stay_small() -> None:
    assert 0 < sum(path.stat().st_size for path in DIRECTORY.iterdir()) <= 60_000


def test_a_mark_is_read_back_and_not_heard() -> None:
    plain = source_for(ANA, 7, 0, opus(), Tone.SPEECH)
    marked = source_for(ANA, 7, 0, opus(), Tone.MARKED)
    packets = [marked.packet(number) for number in range(50)]
    assert [opus_mark(packet) for packet in packets] == [(7, number) for number in range(50)]
    assert [marked.encoded(number) for number in range(50)] == [(b64encode(packet), len(packet)) for packet in packets]
    assert heard(packets, 1) == heard([plain.packet(number) for number in range(50)], 1)
    assert opus_mark(plain.packet(0)) is None
    assert opus_mark(mix_for([marked, plain], opus(), Tone.MARKED).packet(3)) == (0, 3)
    with pytest.raises(ValueError, match="one frame"):
        marked_opus(packets[0], 7, 0)


async def test_every_packet_on_the_wire_is_in_the_record() -> None:
    async with open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(["Ana", "Bo"])
        client = Client(session, SETTINGS)
        stereo = {"content_type": 2, "codec": 4, "sample_rate": 3, "channel": 2, "data_opt": 2}
        async with client.signaling() as signaling, client.media(signaling, 1, audio=stereo):
            await client.until(lambda: len(client.packets) > 150)
            await session.stop()
            await client.closed(2)
    logs = session.record.audio.values()
    sent = [(packet.user_id, packet.timestamp_ms, packet.data) for log in logs for packet in log.arrived()]
    assert sorted(client.packets) == sorted(sent)
    for log in logs:
        assert [opus_mark(packet.data) for packet in log] == [(log.user_id, packet.number) for packet in log]
