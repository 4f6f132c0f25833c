"""Rewrites between the wire's shapes and our fields: readers fold Zoom's variants into one, writers send the usual one.

Both work on the fields of one message without its `msg_type`, and may consume the dict they are given.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from rtmsd.protocol import messages as m
from rtmsd.protocol.media_params import DEFAULTS
from rtmsd.protocol.media_types import SECTIONS
from rtmsd.protocol.products import ID_KEYS
from rtmsd.protocol.reading import Fields, split
from rtmsd.protocol.times import time_ms

Rewrite: TypeAlias = Callable[[Fields], Fields]


def _take_session(fields: Fields) -> Fields:
    """Fold the first id key into `session`; a second one (a Video SDK id sent as meeting_uuid too) stays extra."""
    for key in ID_KEYS:
        if isinstance(fields.get(key), str):
            session = m.SessionRef(key, fields.pop(key))
            return {**fields, "session": session}
    return {name: value for name, value in fields.items() if name != "session"}


def _put_session(fields: Fields) -> Fields:
    session = fields.pop("session")
    return {session["key"]: session["id"], **fields}


def _take_media_urls(fields: Fields) -> Fields:
    media_server = fields.get("media_server")
    if not isinstance(media_server, dict):
        return fields
    del fields["media_server"]
    rest = {f"media_server.{name}": value for name, value in media_server.items() if name != "server_urls"}
    urls = media_server.get("server_urls")
    if isinstance(urls, str):
        urls = {"all": urls}
    if not isinstance(urls, dict):
        return {**fields, **rest, "media_server.server_urls": urls}
    return {**fields, **rest, "media_urls": {name: url for name, url in urls.items() if isinstance(url, str)}}


def _put_media_urls(fields: Fields) -> Fields:
    urls = fields.pop("media_urls")
    return {**fields, "media_server": {"server_urls": urls}} if urls else fields


def _take_event(fields: Fields) -> Fields:
    event = fields.pop("event", None)
    if event is None and not _EVENT_KEYS.isdisjoint(fields):
        event, fields = fields, {}  # without its envelope
    if not isinstance(event, dict):
        raise TypeError(f"event: not an object but {type(event).__name__}")
    timestamp = event.get("timestamp")
    return {
        **fields,
        "event_type": event.get("event_type"),
        "event_code": event.get("event_code"),
        "timestamp": event.get("event_ts") if timestamp is None else timestamp,
        "participants": list(_people(event)),
        "details": event,
    }


MAX_PEOPLE: Final = 10_000
"""Read of one message at most: a list of hundreds of thousands would hold up every stream."""


def _people(event: Fields) -> Iterator[Fields]:
    """Yield the participants of an event, in any of its three shapes; those without an id are in `details` only."""
    info = event.get("participant_info") or event.get("paticipant_info")  # older documents misspell it
    listed = event.get("participants")
    if isinstance(listed, dict):
        listed = [listed]
    for person in [*(listed[:MAX_PEOPLE] if isinstance(listed, list) else []), info, event]:
        if not isinstance(person, dict):
            continue
        named = {"user_name": person.get("display_name"), **person, "role": person.get("participant_mode")}
        known = split(m.Participant, named)[0]
        if "user_id" in known or "channel_id" in known:
            yield known


_EVENT_KEYS: Final = frozenset({"event_type", "event_code"})
_PEOPLE_KEYS: Final = frozenset({"participants", "participant_info", "paticipant_info", "user_id", "channel_id"})


def _put_event(fields: Fields) -> Fields:
    """Build `event` from the typed fields and `details`, which has the last word: it may name people in its own way."""
    details = fields.pop("details")
    people = fields.pop("participants")
    if people and not _PEOPLE_KEYS & details.keys():
        fields["participants"] = people
    return {"event": {**fields, **details}}


def _take_sub_session(fields: Fields) -> Fields:
    other = fields.pop("session_id", None)
    return fields if fields.get("rtms_session_id") is not None else {**fields, "rtms_session_id": other}


def _take_session_state(fields: Fields) -> Fields:
    fields = _take_sub_session(fields)
    reason = fields.pop("reason", None)
    return fields if fields.get("stop_reason") is not None else {**fields, "stop_reason": reason}


def _take_grant(fields: Fields) -> Fields:
    flags = [fields.pop(name, None) for name in ("payload_encrypted", "payload_encryption")]
    unknown = {f"media_params.{path}": value for path, value in _unknown_params(fields.get("media_params"))}
    return {**fields, **unknown, "payload_encrypted": any(_is_true(flag) for flag in flags)}


def _unknown_params(params: object) -> Iterator[tuple[str, Any]]:
    """Yield what `MediaParams` does not have, and what cannot be read, by its path: "audio.gain"."""
    if isinstance(params, dict):
        yield from split(m.MediaParams, params)[1].items()
        for section in SECTIONS:
            if isinstance(given := params.get(section), dict):
                for name, value in split(type(getattr(DEFAULTS, section)), given)[1].items():
                    yield f"{section}.{name}", value


def _is_true(flag: object) -> bool:
    """Whether a flag of whatever type says yes."""
    return flag.lower() not in _NO if isinstance(flag, str) else bool(flag)


_NO: Final = frozenset({"", "0", "false", "no", "none", "null"})


def _take_seconds(fields: Fields) -> Fields:
    """Message 20 has been documented with seconds."""
    return {**fields, "timestamp": time_ms(fields.get("timestamp"))}


def _take_events(fields: Fields) -> Fields:
    if not isinstance(events := fields.get("events"), list):
        raise TypeError(f"events: not a list but {type(events).__name__}")
    return fields


READERS: Final[Mapping[type[m.Message], Rewrite]] = {
    m.SignalingHandshakeReq: _take_session,
    m.SignalingHandshakeResp: _take_media_urls,
    m.DataHandshakeReq: _take_session,
    m.DataHandshakeResp: _take_grant,
    m.EventSubscription: _take_events,
    m.EventUpdate: _take_event,
    m.SessionStateUpdate: _take_session_state,
    m.SessionStateResp: _take_sub_session,
    m.StreamStateResp: _take_seconds,
}

WRITERS: Final[Mapping[type[m.Message], Rewrite]] = {
    m.SignalingHandshakeReq: _put_session,
    m.SignalingHandshakeResp: _put_media_urls,
    m.DataHandshakeReq: _put_session,
    m.EventUpdate: _put_event,
    m.UnknownMessage: lambda fields: dict(fields["fields"]),
}
