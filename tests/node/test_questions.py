"""Questions and answers between members: what is written is read again, and garbage is never obeyed."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.admin.messages import AdminError, Code
from rtmsd.node.questions import (
    LIST_BYTES,
    Act,
    AskReport,
    AskStreams,
    BadAnswer,
    BadQuestion,
    Drain,
    DrainReport,
    FindStreams,
    Flag,
    Gather,
    Move,
    Names,
    Question,
    Report,
    StreamLine,
    StreamList,
    TroubleLine,
    Undrain,
    decode_answer,
    decode_question,
    encode_answer,
    encode_question,
    encode_refusal,
    fitting,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
QUESTIONS: list[Question] = [
    AskReport(),
    AskStreams(include_ended=True),
    FindStreams("9f/2c"),
    Act("stop", "9f2c"),
    Drain(),
    Drain("a"),
    Undrain("a"),
    Undrain(),
    Move("9f2c"),
    Move("9f2c", "b.2"),
    Gather("9f/2c"),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_a_question_is_read_as_it_was_written(question: Question) -> None:
    assert decode_question(encode_question(question)) == question


def test_a_newer_version_may_say_more() -> None:
    assert decode_question(b'{"kind": "streams", "include_ended": false, "sorted": true}') == AskStreams()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"kind": "shutdown"}',
        b'{"kind": ["drain"]}',
        b'{"kind": "act", "command": "shutdown", "rtms_stream_id": "x"}',
        b'{"kind": "act", "command": "stop"}',
        b'{"kind": "act", "command": "stop", "rtms_stream_id": ""}',
        b'{"kind": "act", "command": "stop", "rtms_stream_id": 7}',
        b'{"kind": "move", "rtms_stream_id": "x", "node": "../b"}',
        b'{"kind": "move", "rtms_stream_id": "x", "node": "b.>"}',
        b'{"kind": "streams", "include_ended": 1}',
        b'{"kind": "find", "prefix": ""}',
        b'{"kind": "drain"' + b" " * 9000 + b"}",
        b"[" * 5000,
        b'{"kind": "stop", "rtms_stream_id": "\xff"}',
    ],
)
def test_what_is_no_question_is_refused(data: bytes) -> None:
    with pytest.raises(BadQuestion):
        decode_question(data)


@given(data=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_no_question(data: bytes) -> None:
    with pytest.raises(BadQuestion):
        decode_question(data)


@given(
    kind=st.sampled_from(["act", "move", "streams", "find", "gather"]),
    fields=st.dictionaries(st.text(max_size=16), JSON),
)
def test_whatever_is_in_a_question_it_is_read_or_refused(kind: str, fields: dict[str, Any]) -> None:
    try:
        question = decode_question(json.dumps({**fields, "kind": kind}).encode())
    except BadQuestion:
        return
    assert question == AskStreams(include_ended=fields.get("include_ended") is True)


LINE = StreamLine(rtms_stream_id="a\ud800", state="active", epoch=2, gaps=3, flags=(Flag.UNCLAIMED, Flag.SLOT_HELD))


@pytest.mark.parametrize(
    "answer",
    [
        Report(),
        Report(troubles=(TroubleLine("clock", "off"),), drain=DrainReport(running=False, stayed=1, why={"s": "no"})),
        StreamList(streams=(LINE,), omitted=4),
        Names(live=("a",), ended=("b", "c")),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_an_answer_is_read_as_it_was_written(answer: Any) -> None:
    assert decode_answer(encode_answer(answer), type(answer)) == answer


@pytest.mark.parametrize("code", Code)
def test_a_refusal_arrives_with_its_code(code: Code) -> None:
    with pytest.raises(AdminError) as caught:
        decode_answer(encode_refusal(AdminError(code, "not so")), Names)
    assert (caught.value.code, caught.value.detail) == (code, "not so")


@given(data=st.binary(max_size=60) | JSON.map(lambda value: json.dumps({"answer": value, "n": 1}).encode()))
@pytest.mark.parametrize("of", [Report, StreamList, Names])
def test_garbage_is_no_answer(of: type[Any], data: bytes) -> None:
    try:
        read = decode_answer(data, of)
    except BadAnswer:
        return
    assert isinstance(read, of)


@pytest.mark.parametrize("refusal", [{}, {"code": "nonsense", "detail": ""}, {"code": "failed", "detail": 1}, None, 3])
def test_a_refusal_that_is_none(refusal: object) -> None:
    with pytest.raises(BadAnswer):
        decode_answer(json.dumps({"refusal": refusal}).encode(), Names)


def test_a_list_that_is_too_long_says_how_much_is_missing() -> None:
    lines = [StreamLine(rtms_stream_id=f"{number:04}" * 100) for number in range(2000)]
    listed = fitting(lines)
    assert listed.streams == tuple(lines[: len(listed.streams)])
    assert 0 < len(listed.streams) == 2000 - listed.omitted < 2000
    assert len(encode_answer(listed)) < LIST_BYTES + 1000
