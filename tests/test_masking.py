"""Texts of servers, as they are written to files."""

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.errors import HandshakeRejected
from rtmsd.masking import MAX_REMOTE_CHARS, sanitize_remote_text
from rtmsd.transport.websocket import WebSocketClosed

SIGNATURE = "0123456789abcdef" * 4
URL = "wss://user:pass@rtms.zoom.us/path?token=t0ken"


def test_a_reason_that_repeats_what_we_sent_gives_none_of_it_away() -> None:
    said = f"bad signature {SIGNATURE} for {URL}"
    for error in (HandshakeRejected(3, said), WebSocketClosed(4000, said)):
        assert "bad signature ***" in str(error)
        assert "wss://rtms.zoom.us" in str(error)
        assert not any(secret in str(error) for secret in (SIGNATURE, "t0ken", "pass", "path"))


@given(st.text(max_size=20), st.integers(0, 5000))
def test_it_is_bounded_and_left_alone_when_it_is_harmless(said: str, times: int) -> None:
    assert len(sanitize_remote_text(said * times)) <= MAX_REMOTE_CHARS + 4
    assert sanitize_remote_text("signaling is busy") == "signaling is busy"
    assert "signaling is busy" in str(HandshakeRejected(8, "signaling is busy"))
