"""The signaling connection without IO: it starts, steers and ends a stream."""

import enum
from collections.abc import Collection, Mapping
from functools import cache
from typing import Final

from rtmsd.errors import UnspokenProtocol
from rtmsd.protocol import messages as m
from rtmsd.protocol.addresses import shown_schemes, websocket_url
from rtmsd.protocol.connection import Connection, Rules, Table, second_id
from rtmsd.protocol.enums import SessionState, StopReason, StreamState
from rtmsd.protocol.products import IdKey, product_with
from rtmsd.protocol.reading import Raw


class SignalingState(enum.Enum):
    NEW = enum.auto()
    HANDSHAKING = enum.auto()  # message 1 is sent
    UP = enum.auto()  # message 2 said yes
    CLOSED = enum.auto()


_UP_SENT: Final = (
    m.EventSubscription,
    m.ClientReadyAck,
    m.SessionStateReq,
    m.KeepAliveResp,
    m.StreamStateReq,
    m.StreamCloseReq,
    m.VideoSubscriptionReq,
)
_UP_RECEIVED: Final = (
    m.EventUpdate,
    m.StreamStateUpdate,
    m.SessionStateUpdate,
    m.SessionStateResp,
    m.KeepAliveReq,
    m.StreamStateResp,
    m.StreamCloseResp,
    m.VideoSubscriptionResp,
)

# The server plays the other side: the same two tables, swapped.
SENT: Final[Table[SignalingState]] = {
    (SignalingState.NEW, m.SignalingHandshakeReq): SignalingState.HANDSHAKING,
    (SignalingState.HANDSHAKING, m.KeepAliveResp): SignalingState.HANDSHAKING,
    **{(SignalingState.UP, message_class): SignalingState.UP for message_class in _UP_SENT},
}
RECEIVED: Final[Table[SignalingState]] = {
    (SignalingState.HANDSHAKING, m.SignalingHandshakeResp): SignalingState.UP,
    **{(SignalingState.UP, message_class): SignalingState.UP for message_class in _UP_RECEIVED},
}

_RULES: Final = Rules(
    new=SignalingState.NEW, up=SignalingState.UP, closed=SignalingState.CLOSED, sent=SENT, received=RECEIVED
)


@cache
def _numbers(key: IdKey) -> Mapping[type[m.Message], Mapping[str, Collection[int]]]:
    """Return the fields that hold a number of an enum, for the product with this id key.

    A number that is not listed is passed on, and counted as "unknown_number".
    """
    return {
        m.EventUpdate: {"event_type": tuple(product_with(key).events.names)},
        m.StreamStateUpdate: {"state": tuple(StreamState), "reason": tuple(StopReason)},
        m.StreamStateResp: {"state": tuple(StreamState)},
        m.SessionStateUpdate: {"state": tuple(SessionState), "stop_reason": tuple(StopReason)},
        m.SessionStateResp: {"state": tuple(SessionState)},
    }


class SignalingConnection(Connection[SignalingState]):
    """The client's side of one signaling connection.

    Args:
        signature: of `handshake_signature`.
        buffer_data: False throws away the audio that Zoom kept while we were connecting for the first time.
        also_meeting_uuid: send the id as `meeting_uuid`, too.
        protocol_version: to ask for.
    """

    def __init__(
        self,
        session: m.SessionRef,
        rtms_stream_id: str,
        signature: str,
        *,
        buffer_data: bool = True,
        also_meeting_uuid: bool = False,
        protocol_version: int = 1,
    ) -> None:
        hello = m.SignalingHandshakeReq(
            session=session,
            rtms_stream_id=rtms_stream_id,
            signature=signature,
            protocol_version=protocol_version,
            buffer_data=buffer_data,
            extra=second_id(session, also_meeting_uuid),
        )
        super().__init__(_RULES, hello)
        self._numbers = _numbers(session.key)

    def receive(self, raw: Raw) -> m.Message | None:
        message = super().receive(raw)
        if message is None:
            return None
        for field, known in self._numbers.get(type(message), {}).items():
            number = getattr(message, field)
            if number is not None and number not in known:
                self.counts["unknown_number"] += 1
        return message

    def _accepted(self, message: m.SignalingHandshakeResp | m.DataHandshakeResp) -> None:
        if isinstance(message, m.SignalingHandshakeResp):
            addresses = message.media_urls.values()
            if not any(map(websocket_url, addresses)):
                raise UnspokenProtocol(f"Zoom named no WebSocket address ({shown_schemes(addresses)})")
