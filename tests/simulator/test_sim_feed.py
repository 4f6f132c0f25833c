"""The audio feed: queued audio counts as not yet sent, and speech goes on over a change of the format."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.recording.disk.file_buffer import Backlog, DiskFile
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat
from rtmsd.recording.media.wav.track import Placement, Track
from rtmsd.simulator import Fate, Record, Tone
from rtmsd.simulator.media.audio import LOOP_MS
from rtmsd.simulator.media.feed import AudioFeed
from rtmsd.simulator.media.voices import speech
from rtmsd.simulator.model.audio_log import AudioPacket
from rtmsd.simulator.model.crowd import Crowd
from rtmsd.simulator.model.settings import Dialect, Person
from rtmsd.simulator.wire.wire import Token, WireState

if TYPE_CHECKING:
    from rtmsd.simulator.wire.connection import SimConnection

ORIGIN_MS = 1_790_000_000_000
BYTES_PER_MS = 32
BUFFER_MS = 60_000
ANA = 7


def l16(send_rate_ms: int) -> AudioFormat:
    return AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=False, send_rate_ms=send_rate_ms)


@attrs.define
class FakeWire:
    """Sends everything at once."""

    queued_bytes: int = 0
    state: WireState = WireState.OPEN
    is_closing: bool = False

    def put(self, data: bytes, token: Token) -> None:
        token.settle(Fate.SENT)


@attrs.define
class FakeConnection:
    wire: FakeWire = attrs.Factory(FakeWire)
    dialect: Dialect = attrs.Factory(Dialect)
    number: int = 1
    busy_ms: int = 0


@attrs.define
class Speech:
    """Ana talks on and on, from the origin of the time on."""

    record: Record
    feed: AudioFeed

    def send(self, send_rate_ms: int, until_ms: int) -> None:
        """Send what is due on a connection that is opened and lost, and asks for packets of such a length."""
        connection = cast("SimConnection", FakeConnection())
        self.feed.attach(connection, l16(send_rate_ms))
        self.feed.advance(ORIGIN_MS + until_ms, BUFFER_MS, flowing=True)
        self.feed.detach(connection)

    def packets(self) -> Iterator[AudioPacket]:
        return iter(self.record.audio_of(ANA))


def speech_of_ana() -> Speech:
    crowd, record = Crowd(), Record()
    crowd.join(Person(user_name="Ana", user_id=ANA), ORIGIN_MS)
    return Speech(record, AudioFeed(ORIGIN_MS, crowd, record, Tone.SPEECH, "user_id"))


@pytest.mark.parametrize(
    ("wire", "behind"),
    [
        (FakeWire(0), False),
        (FakeWire(1), True),  # closed now, it would never be sent
        (FakeWire(1, WireState.STALLED), False),  # nobody knows how long that lasts
    ],
)
def test_audio_in_the_queue_of_a_connection_is_not_sent_yet(wire: FakeWire, behind: bool) -> None:
    feed = AudioFeed(0, Crowd(), Record(), Tone.MARKED, "user_id")
    feed.attach(cast("SimConnection", FakeConnection(wire)), l16(20))
    assert feed.is_behind(0) is behind


RATES = st.sampled_from([20, 40, 60, 80, 100, 200])


@given(st.lists(st.tuples(RATES, st.integers(0, 1500)), min_size=1, max_size=6))
@example([(100, 100), (40, 1000)])  # 100 ms are no whole number of packets of 40
@example([(20, 1000), (100, 1000)])  # the numbers of longer packets are smaller
def test_speech_goes_on_in_packets_of_any_length(connections: list[tuple[int, int]]) -> None:
    """The same sound is at the same time in all of them: none is there twice, and none is left out."""
    ana, now_ms = speech_of_ana(), 0
    for send_rate_ms, duration_ms in connections:
        now_ms += duration_ms
        ana.send(send_rate_ms, now_ms)
    sent, voice = list(ana.packets()), speech(0, 16000, LOOP_MS).tobytes() * 2
    assert b"".join(packet.data for packet in sent) == voice[: sum(len(packet.data) for packet in sent)]
    assert [packet.timestamp_ms for packet in sent[:1]] in ([], [ORIGIN_MS])
    assert all(one.timestamp_ms + one.duration_ms == other.timestamp_ms for one, other in pairwise(sent))
    assert len({packet.number for packet in sent}) == len(sent)


def test_what_is_repeated_on_a_new_connection_is_the_same_packets() -> None:
    ana = speech_of_ana()
    ana.send(20, 500)
    ana.feed.repeat_ms = 50  # in whole packets, 40
    ana.send(20, 1000)
    sent = list(ana.packets())
    assert [packet.number for packet in sent] == [*range(25), *range(23, 50)]
    assert sent[25:27] == [
        packet._replace(sent_s=again.sent_s) for packet, again in zip(sent[23:25], sent[25:27], strict=True)
    ]


def test_what_is_repeated_in_another_format_is_other_packets() -> None:
    ana = speech_of_ana()
    ana.send(100, 500)
    ana.feed.repeat_ms = 100
    ana.send(40, 600)
    sent, voice = list(ana.packets()), speech(0, 16000, LOOP_MS).tobytes()
    assert [packet.timestamp_ms - ORIGIN_MS for packet in sent] == [0, 100, 200, 300, 400, 420, 460, 500, 540]
    assert len({packet.number for packet in sent}) == len(sent)
    for packet in sent:
        at = (packet.timestamp_ms - ORIGIN_MS) * BYTES_PER_MS
        assert packet.data == voice[at : at + len(packet.data)]


@given(st.tuples(RATES, RATES), st.integers(1, 60), st.integers(0, 3))
@example((100, 40), 83, 0)
def test_a_recorder_that_asks_for_another_length_when_it_was_killed_has_each_packet_at_its_time(
    rates: tuple[int, int], kept: int, lost: int
) -> None:
    """It knows by its sound what comes again, so that other sound must not be alike."""
    before_ms, after_ms = rates
    ana = speech_of_ana()
    ana.send(before_ms, (kept + lost) * before_ms)
    ana.send(after_ms, (kept + lost) * before_ms + 1000)
    packets = list(ana.packets())
    found = b"".join(packet.data for packet in packets[:kept])
    file = DiskFile(Path("x.wav"), HEADER_BYTES + len(found), Backlog(2**30), lambda file: None)
    track = Track(file, ANA, ORIGIN_MS, PcmFormat(16000, 1), tail=found[-1200 * BYTES_PER_MS :])
    for packet in packets[kept + lost :]:
        assert track.place(packet.timestamp_ms, packet.data) is Placement.KEPT
        assert track.end_ms == packet.timestamp_ms + packet.duration_ms
