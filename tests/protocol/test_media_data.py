"""Media data: Zoom's own examples, every tolerated variant, every kind of damage, and that both readers agree."""

import base64
import json
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_data import Corrupt, Raw, Text, TranscriptData, UserId, decode_batch
from rtmsd.protocol.reading import CorruptKind

SAMPLES = "AADoAxj8/38AgAEA//8AAQ=="  # 0, 1000, -1000, 32767, -32768, 1, -1, 256
L16 = base64.b64decode(SAMPLES)
WHEN = 1790000001220


class Taken:
    """A handler that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self.calls.append(("audio", user_id, user_name, timestamp_ms, data))

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self.calls.append(("video", user_id, user_name, timestamp_ms, data))

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self.calls.append(("share", user_id, user_name, timestamp_ms, data))

    def text(self, data: Text) -> None:
        self.calls.append((data.media, data))

    def control(self, raw: Raw) -> None:
        self.calls.append(("control", bytes(raw)))

    def corrupt(self, problem: Corrupt) -> None:
        self.calls.append(("corrupt", problem))


def decode(*messages: Raw) -> list[tuple[Any, ...]]:
    taken = Taken()
    decode_batch(messages, taken, taken.control)
    return taken.calls


def wire(value: Any, **options: Any) -> bytes:
    return json.dumps(value, **{"separators": (",", ":"), **options}).encode()


def message(msg_type: int = 14, **content: Any) -> dict[str, Any]:
    return {"msg_type": msg_type, "content": {"user_id": 7, "timestamp": WHEN, "data": SAMPLES, **content}}


def without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {**value, "content": {key: item for key, item in value["content"].items() if key not in keys}}


# As documented


def test_zooms_examples() -> None:
    assert decode(
        b'{"msg_type":14,"content":{"user_id":16778240,"user_name":"Ana","data":"AADoAxj8/38AgAEA//8AAQ==","length":16,"timestamp":1790000001220}}',
        b'{"msg_type":14,"content":{"user_id":0,"data":"AADoAxj8/38AgAEA//8AAQ==","length":16,"timestamp":1790000001240}}',
        b'{"msg_type":17,"content":{"user_id":16778240,"user_name":"Ana","start_time":1790000001000,'
        b'"end_time":1790000003100,"timestamp":1790000003400,"language":9,"data":"Good morning."}}',
    ) == [
        ("audio", 16778240, "Ana", 1790000001220, L16),
        ("audio", 0, None, 1790000001240, L16),
        (
            "transcript",
            TranscriptData(
                user_id=16778240,
                user_name="Ana",
                text="Good morning.",
                timestamp_ms=1790000003400,
                start_ms=1790000001000,
                end_ms=1790000003100,
                language=9,
                attribute=None,
            ),
        ),
    ]


@pytest.mark.parametrize(("msg_type", "name"), [(14, "audio"), (15, "video"), (16, "share")])
@pytest.mark.parametrize("size", [0, 16, 640, 3200, 22_500])
@pytest.mark.parametrize("as_buffer", [bytes, bytearray, memoryview])
def test_payloads_of_every_type_and_size(msg_type: int, name: str, size: int, as_buffer: Any) -> None:
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    sent = message(msg_type, user_name="Ana", data=base64.b64encode(payload).decode(), length=size)
    for raw in (wire(sent), wire(sent, indent=1), wire(dict(reversed(sent.items()))), wire(sent, sort_keys=True)):
        assert decode(as_buffer(raw)) == [(name, 7, "Ana", WHEN, payload)]


def test_a_transcript_whose_text_could_be_base64() -> None:
    for text in ("Good", "", "word" * 2000):
        [(kind, data)] = decode(wire(message(17, data=text, attribute=2)))
        assert (kind, data.text, data.attribute, data.start_ms) == ("transcript", text, 2, None)


# As tolerated


@pytest.mark.parametrize("data", [SAMPLES, base64.b64encode(L16 * 200).decode()])
@pytest.mark.parametrize(
    ("content", "user_id"),
    [
        ({"user_id": "16778240"}, 16778240),
        ({"user_id": 0}, 0),
        ({"user_id": None, "channel_id": "chan-1"}, "chan-1"),
        ({"user_id": None, "channel_id": "007"}, "007"),
        ({"user_id": None, "channel_id": 42}, "42"),
        ({"channel_id": "chan-1"}, 7),
        ({"user_id": 0, "channel_id": "chan-1"}, "chan-1"),
        ({"user_id": "0", "channel_id": 3}, "3"),
        ({"user_id": 0, "channel_id": ""}, 0),
        ({"timestamp": str(WHEN)}, 7),
        ({"length": None}, 7),
        ({"length": "many"}, 7),
        ({"user_name": 5}, 7),
        ({"user_id": 2**40}, 2**40),
        ({"something_new": {"data": "AAAA"}}, 7),
    ],
)
def test_variants_of_audio(data: str, content: dict[str, Any], user_id: UserId) -> None:
    assert decode(wire(message(**{"data": data, **content}))) == [
        ("audio", user_id, None, WHEN, base64.b64decode(data))
    ]


def test_content_as_a_string_with_the_ids_beside_it() -> None:
    assert decode(wire({"msg_type": 14, "content": SAMPLES, "user_id": 7, "user_name": "Bo", "timestamp": WHEN})) == [
        ("audio", 7, "Bo", WHEN, L16)
    ]


def test_escaped_slashes_in_base64() -> None:
    for payload in (b"\xff" * 30, b"\xff" * 30_000):
        raw = wire(message(data=base64.b64encode(payload).decode())).replace(b"/", b"\\/")
        assert decode(raw) == [("audio", 7, None, WHEN, payload)]


def test_data_of_an_unknown_part_is_not_taken_for_the_contents() -> None:
    big = base64.b64encode(bytes(5000)).decode()
    for content in (
        {"new": {"data": big}, "data": SAMPLES},
        {"data": SAMPLES, "new": {"data": big}},
        {"new": {"data": big}, "data": ""},
        {'odd"data': big, "data": SAMPLES},
    ):
        raw = wire({"msg_type": 14, "content": {"user_id": 7, "timestamp": WHEN, **content}})
        assert decode(raw) == [("audio", 7, None, WHEN, base64.b64decode(str(content["data"])))]


def test_half_a_surrogate_pair_costs_no_audio_and_can_be_written_to_a_file() -> None:
    [(kind, _, user_name, _, data)] = decode(wire(message(user_name="Ana \ud83d")))
    assert (kind, data) == ("audio", L16)
    assert user_name.encode().startswith(b"Ana ")


# Not media


@pytest.mark.parametrize(
    "raw",
    [
        b'{"msg_type":12,"timestamp":1790000020000}',
        b'{"msg_type":4,"status_code":0}',
        b'{"msg_type":99,"content":{"data":"AAAA"}}',
        b'{"msg_type":null}',
        b"{}",
        b'{"msg_type":23,"content":{}}' + b" " * 5000,
    ],
)
def test_other_messages_are_handed_on_undecoded(raw: bytes) -> None:
    assert decode(raw) == [("control", raw)]


# Damage


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", CorruptKind.BAD_JSON),
        (b'{"msg_type":14,"content":{"user_id":7,"da', CorruptKind.BAD_JSON),
        (wire(message()) + b"x", CorruptKind.BAD_JSON),
        (b"[" * 200_000, CorruptKind.BAD_JSON),
        (b'{"msg_type":14,"content":{"data":"' + b"A" * 5000, CorruptKind.BAD_JSON),
        (b"\xff\xfe", CorruptKind.BAD_UTF8),
        (wire(message(user_name="Ana")).replace(b"Ana", b"\xc3\x28"), CorruptKind.BAD_UTF8),
        (wire(message(data="A" * 5000)).replace(b"AAAA", b"\xff", 1), CorruptKind.BAD_UTF8),
        (b"[]", CorruptKind.NOT_OBJECT),
        (b"null", CorruptKind.NOT_OBJECT),
        (b"14", CorruptKind.NOT_OBJECT),
    ],
)
def test_unreadable(raw: bytes, kind: CorruptKind) -> None:
    assert decode(raw) == [("corrupt", Corrupt(kind=kind))]


@pytest.mark.parametrize(
    ("sent", "kind", "user_id", "timestamp_ms"),
    [
        (message(data="A"), CorruptKind.BAD_BASE64, 7, WHEN),
        (message(data="!" * 5000), CorruptKind.BAD_BASE64, 7, WHEN),
        (message(data="\u00e9"), CorruptKind.BAD_BASE64, 7, WHEN),
        (message(length=15), CorruptKind.LENGTH_MISMATCH, 7, WHEN),
        (message(length="15"), CorruptKind.LENGTH_MISMATCH, 7, WHEN),
        (message(data="AAAA" * 2000, length=1), CorruptKind.LENGTH_MISMATCH, 7, WHEN),
        (message(user_id=True), CorruptKind.WRONG_TYPE, None, WHEN),
        (message(user_id=7.5), CorruptKind.WRONG_TYPE, None, WHEN),
        (message(user_id="Ana"), CorruptKind.WRONG_TYPE, None, WHEN),
        (message(user_id=2**63), CorruptKind.WRONG_TYPE, None, WHEN),
        (message(user_id=None, channel_id=""), CorruptKind.WRONG_TYPE, None, WHEN),
        (message(timestamp=False), CorruptKind.WRONG_TYPE, 7, None),
        (message(timestamp=10**400), CorruptKind.WRONG_TYPE, 7, None),
        (message(data=None), CorruptKind.WRONG_TYPE, 7, WHEN),
        (message(data=[]), CorruptKind.WRONG_TYPE, 7, WHEN),
        (without(message(), "data"), CorruptKind.WRONG_TYPE, 7, WHEN),
        ({"msg_type": 14}, CorruptKind.WRONG_TYPE, None, None),
        ({"msg_type": 14, "content": []}, CorruptKind.WRONG_TYPE, None, None),
    ],
)
def test_damage_is_attributed_as_far_as_it_can_be(
    sent: dict[str, Any], kind: CorruptKind, user_id: int | None, timestamp_ms: int | None
) -> None:
    expected = Corrupt(kind=kind, media=MediaType.AUDIO, user_id=user_id, timestamp_ms=timestamp_ms)
    assert decode(wire(sent)) == [("corrupt", expected)]


@pytest.mark.parametrize(("msg_type", "media"), [(17, MediaType.TRANSCRIPT), (18, MediaType.CHAT)])
def test_damaged_texts(msg_type: int, media: MediaType) -> None:
    expected = Corrupt(kind=CorruptKind.WRONG_TYPE, media=media, user_id=7, timestamp_ms=WHEN)
    assert decode(wire(message(msg_type, data=5))) == [("corrupt", expected)]


def test_a_bad_message_costs_only_itself_and_order_is_kept() -> None:
    calls = decode(wire(message(timestamp=1)), b"[]", wire(message(17)), b"{", wire(message(timestamp=2)))
    assert [call[0] for call in calls] == ["audio", "corrupt", "transcript", "corrupt", "audio"]


# In general

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["14", SAMPLES, "-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "msg_type": st.integers(12, 20) | json_values,
        "content": json_values
        | st.fixed_dictionaries(
            {},
            optional={
                "user_id": st.integers(0, 2**64) | json_values,
                "user_name": json_values,
                "channel_id": json_values,
                "timestamp": st.integers(0, 2**64) | json_values,
                "length": st.just(16) | json_values,
                "data": st.just(SAMPLES) | json_values,
                "start_time": json_values,
                "language": json_values,
            },
        ),
    },
)


@given(envelopes, st.integers(0, 4000))
def test_every_object_is_one_call_and_size_makes_no_difference(sent: dict[str, Any], padding: int) -> None:
    """Beyond 3000 bytes the base64 is read by itself: same answers."""
    small, large = decode(wire(sent)), decode(wire({**sent, "padding": "x" * padding}))
    assert len(small) == 1
    assert [call for call in large if call[0] != "control"] == [call for call in small if call[0] != "control"]


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: wire(message())[:60] + tail))
def test_no_bytes_raise(raw: bytes) -> None:
    assert len(decode(raw)) == 1


@given(st.binary(max_size=9000), st.integers(0, 2**63 - 1), st.none() | st.text(max_size=20), st.booleans())
def test_payloads_come_through(payload: bytes, user_id: int, user_name: str | None, ascii_only: bool) -> None:
    sent = message(user_id=user_id, user_name=user_name, data=base64.b64encode(payload).decode(), length=len(payload))
    assert decode(wire(sent, ensure_ascii=ascii_only)) == [("audio", user_id, user_name, WHEN, payload)]


def test_a_deleted_utterance_needs_no_text() -> None:
    ((kind, utterance),) = decode(wire(message(17, data=None, attribute=3)))
    assert (kind, utterance.text) == ("transcript", "")


def test_an_utterance_of_nobody_is_kept() -> None:
    sent = message(17, data="Good morning", user_id={}, user_name="Ana")
    ((kind, utterance),) = decode(wire(sent))
    assert (kind, utterance.user_id, utterance.user_name) == ("transcript", None, "Ana")
    assert (utterance.text, utterance.details) == ("Good morning", {"user_id": {}})


def test_what_an_utterance_says_besides_is_kept() -> None:
    more = {"end_time": "later", "language": 14, "confidence": 0.9, "channel_id": "c-1"}
    ((_, utterance),) = decode(wire(message(17, data="Guten Tag", **more)))
    assert (utterance.language_tag, utterance.end_ms) == ("de", None)
    assert utterance.details == {"end_time": "later", "confidence": 0.9, "channel_id": "c-1"}
    ((_, utterance),) = decode(wire(message(17, data="hi", language=99)))
    assert (utterance.language, utterance.language_tag, utterance.details) == (99, None, None)


@pytest.mark.parametrize("user_id", [7, "7", 0, "agentAccount", None])
@pytest.mark.parametrize("channel_id", ["chan-1", 5])
def test_in_a_contact_center_the_channel_speaks_whatever_the_user(user_id: object, channel_id: object) -> None:
    spoken: list[UserId] = []
    handler = Mock()
    handler.audio = lambda speaker, *_: spoken.append(speaker)
    texts: list[Any] = []
    handler.text = texts.append
    who: dict[str, Any] = {"user_id": user_id, "channel_id": channel_id}
    decode_batch([wire(message(**who)), wire(message(17, data="Hi", **who))], handler, Mock(), by_channel=True)
    [text] = texts
    assert [*spoken, text.user_id] == [str(channel_id)] * 2
    assert text.details == (None if user_id is None else {"zoom_user_id": user_id})
