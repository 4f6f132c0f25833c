"""Live sinks for readers of the admin socket: sound of one participant, NDJSON of one stream, NDJSON of all events.

A sink is called synchronously, so it only puts into a bounded ring; sound is formatted in the reader's task. A slow
reader loses its oldest items, never the recording's. NDJSON has a line for that, `{"media": "lost", "frames": n}` or
`{"kind": "lost", "events": n}`; sound has a trailer, as there is no place for it between the samples.
"""

import functools
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import pybase64

from rtmsd.protocol.media_data import Text, UserId
from rtmsd.sinks.base import JsonObject
from rtmsd.sinks.ndjson import json_line
from rtmsd.sinks.ring import Ring

RING_BYTES: Final = 1 << 20  # a reader, beyond what its socket holds: half a minute of one voice at 16 kHz
PACKET_OVERHEAD_BYTES: Final = 500  # what a waiting packet costs beside its data
LOST_TRAILER: Final = "rtmsd-lost-frames"
EVENT_MEDIA: Final = "event_media"
"""What `media` of an event (which ones a connection carries) is called where `media` says what sort of line it is."""


class VoiceTap:
    """The sound of one participant, back to back: silence for pauses would only make a live player fall behind.

    Args:
        user_id: whose, as text.
        head: sent first, at once: the header of a WAV, or of an Ogg stream, or nothing.
        join: makes of packets what is sent.
        format_holds: asked before each packet; when the format changed, what follows would be noise, and the tap ends.
    """

    def __init__(
        self,
        user_id: str,
        head: bytes,
        format_holds: Callable[[], bool],
        join: Callable[[Sequence[bytes]], bytes] = b"".join,
    ) -> None:
        self._user_id = user_id
        self._head = head
        self._format_holds = format_holds
        self._join = join
        self._ring: Ring[bytes] = Ring(RING_BYTES)
        self._lost = 0

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, pcm: bytes) -> None:
        if str(user_id) != self._user_id:
            return
        if self._format_holds():
            self._ring.put(pcm, len(pcm) + PACKET_OVERHEAD_BYTES)
        else:
            self._ring.end()

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def text(self, data: Text) -> None: ...
    def event(self, event: JsonObject) -> None: ...

    def ended(self) -> None:
        self._ring.end()

    async def chunk(self) -> bytes | None:
        if self._head:
            head, self._head = self._head, b""
            return head
        while (batch := await self._ring.take()) is not None:
            self._lost += batch.lost
            if batch.items:
                return self._join(batch.items)
        return None

    def trailers(self) -> Mapping[str, str]:
        return {LOST_TRAILER: str(self._lost)}


@attrs.frozen
class _Packet:
    """Sound or an image that waits: turned into base64 only when the reader takes it."""

    media: str
    user_id: UserId
    user_name: str | None
    timestamp_ms: int
    data: bytes
    codec: str | None = None

    def line(self) -> bytes:
        """What `json_line` would make of it: base64 and a number need no escapes, and names are escaped once."""
        whose = _whose(self.media, self.user_id, self.user_name, self.codec)
        return b'%b,"timestamp_ms":%d,"data":"%b"}\n' % (whose, self.timestamp_ms, pybase64.b64encode(self.data))


@functools.lru_cache(maxsize=1024)
def _whose(media: str, user_id: UserId, user_name: str | None, codec: str | None) -> bytes:
    """Return the beginning of a line, without the brace that would end it."""
    fields = {"media": media, "user_id": user_id, "user_name": user_name}
    return json_line(fields if codec is None else {**fields, "codec": codec}).removesuffix(b"}\n")


class NdjsonTap:
    """One line for each packet, text and event of a stream.

    Args:
        media: names of what is wanted: media, and events.
        user_id: the one participant whose media are wanted, as text; None for all. Events are not filtered by it.
        codec: asked for the codec of the audio that comes.
    """

    def __init__(
        self,
        rtms_stream_id: str,
        media: frozenset[str],
        user_id: str | None,
        codec: Callable[[], str] = lambda: "L16",
    ) -> None:
        self._rtms_stream_id = rtms_stream_id
        self._media = media
        self._user_id = user_id
        self._codec = codec
        self._ring: Ring[_Packet | bytes] = Ring(RING_BYTES)

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, pcm: bytes) -> None:
        self._packet(_Packet("audio", user_id, user_name, timestamp_ms, pcm, self._codec()))

    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self._packet(_Packet("video", user_id, user_name, timestamp_ms, data))

    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
        self._packet(_Packet("share", user_id, user_name, timestamp_ms, data))

    def text(self, data: Text) -> None:
        if self._wants(data.media, data.user_id):
            self._line({"media": data.media, **attrs.asdict(data)})

    def event(self, event: JsonObject) -> None:
        if event["rtms_stream_id"] == self._rtms_stream_id and "events" in self._media:
            fields = {EVENT_MEDIA if key == "media" else key: value for key, value in event.items()}
            self._line({"media": "events", **fields})

    def ended(self) -> None:
        self._ring.end()

    async def chunk(self) -> bytes | None:
        batch = await self._ring.take()
        if batch is None:
            return None
        lost = [json_line({"media": "lost", "frames": batch.lost})] if batch.lost else []
        return b"".join(lost + [item if isinstance(item, bytes) else item.line() for item in batch.items])

    def trailers(self) -> Mapping[str, str]:
        return {}

    def _wants(self, media: str, user_id: UserId | None) -> bool:
        return media in self._media and (self._user_id is None or self._user_id == str(user_id))

    def _packet(self, packet: _Packet) -> None:
        if self._wants(packet.media, packet.user_id):
            self._ring.put(packet, len(packet.data) + PACKET_OVERHEAD_BYTES)

    def _line(self, fields: dict[str, Any]) -> None:
        line = json_line(fields)
        self._ring.put(line, len(line))


class EventTap:
    """One line for each event of every stream."""

    def __init__(self) -> None:
        self._ring: Ring[bytes] = Ring(RING_BYTES)

    def event(self, event: JsonObject) -> None:
        line = json_line(event)
        self._ring.put(line, len(line))

    async def chunk(self) -> bytes | None:
        batch = await self._ring.take()
        if batch is None:
            return None
        lost = [json_line({"kind": "lost", "events": batch.lost})] if batch.lost else []
        return b"".join(lost + batch.items)

    def trailers(self) -> Mapping[str, str]:
        return {}


def wav_head(rate_hz: int, channels: int) -> bytes:
    """The header of a WAV of unknown length, 16 bits a sample: both sizes are 0xFFFFFFFF, as other live tools write."""
    endless, block_bytes = 0xFFFFFFFF, channels * 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate_hz, rate_hz * block_bytes, block_bytes, 16)
    return struct.pack("<4sI4s", b"RIFF", endless, b"WAVE") + form + struct.pack("<4sI", b"data", endless)
