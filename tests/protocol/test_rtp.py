"""RTP headers are cut off and lost packets counted; plain PCM is never cut, however much it looks like RTP."""

import struct
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.rtp import MaybeRtpReader, RtpReader, RtpSequence

Header: TypeAlias = tuple[int, list[bytes], bytes | None, int]
"""Marker and payload type, CSRCs, extension, padding."""

UNIT: Final = 640  # 20 ms of L16 at 16 kHz


@st.composite
def a_header(draw: st.DrawFn) -> Header:
    sources = draw(st.lists(st.binary(min_size=4, max_size=4), max_size=15))
    words = draw(st.none() | st.lists(st.binary(min_size=4, max_size=4), max_size=8).map(b"".join))
    return draw(st.integers(0, 255)), sources, words, draw(st.sampled_from([0, 0, 1, 4, 200]))


def rtp(
    sequence: int,
    payload: bytes,
    ssrc: bytes = b"Zoom",
    header: Header = (96, [], None, 0),
) -> bytes:
    kind, sources, words, padding = header
    first = 0x80 | len(sources) | (0x10 if words is not None else 0) | (0x20 if padding else 0)
    extension = b"" if words is None else struct.pack(">HH", 0xBEDE, len(words) // 4) + words
    end = bytes(padding - 1) + bytes([padding]) if padding else b""
    fixed = struct.pack(">BBHI4s", first, kind, sequence & 0xFFFF, 320 * sequence & 0xFFFFFFFF, ssrc)
    return fixed + b"".join(sources) + extension + payload + end


def reader() -> MaybeRtpReader:
    return MaybeRtpReader(UNIT)


class Strict:
    """A reader of G.711 in RTP, with what it says was lost."""

    def __init__(self, codec: PayloadType = PayloadType.G711, unit_bytes: int = 160) -> None:
        self.lost = 0
        self.payload = RtpReader(codec, unit_bytes, RtpSequence(), self.note).payload

    def note(self, packets: int) -> None:
        self.lost += packets


payloads = st.integers(1, 3).flatmap(lambda units: st.binary(min_size=UNIT * units, max_size=UNIT * units))


@given(
    st.lists(st.tuples(st.integers(1, 300), payloads, a_header()), min_size=1, max_size=12),
    st.integers(0, 0xFFFF),
    st.binary(min_size=4, max_size=4),
)
def test_what_is_rtp_comes_out_without_its_headers(
    packets: list[tuple[int, bytes, Header]], sequence: int, ssrc: bytes
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


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 3), a_header()), min_size=1, max_size=12),
    st.integers(0, 0xFFFF),
)
def test_headers_are_cut_off_and_what_is_missing_is_counted(
    packets: list[tuple[int, int, Header]], sequence: int
) -> None:
    reads, first = Strict(), sequence + packets[0][0]
    for step, units, (marker, sources, words, padding) in packets:
        sequence += step
        payload = bytes([units]) * (160 * units)
        assert reads.payload(rtp(sequence, payload, header=(8 | marker & 0x80, sources, words, padding))) == payload
    assert reads.lost == sequence - first + 1 - len(packets)


@pytest.mark.parametrize(
    ("codec", "unit_bytes", "payload_type", "fits"),
    [
        (PayloadType.G711, 160, 8, True),
        (PayloadType.G711, 160, 0, False),  # mu-law
        (PayloadType.G711, 160, 13, False),  # comfort noise
        (PayloadType.G722, 160, 9, True),
        (PayloadType.G722, 160, 8, False),
        (PayloadType.G722, 160, 96, True),
        (PayloadType.OPUS, 1, 127, True),
        (PayloadType.OPUS, 1, 9, False),
    ],
)
def test_a_payload_type_that_does_not_fit_is_corrupt_and_came_all_the_same(
    codec: PayloadType, unit_bytes: int, payload_type: int, fits: bool
) -> None:
    reads, payload = Strict(codec, unit_bytes), b"\7" * 160
    numbers = range(3)
    found = [reads.payload(rtp(number, payload, header=(payload_type, [], None, 0))) for number in numbers]
    assert found == [payload if fits else None for _ in numbers]
    assert reads.lost == 0


def test_a_size_that_does_not_fit_is_corrupt() -> None:
    reads = Strict()
    header: Header = (8, [], None, 0)
    assert reads.payload(rtp(0, b"\7" * 159, header=header)) is None
    assert reads.payload(rtp(1, b"", header=header)) is None
    assert reads.payload(b"\7" * 160) is None  # plain, although RTP was agreed on
    assert Strict(PayloadType.OPUS, 1).payload(rtp(0, b"\x78\1\2", header=(111, [], None, 0))) == b"\x78\1\2"


@given(st.data(), st.integers(0, 0xFFFF), st.integers(1, 60))
def test_lost_is_what_never_came_in_any_order(data: st.DataObject, first: int, count: int) -> None:
    """Packets are dropped, moved by a few places, and repeated; the first and the last come in their places."""
    sent = list(range(first, first + count + 2))
    came = [sent[0], *data.draw(st.lists(st.sampled_from(sent[1:-1]), max_size=2 * count))]
    came = [came[0], *sorted(came[1:], key=lambda number: number + data.draw(st.integers(0, 8))), sent[-1]]
    sequence = RtpSequence()
    lost = sum(sequence.take(b"Zoom", number & 0xFFFF) for number in came)
    assert lost == len(set(sent) - set(came))


def test_a_new_source_starts_afresh_and_so_does_one_that_begins_again() -> None:
    sequence = RtpSequence()
    numbers = [(b"A", 60_000), (b"A", 60_001), (b"B", 7), (b"B", 9), (b"A", 100)]
    assert [sequence.take(*each) for each in numbers] == [0, 0, 0, 1, 0]
    again = RtpSequence()
    assert [again.take(b"A", number) for number in (30_000, 5, 6, 7, 9)] == [0, 0, 0, 0, 1]


def test_audio_out_of_the_buffer_again_is_neither_lost_nor_a_beginning() -> None:
    sequence = RtpSequence()
    numbers = [*range(40_000), *range(37_000, 39_990), *range(40_000, 40_100)]
    assert sum(sequence.take(b"A", number) for number in numbers) == 0


def test_after_a_long_hole_only_so_many_numbers_are_kept() -> None:
    sequence = RtpSequence()
    assert [sequence.take(b"A", number & 0xFFFF) for number in (0, 30_000, 60_000, 90_000)] == [
        0,
        29_999,
        29_999,
        29_999,
    ]
    assert sequence.take(b"A", 89_999 & 0xFFFF) == -1
    assert len(sequence._missing) <= 4096


anything = st.lists(st.binary(max_size=1400) | st.builds(rtp, st.integers(0, 9), payloads), max_size=20)


@given(anything)
def test_nothing_raises(packets: list[bytes]) -> None:
    readers: list[Strict | MaybeRtpReader] = [reader(), Strict(), Strict(PayloadType.OPUS, 1)]
    for data in packets:
        for each in readers:
            payload = each.payload(data)
            assert payload is None or payload in data
