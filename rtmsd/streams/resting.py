"""The rest of media sockets between two looks at them, while nobody listens."""

from collections.abc import Callable
from typing import Final

from rtmsd.config import Config
from rtmsd.sinks.hub import LiveHub
from rtmsd.transport.network import socket_set

_PART_OF_SYNC: Final = 0.04
"""The most of `sync_interval_s` that media may wait unread: the writer leaves a fifth of it for all that is not its."""


def let_rest(hub: LiveHub, config: Callable[[], Config]) -> None:
    """Let the media sockets of this Trio run rest while no live sink hears media, as the configuration now says."""
    sockets = socket_set()
    if sockets is not None:
        sockets.longest_rest_s = lambda: 0.0 if hub.media_sinks else longest_rest_s(config())
        hub.on_media_sink = sockets.wake


def longest_rest_s(config: Config) -> float:
    return min(config.streams.max_rest_ms / 1000, _PART_OF_SYNC * config.recording.sync_interval_s)
