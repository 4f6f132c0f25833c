"""What signaling and media connections have in common: text in, messages and answers out, a state table each way.

An illegal move names both sides. Ours is a bug and raises; Zoom's during the handshake ends the attempt; Zoom's later
is counted and ignored, as is everything unreadable or unknown.
"""

import abc
import enum
from collections import Counter
from collections.abc import Mapping
from typing import Final, Generic, TypeAlias, TypeVar

import attrs

from rtmsd.errors import HandshakeRejected, LocalProtocolError, RemoteProtocolError
from rtmsd.protocol.codec import decode, encode
from rtmsd.protocol.messages import (
    DataHandshakeResp,
    KeepAliveReq,
    KeepAliveResp,
    Message,
    MetaData,
    SessionRef,
    SignalingHandshakeResp,
    UnknownMessage,
)
from rtmsd.protocol.reading import CorruptKind, Malformed, Raw

MAX_WAITING: Final = 64  # messages not yet taken by `to_send`; answers to keep-alives beyond are dropped and counted

StateT = TypeVar("StateT", bound=enum.Enum)
Table: TypeAlias = Mapping[tuple[StateT, type[Message]], StateT]


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
            messages that are illegal now, "unknown_message", "unknown_field", and "unanswered" for keep-alives while
            `MAX_WAITING` messages wait to be sent.
    """

    def __init__(self, rules: Rules[StateT], hello: Message) -> None:
        self._rules = rules
        self._hello = hello
        self._outbox: list[str] = []
        self.state = rules.new
        self.counts: Counter[str] = Counter()

    def hello(self) -> None:
        """Queue the handshake request, the first message of a connection."""
        self.send(self._hello)

    def send(self, message: Message) -> None:
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

    def receive(self, raw: Raw) -> Message | None:
        """Take in one frame and return its message, or None when it was counted and ignored.

        Raises:
            HandshakeRejected: the handshake was answered with a status other than 0; the connection is closed.
            RemoteProtocolError: before the connection is up, anything unreadable or illegal; the connection is closed.
        """
        if self.state is self._rules.closed:
            self.counts[CorruptKind.UNEXPECTED.value] += 1
            return None
        try:
            message = decode(raw)
            if isinstance(message, UnknownMessage | MetaData):
                self.counts["unknown_message"] += 1
                return None
            self.state = self._state_after(message)
        except RemoteProtocolError as exc:
            if self.state is not self._rules.up:
                self.close()
                raise
            kind = exc.kind if isinstance(exc, Malformed) else CorruptKind.UNEXPECTED
            self.counts[kind.value] += 1
            return None
        if message.extra:
            self.counts["unknown_field"] += len(message.extra)
        if isinstance(message, KeepAliveReq):
            self._answer(message)
        return message

    def close(self) -> None:
        """Forget the connection: from here on nothing is sent, and what comes is ignored."""
        self.state = self._rules.closed

    def _state_after(self, message: Message) -> StateT:
        try:
            state = self._rules.received[self.state, type(message)]
        except KeyError:
            raise RemoteProtocolError(f"Zoom may not send {_name(message)} when we are {self.state.name}") from None
        if isinstance(message, SignalingHandshakeResp | DataHandshakeResp):
            if message.status_code != 0:
                raise HandshakeRejected(message.status_code, message.reason)
            self._accepted(message)
        return state

    @abc.abstractmethod
    def _accepted(self, message: SignalingHandshakeResp | DataHandshakeResp) -> None:
        """Take in the answer that ends the handshake, or raise RemoteProtocolError if nothing can be done with it."""

    def _answer(self, request: KeepAliveReq) -> None:
        if len(self._outbox) < MAX_WAITING:
            self.send(KeepAliveResp(timestamp=request.timestamp, sequence=request.sequence))
        else:
            self.counts["unanswered"] += 1


def second_id(session: SessionRef, wanted: bool) -> Mapping[str, str]:
    """Return what to send beside `session`: Zoom's Video SDK sample sends the same id as `meeting_uuid`, too."""
    return {"meeting_uuid": session.id} if wanted else {}


def _name(message: Message) -> str:
    return f"{type(message).__name__} ({message.msg_type})"
