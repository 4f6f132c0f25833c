"""RTP (RFC 3550) around audio, as a simulated Zoom sends it where `content_type` 1 was negotiated."""

import struct
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from rtmsd.protocol.enums import PayloadType
from rtmsd.simulator.model.settings import Dialect

_VERSION: Final = 0x80
_EXTENDED: Final = 0x10
_PADDED: Final = 0x20
_FIXED: Final = struct.Struct(">BBHII")
_PROFILE: Final = 0xBEDE  # of a header extension (RFC 8285)
_FIRST_SEQUENCE: Final = 0xFFF0  # near the end of its 16 bits, so that every stream of 17 packets wraps around

_FORMS: Final[Mapping[PayloadType, tuple[int, int]]] = {
    PayloadType.G711: (8, 8000),
    PayloadType.G722: (9, 8000),  # by RFC 3551 half its sample rate
    PayloadType.OPUS: (111, 48000),
}
"""Of each codec the payload type, and the clock of the timestamps in Hz."""


class RtpStamp(NamedTuple):
    """The place of a packet among those of its sender; a packet that is sent again keeps it."""

    ssrc: int
    sequence: int


class RtpSender:
    """The numbering of one participant's packets: a new number for each, whenever it is sent."""

    def __init__(self, user_id: int) -> None:
        self._user_id = user_id
        self._restarts = -1
        self.restart()

    def restart(self) -> None:
        """Begin again, with another SSRC."""
        self._restarts += 1
        self._ssrc = zlib.crc32(f"{self._user_id} {self._restarts}".encode())
        self._next = _FIRST_SEQUENCE

    def jump(self, packets: int) -> None:
        """Leave out so many numbers, as if their packets had been lost."""
        self._next += packets

    def stamp(self) -> RtpStamp:
        self._next += 1
        return RtpStamp(self._ssrc, (self._next - 1) & 0xFFFF)


def rtp_packet(codec: PayloadType, stamp: RtpStamp, time_ms: int, payload: bytes, dialect: Dialect) -> bytes:
    """Return a packet, with the CSRCs, the extension and the padding that a dialect asks for.

    Args:
        codec: OPUS, G711 or G722.
        time_ms: on the sender's clock.
    """
    payload_type, clock_hz = _FORMS[codec]
    first = _VERSION | dialect.rtp_csrcs
    if dialect.rtp_extension_words:
        first |= _EXTENDED
    if dialect.rtp_padding_bytes:
        first |= _PADDED
    ticks = time_ms * clock_hz // 1000 & 0xFFFFFFFF
    parts = [_FIXED.pack(first, payload_type, stamp.sequence, ticks, stamp.ssrc)]
    parts += [struct.pack(">I", number) for number in range(dialect.rtp_csrcs)]
    if dialect.rtp_extension_words:
        parts.append(struct.pack(">HH", _PROFILE, dialect.rtp_extension_words) + b"Zoom" * dialect.rtp_extension_words)
    parts.append(payload)
    if dialect.rtp_padding_bytes:
        parts.append(bytes(dialect.rtp_padding_bytes - 1) + bytes((dialect.rtp_padding_bytes,)))
    return b"".join(parts)
