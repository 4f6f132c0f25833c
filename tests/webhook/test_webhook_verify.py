"""Signatures: the worked vectors of the protocol reference, and forgeries."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.config import AppConfig
from rtmsd.webhook.verify import find_app, find_swapped, is_fresh, is_genuine, sign, validation_answer

SECRET = "whk_demo_secret_42"
TIMESTAMP = "1790000000"
BODY = (
    b'{"event":"session.rtms_started","event_ts":1790000000123,"payload":{"account_id":"AcctDemo_001",'
    b'"session_id":"Kz9+aB/cD3eFgHiJkLmN0w==","session_key":"room-7",'
    b'"rtms_stream_id":"9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c","server_urls":"wss://127.0.0.1:9443/signal"}}'
)
SIGNATURE = "v0=7ed6eea6694ce359aa9e55325bf3d0fec592106e954f6c6b823c1cac472f0265"
SPACED_SIGNATURE = "v0=b311af999185a7a16aa85967c4d10321d7308a594153555b062954cbcf011d8b"
VALIDATION_BODY = (
    b'{"event":"endpoint.url_validation","event_ts":1790000000000,"payload":{"plainToken":"Zm9vYmFyLXBsYWluLXRva2Vu"}}'
)
VALIDATION_SIGNATURE = "v0=ef84cbcb9899b5d3de5497ee367e74cd0a3bc112b830a796b5012134665c64a5"


def app(name: str, *webhook_secrets: str, client_secret: str = "client") -> AppConfig:
    return AppConfig(name=name, client_id="id", client_secret=client_secret, webhook_secrets=webhook_secrets)


def test_worked_vector() -> None:
    assert hashlib.sha256(BODY).hexdigest() == "f8776d5f132170a5fad02e39030273f8c5a53cc388747f2ab2d94604aca55bd9"
    assert sign(SECRET, TIMESTAMP, BODY) == SIGNATURE
    assert is_genuine(SECRET, TIMESTAMP, BODY, SIGNATURE)


def test_url_validation_vector() -> None:
    assert sign(SECRET, TIMESTAMP, VALIDATION_BODY) == VALIDATION_SIGNATURE
    assert validation_answer(SECRET, "Zm9vYmFyLXBsYWluLXRva2Vu") == {
        "plainToken": "Zm9vYmFyLXBsYWluLXRva2Vu",
        "encryptedToken": "f1b74b6b5f1e47f74d00161b7d007cfa208617a8b6aa2cd8a652003a2ca2f78d",
    }


def test_the_raw_bytes_are_signed_not_the_json() -> None:
    spaced = BODY.replace(b'":', b'": ').replace(b',"', b', "')
    assert sign(SECRET, TIMESTAMP, spaced) == SPACED_SIGNATURE
    assert not is_genuine(SECRET, TIMESTAMP, spaced, SIGNATURE)
    assert not is_genuine(SECRET, TIMESTAMP, BODY, SPACED_SIGNATURE)


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "v0=",
        SIGNATURE[3:],
        SIGNATURE.upper(),
        SIGNATURE + "0",
        SIGNATURE[:-1],
        " " + SIGNATURE,
        "v1" + SIGNATURE[2:],
    ],
)
def test_malformed_signatures_are_not_genuine(signature: str) -> None:
    assert not is_genuine(SECRET, TIMESTAMP, BODY, signature)


@given(st.text(), st.text(), st.binary())
def test_no_header_is_an_error(timestamp: str, signature: str, body: bytes) -> None:
    assert not is_genuine(SECRET, timestamp, body, signature)
    is_fresh(timestamp, 1790000000.0, 300)


@pytest.mark.parametrize(
    ("timestamp", "fresh"),
    [
        ("1790000000", True),
        ("1789999700", True),
        ("1789999699", False),
        ("1790000300", True),
        ("1790000301", False),
        ("1790000000000", False),  # milliseconds
        ("", False),
        ("-1790000000", False),
        ("+1790000000", False),
        (" 1790000000", False),
        ("1_790_000_000", False),
        ("1790000000.0", False),
        ("١٧٩٠٠٠٠٠٠٠", False),
        ("²", False),
        ("nan", False),
        ("9" * 5000, False),
    ],
)
def test_freshness_is_two_sided_and_takes_digits_only(timestamp: str, *, fresh: bool) -> None:
    assert is_fresh(timestamp, 1790000000.0, 300) is fresh


def test_the_app_that_verifies_owns_the_event() -> None:
    apps = [app("a", "one"), app("b", "old", SECRET), app("c", "three")]
    assert find_app(apps, TIMESTAMP, BODY, SIGNATURE) == (apps[1], SECRET)
    assert find_app([apps[0], apps[2]], TIMESTAMP, BODY, SIGNATURE) is None
    assert find_app([], TIMESTAMP, BODY, SIGNATURE) is None


def test_swapped_secrets_are_recognised() -> None:
    apps = [app("a", "one"), app("b", "two", client_secret=SECRET)]
    assert find_app(apps, TIMESTAMP, BODY, SIGNATURE) is None
    assert find_swapped(apps, TIMESTAMP, BODY, SIGNATURE) is apps[1]
    assert find_swapped(apps, TIMESTAMP, BODY + b" ", SIGNATURE) is None
