"""Messages between parent and workers: what is written can be read, and nothing else does any harm."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.config import AppConfig, Config, DaemonConfig, StreamsConfig
from rtmsd.sinks.deliveries import Figures
from rtmsd.workers.messages import (
    Applied,
    Apply,
    Begin,
    Delivered,
    Died,
    Drain,
    Due,
    Held,
    Hold,
    Inherited,
    Message,
    Peer,
    Peers,
    Ping,
    Pong,
    Ready,
    Release,
    Reload,
    Stop,
    Unreadable,
    decode,
    encode,
)

PEER = Peer(node="2", incarnation="ab", streams=3, is_draining=False, is_ready=True)
CONFIG = Config(
    apps=(AppConfig(client_id="c", client_secret="the-client-secret", webhook_secrets=("the-webhook-secret",)),),
    streams=StreamsConfig(drain_s=3),
    daemon=DaemonConfig(workers=2),
    warnings=("something",),
)
MESSAGES: tuple[Message, ...] = (
    Begin(
        version="1",
        node="2",
        incarnation="ab",
        config_path="/etc/rtmsd.toml",
        config=CONFIG,
        workers=2,
        sockets={"webhook": [3, 4], "metrics": []},
        disk=Inherited(
            state_lock=[5, 6],
            set_aside="/var/lib/state.sqlite.damaged",
            salvaged=3,
            directories={"/var/lib": [7, 8]},
        ),
        members=(PEER,),
        is_draining=True,
        parent_pid=1,
        parent_began_s=2.5,
    ),
    Peers((PEER, PEER)),
    Died("ab"),
    Ping(7),
    Apply(CONFIG),
    Drain(True),
    Drain(False, "2"),
    Stop(False),
    Held("stream"),
    Delivered(Figures([["after", "dead", 2]], 5, {"after": "missing"}, [["after", "retry", 1]])),  # type: ignore[list-item]
    Ready({"webhook": ["127.0.0.1:1"]}),
    Pong(number=7, streams=1, pending_bytes=2, is_draining=False, troubles=["disk_low"]),
    Applied(),
    Reload(),
    Due(),
    Hold("ströem\n"),
    Release("stream"),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_sent_arrives(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_a_configuration_arrives_whole(tmp_path: Path) -> None:
    [begun] = [each for each in MESSAGES if isinstance(each, Begin)]
    arrived = decode(encode(begun))
    assert isinstance(arrived, Begin)
    assert arrived.config.apps[0].client_secret == "the-client-secret"
    assert arrived.config.warnings == ("something",)
    assert hash(arrived.config) == hash(CONFIG)
    assert arrived.config.of_app("main") == CONFIG.of_app("main")


def test_no_secret_is_in_the_text_of_a_message() -> None:
    assert "secret" not in repr(MESSAGES[0])


@given(st.binary(max_size=200))
def test_garbage_is_unreadable(line: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_message_with_a_wrong_field_is_unreadable_or_another(data: st.DataObject) -> None:
    """Whatever is decoded has values of the types that its reader expects."""
    message = data.draw(st.sampled_from(MESSAGES))
    fields = json.loads(encode(message))
    fields[data.draw(st.sampled_from([*fields, "more"]))] = data.draw(JSON)
    try:
        decoded = decode(json.dumps(fields).encode())
    except Unreadable:
        return
    assert decode(encode(decoded)) == decoded
