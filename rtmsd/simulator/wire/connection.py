"""One WebSocket connection of a client, after the upgrade: its messages and its keep-alives."""

import contextlib
import enum
import json
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from rtmsd.protocol.codec import encode
from rtmsd.protocol.enums import MediaType, MsgType
from rtmsd.protocol.messages import MediaParams, Message
from rtmsd.simulator.model.record import ConnectionSpan, KeepAlive, Peer, Record
from rtmsd.simulator.model.settings import Dialect, Timing
from rtmsd.simulator.wire.frames import frames, to_json
from rtmsd.simulator.wire.wire import Token, Wire, WireState

ConnectionKind: TypeAlias = Literal["signaling", "media"]


class ConnectionState(enum.Enum):
    HANDSHAKING = enum.auto()
    NEGOTIATED = enum.auto()  # waits for message 7
    UP = enum.auto()  # media streams
    ENDED = enum.auto()


class SimConnection:
    """A signaling (`media_type` 0) or media connection.

    Attributes:
        media_type: the granted bits; ALL stays set when it was asked for.
        params: as negotiated.
        contested_s: local time of the refusal of a second connection beside this one.
        ready_s: local time of the media handshake, until message 7 is received.
    """

    def __init__(
        self, number: int, websocket: WebSocketConnection, wire: Wire, *, peer: Peer, path: str, close_s: float
    ) -> None:
        self.number = number
        self.peer = peer
        self.path = path
        self.wire = wire
        self.state = ConnectionState.HANDSHAKING
        self.media_type = MediaType(0)
        self.span: ConnectionSpan | None = None
        self.dialect = Dialect()
        self.contested_s: float | None = None
        self.ready_s: float | None = None
        self.params = MediaParams()
        self.opened_ms = 0  # when the handshake succeeded
        self.busy_ms = 0  # when media was last sent
        self._websocket = websocket
        self._close_s = close_s
        self._unanswered: dict[int, KeepAlive] = {}
        self._asked_ms = 0
        self._missed = 0
        self._neglected = 0  # the latest of those missed that reached the client
        self._sequence = 0

    @property
    def kind(self) -> ConnectionKind:
        return "media" if self.media_type else "signaling"

    # Messages

    def post(self, fields: Mapping[str, Any], token: Token | None = None) -> None:
        """Send a JSON object in this session's dialect, without waiting."""
        self.wire.put(frames(to_json(fields, self.dialect), self.dialect), token)

    def send(self, message: Message) -> None:
        """Send a protocol message, without waiting."""
        self.post(json.loads(encode(message)))

    async def receive(self) -> str | bytes:
        """Return the next message.

        Raises:
            ConnectionClosed: by either side.
        """
        return await self._websocket.get_message()

    async def close(self) -> None:
        """Send what was posted, then the close handshake, within the time that the settings give it."""
        with trio.move_on_after(self._close_s), contextlib.suppress(ConnectionClosed):
            await self._websocket.aclose()

    @property
    def how_closed(self) -> str:
        """The client's close, in words."""
        closed = self._websocket.closed
        return f"closed by the client with {closed.code}" if closed is not None else "closed by the client"

    # Keep-alives

    @property
    def quiet_since_ms(self) -> int:
        """The time since which nothing was sent that makes a keep-alive request superfluous.

        On signaling only requests count; on a dead wire media do not count either.
        """
        if self.media_type and self.wire.state is not WireState.DEAD:
            return max(self._asked_ms, self.busy_ms)
        return max(self._asked_ms, self.opened_ms)

    def ask_alive(self, now_ms: int, record: Record) -> None:
        """Send message 12, with a timestamp unique in the session."""
        previous = record.keep_alives[-1].timestamp_ms if record.keep_alives else 0
        timestamp_ms = max(now_ms, previous + 1)
        self._sequence += 1
        sequence = self._sequence if self.dialect.keep_alive_sequence else None
        asked = KeepAlive(
            connection=self.number, timestamp_ms=timestamp_ms, sequence=sequence, asked_s=time.monotonic()
        )
        record.keep_alives.append(asked)
        self._unanswered[timestamp_ms] = asked
        self._asked_ms = now_ms
        self._missed += 1
        self._neglected = self._neglected + 1 if self.wire.state is WireState.OPEN else 0
        request: dict[str, Any] = {"msg_type": int(MsgType.KEEP_ALIVE_REQ), "timestamp": timestamp_ms}
        self.post(request if sequence is None else {**request, "sequence": sequence})
        while len(self._unanswered) > 16:
            del self._unanswered[next(iter(self._unanswered))]

    def answer(self, fields: Mapping[str, Any]) -> str | None:
        """Match message 13 to its request; return what is wrong with it, or None."""
        timestamp_ms = fields.get("timestamp")
        asked = self._unanswered.pop(timestamp_ms, None) if type(timestamp_ms) is int else None
        if asked is None:
            return "no request of this connection has this timestamp"
        asked.answered_s = time.monotonic()
        self._missed = self._neglected = 0
        asked.sequence_echoed = asked.sequence is None or fields.get("sequence") == asked.sequence
        return None

    def plays_dead(self, timing: Timing) -> bool:
        return self._missed >= timing.keep_alive_misses

    def neglects_keep_alives(self, timing: Timing) -> bool:
        """Whether the client is at fault: on a stalled or half-open wire no request reaches it."""
        return self._neglected >= timing.keep_alive_misses
