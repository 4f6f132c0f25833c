"""Pictures for video and share: small valid JPEG and PNG, and H.264 in form only, each labelled with its number."""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import pybase64

from rtmsd.protocol.enums import MediaType, PayloadType
from rtmsd.protocol.media_params import DeskshareParams, VideoParams
from rtmsd.simulator.wire.connection import SimConnection

_BYTES: Final = 2000  # of padding; real pictures are ten times as large
_KEY_FRAME_EVERY: Final = 30


def picture(codec: int, user_id: int, number: int) -> bytes:
    """Return one JPEG, one PNG, or one access unit of an Annex-B stream."""
    label = f"user {user_id} picture {number} ".encode().ljust(_BYTES, b".")
    if codec == PayloadType.JPG:
        return _jpeg(label)
    if codec == PayloadType.PNG:
        return _png(label)
    return _access_unit(label, key=number % _KEY_FRAME_EVERY == 0)


def _jpeg(comment: bytes) -> bytes:
    """Return a grey square of one block: tables with a single code each, then the bits "DC 0, end of block"."""
    segments = (
        (0xFE, comment),
        (0xDB, b"\0" + b"\x01" * 64),
        (0xC0, b"\x08\0\x08\0\x08\x01\x01\x11\0"),
        (0xC4, b"\0\x01" + bytes(15) + b"\0"),
        (0xC4, b"\x10\x01" + bytes(15) + b"\0"),
        (0xDA, b"\x01\x01\0\0\x3f\0"),
    )
    body = b"".join(bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return b"\xff\xd8" + body + b"\x3f\xff\xd9"


def _png(comment: bytes) -> bytes:
    """Return a grey square of 8 by 8."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + comment),
        (b"IDAT", zlib.compress(8 * (b"\0" + b"\x80" * 8))),
        (b"IEND", b""),
    )
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _access_unit(payload: bytes, *, key: bool) -> bytes:
    """Return parameter sets and an IDR slice, or another slice; not decodable."""
    start = b"\0\0\0\x01"
    slices = start + (b"\x65" if key else b"\x41") + payload
    return start + b"\x67\x42\xc0\x1e" + start + b"\x68\xce\x3c\x80" + slices if key else slices


class PictureFeed:
    """Sends pictures of one person at the negotiated rate. Pictures are never buffered.

    Args:
        send: sends a media message's content and records it, as `ItemFeed.send`.
    """

    def __init__(self, media: MediaType, send: Callable[[MediaType, Mapping[str, Any]], None]) -> None:
        self._media = media
        self._send = send
        self._due_ms = 0
        self._number = 0

    def advance(self, now_ms: int, connection: SimConnection | None, who: Mapping[str, Any] | None) -> None:
        """Send what is due to `connection`.

        Args:
            who: the fields that name the person shown; None without one.
        """
        params = self._params(connection)
        if params is None or who is None:
            self._due_ms = now_ms
            return
        step_ms = 1000 // (params.fps or 1)
        while self._due_ms <= now_ms:
            data = picture(params.codec or PayloadType.JPG, who["user_id"], self._number)
            encoded = pybase64.b64encode(data).decode()
            content = {**who, "data": encoded, "length": len(data), "timestamp": self._due_ms}
            self._send(self._media, content)
            self._number += 1
            self._due_ms += step_ms

    def _params(self, connection: SimConnection | None) -> VideoParams | DeskshareParams | None:
        if connection is None:
            return None
        return connection.params.video if self._media is MediaType.VIDEO else connection.params.deskshare
