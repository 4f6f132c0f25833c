"""What a strict server refuses, as section 19 of the protocol notes has it: pure functions over raw JSON.

Each returns the status code and a reason in words; `StatusCode.OK` is a success. The order of the checks is the order
of the tables: the first thing wrong decides.
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeGuard

import attrs

from rtmsd.protocol.enums import ContentType, MediaType, MsgType, PayloadType, StatusCode
from rtmsd.protocol.media_matrix import check
from rtmsd.protocol.media_params import SECTIONS, with_defaults
from rtmsd.protocol.messages import (
    AudioParams,
    ChatParams,
    DeskshareParams,
    MediaParams,
    TranscriptParams,
    VideoParams,
)
from rtmsd.protocol.products import IdKey


class SimAnswer(NamedTuple):
    status: StatusCode
    reason: str = ""


OK: Final = SimAnswer(StatusCode.OK)


@attrs.frozen(kw_only=True)
class Expected:
    """What a handshake must show. `rtms_stream_id` None: the stream is over, or unknown here."""

    id_key: IdKey
    session_id: str
    rtms_stream_id: str | None
    signature: str = attrs.field(repr=False)


def read(raw: str | bytes) -> dict[str, Any] | None:
    """Return the JSON object in a message, None when it holds none."""
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return fields if isinstance(fields, dict) else None


def signaling_handshake(raw: str | bytes, expected: Expected, *, occupied: bool) -> tuple[SimAnswer, dict[str, Any]]:
    """Judge message 1. `occupied`: the stream has a live signaling connection."""
    fields = read(raw)
    if fields is None:
        return SimAnswer(StatusCode.INVALID_PAYLOAD, "not a JSON object"), {}
    answer = _who(fields, MsgType.SIGNALING_HAND_SHAKE_REQ, expected)
    if answer.status is StatusCode.OK and not isinstance(fields.get("buffer_data", True), bool):
        answer = SimAnswer(StatusCode.INVALID_PAYLOAD, "buffer_data must be true or false")
    if answer.status is StatusCode.OK and occupied:
        answer = SimAnswer(StatusCode.DUPLICATE_SIGNAL_REQUEST, "Duplicate signal request")
    return answer, fields


def _who(fields: Mapping[str, Any], msg_type: MsgType, expected: Expected) -> SimAnswer:
    """Check what messages 1 and 3 have in common."""
    if not is_int(fields.get("msg_type")) or fields["msg_type"] != msg_type:
        return SimAnswer(StatusCode.INVALID_MESSAGE_TYPE, f"msg_type {msg_type:d} expected")
    version = fields.get("protocol_version", 1)
    if not is_int(version) or version != 1:
        return SimAnswer(StatusCode.INVALID_PAYLOAD, "protocol_version must be 1")
    if not is_int(fields.get("sequence", 0)):
        return SimAnswer(StatusCode.INVALID_PAYLOAD, "sequence must be an integer")
    ids = [fields[key] for key in dict.fromkeys((expected.id_key, "meeting_uuid")) if key in fields]
    if not ids or not all(isinstance(value, str) and value for value in ids) or len(set(ids)) > 1:
        return SimAnswer(StatusCode.INVALID_PAYLOAD, f"{expected.id_key} missing, empty, no string, or two that differ")
    stream_id = fields.get("rtms_stream_id")
    if stream_id != expected.rtms_stream_id or not stream_id or ids[0] != expected.session_id:
        return SimAnswer(StatusCode.INVALID_RTMS_STREAM_ID, "no such stream")
    signature = fields.get("signature")
    if not isinstance(signature, str) or not hmac.compare_digest(signature.encode(), expected.signature.encode()):
        return SimAnswer(StatusCode.INVALID_SIGNATURE, "invalid signature")
    return OK


class MediaGrant(NamedTuple):
    """What a media handshake comes to. `media_type` are the granted bits, with ALL when it was asked for."""

    answer: SimAnswer
    media_type: MediaType = MediaType(0)
    params: MediaParams = MediaParams()


def media_handshake(
    raw: str | bytes, expected: Expected, *, allowed: MediaType, taken: MediaType, strict: bool = True
) -> MediaGrant:
    """Judge message 3.

    Args:
        allowed: what the app has scopes for.
        taken: the bits of the live media connections; ALL for a unified one.
    """
    fields = read(raw)
    if fields is None:
        return MediaGrant(SimAnswer(StatusCode.INVALID_PAYLOAD, "not a JSON object"))
    answer = _who(fields, MsgType.DATA_HAND_SHAKE_REQ, expected)
    if answer.status is not StatusCode.OK:
        return MediaGrant(answer)
    answer, granted = _media_type(fields.get("media_type"), allowed, taken)
    if answer.status is not StatusCode.OK:
        return MediaGrant(answer)
    answer, params = _media_params(fields, granted, strict=strict)
    if answer.status is not StatusCode.OK:
        return MediaGrant(answer)
    return MediaGrant(OK, granted, with_defaults(params, granted & ~MediaType.ALL))


_NOT_GRANTED: Final = {
    MediaType.AUDIO: StatusCode.MEDIA_TYPE_AUDIO_NOT_SUPPORT,
    MediaType.VIDEO: StatusCode.MEDIA_TYPE_VIDEO_NOT_SUPPORT,
    MediaType.DESKSHARE: StatusCode.MEDIA_TYPE_DESKSHARE_NOT_SUPPORT,
    MediaType.TRANSCRIPT: StatusCode.MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT,
    MediaType.CHAT: StatusCode.MEDIA_TYPE_CHAT_NOT_SUPPORT,
}


def _media_type(value: object, allowed: MediaType, taken: MediaType) -> tuple[SimAnswer, MediaType]:
    if not is_int(value):
        return SimAnswer(StatusCode.INVALID_MEDIA_TYPE, "media_type must be an integer"), MediaType(0)
    if not 0 < value <= MediaType.ALL:
        return SimAnswer(StatusCode.MEDIA_TYPE_INVALID_VALUE, "media_type is 1 to 31, or 32"), MediaType(0)
    wanted = MediaType(value)
    granted = allowed if wanted == MediaType.ALL else wanted & allowed
    if not granted:
        first = next(bit for bit in _NOT_GRANTED if bit in wanted or wanted == MediaType.ALL)
        return SimAnswer(_NOT_GRANTED[first], "the app has no scope for it"), MediaType(0)
    if MediaType.ALL in taken:
        return SimAnswer(StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST, "a connection for all media exists"), MediaType(0)
    if granted & taken or (wanted == MediaType.ALL and taken):
        return SimAnswer(StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION, "a connection for it exists"), MediaType(0)
    return OK, granted | (wanted & MediaType.ALL)


_PARAM_CLASSES: Final[Mapping[str, type[Any]]] = {
    "audio": AudioParams,
    "video": VideoParams,
    "deskshare": DeskshareParams,
    "transcript": TranscriptParams,
    "chat": ChatParams,
}


def _media_params(fields: Mapping[str, Any], granted: MediaType, *, strict: bool) -> tuple[SimAnswer, MediaParams]:
    params = _present(fields, "media_params", {})
    if not isinstance(params, dict):
        return SimAnswer(StatusCode.INVALID_MEDIA_PARAMS, "media_params must be an object"), MediaParams()
    sections: dict[str, Any] = {}
    for name, bit in SECTIONS.items():
        if _present(params, name) is not None and bit in granted:
            answer, sections[name] = _section(name, params[name])
            if answer.status is not StatusCode.OK:
                return answer, MediaParams()
    read_params = _raw_pcm(MediaParams(**sections))
    if not strict:
        read_params = _forgive(read_params)
    mistakes = check(read_params, granted & ~MediaType.ALL)
    if mistakes:
        return SimAnswer(
            mistakes[0].status, f"{mistakes[0].media}.{mistakes[0].field} {mistakes[0].message}"
        ), read_params
    return OK, read_params


def _present(fields: Mapping[str, Any], name: str, default: object = None) -> Any:
    """Return a field of message 3. Null counts as absent: Zoom's SDK sends it so (section 18, row 30)."""
    value = fields.get(name)
    return default if value is None else value


def _section(name: str, value: object) -> tuple[SimAnswer, Any]:
    if not isinstance(value, dict):
        return SimAnswer(StatusCode[f"INVALID_MEDIA_{name.upper()}_PARAMS"], f"{name} must be an object"), None
    known: dict[str, Any] = {}
    for field in attrs.fields(_PARAM_CLASSES[name]):
        if _present(value, field.name) is not None:
            right = isinstance(value[field.name], bool) if field.name == "enable_lid" else is_int(value[field.name])
            if not right:
                return SimAnswer(_field_status(name, field.name), f"{name}.{field.name} has the wrong type"), None
            known[field.name] = value[field.name]
    return OK, _PARAM_CLASSES[name](**known)


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
    """Say whether a JSON value is an integer: true and false are not."""
    return type(value) is int
