"""Media data (messages 14-18): a batch of WebSocket messages in, typed calls on a handler out.

Two readers give the same answers. The fast one takes audio, video and share as Zoom documents them; what it refuses,
for whatever reason, goes to the tolerant one, which has the last word. Nothing here raises for what a message holds.

Times are Zoom's and as on the wire: whoever places media on a time line normalises them (`times.normalise_ms`).
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias

import attrs
import msgspec
import pybase64

from rtmsd.protocol.bounds import bounded_id, bounded_name
from rtmsd.protocol.enums import MediaType, MessageAttribute, MsgType
from rtmsd.protocol.reading import CorruptKind, Malformed, load_object, read_int
from rtmsd.protocol.times import read_time

Raw: TypeAlias = bytes | bytearray | memoryview

UserId: TypeAlias = int | str
"""A participant: Zoom's number (0 is the mix of everybody), or in contact centers the channel id, a string."""


@attrs.frozen(kw_only=True)
class TranscriptData:
    """Message 17: one utterance, or with `attribute` UPDATE or DELETE a revision of one."""

    user_id: UserId
    user_name: str | None
    text: str
    timestamp_ms: int
    start_ms: int | None  # of the utterance; may be an offset from the first packet
    end_ms: int | None
    language: int | None  # `TranscriptLanguage`, known or not
    attribute: int | None  # `MessageAttribute`, known or not


@attrs.frozen(kw_only=True)
class ChatData:
    """Message 18. `details` is Zoom's chat object (operation, ids, receiver, files); None where Zoom sent only text."""

    user_id: UserId | None  # the sender, where Zoom names one
    user_name: str | None
    timestamp_ms: int
    text: str
    details: Mapping[str, Any] | None


@attrs.frozen(kw_only=True)
class Corrupt:
    """A message that could not be kept, and as far as that could be read, whose it was."""

    kind: CorruptKind
    media: MediaType | None = None
    user_id: UserId | None = None
    timestamp_ms: int | None = None


class MediaHandler(Protocol):
    """Who takes in media. Called in the order of arrival, in the reader's task: no call may block or raise."""

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one packet, in the negotiated format."""

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one image, or one chunk of an H.264 byte stream."""

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one image, or one chunk of an H.264 byte stream, of a shared screen."""

    def transcript(self, data: TranscriptData) -> None: ...

    def chat(self, data: ChatData) -> None: ...

    def control(self, raw: Raw) -> None:
        """Take a message that is no media data, undecoded: a handshake's answer, a keep-alive, an unknown one."""

    def corrupt(self, problem: Corrupt) -> None:
        """Count a message that could not be read."""


def decode_batch(messages: Iterable[Raw], handler: MediaHandler) -> None:
    """Decode complete WebSocket messages, text or binary, and hand each to `handler`, in order.

    Source: Zoom documentation, "Handling media data"; chat and the variants of other shapes from Zoom's samples.
    """
    for raw in messages:
        try:
            message = _decode(raw) if len(raw) < _CUT_FROM_BYTES else _decode_large(raw)
        except (ValueError, RecursionError):  # msgspec's, binascii's and Unicode errors are all ValueErrors
            _read_tolerantly(raw, handler)
            continue
        content = message.content
        data = content.data
        user_id: UserId | None = content.user_id
        if user_id is None:
            user_id = bounded_id(content.channel_id) if content.channel_id else None
        if user_id is None or (content.length is not None and content.length != len(data)):
            _read_tolerantly(raw, handler)
        elif message.msg_type == _AUDIO:
            handler.audio(user_id, content.user_name, content.timestamp, data)
        elif message.msg_type == _VIDEO:
            handler.video(user_id, content.user_name, content.timestamp, data)
        else:
            handler.share(user_id, content.user_name, content.timestamp, data)


# The fast reader. Measured per audio message of 965 bytes: 1.1 µs, base64 included. Matching a message against the one
# before, and decoding only its base64 with pybase64 and its timestamp, takes as long.


_INT64_MAX: Final = 2**63 - 1
_Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-_INT64_MAX, le=_INT64_MAX)]


_AUDIO: Final = int(MsgType.MEDIA_DATA_AUDIO)
_VIDEO: Final = int(MsgType.MEDIA_DATA_VIDEO)


class _Content(msgspec.Struct, gc=False):  # gc=False: no cycles here, and the collector need not count them
    timestamp: _Int64
    data: bytes
    user_id: _Int64 | None = None
    user_name: str | None = None
    length: int | None = None
    channel_id: str | None = None


class _Message(msgspec.Struct, gc=False):
    msg_type: Literal[14, 15, 16]
    content: _Content


_decode: Final = msgspec.json.Decoder(_Message).decode

_CUT_FROM_BYTES: Final = 3000
"""From about here two searches and pybase64 (SIMD) are faster than msgspec's base64; at 30 KB six times."""

_DATA_KEY: Final = re.compile(rb'"data"\s*:\s*"')


def _decode_large(raw: Raw) -> _Message:
    """Decode a message with its base64 cut out, and the base64 by itself.

    In valid JSON the pattern ends a key, since a quote within a string is escaped; and it is the content's if no other
    follows. Any doubt, and any escape within the base64, leaves the message to the slower ways.
    """
    raw = bytes(raw)  # no copy if it is bytes already
    key = _DATA_KEY.search(raw)
    if key is None:
        return _decode(raw)
    start = key.end()
    stop = raw.find(b'"', start)
    if stop < 0 or raw.find(b'"data"', stop) >= 0:
        return _decode(raw)
    message = _decode(raw[:start] + raw[stop:])
    message.content.data = pybase64.b64decode(memoryview(raw)[start:stop], validate=True)
    return message


# The tolerant reader: numeric strings, ids beside a content that is a string, chat, and a name for what is wrong.


_MEDIA: Final[Mapping[int, MediaType]] = {
    MsgType.MEDIA_DATA_AUDIO: MediaType.AUDIO,
    MsgType.MEDIA_DATA_VIDEO: MediaType.VIDEO,
    MsgType.MEDIA_DATA_SHARE: MediaType.DESKSHARE,
    MsgType.MEDIA_DATA_TRANSCRIPT: MediaType.TRANSCRIPT,
    MsgType.MEDIA_DATA_CHAT: MediaType.CHAT,
}


def _read_tolerantly(raw: Raw, handler: MediaHandler) -> None:
    try:
        fields = load_object(raw)
    except Malformed as exc:
        handler.corrupt(Corrupt(kind=exc.kind))
        return
    msg_type = _int(fields.get("msg_type"))
    media = None if msg_type is None else _MEDIA.get(msg_type)
    if msg_type is None or media is None:
        handler.control(raw)
        return

    content = fields.get("content")
    if isinstance(content, str):  # an older guide has the data here and the rest one level up
        content = {**fields, "data": content}
    if not isinstance(content, dict):
        handler.corrupt(Corrupt(kind=CorruptKind.WRONG_TYPE, media=media))
        return
    user_id, timestamp_ms, data = _user_id(content), read_time(content.get("timestamp")), content.get("data")

    def corrupt(kind: CorruptKind) -> None:
        handler.corrupt(Corrupt(kind=kind, media=media, user_id=user_id, timestamp_ms=timestamp_ms))

    if timestamp_ms is None:
        corrupt(CorruptKind.WRONG_TYPE)
    elif media is MediaType.CHAT:
        chat = _chat(content, data, timestamp_ms)
        if chat is None:
            corrupt(CorruptKind.WRONG_TYPE)
        else:
            handler.chat(chat)
    elif media is MediaType.TRANSCRIPT and user_id is not None and data is None and _is_deletion(content):
        handler.transcript(_transcript(content, user_id, timestamp_ms, ""))
    elif user_id is None or not isinstance(data, str):
        corrupt(CorruptKind.WRONG_TYPE)
    elif media is MediaType.TRANSCRIPT:
        handler.transcript(_transcript(content, user_id, timestamp_ms, data))
    else:
        try:
            payload = pybase64.b64decode(data, validate=True)
        except ValueError:
            corrupt(CorruptKind.BAD_BASE64)
            return
        if _int(content.get("length")) in {None, len(payload)}:
            take = {MediaType.AUDIO: handler.audio, MediaType.VIDEO: handler.video}.get(media, handler.share)
            take(user_id, _name(content.get("user_name")), timestamp_ms, payload)
        else:
            corrupt(CorruptKind.LENGTH_MISMATCH)


def _transcript(content: Mapping[str, Any], user_id: UserId, timestamp_ms: int, text: str) -> TranscriptData:
    return TranscriptData(
        user_id=user_id,
        user_name=_name(content.get("user_name")),
        text=text,
        timestamp_ms=timestamp_ms,
        start_ms=read_time(content.get("start_time")),
        end_ms=read_time(content.get("end_time")),
        language=_int(content.get("language")),
        attribute=_int(content.get("attribute")),
    )


def _is_deletion(content: Mapping[str, Any]) -> bool:
    return _int(content.get("attribute")) == MessageAttribute.DELETE


_CHAT_KEYS: Final = frozenset(
    {
        "chat_session",
        "operation_type",
        "message_id",
        "parent_message_id",
        "sender",
        "receiver",
        "files",
        "delete_file_id_list",
    }
)
"""What only Zoom puts beside a text: with none of these an object, or what reads as one, is what somebody typed."""


def _chat(content: Mapping[str, Any], data: object, timestamp_ms: int) -> ChatData | None:
    """Return a chat message, Zoom's fields in `data` or beside it; None where there is neither text nor any of them."""
    inner = _chat_object(data) if isinstance(data, str) else data
    details = inner if isinstance(inner, dict) and not _CHAT_KEYS.isdisjoint(inner) else None
    text = data if details is None else details.get("data")
    beside = {key: content[key] for key in _CHAT_KEYS & content.keys() if content[key] is not None}
    if beside:
        details = {**beside, **(details or {})}
    if not isinstance(data, str | dict) and (data is not None or not beside):
        return None
    sender = details.get("sender") if details is not None else None
    named = sender if isinstance(sender, dict) else {}
    user_id = _user_id(content)
    return ChatData(
        user_id=_user_id(named) if user_id is None else user_id,
        user_name=_name(content.get("user_name")) or _name(named.get("user_name")),
        timestamp_ms=timestamp_ms,
        text=_typed(text),
        details=details,
    )


def _typed(text: object) -> str:
    """Return a chat's text as it was typed; what is no string, as JSON."""
    if isinstance(text, str):
        return text
    return "" if text is None else json.dumps(text, ensure_ascii=False, separators=(",", ":"))


def _chat_object(text: str) -> dict[str, Any] | None:
    """Return the object that newer servers encode as a string; None for plain text of older ones."""
    try:
        return load_object(text)
    except Malformed:
        return None


def _user_id(fields: Mapping[str, Any]) -> UserId | None:
    """Return `user_id`, or in contact centers the `channel_id`: a string, also when it came as a number."""
    user_id = _int(fields.get("user_id"))
    if user_id is not None:
        return user_id
    channel_id = fields.get("channel_id")
    if isinstance(channel_id, str):
        return bounded_id(channel_id) if channel_id else None
    number = _int(channel_id)
    return None if number is None else str(number)


def _int(value: object) -> int | None:
    try:
        number = read_int(value)
    except TypeError:
        return None
    return number if number >= -_INT64_MAX else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _name(value: object) -> str | None:
    return bounded_name(value) if isinstance(value, str) else None
