"""The tables of a strict server's refusals, row by row."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.enums import MediaType, PayloadType
from rtmsd.simulator.stream.checks import Expected, media_handshake, read, signaling_handshake

EXPECTED = Expected(
    id_key="session_id",
    session_id="Kz9+aB/cD3eFgHiJkLmN0w==",
    rtms_stream_id="9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c",
    signature="7823575a1ae4e9a7e456d8697174184b439d07c2719e6ebd2eb276dfb122e2f1",
)
GOOD = {
    "msg_type": 1,
    "session_id": EXPECTED.session_id,
    "rtms_stream_id": EXPECTED.rtms_stream_id,
    "signature": EXPECTED.signature,
}
LEFT_OUT = object()
GRANTED = MediaType.AUDIO | MediaType.TRANSCRIPT


def request(**changes: Any) -> str:
    return json.dumps({key: value for key, value in (GOOD | changes).items() if value is not LEFT_OUT})


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(), 0),
        (request(protocol_version=1, sequence=7, buffer_data=False, unheard_of=[]), 0),
        (request(meeting_uuid=EXPECTED.session_id), 0),
        (request(session_id=LEFT_OUT, meeting_uuid=EXPECTED.session_id), 0),
        ("", 4),
        ("[]", 4),
        (b"\xff\xfe{}", 4),
        (request(msg_type=3), 1),
        (request(msg_type="1"), 1),
        (request(msg_type=True), 1),
        (request(msg_type=2, protocol_version=2), 1),
        (request(protocol_version=2), 4),
        (request(protocol_version="1"), 4),
        (request(sequence="1"), 4),
        (request(session_id=LEFT_OUT), 4),
        (request(session_id=""), 4),
        (request(session_id=5), 4),
        (request(meeting_uuid="another"), 4),
        (request(session_id="another"), 2),
        (request(rtms_stream_id=LEFT_OUT), 2),
        (request(rtms_stream_id="another", signature="wrong"), 2),
        (request(signature=LEFT_OUT), 3),
        (request(signature=EXPECTED.signature.upper(), buffer_data="no"), 3),
        (request(signature="eCNXWhrk6afkVthpcXQYS0OdB8Jxnm69LrJ237Ei4vE="), 3),
        (request(buffer_data="no"), 4),
        (request(buffer_data=None), 4),
    ],
)
def test_message_1(raw: str | bytes, status: int) -> None:
    assert signaling_handshake(raw, EXPECTED, occupied=False)[0].status == status


def test_message_1_while_another_signaling_lives() -> None:
    assert signaling_handshake(request(), EXPECTED, occupied=True)[0] == (8, "Duplicate signal request")
    assert signaling_handshake(request(signature="x"), EXPECTED, occupied=True)[0].status == 3


def media_request(**changes: Any) -> str:
    return request(**({"msg_type": 3, "media_type": 1} | changes))


def audio(**params: Any) -> str:
    return media_request(media_params={"audio": params})


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (media_request(), 0),
        (request(media_type=1), 1),
        (media_request(signature="x"), 3),
        (media_request(media_type=LEFT_OUT), 7),
        (media_request(media_type="1"), 7),
        (media_request(media_type=True), 7),
        (media_request(media_type=0), 14),
        (media_request(media_type=-1), 14),
        (media_request(media_type=33), 14),
        (media_request(media_type=64), 14),
        (media_request(media_type=2), 10),
        (media_request(media_type=4), 11),
        (media_request(media_type=16), 13),
        (media_request(media_type=3), 0),
        (media_request(media_type=32), 0),
        (media_request(media_params=[]), 17),
        (media_request(media_params={"audio": 5}), 18),
        (media_request(media_params={"video": "of no interest"}), 0),
        (audio(content_type=1), 0),
        (audio(content_type=1, codec=4), 20),
        (media_request(media_params=None), 0),
        (media_request(media_params={"audio": None}), 0),
        (media_request(media_params={"audio": {"codec": None, "send_rate": 100}}), 0),
        (audio(sample_rate=16000), 20),
        (audio(sample_rate="1"), 20),
        (audio(sample_rate=0), 0),
        (audio(channel=3), 21),
        (audio(codec=9), 22),
        (audio(data_opt=3), 23),
        (audio(send_rate=30), 24),
        (audio(send_rate=0), 24),
        (audio(send_rate=2000), 0),
        (audio(codec=PayloadType.G722, send_rate=40), 24),
        (media_request(media_type=8, media_params={"transcript": []}), 36),
        (media_request(media_type=8, media_params={"transcript": {"content_type": 2}}), 37),
        (media_request(media_type=8, media_params={"transcript": {"src_language": 99}}), 43),
        (media_request(media_type=8, media_params={"transcript": {"enable_lid": 1}}), 36),
        (media_request(media_type=8, media_params={"transcript": {"src_language": -1}}), 0),
    ],
)
def test_message_3(raw: str, status: int) -> None:
    grant = media_handshake(raw, EXPECTED, allowed=GRANTED, taken=MediaType(0))
    assert grant.answer.status == status, grant.answer.reason


@pytest.mark.parametrize(
    ("section", "params", "status"),
    [
        ("video", {"fps": 25}, 0),
        ("video", {"codec": 5, "fps": 25}, 27),
        ("video", {"codec": 7, "fps": 31}, 30),
        ("video", {"resolution": 0}, 28),
        ("video", {"data_opt": 1}, 29),
        ("video", 1, 25),
        ("deskshare", {"codec": 1}, 33),
        ("deskshare", {"fps": 0}, 35),
        ("deskshare", None, 0),
        ("deskshare", 1, 31),
        ("chat", {"content_type": 2}, 39),
        ("chat", "all", 38),
    ],
)
def test_message_3_for_other_media(section: str, params: Any, status: int) -> None:
    media_type = {"video": 2, "deskshare": 4, "chat": 16}[section]
    raw = media_request(media_type=media_type, media_params={section: params})
    assert media_handshake(raw, EXPECTED, allowed=MediaType(31), taken=MediaType(0)).answer.status == status


def test_an_echo_is_complete_and_only_of_what_is_granted() -> None:
    grant = media_handshake(media_request(media_type=32), EXPECTED, allowed=GRANTED, taken=MediaType(0))
    assert grant.media_type == GRANTED | MediaType.ALL
    assert grant.params.audio is not None
    assert grant.params.audio.send_rate == 20
    assert grant.params.video is None


def test_rtp_with_l16_is_answered_with_raw_pcm() -> None:
    raw = audio(content_type=1, codec=1, data_opt=2)
    grant = media_handshake(raw, EXPECTED, allowed=GRANTED, taken=MediaType(0))
    assert grant.params.audio is not None
    assert grant.params.audio.content_type == 2


def test_null_has_the_default_as_zooms_sdk_sends_it() -> None:
    grant = media_handshake(media_request(media_params=None), EXPECTED, allowed=GRANTED, taken=MediaType(0))
    assert (
        grant.params
        == media_handshake(media_request(media_params={}), EXPECTED, allowed=GRANTED, taken=MediaType(0)).params
    )


def test_a_lenient_server_lowers_a_frame_rate() -> None:
    raw = media_request(media_type=2, media_params={"video": {"codec": 5, "fps": 25}})
    strict, lenient = (
        media_handshake(raw, EXPECTED, allowed=MediaType.VIDEO, taken=MediaType(0), strict=strict)
        for strict in (True, False)
    )
    assert strict.answer.status == 27
    assert lenient.params.video is not None
    assert lenient.params.video.fps == 5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(field=st.sampled_from(["msg_type", "session_id", "media_type", "media_params", "signature"]), value=JSON)
def test_whatever_a_client_sends_is_answered(field: str, value: Any) -> None:
    raw = media_request(**{field: value})
    assert media_handshake(raw, EXPECTED, allowed=GRANTED, taken=MediaType(0)).answer.status in range(48)
    assert signaling_handshake(raw, EXPECTED, occupied=False)[0].status in range(9)


@given(st.binary(max_size=40))
def test_only_objects_are_read(raw: bytes) -> None:
    assert read(raw) is None or isinstance(read(raw), dict)
