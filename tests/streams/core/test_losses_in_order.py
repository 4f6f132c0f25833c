"""Losses of media: whether all that Zoom had sent has come, as far as the way in which the connection ended shows."""

import pytest

from rtmsd.errors import ConnectionLost, KeepAliveTimeout, RtmsdError
from rtmsd.protocol.enums import MediaType
from rtmsd.streams.core.actions import RecordLost
from rtmsd.streams.core.stream_core import StreamCore
from rtmsd.transport.websocket import WebSocketClosed
from tests.streams.core.model import Model


def connected() -> Model:
    model = Model([MediaType.AUDIO])
    model.connect()
    return model


def lose(core: StreamCore, error: RtmsdError | None, *, was_read_out: bool = True) -> bool:
    [link] = core.situation.links
    core.media_closed(1.0, link, error, was_granted=True, was_read_out=was_read_out)
    [lost] = [each for each in core.situation.take_actions(1.0) if isinstance(each, RecordLost)]
    return lost.in_order


@pytest.mark.parametrize(
    ("error", "in_order"),
    [
        (WebSocketClosed(1000, ""), True),
        (WebSocketClosed(1001, "going away"), True),
        (WebSocketClosed(1006, "reset by the other side"), False),
        (KeepAliveTimeout("no frame for 65 s"), False),
        (ConnectionLost("Zoom reported the media connection as interrupted"), False),
        (None, False),
    ],
)
def test_only_behind_a_close_of_zooms_nothing_is_on_its_way(error: RtmsdError | None, in_order: bool) -> None:
    assert lose(connected().core, error) is in_order


@pytest.mark.parametrize("was_read_out", [True, False])
def test_who_leaves_what_was_well_and_read_to_its_end_misses_nothing(was_read_out: bool) -> None:
    stopping, letting_go = connected().core, connected().core
    stopping.suspend(1.0)
    letting_go.signaling.let_go(1.0, "handed over")
    stopping.situation.take_actions(1.0)
    letting_go.situation.take_actions(1.0)
    assert lose(stopping, None, was_read_out=was_read_out) is was_read_out
    assert lose(letting_go, None, was_read_out=was_read_out) is was_read_out


def test_a_connection_that_breaks_while_the_stream_is_let_go_was_not_read_out() -> None:
    core = connected().core
    core.signaling.let_go(1.0, "handed over")
    core.situation.take_actions(1.0)
    assert not lose(core, KeepAliveTimeout("no frame for 65 s"))
