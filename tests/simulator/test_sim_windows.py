"""The windows of a server: for the first attachment, for signaling, for media."""

import pytest

from rtmsd.protocol.enums import MediaType, StopReason
from rtmsd.simulator import Timing
from rtmsd.simulator.wire.windows import Windows

AUDIO, VIDEO = MediaType.AUDIO, MediaType.VIDEO
LATE = StopReason.AWAIT_RECONNECTION_TIMEOUT


@pytest.fixture
def windows() -> Windows:
    return Windows(Timing(attach_window_s=10, signaling_window_s=60, media_window_s=65), 1000)


def test_a_stream_without_attachment_ends(windows: Windows) -> None:
    assert windows.missed(10_999) is None
    assert windows.missed(11_000) is StopReason.CONNECTION_TIMEOUT


def test_no_window_runs_while_all_is_up(windows: Windows) -> None:
    windows.signaling_back()
    assert windows.missed(10**12) is None


def test_the_media_window_starts_with_the_first_loss_and_ends_with_the_last_return(windows: Windows) -> None:
    windows.signaling_back()
    windows.media_lost(AUDIO, 20_000)
    windows.media_lost(VIDEO, 50_000)
    windows.media_back(AUDIO)
    assert (windows.missed(84_999), windows.missed(85_000)) == (None, LATE)
    windows.media_back(VIDEO)
    assert windows.missed(85_000) is None


def test_while_signaling_is_lost_only_its_window_counts(windows: Windows) -> None:
    windows.signaling_back()
    windows.media_lost(VIDEO, 20_000)
    windows.signaling_lost(AUDIO, 70_000)
    assert (windows.missed(129_999), windows.missed(130_000)) == (None, LATE)
    windows.signaling_back()
    assert windows.missed(130_000) is None
    assert windows.lost_media == AUDIO | VIDEO
