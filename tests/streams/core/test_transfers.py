"""Transfers: signaling that a contact center closes with 1000 is connected again at once, and not too often."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.errors import ConnectionLost, UnspokenProtocol
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.enums import MediaType, StopReason
from tests.streams.core.model import LOST, TRANSFERRED, Model

AT_ONCE_S = 0.0
RARELY_S = 30.0  # `reconnect_delay_max_s`


def connected(*, transfers: bool = True) -> Model:
    model = Model([MediaType.AUDIO], transfers=transfers)
    model.start()
    come_up(model)
    return model


def come_up(model: Model) -> None:
    model.signaling_up()
    [link] = model.core.situation.links
    model.grant(link, MediaType(0))
    model.media_up(link)


def closed_by_zoom(model: Model, error: ConnectionLost) -> float:
    """Close signaling and its media, and return how long it takes until the next attempt."""
    model.close_signaling(error, by_zoom=True)
    [link] = model.core.situation.links
    model.close_media(link, None)
    closed_s = model.now_s
    while model.signaling is None and model.end is None:
        model.now_s = max(model.now_s, model.wake_s)
        model.report_tick()
    return model.now_s - closed_s


def test_a_transfer_is_connected_at_once_and_to_the_same_address() -> None:
    model = connected()
    model.now_s = 5.0
    assert closed_by_zoom(model, TRANSFERRED) == AT_ONCE_S
    assert model.core.situation.uplink.url == "wss://one.zoom.test"
    assert GapCause.SIGNALING_RECONNECT in model.losses


def test_any_other_loss_has_its_delay() -> None:
    assert closed_by_zoom(connected(), LOST) == 3.0
    assert closed_by_zoom(connected(transfers=False), TRANSFERRED) == 3.0


def test_after_an_announced_end_it_is_the_end() -> None:
    model = connected()
    model.report(model.core.stopped, StopReason.MEETING_ENDED, 1, "stopped webhook")
    model.close_signaling(TRANSFERRED, by_zoom=True)
    assert model.signaling is None
    model.finish_closing()
    model.pass_time(60)
    assert model.end is not None
    assert model.end.state is RecordingState.ENDED


def test_an_attempt_that_is_closed_with_1000_is_no_transfer() -> None:
    model = connected()
    assert closed_by_zoom(model, TRANSFERRED) == AT_ONCE_S
    model.close_signaling(TRANSFERRED)
    stages = []
    for seconds in (2.9, 0.2):
        model.pass_time(seconds)
        stages.append(model.signaling)
    assert stages == [None, "connecting"]


@given(up_s=st.lists(st.floats(0, 40), min_size=1, max_size=30))
def test_a_server_that_always_closes_is_not_hammered(up_s: list[float]) -> None:
    model = connected()
    hasty_s = []
    for seconds in up_s:
        model.pass_time(seconds)
        if closed_by_zoom(model, TRANSFERRED) == AT_ONCE_S:
            hasty_s.append(model.now_s)
        come_up(model)
    assert hasty_s, "the first was no transfer"
    assert all(later - earlier >= RARELY_S for earlier, later in pairwise(hasty_s))


def test_an_unspoken_protocol_fails_the_stream_at_once_on_either_connection() -> None:
    signaling = Model([MediaType.AUDIO])
    signaling.start()
    signaling.close_signaling(UnspokenProtocol("Zoom answered with protocol version 2, which rtmsd does not speak"))
    media = Model([MediaType.AUDIO, MediaType.TRANSCRIPT])
    media.start()
    media.signaling_up()
    media.close_media(media.core.situation.links[0], UnspokenProtocol("Zoom answered with protocol version 2"))
    media.finish_closing()
    media.close_media(media.core.situation.links[1], None)
    media.finish_closing()
    for model in (signaling, media):
        model.pass_time(1)
        assert model.end is not None
        assert (model.end.state, model.now_s < 2) == (RecordingState.FAILED, True)
        assert "protocol version 2" in model.end.why
