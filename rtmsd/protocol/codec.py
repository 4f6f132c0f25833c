"""The codec between text frames and messages: strict in what is sent, tolerant in what is read.

Of Zoom's variants, null is the same as left out; a number may come as a decimal string; an optional field
of the wrong type is set aside in `Message.extra` beside the unknown ones, so that only a missing
required field makes a message unreadable; an unknown `msg_type` gives `UnknownMessage`.
"""

import json
from collections.abc import Mapping
from typing import Final

import attrs

from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import MsgType
from rtmsd.protocol.reading import CorruptKind, Fields, Malformed, Raw, load_object, read_int, split
from rtmsd.protocol.times import read_time
from rtmsd.protocol.variants import READERS, WRITERS

_MESSAGES: Final[Mapping[int, type[m.Message]]] = {
    each.msg_type: each
    for each in vars(m).values()
    if isinstance(each, type) and issubclass(each, m.Message) and each not in (m.Message, m.MetaData, m.UnknownMessage)
}

_ECHOED: Final = frozenset({m.KeepAliveReq, m.KeepAliveResp})
"""Their time goes back exactly as it came."""


def encode(message: m.Message) -> str:
    """Return `message` as compact JSON: enums as numbers, None left out, `extra` sent along."""
    fields = _known_fields(message)
    number = fields.pop("number", None) if isinstance(message, m.UnknownMessage | m.MetaData) else message.msg_type
    writer = WRITERS.get(type(message))
    wire = ({} if number is None else {"msg_type": number}) | (writer(fields) if writer else fields)
    return json.dumps({**message.extra, **wire}, separators=(",", ":"))


def decode(raw: Raw) -> m.Message:
    """Read one frame of a signaling connection, or one that is not media data (14-18) of a media connection.

    Raises:
        Malformed: not UTF-8, not JSON, not an object, a required field missing or of the wrong type, or media data.
    """
    fields = load_object(raw)
    number = _msg_type(fields.get("msg_type"))
    if number is None:
        return m.UnknownMessage(number=None, fields=fields)
    del fields["msg_type"]
    if MsgType.MEDIA_DATA_AUDIO <= number <= MsgType.MEDIA_DATA_CHAT:
        raise Malformed(CorruptKind.UNEXPECTED, f"media data {number}")
    if MsgType.META_DATA_AUDIO <= number <= MsgType.META_DATA_CHAT:
        return m.MetaData(number=number, content=fields.pop("content", None), extra=fields)
    message_class = _MESSAGES.get(number)
    if message_class is None:
        return m.UnknownMessage(number=number, fields=fields)
    reader = READERS.get(message_class)
    try:
        return _build(message_class, reader(fields) if reader else fields)
    except (TypeError, ValueError) as exc:
        raise Malformed(CorruptKind.WRONG_TYPE, f"{message_class.__name__}: {exc}") from None


def _build(message_class: type[m.Message], fields: Fields) -> m.Message:
    if message_class not in _ECHOED and (time := read_time(fields.get("timestamp"))) is not None:
        fields = {**fields, "timestamp": time}
    known, extra = split(message_class, fields)
    return message_class(**known, extra=extra)


def _msg_type(value: object) -> int | None:
    try:
        return read_int(value)
    except TypeError:
        return None


def _known_fields(message: m.Message) -> Fields:
    """Return the typed fields that are set, nested classes as objects."""
    return attrs.asdict(message, filter=lambda field, value: value is not None and field.name != "extra")
