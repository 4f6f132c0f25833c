"""The signaling connection without IO: it starts, steers and ends a stream."""

import enum
from typing import Final

from rtmsd.errors import UnspokenProtocol
from rtmsd.protocol import messages as m
from rtmsd.protocol.addresses import shown_schemes, websocket_url
from rtmsd.protocol.connection import Connection, Rules, Table, second_id


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

    def _accepted(self, message: m.SignalingHandshakeResp | m.DataHandshakeResp) -> None:
        if isinstance(message, m.SignalingHandshakeResp):
            addresses = message.media_urls.values()
            if not any(map(websocket_url, addresses)):
                raise UnspokenProtocol(f"Zoom named no WebSocket address ({shown_schemes(addresses)})")
