"""The parts of Zoom's messages that this version does not know, each with a name to count and keep it by. Pure."""

import enum
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import attrs

from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import (
    ContentType,
    DataOption,
    PayloadType,
    Resolution,
    SampleRate,
    SessionState,
    StatusCode,
    StopReason,
    StreamState,
)
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.products import Events

_MAX_NAME_CHARS: Final = 64
_CODE: Final = re.compile(r"-?[0-9]{1,10}", re.ASCII)
_ODD_IN_PATH: Final = re.compile(r"[^A-Za-z0-9_.]")


class UnknownKind(enum.StrEnum):
    """The kinds of what is unknown; label of `rtmsd_unknown_total`."""

    MESSAGE = "message"  # a message of an unknown type, or of none
    EVENT = "event"  # an event of an unknown type, or of none
    EVENT_CODE = "event_code"  # an event of the second version of the protocol
    FIELD = "field"  # of a known message; also a known one that cannot be read
    VALUE = "value"  # a number that its enum does not have


WHOLE: Final = frozenset({UnknownKind.MESSAGE, UnknownKind.EVENT, UnknownKind.EVENT_CODE})
"""The kinds of whole messages: they are what `counters.unknown` counts."""


@attrs.frozen
class Unknown:
    """Something unknown. Its name has letters, digits and `_.=-` only: "message_31", "event_code_40001"."""

    kind: UnknownKind
    name: str


UNEXPECTED: Final = Unknown(UnknownKind.MESSAGE, "message_unexpected")
"""A message of a known type where it does not belong, or that cannot be read."""


def unknown_message(message: m.UnknownMessage | m.MetaData) -> Unknown:
    number = "without_type" if message.number is None else message.number
    return Unknown(UnknownKind.MESSAGE, f"message_{number}")


def event_name(message: m.EventUpdate, events: Events) -> str:
    """Return `snake_case` of Zoom's name, or one made of the number where there is none.

    Of the protocol's second version only that it has codes is known, so that such an event has its code for a name.
    """
    if message.event_type is None:
        if message.event_code is None:
            return "event_without_type"
        # A name goes to the log, where nothing of what such an event may hold is to be: a text is no code.
        return f"event_code_{message.event_code}" if _CODE.fullmatch(message.event_code) else "event_code_odd"
    try:
        return events.names(message.event_type).name.lower()
    except ValueError:
        return f"event_{message.event_type}"


def unknown_event(message: m.EventUpdate, events: Events) -> Unknown | None:
    if message.event_type is not None and events.knows(message.event_type):
        return None
    is_code = message.event_type is None and message.event_code
    return Unknown(UnknownKind.EVENT_CODE if is_code else UnknownKind.EVENT, event_name(message, events))


_NUMBERS: Final[Mapping[type[m.Message], Mapping[str, Collection[int]]]] = {
    m.StreamStateUpdate: {"state": tuple(StreamState), "reason": tuple(StopReason)},
    m.StreamStateResp: {"state": tuple(StreamState)},
    m.SessionStateUpdate: {"state": tuple(SessionState), "stop_reason": tuple(StopReason)},
    m.SessionStateResp: {"state": tuple(SessionState)},
    m.VideoSubscriptionResp: {"status_code": tuple(StatusCode)},
}
_PARAMETERS: Final[Mapping[str, Collection[int]]] = {
    "content_type": tuple(ContentType),
    "codec": tuple(PayloadType),
    "resolution": tuple(Resolution),
    "sample_rate": tuple(SampleRate),
    "data_opt": tuple(DataOption),
    "src_language": tuple(TranscriptLanguage),
}


def unknown_parts(message: m.Message) -> Iterator[tuple[Unknown, dict[str, Any]]]:
    """Yield the fields of a known message that are not, and the numbers that its enums do not have: `message`, `field`
    and `value` of each.

    Of a handshake's answer the value is only the type of what came: it is where secrets are agreed on.
    """
    name = message.msg_type.name.lower()
    is_secret = isinstance(message, m.SignalingHandshakeResp | m.DataHandshakeResp)
    for key, value in message.extra.items():
        yield unknown_field(name, key, type(value).__name__ if is_secret else value)
    for field, numbers in _NUMBERS.get(type(message), {}).items():
        if (number := getattr(message, field)) not in {None, *numbers}:
            yield unknown_value(name, field, number)
    if isinstance(message, m.DataHandshakeResp) and message.media_params is not None:
        for section, params in attrs.asdict(message.media_params).items():
            for field, number in (params or {}).items():
                if number is not None and field in _PARAMETERS and number not in _PARAMETERS[field]:
                    yield unknown_value(name, f"media_params.{section}.{field}", number)


def unknown_field(message: str, key: str, value: object) -> tuple[Unknown, dict[str, Any]]:
    field = _ODD_IN_PATH.sub("_", key[:_MAX_NAME_CHARS])
    return Unknown(UnknownKind.FIELD, f"{message}.{field}"), {"message": message, "field": field, "value": value}


def unknown_value(message: str, field: str, number: int) -> tuple[Unknown, dict[str, Any]]:
    what = Unknown(UnknownKind.VALUE, f"{message}.{field}={number}")
    return what, {"message": message, "field": field, "value": number}
