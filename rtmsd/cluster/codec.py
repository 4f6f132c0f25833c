"""The records as JSON, read as strictly as a webhook: whatever may write to the engine could have written them. Pure.

Keys are the names of the attributes, but for `v` (`version`), and `row` and `delivered` in place of `known`.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

import attrs
import msgspec

from rtmsd.cluster.records import VERSION, Beat, Log, Own, Part, Revoked, Row, Why
from rtmsd.errors import RtmsdError
from rtmsd.protocol.addresses import websocket_url
from rtmsd.protocol.times import LATEST_MS
from rtmsd.state.rows import Known

Record: TypeAlias = Own | Row | Part | Log | Revoked | Beat
AnyRecord = TypeVar("AnyRecord", bound=Record)

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 16  # of objects and lists in each other: details of a webhook have 8
MAX_INT: Final = 2**63 - 1
MAX_NAME_CHARS: Final = 1024
MAX_URL_CHARS: Final = 8192
MAX_DELIVERED: Final = 32
"""Keys of webhooks in a record, the newest: Zoom repeats a webhook three times."""

_PRODUCT: Final = re.compile(r"[a-z_]{1,32}")
_ENVELOPES: Final[Mapping[type[Any], tuple[tuple[str, ...], dict[str, Any]]]] = {
    Own: (
        ("v", "rtms_stream_id", "node", "incarnation", "epoch", "nonce", "state"),
        {"why": Why.OTHER},
    ),
    Beat: (("v", "node", "incarnation", "n"), {}),  # it lives, and has no room
    Revoked: (("v", "rtms_stream_id", "at_ms"), {}),  # who waited for an update would keep what is to be deleted
}
"""By the kind of record: the keys that keep their meaning in all versions, and values for the others."""

_KNOWN: Final = ("row", "delivered")
_NOT_KEYS: Final = {"version", "known", "more"}  # attributes that have other keys, or none


class BadRecord(RtmsdError):
    """It cannot be read, or is not fit to be written. The text names keys, never their content."""


class NewerRecord(BadRecord):
    """Written by a newer version of rtmsd: to be left alone."""


def encode(record: Record) -> bytes:
    """Return a record as JSON. Of the deliveries, the newest `MAX_DELIVERED` are kept.

    Raises:
        BadRecord: no reader would take it: it is too large, a field is out of its bounds, or the record is a newer
            version's, of which this one does not know all.
    """
    if record.version > VERSION:
        raise NewerRecord(f"the record has version {record.version}; this rtmsd writes {VERSION}")
    try:
        plain = _plain(record)
        data = msgspec.json.encode(plain)
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadRecord(f"cannot be written as JSON: {type(exc).__name__}") from None
    _read(type(record), plain)
    if len(data) > MAX_BYTES:
        raise BadRecord(f"{len(data)} bytes, more than {MAX_BYTES}")
    return data


def decode(of: type[AnyRecord], data: bytes) -> AnyRecord:
    """Read a record. Of a newer version's ownership record or beat, only whose it is is read: see `is_newer`. Its order
    to delete is one in all versions.

    Raises:
        NewerRecord: it is a newer version's.
        BadRecord: it is no such record.
    """
    plain = _object(data)
    if not _is_newer(plain):
        return _read(of, plain)
    if of not in _ENVELOPES:
        raise NewerRecord(f"the record has version {plain['v']}; this rtmsd reads up to {VERSION}")
    keys, others = _ENVELOPES[of]
    try:
        return _read(of, {key: plain[key] for key in keys if key in plain} | others)
    except BadRecord as exc:
        raise NewerRecord(f"version {plain['v']}: {exc}") from None


# JSON to a record


def _object(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise BadRecord(f"{len(data)} bytes, more than {MAX_BYTES}")
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise BadRecord(f"not JSON: {type(exc).__name__}") from None
    if not isinstance(plain, dict):
        raise BadRecord(f"not an object but {type(plain).__name__}")
    return plain


def _is_newer(plain: Mapping[str, Any]) -> bool:
    version = plain.get("v")
    if type(version) is not int or version < 1:
        raise BadRecord("v is not a version")
    return version > VERSION


def _read(of: type[AnyRecord], plain: Mapping[str, Any]) -> AnyRecord:
    """Return a record of JSON values, within its bounds."""
    _check_values(plain)
    names = {field.name for field in attrs.fields(of)}
    fields: dict[str, Any] = {key: plain[key] for key in names - _NOT_KEYS if key in plain}
    fields["version"] = plain.get("v")
    if "known" in names:
        fields["known"] = {key: plain[key] for key in _KNOWN if key in plain}
    if "more" in names:
        fields["more"] = {key: value for key, value in plain.items() if key not in (*fields, *_KNOWN, "v")}
    try:
        record = msgspec.convert(fields, of)
    except (msgspec.ValidationError, RecursionError) as exc:
        raise BadRecord(_without_content(str(exc))) from None
    if isinstance(record, Own | Row):
        _check_known(record.known, record.rtms_stream_id)
    return record


def _check_values(plain: Mapping[str, Any]) -> None:
    """Refuse what SQLite cannot hold, what JSON has no word for, and what is nested too deeply to walk."""
    level: list[Any] = [plain]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, int) and abs(value) > MAX_INT:
                raise BadRecord("an integer of more than 64 bits")
            elif isinstance(value, float) and not math.isfinite(value):
                raise BadRecord("not a finite number")
        if not inner:
            return
        level = inner
    raise BadRecord(f"nested deeper than {MAX_DEPTH}")


def _check_known(known: Known, rtms_stream_id: str) -> None:
    if len(known.delivered) > MAX_DELIVERED:
        raise BadRecord(f"delivered: more than {MAX_DELIVERED}")
    _check_lengths((text for each in known.delivered for text in (each.event, each.session_id)), "delivered")
    _check_times((each.event_ts for each in known.delivered), "delivered.event_ts")
    if (row := known.row) is None:
        return
    if row.rtms_stream_id != rtms_stream_id:
        raise BadRecord("row: of another stream")
    if not _PRODUCT.fullmatch(row.product):
        raise BadRecord("row.product is not a name")
    if row.server_urls is not None and websocket_url(row.server_urls) != row.server_urls:
        raise BadRecord("row.server_urls is not a wss:// URL")
    if row.server_urls is not None and len(row.server_urls) > MAX_URL_CHARS:
        raise BadRecord(f"row.server_urls: more than {MAX_URL_CHARS} characters")
    _check_lengths((row.session.id, row.app), "row")
    for name in ("started_ms", "event_ts", "stopped_ms"):
        _check_times([getattr(row, name) or 0], f"row.{name}")
    if row.stop_reason is not None and row.stop_reason < 0:
        raise BadRecord("row.stop_reason is negative")


def _check_lengths(texts: Iterable[str], where: str) -> None:
    if any(len(text) > MAX_NAME_CHARS for text in texts):
        raise BadRecord(f"{where}: a text of more than {MAX_NAME_CHARS} characters")


def _check_times(times_ms: Iterable[int], where: str) -> None:
    if not all(0 <= time_ms < LATEST_MS for time_ms in times_ms):
        raise BadRecord(f"{where} is not a time")


def _without_content(text: str) -> str:
    """Return an error's words without the value that it quotes."""
    return re.sub(r"'.*'", "'...'", text, flags=re.DOTALL)


# A record to JSON


def _plain(record: Record) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(record)
    more: dict[str, Any] = plain.pop("more", {})
    plain["v"] = plain.pop("version")
    if "known" in plain:
        plain |= plain.pop("known")
        plain["delivered"] = plain["delivered"][-MAX_DELIVERED:]
    return more | plain
