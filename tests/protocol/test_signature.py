"""The worked vectors of Zoom's handshake signature, and digests of the usual mistakes, which must differ."""

import base64
from urllib.parse import quote

import pytest

from rtmsd.protocol.signature import handshake_signature

CLIENT_ID = "vsdkDemoClient01"
CLIENT_SECRET = "s3cr3t-Demo-Key-0001"
SESSION_ID = "Kz9+aB/cD3eFgHiJkLmN0w=="
STREAM_ID = "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c"
SIGNATURE = "7823575a1ae4e9a7e456d8697174184b439d07c2719e6ebd2eb276dfb122e2f1"


@pytest.mark.parametrize(
    ("session_id", "signature"),
    [
        (SESSION_ID, SIGNATURE),
        ("4mtUUID/abc==", "47a7bbf07147eaf1db91d462e0f5a2c35ba3495d24bbe2e9b61dd1b6a5682d1a"),
    ],
)
def test_worked_vectors(session_id: str, signature: str) -> None:
    assert handshake_signature(CLIENT_ID, CLIENT_SECRET, session_id, STREAM_ID) == signature


def test_usual_mistakes_give_the_digests_that_zoom_refuses() -> None:
    no_commas = "3c4a3ce4dadd9d54eab99b66bb6e74bda64ed09ddf3bb040807fe67c7fe05a16"
    percent_encoded = "7ae368d98a6066e018b63624d8714ff0f34726342c436589b9f899179c82a375"
    swapped = "dd323fecbd13edf94dbad7c2ff2c97b68b836d95250668996ed54ffcf80324b4"
    in_base64 = "eCNXWhrk6afkVthpcXQYS0OdB8Jxnm69LrJ237Ei4vE="
    # The mistakes are really these: made on purpose, they give the digests ...
    assert handshake_signature(CLIENT_ID, CLIENT_SECRET, quote(SESSION_ID, safe=""), STREAM_ID) == percent_encoded
    assert handshake_signature(CLIENT_SECRET, CLIENT_ID, SESSION_ID, STREAM_ID) == swapped
    assert base64.b64encode(bytes.fromhex(SIGNATURE)).decode() == in_base64
    # ... and what we send is none of them.
    ours = handshake_signature(CLIENT_ID, CLIENT_SECRET, SESSION_ID, STREAM_ID)
    assert ours not in {no_commas, percent_encoded, swapped, in_base64}
