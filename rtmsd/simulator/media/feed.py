"""The audio feed of one session: speech cut into packets, sent in time or late, never twice.

Zoom's buffer is a cursor that lags behind: packets are made when they can be sent. So a slow client, a lost connection
and a client that has not connected yet are one case, and in all of them audio older than the buffer is discarded.
"""

from collections import deque
from typing import Any, Final

import attrs
import pybase64

from rtmsd.protocol.enums import MsgType, PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.simulator.media.audio import mix_for, source_for
from rtmsd.simulator.model.audio_log import AudioSource
from rtmsd.simulator.model.crowd import Crowd
from rtmsd.simulator.model.fate import Fate
from rtmsd.simulator.model.record import Record
from rtmsd.simulator.model.settings import Dialect, Tone
from rtmsd.simulator.wire.connection import SimConnection
from rtmsd.simulator.wire.frames import TEXT, frame, to_json
from rtmsd.simulator.wire.rtp import RtpSender, RtpStamp, rtp_packet
from rtmsd.simulator.wire.wire import WireState

_WIRE_LIMIT_BYTES = 4 << 20  # queued for one connection; beyond it the cursor waits
_PLAIN: Final = Dialect()
_LATE_MS = 1000  # a packet sent this long after its time is "out of the buffer"
_DEFAULT_FORMAT = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=False, send_rate_ms=20)


@attrs.define
class _Packet:
    """The token of a packet on a wire: passes its fate on to the feed."""

    feed: "AudioFeed"
    user_id: int
    number: int
    timestamp_ms: int
    late: bool
    source: AudioSource
    connection: int
    rtp: RtpStamp | None
    handed_over: bool = False

    def settle(self, fate: Fate) -> None:
        self.feed.settle(self, fate)


class AudioFeed:
    """Sends the speech of a crowd on the audio connection while there is one.

    Attributes:
        cursor_ms: audio is cut into packets up to here.
        repeat_ms: the audio sent again after a reconnection.
    """

    def __init__(self, origin_ms: int, crowd: Crowd, record: Record, tone: Tone, speaker_key: str) -> None:
        self.cursor_ms = origin_ms
        self.repeat_ms = 0
        self._origin_ms = origin_ms
        self._crowd = crowd
        self._record = record
        self._tone = tone
        self._user_key = speaker_key
        self._format = _DEFAULT_FORMAT
        self._phase_ms = 0  # packet `number` begins so long after `number` steps since the origin
        self._wraps = False  # in RTP
        self._connection: SimConnection | None = None
        self._again: deque[_Packet] = deque()
        self._sources: dict[tuple[int, ...], AudioSource] = {}
        self._heads: dict[int, bytes] = {}
        self._rtp: dict[int, RtpSender] = {}

    @property
    def step_ms(self) -> int:
        return self._format.send_rate_ms

    def attach(self, connection: SimConnection, audio_format: AudioFormat) -> None:
        """Send on `connection` from now on, first what the last one did not send.

        In another format speech goes on where it was, in packets of their own numbers: each number is one packet.
        """
        number, is_new = self._number(), audio_format != self._format
        self._format = audio_format
        self.cursor_ms -= min(self.repeat_ms, self.cursor_ms - self._origin_ms) // self.step_ms * self.step_ms
        if is_new:
            self._phase_ms = self.cursor_ms - self._origin_ms - number * self.step_ms
            self._wraps = audio_format.is_rtp and audio_format.codec is not PayloadType.L16  # which stays plain
            self._sources.clear()
            while self._again:  # in the format before
                self._log(self._again.popleft(), Fate.DISCARDED)
        self._connection = connection

    def detach(self, connection: SimConnection) -> None:
        if self._connection is connection:
            self._connection = None

    def advance(self, now_ms: int, keep_ms: int, *, flowing: bool) -> None:
        """Send what is due, and discard what is older than `keep_ms`.

        Args:
            flowing: False while paused.
        """
        self.give_up(now_ms - keep_ms)
        connection = self._connection
        if connection is None or not flowing:
            return
        wire = connection.wire
        while self._again and wire.queued_bytes < _WIRE_LIMIT_BYTES and not wire.is_closing:
            packet = self._again.popleft()
            again = (packet.user_id, packet.number, packet.timestamp_ms, packet.source, connection)
            self._send(*again, late=True, rtp=packet.rtp)
        self._skip_silence(now_ms)
        while self.cursor_ms + self.step_ms <= now_ms and wire.queued_bytes < _WIRE_LIMIT_BYTES:
            late = now_ms - self.cursor_ms > _LATE_MS
            for user_id, source in self._due():
                self._send(user_id, self._number(), self._stamp(connection.dialect), source, connection, late=late)
                if wire.state is not WireState.DEAD:
                    connection.busy_ms = now_ms
            self.cursor_ms += self.step_ms

    def give_up(self, before_ms: int) -> None:
        """Discard, and record as such, speech before a time that is not sent yet."""
        while self._again and self._again[0].timestamp_ms < before_ms:
            self._log(self._again.popleft(), Fate.DISCARDED)
        self._skip_silence(before_ms)
        while self.cursor_ms + self.step_ms <= before_ms:
            for user_id, source in self._due():
                self._record.audio_of(user_id).add(self._number(), self.cursor_ms, Fate.DISCARDED, 0, source)
            self.cursor_ms += self.step_ms

    def _skip_silence(self, until_ms: int) -> None:
        """Move the cursor by whole steps to the next speech."""
        speech_ms = self._crowd.next_speech_ms(self.cursor_ms)
        quiet_ms = (until_ms if speech_ms is None else min(speech_ms, until_ms)) - self.cursor_ms
        self.cursor_ms += max(0, quiet_ms) // self.step_ms * self.step_ms

    def is_behind(self, now_ms: int) -> bool:
        """Whether packets wait for the connection, or in its queue."""
        if self._connection is None:
            return False
        wire = self._connection.wire
        is_queued = wire.state is WireState.OPEN and wire.queued_bytes > 0
        return is_queued or bool(self._again) or self.cursor_ms + self.step_ms <= now_ms

    def settle(self, packet: _Packet, fate: Fate) -> None:
        """Record the fate of a packet; one that a wire did not send is sent on the next."""
        if fate is Fate.DISCARDED:
            self._again.append(packet)
        elif packet.handed_over:
            self._record.audio_of(packet.user_id).revise(packet.number, packet.connection, fate)
        else:
            packet.handed_over = fate is Fate.SENT
            self._log(packet, Fate.BUFFERED if packet.late and fate is Fate.SENT else fate)

    def _log(self, packet: _Packet, fate: Fate) -> None:
        log = self._record.audio_of(packet.user_id)
        log.add(packet.number, packet.timestamp_ms, fate, packet.connection, packet.source)

    # RTP

    def rtp_jump(self, user_id: int, packets: int) -> None:
        """Leave out sequence numbers of a participant, 0 for the mix, as if their packets had been lost."""
        self._rtp_sender(user_id).jump(packets)
        self._record.rtp_skipped[user_id] += packets

    def rtp_restart(self, user_id: int) -> None:
        """Begin again with another SSRC."""
        self._rtp_sender(user_id).restart()

    def _rtp_sender(self, user_id: int) -> RtpSender:
        if user_id not in self._rtp:
            self._rtp[user_id] = RtpSender(user_id)
        return self._rtp[user_id]

    # Making packets

    def _number(self) -> int:
        return (self.cursor_ms - self._origin_ms - self._phase_ms) // self.step_ms

    def _stamp(self, dialect: Dialect) -> int:
        """Return the timestamp of the packet at the cursor, off the grid in a dialect with jitter."""
        if not dialect.jitter_ms:
            return self.cursor_ms
        return self.cursor_ms + self._number() * 7 % (2 * dialect.jitter_ms + 1) - dialect.jitter_ms

    def _due(self) -> list[tuple[int, AudioSource]]:
        """Return the users with packets at the cursor, and their sources."""
        speakers = self._crowd.speakers(self.cursor_ms, self.cursor_ms + self.step_ms)
        if not speakers:
            return []
        if self._format.mixed:
            return [(0, self._mix(speakers))]
        return [(user_id, self._source(user_id)) for user_id in speakers]

    def _source(self, user_id: int) -> AudioSource:
        source = self._sources.get((user_id,))
        if source is None:
            participant = self._crowd.known[user_id]
            source = source_for(
                participant.person, user_id, participant.voice, self._format, self._tone, phase_ms=self._phase_ms
            )
            self._sources[user_id,] = source
        return source

    def _mix(self, speakers: tuple[int, ...]) -> AudioSource:
        mix = self._sources.get((0, *speakers))
        if mix is None:
            mix = mix_for([self._source(user_id) for user_id in speakers], self._format, self._tone)
            self._sources[0, *speakers] = mix
        return mix

    def _send(
        self,
        user_id: int,
        number: int,
        timestamp_ms: int,
        source: AudioSource,
        connection: SimConnection,
        *,
        late: bool,
        rtp: RtpStamp | None = None,
    ) -> None:
        dialect = connection.dialect
        if self._wraps:
            rtp = rtp or self._rtp_sender(user_id).stamp()
            time_ms = self._phase_ms + number * self.step_ms
            data = rtp_packet(self._format.codec, rtp, time_ms, source.packet(number), dialect)
            encoded, size_bytes = pybase64.b64encode(data), len(data)
        else:
            encoded, size_bytes = source.encoded(number)
        packet = _Packet(self, user_id, number, timestamp_ms, late, source, connection.number, rtp)
        if dialect.plain:
            tail = b'","length":%d,"timestamp":%d}}' % (size_bytes, timestamp_ms)
            connection.wire.put(frame(TEXT, self._head(user_id) + encoded + tail), packet)
            return
        content = self.who(user_id, dialect) | {"data": encoded.decode()}
        if dialect.length:
            content["length"] = size_bytes
        content["timestamp"] = timestamp_ms
        connection.post({"msg_type": int(MsgType.MEDIA_DATA_AUDIO), "content": content}, packet)

    def _head(self, user_id: int) -> bytes:
        """Return a message in the plain dialect up to its base64."""
        head = self._heads.get(user_id)
        if head is None:
            content = self.who(user_id, _PLAIN) | {"data": ""}
            message = to_json({"msg_type": int(MsgType.MEDIA_DATA_AUDIO), "content": content}, _PLAIN)
            head = self._heads[user_id] = message.removesuffix(b'"}}')
        return head

    def who(self, user_id: int, dialect: Dialect) -> dict[str, Any]:
        """Return the fields that name a speaker; the mix has no name."""
        who: dict[str, Any] = {self._user_key: str(user_id) if self._user_key == "channel_id" else user_id}
        if dialect.names and user_id != 0:
            who["user_name"] = self._crowd.name(user_id)
        return who
