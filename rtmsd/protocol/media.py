"""A media connection without IO: its handshake and its keep-alives. Media data go past it, to `media_data`."""

import enum
from typing import Final

from rtmsd.errors import RemoteProtocolError
from rtmsd.protocol import messages as m
from rtmsd.protocol.connection import Connection, Rules, Table, second_id
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_params import absent, audio_format, negotiated, only, requested, with_defaults


class MediaState(enum.Enum):
    NEW = enum.auto()
    HANDSHAKING = enum.auto()  # message 3 is sent
    STREAMING = enum.auto()  # message 4 said yes; data come once message 7 was sent on signaling
    CLOSED = enum.auto()


# The server plays the other side: the same two tables, swapped.
SENT: Final[Table[MediaState]] = {
    (MediaState.NEW, m.DataHandshakeReq): MediaState.HANDSHAKING,
    (MediaState.HANDSHAKING, m.KeepAliveResp): MediaState.HANDSHAKING,
    (MediaState.STREAMING, m.KeepAliveResp): MediaState.STREAMING,
}
RECEIVED: Final[Table[MediaState]] = {
    (MediaState.HANDSHAKING, m.DataHandshakeResp): MediaState.STREAMING,
    (MediaState.HANDSHAKING, m.SignalingHandshakeResp): MediaState.CLOSED,  # one of Zoom's pages refuses with message 2
    (MediaState.STREAMING, m.KeepAliveReq): MediaState.STREAMING,
}

_RULES: Final = Rules(
    new=MediaState.NEW, up=MediaState.STREAMING, closed=MediaState.CLOSED, sent=SENT, received=RECEIVED
)


class MediaConnection(Connection[MediaState]):
    """The client's side of one media connection; once STREAMING, `receive` is given what is not media data.

    Attributes:
        negotiated: every parameter of the requested media: as requested at first, from the handshake on as agreed, and
            of those only that are given.
        absent: what the answer says nothing of, although it names other media: it will not come.
        unusable: what is given in a form that this version cannot read, and why, in words.

    Args:
        signature: of `handshake_signature`.
        media_type: the bits to ask for, or ALL.
        params: what to ask for; sections of other media are left out.
        also_meeting_uuid: send the id as `meeting_uuid`, too.
        protocol_version: to ask for.
    """

    def __init__(
        self,
        session: m.SessionRef,
        rtms_stream_id: str,
        signature: str,
        media_type: MediaType,
        params: m.MediaParams,
        *,
        also_meeting_uuid: bool = False,
        protocol_version: int = 1,
    ) -> None:
        hello = m.DataHandshakeReq(
            session=session,
            rtms_stream_id=rtms_stream_id,
            signature=signature,
            media_type=media_type,
            media_params=only(params, media_type),
            protocol_version=protocol_version,
            extra=second_id(session, also_meeting_uuid),
        )
        super().__init__(_RULES, hello)
        self.negotiated = with_defaults(params, media_type)
        self.absent = MediaType(0)
        self.unusable: dict[MediaType, str] = {}

    def _accepted(self, message: m.SignalingHandshakeResp | m.DataHandshakeResp) -> None:
        if not isinstance(message, m.DataHandshakeResp):
            raise RemoteProtocolError("status 0 in message 2 on a media connection")
        agreed = negotiated(self.negotiated, message.media_params)
        asked = requested(self.negotiated)
        self.absent = absent(asked, message.media_params)
        if message.payload_encrypted:
            why = "the payload is encrypted, which was not asked for"
            self.unusable = {bit: why for bit in MediaType if bit & asked & ~self.absent}
        elif agreed.audio is not None and not self.absent & MediaType.AUDIO:
            try:
                audio_format(agreed.audio)
            except RemoteProtocolError as error:
                self.unusable = {MediaType.AUDIO: str(error)}
        refused = self.absent | MediaType(sum(self.unusable))
        self.negotiated = only(agreed, asked & ~refused)
