"""A refused media handshake, as the network delivers it: Zoom's answer and its close in one piece."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
import trio

from rtmsd.config import StreamsConfig
from rtmsd.errors import ConnectionLost
from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import MediaType, StatusCode
from rtmsd.protocol.media_params import with_defaults
from rtmsd.protocol.messages import EventSubscription, MediaParams, SessionRef
from rtmsd.streams.core.actions import OpenMedia
from rtmsd.streams.core.connections import LinkState
from rtmsd.streams.core.situation import Situation
from rtmsd.streams.core.stream_core import StreamCore
from rtmsd.streams.drivers import media
from tests.streams.core.model import FakeRecording


class ClosingZoom:
    """Answers the handshake and closes, both before anybody gets to run."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.handshakes = 0

    @asynccontextmanager
    async def open_media(
        self, _url: str, _zoom: Any, _timeout_s: float, consume: Callable[[list[bytes]], None], _gate: Any
    ) -> AsyncIterator["ClosingZoom"]:
        self._consume = consume
        yield self

    async def send(self, _text: str) -> None:
        self.handshakes += 1
        self._consume([self.answers.pop(0).encode()])

    async def wait_closed(self) -> None:
        raise ConnectionLost("closed with code 1000")


@pytest.mark.parametrize("msg_type", [4, 2])
async def test_a_refusal_counts_although_the_close_came_with_it(
    msg_type: int, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    transient = f'{{"msg_type":{msg_type},"status_code":{int(StatusCode.INTERNAL_EXCEPTION)}}}'
    permanent = f'{{"msg_type":{msg_type},"status_code":{int(StatusCode.MEDIA_TYPE_AUDIO_NOT_SUPPORT)}}}'
    zoom = ClosingZoom(transient, permanent, permanent)
    monkeypatch.setattr(media, "open_media", zoom.open_media)
    situation = Situation(
        "wss://rtms.zoom.us",
        StreamsConfig(),
        FakeRecording(),
        connections=(MediaType.AUDIO,),
        recorded=RecordingState.CONNECTING,
        cause=None,
    )
    core = StreamCore("r", situation, EventSubscription(events=()))
    async with trio.open_nursery() as nursery:

        def report(decide: Callable[..., None], *args: Any, **kwargs: Any) -> None:
            now_s = trio.current_time()
            decide(now_s, *args, **kwargs)
            for action in situation.take_actions(now_s):
                if isinstance(action, OpenMedia):
                    driver.open(nursery, action)

        context = Mock(core=core, report=report, signature="x")
        context.media_params = with_defaults(MediaParams(), MediaType.AUDIO)
        context.row.session, context.row.rtms_stream_id = SessionRef("session_id", "s"), "r"
        context.app.protocol_version = 1
        context.settings.streams = StreamsConfig()
        (link,) = situation.links
        driver = media.MediaDriver(context, link)
        core.start(trio.current_time())
        report(core.signaling_up, {"audio": "wss://rtms.zoom.us/audio"})
        while situation.outcome is None:
            await trio.sleep(1)
            report(core.tick)
    assert link.state is LinkState.REFUSED
    assert zoom.handshakes == 2
