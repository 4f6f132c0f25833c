"""File descriptors: how many a stream needs, and whether there are enough for another one."""

import math
import os
import resource
import time
from collections.abc import Iterable
from typing import Final

import structlog

from rtmsd.streams.core.connections import LinkState
from rtmsd.streams.managed_stream import ManagedStream

log = structlog.get_logger()

_SPARE: Final = 2  # of each stream: a second address that is tried, a name that is looked up
_LEAST_RESERVE: Final = 24
_MOST_RESERVE: Final = 256
_LOOK_EVERY_S: Final = 1.0  # to look costs as much as there are streams, 2 ms with 1000: 2 % of a burst of starts


def raise_limit() -> None:
    """Let this process open as many as it is allowed to: the limit that one starts with is meant for `select`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as refused:
        log.warning("file descriptors stay limited", limit=soft, hard_limit=hard, error=str(refused))
    else:
        log.info("file descriptor limit raised", limit=hard, before=soft)


class Descriptors:
    """The limit of this process, and what of it is kept for signaling, the admin socket, webhooks and the disk."""

    def __init__(self) -> None:
        self._accepting = 0
        self._looked_s = -math.inf
        self._limit_then = 0  # prlimit may change it at any time
        self._unseen = 0  # so many streams may begin before it is looked again

    @property
    def limit(self) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    @property
    def reserve(self) -> int:
        return min(max(_LEAST_RESERVE, self.limit // 8), _MOST_RESERVE)

    def used(self) -> int:
        """Return how many are open."""
        try:
            return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 called at each start
        except FileNotFoundError:
            return 0
        except OSError:  # none is left to look with
            return self.limit

    def shortage(self, connections: int, streams: Iterable[ManagedStream], others: int = 0) -> str | None:
        """Return why there are too few for another stream; None: there are enough.

        Args:
            connections: of each stream.
            streams: those there are; some may not have opened theirs yet.
            others: for something else.
        """
        need, limit = connections + _SPARE, self.limit
        now_s = time.monotonic()
        is_fresh = now_s - self._looked_s < _LOOK_EVERY_S and limit == self._limit_then
        if self._unseen > 0 and is_fresh and not others:
            self._unseen -= 1
            return None
        used = self.used()
        promised = self._accepting * need + sum(need - _open(stream) for stream in streams)
        free = limit - used - promised - need - self.reserve - others
        self._looked_s, self._limit_then = now_s, limit
        self._unseen = free // (2 * need)  # half of them is for what is not foreseen
        if free >= 0:
            return None
        return (
            f"too few file descriptors: {used} of {limit} are open, {promised} promised to streams, {self.reserve} "
            f"kept back, and a stream needs {need}; raise LimitNOFILE"
        )

    def __enter__(self) -> None:
        """A start is on its way from the check to its stream."""
        self._accepting += 1

    def __exit__(self, *_: object) -> None:
        self._accepting -= 1


def _open(managed: ManagedStream) -> int:
    """Return how many connections a stream has open."""
    if (stream := managed.stream) is None:
        return 0
    return stream.situation.uplink.is_up + sum(link.state is LinkState.STREAMING for link in stream.situation.links)
