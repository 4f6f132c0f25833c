"""Media data (messages 14-18): a batch of WebSocket messages in, typed calls on a handler out.

Two readers give the same answers. The fast one takes audio, video and share as Zoom documents them; what it refuses,
for whatever reason, goes to the tolerant one, which has the last word. Nothing here raises for what a message holds.

Times are Zoom's and as on the wire: the recording normalises them (`times.normalise_ms`).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol, TypeAlias

import attrs
import msgspec
import pybase64

from rtmsd.protocol.bounds import bounded_id, bounded_object
from rtmsd.protocol.chat import ChatData, read_chat
from rtmsd.protocol.enums import MediaType, MessageAttribute, MsgType
from rtmsd.protocol.languages import language_tag
from rtmsd.protocol.media_types import MESSAGES
from rtmsd.protocol.reading import CorruptKind, Malformed, load_object
from rtmsd.protocol.speakers import INT64_MAX, UserId, read_name, read_number, read_user_id, take, take_user_id
from rtmsd.protocol.times import read_time

__all__ = ["ChatData", "Corrupt", "MediaHandler", "Raw", "Text", "TranscriptData", "UserId", "decode_batch"]

Raw: TypeAlias = bytes | bytearray | memoryview


@attrs.frozen(kw_only=True)
class TranscriptData:
    """Message 17: one utterance, or with `attribute` UPDATE or DELETE a revision of one."""

    media: ClassVar = "transcript"
    user_id: UserId | None  # None: nobody is named
    user_name: str | None
    text: str
    timestamp_ms: int
    start_ms: int | None  # of the utterance; may be an offset from the first packet
    end_ms: int | None
    language: int | None  # `TranscriptLanguage`, known or not
    language_tag: str | None = attrs.field(init=False)  # of BCP 47; None: unknown
    attribute: int | None  # `MessageAttribute`, known or not
    details: Mapping[str, Any] | None = None  # all other fields, and those that could not be read

    @language_tag.default
    def _language_tag(self) -> str | None:
        return language_tag(self.language)


Text: TypeAlias = TranscriptData | ChatData


@attrs.frozen(kw_only=True)
class Corrupt:
    """A message that could not be kept, and its speaker as far as that could be read."""

    kind: CorruptKind
    media: MediaType | None = None
    user_id: UserId | None = None
    timestamp_ms: int | None = None


class MediaHandler(Protocol):
    """The receiver of media. Called in the order of arrival, in the reader's task: no call may block or raise."""

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one packet, in the negotiated format."""

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one image, or one chunk of an H.264 byte stream."""

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        """Take one image, or one chunk of an H.264 byte stream, of a shared screen."""

    def text(self, data: Text) -> None:
        """Take one message of a medium that is text."""

    def corrupt(self, problem: Corrupt) -> None:
        """Count a message that could not be read."""


def decode_batch(
    messages: Iterable[Raw], handler: MediaHandler, control: Callable[[Raw], None], *, by_channel: bool = False
) -> None:
    """Decode complete WebSocket messages, text or binary, and hand each to `handler`, in order.

    Args:
        control: takes what is no media data, undecoded: a handshake's answer, a keep-alive, an unknown message.
        by_channel: a `channel_id` says who speaks even where there is a `user_id`, as in contact centers.

    Source: Zoom documentation, "Handling media data"; chat and the variants of other shapes from Zoom's samples.
    """
    for raw in messages:
        try:
            message = _decode(raw) if len(raw) < _CUT_FROM_BYTES else _decode_large(raw)
        except (ValueError, RecursionError):  # msgspec's, binascii's and Unicode errors are all ValueErrors
            _read_tolerantly(raw, handler, control, by_channel)
            continue
        content = message.content
        data = content.data
        user_id: UserId | None = content.user_id
        if (not user_id or by_channel) and content.channel_id:  # whatever is beside it: 0 in a mixed stream
            user_id = bounded_id(content.channel_id)
        if user_id is None or (content.length is not None and content.length != len(data)):
            _read_tolerantly(raw, handler, control, by_channel)
        elif message.msg_type == _AUDIO:
            handler.audio(user_id, content.user_name, content.timestamp, data)
        elif message.msg_type == _VIDEO:
            handler.video(user_id, content.user_name, content.timestamp, data)
        else:
            handler.share(user_id, content.user_name, content.timestamp, data)


# The fast reader. Measured per audio message of 965 bytes: 1.1 µs, base64 included. Matching a message against the one
# before, and decoding only its base64 with pybase64 and its timestamp, takes as long.


_Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-INT64_MAX, le=INT64_MAX)]


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


def decode_audio(raw: Raw) -> _Message | None:
    """Return an audio message that the fast reader takes, else None."""
    try:
        message = _decode(raw) if len(raw) < _CUT_FROM_BYTES else _decode_large(raw)
    except (ValueError, RecursionError):
        return None
    content = message.content
    is_audio = message.msg_type == _AUDIO and content.length in {None, len(content.data)}
    return message if is_audio else None


# The tolerant reader: numeric strings, ids beside a content that is a string, chat, and a name for what is wrong.


def _read_tolerantly(raw: Raw, handler: MediaHandler, control: Callable[[Raw], None], by_channel: bool) -> None:
    try:
        fields = load_object(raw)
    except Malformed as exc:
        handler.corrupt(Corrupt(kind=exc.kind))
        return
    msg_type = read_number(fields.get("msg_type"))
    media = None if msg_type is None else MESSAGES.get(msg_type)
    if msg_type is None or media is None:
        control(raw)
        return

    content = fields.get("content")
    if isinstance(content, str):  # an older guide has the data here and the rest one level up
        content = {key: value for key, value in fields.items() if key != "msg_type"} | {"data": content}
        del content["content"]
    if not isinstance(content, dict):
        handler.corrupt(Corrupt(kind=CorruptKind.WRONG_TYPE, media=media))
        return
    if by_channel and read_user_id({**content, "user_id": None}) is not None:
        content = {**content, "user_id": None, "zoom_user_id": content.get("user_id")}  # as an agent's account
    user_id, timestamp_ms, data = read_user_id(content), read_time(content.get("timestamp")), content.get("data")

    def corrupt(kind: CorruptKind) -> None:
        handler.corrupt(Corrupt(kind=kind, media=media, user_id=user_id, timestamp_ms=timestamp_ms))

    if timestamp_ms is None:
        corrupt(CorruptKind.WRONG_TYPE)
    elif media in _READ_TEXT:
        text = _READ_TEXT[media](content, data, timestamp_ms)
        if text is None:
            corrupt(CorruptKind.WRONG_TYPE)
        else:
            handler.text(text)
    elif user_id is None or not isinstance(data, str):
        corrupt(CorruptKind.WRONG_TYPE)
    else:
        try:
            payload = pybase64.b64decode(data, validate=True)
        except ValueError:
            corrupt(CorruptKind.BAD_BASE64)
            return
        if read_number(content.get("length")) in {None, len(payload)}:
            take = {MediaType.AUDIO: handler.audio, MediaType.VIDEO: handler.video}.get(media, handler.share)
            take(user_id, read_name(content.get("user_name")), timestamp_ms, payload)
        else:
            corrupt(CorruptKind.LENGTH_MISMATCH)


def _read_transcript(content: Mapping[str, Any], data: object, timestamp_ms: int) -> TranscriptData | None:
    """Return an utterance; None where there is no text and it is no deletion."""
    left = {key: value for key, value in content.items() if key not in {"data", "timestamp"} and value is not None}
    user_id, attribute = take_user_id(left), take(left, "attribute", read_number)
    text = "" if data is None and attribute == MessageAttribute.DELETE else data
    if not isinstance(text, str):
        return None
    return TranscriptData(
        user_id=user_id,
        user_name=take(left, "user_name", read_name),
        text=text,
        timestamp_ms=timestamp_ms,
        start_ms=take(left, "start_time", read_time),
        end_ms=take(left, "end_time", read_time),
        language=take(left, "language", read_number),
        attribute=attribute,
        details=_bounded(left) or None,
    )


def _bounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    kept, is_whole = bounded_object(fields)
    return kept if is_whole else {**kept, "is_cut": True}


_READ_TEXT: Final[Mapping[MediaType, Callable[[Mapping[str, Any], object, int], Text | None]]] = {
    MediaType.TRANSCRIPT: _read_transcript,
    MediaType.CHAT: read_chat,
}
