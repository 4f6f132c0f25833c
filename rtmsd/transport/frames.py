"""The splitter of a WebSocket server's frames: messages for the consumer, the rest for the library above.

Whole text and binary messages are lifted out. Control frames pass up untouched, so that the library keeps its duties:
pong and the close handshake. At the first frame that breaks RFC 6455 or exceeds the size limit the splitter steps aside
for good, and the library, which reads what it would have read without it, closes with the right code.
"""

from collections.abc import Callable
from typing import Final

# The first byte of a frame: FIN, three reserved bits, opcode.
_FIN: Final = 0x80
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_WHOLE: Final = frozenset({_FIN | _TEXT, _FIN | _BINARY})
_FIRST_FRAGMENT: Final = frozenset({_TEXT, _BINARY})
_NEXT_FRAGMENT: Final = 0x0
_LAST_FRAGMENT: Final = _FIN
_CLOSE: Final = _FIN | 0x8
_CONTROL: Final = frozenset({_CLOSE, _FIN | 0x9, _FIN | 0xA})  # with ping and pong

_MAX_CONTROL_BYTES: Final = 125
_HEAD_BYTES: Final = 4  # of a frame of 126 to 65535 bytes, as nearly all messages are


class FrameSplitter:
    """Splits the input of one connection. Holds at most one message of `max_message_bytes` and one read.

    UTF-8 is not checked here: the decoder of each message counts a bad one, which costs no connection.
    """

    def __init__(self, max_message_bytes: int) -> None:
        self._max_message_bytes = max_message_bytes
        self._is_aside = False  # after a violation or a close frame everything passes up
        self._held = bytearray()  # the beginning of a frame
        self._wanted_bytes = 0  # of that frame, before another look at it is worth while; 0: none is held
        self._is_payload_held = False  # that of a whole message, without the frame's head
        self._opcode = 0  # of the fragmented message in `_fragments`; 0: there is none
        self._fragments = bytearray()
        self._usual_head = b"none yet"  # of the last whole message
        self._usual_bytes = 0  # of that frame

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a frame that is none of a fragmented message."""
        return not self._wanted_bytes and self._opcode == 0 and not self._is_aside

    def hand_over(self, hold: Callable[[int, bytearray], bool]) -> None:
        """Offer the length and the beginning of a message that is held, to be forgotten here if `hold` takes it."""
        is_held = self._wanted_bytes and self._is_payload_held and not self._is_aside
        if is_held and hold(self._wanted_bytes, self._held):
            self._held, self._wanted_bytes = bytearray(), 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Take the next bytes from the network.

        Returns:
            The messages now complete, text and binary alike, in order; and the bytes to pass up.
        """
        if self.is_between and len(data) == self._usual_bytes and data[:_HEAD_BYTES] == self._usual_head:
            return [data[_HEAD_BYTES:]], b""  # one message, as most reads of a paced stream bring
        messages: list[bytes] = []
        passed: list[bytes] = []
        position = 0
        while self._wanted_bytes and not self._is_aside:  # one frame only: the rest of `data` need not be copied
            rest = memoryview(data)[position : position + self._wanted_bytes - len(self._held)]
            if len(self._held) + len(rest) < self._wanted_bytes:
                self._held += rest
                return [], b""
            position += len(rest)
            held = b"".join((self._held, rest))  # for a message of 30 KB the only copy but that of its beginning
            self._held, self._wanted_bytes = bytearray(), 0
            if self._is_payload_held:
                messages.append(held)
            else:
                self._scan(held, 0, messages, passed)
        if self._is_aside:
            passed.append(data[position:])
            return messages, b"".join(passed)
        if self._opcode == 0:
            position = self._lift_alike(data, position, messages)
        if position < len(data):
            self._scan(data, position, messages, passed)
        return messages, b"".join(passed)

    def _lift_alike(self, data: bytes, position: int, messages: list[bytes]) -> int:
        """Lift messages as long as the last one, which need no further check. Returns where they end.

        Packets of one voice are equally long, so these are nearly all: it takes half the time for a flood.
        """
        head, frame_bytes, last = self._usual_head, self._usual_bytes, len(data) - self._usual_bytes
        while position <= last and data[position : position + _HEAD_BYTES] == head:
            messages.append(data[position + _HEAD_BYTES : position + frame_bytes])
            position += frame_bytes
        return position

    def _scan(self, data: bytes, position: int, messages: list[bytes], passed: list[bytes]) -> None:
        """Sort the frames from `position` on into `messages` and `passed`, and hold the last if it is unfinished."""
        end = len(data)
        while position < end:  # once for each frame: the hot loop, hence not cut into smaller functions
            start = position + 2
            if start > end:
                self._hold(data, position, 2)
                break
            first, length = data[position], data[position + 1]
            shortest = 0  # a length has one legal encoding only, the shortest
            if length > _MAX_CONTROL_BYTES:
                if length == 126:
                    start, shortest = start + 2, 126
                elif length == 127:
                    start, shortest = start + 8, 0x10000
                else:  # masked, as a server never sends
                    passed.append(self._step_aside(data[position:]))
                    break
                if start > end:
                    if (first not in _WHOLE or self._opcode) and self._is_illegal(first, shortest):
                        passed.append(self._step_aside(data[position:]))  # whatever its length turns out to be
                    else:
                        self._hold(data, position, start - position)
                    break
                length = int.from_bytes(data[position + 2 : start], "big")
            stop = start + length
            is_plain = first in _WHOLE and shortest <= length <= self._max_message_bytes and not self._opcode
            if not is_plain and (length < shortest or self._is_illegal(first, length)):
                passed.append(self._step_aside(data[position:]))
                break
            if stop > end:
                begin = start if is_plain else position
                self._hold(data, begin, stop - begin, is_payload=is_plain)
                break
            if is_plain:
                messages.append(data[start:stop])
                if start == position + _HEAD_BYTES:
                    self._usual_head, self._usual_bytes = data[position:start], stop - position
            elif first in _CONTROL:
                passed.append(data[position:stop])
                if first == _CLOSE:
                    self._is_aside = True
                    passed.append(data[stop:])
                    break
            else:
                messages += self._add_fragment(first, data[start:stop])
            position = stop

    def _hold(self, data: bytes, begin: int, wanted_bytes: int, *, is_payload: bool = False) -> None:
        """Keep the beginning of a frame, or of its payload, until `wanted_bytes` of it are here."""
        self._held = bytearray(memoryview(data)[begin:])
        self._wanted_bytes = wanted_bytes
        self._is_payload_held = is_payload

    def _add_fragment(self, first: int, payload: bytes) -> list[bytes]:
        """Return the message that this fragment completes, if it does."""
        self._opcode = self._opcode or first
        self._fragments += payload
        if first != _LAST_FRAGMENT:
            return []
        message = bytes(self._fragments)
        self._forget_fragments()
        return [message]

    def _is_illegal(self, first: int, length: int) -> bool:
        """Check a frame that is not a whole message in its right place, or is too long, by its first byte."""
        if first in _CONTROL:
            return length > _MAX_CONTROL_BYTES
        if first in _FIRST_FRAGMENT:
            return self._opcode != 0 or length > self._max_message_bytes
        if first in {_NEXT_FRAGMENT, _LAST_FRAGMENT}:
            return self._opcode == 0 or len(self._fragments) + length > self._max_message_bytes
        return True  # a reserved bit or opcode, a fragmented control frame, a message within another, or one too long

    def _step_aside(self, rest: bytes) -> bytes:
        """Return what to pass up: `rest`, behind the fragments held back, so that its place among them shows."""
        self._is_aside = True
        if self._opcode == 0:
            return rest
        fragments = _header(self._opcode, len(self._fragments)) + self._fragments
        self._forget_fragments()
        return fragments + rest

    def _forget_fragments(self) -> None:
        self._opcode = 0
        self._fragments = bytearray()


def _header(first: int, length: int) -> bytes:
    if length <= _MAX_CONTROL_BYTES:
        return bytes([first, length])
    if length <= 0xFFFF:
        return bytes([first, 126]) + length.to_bytes(2, "big")
    return bytes([first, 127]) + length.to_bytes(8, "big")
