"""The times at which the core asks to be woken after an end, while media may still come."""

from collections import Counter

import pytest

from rtmsd.protocol.enums import MediaType
from tests.streams.core.model import Model

GRACE_S = 2.0


def ended_by_zoom(*, is_short: bool = False) -> Model:
    model = Model([MediaType.AUDIO])
    model.connect()
    model.recording.is_short = is_short
    model.report(model.core.stopped, 6, 1, "stopped webhook")
    return model


@pytest.fixture
def model() -> Model:
    """A stream with audio, of which Zoom said just now that it ended."""
    return ended_by_zoom()


def wake(model: Model) -> None:
    model.now_s = model.wake_s
    model.report(model.core.tick)


def test_a_silent_stream_is_looked_at_once(model: Model) -> None:
    assert model.wake_s == model.now_s + GRACE_S
    wake(model)
    assert model.end is not None


def test_media_are_waited_for_from_the_latest_on(model: Model) -> None:
    [link] = model.core.situation.links
    model.recording.messages = Counter(audio=1)
    heard_s = link.heard_s = model.now_s + 1.5
    wake(model)
    assert model.end is None
    assert model.wake_s == heard_s + GRACE_S
    wake(model)
    assert model.end is not None


def test_what_waits_for_room_at_the_end_is_looked_at_before_it_could_be_read() -> None:
    model = ended_by_zoom(is_short=True)
    model.pass_time(GRACE_S - 0.1)
    model.recording.is_short = False  # and the socket is read in a moment
    model.pass_time(0.2)
    assert model.end is None


def test_what_waits_for_room_is_looked_at_often(model: Model) -> None:
    model.recording.is_short = True
    wake(model)
    assert model.wake_s <= model.now_s + 0.25
    model.recording.is_short = False
    model.pass_time(GRACE_S - 0.1)
    assert model.end is None
    model.pass_time(0.2)
    assert model.end is not None
