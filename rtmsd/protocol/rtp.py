"""RTP (RFC 3550) around audio: its header cut off, where there is one. Pure.

Several of Zoom's samples ask for RTP with L16, which is in no list of what is valid, and get plain PCM. So that RTP was
agreed on proves nothing, and the rule is, for the packets of one participant since the handshake:

- A packet *fits* if it is of RTP version 2, and behind its header, CSRCs and extension, and before its padding, has one
  or more times 20 ms of audio, as all packets of Zoom's have.
- A packet that is itself one or more times 20 ms long is plain. No header is as long as that.
- The first packet that fits has its header cut off, unless a plain one came before.
- A second one that fits, with the same SSRC and a sequence number further on, proves that this is RTP. Then what does
  not fit is corrupt; until then it is plain, and from then on only such a pair proves RTP.
"""

from typing import Final, NamedTuple

_VERSION: Final = 2
_FIXED_BYTES: Final = 12
_FORWARD: Final = 0x8000  # a sequence number less than this ahead, of 16 bits, is further on


class _Packet(NamedTuple):
    ssrc: bytes
    sequence: int
    payload: bytes


class RtpReader:
    """Reads the packets of one participant, in order.

    Args:
        unit_bytes: 20 ms of audio.
        may_be_odd: plain audio may have any length; else what is no multiple of `unit_bytes` is corrupt.
    """

    __slots__ = ("_is_proven", "_last", "_may_be_odd", "_saw_plain", "_unit_bytes")

    def __init__(self, unit_bytes: int, *, may_be_odd: bool) -> None:
        self._unit_bytes = unit_bytes
        self._may_be_odd = may_be_odd
        self._last: _Packet | None = None
        self._saw_plain = False
        self._is_proven = False

    def payload(self, data: bytes) -> bytes | None:
        """Return the audio in a packet; None for one that is corrupt."""
        packet = self._parse(data)
        if self._is_proven:
            return None if packet is None else packet.payload
        if packet is None or len(data) % self._unit_bytes == 0:
            self._saw_plain = True
            return data if self._may_be_odd or len(data) % self._unit_bytes == 0 else None
        last, self._last = self._last, packet
        if last is not None and last.ssrc == packet.ssrc:
            self._is_proven = 0 < (packet.sequence - last.sequence) & 0xFFFF < _FORWARD
        if self._is_proven or (last is None and not self._saw_plain):
            return packet.payload
        self._saw_plain = True
        return data if self._may_be_odd else None

    def _parse(self, data: bytes) -> _Packet | None:
        """Read a packet that fits. Source: RFC 3550, 5.1 and 5.3.1."""
        if len(data) < _FIXED_BYTES or data[0] >> 6 != _VERSION:
            return None
        start, stop = _FIXED_BYTES + 4 * (data[0] & 0x0F), len(data)
        if data[0] & 0x10:
            start += 4
            start += 4 * int.from_bytes(data[start - 2 : start], "big")
        if data[0] & 0x20:
            padding_bytes = data[-1]
            if padding_bytes == 0:
                return None
            stop -= padding_bytes
        if stop <= start or (stop - start) % self._unit_bytes:
            return None
        return _Packet(data[8:12], int.from_bytes(data[2:4], "big"), data[start:stop])
