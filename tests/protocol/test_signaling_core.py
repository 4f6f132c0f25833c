"""The signaling conversation: a state machine that plays any order of messages, and single cases."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rtmsd.errors import HandshakeRejected, LocalProtocolError, RemoteProtocolError, UnspokenProtocol
from rtmsd.protocol import messages as m
from rtmsd.protocol.codec import encode
from rtmsd.protocol.connection import MAX_EARLY, MAX_EARLY_BYTES, MAX_WAITING
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_params import choose_url
from rtmsd.protocol.reading import Malformed, load_object
from rtmsd.protocol.signaling import RECEIVED, SENT, SignalingConnection, SignalingState

SESSION = m.SessionRef("session_id", "Kz9+aB/cD3eFgHiJkLmN0w==")
ACCEPTED = '{"msg_type":2,"status_code":0,"media_server":{"server_urls":{"all":"wss://127.0.0.1:9444/all"}}}'

OURS: tuple[m.Message, ...] = (
    m.EventSubscription(events=(m.EventChoice(event_type=2, subscribe=True),)),
    m.ClientReadyAck(rtms_stream_id="r"),
    m.SessionStateReq(rtms_session_id="rs"),
    m.KeepAliveResp(timestamp=1),
    m.StreamStateReq(rtms_stream_id="r"),
    m.StreamCloseReq(rtms_stream_id="r"),
    m.VideoSubscriptionReq(user_id=1, subscribe=True, timestamp=1),
)
NEVER_OURS: tuple[m.Message, ...] = (
    m.KeepAliveReq(timestamp=1),
    m.StreamStateUpdate(state=1),
    m.DataHandshakeReq(session=SESSION, rtms_stream_id="r", signature="s", media_type=1),
    m.UnknownMessage(number=99),
)
ZOOMS: tuple[m.Message, ...] = (
    m.EventUpdate(event_type=1, timestamp=1),
    m.StreamStateUpdate(state=1),
    m.SessionStateUpdate(rtms_session_id="rs", state=2),
    m.SessionStateResp(rtms_session_id="rs", state=2),
    m.StreamStateResp(state=1),
    m.StreamCloseResp(),
    m.VideoSubscriptionResp(user_id=1),
)
NEVER_ZOOMS: tuple[m.Message, ...] = (
    *OURS,
    m.SignalingHandshakeReq(session=SESSION, rtms_stream_id="r", signature="s"),
    m.DataHandshakeResp(status_code=0),
)


def new_connection() -> SignalingConnection:
    return SignalingConnection(SESSION, "9f2c", "7823")


def up_connection() -> SignalingConnection:
    connection = new_connection()
    connection.hello()
    connection.to_send()
    connection.receive(ACCEPTED)
    return connection


def is_object(raw: str | bytes) -> bool:
    """Whether it is a message of some kind, be it of none that is known."""
    try:
        load_object(raw)
    except Malformed:
        return False
    return True


NO_MESSAGES = (st.text() | st.binary()).filter(lambda raw: not is_object(raw))


class SignalingMachine(RuleBasedStateMachine):
    """`expected` is the state by a model of four lines: hello, accepted, refused or noise before that, closed."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = new_connection()
        self.expected = SignalingState.NEW
        self.sent: list[dict[str, Any]] = []
        self.early: list[str] = []

    def fail_handshake(self) -> None:
        if self.expected is not SignalingState.UP:
            self.expected = SignalingState.CLOSED

    @invariant()
    def the_state_is_the_models(self) -> None:
        assert self.connection.state is self.expected

    @invariant()
    def exactly_what_was_allowed_is_sent(self) -> None:
        assert [json.loads(text) for text in self.connection.to_send()] == self.sent
        self.sent = []

    @rule()
    def hello(self) -> None:
        if self.expected is SignalingState.NEW:
            self.connection.hello()
            self.expected = SignalingState.HANDSHAKING
            self.sent.append(
                {
                    "msg_type": 1,
                    "protocol_version": 1,
                    "sequence": 1,
                    "session_id": SESSION.id,
                    "rtms_stream_id": "9f2c",
                    "signature": "7823",
                    "buffer_data": True,
                }
            )
        else:
            with pytest.raises(LocalProtocolError, match=self.expected.name):
                self.connection.hello()

    @precondition(lambda self: self.expected is SignalingState.HANDSHAKING)
    @rule()
    def accepted(self) -> None:
        message = self.connection.receive(ACCEPTED)
        assert isinstance(message, m.SignalingHandshakeResp)
        self.expected = SignalingState.UP

    @precondition(lambda self: self.expected is SignalingState.HANDSHAKING)
    @rule(status=st.integers(1, 60), reason=st.none() | st.text(max_size=5))
    def refused(self, status: int, reason: str | None) -> None:
        with pytest.raises(HandshakeRejected) as caught:
            self.connection.receive(json.dumps({"msg_type": 2, "status_code": status, "reason": reason}))
        assert (caught.value.status_code, caught.value.reason) == (status, reason or "")
        self.expected = SignalingState.CLOSED

    @rule(raw=NO_MESSAGES | st.just(encode(m.DataHandshakeResp(status_code=0))))
    def noise(self, raw: str | bytes) -> None:
        known = self.connection.counts.total()
        if self.expected in {SignalingState.UP, SignalingState.CLOSED}:
            assert self.connection.receive(raw) is None
            assert self.connection.counts.total() == known + 1
        else:
            with pytest.raises(RemoteProtocolError):
                self.connection.receive(raw)
        self.fail_handshake()

    @rule(message=st.sampled_from([*NEVER_ZOOMS[:-1], *ZOOMS]))
    def too_early_or_out_of_place(self, message: m.Message) -> None:
        """Before the answer it is kept for later, whatever it is."""
        known, raw = self.connection.counts.total(), encode(message)
        if self.expected in {SignalingState.UP, SignalingState.CLOSED}:
            is_fine = self.expected is SignalingState.UP and message in ZOOMS
            assert (self.connection.receive(raw) is None) != is_fine
            assert self.connection.counts.total() == known + (not is_fine)
        else:
            assert self.connection.receive(raw) is None
            self.early.append(raw)

    @precondition(lambda self: self.expected is SignalingState.UP)
    @rule()
    def what_came_early_is_taken(self) -> None:
        assert [raw.decode() for raw in self.connection.take_early()] == self.early
        self.early = []

    @rule(number=st.integers(23, 27) | st.integers(30, 99), value=st.integers())
    def unknown_types_never_matter(self, number: int, value: int) -> None:
        message = self.connection.receive(json.dumps({"msg_type": number, "value": value}))
        assert self.expected is SignalingState.CLOSED or isinstance(message, m.UnknownMessage | m.MetaData)

    @rule(raw=st.sampled_from(["{}", b"{}", '{"msg_type":null}', '{"msg_type":"SIGNALING_HAND_SHAKE_RESP"}']))
    def messages_without_a_type_never_matter(self, raw: str | bytes) -> None:
        known = self.connection.counts.total()
        message = self.connection.receive(raw)
        expected = m.UnknownMessage(number=None, fields=json.loads(raw))
        assert message == (None if self.expected is SignalingState.CLOSED else expected)
        assert self.connection.counts.total() == known + 1

    @precondition(lambda self: self.expected is SignalingState.UP)
    @rule(message=st.sampled_from(ZOOMS))
    def zoom_speaks(self, message: m.Message) -> None:
        assert type(self.connection.receive(encode(message))) is type(message)

    @rule(ms=st.integers() | st.floats(0, 1e12) | st.text(max_size=5), sequence=st.none() | st.integers(0, 2**40))
    def keep_alive_is_answered(self, ms: float | str, sequence: int | None) -> None:
        request = {"msg_type": 12, "timestamp": ms} | ({} if sequence is None else {"sequence": sequence})
        self.connection.receive(json.dumps(request))
        if self.expected in {SignalingState.UP, SignalingState.HANDSHAKING}:
            self.sent.append({**request, "msg_type": 13})
        elif self.expected is SignalingState.NEW:  # the handshake request goes first
            self.early.append(json.dumps(request))

    @rule(message=st.sampled_from(OURS))
    def we_speak(self, message: m.Message) -> None:
        is_answer = self.expected is SignalingState.HANDSHAKING and isinstance(message, m.KeepAliveResp)
        if self.expected is SignalingState.UP or is_answer:
            self.connection.send(message)
            self.sent.append(json.loads(encode(message)))
        else:
            with pytest.raises(LocalProtocolError):
                self.connection.send(message)

    @rule(message=st.sampled_from(NEVER_OURS))
    def we_never_say(self, message: m.Message) -> None:
        with pytest.raises(LocalProtocolError, match=type(message).__name__):
            self.connection.send(message)

    @precondition(lambda self: self.expected is SignalingState.UP)
    @rule()
    def close(self) -> None:
        self.connection.close()
        self.expected = SignalingState.CLOSED


TestSignaling = SignalingMachine.TestCase
TestSignaling.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_the_handshake_needs_somewhere_to_go() -> None:
    connection = new_connection()
    connection.hello()
    with pytest.raises(UnspokenProtocol, match="no WebSocket address"):
        connection.receive('{"msg_type":2,"status_code":0}')
    assert connection.state is SignalingState.CLOSED


@pytest.mark.parametrize(
    ("asked", "answered", "why"),
    [
        (1, 2, "Zoom answered with protocol version 2, which rtmsd does not speak"),
        (2, 3, "Zoom answered with protocol version 3, which rtmsd does not speak"),
        (2, 1, r"Zoom answered with protocol version 1, and 2 was asked for \(app.protocol_version\)"),
        (1, 1, None),
        (2, 2, None),
        (1, None, None),
        (2, None, None),
    ],
)
def test_the_version_that_was_asked_for_is_spoken(asked: int, answered: int | None, why: str | None) -> None:
    urls = {"server_urls": {"all": "wss://media.zoom.us"}}
    answer = json.dumps({"msg_type": 2, "status_code": 0, "protocol_version": answered, "media_server": urls})
    connection = SignalingConnection(SESSION, "r", "s", protocol_version=asked)
    connection.hello()
    assert json.loads(connection.to_send()[0])["protocol_version"] == asked
    if why is None:
        connection.receive(answer)
        assert connection.state is SignalingState.UP
    else:
        with pytest.raises(UnspokenProtocol, match=f"^{why}$"):
            connection.receive(answer)
        assert connection.state is SignalingState.CLOSED


@pytest.mark.parametrize("status", [3, 8])
def test_a_refusal_counts_before_its_version(status: int) -> None:
    connection = new_connection()
    connection.hello()
    with pytest.raises(HandshakeRejected):
        connection.receive(json.dumps({"msg_type": 2, "status_code": status, "protocol_version": 2}))


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        ({"audio": "srt://secret.zoom.us:9000?passphrase=x", "all": "SRT://b"}, r"srt://\.\.\."),
        ({"all": "srt://a,rtmp://b"}, r"srt://\.\.\., rtmp://\.\.\."),
        ({"all": {"srt": "srt://a"}}, "none of any kind"),
        ({}, "none of any kind"),
    ],
)
def test_addresses_of_other_transports_are_named_by_their_kind_alone(urls: dict[str, Any], shown: str) -> None:
    connection = new_connection()
    connection.hello()
    with pytest.raises(UnspokenProtocol, match=rf"^Zoom named no WebSocket address \({shown}\)$"):
        connection.receive(json.dumps({"msg_type": 2, "status_code": 0, "media_server": {"server_urls": urls}}))


def test_one_websocket_address_among_others_is_enough() -> None:
    connection = new_connection()
    connection.hello()
    urls = {"audio": "srt://a", "all": "srt://b, wss://media.zoom.us/x"}
    answer = connection.receive(json.dumps({"msg_type": 2, "status_code": 0, "media_server": {"server_urls": urls}}))
    assert isinstance(answer, m.SignalingHandshakeResp)
    assert choose_url(answer.media_urls, MediaType.AUDIO) == "wss://media.zoom.us/x"


def test_an_illegal_move_names_both_sides() -> None:
    connection = new_connection()
    with pytest.raises(LocalProtocolError, match=r"we may not send ClientReadyAck \(7\) when NEW"):
        connection.send(m.ClientReadyAck(rtms_stream_id="r"))
    connection.hello()
    with pytest.raises(RemoteProtocolError, match=r"Zoom may not send DataHandshakeResp \(4\) when we are HANDSHAKING"):
        connection.receive('{"msg_type":4,"status_code":0}')


def test_a_keep_alive_before_the_answer_is_answered() -> None:
    connection = new_connection()
    connection.hello()
    connection.to_send()
    assert isinstance(connection.receive('{"msg_type":12,"timestamp":7,"sequence":1}'), m.KeepAliveReq)
    assert connection.to_send() == ['{"msg_type":13,"timestamp":7,"sequence":1}']
    assert connection.state is SignalingState.HANDSHAKING


@pytest.mark.parametrize(
    "early",
    ['{"msg_type":6,"event":{"event_type":1,"timestamp":1}}', '{"msg_type":8}', '{"msg_type":14,"content":{}}'],
)
def test_what_comes_before_the_answer_is_kept_or_counted(early: str) -> None:
    connection = new_connection()
    connection.hello()
    assert connection.receive(early) is None
    connection.receive(ACCEPTED)
    assert connection.take_early() == [early.encode()]
    refused = new_connection()
    refused.hello()
    refused.receive(early)
    with pytest.raises(HandshakeRejected):
        refused.receive('{"msg_type":2,"status_code":3}')
    assert refused.counts == {"too_early": 1}


def test_what_is_kept_before_the_answer_is_bounded() -> None:
    many, large = new_connection(), new_connection()
    many.hello()
    for _ in range(MAX_EARLY + 5):
        many.receive('{"msg_type":8,"state":1}')
    assert len(many.take_early()) == MAX_EARLY
    assert many.counts == {"too_early": 5}
    large.hello()
    for _ in range(5):
        large.receive('{"msg_type":8,"state":1,"x":"' + "x" * (MAX_EARLY_BYTES // 4) + '"}')
    assert len(large.take_early()) == 3
    assert large.counts == {"too_early": 2}


def test_frames_may_be_text_or_binary() -> None:
    connection = new_connection()
    connection.hello()
    connection.receive(ACCEPTED.encode())
    connection.receive(bytearray(b'{"msg_type":12,"timestamp":1.50}'))
    assert connection.to_send()[-1] == '{"msg_type":13,"timestamp":1.5}'


def test_an_unreadable_answer_ends_the_attempt() -> None:
    connection = new_connection()
    connection.hello()
    with pytest.raises(Malformed):
        connection.receive("[]")
    assert connection.state is SignalingState.CLOSED


def test_what_is_ignored_is_counted_by_kind() -> None:
    connection = up_connection()
    for raw in (
        b"\xff",
        "{",
        "null",
        '{"msg_type":8}',
        '{"msg_type":14,"content":{}}',
        ACCEPTED,
        '{"msg_type":77}',
        '{"msg_type":23}',
        '{"msg_type":8,"state":9,"reason":99,"ui_state":1,"is_broadcast":true}',
        '{"msg_type":6,"event":{"event_type":29,"timestamp":1}}',
        '{"msg_type":9,"rtms_session_id":"rs","state":7}',
    ):
        connection.receive(raw)
    assert connection.state is SignalingState.UP
    assert connection.counts == {
        "bad_utf8": 1,
        "bad_json": 1,
        "not_object": 1,
        "wrong_type": 1,
        "unexpected": 2,
        "unknown_message": 2,
        "unknown_field": 2,
    }


def test_unsent_answers_are_bounded() -> None:
    connection = up_connection()
    for _ in range(MAX_WAITING + 5):
        connection.receive('{"msg_type":12,"timestamp":1}')
    assert connection.counts == {"unanswered": 5}
    assert len(connection.to_send()) == MAX_WAITING
    connection.receive('{"msg_type":12,"timestamp":2}')
    assert connection.to_send() == ['{"msg_type":13,"timestamp":2}']


def test_options_of_the_handshake() -> None:
    connection = SignalingConnection(SESSION, "r", "s", buffer_data=False, also_meeting_uuid=True)
    connection.hello()
    (text,) = connection.to_send()
    sent = json.loads(text)
    assert sent["session_id"] == sent["meeting_uuid"] == SESSION.id
    assert sent["buffer_data"] is False


def test_the_tables_lead_out_of_no_dead_end() -> None:
    """Nothing is sent or received when closed; every state but closed has a way on."""
    sources = {state for state, _ in (*SENT, *RECEIVED)}
    assert sources == set(SignalingState) - {SignalingState.CLOSED}
