"""Webhooks between members: what is sent is read, and nothing else is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.cluster.hooks import (
    MAX_BYTES,
    BadHook,
    decode_command,
    decode_verdict,
    encode_command,
    encode_verdict,
)
from rtmsd.commands import StreamCommand, Verdict
from rtmsd.protocol.times import LATEST_MS
from tests.cluster.crew import interrupt, start, stop

_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_times = st.integers(0, LATEST_MS - 1)
_commands: st.SearchStrategy[StreamCommand] = st.one_of(
    st.builds(start, _texts, _times, _texts),
    st.builds(stop, _texts, st.one_of(st.none(), _times), st.integers(0, 99), _texts),
    st.builds(interrupt, _texts, _times),
)


@given(_commands)
def test_a_command_is_read_as_it_was_sent(command: StreamCommand) -> None:
    assert decode_command(encode_command(command)) == command


@given(st.one_of(st.binary(), _texts.map(str.encode)))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(BadHook):
        decode_command(data)


@given(_commands, st.data())
def test_a_damaged_command_is_read_or_refused(command: StreamCommand, data: st.DataObject) -> None:
    sent = bytearray(encode_command(command))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_command(bytes(sent))
    except BadHook:
        return
    assert decode_command(encode_command(read)) == read


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "end"),
        (("kind",), ["start"]),
        (("command",), None),
        (("command", "product"), "radio"),
        (("command", "session"), {"key": "call_id", "id": "x"}),
        (("command", "session"), {"key": "session_id", "id": ""}),
        (("command", "rtms_stream_id"), ""),
        (("command", "app"), ""),
        (("command", "event_ts"), -1),
        (("command", "event_ts"), None),
        (("command", "event_ts"), LATEST_MS),
        (("command", "event_ts"), "1"),
        (("command", "server_urls"), "https://rtms.zoom.test"),
        (("command", "details"), {"a": 2**63}),
        (("command", "details"), json.loads("[" * 40 + "]" * 40)),
        (("command", "details"), {"a": json.loads("[" * 40 + "]" * 40)}),
        (("command", "details"), {"a": "x" * MAX_BYTES}),
    ],
)
def test_what_no_webhook_could_have_made_is_refused(path: tuple[str, ...], value: Any) -> None:
    fields = json.loads(encode_command(start()))
    inner = fields
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(BadHook):
        decode_command(json.dumps(fields).encode())


def test_verdicts() -> None:
    for verdict in (*Verdict, None):
        assert decode_verdict(encode_verdict(verdict)) is verdict
    for data in (b"", b"nothing", b"\xff", b"x" * 1000):
        with pytest.raises(BadHook):
            decode_verdict(data)
