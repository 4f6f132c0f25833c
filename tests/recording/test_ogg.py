"""Packets, pages and headers of Ogg Opus, read by libraries and by `verify`."""

import contextlib
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.recording.media.ogg.header import HEAD_BYTES, BadOgg, OggHeader
from rtmsd.recording.media.ogg.packets import OpusFormat, is_silence, packet_samples, silence
from rtmsd.recording.media.ogg.pages import PageHead, PageWriter, encode_page, lacing_of, read_page, read_pages
from rtmsd.recording.media.ogg.reader import find_end, first_samples, last_packets
from rtmsd.recording.verify.opus_reader import read_opus

START_MS = 1_790_000_000_000
HEADER = OggHeader(pcm=OpusFormat(48_000, 1), start_ms=START_MS, stream_started_ms=START_MS, owner=5, user_name="Ana")


def encoded(seconds: float, rate_hz: int = 440, channels: int = 1, frame_ms: float = 20) -> list[bytes]:
    """A tone, as packets of a real encoder."""
    codec = av.CodecContext.create("libopus", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.format, codec.layout = 48_000, "s16", "stereo" if channels == 2 else "mono"
    codec.options = {"frame_duration": str(frame_ms), "application": "audio"}
    codec.open()
    size = int(48 * frame_ms)
    times = np.arange(int(seconds * 48_000)) / 48_000
    tone = (12_000 * np.sin(2 * np.pi * rate_hz * times)).astype(np.int16)
    packets: list[bytes] = []
    for at in range(0, len(tone), size):
        samples = np.repeat(tone[at : at + size], channels).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=codec.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, at, Fraction(1, 48_000)
        packets += [bytes(each) for each in codec.encode(frame)]
    return packets


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("frame_ms", [2.5, 5, 10, 20, 40, 60])
def test_a_tone_comes_back_as_long_as_its_packets_say(tmp_path: Path, channels: int, frame_ms: float) -> None:
    packets = encoded(3, 440, channels, frame_ms)
    assert {packet_samples(each) for each in packets} == {48 * frame_ms}
    header = OggHeader(pcm=OpusFormat(48_000, channels), start_ms=START_MS, stream_started_ms=START_MS, owner=5)
    path = tmp_path / "5.opus"
    path.write_bytes(header.encode() + b"".join(PageWriter(header.serial, 2).pages(packets)))
    sound, rate_hz = soundfile.read(path)
    assert rate_hz == 48_000
    assert len(sound) == 48 * frame_ms * len(packets)
    voice = sound if channels == 1 else sound[:, 0]
    spectrum = np.abs(np.fft.rfft(voice[4800:100_800]))
    assert abs(np.argmax(spectrum) * 48_000 / 96_000 - 440) < 1
    assert read_opus(path)[:1] + read_opus(path)[2:] == (channels, len(sound), None, False)
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert sum(frame.samples for frame in container.decode(stream)) == len(sound)
        assert stream.metadata["RTMS_START_MS"] == str(START_MS)


SINGLE_MS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4


@given(st.integers(0, 31), st.booleans(), st.integers(0, 1300))
def test_one_frame(config: int, stereo: bool, size: int) -> None:
    samples = int(SINGLE_MS[config] * 48)
    packet = bytes([config << 3 | stereo << 2]) + bytes(size)
    assert packet_samples(packet) == (samples if size <= 1275 else 0)


@given(st.integers(0, 31), st.integers(0, 63), st.booleans(), st.integers(0, 600), st.data())
def test_counted_frames_with_padding(
    config: int, frames: int, variable: bool, padding: int, data: st.DataObject
) -> None:
    """Built as RFC 6716, 3.2.5 says; a byte too few or too many for the frames is no packet."""
    sizes = data.draw(st.lists(st.integers(0, 300), min_size=frames, max_size=frames))
    if not variable:
        sizes = sizes[:1] * frames
    head = bytes([config << 3 | 3, frames | variable << 7 | bool(padding) << 6])
    lengths, rest = b"", padding
    if padding:
        while rest > 254:
            lengths, rest = lengths + b"\xff", rest - 254
        lengths += bytes([rest])
    if variable:
        for size in sizes[:-1]:
            lengths += bytes([size]) if size < 252 else bytes([252 + size % 4, (size - 252 - size % 4) // 4])
    packet = head + lengths + bytes(sum(sizes) + padding)
    samples = int(frames * SINGLE_MS[config] * 48)
    is_one = frames > 0 and samples <= 5760
    assert packet_samples(packet) == (samples if is_one else 0)
    if not variable and frames > 1:
        assert packet_samples(packet + b"\0") == 0


@given(st.binary(max_size=80))
def test_any_bytes_are_a_packet_of_120_ms_at_most_or_none(data: bytes) -> None:
    assert packet_samples(data) in range(0, 5761, 120)


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"", 0),
        (b"\xf8", 960),  # a frame that was not sent
        (b"\xe0", 120),
        (b"\xe3\x03" + bytes(3), 360),
        (b"\xf9" + bytes(3), 0),  # two frames of 1.5 bytes
        (b"\xf9" + bytes(4), 1920),
        (b"\xfa", 0),  # two frames without a length
        (b"\xfa\x05\1\2", 0),  # the first is longer than what is there
        (b"\xfa\x01\1\2", 1920),
        (b"\xfb", 0),  # without a number of frames
        (b"\xfb\x00\1", 0),
        (b"\xfb\x07" + bytes(7), 0),  # 140 ms
        (b"\x1b\x02" + bytes(2), 5760),
    ],
)
def test_known_packets(packet: bytes, samples: int) -> None:
    assert packet_samples(packet) == samples


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [120, 240, 480, 960])
def test_silence_is_silent(channels: int, samples: int) -> None:
    silent = silence(channels, samples)
    assert is_silence(silent)
    assert packet_samples(silent) == samples
    assert silence(channels) == (b"\xf8\xff\xfe" if channels == 1 else b"\xfc\xff\xfe")
    decoder = av.CodecContext.create("opus", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = 48_000, "stereo" if channels == 2 else "mono"
    frames = [frame for _ in range(5) for frame in decoder.decode(av.Packet(silent))]
    assert sum(frame.samples for frame in frames) == 5 * samples
    assert not any(frame.to_ndarray().any() for frame in frames)


PACKETS = st.lists(
    st.builds(
        lambda toc, body: bytes([toc]) + body, st.sampled_from([0xF8, 0xFC, 0x08, 0x18]), st.binary(max_size=1275)
    ),
    max_size=400,
)


@settings(max_examples=60)
@given(PACKETS, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_pages_hold_what_went_in(packets: list[bytes], serial: int, sequence: int) -> None:
    writer = PageWriter(serial, sequence)
    raw = b"".join(writer.pages(packets))
    pages = list(read_pages(raw))
    assert [packet for page in pages for packet in page.packets] == packets
    assert [page.sequence for page in pages] == [(sequence + each) % 2**32 for each in range(len(pages))]
    assert {page.serial for page in pages} <= {serial}
    granule = 0
    for page in pages:
        granule += sum(packet_samples(packet) for packet in page.packets)
        assert page.granule == granule
    assert writer.granule == granule


@given(PACKETS.filter(bool), st.data())
def test_a_page_with_a_wrong_bit_is_none(packets: list[bytes], data: st.DataObject) -> None:
    raw = bytearray(PageWriter(1, 2).pages(packets[:20])[0])
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert read_page(bytes(raw)) is None


def test_the_checksum_is_that_of_ogg() -> None:
    """Against the definition, bit by bit."""
    page = encode_page(PageHead(2, 7, 8, 9), lacing_of(3), b"abc")
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x8000_0000 else crc << 1) & 0xFFFF_FFFF
    assert struct.unpack_from("<I", page, 22)[0] == crc


@given(
    st.sampled_from([1, 2]),
    st.integers(0, 2**52),
    st.integers() | st.text(max_size=60).filter(lambda text: len(text.encode(errors="replace")) < 60),
    st.none() | st.text(max_size=400),
)
def test_a_header_is_read_back_and_always_of_one_size(
    channels: int, start_ms: int, owner: int | str, name: str | None
) -> None:
    header = OggHeader(
        pcm=OpusFormat(48_000, channels), start_ms=start_ms, stream_started_ms=7, owner=owner, user_name=name
    )
    raw = header.encode()
    assert len(raw) == HEAD_BYTES
    if len(str(owner)) < 80:
        found = OggHeader.decode(raw)
        assert (found, found.serial) == (header, header.serial)
        assert found.encode() == raw
        if name is not None and len(name) < 60 and "\0" not in name and name.isascii():
            assert found.user_name == name


@given(st.binary(max_size=2000), st.integers(0, HEAD_BYTES - 1), st.integers(0, 255))
def test_no_bytes_break_the_reader_of_headers(noise: bytes, at: int, value: int) -> None:
    raw = bytearray(HEADER.encode())
    raw[at] = value
    for each in (noise, bytes(raw), raw[:at] + noise):
        with contextlib.suppress(BadOgg):
            assert OggHeader.decode(bytes(each)) == HEADER


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.data())
def test_any_truncation_ends_with_its_last_whole_page(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "5.opus"
    writer = PageWriter(HEADER.serial, 2)
    raw, ends = HEADER.encode(), [(HEAD_BYTES, 0)]
    for number, size in enumerate(sizes):
        raw += b"".join(writer.pages([bytes([0xF8, number]) + b"OggS" * size] * size))
        ends.append((len(raw), writer.granule))
    cut = data.draw(st.integers(HEAD_BYTES, len(raw)))
    noise = data.draw(st.sampled_from([b"", bytes(5000), b"OggS" * 100]))
    content = raw[:cut] + noise
    path.write_bytes(content)
    whole, granule = max(end for end in ends if content.startswith(raw[: end[0]]))  # noise may be what was cut off
    with path.open("rb") as file:
        end = find_end(file.fileno(), path.stat().st_size)
        assert (whole, granule) == (HEAD_BYTES, 0) if end is None else (end.size_bytes, end.samples) == (whole, granule)
        assert first_samples(file.fileno()) == 0
        found = list(last_packets(file.fileno(), whole, len(raw)))
    assert [at for at, _ in found] == list(range(0, granule, 960))
    path.write_bytes(raw[:whole])
    assert read_opus(path).samples == granule
    assert read_opus(path).problem is None
    if granule:
        assert len(soundfile.read(path)[0]) == granule


def test_a_day_of_silence_takes_no_memory_until_it_is_written() -> None:
    writer = PageWriter(3, 2)
    pages, rest = writer.silence(48_000 * 86_400, 1)
    assert len(pages) * 255 + len(rest) == 86_400 * 50
    assert pages.size_bytes == sum(len(page) for page in pages) < 20_000_000
    last = read_page(pages[-1])
    assert last is not None
    assert (last.granule, last.sequence) == (writer.granule, writer.sequence - 1)
    assert len(pages[10:20]) == 10


def test_the_reader_looks_past_megabytes_of_zeros(tmp_path: Path) -> None:
    path = tmp_path / "5.opus"
    raw = HEADER.encode() + b"".join(PageWriter(HEADER.serial, 2).pages([b"\xf8abc"] * 100))
    path.write_bytes(raw + bytes(3_000_000))
    with path.open("rb") as file:
        end = find_end(file.fileno(), path.stat().st_size)
    assert end is not None
    assert (end.size_bytes, end.samples, end.sequence) == (len(raw), 96_000, 2)
