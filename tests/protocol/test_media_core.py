"""The conversation on a media connection, beside the media."""

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rtmsd.errors import HandshakeRejected, LocalProtocolError, RemoteProtocolError, UnspokenProtocol
from rtmsd.protocol import messages as m
from rtmsd.protocol.codec import encode
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media import MediaConnection, MediaState
from rtmsd.protocol.media_params import AudioParams, VideoParams, requested, with_defaults
from tests.protocol.test_signaling_core import NO_MESSAGES

SESSION = m.SessionRef("session_id", "Kz9+aB/cD3eFgHiJkLmN0w==")
PARAMS = m.MediaParams(audio=AudioParams(data_opt=2, send_rate=100), video=VideoParams(fps=3))


def new_connection(media_type: MediaType = MediaType.AUDIO) -> MediaConnection:
    return MediaConnection(SESSION, "9f2c", "7823", media_type, PARAMS)


def handshaking_connection(media_type: MediaType = MediaType.AUDIO) -> MediaConnection:
    connection = new_connection(media_type)
    connection.hello()
    connection.to_send()
    return connection


class MediaMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.connection = new_connection()
        self.expected = MediaState.NEW
        self.sent: list[dict[str, Any]] = []

    @invariant()
    def the_state_is_the_models(self) -> None:
        assert self.connection.state is self.expected

    @invariant()
    def exactly_what_was_allowed_is_sent(self) -> None:
        assert [json.loads(text) for text in self.connection.to_send()] == self.sent
        self.sent = []

    @rule()
    def hello(self) -> None:
        if self.expected is MediaState.NEW:
            self.connection.hello()
            self.expected = MediaState.HANDSHAKING
            self.sent.append(
                {
                    "msg_type": 3,
                    "protocol_version": 1,
                    "sequence": 1,
                    "session_id": SESSION.id,
                    "rtms_stream_id": "9f2c",
                    "signature": "7823",
                    "media_type": 1,
                    "payload_encryption": False,
                    "media_params": {"audio": {"data_opt": 2, "send_rate": 100}},
                }
            )
        else:
            with pytest.raises(LocalProtocolError, match=self.expected.name):
                self.connection.hello()

    @precondition(lambda self: self.expected is MediaState.HANDSHAKING)
    @rule(send_rate=st.sampled_from([None, 20, 100]))
    def accepted(self, send_rate: int | None) -> None:
        echo = m.MediaParams(audio=AudioParams(send_rate=send_rate))
        self.connection.receive(encode(m.DataHandshakeResp(status_code=0, media_params=echo)))
        self.expected = MediaState.STREAMING
        assert self.connection.negotiated.audio is not None
        assert self.connection.negotiated.audio.send_rate == (send_rate or 100)

    @precondition(lambda self: self.expected is MediaState.HANDSHAKING)
    @rule(number=st.sampled_from([2, 4]), status=st.integers(1, 60))
    def refused_in_either_message(self, number: int, status: int) -> None:
        with pytest.raises(HandshakeRejected) as caught:
            self.connection.receive(json.dumps({"msg_type": number, "status_code": status, "reason": "no"}))
        assert caught.value.status_code == status
        self.expected = MediaState.CLOSED

    @rule(raw=st.sampled_from(['{"msg_type":8,"state":1}', '{"msg_type":14,"content":{}}']))
    def too_early_or_out_of_place(self, raw: str) -> None:
        known = self.connection.counts.total()
        assert self.connection.receive(raw) is None
        is_kept = self.expected in {MediaState.NEW, MediaState.HANDSHAKING}
        assert self.connection.counts.total() == known + (not is_kept)

    @rule(raw=NO_MESSAGES)
    def noise(self, raw: str | bytes) -> None:
        if self.expected in {MediaState.STREAMING, MediaState.CLOSED}:
            known = self.connection.counts.total()
            assert self.connection.receive(raw) is None
            assert self.connection.counts.total() == known + 1
        else:
            with pytest.raises(RemoteProtocolError):
                self.connection.receive(raw)
            self.expected = MediaState.CLOSED

    @precondition(lambda self: self.expected is MediaState.STREAMING)
    @rule(ms=st.integers(), sequence=st.none() | st.integers(0, 2**40))
    def keep_alive_is_answered(self, ms: int, sequence: int | None) -> None:
        request = {"msg_type": 12, "timestamp": ms} | ({} if sequence is None else {"sequence": sequence})
        self.connection.receive(json.dumps(request))
        self.sent.append({**request, "msg_type": 13})

    @rule(message=st.sampled_from([m.ClientReadyAck(rtms_stream_id="r"), m.KeepAliveReq(timestamp=1)]))
    def what_belongs_on_signaling_is_not_sent_here(self, message: m.Message) -> None:
        with pytest.raises(LocalProtocolError, match=type(message).__name__):
            self.connection.send(message)

    @precondition(lambda self: self.expected is MediaState.STREAMING)
    @rule()
    def close(self) -> None:
        self.connection.close()
        self.expected = MediaState.CLOSED


TestMedia = MediaMachine.TestCase
TestMedia.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ('{"msg_type":2,"status_code":0}', "message 2"),
        ('{"msg_type":4}', "status_code"),
    ],
)
def test_an_unusable_answer_ends_the_attempt(answer: str, match: str) -> None:
    connection = handshaking_connection()
    with pytest.raises(RemoteProtocolError, match=match):
        connection.receive(answer)
    assert connection.state is MediaState.CLOSED


def test_media_before_the_answer_are_kept() -> None:
    connection = handshaking_connection()
    early = '{"msg_type":14,"content":{"user_id":1,"data":"","timestamp":1}}'
    assert connection.receive(early) is None
    connection.receive('{"msg_type":4,"status_code":0}')
    assert connection.take_early() == [early.encode()]


AUDIO, VIDEO = MediaType.AUDIO, MediaType.VIDEO


@pytest.mark.parametrize(
    ("answer", "absent", "unusable"),
    [
        ('"payload_encrypted":true', MediaType(0), {AUDIO: "encrypted", VIDEO: "encrypted"}),
        ('"media_params":{"audio":{"codec":77},"video":{}}', MediaType(0), {AUDIO: "negotiated audio"}),
        ('"media_params":{"audio":{"sample_rate":9},"video":{}}', MediaType(0), {AUDIO: "negotiated audio"}),
        ('"media_params":{"audio":{"channel":6},"video":{}}', MediaType(0), {AUDIO: "6 channels"}),
        ('"media_params":{"video":{"fps":1}}', AUDIO, {}),
        ('"media_params":{"transcript":{}}', AUDIO | VIDEO, {}),
        ('"media_params":{}', MediaType(0), {}),
        ('"media_params":{"audio":null}', MediaType(0), {}),
    ],
)
def test_absent_and_unusable_media_are_distinguished(
    answer: str, absent: MediaType, unusable: dict[MediaType, str]
) -> None:
    connection = handshaking_connection(AUDIO | VIDEO)
    connection.receive('{"msg_type":4,"status_code":0,' + answer + "}")
    assert connection.state is MediaState.STREAMING
    assert connection.absent == absent
    assert connection.unusable.keys() == unusable.keys()
    assert all(part in connection.unusable[bit] for bit, part in unusable.items())
    assert requested(connection.negotiated) == (AUDIO | VIDEO) & ~absent & ~MediaType(sum(unusable))


def test_without_an_echo_it_is_as_requested_and_by_default() -> None:
    connection = handshaking_connection(MediaType.ALL)
    connection.receive('{"msg_type":4,"status_code":0,"media_params":null}')
    assert connection.negotiated == with_defaults(PARAMS, MediaType.ALL)


def test_an_echo_of_media_not_asked_for_is_ignored() -> None:
    connection = handshaking_connection()
    connection.receive('{"msg_type":4,"status_code":0,"media_params":{"video":{"fps":9},"audio":{"sample_rate":0}}}')
    assert connection.negotiated.video is None
    assert connection.negotiated.audio is not None
    assert connection.negotiated.audio.sample_rate == 0


def test_the_id_can_be_sent_twice() -> None:
    connection = MediaConnection(SESSION, "r", "s", MediaType.AUDIO, PARAMS, also_meeting_uuid=True)
    connection.hello()
    (text,) = connection.to_send()
    sent = json.loads(text)
    assert sent["session_id"] == sent["meeting_uuid"] == SESSION.id


@pytest.mark.parametrize(("asked", "answered"), [(1, 2), (2, 1), (2, 3)])
def test_media_in_another_version_are_not_taken(asked: int, answered: int) -> None:
    connection = MediaConnection(SESSION, "9f2c", "7823", MediaType.AUDIO, PARAMS, protocol_version=asked)
    connection.hello()
    assert json.loads(connection.to_send()[0])["protocol_version"] == asked
    with pytest.raises(UnspokenProtocol, match=f"protocol version {answered}"):
        connection.receive(json.dumps({"msg_type": 4, "status_code": 0, "protocol_version": answered}))
    assert connection.state is MediaState.CLOSED
