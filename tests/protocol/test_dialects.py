"""Disagreements between sources of the protocol: the rows of the reference's table, each tolerated.

Rows that other tests hold already: 7 test_a_keep_alive_before_the_answer_is_answered and test_keep_alives,
11 test_signature, 12 test_policy, 19 test_status_codes, 25 test_windows, 27 test_the_raw_bytes_are_signed_not_the_json.
Rows that are about the server alone: 14, 16 and 26 are numbers, which we take from one enumeration.
"""

import base64
import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.commands import StartStream, StopStream, StreamCommand
from rtmsd.config import MediaConfig
from rtmsd.errors import HandshakeRejected
from rtmsd.protocol import messages as m
from rtmsd.protocol.codec import decode, encode
from rtmsd.protocol.enums import EventType, MediaType, StopReason
from rtmsd.protocol.media import MediaConnection, MediaState
from rtmsd.protocol.media_data import Corrupt, Raw, Text, UserId, decode_batch
from rtmsd.protocol.reading import CorruptKind, Malformed
from rtmsd.protocol.signaling import SignalingConnection, SignalingState
from rtmsd.streams.drivers.signaling import subscription
from rtmsd.webhook.events import parse
from tests.protocol.test_codec import json_values

SESSION = m.SessionRef("session_id", "Kz9+aB/cD3eFgHiJkLmN0w==")
STREAM = "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c"
URL = "wss://127.0.0.1:9443/signal"
ACCEPTED = '{"msg_type":2,"status_code":0,"media_server":{"server_urls":{"all":"wss://127.0.0.1:9444/all"}}}'
AUDIO = b"\1\2\3\4"
MS = 1790000010020


@attrs.define
class Taken:
    """Whatever a media connection brings."""

    calls: list[tuple[Any, ...]] = attrs.field(factory=list)

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self.calls.append(("audio", user_id, user_name, timestamp_ms, data))

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self.calls.append(("video", user_id, user_name, timestamp_ms, data))

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self.calls.append(("share", user_id, user_name, timestamp_ms, data))

    def text(self, data: Text) -> None:
        self.calls.append((data.media, data))

    def control(self, raw: Raw) -> None:
        self.calls.append(("control", raw))

    def corrupt(self, problem: Corrupt) -> None:
        self.calls.append(("corrupt", problem))


def media(msg_type: object, content: object, **beside: object) -> tuple[Any, ...]:
    taken = Taken()
    decode_batch([json.dumps({"msg_type": msg_type, "content": content, **beside}).encode()], taken, taken.control)
    (call,) = taken.calls
    return call


def webhook(event: str, payload: dict[str, Any]) -> StreamCommand:
    body = json.dumps({"event": event, "event_ts": 1790000000123, "payload": payload}).encode()
    command = parse(body, "main")
    assert isinstance(command, StreamCommand)
    return command


def signaling(session: m.SessionRef = SESSION, **options: bool) -> SignalingConnection:
    connection = SignalingConnection(session, STREAM, "7823", **options)
    connection.hello()
    return connection


def up() -> SignalingConnection:
    connection = signaling()
    connection.receive(ACCEPTED)
    connection.to_send()
    return connection


def asking(types: MediaType = MediaType.AUDIO) -> MediaConnection:
    connection = MediaConnection(SESSION, STREAM, "7823", types, MediaConfig().params())
    connection.hello()
    return connection


def sent(connection: SignalingConnection | MediaConnection) -> dict[str, Any]:
    (text,) = connection.to_send()
    fields: dict[str, Any] = json.loads(text)
    return fields


FIELDS = {"meeting_uuid": SESSION.id, "rtms_stream_id": STREAM, "server_urls": URL}


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        pytest.param("meeting.rtms_started", FIELDS, id="row-01-flat"),
        pytest.param("meeting.rtms_started", {"account_id": "A", "object": FIELDS}, id="row-01-nested"),
        pytest.param("meeting.rtms_started", {**FIELDS, "object": {"id": 7}}, id="row-01-another-object"),
        pytest.param("meeting.rtms_started", {**FIELDS, "signature": "ab", "host_id": "h"}, id="row-02-more-fields"),
        pytest.param("webinar.rtms_started", FIELDS, id="row-04-webinar-as-meeting"),
        pytest.param(
            "webinar.rtms_started",
            {"webinar_uuid": SESSION.id, **{k: v for k, v in FIELDS.items() if k != "meeting_uuid"}},
            id="row-04-webinar",
        ),
        pytest.param("meeting.rtms.started", FIELDS, id="dotted-name"),
    ],
)
def test_a_start_in_any_shape(event: str, payload: dict[str, Any]) -> None:
    command = webhook(event, payload)
    assert isinstance(command, StartStream)
    assert (command.session.id, command.rtms_stream_id, command.server_urls) == (SESSION.id, STREAM, URL)
    assert "signature" not in command.details


@pytest.mark.parametrize("reason", [pytest.param(each, id=f"row-28-{each.name}") for each in StopReason])
def test_a_stop_for_any_reason(reason: StopReason) -> None:
    for value in (int(reason), str(int(reason)), float(reason)):
        command = webhook("meeting.rtms.stopped", {**FIELDS, "stop_reason": value})
        assert isinstance(command, StopStream)
        assert command.stop_reason == reason
    assert up().receive(json.dumps({"msg_type": 8, "state": 4, "reason": int(reason)})) is not None


@pytest.mark.parametrize("second", [pytest.param(False, id="row-03-usual"), pytest.param(True, id="row-03-switched")])
def test_the_id_in_a_handshake(second: bool) -> None:
    asked = sent(signaling(also_meeting_uuid=second))
    assert asked["session_id"] == SESSION.id
    assert asked.get("meeting_uuid") == (SESSION.id if second else None)


def test_row_05_we_are_ready_on_signaling_alone() -> None:
    ready = m.ClientReadyAck(rtms_stream_id=STREAM)
    connection = up()
    connection.send(ready)
    assert sent(connection) == {"msg_type": 7, "rtms_stream_id": STREAM}


def test_rows_06_20_29_30_32_what_a_media_handshake_says() -> None:
    asked = sent(asking())
    assert (asked["msg_type"], asked["sequence"], asked["protocol_version"]) == (3, 1, 1)
    assert asked["media_params"]["audio"]["content_type"] == 2


@pytest.mark.parametrize("number", [pytest.param(2, id="row-09-message-2"), pytest.param(4, id="row-09-message-4")])
def test_a_refusal_of_media(number: int) -> None:
    connection = asking()
    with pytest.raises(HandshakeRejected) as caught:
        connection.receive(json.dumps({"msg_type": number, "status_code": "16", "reason": "exists"}))
    assert (caught.value.status_code, connection.state) == (16, MediaState.CLOSED)


@pytest.mark.parametrize("name", ["payload_encrypted", "payload_encryption"])
@pytest.mark.parametrize(
    ("flag", "expected"),
    [(value, False) for value in (False, None, 0, "", "false", "0")]
    + [(value, True) for value in (True, 1, "true", "1")],
)
def test_row_10_the_flag_of_encryption(name: str, flag: object, expected: bool) -> None:
    connection = asking()
    connection.receive(json.dumps({"msg_type": 4, "status_code": 0, name: flag}))
    assert bool(connection.unusable) is expected


def test_rows_13_17_18_what_we_subscribe_to() -> None:
    message = subscription("session", MediaType.AUDIO | MediaType.VIDEO | MediaType.CHAT)
    wanted = {choice.event_type for choice in message.events}
    assert json.loads(encode(message))["msg_type"] == 5
    assert not wanted & {EventType.FIRST_PACKET_TIMESTAMP, EventType.MEDIA_CONNECTION_INTERRUPTED}


DATA = base64.b64encode(AUDIO).decode()


@pytest.mark.parametrize(
    ("content", "beside"),
    [
        pytest.param({"user_id": 7, "user_name": "Ana", "timestamp": MS, "data": DATA}, {}, id="row-15-object"),
        pytest.param(DATA, {"user_id": 7, "user_name": "Ana", "timestamp": MS}, id="row-15-string"),
        pytest.param({"user_id": "7", "user_name": "Ana", "timestamp": str(MS), "data": DATA}, {}, id="row-21-digits"),
        pytest.param(
            {"user_id": 7.0, "user_name": "Ana", "timestamp": float(MS), "data": DATA}, {}, id="row-21-floats"
        ),
    ],
)
@pytest.mark.parametrize("msg_type", [14, "14", 14.0])
def test_audio_in_any_shape(msg_type: object, content: object, beside: dict[str, object]) -> None:
    assert media(msg_type, content, **beside) == ("audio", 7, "Ana", MS, AUDIO)


@pytest.mark.parametrize(
    ("event", "participant"),
    [
        pytest.param({"participants": [{"user_id": 7}]}, m.Participant(user_id=7), id="row-21-int"),
        pytest.param({"participants": [{"user_id": "7"}]}, m.Participant(user_id=7), id="row-21-string"),
        pytest.param({"participants": {"user_id": 7.0}}, m.Participant(user_id=7), id="row-21-no-list"),
        pytest.param({"participant_info": {"channel_id": "1"}}, m.Participant(channel_id="1"), id="row-22-usual"),
        pytest.param({"paticipant_info": {"channel_id": 1}}, m.Participant(channel_id="1"), id="row-22-misspelt"),
    ],
)
@pytest.mark.parametrize("time", [pytest.param("timestamp", id="row-34-usual"), pytest.param("event_ts", id="row-34")])
def test_people_of_an_event(event: dict[str, Any], participant: m.Participant, time: str) -> None:
    message = up().receive(json.dumps({"msg_type": 6, "event": {"event_type": 3, time: MS, **event}}))
    assert isinstance(message, m.EventUpdate)
    assert (message.participants, message.timestamp) == ((participant,), MS)


def test_row_24_a_shared_screen_comes_once_a_second() -> None:
    assert MediaConfig().share.params().fps == 1


def test_row_31_both_fields_of_a_keep_alive_are_echoed() -> None:
    connection = up()
    connection.receive(json.dumps({"msg_type": 12, "timestamp": MS, "sequence": 4}))
    assert sent(connection) == {"msg_type": 13, "timestamp": MS, "sequence": 4}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"data": {"data": "hi", "message_id": "m1"}}, id="row-33-inside"),
        pytest.param({"data": "hi", "message_id": "m1"}, id="row-33-beside"),
        pytest.param({"data": '{"data":"hi","message_id":"m1"}'}, id="row-33-encoded"),
    ],
)
def test_row_23_chat(content: dict[str, Any]) -> None:
    name, chat = media(18, {"user_id": 7, "timestamp": MS, **content})
    assert (name, chat.text, chat.message_id) == ("chat", "hi", "m1")


def test_row_33_a_chat_without_data() -> None:
    name, chat = media(18, {"user_id": 7, "timestamp": MS, "message_id": "m1"})
    assert (name, chat.text, chat.message_id) == ("chat", "", "m1")


@pytest.mark.parametrize("key", [pytest.param("stop_reason", id="row-08-usual"), pytest.param("reason", id="row-35")])
@pytest.mark.parametrize(
    "name", [pytest.param("rtms_session_id", id="row-36-usual"), pytest.param("session_id", id="36")]
)
def test_a_sub_session_stopped(key: str, name: str) -> None:
    message = up().receive(json.dumps({"msg_type": 9, "state": 5, key: 3, name: "rs"}))
    assert message == m.SessionStateUpdate(rtms_session_id="rs", state=5, stop_reason=3)


def test_row_36_a_sub_session_without_a_name_is_an_event() -> None:
    assert up().receive('{"msg_type":9,"state":2}') == m.SessionStateUpdate(state=2)


@pytest.mark.parametrize("start", [pytest.param(MS, id="row-37-start"), pytest.param(None, id="row-37-no-start")])
@pytest.mark.parametrize("attribute", [1, 2, 3])
def test_a_revision_of_an_utterance(start: int | None, attribute: int) -> None:
    content = {"user_id": 7, "timestamp": MS, "start_time": start, "attribute": attribute, "data": "hi"}
    name, data = media(17, content)
    assert (name, data.user_id, data.start_ms, data.timestamp_ms, data.attribute) == (
        "transcript",
        7,
        start,
        MS,
        attribute,
    )


def test_media_servers_as_one_string() -> None:
    connection = signaling()
    message = connection.receive('{"msg_type":2,"status_code":0,"media_server":{"server_urls":"wss://127.0.0.1/a"}}')
    assert isinstance(message, m.SignalingHandshakeResp)
    assert message.media_urls == {"all": "wss://127.0.0.1/a"}


@pytest.mark.parametrize("unit", [1, 1000, 1_000_000])
def test_times_of_an_event_keep_their_unit_until_they_are_read(unit: int) -> None:
    message = up().receive(json.dumps({"msg_type": 6, "event": {"event_type": 1, "timestamp": str(MS * unit)}}))
    assert isinstance(message, m.EventUpdate)
    assert message.timestamp == MS * unit


# Anything in any field

ODD = json_values | st.floats(allow_nan=False, allow_infinity=False) | st.integers().map(str)
CONTENT = st.dictionaries(
    st.sampled_from(
        [
            "user_id",
            "user_name",
            "channel_id",
            "timestamp",
            "data",
            "length",
            "start_time",
            "end_time",
            "language",
            "attribute",
            "sender",
            "message_id",
            "files",
        ]
    ),
    ODD,
)
EVENT = st.dictionaries(
    st.sampled_from(
        [
            "event_type",
            "event_code",
            "timestamp",
            "event_ts",
            "participants",
            "participant_info",
            "paticipant_info",
            "user_id",
            "user_name",
            "channel_id",
            "media_type",
        ]
    ),
    ODD | st.lists(st.dictionaries(st.sampled_from(["user_id", "user_name", "channel_id"]), ODD), max_size=2),
)
KNOWN: dict[str, st.SearchStrategy[Any]] = {
    "event": EVENT | ODD,
    "content": CONTENT | ODD,
    "media_server": st.fixed_dictionaries({}, optional={"server_urls": ODD}) | ODD,
    "media_params": st.fixed_dictionaries({}, optional={"audio": ODD, "video": ODD, "chat": ODD}) | ODD,
    **dict.fromkeys(
        [
            "rtms_stream_id",
            "rtms_session_id",
            "session_id",
            "state",
            "reason",
            "stop_reason",
            "status_code",
            "timestamp",
            "sequence",
            "user_id",
            "protocol_version",
            "payload_encrypted",
            "payload_encryption",
            "events",
        ],
        ODD,
    ),
}
NUMBERS = st.integers(0, 45) | st.integers(0, 45).map(str) | st.integers(0, 45).map(float) | ODD
FRAMES = st.fixed_dictionaries({"msg_type": NUMBERS}, optional=KNOWN)


@given(FRAMES)
def test_nothing_but_malformed_is_raised_for_odd_fields(fields: dict[str, Any]) -> None:
    kind = None
    try:
        decode(json.dumps(fields))
    except Malformed as exc:
        kind = exc.kind
    assert kind in {None, CorruptKind.WRONG_TYPE, CorruptKind.UNEXPECTED}


@given(st.lists(FRAMES, max_size=5))
def test_signaling_survives_odd_fields_and_counts_them(frames: list[dict[str, Any]]) -> None:
    connection = up()
    for fields in frames:
        known = connection.counts.total()
        message = connection.receive(json.dumps(fields))
        assert connection.state is SignalingState.UP
        assert message is not None or connection.counts.total() == known + 1
    connection.to_send()
    connection.receive('{"msg_type":12,"timestamp":1}')
    assert sent(connection) == {"msg_type": 13, "timestamp": 1}


@given(st.lists(FRAMES, max_size=5))
def test_media_survive_odd_fields_each_message_is_one_call(frames: list[dict[str, Any]]) -> None:
    taken = Taken()
    decode_batch([json.dumps(fields).encode() for fields in frames], taken, taken.control)
    assert len(taken.calls) == len(frames)
    connection = asking()
    connection.receive('{"msg_type":4,"status_code":0}')
    for name, *arguments in taken.calls:
        if name == "control":
            connection.receive(arguments[0])
    assert connection.state is MediaState.STREAMING
