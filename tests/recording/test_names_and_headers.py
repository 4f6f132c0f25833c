"""Names of files, headers of WAVs, revised captions and decoders."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.disk.paths import participant_name, safe_name, stream_directory
from rtmsd.recording.media.captions import captions
from rtmsd.recording.media.codecs.decoders import G722Decoder
from rtmsd.recording.media.wav.header import HEADER_BYTES, BadWav, PcmFormat, WavHeader
from rtmsd.recording.verify.wave_reader import read_wave

DAY_MS = 86_400_000
T = 1_790_000_000_000


@given(st.text(), st.text())
def test_names_are_safe_and_never_meet(one: str, other: str) -> None:
    name = safe_name(one)
    assert name
    assert len(name) <= 120
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%")
    assert (safe_name(other) == name) == (other == one)


def test_only_the_mix_is_called_mixed() -> None:
    assert participant_name(0) == "mixed"
    assert participant_name("mixed") != "mixed"
    assert participant_name("0") != participant_name(0) or participant_name("0") == "0"


def test_a_stream_keeps_its_directory_across_midnight(tmp_path: Path) -> None:
    first = stream_directory(tmp_path, T, "../a")
    assert first == tmp_path / "2026-09-21" / "%2E%2E%2Fa"
    first.mkdir(parents=True)
    assert stream_directory(tmp_path, T + DAY_MS, "../a") == first


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


def test_revised_captions_stand_in_place_of_what_they_revise() -> None:
    def line(text: str, start_ms: int, attribute: int | None) -> dict[str, object]:
        times = {"start_ms": T + start_ms, "end_ms": T + start_ms + 1000, "timestamp_ms": T + 9000}
        return {"user_id": 5, "user_name": "Ana", "text": text, "attribute": attribute, **times}

    lines = [line("late", 5000, 1), line("wrnog", 1000, 1), line("gone", 2000, 1), line("wrong", 1000, 2)]
    text = captions([*lines, line("", 2000, 3)], T)
    assert [part for part in text.splitlines() if part.startswith("<v")] == ["<v Ana>wrong", "<v Ana>late"]
    assert "00:00:01.000 --> 00:00:02.000" in text


def test_g722_doubles_the_bytes_fourfold() -> None:
    pytest.importorskip("G722")
    assert len(G722Decoder()(bytes(160))) == 640
