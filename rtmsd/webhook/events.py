"""The reader of genuine webhooks: from a body to a command. Pure; all that Zoom has been seen to send is accepted."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import attrs

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand
from rtmsd.errors import RtmsdError
from rtmsd.protocol.addresses import websocket_url
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.products import PRODUCTS
from rtmsd.protocol.reading import read_int
from rtmsd.protocol.times import is_believable, read_time, time_ms
from rtmsd.webhook.concurrency import LIMITED, NEAR_LIMIT
from rtmsd.webhook.details import kept_details

_VERBS: Final = {
    row.webhook_prefix.partition(".")[2] + verb: verb
    for row in PRODUCTS.values()
    for verb in ("started", "stopped", "interrupted")
}
"""Verbs by the part of an event's name after the product: the prefix of any product is accepted for each."""

_PLAIN_TOKEN: Final = re.compile(r"[A-Za-z0-9_+/=.~-]{1,256}")  # Zoom's: 22 of base64


class BadEvent(RtmsdError):
    """A genuine body that is no event, or a known event that lacks a required field. Zoom never sends it again."""


@attrs.frozen
class UrlValidation:
    """`endpoint.url_validation`: Zoom asks, every 72 hours, for proof that we hold the secret."""

    plain_token: str


@attrs.frozen
class ConcurrencyNotice:
    """`rtms.concurrency_near_limit`, or `rtms.concurrency_limited`: no new stream can start."""

    event: str
    app: str
    details: Mapping[str, Any]


@attrs.frozen
class UnknownEvent:
    event: str


Event: TypeAlias = StreamCommand | UrlValidation | ConcurrencyNotice | UnknownEvent


def parse(body: bytes, app: str, sent_ms: int | None = None) -> Event:
    """Read a webhook's body.

    Args:
        body: a body whose signature was verified.
        app: name of the app whose secret verified it.
        sent_ms: when it was sent, as signed; taken for the time of an event whose own is missing or cannot be one.

    Raises:
        BadEvent: not an object with an `event`, or a field is missing that the event cannot do without.
    """
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadEvent("the body is not JSON") from exc
    if not isinstance(envelope, dict):
        raise BadEvent("the body is not a JSON object")
    name = _text(envelope, "event")
    payload = envelope.get("payload")
    fields: dict[str, Any] = payload if isinstance(payload, dict) else {}
    if name == "endpoint.url_validation":
        return UrlValidation(_plain_token(fields))
    if name in (NEAR_LIMIT, LIMITED):
        return ConcurrencyNotice(name, app, fields)
    product, _, action = name.partition(".")
    verb = _VERBS.get(action.replace(".", "_"))  # a document of Zoom's has `meeting.rtms.started`
    if product in PRODUCTS and verb is not None:
        return _command(product, verb, envelope.get("event_ts"), sent_ms, app, _flattened(fields))
    return UnknownEvent(name)


def _command(  # noqa: PLR0917 the parts of one body
    product: str, verb: str, event_ts: object, sent_ms: int | None, app: str, fields: dict[str, Any]
) -> StreamCommand:
    stream_id = _text(fields, "rtms_stream_id")
    said_ms = time_ms(event_ts)
    if said_ms is not None and not is_believable(said_ms):
        said_ms = None
    if verb == "stopped":
        return StopStream(
            product=product,
            session=_session(product, fields, is_needed=False),
            rtms_stream_id=stream_id,
            app=app,
            event_ts=said_ms,
            stop_reason=_stop_reason(fields),
        )
    if verb == "started":
        session = _session(product, fields)
        # A start without a time lacks what it needs. One whose time cannot be one is worth more than its time: Zoom
        # would not send it again. A repeat of it is then taken for a failover, which costs a reconnection.
        if read_time(event_ts) is None or (said_ms is None and sent_ms is None):
            raise BadEvent("event_ts is missing" if event_ts is None else "event_ts is no time")
        url = websocket_url(_text(fields, "server_urls"))
        if url is None:
            raise BadEvent("server_urls holds no wss:// URL")
        known = (session.key, "rtms_stream_id", "server_urls")
        return StartStream(
            product=product,
            session=session,
            rtms_stream_id=stream_id,
            server_urls=url,
            app=app,
            event_ts=_first(said_ms, sent_ms),
            details=kept_details({key: value for key, value in fields.items() if key not in known}),
        )
    return InterruptStream(
        product=product,
        session=_session(product, fields, is_needed=False),
        rtms_stream_id=stream_id,
        app=app,
        event_ts=_first(said_ms, sent_ms),
        server_urls=websocket_url(fields.get("server_urls")),
    )


def _first(said_ms: int | None, sent_ms: int | None) -> int:
    time = sent_ms if said_ms is None else said_ms
    if time is None:
        raise BadEvent("event_ts is missing")
    return time


def _flattened(payload: dict[str, Any]) -> dict[str, Any]:
    """Zoom sends RTMS payloads flat; a guide nests them in `object`, with `account_id` and such beside it."""
    nested = payload.get("object")
    if not isinstance(nested, dict) or "rtms_stream_id" not in nested:
        return payload
    return {key: value for key, value in payload.items() if key != "object"} | nested


def _session(product: str, fields: Mapping[str, Any], *, is_needed: bool = True) -> SessionRef:
    keys = PRODUCTS[product].id_keys
    key = next((key for key in keys if fields.get(key)), keys[0])
    try:
        return SessionRef(key, _text(fields, key))
    except BadEvent:
        if is_needed:
            raise
        return SessionRef(key, "")


def _stop_reason(fields: Mapping[str, Any]) -> int:
    """Return the reason; 0 for one that cannot be read: a stop is a stop."""
    try:
        reason = read_int(fields.get("stop_reason"))
    except TypeError:
        return StopReason.UNDEFINED
    return reason if reason >= 0 else StopReason.UNDEFINED


def _text(fields: Mapping[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise BadEvent(f"{key} is missing" if value in (None, "") else f"{key} is not a string")
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair: cannot be signed, sent or stored
        raise BadEvent(f"{key} is not Unicode text") from None
    return value


def _plain_token(fields: Mapping[str, Any]) -> str:
    """Return the text to sign. It must not look like a webhook: those are signed with the same secret."""
    token = _text(fields, "plainToken")
    if not _PLAIN_TOKEN.fullmatch(token):
        raise BadEvent("plainToken is not 1 to 256 letters, digits and -_+/=.~")
    return token
