"""Media messages rendered beforehand: as long as Zoom's, and cheap to send again with another time in them.

The first eight bytes of each payload, of Opus those behind three, hold the sender's monotonic clock in nanoseconds when
it was sent, so that whoever gets the payload, decoded, on the same machine, can work out how old it is.
"""

import base64
import json
import struct
import time
from functools import cache
from typing import Final

USER_ID: Final = 16_778_240
AUDIO_BYTES: Final = 640  # 20 ms of L16 at 16 kHz
VIDEO_BYTES: Final = 22_500
OPUS_BYTES: Final = 83  # 20 ms at 32 kbit/s
_MSG_TYPE: Final = {"audio": 14, "opus": 14, "video": 15}
_HEAD: Final = {"opus": b"\xf8\0\0"}  # what stands before the clock
CLOCK_BYTES: Final = 9  # 12 characters of base64, which hold the clock and a zero
PERIOD_BYTES: Final = 255  # what follows the clock repeats as often, which shows any slip
_FLOOD_BYTES: Final = 128 * 1024


def header(length: int, first: int = 0x81) -> bytes:
    """The header of an unmasked frame."""
    if length < 126:
        return bytes([first, length])
    if length < 0x10000:
        return bytes([first, 126]) + length.to_bytes(2, "big")
    return bytes([first, 127]) + length.to_bytes(8, "big")


def payload_bytes(media: str, period_ms: int) -> int:
    if media == "opus":
        return OPUS_BYTES
    return AUDIO_BYTES * period_ms // 20 if media == "audio" else VIDEO_BYTES


def sent_ns(payload: bytes) -> int:
    """When a payload was sent, in the sender's monotonic clock; 0: nobody said."""
    return int(struct.unpack_from("<q", payload)[0])


@cache
def _data(size: int, head: bytes) -> str:
    payload = head + bytes(CLOCK_BYTES) + bytes(i % PERIOD_BYTES for i in range(size - CLOCK_BYTES - len(head)))
    return base64.b64encode(payload).decode()


class Frames:
    """A row of frames in one buffer. Each lasts `period_ms`; `next_ms` is the time of the next one to be sent."""

    def __init__(self, media: str, period_ms: int, count: int = 1) -> None:
        size, head = payload_bytes(media, period_ms), _HEAD.get(media, b"")
        started_ms = time.time_ns() // 1_000_000
        content = {
            "user_id": USER_ID,
            "user_name": "Ana Example",
            "data": _data(size, head),
            "length": size,
            "timestamp": started_ms,
        }
        text = json.dumps({"msg_type": _MSG_TYPE[media], "content": content}, separators=(",", ":")).encode()
        frame = header(len(text)) + text
        self.period_ms = period_ms
        self.frame_bytes = len(frame)
        self.count = count
        self.buffer = bytearray(frame * count)
        self.view = memoryview(self.buffer)
        self.next_ms = started_ms
        self._time_at = frame.rindex(str(started_ms).encode())
        self._clock_at = frame.index(b'"data":"') + 8 + len(base64.b64encode(head))

    @classmethod
    def for_flood(cls, media: str) -> "Frames":
        """As many frames as make a large write."""
        size = payload_bytes(media, 20) * 4 // 3
        return cls(media, 20, max(4, _FLOOD_BYTES // size))

    def advance(self) -> None:
        """Give all frames their next times; after this the buffer may be sent again."""
        time_ms, buffer = self.next_ms, self.buffer
        for at in range(self._time_at, len(buffer), self.frame_bytes):
            buffer[at : at + 13] = b"%d" % time_ms
            time_ms += self.period_ms
        self.next_ms = time_ms

    def set_time(self, time_ms: int) -> None:
        """Give a single frame its time."""
        if time_ms != self.next_ms:
            self.next_ms = time_ms
            self.buffer[self._time_at : self._time_at + 13] = b"%d" % time_ms

    def stamp(self, now_ns: int) -> None:
        """Write the time of sending into the first frame."""
        at = self._clock_at
        self.buffer[at : at + 12] = base64.b64encode(now_ns.to_bytes(8, "little") + b"\0")
