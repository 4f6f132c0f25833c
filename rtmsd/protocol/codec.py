"""Text frame <-> message: strict in what is sent, tolerant in what is read.

How Zoom's variants are read: null is the same as left out; numbers may come as decimal strings; an optional field
of the wrong type is set aside in `Message.extra` beside the unknown ones, so that only a field we cannot do without
makes a message unreadable; an unknown `msg_type` gives `UnknownMessage`.
"""

import enum
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs
import cattrs

from rtmsd.errors import RemoteProtocolError
from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import MsgType
from rtmsd.protocol.times import normalise_ms

Fields: TypeAlias = dict[str, Any]


class CorruptKind(enum.Enum):
    """What is wrong with a frame; `value` is the name under which it is counted."""

    BAD_UTF8 = "bad_utf8"
    BAD_JSON = "bad_json"
    NOT_OBJECT = "not_object"
    WRONG_TYPE = "wrong_type"  # also: a required field is missing
    UNEXPECTED = "unexpected"  # readable, but nothing for this reader: media data where control messages belong
    BAD_BASE64 = "bad_base64"  # this and the next: media data only
    LENGTH_MISMATCH = "length_mismatch"


class Malformed(RemoteProtocolError):
    """A frame that is no readable message. The text names fields and types, never their content.

    Attributes:
        kind: what to count it as.
    """

    def __init__(self, kind: CorruptKind, detail: str) -> None:
        super().__init__(f"{kind.value}: {detail}")
        self.kind = kind


def encode(message: m.Message) -> str:
    """Return `message` as compact JSON: enums as numbers, None left out, `extra` sent along."""
    writer = _WRITERS.get(type(message))
    fields = _known_fields(message)
    number = fields.pop("number", None) if isinstance(message, m.UnknownMessage | m.MetaData) else message.msg_type
    wire = {} if number is None else {"msg_type": number}
    wire |= writer(fields) if writer else fields
    return json.dumps({**wire, **{k: v for k, v in message.extra.items() if k not in wire}}, separators=(",", ":"))


def decode(raw: str | bytes | bytearray | memoryview) -> m.Message:
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
    reader = _READERS.get(message_class)
    try:
        return _build(message_class, reader(fields) if reader else fields)
    except (TypeError, ValueError) as exc:
        raise Malformed(CorruptKind.WRONG_TYPE, f"{message_class.__name__}: {exc}") from None


# JSON


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def load_object(raw: str | bytes | bytearray | memoryview) -> Fields:
    """Read a JSON object. Half a surrogate pair in it becomes a question mark.

    Raises:
        Malformed: not UTF-8, not JSON, or not an object.
    """
    try:
        text = raw if isinstance(raw, str) else str(raw, "utf-8")
    except UnicodeDecodeError as exc:
        raise Malformed(CorruptKind.BAD_UTF8, f"at byte {exc.start}") from None
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if _SURROGATE.search(text):
            # Half a surrogate pair, as of a name cut in the middle of an emoji, could be written to no file.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        # A JSONDecodeError's text holds no content, but that of other ValueErrors (a number's digits) may.
        detail = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        raise Malformed(CorruptKind.BAD_JSON, detail) from None
    if not isinstance(value, dict):
        raise Malformed(CorruptKind.NOT_OBJECT, type(value).__name__)
    return value


def _finite(text: str) -> float:
    """Refuse what Python reads but JSON does not know: NaN, Infinity, and 1e999, which could not be echoed."""
    if not math.isfinite(number := float(text)):
        raise ValueError("not a finite number")
    return number


# Structuring


def read_int(value: object, _type: object = int) -> int:
    """Return an integer that may have come as a decimal string. Raises TypeError for anything else, also a bool."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    raise TypeError(f"not an integer but {type(value).__name__}")


def _read_str(value: object, _type: object) -> str:
    if isinstance(value, str):
        return value
    return str(read_int(value))  # contact center sends some ids as numbers


def _read_bool(value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"not a boolean but {type(value).__name__}")
    return value


def _read_session(value: object, _type: object) -> m.SessionRef:
    if not isinstance(value, m.SessionRef):  # `_take_session` has made one, unless no id key held a string
        raise TypeError("no id")
    return value


def _read_attrs(value: object, attrs_class: type[Any]) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"not an object but {type(value).__name__}")
    return attrs_class(**_split(attrs_class, value)[0])


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(int, read_int)
_converter.register_structure_hook(str, _read_str)
_converter.register_structure_hook(bool, _read_bool)
_converter.register_structure_hook_func(attrs.has, _read_attrs)
_converter.register_structure_hook(m.SessionRef, _read_session)


def _split(attrs_class: type[Any], fields: Fields) -> tuple[Fields, Fields]:
    """Part `fields` into arguments for `attrs_class` and the rest: unknown keys and unusable optional values."""
    known: Fields = {}
    rest = dict(fields)
    for field in attrs.fields(attrs_class):
        value = fields.get(field.name)
        required = field.default is attrs.NOTHING
        if field.name == "extra" or (value is None and not required):
            continue
        try:
            known[field.name] = _converter.structure(value, field.type)
        except (TypeError, ValueError) as exc:
            if required:
                raise TypeError(f"{field.name}: {exc if field.name in fields else 'missing'}") from None
        else:
            rest.pop(field.name, None)
    return known, {name: value for name, value in rest.items() if value is not None}


def _build(message_class: type[m.Message], fields: Fields) -> m.Message:
    known, extra = _split(message_class, fields)
    return message_class(**known, extra=extra)


def _msg_type(value: object) -> int | None:
    try:
        return read_int(value)
    except TypeError:
        return None


# Wire keys that differ from field names: a reader turns the first into the second, a writer does the reverse.


def _take_session(fields: Fields) -> Fields:
    """Fold the first id key into `session`; a second one (a Video SDK id sent as meeting_uuid too) stays extra."""
    for key in m.ID_KEYS:
        if isinstance(fields.get(key), str):
            session = m.SessionRef(key, fields.pop(key))
            return {**fields, "session": session}
    return {name: value for name, value in fields.items() if name != "session"}


def _put_session(fields: Fields) -> Fields:
    session = fields.pop("session")
    return {session["key"]: session["id"], **fields}


def _take_media_urls(fields: Fields) -> Fields:
    media_server = fields.pop("media_server", None)
    urls = media_server.get("server_urls") if isinstance(media_server, dict) else None
    if isinstance(urls, str):
        urls = {"all": urls}
    if not isinstance(urls, dict):
        return fields
    return {**fields, "media_urls": {name: url for name, url in urls.items() if isinstance(url, str)}}


def _put_media_urls(fields: Fields) -> Fields:
    urls = fields.pop("media_urls")
    return {**fields, "media_server": {"server_urls": urls}} if urls else fields


def _take_event(fields: Fields) -> Fields:
    event = fields.pop("event", None)
    if not isinstance(event, dict):
        raise TypeError(f"event: not an object but {type(event).__name__}")
    timestamp = event.get("timestamp")
    return {
        **fields,
        "event_type": event.get("event_type"),
        "timestamp": event.get("event_ts") if timestamp is None else timestamp,
        "participants": list(_people(event)),
        "details": event,
    }


def _people(event: Fields) -> Iterator[Fields]:
    """Yield everybody an event names, in any of its three shapes; what names nobody is left in `details` only."""
    info = event.get("participant_info") or event.get("paticipant_info")  # older documents misspell it
    listed = event.get("participants")
    for person in [*(listed if isinstance(listed, list) else []), info, event]:
        if not isinstance(person, dict):
            continue
        known = _split(m.Participant, {"user_name": person.get("display_name"), **person})[0]
        if "user_id" in known or "channel_id" in known:
            yield known


_PEOPLE_KEYS: Final = frozenset({"participants", "participant_info", "paticipant_info", "user_id", "channel_id"})


def _put_event(fields: Fields) -> Fields:
    """Build `event` from the typed fields and `details`, which has the last word: it may name people in its own way."""
    details = fields.pop("details")
    people = fields.pop("participants")
    if people and not _PEOPLE_KEYS & details.keys():
        fields["participants"] = people
    return {"event": {**fields, **details}}


def _take_stop_reason(fields: Fields) -> Fields:
    reason = fields.pop("reason", None)
    return fields if fields.get("stop_reason") is not None else {**fields, "stop_reason": reason}


def _take_encryption(fields: Fields) -> Fields:
    flags = [fields.pop(name, None) for name in ("payload_encrypted", "payload_encryption")]
    return {**fields, "payload_encrypted": any(flag is True for flag in flags)}


def _take_seconds(fields: Fields) -> Fields:
    """Message 20 has been documented with seconds."""
    timestamp = _msg_type(fields.get("timestamp"))
    return fields if timestamp is None else {**fields, "timestamp": normalise_ms(timestamp)}


def _take_events(fields: Fields) -> Fields:
    if not isinstance(events := fields.get("events"), list):
        raise TypeError(f"events: not a list but {type(events).__name__}")
    return fields


_Rewrite: TypeAlias = Callable[[Fields], Fields]

_READERS: Final[Mapping[type[m.Message], _Rewrite]] = {
    m.SignalingHandshakeReq: _take_session,
    m.SignalingHandshakeResp: _take_media_urls,
    m.DataHandshakeReq: _take_session,
    m.DataHandshakeResp: _take_encryption,
    m.EventSubscription: _take_events,
    m.EventUpdate: _take_event,
    m.SessionStateUpdate: _take_stop_reason,
    m.StreamStateResp: _take_seconds,
}

_WRITERS: Final[Mapping[type[m.Message], _Rewrite]] = {
    m.SignalingHandshakeReq: _put_session,
    m.SignalingHandshakeResp: _put_media_urls,
    m.DataHandshakeReq: _put_session,
    m.EventUpdate: _put_event,
    m.UnknownMessage: lambda fields: dict(fields["fields"]),
}

_MESSAGES: Final[Mapping[int, type[m.Message]]] = {
    message_class.msg_type: message_class
    for message_class in (
        m.SignalingHandshakeReq,
        m.SignalingHandshakeResp,
        m.DataHandshakeReq,
        m.DataHandshakeResp,
        m.EventSubscription,
        m.EventUpdate,
        m.ClientReadyAck,
        m.StreamStateUpdate,
        m.SessionStateUpdate,
        m.SessionStateReq,
        m.SessionStateResp,
        m.KeepAliveReq,
        m.KeepAliveResp,
        m.StreamStateReq,
        m.StreamStateResp,
        m.StreamCloseReq,
        m.StreamCloseResp,
        m.VideoSubscriptionReq,
        m.VideoSubscriptionResp,
    )
}


def _known_fields(message: m.Message) -> Fields:
    """Return the typed fields that are set, nested classes as objects."""
    return attrs.asdict(message, filter=lambda field, value: value is not None and field.name != "extra")
