"""The checks of a strict server on messages 1 and 3 (section 19 of the protocol notes): pure functions over raw JSON.

The checks run in the order of the notes' tables; the first that fails decides the status code.
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeGuard

import attrs

from rtmsd.protocol.enums import ContentType, MediaType, MsgType, PayloadType, StatusCode
from rtmsd.protocol.media_matrix import check
from rtmsd.protocol.media_params import MediaParams, with_defaults
from rtmsd.protocol.media_types import REFUSED_TYPE, SECTIONS
from rtmsd.protocol.products import IdKey


class SimAnswer(NamedTuple):
    status: StatusCode
    reason: str = ""


OK: Final = SimAnswer(StatusCode.OK)


class _Refused(Exception):
    """A check failed."""

    def __init__(self, status: StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.answer = SimAnswer(status, reason)


@attrs.frozen(kw_only=True)
class Expected:
    """What a handshake must contain. `rtms_stream_id` None: the stream has ended, or is not served here."""

    id_key: IdKey
    session_id: str
    rtms_stream_id: str | None
    signature: str = attrs.field(repr=False)
    protocol_version: int = 1


class MediaGrant(NamedTuple):
    """The result of a media handshake. `media_type` are the granted bits, with ALL when it was asked for."""

    answer: SimAnswer
    media_type: MediaType = MediaType(0)
    params: MediaParams = MediaParams()


def read(raw: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object in a message, None when it holds none."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return fields if isinstance(fields, dict) else None


def signaling_handshake(raw: str | bytes, expected: Expected, *, occupied: bool) -> tuple[SimAnswer, dict[str, Any]]:
    """Judge message 1; return its fields, too, when it succeeds.

    Args:
        occupied: the stream has a live signaling connection.
    """
    try:
        fields = _identified(raw, MsgType.SIGNALING_HAND_SHAKE_REQ, expected)
        buffered = isinstance(fields.get("buffer_data", True), bool)
        _require(buffered, StatusCode.INVALID_PAYLOAD, "buffer_data must be true or false")
        _require(not occupied, StatusCode.DUPLICATE_SIGNAL_REQUEST, "Duplicate signal request")
    except _Refused as refused:
        return refused.answer, {}
    return OK, fields


def media_handshake(
    raw: str | bytes, expected: Expected, *, allowed: MediaType, taken: MediaType, strict: bool = True
) -> MediaGrant:
    """Judge message 3.

    Args:
        allowed: what the app has scopes for.
        taken: the bits of the live media connections; ALL for a unified one.
    """
    try:
        fields = _identified(raw, MsgType.DATA_HAND_SHAKE_REQ, expected)
        granted = _media_type(fields.get("media_type"), allowed, taken)
        params = _media_params(fields, granted, strict=strict)
    except _Refused as refused:
        return MediaGrant(refused.answer)
    return MediaGrant(OK, granted, with_defaults(params, granted & ~MediaType.ALL))


def _require(condition: bool, status: StatusCode, reason: str) -> None:
    if not condition:
        raise _Refused(status, reason)


def _identified(raw: str | bytes, msg_type: MsgType, expected: Expected) -> dict[str, Any]:
    """Return the fields of message 1 or 3 once what both have in common is right."""
    fields = read(raw)
    if fields is None:
        raise _Refused(StatusCode.INVALID_PAYLOAD, "not a JSON object")
    number, version = fields.get("msg_type"), fields.get("protocol_version", 1)
    _require(is_int(number) and number == msg_type, StatusCode.INVALID_MESSAGE_TYPE, f"msg_type {msg_type:d} expected")
    spoken = sorted({1, expected.protocol_version})
    is_spoken = is_int(version) and version in spoken
    _require(is_spoken, StatusCode.INVALID_PAYLOAD, f"protocol_version must be {' or '.join(map(str, spoken))}")
    _require(is_int(fields.get("sequence", 0)), StatusCode.INVALID_PAYLOAD, "sequence must be an integer")
    ids = [fields[key] for key in dict.fromkeys((expected.id_key, "meeting_uuid")) if key in fields]
    if not ids or not all(isinstance(value, str) and value for value in ids) or len(set(ids)) > 1:
        raise _Refused(StatusCode.INVALID_PAYLOAD, f"{expected.id_key} missing, empty, no string, or two that differ")
    stream_id = fields.get("rtms_stream_id")
    if stream_id != expected.rtms_stream_id or not stream_id or ids[0] != expected.session_id:
        raise _Refused(StatusCode.INVALID_RTMS_STREAM_ID, "no such stream")
    signature = fields.get("signature")
    if not isinstance(signature, str) or not hmac.compare_digest(signature.encode(), expected.signature.encode()):
        raise _Refused(StatusCode.INVALID_SIGNATURE, "invalid signature")
    return fields


_EVERY: Final = MediaType(sum(SECTIONS.values()))
_NOT_GRANTED: Final = {bit: StatusCode(number) for number, bit in REFUSED_TYPE.items()}


def _media_type(value: object, allowed: MediaType, taken: MediaType) -> MediaType:
    if not is_int(value):
        raise _Refused(StatusCode.INVALID_MEDIA_TYPE, "media_type must be an integer")
    known = value == MediaType.ALL or (value > 0 and not value & ~int(_EVERY))
    _require(known, StatusCode.MEDIA_TYPE_INVALID_VALUE, f"media_type is 1 to {_EVERY:d}, or {MediaType.ALL:d}")
    wanted = MediaType(value)
    granted = allowed if wanted == MediaType.ALL else wanted & allowed
    if not granted:
        codes = (code for bit, code in _NOT_GRANTED.items() if bit in wanted or wanted == MediaType.ALL)
        raise _Refused(next(codes, StatusCode.INVALID_MEDIA_TYPE), "the app has no scope for it")
    unified, doubled = MediaType.ALL in taken, granted & taken or (wanted == MediaType.ALL and taken)
    _require(not unified, StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST, "a connection for all media exists")
    _require(not doubled, StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION, "a connection for it exists")
    return granted | (wanted & MediaType.ALL)


_ALL_PARAMS: Final = with_defaults(MediaParams(), _EVERY)
"""Of each section an instance, for its class."""


def _media_params(fields: Mapping[str, Any], granted: MediaType, *, strict: bool) -> MediaParams:
    written = _present(fields, "media_params", {})
    if not isinstance(written, dict):
        raise _Refused(StatusCode.INVALID_MEDIA_PARAMS, "media_params must be an object")
    sections = {
        name: _section(name, written[name])
        for name, bit in SECTIONS.items()
        if _present(written, name) is not None and bit in granted
    }
    params = _raw_pcm(MediaParams(**sections))
    if not strict:
        params = _forgive(params)
    for mistake in check(params, granted & ~MediaType.ALL):
        raise _Refused(mistake.status, f"{mistake.media}.{mistake.field} {mistake.message}")
    return params


def _present(fields: Mapping[str, Any], name: str, default: object = None) -> Any:
    """Return a field of message 3. Null counts as absent: Zoom's SDK sends it so (section 18, row 30)."""
    value = fields.get(name)
    return default if value is None else value


def _section(name: str, value: object) -> Any:
    if not isinstance(value, dict):
        raise _Refused(StatusCode[f"INVALID_MEDIA_{name.upper()}_PARAMS"], f"{name} must be an object")
    section = type(getattr(_ALL_PARAMS, name))
    known = {
        field.name: value[field.name] for field in attrs.fields(section) if _present(value, field.name) is not None
    }
    for field, given in known.items():
        if not (isinstance(given, bool) if field == "enable_lid" else is_int(given)):
            raise _Refused(_field_status(name, field), f"{name}.{field} has the wrong type")
    return section(**known)


def _field_status(section: str, field: str) -> StatusCode:
    """Return the code for one field, or for its section when the table has none (`enable_lid`)."""
    name = f"INVALID_MEDIA_{section}_{field}".upper().replace("SRC_LANGUAGE", "SOURCE_LANGUAGE")
    if name in StatusCode.__members__:
        return StatusCode[name]
    return StatusCode[f"INVALID_MEDIA_{section}_PARAMS".upper()]


def _raw_pcm(params: MediaParams) -> MediaParams:
    """Read RTP with L16 as the raw PCM that Zoom sends then: all its older samples ask so (section 18, row 32)."""
    audio = params.audio
    if audio is None or audio.content_type != ContentType.RTP or audio.codec not in (None, PayloadType.L16):
        return params
    return attrs.evolve(params, audio=attrs.evolve(audio, content_type=ContentType.RAW_AUDIO))


def _forgive(params: MediaParams) -> MediaParams:
    """Lower the frame rate of image codecs to what they may have (section 18, row 14)."""
    video = params.video
    if video is not None and video.codec in (PayloadType.JPG, PayloadType.PNG):
        video = attrs.evolve(video, fps=min(video.fps or 5, 5))
    return attrs.evolve(params, video=video)


def is_int(value: object) -> TypeGuard[int]:
    """Whether a JSON value is an integer: true and false are not."""
    return type(value) is int
