"""The codec: messages to text and back, Zoom's variants, and frames that are no messages."""

import contextlib
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol import media_params as mp
from rtmsd.protocol import messages as m
from rtmsd.protocol import variants
from rtmsd.protocol.codec import decode, encode
from rtmsd.protocol.enums import EventType, MediaType, MsgType, SampleRate
from rtmsd.protocol.media_types import MESSAGES
from rtmsd.protocol.products import ID_KEYS, IdKey
from rtmsd.protocol.reading import CorruptKind, Malformed, split
from rtmsd.protocol.unknown import unknown_parts

STREAM_ID = "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c"

# Strategies: one for each message class, of what survives a round trip unchanged

ints = st.integers(-(2**63), 2**63 - 1)
maybe_int = st.none() | ints
texts = st.text(max_size=20)
times = st.integers(10**11, 10**14 - 1)
people = st.builds(m.Participant, user_id=ints, user_name=st.none() | texts, channel_id=st.none() | texts) | st.builds(
    m.Participant, user_name=st.none() | texts, channel_id=texts
)
sessions = st.builds(m.SessionRef, st.sampled_from(ID_KEYS), texts)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | ints | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


def section(params_class: type[Any]) -> st.SearchStrategy[Any]:
    values = {field.name: ints for field in attrs.fields(params_class) if field.type != bool | None}
    flags = {field.name: st.booleans() for field in attrs.fields(params_class) if field.type == bool | None}
    return st.none() | st.builds(params_class, **values, **flags)


media_params = st.builds(
    m.MediaParams,
    audio=section(mp.AudioParams),
    video=section(mp.VideoParams),
    deskshare=section(mp.DeskshareParams),
    transcript=section(mp.TranscriptParams),
    chat=section(mp.ChatParams),
)
handshake: dict[str, st.SearchStrategy[Any]] = {
    "session": sessions,
    "rtms_stream_id": texts,
    "signature": texts,
    "protocol_version": st.just(1),
    "sequence": ints,
}
choices = st.builds(m.EventChoice, event_type=ints, subscribe=st.booleans())
messages: st.SearchStrategy[m.Message] = st.one_of(
    st.builds(m.SignalingHandshakeReq, **handshake, buffer_data=st.none() | st.booleans()),
    st.builds(
        m.SignalingHandshakeResp,
        status_code=ints,
        reason=texts,
        media_urls=st.dictionaries(texts, texts, max_size=3),
        sequence=maybe_int,
    ),
    st.builds(m.EventSubscription, events=st.lists(choices, max_size=3).map(tuple)),
    st.builds(m.ClientReadyAck, rtms_stream_id=texts),
    st.builds(m.StreamStateUpdate, state=ints, reason=maybe_int, timestamp=maybe_int, rtms_stream_id=texts),
    st.builds(m.SessionStateUpdate, rtms_session_id=texts, state=ints, stop_reason=maybe_int, timestamp=maybe_int),
    st.builds(m.SessionStateReq, rtms_session_id=texts),
    st.builds(m.SessionStateResp, rtms_session_id=texts, state=maybe_int, status_code=maybe_int, reason=texts),
    st.builds(m.StreamStateReq, rtms_stream_id=texts),
    st.builds(m.StreamStateResp, rtms_stream_id=texts, state=maybe_int, timestamp=times),
    st.builds(m.StreamCloseReq, rtms_stream_id=texts),
    st.builds(m.StreamCloseResp, rtms_stream_id=texts, status_code=ints, reason=texts, timestamp=maybe_int),
    st.builds(m.VideoSubscriptionReq, user_id=ints, subscribe=st.booleans(), timestamp=ints),
    st.builds(m.VideoSubscriptionResp, user_id=maybe_int, status_code=ints, reason=texts, timestamp=maybe_int),
    st.builds(
        m.DataHandshakeReq,
        **handshake,
        media_type=ints,
        media_params=st.none() | media_params,
        payload_encryption=st.booleans(),
    ),
    st.builds(
        m.DataHandshakeResp,
        status_code=ints,
        reason=texts,
        media_params=st.none() | media_params,
        payload_encrypted=st.booleans(),
    ),
    st.builds(m.KeepAliveReq, timestamp=json_values, sequence=maybe_int),
    st.builds(m.KeepAliveResp, timestamp=json_values, sequence=maybe_int),
    st.builds(m.MetaData, number=st.integers(23, 27), content=json_values),
    st.builds(
        m.UnknownMessage,
        number=st.integers(30, 2**31) | st.integers(-5, 0),
        fields=st.dictionaries(texts.filter(lambda key: key != "msg_type"), json_values, max_size=3),
    ),
)


@given(messages)
def test_what_is_sent_is_read_back(message: m.Message) -> None:
    text = encode(message)
    assert "\n" not in text
    assert decode(text) == message
    assert decode(text.encode()) == message
    assert decode(memoryview(text.encode())) == message


@given(event_type=ints, timestamp=times, participants=st.lists(people, max_size=3).map(tuple))
def test_an_event_is_read_back(event_type: int, timestamp: int, participants: tuple[m.Participant, ...]) -> None:
    sent = m.EventUpdate(event_type=event_type, timestamp=timestamp, participants=participants)
    read = decode(encode(sent))
    assert isinstance(read, m.EventUpdate)
    assert attrs.evolve(read, details={}) == sent
    assert json.loads(encode(read)) == json.loads(encode(sent))


def decoded(raw: str | bytes) -> m.Message | CorruptKind:
    """Return the message of a frame, or what is wrong with it."""
    try:
        return decode(raw)
    except Malformed as exc:
        return exc.kind


@given(st.binary() | texts | json_values.map(json.dumps))
def test_nothing_but_malformed_is_raised_for_anything(raw: str | bytes) -> None:
    with contextlib.suppress(Malformed):
        decode(raw)


FIELD_NAMES = sorted(
    {field.name for cls in m.Message.__subclasses__() for field in attrs.fields(cls)}
    | {*ID_KEYS, "event", "media_server", "payload_encryption", "content"}
)
NESTED = st.dictionaries(
    st.sampled_from(["event_type", "participants", "participant_info", "user_id", "server_urls", "audio", "codec"]),
    json_values,
)


@given(st.integers(-1, 31), st.dictionaries(st.sampled_from(FIELD_NAMES), json_values | NESTED, max_size=8))
def test_wrong_types_in_the_right_places(number: int, fields: dict[str, Any]) -> None:
    raw = json.dumps({**fields, "msg_type": number})
    outcome = decoded(raw)
    if isinstance(outcome, m.Message):
        assert decode(encode(outcome)) == outcome
    else:
        assert outcome in {CorruptKind.WRONG_TYPE, CorruptKind.UNEXPECTED}


# How we write


def test_enums_are_numbers_and_what_is_not_set_is_left_out() -> None:
    request = m.DataHandshakeReq(
        session=m.SessionRef("session_id", "Kz9+aB/cD3eFgHiJkLmN0w=="),
        rtms_stream_id=STREAM_ID,
        signature="ab",
        media_type=MediaType.AUDIO | MediaType.TRANSCRIPT,
        media_params=m.MediaParams(audio=mp.AudioParams(sample_rate=SampleRate.RATE_8K)),
        extra={"meeting_uuid": "Kz9+aB/cD3eFgHiJkLmN0w=="},
    )
    assert encode(request) == (
        '{"meeting_uuid":"Kz9+aB/cD3eFgHiJkLmN0w==","msg_type":3,"session_id":"Kz9+aB/cD3eFgHiJkLmN0w==",'
        '"rtms_stream_id":"9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c","signature":"ab",'
        '"media_type":9,"media_params":{"audio":{"sample_rate":0}},"payload_encryption":false,'
        '"protocol_version":1,"sequence":1}'
    )


def test_a_signature_is_not_shown() -> None:
    request = m.SignalingHandshakeReq(
        session=m.SessionRef("session_id", "x"), rtms_stream_id=STREAM_ID, signature="secret!"
    )
    assert "secret!" not in repr(request)
    with pytest.raises(Malformed) as caught:
        decode('{"msg_type":1,"session_id":"x","signature":"secret!"}')
    assert "secret!" not in str(caught.value)


def test_details_of_an_event_have_the_last_word() -> None:
    flat = m.EventUpdate(
        event_type=EventType.ACTIVE_SPEAKER_CHANGE, timestamp=7, details={"user_id": 5, "user_name": "Ana"}
    )
    assert encode(flat) == '{"msg_type":6,"event":{"event_type":2,"timestamp":7,"user_id":5,"user_name":"Ana"}}'


# How we read


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"msg_type":2,"protocol_version":1,"sequence":1,"status_code":3,"reason":"invalid signature"}',
            m.SignalingHandshakeResp(status_code=3, reason="invalid signature", protocol_version=1, sequence=1),
        ),
        (
            '{"msg_type":2,"status_code":0,"reason":null,"media_server":{"server_urls":{"all":"wss://a","x":1}}}',
            m.SignalingHandshakeResp(status_code=0, media_urls={"all": "wss://a"}),
        ),
        (
            '{"msg_type":2,"status_code":0,"media_server":{"server_urls":"wss://a","srtp_keys":{}}}',
            m.SignalingHandshakeResp(status_code=0, media_urls={"all": "wss://a"}),
        ),
        (
            '{"msg_type":4,"status_code":"0","payload_encryption":true}',
            m.DataHandshakeResp(status_code=0, payload_encrypted=True),
        ),
        (
            '{"msg_type":4,"status_code":0,"payload_encrypted":null,"payload_encryption":false}',
            m.DataHandshakeResp(status_code=0),
        ),
        (
            '{"msg_type":8,"state":2,"reason":"14","timestamp":1790000301000}',
            m.StreamStateUpdate(state=2, reason=14, timestamp=1790000301000),
        ),
        (
            '{"msg_type":9,"rtms_session_id":"rs-01","state":5,"stop_reason":2,"reason":3,"timestamp":1}',
            m.SessionStateUpdate(rtms_session_id="rs-01", state=5, stop_reason=2, timestamp=1),
        ),
        (
            '{"msg_type":9,"rtms_session_id":"rs-01","state":5,"reason":3}',
            m.SessionStateUpdate(rtms_session_id="rs-01", state=5, stop_reason=3),
        ),
        (
            '{"msg_type":11,"rtms_session_id":"rs-01","state":2,"timestamp":1790000500000}',
            m.SessionStateResp(rtms_session_id="rs-01", state=2, timestamp=1790000500000),
        ),
        (
            '{"msg_type":20,"rtms_stream_id":"9f2c","state":1,"timestamp":1790000500}',
            m.StreamStateResp(rtms_stream_id="9f2c", state=1, timestamp=1790000500000),
        ),
        (
            '{"msg_type":22,"rtms_stream_id":"9f2c","status_code":0,"reason":"OK","timestamp":1790000600000}',
            m.StreamCloseResp(rtms_stream_id="9f2c", reason="OK", timestamp=1790000600000),
        ),
        (
            '{"msg_type":29,"user_id":"16778240","status_code":44,"reason":"OK","timestamp":1790000010020}',
            m.VideoSubscriptionResp(user_id=16778240, status_code=44, reason="OK", timestamp=1790000010020),
        ),
        ('{"msg_type":9,"session_id":"rs-01","state":2}', m.SessionStateUpdate(rtms_session_id="rs-01", state=2)),
        ('{"msg_type":9,"state":2}', m.SessionStateUpdate(state=2)),
        ('{"msg_type":8,"state":1,"timestamp":1790000301.5}', m.StreamStateUpdate(state=1, timestamp=1790000301500)),
        ('{"msg_type":"12","timestamp":1790000020000}', m.KeepAliveReq(timestamp=1790000020000)),
        ('{"msg_type":12,"timestamp":"17","sequence":3}', m.KeepAliveReq(timestamp="17", sequence=3)),
        ('{"msg_type":12}', m.KeepAliveReq()),
        ('{"msg_type":23,"content":{"a":1}}', m.MetaData(number=23, content={"a": 1})),
        ('{"msg_type":99,"a":1}', m.UnknownMessage(number=99, fields={"a": 1})),
        ('{"msg_type":true}', m.UnknownMessage(number=None, fields={"msg_type": True})),
        ('{"a":1}', m.UnknownMessage(number=None, fields={"a": 1})),
    ],
)
def test_variants(text: str, expected: m.Message) -> None:
    assert decode(text) == expected


@pytest.mark.parametrize(
    ("event", "participants"),
    [
        (
            '{"event_type":3,"timestamp":5,"participants":[{"user_id":16778240,"user_name":"Ana"},{"user_id":"2"}]}',
            (m.Participant(user_id=16778240, user_name="Ana"), m.Participant(user_id=2)),
        ),
        ('{"event_type":2,"timestamp":5,"user_id":0,"user_name":"Bo"}', (m.Participant(user_id=0, user_name="Bo"),)),
        ('{"event_type":3,"timestamp":5,"participants":[7,{"user_name":"nobody"},{"user_id":true}]}', ()),
        (
            '{"event_type":10,"event_ts":5,"participant_info":{"channel_id":"c1","user_id":"uX","display_name":"Al"}}',
            (m.Participant(channel_id="c1", user_name="Al"),),
        ),
        ('{"event_type":10,"event_ts":5,"paticipant_info":{"channel_id":12}}', (m.Participant(channel_id="12"),)),
        ('{"event_type":7,"timestamp":"5","participants":null}', ()),
    ],
)
def test_people_of_an_event_in_any_shape(event: str, participants: tuple[m.Participant, ...]) -> None:
    message = decode(f'{{"msg_type":6,"event":{event}}}')
    assert isinstance(message, m.EventUpdate)
    assert message.timestamp == 5
    assert message.participants == participants
    assert message.details == json.loads(event)


@pytest.mark.parametrize("key", ID_KEYS)
def test_the_id_may_have_any_products_key(key: IdKey) -> None:
    message = decode(f'{{"msg_type":1,"{key}":" a/+=","rtms_stream_id":"r","signature":"s"}}')
    assert isinstance(message, m.SignalingHandshakeReq)
    assert message.session == m.SessionRef(key, " a/+=")
    assert not message.extra


def test_a_second_id_and_unknown_and_unusable_fields_are_kept_aside() -> None:
    message = decode(
        '{"msg_type":1,"session_id":"x","meeting_uuid":"y","rtms_stream_id":"r","signature":"s",'
        '"sequence":"first","buffer_data":1,"ui_state":{},"nothing":null}'
    )
    assert isinstance(message, m.SignalingHandshakeReq)
    assert message.session == m.SessionRef("session_id", "x")
    assert message.buffer_data is None
    assert message.extra == {"meeting_uuid": "y", "sequence": "first", "buffer_data": 1, "ui_state": {}}


def test_one_unusable_parameter_does_not_spoil_the_others() -> None:
    message = decode('{"msg_type":4,"status_code":0,"media_params":{"audio":{"codec":"L16","send_rate":40},"chat":[]}}')
    assert isinstance(message, m.DataHandshakeResp)
    assert message.media_params == m.MediaParams(audio=mp.AudioParams(send_rate=40))
    assert message.extra == {"media_params.audio.codec": "L16", "media_params.chat": []}


def test_what_is_unknown_deep_in_a_handshake_is_kept_aside_by_its_path() -> None:
    media = decode(
        '{"msg_type":4,"status_code":0,"media_params":{"audio":{"codec":77,"gain":{"db":3}},"smell":{},"video":null}}'
    )
    assert media.extra == {"media_params.audio.gain": {"db": 3}, "media_params.smell": {}}
    assert {what.name for what, _ in unknown_parts(media)} == {
        "data_hand_shake_resp.media_params.audio.gain",
        "data_hand_shake_resp.media_params.smell",
        "data_hand_shake_resp.media_params.audio.codec=77",
    }
    signaling = decode(
        '{"msg_type":2,"status_code":0,"media_server":{"region":"north","server_urls":{"all":"wss://z"}}}'
    )
    assert isinstance(signaling, m.SignalingHandshakeResp)
    assert (signaling.media_urls, signaling.extra) == ({"all": "wss://z"}, {"media_server.region": "north"})
    [(_, part)] = unknown_parts(signaling)
    assert part["value"] == "str", "of a handshake no more than the type"


@pytest.mark.parametrize("server", ['"wss://z"', '{"server_urls":["wss://z"]}'])
def test_addresses_that_cannot_be_read_are_kept_aside(server: str) -> None:
    message = decode('{"msg_type":2,"status_code":0,"media_server":' + server + "}")
    assert isinstance(message, m.SignalingHandshakeResp)
    assert message.media_urls == {}
    assert len(message.extra) == 1


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    message = decode('{"msg_type":6,"event":{"event_type":2,"user_id":1,"user_name":"A\\ud83d"}}')
    assert isinstance(message, m.EventUpdate)
    assert message.participants[0].user_name == "A?"
    assert decode('{"msg_type":7,"rtms_stream_id":"\\ud83d\\ude00"}') == m.ClientReadyAck(rtms_stream_id="\U0001f600")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"\xff{}", CorruptKind.BAD_UTF8),
        (b'{"msg_type":12,"timestamp":"\xc3', CorruptKind.BAD_UTF8),
        ("", CorruptKind.BAD_JSON),
        ('{"msg_type":12', CorruptKind.BAD_JSON),
        ('{"msg_type":12,"timestamp":NaN}', CorruptKind.BAD_JSON),
        ('{"msg_type":12,"timestamp":1e999}', CorruptKind.BAD_JSON),
        ('{"msg_type":12,"timestamp":' + "9" * 5000 + "}", CorruptKind.BAD_JSON),
        ("[" * 100_000, CorruptKind.BAD_JSON),
        ('{"msg_type":12,"timestamp":' + "[" * 40 + "]" * 40 + "}", CorruptKind.BAD_JSON),
        ('{"msg_type":12,"timestamp":' + '{"a":' * 40 + "1" + "}" * 40 + "}", CorruptKind.BAD_JSON),
        ("[]", CorruptKind.NOT_OBJECT),
        ("null", CorruptKind.NOT_OBJECT),
        ("12", CorruptKind.NOT_OBJECT),
        ('{"msg_type":8}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":8,"state":true}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":8,"state":1.5}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":8,"state":null}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":6,"event":[]}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":6}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":5,"events":""}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":5,"events":[{"event_type":2}]}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":1,"rtms_stream_id":"r","signature":"s","session":{"key":"a","id":"b"}}', CorruptKind.WRONG_TYPE),
        ('{"msg_type":28,"user_id":1,"subscribe":1,"timestamp":1}', CorruptKind.WRONG_TYPE),
        *((f'{{"msg_type":{number},"content":{{}}}}', CorruptKind.UNEXPECTED) for number in range(14, 19)),
    ],
)
def test_malformed_frames_have_a_kind(raw: str | bytes, kind: CorruptKind) -> None:
    with pytest.raises(Malformed) as caught:
        decode(raw)
    assert caught.value.kind is kind


def test_every_message_type_has_its_place() -> None:
    """Media data go elsewhere; all other types of the protocol are known here."""
    for number in MsgType:
        if number is MsgType.UNDEFINED or number in MESSAGES:
            continue
        outcome = decoded(f'{{"msg_type":{number:d}}}')
        is_known = isinstance(outcome, m.Message) and not isinstance(outcome, m.UnknownMessage)
        assert is_known or outcome is CorruptKind.WRONG_TYPE  # known, but it has required fields


def test_a_huge_list_of_participants_is_read_only_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counted(*args: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return split(*args)

    monkeypatch.setattr("rtmsd.protocol.variants.split", counted)
    people = [{"user_id": number, "user_name": "x"} for number in range(50_000)]
    message = decode(json.dumps({"msg_type": 6, "event": {"event_type": 3, "participants": people}}))
    assert isinstance(message, m.EventUpdate)
    assert len(message.participants) == variants.MAX_PEOPLE
    assert looked_at <= variants.MAX_PEOPLE + 2


def test_a_number_of_more_than_64_bits_is_none() -> None:
    message = decode('{"msg_type": 8, "state": 4, "reason": 1%s}' % ("0" * 30))
    assert isinstance(message, m.StreamStateUpdate)
    assert message.reason is None
