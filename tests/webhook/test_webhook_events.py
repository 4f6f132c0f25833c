"""Bodies of webhooks: documented, observed and malformed ones."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.commands import InterruptStream, StartStream, StopStream
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.products import ID_KEYS, PRODUCTS
from rtmsd.protocol.times import is_believable
from rtmsd.webhook.events import BadEvent, ConcurrencyNotice, Event, UnknownEvent, UrlValidation, parse

STREAM = "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c"
SESSION = "Kz9+aB/cD3eFgHiJkLmN0w=="
URL = "wss://127.0.0.1:9443/signal"


def read(event: str, payload: object, event_ts: object = 1790000000123) -> Event:
    return parse(json.dumps({"event": event, "event_ts": event_ts, "payload": payload}).encode(), "main")


def started(**changes: object) -> dict[str, Any]:
    fields = {"session_id": SESSION, "session_key": "room-7", "rtms_stream_id": STREAM, "server_urls": URL, **changes}
    return {key: value for key, value in fields.items() if value is not ...}


def test_start_of_a_video_sdk_session() -> None:
    assert read("session.rtms_started", started(account_id="Acct")) == StartStream(
        product="session",
        session=SessionRef("session_id", SESSION),
        rtms_stream_id=STREAM,
        server_urls=URL,
        app="main",
        event_ts=1790000000123,
        details={"session_key": "room-7", "account_id": "Acct"},
    )


def test_stop_and_interruption() -> None:
    assert read("session.rtms_stopped", started(stop_reason=6)) == StopStream(
        product="session",
        session=SessionRef("session_id", SESSION),
        rtms_stream_id=STREAM,
        app="main",
        event_ts=1790000000123,
        stop_reason=6,
    )
    assert read("session.rtms_interrupted", started(server_urls=...)) == InterruptStream(
        product="session",
        session=SessionRef("session_id", SESSION),
        rtms_stream_id=STREAM,
        app="main",
        event_ts=1790000000123,
        server_urls=None,
    )


@pytest.mark.parametrize(
    ("event", "id_key", "product"),
    [
        ("session.rtms_started", "session_id", "session"),
        ("meeting.rtms_started", "meeting_uuid", "meeting"),
        ("webinar.rtms_started", "webinar_uuid", "webinar"),
        ("webinar.rtms_started", "meeting_uuid", "webinar"),
        ("contact_center.voice_rtms_started", "engagement_id", "contact_center"),
        ("phone.rtms_started", "call_id", "phone"),
    ],
)
def test_each_product_has_its_id(event: str, id_key: str, product: str) -> None:
    payload = {id_key: "the id", "rtms_stream_id": STREAM, "server_urls": URL, "stop_reason": 3}
    for name in (event, event.replace("started", "stopped"), event.replace("started", "interrupted")):
        command = read(name, payload)
        assert isinstance(command, StartStream | StopStream | InterruptStream)
        assert (command.session.key, command.session.id) == (id_key, "the id")
        assert command.product == product


def test_a_nested_payload_is_tolerated() -> None:
    nested = read("session.rtms_started", {"object": started(), "account_id": "A"})
    assert nested == read("session.rtms_started", started(account_id="A"))
    assert isinstance(nested, StartStream)
    assert nested.details["account_id"] == "A"


@pytest.mark.parametrize(
    ("server_urls", "chosen"),
    [
        (URL, URL),
        (f" {URL} ", URL),
        (f"rtmp://x/1, ws://y/2 ,{URL},wss://z", URL),
        ("WSS://Host/x", "WSS://Host/x"),
        ("https://x,ws://y/2", "ws://y/2"),
    ],
)
def test_the_first_usable_url_is_taken(server_urls: str, chosen: str) -> None:
    command = read("session.rtms_started", started(server_urls=server_urls))
    assert isinstance(command, StartStream)
    assert command.server_urls == chosen


def test_an_interruption_takes_a_url_when_it_has_one() -> None:
    for server_urls, taken in [(URL, URL), ("nonsense", None), ({}, None)]:
        command = read("session.rtms_interrupted", started(server_urls=server_urls))
        assert isinstance(command, InterruptStream)
        assert command.server_urls == taken


@pytest.mark.parametrize(
    ("stop_reason", "read_as"),
    [(8, 8), (99, 99), ("6", 6), (..., 0), (None, 0), (-1, 0), (True, 0), ("x", 0), (2**70, 0)],
)
def test_a_stop_is_a_stop_whatever_its_reason(stop_reason: object, read_as: int) -> None:
    command = read("session.rtms_stopped", started(stop_reason=stop_reason))
    assert isinstance(command, StopStream)
    assert command.stop_reason == read_as


@pytest.mark.parametrize("key", ["session_id", "rtms_stream_id", "server_urls"])
@pytest.mark.parametrize("value", [..., None, "", 7, ["x"], "\ud800"])
def test_a_start_needs_its_fields(key: str, value: object) -> None:
    with pytest.raises(BadEvent, match=key):
        read("session.rtms_started", started(**{key: value}))


@pytest.mark.parametrize("key", ["session_key", "operator_id", "account_id"])
def test_what_is_only_informative_may_be_missing(key: str) -> None:
    assert isinstance(read("session.rtms_started", started(**{key: ...})), StartStream)


@pytest.mark.parametrize("event_ts", [None, "", "soon", 1.5, True, -1, 2**63, 5000])
def test_a_command_needs_its_time(event_ts: object) -> None:
    with pytest.raises(BadEvent, match="event_ts"):
        read("session.rtms_started", started(), event_ts)


def test_a_time_in_digits_is_a_time() -> None:
    command = read("session.rtms_started", started(), "1790000000123")
    assert isinstance(command, StartStream)
    assert command.event_ts == 1790000000123


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"event"',
        b"{}",
        b'{"event": 1}',
        b'{"event": ""}',
        b'{"event": null, "payload": {}}',
        b"\xff\xfe",
        b"[" * 60_000,
        b"9" * 60_000,
        b'{"event": "session.rtms_started"}',
        b'{"event": "session.rtms_started", "event_ts": 1, "payload": []}',
        b'{"event": "endpoint.url_validation", "payload": {}}',
        b'{"event": "endpoint.url_validation", "payload": {"plainToken": "\\ud800"}}',
        b'{"event": "endpoint.url_validation", "payload": {"plainToken": "v0:1790000000:{}"}}',
        b'{"event": "endpoint.url_validation", "payload": {"plainToken": "\\u0076\\u0030\\u003a1790000000:{}"}}',
        b'{"event": "endpoint.url_validation", "payload": {"plainToken": "id,session,stream"}}',
        b'{"event": "endpoint.url_validation", "payload": {"plainToken": "abc\\n"}}',
        b'{"event": "endpoint.url_validation", "payload": {"plainToken": "' + b"a" * 257 + b'"}}',
    ],
)
def test_malformed_bodies(body: bytes) -> None:
    with pytest.raises(BadEvent):
        parse(body, "main")


def test_events_about_other_things() -> None:
    assert read("endpoint.url_validation", {"plainToken": "abc"}, None) == UrlValidation("abc")
    details = {"concurrency_limit": 2000, "concurrency_number": 1604, "percentage": 80}
    notice = read("rtms.concurrency_near_limit", details)
    assert notice == ConcurrencyNotice("rtms.concurrency_near_limit", "main", details)
    assert isinstance(read("rtms.concurrency_limited", None), ConcurrencyNotice)


@pytest.mark.parametrize("event", ["meeting.started", "session.rtms_paused", "other.rtms_started", "rtms_started", "x"])
def test_unknown_events_are_no_error(event: str) -> None:
    assert read(event, None, None) == UnknownEvent(event)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
FIELDS = (
    "rtms_stream_id",
    "server_urls",
    "stop_reason",
    "object",
    "plainToken",
    *ID_KEYS,
)
NAMES = [f"{product}.{verb}" for product in PRODUCTS for verb in ("rtms_started", "rtms_stopped", "rtms_interrupted")]


@given(
    st.sampled_from([*NAMES, "endpoint.url_validation"]), JSON, st.dictionaries(st.sampled_from(FIELDS), JSON) | JSON
)
def test_any_json_is_an_event_or_a_bad_one(name: str, event_ts: object, payload: object) -> None:
    try:
        event = read(name, payload, event_ts)
    except BadEvent:
        return
    if isinstance(event, StartStream | StopStream | InterruptStream):
        assert event.session.id or not isinstance(event, StartStream)
        assert event.event_ts is None or is_believable(event.event_ts)


NOW_MS = 1790000000123


@pytest.mark.parametrize(
    "event_ts", [NOW_MS, str(NOW_MS), float(NOW_MS), NOW_MS * 1000, NOW_MS * 1_000_000, NOW_MS / 1000]
)
@pytest.mark.parametrize("verb", ["started", "stopped", "interrupted"])
def test_a_time_in_any_unit_is_milliseconds(event_ts: object, verb: str) -> None:
    command = read(f"session.rtms_{verb}", started(), event_ts)
    assert isinstance(command, StartStream | StopStream | InterruptStream)
    assert command.event_ts == NOW_MS


def test_a_start_with_an_impossible_time_has_the_time_of_its_signature() -> None:
    body = json.dumps({"event": "session.rtms_started", "event_ts": 12, "payload": started()}).encode()
    command = parse(body, "main", NOW_MS)
    assert isinstance(command, StartStream)
    assert command.event_ts == NOW_MS


@pytest.mark.parametrize("event_ts", [None, "soon", 5000, 2**63])
def test_a_stop_needs_only_its_stream(event_ts: object) -> None:
    command = read("session.rtms_stopped", {"rtms_stream_id": STREAM, "stop_reason": "8"}, event_ts)
    assert isinstance(command, StopStream)
    assert (command.rtms_stream_id, command.session.id, command.event_ts, command.stop_reason) == (STREAM, "", None, 8)


def test_an_interruption_needs_only_its_stream() -> None:
    body = json.dumps({"event": "session.rtms_interrupted", "payload": {"rtms_stream_id": STREAM}}).encode()
    command = parse(body, "main", NOW_MS)
    assert isinstance(command, InterruptStream)
    assert command.event_ts == NOW_MS


def test_details_are_bounded_and_can_be_written_again() -> None:
    odd = {"session_key": "r" * 5000, "big": {"x": ["y" * 1000] * 60}, "half": "a\ud83d", "signature": "s", "n": None}
    command = read("session.rtms_started", started(**odd, sip={"vip": True}))
    assert isinstance(command, StartStream)
    assert command.details == {"session_key": "r" * 1024, "half": "a?", "sip": {"vip": True}}
