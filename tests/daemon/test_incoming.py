"""Messages on signaling whose fields have names of ours."""

import json
from typing import Any
from unittest.mock import Mock, call

import pytest

from rtmsd.protocol.codec import decode
from rtmsd.protocol.messages import EventUpdate
from rtmsd.protocol.unknown import UNEXPECTED, Unknown, UnknownKind
from rtmsd.streams.drivers.messages import MessageWriter


def test_an_event_with_our_own_field_names_is_written_down() -> None:
    lines: list[tuple[str, dict[str, Any]]] = []

    class Recorder(Mock):
        def event(self, kind: str, zoom_ms: int | None, **fields: Any) -> None:
            lines.append((kind, fields))

    message = EventUpdate(event_type=2, details={"event_type": 2, "kind": 1, "self": 2, "at_ms": 3})
    MessageWriter(Recorder(), "session").write(message)
    assert lines == [("active_speaker_change", {"zoom_kind": 1, "zoom_self": 2, "zoom_at_ms": 3})]


T = 1_790_000_001_300


def heard(text: str, product: str = "session") -> Mock:
    """Return the recorder of a stream after a message."""
    recorder = Mock()
    MessageWriter(recorder, product).write(decode(text))
    return recorder


@pytest.mark.parametrize("timestamp", [T, T * 1000, T * 1_000_000, str(T), T / 1000, float(T)])
def test_times_of_events_and_states_in_any_unit(timestamp: object) -> None:
    time = json.dumps(timestamp)
    joined = heard(f'{{"msg_type":6,"event":{{"event_type":3,"timestamp":{time},"participants":[{{"user_id":1}}]}}}}')
    assert joined.participants_joined.call_args.args[1] == T
    joined.heard.assert_called_once_with(T)
    assert heard(f'{{"msg_type":6,"event":{{"event_type":1,"timestamp":{time}}}}}').first_packet.call_args.args == (T,)
    assert heard(f'{{"msg_type":8,"state":1,"timestamp":{time}}}').events.stream_state_update.call_args.args[2] == T
    assert (
        heard(
            f'{{"msg_type":9,"rtms_session_id":"a","state":2,"timestamp":{time}}}'
        ).events.session_state.call_args.args[3]
        == T
    )


@pytest.mark.parametrize("number", [8, 10])
@pytest.mark.parametrize("key", ["participant_info", "paticipant_info"])
def test_a_contact_centers_callers_join_and_leave(number: int, key: str) -> None:
    event = f'"event_ts":{T},"{key}":{{"channel_id":"c1","user_id":"7","display_name":"Al"}}'
    joined = heard(f'{{"msg_type":6,"event":{{"event_type":{number},{event}}}}}', "contact_center")
    assert joined.participants_joined.call_args.args[1] == T
    left = heard(f'{{"msg_type":6,"event":{{"event_type":{number + 1},{event}}}}}', "contact_center")
    assert left.participants_left.call_args.args[1] == T
    meeting = heard(f'{{"msg_type":6,"event":{{"event_type":{number},{event}}}}}', "meeting")
    assert not meeting.participants_joined.called


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ('{"event_code":2001}', "event_code_2001"),
        ('{"event_code":"../x"}', "event_code_odd"),
        ('{"event_code":[1]}', "event_without_type"),
        ("{}", "event_without_type"),
    ],
)
def test_an_event_without_a_type_is_kept_and_counted(event: str, kind: str) -> None:
    recorder = heard(f'{{"msg_type":6,"event":{event}}}')
    assert recorder.unknown.take.call_args.args[0].name == kind


def test_a_session_state_without_an_id_is_kept_and_counted() -> None:
    recorder = heard('{"msg_type":9,"state":3}')
    assert recorder.events.session_state.call_args.args[:2] == (None, 3)
    recorder.media.unknown.assert_called_once_with(UNEXPECTED)


def test_ivr_events_are_known_in_contact_centers_alone() -> None:
    text = '{"msg_type":6,"event":{"event_type":30,"event_ts":1790000001300,"flow_id":"f","digits":"123"}}'
    known = heard(text, "contact_center")
    assert known.event.call_args == call("event_30", T, flow_id="f", digits="123")
    assert not known.unknown.take.called
    unknown = heard(text, "meeting")
    assert unknown.unknown.take.call_args.args[:2] == (
        Unknown(UnknownKind.EVENT, "event_30"),
        {"flow_id": "f", "digits": "123"},
    )


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ('{"msg_type":31,"a":{"b":1},"kind":2}', {"message_31": {"a": {"b": 1}, "zoom_kind": 2}}),
        ('{"msg_type":23,"content":{"tone":4}}', {"message_23": {"content": {"tone": 4}}}),
        ('{"hello":1}', {"message_without_type": {"hello": 1}}),
        (
            '{"msg_type":8,"state":77,"reason":99,"ui_state":1}',
            {
                "stream_state_update.ui_state": {"message": "stream_state_update", "field": "ui_state", "value": 1},
                "stream_state_update.state=77": {"message": "stream_state_update", "field": "state", "value": 77},
                "stream_state_update.reason=99": {"message": "stream_state_update", "field": "reason", "value": 99},
            },
        ),
        (
            '{"msg_type":2,"status_code":0,"new key/":"secret"}',
            {
                "signaling_hand_shake_resp.new_key_": {
                    "message": "signaling_hand_shake_resp",
                    "field": "new_key_",
                    "value": "str",
                }
            },
        ),
        ('{"msg_type":8,"state":1,"reason":6}', {}),
    ],
)
def test_what_is_unknown_is_kept_under_its_name(text: str, kinds: dict[str, Any]) -> None:
    taken = heard(text).unknown.take.call_args_list
    assert {each.args[0].name: each.args[1] for each in taken} == kinds
