"""Bounds of ids and names: two that differ stay two, and short ones stay unchanged."""

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.bounds import MAX_ID_BYTES, MAX_NAME_BYTES, bounded_id, bounded_name, bounded_object
from rtmsd.protocol.media_data import Raw, decode_batch

TEXTS = st.text() | st.builds(lambda text, times: text * times, st.text(min_size=1), st.integers(1, 600))


def size(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode(errors="surrogatepass")) - 2


@given(TEXTS)
def test_nothing_is_longer_than_its_bound_and_what_fits_is_kept(text: str) -> None:
    assert size(bounded_id(text)) <= MAX_ID_BYTES
    assert size(bounded_name(text)) <= MAX_NAME_BYTES
    if size(text) <= MAX_ID_BYTES:
        assert bounded_id(text) == text
    if size(text) <= MAX_NAME_BYTES:
        assert bounded_name(text) == text
    assert text.startswith(bounded_name(text))


@given(TEXTS, TEXTS)
def test_two_ids_stay_two(one: str, other: str) -> None:
    long = "x" * 300
    assert (bounded_id(long + one) == bounded_id(long + other)) == (one == other)


class Heard:
    """Takes in media and keeps what names somebody."""

    def __init__(self) -> None:
        self.names: list[tuple[Any, Any]] = []

    def audio(self, user_id: Any, user_name: Any, timestamp_ms: int, data: bytes) -> None:
        self.names.append((user_id, user_name))

    video = share = audio

    def text(self, data: Any) -> None:
        self.names.append((data.user_id, data.user_name))

    def control(self, raw: Raw) -> None:
        raise AssertionError

    def corrupt(self, problem: Any) -> None:
        raise AssertionError


def test_no_message_brings_a_long_id() -> None:
    handler = Heard()
    long = "é" * 1_000_000
    payload = base64.b64encode(bytes(640)).decode()
    for msg_type, data in ((14, payload), (15, payload), (16, payload), (17, "hello"), (18, "hello")):
        for number in ("1", "2"):
            content = {"channel_id": long + number, "user_name": long, "data": data, "timestamp": 1, "length": None}
            decode_batch([json.dumps({"msg_type": msg_type, "content": content}).encode()], handler, handler.control)
    assert len(handler.names) == 10
    assert len({user_id for user_id, _ in handler.names}) == 2
    assert all(size(user_id) <= MAX_ID_BYTES for user_id, _ in handler.names)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), VALUES), st.integers(0, 300))
def test_an_object_is_cut_to_its_bound(fields: dict[str, Any], limit_bytes: int) -> None:
    kept, is_whole = bounded_object(fields, limit_bytes)
    size_bytes = len(json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass"))
    assert size_bytes <= limit_bytes + 300  # what was begun is closed
    assert kept.keys() <= fields.keys() or not is_whole
    if is_whole and all(abs(value) < 2**63 for value in fields.values() if isinstance(value, int)):
        assert len(kept) == len(fields)


def test_a_huge_object_is_read_only_as_far_as_it_fits() -> None:
    looked_at = 0

    class Counted(dict[str, int]):
        def items(self) -> Any:
            nonlocal looked_at
            looked_at += 1
            return super().items()

    kept, is_whole = bounded_object({"people": [Counted(user_id=number) for number in range(100_000)]})
    assert not is_whole
    assert looked_at == len(kept["people"]) < 5000
    assert bounded_object({"name": "Ann", "list": [1, {"x": None}]}) == (
        {"name": "Ann", "list": [1, {"x": None}]},
        True,
    )
    cut, is_whole = bounded_object({"text": "x" * 10**6}, 600)
    assert 50 < len(cut["text"]) < 600
    assert not is_whole
