"""Messages on signaling whose fields have names of ours."""

import json
from typing import Any
from unittest.mock import Mock

import pytest

from rtmsd.protocol.codec import decode
from rtmsd.protocol.messages import EventUpdate
from rtmsd.streams.drivers.messages import MAX_UNKNOWN_EVENTS, MessageWriter


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


def test_events_of_unknown_kinds_are_written_up_to_a_bound() -> None:
    recorder = Mock()
    writer = MessageWriter(recorder, "session")
    writer._unknown_events = MAX_UNKNOWN_EVENTS - 1
    for _ in range(3):
        writer.write(EventUpdate(event_type=4711, details={"event_type": 4711}))
    assert recorder.event.call_count == 1
    writer.write(EventUpdate(event_type=2, details={"event_type": 2}))
    assert recorder.event.call_count == 2


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
        ('{"event_code":"../x"}', "event_code____x"),
        ('{"event_code":[1]}', "event_without_type"),
        ("{}", "event_without_type"),
    ],
)
def test_an_event_without_a_type_is_kept_and_counted(event: str, kind: str) -> None:
    recorder = heard(f'{{"msg_type":6,"event":{event}}}')
    assert recorder.event.call_args.args[0] == kind
    recorder.media.unknown.assert_called_once_with()


def test_a_session_state_without_an_id_is_kept_and_counted() -> None:
    recorder = heard('{"msg_type":9,"state":3}')
    assert recorder.events.session_state.call_args.args[:2] == (None, 3)
    recorder.media.unknown.assert_called_once_with()
