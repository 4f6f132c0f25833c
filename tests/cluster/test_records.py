"""Records as JSON: what is written is read again, and nothing that is read does harm."""

import json
import re
from contextlib import nullcontext
from random import Random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.cluster.codec import MAX_BYTES, MAX_DELIVERED, BadRecord, NewerRecord, Record, decode, encode
from rtmsd.cluster.records import VERSION, Beat, Held, Log, Own, Part, PartState, Revoked, Row, TenureState, Why
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.times import LATEST_MS
from rtmsd.state.rows import Delivery, Known, StreamRow
from tests.cluster.strategies import BEATS, KINDS, MORE, OWNS, RECORDS, VALUES

ROW = StreamRow(
    rtms_stream_id="a+b/c==",
    product="meeting",
    session=SessionRef("meeting_uuid", "4444AAA=="),
    app="main",
    server_urls="wss://rtms.zoom.us:443",
    started_ms=1_700_000_000_000,
    event_ts=1_700_000_000_500,
    stop_reason=None,
    stopped_ms=None,
    closed=False,
    details={"operator_id": "o"},
)
OWN = Own(
    rtms_stream_id="a+b/c==",
    node="rec-1.2",
    incarnation="f00d",
    epoch=3,
    nonce="n0nce",
    why=Why.DIED,
    known=Known(ROW, (Delivery("meeting.rtms_started", 1_700_000_000_000, "4444AAA=="),)),
)

PART = Part(
    rtms_stream_id="a+b/c==",
    node="rec-1",
    token=7,
    epoch=2,
    state=PartState.RECORDING,
    clock_ms=1_700_000_000_900,
    participants=({"user_id": 16778240, "user_name": "Ada"},),
    media={"audio": {"asked": {"codec": "L16"}}},
)

NUMBERED = (
    attrs.evolve(OWN, known=attrs.evolve(OWN.known, row=attrs.evolve(ROW, stopped_ms=1_700_000_000_900))),
    Row(rtms_stream_id=ROW.rtms_stream_id, token=7, known=OWN.known),
    attrs.evolve(PART, participants=(), first_packet_ms=1, paused_since_ms=1),
    Log(rtms_stream_id="s", token=1, n=1, lines={}),
    Revoked(rtms_stream_id="s", at_ms=1),
    Beat(node="a", incarnation="i", n=1, streams=1, capacity=1, at_ms=1, webhook_ms=1),
)
NUMBER = re.compile(rb'"(?P<key>\w+)":(?P<number>\d+)')
TIMES = (b"at_ms", b"webhook_ms", b"started_ms", b"event_ts", b"stopped_ms")


def changed(record: Record, **fields: Any) -> bytes:
    """Return a record as JSON with other values; `...` leaves a key out."""
    plain = {**json.loads(encode(record)), **fields}
    return json.dumps({key: value for key, value in plain.items() if value is not ...}).encode()


@given(record=RECORDS)
def test_what_is_written_is_read_again(record: Record) -> None:
    assert decode(type(record), encode(record)) == record


def test_the_keys_of_an_ownership_record() -> None:
    """Members of other versions read them."""
    assert json.loads(encode(OWN)) == {
        "v": 1,
        "rtms_stream_id": "a+b/c==",
        "node": "rec-1.2",
        "incarnation": "f00d",
        "epoch": 3,
        "nonce": "n0nce",
        "why": "died",
        "state": "live",
        "row": {
            "rtms_stream_id": "a+b/c==",
            "product": "meeting",
            "session": {"key": "meeting_uuid", "id": "4444AAA=="},
            "app": "main",
            "server_urls": "wss://rtms.zoom.us:443",
            "started_ms": 1_700_000_000_000,
            "event_ts": 1_700_000_000_500,
            "stop_reason": None,
            "stopped_ms": None,
            "closed": False,
            "details": {"operator_id": "o"},
        },
        "delivered": [{"event": "meeting.rtms_started", "event_ts": 1_700_000_000_000, "session_id": "4444AAA=="}],
    }


@given(data=st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_bad_record_of_any_kind(data: bytes) -> None:
    for kind in KINDS:
        with pytest.raises(BadRecord):
            decode(kind, data)


@settings(max_examples=150)
@given(record=RECORDS, data=st.data())
def test_a_damaged_record_is_read_or_refused(record: Record, data: st.DataObject) -> None:
    """In a few bytes, in a value of any key at any depth, or cut off; and what is read can be written."""
    encoded = bytearray(encode(record))
    match data.draw(st.sampled_from(["bytes", "value", "cut"])):
        case "bytes":
            for place in data.draw(st.lists(st.integers(0, len(encoded) - 1), min_size=1, max_size=4)):
                encoded[place] = data.draw(st.integers(0, 255))
        case "value":
            plain = json.loads(encoded)
            inner = plain
            while True:
                key = data.draw(st.sampled_from([*inner] if isinstance(inner, dict) else range(len(inner))))
                if not isinstance(inner[key], dict | list) or not inner[key] or data.draw(st.booleans()):
                    break
                inner = inner[key]
            inner[key] = data.draw(VALUES | st.sampled_from([2**64, -(2**63), "x" * 2000, "\x00", [[[]]] * 3]))
            encoded = bytearray(json.dumps(plain).encode())
        case "cut":
            del encoded[data.draw(st.integers(0, len(encoded) - 1)) :]
    for kind in KINDS:
        try:
            read = decode(kind, bytes(encoded))
        except BadRecord:
            continue
        if not getattr(read, "is_newer", False):
            assert decode(kind, encode(read)) == read


def test_ten_thousand_damaged_records_raise_nothing_else() -> None:
    random = Random(12)
    records = [encode(OWN), encode(PART), encode(Beat(node="a", incarnation="i", n=1)), changed(OWN, v=2)]
    read = 0
    for _ in range(10_000):
        data = bytearray(random.choice(records))
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(data))
            match random.randrange(4):
                case 0:
                    data[at] = random.randrange(256)
                case 1:
                    data[at] = random.choice(b'"\\{}[]:,0129-eE.ntf ')
                case 2:
                    del data[at : at + random.randint(1, 20)]
                case _:
                    data[at:at] = data[random.randrange(len(data)) :][: random.randint(1, 40)]
            data = data or bytearray(b"{")
        try:
            decode(random.choice(KINDS), bytes(data))
        except BadRecord:
            continue
        read += 1
    assert 100 < read < 9000  # most of it is found out, and not all


@given(
    own=OWNS,
    version=st.integers(2, 2**31),
    changes=st.dictionaries(st.sampled_from(["row", "why", "delivered", "new"]), VALUES),
)
def test_of_a_newer_ownership_record_only_whose_it_is_is_read(own: Own, version: int, changes: dict[str, Any]) -> None:
    newer = decode(Own, changed(own, v=version, **changes))
    assert newer.is_newer
    assert newer == attrs.evolve(own, version=version, why=Why.OTHER, known=Known(), more={})
    with pytest.raises(NewerRecord):
        encode(newer)


@given(beat=BEATS, version=st.integers(2, 2**31), streams=VALUES)
def test_a_newer_beat_is_a_sign_of_life_of_somebody_without_room(beat: Beat, version: int, streams: object) -> None:
    newer = decode(Beat, changed(beat, v=version, streams=streams))
    assert newer == Beat(node=beat.node, incarnation=beat.incarnation, n=beat.n, version=version)
    assert newer.is_newer
    assert newer.capacity == 0


@pytest.mark.parametrize(
    "record",
    [
        Row(rtms_stream_id="s", token=1, known=Known()),
        Part(rtms_stream_id="s", node="a", token=1, epoch=1, state=PartState.ENDED),
        Log(rtms_stream_id="s", token=1, n=1, lines={}),
    ],
)
def test_other_newer_records_are_left_alone(record: Record) -> None:
    with pytest.raises(NewerRecord, match="version 2"):
        decode(type(record), changed(record, v=2))


def test_a_newer_record_that_does_not_say_whose_it_is_is_left_alone() -> None:
    with pytest.raises(NewerRecord):
        decode(Own, changed(OWN, v=2, node=...))
    with pytest.raises(NewerRecord):
        decode(Own, changed(OWN, v=2, state="in_a_way_of_tomorrow"))


@given(own=OWNS, more=MORE)
def test_unknown_keys_are_handed_on(own: Own, more: dict[str, Any]) -> None:
    read = decode(Own, changed(own, **more))
    assert read.more == {**own.more, **more}
    taken = attrs.evolve(read, node="me", epoch=own.epoch)
    assert more.items() <= json.loads(encode(taken)).items()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"v": ...}, "v is not a version"),
        ({"v": 0}, "v is not a version"),
        ({"v": True}, "v is not a version"),
        ({"v": "1"}, "v is not a version"),
        ({"node": ...}, "node"),
        ({"node": ""}, "node"),
        ({"node": "a.*"}, "node"),
        ({"node": "a.>"}, "node"),
        ({"node": "a b"}, "node"),
        ({"node": "a\n"}, "node"),
        ({"node": "../a"}, "node"),
        ({"node": "n" * 65}, "node"),
        ({"incarnation": "a.b"}, "incarnation"),
        ({"nonce": ""}, "nonce"),
        ({"epoch": -1}, "epoch"),
        ({"epoch": 1.5}, "epoch"),
        ({"epoch": "1"}, "epoch"),
        ({"epoch": 2**64}, "64 bits"),
        ({"why": "secret"}, "why"),
        ({"state": "secret"}, "state"),
        ({"rtms_stream_id": ""}, "rtms_stream_id"),
        ({"rtms_stream_id": "x" * 1025}, "rtms_stream_id"),
        ({"rtms_stream_id": "another"}, "of another stream"),
        ({"row": "secret"}, "row"),
        ({"row": {}}, "row"),
        ({"delivered": {}}, "delivered"),
        ({"delivered": [{"event": "x" * 1025, "event_ts": 1, "session_id": ""}]}, "delivered"),
        ({"delivered": [{"event": "x", "event_ts": -1, "session_id": ""}]}, "delivered"),
        ({"delivered": [{"event": "x", "event_ts": LATEST_MS, "session_id": ""}]}, "delivered"),
        ({"delivered": [{"event": "x", "event_ts": 1, "session_id": ""}] * (MAX_DELIVERED + 1)}, "delivered"),
        ({"new": [[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}, "nested"),
        ({"new": "x" * MAX_BYTES}, "bytes"),
    ],
)
def test_an_ownership_record_out_of_bounds_is_refused(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRecord, match=why) as caught:
        decode(Own, changed(OWN, **fields))
    assert not isinstance(caught.value, NewerRecord)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("product", "../x"),
        ("product", ""),
        ("session", {"key": "x", "id": "y"}),
        ("session", {"key": "session_id", "id": "y" * 1025}),
        ("app", "a" * 1025),
        ("server_urls", "https://rtms.zoom.us"),
        ("server_urls", " wss://rtms.zoom.us"),
        ("server_urls", "wss://a,wss://b"),
        ("server_urls", "wss://" + "a" * 9000),
        ("server_urls", 5),
        ("started_ms", -1),
        ("started_ms", 2**62),
        ("started_ms", LATEST_MS),
        ("started_ms", "5"),
        ("event_ts", None),
        ("event_ts", 2**62),
        ("stopped_ms", 2**62),
        ("stop_reason", -1),
        ("closed", 1),
        ("details", []),
    ],
)
def test_a_row_out_of_bounds_is_refused(key: str, value: object) -> None:
    plain = json.loads(encode(OWN))
    plain["row"][key] = value
    for kind in (Own, Row):
        with pytest.raises(BadRecord, match="row"):
            decode(kind, json.dumps(plain | {"token": 1}).encode())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n", -1),
        ("n", 2**53 + 1),
        ("streams", 2**53 + 1),
        ("at_ms", -1),
        ("at_ms", LATEST_MS),
        ("webhook_ms", LATEST_MS),
        ("state", "dead"),
        ("streams", -1),
        ("zone", "z" * 65),
        ("release", None),
        ("node", "a.b.c"),
    ],
)
def test_a_beat_out_of_bounds_is_refused(key: str, value: object) -> None:
    with pytest.raises(BadRecord, match=key):
        decode(Beat, changed(Beat(node="a", incarnation="i", n=1), **{key: value}))


@pytest.mark.parametrize("at_ms", [-1, LATEST_MS, 253_402_300_800_000, 2**53, 2**63, 1.5, "1", None, ...])
def test_an_order_to_delete_of_no_time_is_refused(at_ms: object) -> None:
    """Nobody could carry it out: a receipt of that date cannot be written."""
    with pytest.raises(BadRecord):
        decode(Revoked, changed(Revoked(rtms_stream_id="s", at_ms=1), at_ms=at_ms))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-9007199254740993", b"1e17"])
@pytest.mark.parametrize("record", NUMBERED, ids=lambda record: type(record).__name__)
def test_no_number_may_be_any_number(record: Record, number: bytes) -> None:
    encoded = encode(record)
    for found in NUMBER.finditer(encoded):
        with pytest.raises(BadRecord):
            decode(type(record), encoded[: found.start("number")] + number + encoded[found.end("number") :])


@pytest.mark.parametrize("record", NUMBERED, ids=lambda record: type(record).__name__)
@given(number=st.integers() | st.integers(LATEST_MS - 1, LATEST_MS) | st.integers(-1, 0))
def test_what_is_read_as_a_time_is_a_date(record: Record, number: int) -> None:
    encoded = encode(record)
    for found in NUMBER.finditer(encoded):
        damaged = encoded[: found.start("number")] + str(number).encode() + encoded[found.end("number") :]
        if found["key"] in TIMES:
            with nullcontext() if 0 <= number < LATEST_MS else pytest.raises(BadRecord):
                decode(type(record), damaged)


@pytest.mark.parametrize("lines", [[], {"../x": []}, {"events": "x"}, {"events": [5]}, {"events": ["x" * MAX_BYTES]}])
def test_a_log_out_of_bounds_is_refused(lines: object) -> None:
    with pytest.raises(BadRecord):
        decode(Log, changed(Log(rtms_stream_id="s", token=1, n=1, lines={}), lines=lines))


@pytest.mark.parametrize(
    "record",
    [
        attrs.evolve(OWN, node="a.>"),
        attrs.evolve(OWN, rtms_stream_id="another"),
        attrs.evolve(OWN, nonce="\ud800"),
        attrs.evolve(OWN, more={"new": float("nan")}),
        attrs.evolve(OWN, more={"new": object()}),
        attrs.evolve(OWN, more={"new": "\ud800"}),
        attrs.evolve(OWN, known=Known(attrs.evolve(ROW, details={"x": 2**70}))),
        Log(rtms_stream_id="s", token=1, n=1, lines={"events": ("x" * MAX_BYTES,)}),
    ],
)
def test_what_no_reader_would_take_is_not_written(record: Record) -> None:
    with pytest.raises(BadRecord):
        encode(record)


def test_the_newest_deliveries_are_kept() -> None:
    delivered = tuple(Delivery("e", number, "") for number in range(100))
    read = decode(Own, encode(attrs.evolve(OWN, known=Known(ROW, delivered))))
    assert read.known.delivered == delivered[-MAX_DELIVERED:]


@pytest.mark.parametrize(
    ("state", "closed", "is_unfinished"),
    [
        (TenureState.LIVE, False, True),
        (TenureState.LIVE, True, False),
        (TenureState.ENDED, False, False),
        (TenureState.REVOKED, True, False),
    ],
)
def test_who_has_to_be_owned(state: TenureState, closed: bool, is_unfinished: bool) -> None:
    known = Known(attrs.evolve(ROW, closed=closed))
    assert Held(attrs.evolve(OWN, state=state), 1, known).is_unfinished is is_unfinished


def test_what_a_state_file_has_from_a_time_without_members_has_to_be_owned() -> None:
    assert not Held().is_unfinished
    assert Held(known=Known(ROW)).is_unfinished
    assert not Held(known=Known(attrs.evolve(ROW, closed=True))).is_unfinished
    assert Held(attrs.evolve(OWN, version=VERSION + 1), 1).is_unfinished  # its row is not known
    assert not Held(OWN, 1).is_unfinished  # without a row it names no stream
