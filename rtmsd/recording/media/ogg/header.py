"""The beginning of an Ogg file with Opus: two pages of a fixed length together, so that they can be made again. Pure.

OpusHead | OpusTags. A file knows its own start and owner, so that it survives the loss of the manifest. The pre-skip is
0: sample 0 is `start_ms`. Source: RFC 7845, 5.
"""

import json
import struct
import zlib
from typing import Final

import attrs

from rtmsd.recording.media.ogg.packets import RATE_HZ, OpusFormat
from rtmsd.recording.media.ogg.pages import FIRST, PageHead, encode_page, lacing_of, read_page

HEAD_BYTES: Final = 1024
HEAD_PAGES: Final = 2
_HEAD: Final = struct.Struct("<8sBBHIhB")
_TAGS: Final = b"OpusTags"
_PAGE_HEAD_BYTES: Final = len(encode_page(PageHead(0, 0, 0, 0), b"", b""))
_VENDOR: Final = b"rtmsd"
_VALUE_BYTES: Final = 256
_LENGTH: Final = struct.Struct("<I")
_START, _STREAM, _OWNER, _NAME = "RTMS_START_MS", "RTMS_STREAM_STARTED_MS", "RTMS_USER_ID", "ARTIST"


class BadOgg(ValueError):
    """Not an Ogg file of ours."""


@attrs.frozen(kw_only=True)
class OggHeader:
    """The first two pages.

    Attributes:
        start_ms: time of the first sample.
        stream_started_ms: start of the stream.
        owner: the speaker (`user_id` or channel id).
        user_name: as it was known when the file was begun; not compared.
        serial: of the Ogg stream.
    """

    pcm: OpusFormat
    start_ms: int
    stream_started_ms: int
    owner: int | str
    user_name: str | None = attrs.field(default=None, eq=False)
    serial: int = attrs.field(eq=False)

    @serial.default
    def _any_serial(self) -> int:
        return zlib.crc32(f"{self.stream_started_ms} {self.owner} {self.start_ms}".encode(errors="replace"))

    def encode(self) -> bytes:
        head = _HEAD.pack(b"OpusHead", 1, self.pcm.channels, 0, RATE_HZ, 0, 0)
        first = encode_page(PageHead(FIRST, 0, self.serial, 0), lacing_of(len(head)), head)
        fields = [
            (_START, str(self.start_ms)),
            (_STREAM, str(self.stream_started_ms)),
            (_OWNER, json.dumps(self.owner)),
        ]
        if self.user_name is not None:
            fields.append((_NAME, self.user_name))
        comments = [f"{name}={_bounded(value)}".encode() for name, value in fields]
        tags = b"".join((_TAGS, _counted(_VENDOR), _LENGTH.pack(len(comments)), *map(_counted, comments)))
        room = HEAD_BYTES - len(first) - _PAGE_HEAD_BYTES
        tags = tags.ljust(
            room - room // 256 - 1, b"\0"
        )  # what is behind the comments is padding, if its first bit is 0
        return first + encode_page(PageHead(0, 0, self.serial, 1), lacing_of(len(tags)), tags)

    @classmethod
    def decode(cls, raw: bytes) -> "OggHeader":
        """Read back what `encode` made.

        Raises:
            BadOgg: other pages, or too short.
        """
        first = read_page(raw)
        second = None if first is None else read_page(raw, first.stop)
        if first is None or second is None or second.stop != HEAD_BYTES or len(first.packets + second.packets) != 2:
            raise BadOgg("does not begin with the pages of rtmsd")
        head, tags = first.packets[0], second.packets[0]
        if len(head) != _HEAD.size or not tags.startswith(_TAGS):
            raise BadOgg("no Opus")
        magic, version, channels, skip, _, gain, family = _HEAD.unpack(head)
        if (magic, version, skip, gain, family) != (b"OpusHead", 1, 0, 0, 0) or channels not in {1, 2}:
            raise BadOgg(f"version {version}, {channels} channels, pre-skip {skip}, gain {gain}, mapping {family}")
        try:
            known = _comments(tags)
            owner = json.loads(known[_OWNER])
            start_ms, stream_started_ms = int(known[_START]), int(known[_STREAM])
        except (ValueError, KeyError, struct.error) as exc:
            raise BadOgg(f"comments: {exc}") from None
        if isinstance(owner, bool) or not isinstance(owner, int | str):
            raise BadOgg(f"comments: {_OWNER} {owner!r}")
        return cls(
            pcm=OpusFormat(RATE_HZ, channels),
            start_ms=start_ms,
            stream_started_ms=stream_started_ms,
            owner=owner,
            user_name=known.get(_NAME),
            serial=first.serial,
        )


def _bounded(value: str) -> str:
    """Return a value that has room, and is text to any reader."""
    return value.encode(errors="replace")[:_VALUE_BYTES].decode(errors="ignore").replace("\0", "\ufffd")


def _counted(text: bytes) -> bytes:
    return _LENGTH.pack(len(text)) + text


def _comments(tags: bytes) -> dict[str, str]:
    at = len(_TAGS)
    texts: list[str] = []
    counts = 1
    while len(texts) < counts:
        (size,) = _LENGTH.unpack_from(tags, at)
        at += _LENGTH.size
        texts.append(tags[at : at + size].decode())
        at += size
        if len(texts) == 1:  # behind the vendor comes how many comments there are
            counts += _LENGTH.unpack_from(tags, at)[0]
            at += _LENGTH.size
    return dict(text.partition("=")[::2] for text in texts[1:])
