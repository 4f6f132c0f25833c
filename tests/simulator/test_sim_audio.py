"""Audio sources, marked packets, and the log of what arrived."""

import math
import wave
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.recording.media.codecs.decoders import decoder
from rtmsd.simulator import Person, Tone
from rtmsd.simulator.media.audio import Marked, mix_for, read_wav, source_for
from rtmsd.simulator.media.encoders import encode_alaw, encode_g722
from rtmsd.simulator.media.marks import find_marks, marked_packet
from rtmsd.simulator.media.voices import speech
from rtmsd.simulator.model.audio_log import AudioLog
from rtmsd.simulator.model.fate import Fate

_G722_DELAY = 22  # samples, of both filters together
ANA = Person(user_name="Ana")


def l16(rate_hz: int = 16000, channels: int = 1, send_rate_ms: int = 20) -> AudioFormat:
    return AudioFormat(
        codec=PayloadType.L16, rate_hz=rate_hz, channels=channels, mixed=False, send_rate_ms=send_rate_ms
    )


def test_voices_differ_and_pause() -> None:
    ana, bo = speech(0, 16000, 3000), speech(1, 16000, 3000)
    assert len(ana) == len(bo) == 48000
    assert ana != bo
    assert 5000 < max(ana) < 20000
    assert sum(sample == 0 for sample in ana) > 4000
    assert ana[-1] == 0


@pytest.mark.parametrize(
    ("audio_format", "size_bytes"),
    [
        (l16(), 640),
        (l16(8000), 320),
        (l16(48000, 2), 3840),
        (l16(send_rate_ms=1000), 32000),
        (AudioFormat(PayloadType.G711, 8000, 1, False, 20), 160),
    ],
)
def test_every_packet_has_the_size_of_its_format(audio_format: AudioFormat, size_bytes: int) -> None:
    source = source_for(ANA, 7, 0, audio_format, Tone.SPEECH)
    assert {len(source.packet(number)) for number in range(0, 700, 7)} == {size_bytes}
    assert {source.encoded(number)[1] for number in range(9)} == {size_bytes}


def test_a_mix_is_the_sum_within_bounds() -> None:
    sources = [source_for(ANA, 7, voice, l16(), Tone.SPEECH) for voice in (0, 1)]
    mixed = array("h", mix_for(sources, l16(), Tone.SPEECH).packet(20))
    one, two = (array("h", source.packet(20)) for source in sources)
    assert list(mixed) == [max(-32768, min(32767, a + b)) for a, b in zip(one, two, strict=True)]


def test_a_mix_in_another_codec_is_the_sum_encoded(tmp_path: Path) -> None:
    """Also where one speaker's sound is shorter than another's."""
    path, form = tmp_path / "short.wav", AudioFormat(PayloadType.G711, 8000, 1, mixed=True, send_rate_ms=20)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(array("h", range(-2000, 2000)).tobytes())
    people = [ANA, Person(user_name="Bo", wav=path)]
    sources = [source_for(person, 7, voice, form, Tone.SPEECH) for voice, person in enumerate(people)]
    mix = mix_for(sources, form, Tone.SPEECH)
    plain = [source_for(person, 7, voice, l16(8000), Tone.SPEECH) for voice, person in enumerate(people)]
    for number in (0, 20, 24, 25, 299, 300):
        one, two = (array("h", source.packet(number)) for source in plain)
        assert mix.packet(number) == encode_alaw([a + b for a, b in zip(one, two, strict=True)])


def test_alaw_by_the_recommendation() -> None:
    assert encode_alaw([0, -1, 8, 1000, -1000, 32767, -32768]) == bytes((0xD5, 0x55, 0xD5, 0xFA, 0x7A, 0xAA, 0x2A))


def test_g722_is_understood_by_an_independent_decoder() -> None:
    voice = speech(0, 16000, 1000)
    encoded = encode_g722(voice)
    decoded = array("h", decoder(AudioFormat(PayloadType.G722, 16_000, 1, mixed=False, send_rate_ms=20))()(encoded))[
        _G722_DELAY:
    ]
    assert len(encoded) == len(voice) // 2
    noise = sum((heard - said) ** 2 for heard, said in zip(decoded, voice, strict=False))
    assert 10 * math.log10(sum(sample * sample for sample in voice) / noise) > 20


def test_a_wav_is_played_in_a_loop_and_resampled(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(array("h", (s for n in range(800) for s in (n, -n))).tobytes())
    assert len(read_wav(path, 16000)) == 1600
    source = source_for(Person(user_name="Bo", wav=path), 7, 0, l16(), Tone.SPEECH)
    assert array("h", source.packet(0))[:4] == array("h", [0, 0, 1, 1])
    assert source.packet(0) == source.packet(5)


@given(
    user_id=st.integers(0, 2**32 - 1),
    numbers=st.lists(st.integers(0, 2**40), unique=True, max_size=5),
    size=st.sampled_from([320, 640, 3840]),
    hole=st.integers(0, 500),
)
def test_marks_are_found_at_any_offset(user_id: int, numbers: list[int], size: int, hole: int) -> None:
    track = b"".join(bytes(2 * hole) + marked_packet(user_id, number, size) for number in numbers)
    marks = list(find_marks(track, size))
    assert [(mark.user_id, mark.number, mark.whole) for mark in marks] == [(user_id, n, True) for n in numbers]


def test_a_damaged_mark_is_reported() -> None:
    packet = marked_packet(7, 1, 640)
    assert [m.whole for m in find_marks(packet[:-2] + b"\0\0" + packet + packet[:100], 640)] == [False, True, False]


def test_a_log_returns_what_arrived_and_when() -> None:
    log = AudioLog(7)
    source = Marked(l16(), 7)
    for number, fate in enumerate((Fate.SENT, Fate.BUFFERED, Fate.SENT, Fate.DISCARDED, Fate.SENT, Fate.LOST)):
        log.add(number, 1000 + 20 * number, fate, 3, source)
    log.revise(2, 3, Fate.IN_FLIGHT)
    assert [packet.number for packet in log.arrived()] == [0, 1, 4]
    assert log.intervals() == [(1000, 1040), (1080, 1100)]
    assert log.arrived_ms() == 60
    assert log.count(Fate.IN_FLIGHT) == 1
    start_ms, track = log.timeline()
    assert start_ms == 1000
    expected = marked_packet(7, 0, 640) + marked_packet(7, 1, 640) + bytes(1280) + marked_packet(7, 4, 640)
    assert track == expected


def test_a_log_separates_the_packets_of_its_sources() -> None:
    log = AudioLog(7)
    assert [*log] == []
    first, second = Marked(l16(), 7), Marked(l16(send_rate_ms=100), 7)
    log.add(0, 1000, Fate.SENT, 1, first)
    log.add(1, 1020, Fate.SENT, 1, first)
    log.add(1, 1100, Fate.SENT, 2, second)
    assert [(p.number, p.duration_ms, len(p.data)) for p in log] == [(0, 20, 640), (1, 20, 640), (1, 100, 3200)]
