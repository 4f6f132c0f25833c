"""Headers of WAV files, written and read back."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.media.wav.header import HEADER_BYTES, BadWav, PcmFormat, WavHeader
from rtmsd.recording.verify.wave_reader import read_wave

DAY_MS = 86_400_000
T = 1_790_000_000_000


@given(
    start_ms=st.integers(0, 3 * DAY_MS),
    rate_hz=st.sampled_from([8000, 16000, 32000, 48000]),
    channels=st.sampled_from([1, 2]),
    owner=st.integers(0, 2**32) | st.text(max_size=30),
)
def test_a_header_reads_back(start_ms: int, rate_hz: int, channels: int, owner: int | str) -> None:
    started_ms = T - T % 1000
    header = WavHeader(
        pcm=PcmFormat(rate_hz, channels), start_ms=started_ms + start_ms, stream_started_ms=started_ms, owner=owner
    )
    raw = header.encode(HEADER_BYTES + 640)
    assert len(raw) == HEADER_BYTES
    assert WavHeader.decode(raw) == header


def test_past_four_gigabytes_it_is_rf64(tmp_path: Path) -> None:
    header = WavHeader(pcm=PcmFormat(48000, 2), start_ms=T, stream_started_ms=T, owner=5)
    for data_bytes, magic in ((2**32 - HEADER_BYTES - 8, b"RIFF"), (2**32, b"RF64"), (3 * 2**33, b"RF64")):
        path = tmp_path / "x.wav"
        raw = header.encode(HEADER_BYTES + data_bytes)
        path.write_bytes(raw)
        assert raw[:4] == magic
        assert read_wave(path).data_bytes == data_bytes


@given(st.binary(max_size=1000))
def test_any_bytes_are_a_header_or_not(raw: bytes) -> None:
    with pytest.raises(BadWav):
        WavHeader.decode(raw)
