"""The server's watch over its live connections: keep-alives, duplicate connections, missing acknowledgements."""

from typing import Final

import trio

from rtmsd.simulator.model.record import Record
from rtmsd.simulator.model.settings import Timing
from rtmsd.simulator.wire.connection import SimConnection
from rtmsd.simulator.wire.links import Links
from rtmsd.simulator.wire.wire import WireState

_CONTESTED_S: Final = 2.0  # for a client to drop its first connection after opening a second one
_READY_S: Final = 5.0  # for message 7 after a media handshake


class Watch:
    """The watch over the links of one stream.

    Attributes:
        asks_alive: False withholds keep-alive requests.
    """

    def __init__(self, links: Links, record: Record, timing: Timing) -> None:
        self.asks_alive = True
        self._links = links
        self._record = record
        self._timing = timing

    def keep_alive(self, now_ms: int) -> list[SimConnection]:
        """Ask every 10 s on signaling, on media only after 10 s without media; return the unresponsive connections."""
        silent = []
        for connection in self._links:
            if now_ms < connection.quiet_since_ms + int(self._timing.keep_alive_s * 1000):
                continue
            if connection.plays_dead(self._timing):
                if connection.neglects_keep_alives(self._timing):
                    self._record.violate("keep_alives_unanswered", f"{connection.kind} {connection.number}", now_ms)
                silent.append(connection)
            elif self.asks_alive:
                connection.ask_alive(now_ms, self._record)
        return silent

    def check(self, now_ms: int) -> None:
        """Record first connections kept beside a second one, and media that waits for message 7."""
        local_s = trio.current_time()
        for connection in self._links:
            contested_s, ready_s = connection.contested_s, connection.ready_s
            if contested_s is not None and local_s > contested_s + _CONTESTED_S:
                connection.contested_s = None
                if connection.wire.state is WireState.OPEN:
                    self._record.violate("second_connection", f"{connection.kind} {connection.number} is alive", now_ms)
            if ready_s is not None and local_s > ready_s + _READY_S:
                connection.ready_s = None
                if self._links.signaling is not None and self._links.signaling.wire.state is WireState.OPEN:
                    self._record.violate("ready_ack_missing", f"media {connection.number} waits for message 7", now_ms)
