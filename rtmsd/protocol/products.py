"""Zoom's products: everything in which they differ, one row each. The rest of the protocol is the same for all.

A new product is a row of `PRODUCTS`, with an id key of its own in `IdKey`, and its case in the tests of this table.
Where sources disagree, the row says what is accepted. Source: protocol.md, sections 1.2, 3.2 and 8.
"""

import enum
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from rtmsd.protocol.enums import EventType, MediaType, VoiceEventType
from rtmsd.protocol.media_types import NAMES

IdKey: TypeAlias = Literal["session_id", "meeting_uuid", "webinar_uuid", "engagement_id", "call_id"]
SpeakerKey: TypeAlias = Literal["user_id", "channel_id"]


class Events(NamedTuple):
    """A numbering of in-session events.

    Attributes:
        names: the numbers with Zoom's names.
        nameless: numbers that are in use and have no published names.
        joins, leaves: the events of a participant who comes or goes.
        always: what to subscribe to, whatever media are asked for.
        with_media: what to subscribe to with each medium.
    """

    names: type[enum.IntEnum]
    nameless: tuple[int, ...]
    joins: frozenset[int]
    leaves: frozenset[int]
    always: tuple[int, ...]
    with_media: Mapping[MediaType, tuple[int, ...]]

    def knows(self, number: int) -> bool:
        """Whether an event of this number is in use, as far as this version knows."""
        return number in self.nameless or number in tuple(self.names)

    def wanted(self, media: MediaType) -> tuple[int, ...]:
        """Return the events to subscribe to with these media."""
        return (*self.always, *(event for bit, events in self.with_media.items() if bit & media for event in events))


# FIRST_PACKET_TIMESTAMP and MEDIA_CONNECTION_INTERRUPTED always come; Zoom warns against subscribing to them.
_PEOPLE: Final = (EventType.ACTIVE_SPEAKER_CHANGE, EventType.PARTICIPANT_JOIN, EventType.PARTICIPANT_LEAVE)

_EVENTS: Final = Events(
    names=EventType,
    nameless=(),
    joins=frozenset({EventType.PARTICIPANT_JOIN}),
    leaves=frozenset({EventType.PARTICIPANT_LEAVE}),
    always=_PEOPLE,
    with_media={
        MediaType.DESKSHARE: (EventType.SHARING_START, EventType.SHARING_STOP),
        MediaType.VIDEO: (EventType.PARTICIPANT_VIDEO_ON, EventType.PARTICIPANT_VIDEO_OFF),
        MediaType.CHAT: tuple(event for event in EventType if event.name.startswith("CHAT_GROUP")),
    },
)
IVR: Final = tuple(range(30, 35))
_VOICE_EVENTS: Final = Events(
    names=VoiceEventType,
    nameless=IVR,
    joins=_EVENTS.joins | {VoiceEventType.CONSUMER_ANSWERED, VoiceEventType.USER_ANSWERED},
    leaves=_EVENTS.leaves
    | {VoiceEventType.CONSUMER_END, VoiceEventType.USER_END, VoiceEventType.CONFERENCE_PARTICIPANT_LEFT},
    always=(*_PEOPLE, *(event for event in VoiceEventType if event >= VoiceEventType.CONSUMER_ANSWERED), *IVR),
    with_media={},
)


class RestEndpoint(NamedTuple):
    """The request of Zoom's REST API that controls streams: PATCH to a path, with credentials of one kind."""

    path: str
    auth: Literal["video-sdk", "oauth"]


class Product(NamedTuple):
    """A product on the wire.

    Attributes:
        webhook_prefix: of its webhooks' names, before "started", "stopped" or "interrupted".
        id_keys: of the session, meeting, ...: the first that is there counts; we and the simulator send the first.
        media: granted by Zoom to an app with all scopes.
        events: how it numbers in-session events.
        speaker_keys: name the participant in media data, the usual one first.
        unified_urls: keys of message 2 that serve all media on one connection, before the usual "all".
        rest: None where Zoom has published none.
        transfers: signaling that Zoom closes with code 1000 before the end has moved, and is at the same address.
    """

    webhook_prefix: str
    id_keys: tuple[IdKey, ...]
    media: MediaType
    events: Events = _EVENTS
    speaker_keys: tuple[SpeakerKey, ...] = ("user_id",)
    unified_urls: tuple[str, ...] = ()
    rest: RestEndpoint | None = None
    transfers: bool = False


_VOICE: Final = MediaType.AUDIO | MediaType.TRANSCRIPT
_ALL: Final = MediaType(sum(NAMES))
_LIVE_MEETING: Final = RestEndpoint("/live_meetings/{id}/rtms_app/status", "oauth")

PRODUCTS: Final[Mapping[str, Product]] = {
    "session": Product(
        "session.rtms_",
        ("session_id",),
        _VOICE,
        rest=RestEndpoint("/videosdk/sessions/{id}/rtms_app/status", "video-sdk"),
    ),
    "meeting": Product("meeting.rtms_", ("meeting_uuid",), _ALL, rest=_LIVE_MEETING),
    # Sources disagree on the key. That a webinar is controlled as a meeting is, is assumed.
    "webinar": Product("webinar.rtms_", ("webinar_uuid", "meeting_uuid"), _ALL, rest=_LIVE_MEETING),
    "contact_center": Product(
        "contact_center.voice_rtms_",
        ("engagement_id", "session_id"),  # a sample of Zoom's takes the second for want of the first
        _VOICE,
        _VOICE_EVENTS,
        ("channel_id",),
        unified_urls=("audio",),
        transfers=True,
        # It has a REST request, too, whose path is not published.
    ),
    "phone": Product(
        "phone.rtms_",
        ("call_id",),
        _VOICE,
        speaker_keys=("user_id", "channel_id"),
        rest=RestEndpoint("/phone/calls/{id}/rtms_app/status", "oauth"),
    ),
}
"""By name: the part of `webhook_prefix` before the dot."""

ID_KEYS: Final[tuple[IdKey, ...]] = tuple(dict.fromkeys(key for row in PRODUCTS.values() for key in row.id_keys))
ENDPOINTS: Final = {name: row.rest for name, row in PRODUCTS.items() if row.rest is not None}
REST_PRODUCTS: Final = " and ".join((", ".join([*ENDPOINTS][:-1]), [*ENDPOINTS][-1]))


def product_of(name: str) -> Product:
    """Return a product's row; of an unknown product, as of a newer version's state file, that of sessions."""
    return PRODUCTS.get(name, PRODUCTS["session"])
