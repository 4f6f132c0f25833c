"""The audio feed: queued audio counts as not yet sent."""

from typing import TYPE_CHECKING, cast

import attrs
import pytest

from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.simulator import Record, Tone
from rtmsd.simulator.media.feed import AudioFeed
from rtmsd.simulator.model.crowd import Crowd
from rtmsd.simulator.wire.wire import WireState

if TYPE_CHECKING:
    from rtmsd.simulator.wire.connection import SimConnection

FORMAT = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=False, send_rate_ms=20)


@attrs.define
class FakeWire:
    queued_bytes: int
    state: WireState = WireState.OPEN


@attrs.define
class FakeConnection:
    wire: FakeWire


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
    feed.attach(cast("SimConnection", FakeConnection(wire)), FORMAT)
    assert feed.is_behind(0) is behind
