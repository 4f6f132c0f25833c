"""Offers between members: what is sent is read, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.cluster.handover.offers import MAX_BYTES, BadOffer, Offer, decode_offer, encode_offer
from tests.cluster.strategies import COUNTS, IDS, NODES, RANDOMS

OFFERS = st.builds(Offer, rtms_stream_id=IDS, node=NODES, incarnation=RANDOMS, token=COUNTS, is_let_go=st.booleans())
GOOD: dict[str, Any] = {"rtms_stream_id": "s", "node": "b.2", "incarnation": "i", "token": 7, "is_let_go": True}


@given(OFFERS)
def test_an_offer_is_read_as_it_was_sent(offer: Offer) -> None:
    assert decode_offer(encode_offer(offer)) == offer


@given(OFFERS, st.data())
def test_a_damaged_offer_is_read_or_refused(offer: Offer, data: st.DataObject) -> None:
    sent = bytearray(encode_offer(offer))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_offer(bytes(sent))
    except BadOffer:
        return
    assert decode_offer(encode_offer(read)) == read


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rtms_stream_id", ""),
        ("rtms_stream_id", "x" * 1025),
        ("node", "../b"),
        ("node", None),
        ("incarnation", ""),
        ("incarnation", "a b"),
        ("token", -1),
        ("token", 2**53 + 1),
        ("token", "7"),
        ("token", True),
        ("is_let_go", 1),
        ("is_let_go", "yes"),
    ],
)
def test_what_is_out_of_bounds_is_refused(key: str, value: object) -> None:
    assert decode_offer(json.dumps(GOOD).encode()).token == 7
    with pytest.raises(BadOffer):
        decode_offer(json.dumps(GOOD | {key: value}).encode())


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 10_000, b" " * (MAX_BYTES + 1)])
def test_what_is_no_offer_is_refused_without_its_content(data: bytes) -> None:
    with pytest.raises(BadOffer, match=r"^the offer (cannot be read|has more)"):
        decode_offer(data)


def test_keys_of_newer_versions_do_no_harm() -> None:
    assert decode_offer(json.dumps(GOOD | {"new": {"a": 1}}).encode()) == decode_offer(json.dumps(GOOD).encode())
