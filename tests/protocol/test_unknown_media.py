"""What this version does not know of media messages: samples of audio and pictures, and all texts."""

import json
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.protocol.media_data import Text, decode_batch
from rtmsd.protocol.unknown_media import MAX_SAMPLE_BYTES, unknown_in_sample, unknown_in_text


def sample(msg_type: Any, content: Any, **more: Any) -> bytes:
    return json.dumps({"msg_type": msg_type, "content": content, **more}).encode()


def names_in(raw: bytes) -> list[str]:
    return [what.name for what, _ in unknown_in_sample(raw)]


def text_of(msg_type: int, **content: Any) -> Text:
    handler = Mock()
    decode_batch([sample(msg_type, {"user_id": 7, "timestamp": 5, **content})], handler, Mock())
    [[text]] = [call.args for call in handler.text.call_args_list]
    assert isinstance(text, Text)
    return text


AUDIO = {"user_id": 7, "user_name": "Ana", "channel_id": "c", "data": "AAA=", "length": 2, "timestamp": 5}


@pytest.mark.parametrize(
    ("raw", "names"),
    [
        (sample(14, AUDIO), []),
        (sample(14, {**AUDIO, "gain": 3, "none": None}), ["media_data_audio.content.gain"]),
        (sample("15", {**AUDIO, "rotation 90": 1}), ["media_data_video.content.rotation_90"]),
        (sample(16, AUDIO, sequence=9), ["media_data_share.sequence"]),
        (sample(14, "AAA=", user_id=7, timestamp=5), []),
        (sample(17, {"mood": 1}), []),  # is looked at with each text
        (sample(12, {"mood": 1}), []),
        (sample([], {}), []),
        (b"no JSON", []),
        (sample(14, {**AUDIO, "gain": 3, "data": "A" * MAX_SAMPLE_BYTES}), []),
    ],
)
def test_the_unknown_fields_of_a_sample_are_named(raw: bytes, names: list[str]) -> None:
    assert names_in(raw) == names


@given(st.binary(max_size=60))
def test_a_sample_may_be_anything(raw: bytes) -> None:
    names_in(raw)
    names_in(b'{"msg_type":14,"content":' + raw + b"}")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (text_of(17, data="Hi", language=9, attribute=1), []),
        (text_of(17, data="Hi", language=900, mood="sunny"), ["content.mood", "content.language=900"]),
        (text_of(18, data={"data": "Hi", "operation_type": 1, "chat_session": {"type": 1}}), []),
        (
            text_of(18, data={"data": "Hi", "operation_type": 8, "chat_session": {"type": 9}, "pin": True}),
            ["content.pin", "content.operation_type=8", "content.chat_session.type=9"],
        ),
    ],
)
def test_the_unknown_parts_of_a_text_are_named(text: Text, names: list[str]) -> None:
    assert [what.name.partition(".")[2] for what in unknown_in_text(text)] == names
