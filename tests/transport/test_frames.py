"""The frame splitter, held against wsproto reading the same bytes whole."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong

from rtmsd.transport.frames import FrameSplitter

FIN, TEXT, BINARY, CLOSE, PING, PONG = 0x80, 0x1, 0x2, 0x8, 0x9, 0xA
LIMIT = 70_000


def frame(first: int, payload: bytes = b"", mask: int = 0, length_bytes: int | None = None) -> bytes:
    """Build a frame; `length_bytes` (0, 2 or 8) asks for another encoding of the length than the shortest."""
    size = len(payload)
    if length_bytes is None:
        length_bytes = 0 if size < 126 else 2 if size < 0x10000 else 8
    code = {0: size, 2: 126, 8: 127}[length_bytes]
    return bytes([first, mask | code]) + (size.to_bytes(length_bytes, "big") if length_bytes else b"") + payload


def split(pieces: Sequence[bytes], limit: int = LIMIT) -> tuple[list[bytes], bytes]:
    splitter = FrameSplitter(limit)
    messages: list[bytes] = []
    passed = b""
    for piece in pieces:
        lifted, up = splitter.feed(piece)
        messages += lifted
        passed += up
    return messages, passed


def cut(data: bytes, seed: int, most: int) -> list[bytes]:
    """Cut `data` at random places."""
    chance = random.Random(seed)
    pieces, position = [], 0
    while position < len(data):
        size = chance.randint(1, most)
        pieces.append(data[position : position + size])
        position += size
    return pieces


def read(data: bytes) -> tuple[list[bytes], list[tuple[object, ...]]]:
    """Let wsproto read: complete messages, and everything else it saw."""
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(data)
    messages: list[bytes] = []
    parts = b""
    rest: list[tuple[object, ...]] = []
    for event in client.events():
        if isinstance(event, Message):
            parts += event.data if isinstance(event, BytesMessage) else event.data.encode()
            if event.message_finished:
                messages.append(parts)
                parts = b""
        else:
            rest.append(_as_tuple(event))
    return messages, rest


def _as_tuple(event: Event) -> tuple[object, ...]:
    match event:
        case Ping() | Pong():
            return type(event), bytes(event.payload)
        case CloseConnection():
            return type(event), event.code, event.reason
        case _:
            raise AssertionError(event)


payloads = st.one_of(
    st.text(max_size=40).map(str.encode),
    st.sampled_from([125, 126, 127, 1000]).map(lambda size: b"x" * size),
)
controls = st.builds(frame, st.sampled_from([FIN | PING, FIN | PONG]), st.binary(max_size=125))


@st.composite
def fragmented(draw: st.DrawFn) -> bytes:
    """A message in fragments, with control frames between them."""
    payload = draw(payloads)
    places = sorted(draw(st.lists(st.integers(0, len(payload)), min_size=1, max_size=4)))
    parts = [payload[start:stop] for start, stop in zip([0, *places], [*places, len(payload)], strict=True)]
    opcodes = [draw(st.sampled_from([TEXT, BINARY]))] + [0] * (len(parts) - 1)
    opcodes[-1] |= FIN
    return b"".join(
        frame(opcode, part) + b"".join(draw(st.lists(controls, max_size=2)))
        for opcode, part in zip(opcodes, parts, strict=True)
    )


legal = st.lists(
    st.builds(frame, st.sampled_from([FIN | TEXT, FIN | BINARY]), payloads) | controls | fragmented(), max_size=8
).map(b"".join)

violations = st.one_of(
    st.builds(frame, st.integers(0, 255), payloads, st.sampled_from([0, 0x80])),
    st.just(frame(0, b"continues nothing")),
    st.just(frame(TEXT, b"begun ") + frame(FIN | TEXT, b"and begun again")),
    st.just(frame(TEXT) + frame(FIN | PING, b"between") + frame(BINARY, b"y")),
    st.just(frame(TEXT, b"h" * 200) + frame(0, b"h") + frame(FIN | BINARY, b"instead of the rest")),
    st.just(frame(FIN | TEXT, b"short", length_bytes=2)),
    st.just(frame(FIN | BINARY, b"short" * 100, length_bytes=8)),
    st.just(frame(FIN | PING, b"p" * 126)),
    st.just(frame(PING)),
    st.just(bytes([FIN | TEXT, 127]) + b"\xff" * 8),
    st.builds(frame, st.just(FIN | CLOSE), st.sampled_from([b"", b"\x03\xe8", b"\x03\xe9bye", b"\x00", b"\x00\x00"])),
)


@given(legal, st.integers(0, 2**32), st.sampled_from([1, 3, 50, 5000, 10**6]))
def test_legal_bytes_cut_anywhere(data: bytes, seed: int, most: int) -> None:
    messages, passed = split(cut(data, seed, most))
    assert (messages, read(passed)) == (read(data)[0], ([], read(data)[1]))


@given(legal, violations, legal, st.integers(0, 2**32), st.sampled_from([1, 50, 10**6]))
def test_wsproto_sees_a_violation_as_without_the_splitter(
    before: bytes, violation: bytes, after: bytes, seed: int, most: int
) -> None:
    data = before + violation + after
    messages, passed = split(cut(data, seed, most))
    leftover, rest = read(passed)
    assert (messages + leftover, rest) == read(data)


@given(st.lists(st.builds(frame, st.sampled_from([FIN | TEXT, FIN | BINARY, TEXT]), payloads) | controls, max_size=8))
def test_a_message_is_checked_also_when_it_looks_like_the_one_before(frames: list[bytes]) -> None:
    data = b"".join(frames)
    messages, passed = split(frames)
    leftover, rest = read(passed)
    assert (messages + leftover, rest) == read(data)


def test_a_read_that_looks_like_the_usual_message_may_be_a_part_of_another() -> None:
    usual = frame(FIN | TEXT, b"x" * 200)
    long = frame(FIN | TEXT, b"a" * 50 + usual + b"b" * 50)
    assert split([usual, long[:54], usual, long[54 + len(usual) :]]) == ([b"x" * 200, long[4:]], b"")
    begun = frame(TEXT, b"a")
    assert split([usual, begun, usual])[0] == [b"x" * 200]  # a message within a message passes up


@given(st.binary(max_size=300), st.integers(0, 2**32))
@example(b"\x03~", 0)  # illegal before its length is known
def test_any_bytes(data: bytes, seed: int) -> None:
    messages, passed = split(cut(data, seed, 20))
    leftover, rest = read(passed)
    expected = read(data)
    if expected[1][-1:] and expected[1][-1][1] == 1007:
        return  # bad UTF-8 is left to the decoder of the message, which costs no connection
    assert (messages + leftover, rest) == expected


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x10000])
@pytest.mark.parametrize("most", [1000, 10**6])
def test_lengths_at_the_edges_of_their_encodings(size: int, most: int) -> None:
    payload = b"x" * size
    data = frame(FIN | TEXT, payload) + frame(BINARY, payload) + frame(FIN) + frame(FIN | PING)
    assert split(cut(data, size, most)) == ([payload, payload], frame(FIN | PING))
    unfinished = frame(TEXT, payload) + frame(FIN | TEXT, b"another")
    assert split(cut(unfinished, size, most)) == ([], unfinished)


@pytest.mark.parametrize("first", [FIN | TEXT, FIN | BINARY])
def test_a_message_at_the_limit_is_lifted_and_one_beyond_passes_up(first: int) -> None:
    at, beyond = frame(first, b"x" * LIMIT), frame(first, b"x" * (LIMIT + 1))
    assert split([at]) == ([b"x" * LIMIT], b"")
    assert split([at + beyond + at]) == ([b"x" * LIMIT], beyond + at)


def test_an_oversized_message_passes_up_from_its_header_on() -> None:
    header = frame(FIN | TEXT, b"x" * (LIMIT + 1))[:10]
    assert split([header]) == ([], header)


def test_fragments_that_grow_too_large_are_passed_up_together() -> None:
    messages, passed = split([frame(TEXT, b"x" * LIMIT), frame(FIN | PING, b"p"), frame(FIN, b"y")])
    assert messages == []
    assert read(passed) == ([b"x" * LIMIT + b"y"], [(Ping, b"p")])


def test_control_frames_do_not_wait_for_the_message_around_them() -> None:
    splitter = FrameSplitter(LIMIT)
    assert splitter.feed(frame(TEXT, b"be") + frame(FIN | PING, b"1")) == ([], frame(FIN | PING, b"1"))
    assert splitter.feed(frame(FIN, b"gun")) == ([b"begun"], b"")


def test_nothing_is_lifted_behind_a_close_frame() -> None:
    data = frame(FIN | CLOSE, b"\x03\xe8") + frame(FIN | TEXT, b"late")
    assert split([data]) == ([], data)


def test_bad_utf8_is_left_to_the_decoder() -> None:
    assert split([frame(FIN | TEXT, b"\xff")]) == ([b"\xff"], b"")
