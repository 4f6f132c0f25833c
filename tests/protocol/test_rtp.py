"""RTP headers are cut off, and plain PCM never is, however much it looks like RTP."""

import struct
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.rtp import RtpReader

UNIT: Final = 640  # 20 ms of L16 at 16 kHz


@st.composite
def a_header(draw: st.DrawFn) -> tuple[int, list[bytes], bytes | None, int]:
    """Marker and payload type, CSRCs, extension, padding."""
    sources = draw(st.lists(st.binary(min_size=4, max_size=4), max_size=15))
    words = draw(st.none() | st.lists(st.binary(min_size=4, max_size=4), max_size=8).map(b"".join))
    return draw(st.integers(0, 255)), sources, words, draw(st.sampled_from([0, 0, 1, 4, 200]))


def rtp(
    sequence: int,
    payload: bytes,
    ssrc: bytes = b"Zoom",
    header: tuple[int, list[bytes], bytes | None, int] = (96, [], None, 0),
) -> bytes:
    kind, sources, words, padding = header
    first = 0x80 | len(sources) | (0x10 if words is not None else 0) | (0x20 if padding else 0)
    extension = b"" if words is None else struct.pack(">HH", 0xBEDE, len(words) // 4) + words
    end = bytes(padding - 1) + bytes([padding]) if padding else b""
    fixed = struct.pack(">BBHI4s", first, kind, sequence & 0xFFFF, 320 * sequence & 0xFFFFFFFF, ssrc)
    return fixed + b"".join(sources) + extension + payload + end


def reader(*, may_be_odd: bool = True) -> RtpReader:
    return RtpReader(UNIT, may_be_odd=may_be_odd)


payloads = st.integers(1, 3).flatmap(lambda units: st.binary(min_size=UNIT * units, max_size=UNIT * units))


@given(
    st.lists(st.tuples(st.integers(1, 300), payloads, a_header()), min_size=1, max_size=12),
    st.integers(0, 0xFFFF),
    st.binary(min_size=4, max_size=4),
)
def test_what_is_rtp_comes_out_without_its_headers(
    packets: list[tuple[int, bytes, tuple[int, list[bytes], bytes | None, int]]], sequence: int, ssrc: bytes
) -> None:
    reads = reader()
    for step, payload, header in packets:  # some packets may be lost in between
        sequence += step
        assert reads.payload(rtp(sequence, payload, ssrc, header)) == payload


@given(st.lists(payloads, max_size=12), st.data())
def test_plain_pcm_is_never_cut(packets: list[bytes], data: st.DataObject) -> None:
    """Also where a packet is, by its first bytes, RTP of the same source with the next sequence number."""
    reads = reader()
    for number, samples in enumerate(packets):
        looks = data.draw(st.booleans())
        pcm = rtp(number, samples, header=data.draw(a_header()))[: len(samples)] if looks else samples
        assert reads.payload(pcm) == pcm


@given(st.integers(UNIT - 100, UNIT + 100).filter(lambda size: size % UNIT), st.integers(0, 255), st.integers(0, 255))
def test_a_tone_of_an_odd_length_is_cut_once_at_most(size: int, low: int, high: int) -> None:
    """Each packet is like the one before, so that its sequence number, if it were one, would stand still."""
    reads = reader()
    pcm = (bytes([low, high]) * size)[:size]
    assert [reads.payload(pcm) for _ in range(4)][1:] == [pcm] * 3


def test_pcm_of_an_odd_length_recognised_once_stays_pcm() -> None:
    reads = reader()
    other = bytes(UNIT + 12)
    assert reads.payload(other) == other
    lookalike = rtp(7, bytes(UNIT), b"abcd")
    assert reads.payload(lookalike) == lookalike  # one alone proves nothing after that
    assert reads.payload(rtp(8, bytes(UNIT), b"efgh")) == rtp(8, bytes(UNIT), b"efgh")
    assert reads.payload(rtp(9, bytes(UNIT), b"efgh")) == bytes(UNIT)  # two that belong together do


@given(st.binary(max_size=700))
def test_between_rtp_packets_anything_else_is_corrupt(noise: bytes) -> None:
    reads = reader()
    for sequence in (65_535, 65_536):
        assert reads.payload(rtp(sequence, bytes(UNIT))) == bytes(UNIT)
    noise = bytes([noise[0] & 0x7F]) + noise[1:] if noise else noise  # version 0 or 1
    assert reads.payload(noise) is None
    assert reads.payload(rtp(2, b"\1" * UNIT)[:-1]) is None
    assert reads.payload(rtp(3, b"")) is None
    assert reads.payload(rtp(4, b"\2" * UNIT, b"else")) == b"\2" * UNIT  # the sender was started again


def test_codecs_that_come_in_rtp_only_in_whole_packets() -> None:
    reads = reader(may_be_odd=False)
    assert reads.payload(b"\x12" * (UNIT + 12)) is None
    assert reads.payload(b"\x12" * UNIT) == b"\x12" * UNIT  # raw after all


@given(st.lists(st.binary(max_size=1400) | st.builds(rtp, st.integers(0, 9), payloads), max_size=20), st.booleans())
def test_nothing_raises(packets: list[bytes], may_be_odd: bool) -> None:
    reads = reader(may_be_odd=may_be_odd)
    for data in packets:
        payload = reads.payload(data)
        assert payload is None or payload in data
