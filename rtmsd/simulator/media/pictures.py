"""The feed of video or share: frames of one person at the negotiated rate."""

from collections.abc import Mapping
from typing import Any, Protocol

from rtmsd.protocol.enums import MediaType, PayloadType, Resolution
from rtmsd.protocol.media_params import DeskshareParams, VideoParams
from rtmsd.simulator.media.frames import frame_loop
from rtmsd.simulator.media.items import Who
from rtmsd.simulator.wire.connection import SimConnection


class Send(Protocol):
    def __call__(self, media: MediaType, content: Mapping[str, Any], *, counter: int) -> None:
        """Send a media message's content and record it, as `ItemFeed.send`."""


class PictureFeed:
    """Sends pictures, which are never buffered. A film begins, with a key frame, for each person and connection."""

    def __init__(self, media: MediaType, send: Send) -> None:
        self._media = media
        self._send = send
        self._due_ms = 0
        self._number = 0
        self._film: tuple[object, ...] | None = None  # who is shown, and where; None: nobody is

    def advance(self, now_ms: int, connection: SimConnection | None, who: Who | None) -> None:
        """Send what is due to `connection`.

        Args:
            who: the fields that name the person shown; None without one, and while paused.
        """
        params = self._params(connection)
        if connection is None or params is None or who is None:
            self._film = None
            return
        film = (who["user_id"], connection.number)
        if film != self._film:
            self._film, self._number, self._due_ms = film, 0, now_ms
        fps = params.fps or 1
        loop = frame_loop(PayloadType(params.codec or PayloadType.JPG), Resolution(params.resolution or 1), fps)
        while self._due_ms <= now_ms:
            frame = loop.frame(self._number)
            content = {**who, "data": frame.base64, "length": len(frame.data), "timestamp": self._due_ms}
            self._send(self._media, content, counter=frame.counter)
            self._number += 1
            self._due_ms += 1000 // fps

    def _params(self, connection: SimConnection | None) -> VideoParams | DeskshareParams | None:
        if connection is None:
            return None
        return connection.params.video if self._media is MediaType.VIDEO else connection.params.deskshare
