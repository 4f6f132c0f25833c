"""The form of an audio message: where its base64 and its time are. All else is the same in each of one participant.

A message that equals another one but for the characters of the base64, of which there are as many, and the digits of
the time, holds what the other one holds but for data and time: both are values of JSON, and stay such.
"""

from typing import Final

import attrs
import msgspec
import pybase64

from rtmsd.protocol.media_data import Raw, decode_audio
from rtmsd.protocol.speakers import UserId

_TIME_DIGITS: Final = 13  # milliseconds since the epoch, from 2001 to 2286
_LAST_MS: Final = 10**_TIME_DIGITS - 1


@attrs.frozen
class AudioForm:
    """Attributes:
    message: the one it was found in.
    data_at, data_chars: where the base64 is, and its length.
    data_bytes: what it decodes to.
    time_at: where the 13 digits of the time are.
    """

    message: bytes
    data_at: int
    data_chars: int
    data_bytes: int
    time_at: int
    user_id: UserId
    user_name: str | None

    def filled(self, data: bytes, timestamp_ms: int) -> bytes:
        """Return the message with other data, of the same length, and another time of 13 digits."""
        raw = bytearray(self.message)
        raw[self.data_at : self.data_at + self.data_chars] = pybase64.b64encode(data)
        raw[self.time_at : self.time_at + _TIME_DIGITS] = b"%d" % timestamp_ms
        return bytes(raw)


def find_form(raw: Raw) -> AudioForm | None:
    """Return the form of a message; None: it is no audio, or where data and time are is not certain.

    What was found is tried: with other data and another time in its place the message has to read just so.
    """
    raw = bytes(raw)
    message = decode_audio(raw)
    if message is None:
        return None
    content = message.content
    # Of a channel, which would name the speaker, nothing is learned.
    user_id = None if content.channel_id else content.user_id
    data, timestamp_ms = content.data, content.timestamp
    encoded, digits = pybase64.b64encode(data), b"%d" % timestamp_ms
    if user_id is None or not data or raw.count(encoded) != 1 or len(digits) != _TIME_DIGITS:
        return None
    data_at = raw.find(encoded)
    around = raw[:data_at] + raw[data_at + len(encoded) :]
    if around.count(digits) != 1:
        return None
    time_at = around.find(digits)
    if time_at >= data_at:
        time_at += len(encoded)
    form = AudioForm(raw, data_at, len(encoded), len(data), time_at, user_id, content.user_name)
    other_data, other_ms = bytes(byte ^ 0xFF for byte in data), _LAST_MS - timestamp_ms
    if len(b"%d" % other_ms) != _TIME_DIGITS:
        return None
    other = msgspec.structs.replace(content, data=other_data, timestamp=other_ms)
    tried = decode_audio(form.filled(other_data, other_ms))
    return form if tried is not None and tried.content == other else None
