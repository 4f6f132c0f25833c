"""The messages of RTMS V1, one attrs class each, except media data (14-18), which `media_data.py` reads.

Field names are the wire's, apart from `session`. Times are Zoom's, in milliseconds since the Unix epoch.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from rtmsd.protocol.bounds import bounded_id, bounded_name, bounded_text
from rtmsd.protocol.enums import MsgType
from rtmsd.protocol.media_params import MediaParams as MediaParams  # noqa: PLC0414 (a field of messages 3 and 4, exported with them)
from rtmsd.protocol.products import IdKey


@attrs.frozen
class SessionRef:
    """The session, meeting, ... of a stream: its product's wire key, and the opaque id, never trimmed or re-encoded."""

    key: IdKey
    id: str


@attrs.frozen(kw_only=True)
class Message:
    """Base of all messages.

    `extra` holds keys this version does not know, and known optional ones of an unusable type, so that they can be
    counted and logged. What a sender puts there is sent along.
    """

    msg_type: ClassVar[MsgType] = MsgType.UNDEFINED
    extra: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)


# Signaling


@attrs.frozen(kw_only=True)
class SignalingHandshakeReq(Message):
    msg_type: ClassVar = MsgType.SIGNALING_HAND_SHAKE_REQ
    session: SessionRef
    rtms_stream_id: str
    signature: str = attrs.field(repr=False)
    protocol_version: int | None = 1
    sequence: int | None = 1
    buffer_data: bool | None = None


@attrs.frozen(kw_only=True)
class SignalingHandshakeResp(Message):
    """`media_urls` is `media_server.server_urls`: media name to URL; a plain string is read as {"all": it}."""

    msg_type: ClassVar = MsgType.SIGNALING_HAND_SHAKE_RESP
    status_code: int
    reason: str = attrs.field(default="", converter=bounded_text)
    media_urls: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    protocol_version: int | None = None
    sequence: int | None = None


@attrs.frozen(kw_only=True)
class EventChoice:
    """An event by its type, or by its code in the second version of the protocol."""

    event_type: int | None = None
    event_code: int | None = None
    subscribe: bool


@attrs.frozen(kw_only=True)
class EventSubscription(Message):
    msg_type: ClassVar = MsgType.EVENT_SUBSCRIPTION
    events: tuple[EventChoice, ...]


@attrs.frozen(kw_only=True)
class Participant:
    """`user_id` is None where only a `channel_id` names the person; `user_name` often comes later.

    Contact center also gives a `role` ("caller" or "callee", there called `participant_mode`) and a `phone_number`.
    """

    user_id: int | None = None
    user_name: str | None = attrs.field(default=None, converter=attrs.converters.optional(bounded_name))
    channel_id: str | None = attrs.field(default=None, converter=attrs.converters.optional(bounded_id))
    role: str | None = attrs.field(default=None, converter=attrs.converters.optional(bounded_text))
    phone_number: str | None = attrs.field(default=None, converter=attrs.converters.optional(bounded_text))


@attrs.frozen(kw_only=True)
class EventUpdate(Message):
    """`details` is the whole `event` object as received; the typed fields are what is read from it.

    `participants` also holds the one person of a flat event, and of contact center's `participant_info`.
    Events of the second version of the protocol may have an `event_code` alone, whose numbers are not published.
    """

    msg_type: ClassVar = MsgType.EVENT_UPDATE
    event_type: int | None = None
    event_code: str | None = None  # a number as digits
    timestamp: int | None = None
    participants: tuple[Participant, ...] = ()
    details: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ClientReadyAck(Message):
    msg_type: ClassVar = MsgType.CLIENT_READY_ACK
    rtms_stream_id: str


@attrs.frozen(kw_only=True)
class StreamStateUpdate(Message):
    msg_type: ClassVar = MsgType.STREAM_STATE_UPDATE
    state: int
    reason: int | None = None
    timestamp: int | None = None
    rtms_stream_id: str | None = None


@attrs.frozen(kw_only=True)
class SessionStateUpdate(Message):
    """`rtms_session_id` is None where no id key is there; Zoom's mock server calls it `session_id`."""

    msg_type: ClassVar = MsgType.SESSION_STATE_UPDATE
    rtms_session_id: str | None = attrs.field(default=None, converter=attrs.converters.optional(bounded_id))
    state: int
    stop_reason: int | None = None
    timestamp: int | None = None


@attrs.frozen(kw_only=True)
class SessionStateReq(Message):
    msg_type: ClassVar = MsgType.SESSION_STATE_REQ
    rtms_session_id: str


@attrs.frozen(kw_only=True)
class SessionStateResp(Message):
    msg_type: ClassVar = MsgType.SESSION_STATE_RESP
    rtms_session_id: str
    state: int | None = None
    timestamp: int | None = None
    status_code: int | None = None
    reason: str = attrs.field(default="", converter=bounded_text)


@attrs.frozen(kw_only=True)
class StreamStateReq(Message):
    msg_type: ClassVar = MsgType.STREAM_STATE_REQ
    rtms_stream_id: str


@attrs.frozen(kw_only=True)
class StreamStateResp(Message):
    msg_type: ClassVar = MsgType.STREAM_STATE_RESP
    rtms_stream_id: str | None = None
    state: int | None = None
    timestamp: int | None = None  # seconds on the wire in one example; the codec makes it milliseconds


@attrs.frozen(kw_only=True)
class StreamCloseReq(Message):
    msg_type: ClassVar = MsgType.STREAM_CLOSE_REQ
    rtms_stream_id: str


@attrs.frozen(kw_only=True)
class StreamCloseResp(Message):
    msg_type: ClassVar = MsgType.STREAM_CLOSE_RESP
    rtms_stream_id: str | None = None
    status_code: int = 0
    reason: str = attrs.field(default="", converter=bounded_text)
    timestamp: int | None = None


@attrs.frozen(kw_only=True)
class VideoSubscriptionReq(Message):
    msg_type: ClassVar = MsgType.VIDEO_SUBSCRIPTION_REQ
    user_id: int
    subscribe: bool
    timestamp: int


@attrs.frozen(kw_only=True)
class VideoSubscriptionResp(Message):
    msg_type: ClassVar = MsgType.VIDEO_SUBSCRIPTION_RESP
    user_id: int | None = None
    status_code: int = 0
    reason: str = attrs.field(default="", converter=bounded_text)
    timestamp: int | None = None


# Media connection


@attrs.frozen(kw_only=True)
class DataHandshakeReq(Message):
    msg_type: ClassVar = MsgType.DATA_HAND_SHAKE_REQ
    session: SessionRef
    rtms_stream_id: str
    signature: str = attrs.field(repr=False)
    media_type: int  # bits of `MediaType`
    media_params: MediaParams | None = None
    payload_encryption: bool | None = False
    protocol_version: int | None = 1
    sequence: int | None = 1


@attrs.frozen(kw_only=True)
class DataHandshakeResp(Message):
    """`payload_encrypted` is read from either of its two spellings."""

    msg_type: ClassVar = MsgType.DATA_HAND_SHAKE_RESP
    status_code: int
    reason: str = attrs.field(default="", converter=bounded_text)
    media_params: MediaParams | None = None
    payload_encrypted: bool = False
    protocol_version: int | None = None
    sequence: int | None = None


@attrs.frozen(kw_only=True)
class MetaData(Message):
    """Messages 23-27: 23 has no published shape, 24-27 are reserved. Read, counted, ignored."""

    msg_type: ClassVar = MsgType.META_DATA_AUDIO
    number: int
    content: Any = None


# Both kinds of connection


@attrs.frozen(kw_only=True)
class KeepAliveReq(Message):
    """`timestamp` is echoed exactly as it came, and `sequence`, too; what is missing is missing in the answer."""

    msg_type: ClassVar = MsgType.KEEP_ALIVE_REQ
    timestamp: Any = None
    sequence: int | None = None


@attrs.frozen(kw_only=True)
class KeepAliveResp(Message):
    msg_type: ClassVar = MsgType.KEEP_ALIVE_RESP
    timestamp: Any = None
    sequence: int | None = None


@attrs.frozen(kw_only=True)
class UnknownMessage(Message):
    """A well-formed object with a `msg_type` this version does not know (or with none: `number` is None)."""

    number: int | None
    fields: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
