"""The conversation on one WebSocket, base of signaling and media: text in, messages and answers out, a table each way.

An illegal move names both sides. Ours is a bug and raises; Zoom's is counted and ignored, as is everything unreadable
or unknown. Two things end a handshake: an answer that is unreadable or illegal, and before it a frame that is no
message at all. Messages that come before the answer but belong after it are kept until then.
"""

import abc
import enum
from collections import Counter
from collections.abc import Mapping
from typing import Final, Generic, TypeAlias, TypeVar

import attrs

from rtmsd.errors import HandshakeRejected, LocalProtocolError, RemoteProtocolError, UnspokenProtocol
from rtmsd.protocol import messages as m
from rtmsd.protocol.codec import decode, encode
from rtmsd.protocol.enums import MsgType
from rtmsd.protocol.reading import CorruptKind, Malformed, Raw, load_object, read_int

MAX_WAITING: Final = 64  # messages not yet taken by `to_send`; answers to keep-alives beyond are dropped and counted
MAX_EARLY: Final = 1000  # frames kept that came before the handshake's answer, and
MAX_EARLY_BYTES: Final = 4 * 2**20  # what they may hold together; beyond, they are counted

_ANSWERS: Final = frozenset({MsgType.SIGNALING_HAND_SHAKE_RESP, MsgType.DATA_HAND_SHAKE_RESP})

StateT = TypeVar("StateT", bound=enum.Enum)
Table: TypeAlias = Mapping[tuple[StateT, type[m.Message]], StateT]


@attrs.frozen(kw_only=True)
class Rules(Generic[StateT]):
    """The states of a kind of connection, and its table for each direction."""

    new: StateT
    up: StateT
    closed: StateT
    sent: Table[StateT]
    received: Table[StateT]


class Connection(abc.ABC, Generic[StateT]):
    """One WebSocket's conversation without the WebSocket. Keep-alives are answered by itself.

    Attributes:
        state: where the conversation is.
        counts: what was received and ignored: the values of `CorruptKind` for unreadable frames, "unexpected" also for
            messages that are illegal now, "unknown_message", "unknown_field", "unanswered" for keep-alives while
            `MAX_WAITING` messages wait to be sent, and "too_early" for what came before a handshake that failed, or
            beyond what is kept of that.
    """

    def __init__(self, rules: Rules[StateT], hello: m.SignalingHandshakeReq | m.DataHandshakeReq) -> None:
        self._rules = rules
        self._hello = hello
        self._outbox: list[str] = []
        self._early: list[bytes] = []
        self._early_bytes = 0
        self.state = rules.new
        self.counts: Counter[str] = Counter()

    def hello(self) -> None:
        """Queue the handshake request, the first message of a connection."""
        self.send(self._hello)

    def send(self, message: m.Message) -> None:
        """Queue `message` for `to_send`.

        Raises:
            LocalProtocolError: it may not be sent in this state.
        """
        try:
            self.state = self._rules.sent[self.state, type(message)]
        except KeyError:
            raise LocalProtocolError(f"we may not send {_name(message)} when {self.state.name}") from None
        self._outbox.append(encode(message))

    def to_send(self) -> list[str]:
        """Return, and forget, the texts to send now, in order."""
        texts, self._outbox = self._outbox, []
        return texts

    def receive(self, raw: Raw) -> m.Message | None:
        """Take in one frame and return its message, or None when it was counted and ignored, or is kept for later.

        One of an unknown type is counted and returned whatever the state is: only its user can keep it.

        Raises:
            HandshakeRejected: the handshake was answered with a status other than 0; the connection is closed.
            UnspokenProtocol: it was accepted in a version of the protocol, or for a transport, that we do not speak;
                the connection is closed.
            RemoteProtocolError: before the connection is up, an answer that is unreadable or illegal, or no message at
                all; the connection is closed.
        """
        if self.state is self._rules.closed:
            self.counts[CorruptKind.UNEXPECTED.value] += 1
            return None
        try:
            message = decode(raw)
            if isinstance(message, m.UnknownMessage | m.MetaData):
                self.counts["unknown_message"] += 1
                return message
            if self.state is not self._rules.up and message.msg_type not in _ANSWERS:
                return self._came_early(raw, message)
            self.state = self._state_after(message)
        except RemoteProtocolError as exc:
            if self.state is not self._rules.up:
                if isinstance(exc, Malformed) and _is_for_later(raw):
                    return self._came_early(raw, None)
                self.close()
                raise
            kind = exc.kind if isinstance(exc, Malformed) else CorruptKind.UNEXPECTED
            self.counts[kind.value] += 1
            return None
        if message.extra:
            self.counts["unknown_field"] += len(message.extra)
        if isinstance(message, m.KeepAliveReq):
            self._answer(message)
        return message

    def take_early(self) -> list[bytes]:
        """Return, and forget, the frames that came before the handshake's answer: they can be received now."""
        early, self._early, self._early_bytes = self._early, [], 0
        return early

    def close(self) -> None:
        """Forget the connection: from here on nothing is sent, and what comes is ignored."""
        self.state = self._rules.closed
        self._outbox.clear()
        if early := self.take_early():
            self.counts["too_early"] += len(early)

    def _came_early(self, raw: Raw, message: m.Message | None) -> m.Message | None:
        """Answer a keep-alive, which waits for nobody; keep anything else until the handshake is done."""
        if isinstance(message, m.KeepAliveReq) and (self.state, m.KeepAliveResp) in self._rules.sent:
            self._answer(message)
            return message
        frame = raw.encode("utf-8", "replace") if isinstance(raw, str) else bytes(raw)
        if len(self._early) < MAX_EARLY and self._early_bytes + len(frame) <= MAX_EARLY_BYTES:
            self._early.append(frame)
            self._early_bytes += len(frame)
        else:
            self.counts["too_early"] += 1
        return None

    def _state_after(self, message: m.Message) -> StateT:
        try:
            state = self._rules.received[self.state, type(message)]
        except KeyError:
            raise RemoteProtocolError(f"Zoom may not send {_name(message)} when we are {self.state.name}") from None
        if isinstance(message, m.SignalingHandshakeResp | m.DataHandshakeResp):
            if message.status_code != 0:
                raise HandshakeRejected(message.status_code, message.reason)
            if message.protocol_version not in {None, self._hello.protocol_version}:
                raise UnspokenProtocol(_unspoken(message.protocol_version, self._hello.protocol_version))
            self._accepted(message)
        return state

    @abc.abstractmethod
    def _accepted(self, message: m.SignalingHandshakeResp | m.DataHandshakeResp) -> None:
        """Take in the answer that ends the handshake, or raise RemoteProtocolError if nothing can be done with it."""

    def _answer(self, request: m.KeepAliveReq) -> None:
        if len(self._outbox) < MAX_WAITING:
            self.send(m.KeepAliveResp(timestamp=request.timestamp, sequence=request.sequence))
        else:
            self.counts["unanswered"] += 1


def second_id(session: m.SessionRef, wanted: bool) -> Mapping[str, str]:
    """Return what to send beside `session`: Zoom's Video SDK sample sends the same id as `meeting_uuid`, too."""
    return {"meeting_uuid": session.id} if wanted else {}


def _unspoken(answered: int | None, asked: int | None) -> str:
    if answered == 1:
        return f"Zoom answered with protocol version {answered}, and {asked} was asked for (app.protocol_version)"
    return f"Zoom answered with protocol version {answered}, which rtmsd does not speak"


def _is_for_later(raw: Raw) -> bool:
    """Whether an unreadable frame is some message, other than the answer that is waited for."""
    try:
        return read_int(load_object(raw).get("msg_type")) not in _ANSWERS
    except (TypeError, Malformed):
        return False


def _name(message: m.Message) -> str:
    return f"{type(message).__name__} ({message.msg_type})"
