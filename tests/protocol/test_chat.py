"""Chat messages, in each of the shapes that Zoom's samples and libraries read."""

import json
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.bounds import MAX_OBJECT_BYTES
from rtmsd.protocol.chat import OPERATIONS, SESSION_TYPES, ChatData, read_chat
from rtmsd.protocol.languages import TranscriptLanguage, language_tag
from rtmsd.recording.manifest.lines import Line, json_line, read_line

WHEN: Final = 1_790_000_000_000
SENT: Final[dict[str, Any]] = {
    "chat_session": {"type": 2, "id": "s1", "topic": "figures"},
    "operation_type": 1,
    "message_id": "m2",
    "parent_message_id": "m1",
    "sender": {"user_id": "9", "user_name": "Bo", "email": "bo@example.com"},
    "receiver": {"user_id": 7, "user_name": "Ana"},
    "files": [{"file_id": "f1", "file_name": "a.pdf", "file_size": 12}],
    "delete_file_id_list": ["f0"],
    "is_edited": False,
}
READ: Final = ChatData(
    user_id=9,
    user_name="Bo",
    text="hello",
    timestamp_ms=WHEN,
    operation="new",
    message_id="m2",
    parent_message_id="m1",
    session_type="individual",
    session_id="s1",
    receiver={"user_id": 7, "user_name": "Ana"},
    files=({"file_id": "f1", "file_name": "a.pdf", "file_size": 12},),
    deleted_file_ids=("f0",),
    details={"is_edited": False, "sender": {"email": "bo@example.com"}, "chat_session": {"topic": "figures"}},
)


def read(**content: Any) -> ChatData:
    chat = read_chat(content, content.get("data"), WHEN)
    assert chat is not None
    return chat


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"data": SENT | {"data": "hello"}}, id="within"),
        pytest.param({"data": json.dumps(SENT | {"data": "hello"})}, id="as JSON"),
        pytest.param(SENT | {"data": "hello"}, id="beside"),
        pytest.param({"user_id": 9, "user_name": "Bo", "data": SENT | {"data": "hello"}}, id="named twice"),
    ],
)
def test_each_shape_is_read_alike(content: dict[str, Any]) -> None:
    assert read(**content) == READ


@pytest.mark.parametrize("number", sorted(OPERATIONS))
@pytest.mark.parametrize("shape", ["within", "beside"])
def test_an_operation_needs_no_text_and_keeps_its_sender(number: int, shape: str) -> None:
    fields = {"operation_type": number, "message_id": "m1", "sender": {"user_id": 9, "user_name": "Bo"}}
    chat = read(**(fields if shape == "beside" else {"data": fields}))
    assert chat == ChatData(
        user_id=9, user_name="Bo", text="", timestamp_ms=WHEN, operation=OPERATIONS[number], message_id="m1"
    )


def test_what_zoom_adds_later_is_kept() -> None:
    chat = read(operation_type=6, chat_session={"type": 9}, data="x", emoji={"code": ["1F44D"]})
    assert (chat.operation, chat.session_type, chat.details) == (6, 9, {"emoji": {"code": ["1F44D"]}})


def test_what_cannot_be_read_is_kept_as_it_came() -> None:
    odd = {
        "operation_type": "x",
        "message_id": {},
        "sender": "Bo",
        "receiver": ["Ana"],
        "files": [1],
        "chat_session": 1,
    }
    odd["delete_file_id_list"] = ["f1", None]
    assert read(**odd) == ChatData(user_id=None, user_name=None, text="", timestamp_ms=WHEN, details=odd)


def test_two_who_are_named_are_both_kept() -> None:
    chat = read(user_id=7, user_name="Ana", data="hi", message_id="m1", sender={"user_id": 9, "user_name": "Bo"})
    assert (chat.user_id, chat.user_name, chat.details) == (9, "Bo", {"user_id": 7, "user_name": "Ana"})
    chat = read(message_id="m1", data={"data": "hi", "message_id": "m2"})
    assert (chat.message_id, chat.details) == ("m2", {"content": {"message_id": "m1"}})


@pytest.mark.parametrize("text", ['{"a":1}', "{}", '{"data":"x"}', "[1]", '"quoted"', "", "{"])
def test_what_somebody_typed_stays_text(text: str) -> None:
    chat = read(user_id=7, user_name="Ana", data=text)
    assert chat == ChatData(user_id=7, user_name="Ana", text=text, timestamp_ms=WHEN)


@pytest.mark.parametrize("beside", [{"message_id": "m2"}, {"operation_type": 1}])
def test_what_somebody_typed_does_nothing_to_another_message(beside: dict[str, Any]) -> None:
    typed = json.dumps({"operation_type": 2, "message_id": "m1", "sender": {"user_id": 9}})
    chat = read(user_id=7, data=typed, **beside)
    assert (chat.user_id, chat.text) == (7, typed)
    assert (chat.operation, chat.message_id) != ("delete", "m1")


@pytest.mark.parametrize("content", [{}, {"data": 5}, {"data": None, "user_id": 7}, {"data": ["hi"]}])
def test_without_text_and_fields_it_is_no_chat(content: dict[str, Any]) -> None:
    assert read_chat(content, content.get("data"), WHEN) is None


def test_sizes_are_bounded() -> None:
    chat = read(
        message_id="m" * 1000,
        chat_session={"id": "s" * 1000},
        receiver={"user_id": 7, "user_name": "A" * 5000},
        files=[{"file_name": "f" * 100}] * 10_000,
        extra="x" * 200_000,
    )
    assert len(chat.message_id or "") <= 256
    assert len(chat.session_id or "") <= 256
    assert len(chat.receiver["user_name"] if chat.receiver else "") <= 1024
    assert len(json.dumps(attrs.asdict(chat))) <= MAX_OBJECT_BYTES + 2000
    assert chat.details == {"is_cut": True}


def test_a_receiver_without_a_readable_name_is_kept_beside() -> None:
    chat = read(message_id="m", receiver={"user_id": [1], "user_name": 5, "email": "x"})
    assert chat.receiver == {"user_id": None, "user_name": None, "email": "x"}
    assert chat.details == {"receiver": {"user_id": [1], "user_name": 5}}


people = ("user_id", "user_name", "channel_id")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*sorted(SENT), *people, "type", "id"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*sorted(SENT), "data", *people]), values))
def test_whatever_comes_is_kept_or_refused_and_can_be_written_and_read(content: dict[str, Any]) -> None:
    chat = read_chat(content, content.get("data"), WHEN)
    if chat is not None:
        line = read_line(json_line(attrs.asdict(chat)), Line.CHAT)
        assert line["text"] == chat.text
        if chat.receiver is not None:
            hash(chat.receiver["user_id"])
            assert isinstance(chat.receiver["user_name"], str | None)


def test_names_are_the_contract_s() -> None:
    assert set(OPERATIONS.values()) == {"new", "delete", "update", "add_reaction", "remove_reaction"}
    assert len(set(SESSION_TYPES.values())) == 5


def test_each_language_has_a_tag() -> None:
    tags = {language.name: language_tag(language) for language in TranscriptLanguage}
    assert (tags["GERMAN"], tags["FRENCH_CANADA"], tags["CHINESE_SIMPLIFIED"]) == ("de", "fr-CA", "zh-Hans")
    assert [name for name, tag in tags.items() if tag is None] == ["NONE"]
    assert len(set(tags.values())) == len(tags)
