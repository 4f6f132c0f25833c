"""RTP (RFC 3550) around audio: its headers cut off, and what is missing between them counted. Pure.

Whether there is RTP the server's answer says: `RtpReader` takes packets of the codecs that Zoom sends in it. With L16,
which is in no list of what is valid, several of Zoom's samples ask for RTP and get plain PCM; `MaybeRtpReader` takes
it as what it is, for the packets of one participant since the handshake:

- A packet *fits* if it is of RTP version 2, and behind its header, CSRCs and extension, and before its padding, has one
  or more times 20 ms of audio, as all packets of Zoom's have.
- A packet that is itself one or more times 20 ms long is plain. No header is as long as that.
- The first packet that fits has its header cut off, unless a plain one came before.
- A second one that fits, with the same SSRC and a sequence number further on, proves that this is RTP. Then what does
  not fit is corrupt; until then it is plain, and from then on only such a pair proves RTP.
"""

from collections.abc import Callable, Container, Mapping
from typing import Final, NamedTuple

from rtmsd.protocol.enums import PayloadType

_VERSION: Final = 2
_FIXED_BYTES: Final = 12
_NUMBERS: Final = 0x10000
_FORWARD: Final = 0x8000  # a sequence number less than this ahead is further on
_WINDOW: Final = 4096  # packets: more than the 65 s that Zoom may send again, at 20 ms
_DYNAMIC: Final = range(96, 128)

PAYLOAD_TYPES: Final[Mapping[PayloadType, Container[int]]] = {
    PayloadType.G711: {8, *_DYNAMIC},
    PayloadType.G722: {9, *_DYNAMIC},
    PayloadType.OPUS: _DYNAMIC,
}
"""The payload types of each codec: RFC 3551's, and those that a session may give a meaning."""


class _Packet(NamedTuple):
    payload_type: int
    sequence: int
    ssrc: bytes
    payload: bytes


def _parse(data: bytes) -> _Packet | None:
    """Read a packet; None for one that is not RTP, or cut short. Source: RFC 3550, 5.1 and 5.3.1."""
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
    if stop <= start:
        return None
    return _Packet(data[1] & 0x7F, int.from_bytes(data[2:4], "big"), data[8:12], data[start:stop])


class RtpSequence:
    """The sequence numbers of one participant, over wraparound and reconnections; a new SSRC starts afresh.

    What comes late, or again, is within a window of 4096 packets behind the newest. Two packets in a row from further
    back say that the sender began again.
    """

    __slots__ = ("_missing", "_newest", "_restart", "_ssrc")

    def __init__(self) -> None:
        self._ssrc: bytes | None = None
        self._newest = 0  # counted on over wraparound
        self._missing: set[int] = set()  # at most as many as the window has
        self._restart: int | None = None  # the number that, if it comes next, is a beginning

    def take(self, ssrc: bytes, sequence: int) -> int:
        """Return how many packets more are missing with this one: -1 if it was itself, and came late."""
        if ssrc != self._ssrc or sequence == self._restart:
            self._ssrc, self._newest, self._restart = ssrc, sequence, None
            self._missing.clear()
            return 0
        self._restart = None
        ahead = (sequence - self._newest) % _NUMBERS
        if ahead < _FORWARD:
            return self._advance(self._newest + ahead)
        number = self._newest + ahead - _NUMBERS
        if number in self._missing:
            self._missing.remove(number)
            return -1
        if number < self._newest - _WINDOW:
            self._restart = (sequence + 1) % _NUMBERS
        return 0

    def _advance(self, number: int) -> int:
        lost = max(0, number - self._newest - 1)
        self._newest = number
        if lost:
            self._missing.update(range(max(number - lost, number - _WINDOW), number))
            if len(self._missing) > _WINDOW:
                self._missing = {each for each in self._missing if each >= number - _WINDOW}
        return lost


class RtpReader:
    """Reads the packets of one participant that the server says are RTP.

    Args:
        codec: one of `PAYLOAD_TYPES`.
        unit_bytes: a payload is one or more times as long.
        sequence: of the participant.
        note_lost: called with what `RtpSequence.take` returns unless it is 0.
    """

    __slots__ = ("_note_lost", "_payload_types", "_sequence", "_unit_bytes")

    def __init__(
        self, codec: PayloadType, unit_bytes: int, sequence: RtpSequence, note_lost: Callable[[int], None]
    ) -> None:
        self._payload_types = PAYLOAD_TYPES[codec]
        self._unit_bytes = unit_bytes
        self._sequence = sequence
        self._note_lost = note_lost

    def payload(self, data: bytes) -> bytes | None:
        """Return the audio in a packet; None for one that is corrupt."""
        packet = _parse(data)
        if packet is None:
            return None
        lost = self._sequence.take(packet.ssrc, packet.sequence)
        if lost:
            self._note_lost(lost)
        fits = packet.payload_type in self._payload_types and len(packet.payload) % self._unit_bytes == 0
        return packet.payload if fits else None


class MaybeRtpReader:
    """Reads the packets of one participant, in order, that are said to be L16 in RTP.

    Args:
        unit_bytes: 20 ms of audio.
    """

    __slots__ = ("_is_proven", "_last", "_saw_plain", "_unit_bytes")

    def __init__(self, unit_bytes: int) -> None:
        self._unit_bytes = unit_bytes
        self._last: _Packet | None = None
        self._saw_plain = False
        self._is_proven = False

    def payload(self, data: bytes) -> bytes | None:
        """Return the audio in a packet; None for one that is corrupt."""
        packet = _parse(data)
        if packet is not None and len(packet.payload) % self._unit_bytes:
            packet = None
        if self._is_proven:
            return None if packet is None else packet.payload
        if packet is None or len(data) % self._unit_bytes == 0:
            self._saw_plain = True
            return data
        last, self._last = self._last, packet
        if last is not None and last.ssrc == packet.ssrc:
            self._is_proven = 0 < (packet.sequence - last.sequence) % _NUMBERS < _FORWARD
        if self._is_proven or (last is None and not self._saw_plain):
            return packet.payload
        self._saw_plain = True
        return data
