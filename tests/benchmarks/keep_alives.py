"""Keep-alives of the load generator: asked at a steady pace, and how long each answer took."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, TypeAlias

from tests.benchmarks.connection import Connection

_At: TypeAlias = Callable[[int, Callable[[], None]], None]


class KeepAlives:
    """What was asked and answered. `at` calls something at a time of the monotonic clock, in nanoseconds."""

    def __init__(self, at: _At) -> None:
        self._at = at
        self._round = 0
        self._answers_ms: list[float] = []

    def start(self, connections: Collection[Connection], period_ns: int) -> None:
        """Ask each of them once a period, evenly spread over it; earlier answers are forgotten."""
        self.stop()
        self._answers_ms.clear()
        now_ns = time.monotonic_ns()
        for position, connection in enumerate(connections):
            due_ns = now_ns + period_ns * position // len(connections)
            self._at(due_ns, partial(self._ask, connection, self._round, period_ns, due_ns))

    def stop(self) -> None:
        self._round += 1

    def _ask(self, connection: Connection, round_number: int, period_ns: int, due_ns: int) -> None:
        if round_number != self._round or connection.sock.fileno() < 0:
            return
        timestamp = time.time_ns() // 1_000_000
        connection.asked[timestamp] = time.monotonic_ns()
        with contextlib.suppress(OSError):
            connection.say({"msg_type": 12, "timestamp": timestamp, "sequence": len(connection.asked)})
        due_ns += period_ns
        self._at(due_ns, partial(self._ask, connection, round_number, period_ns, due_ns))

    def answered(self, connection: Connection, timestamp: int) -> None:
        asked_ns = connection.asked.pop(timestamp, None)
        if asked_ns is not None:
            self._answers_ms.append((time.monotonic_ns() - asked_ns) / 1e6)

    def report(self, connections: Iterable[Connection]) -> dict[str, Any]:
        """How late they were answered; those not answered yet count by their age."""
        now_ns = time.monotonic_ns()
        waiting_ms = [(now_ns - asked_ns) / 1e6 for connection in connections for asked_ns in connection.asked.values()]
        return {"keep_alive_ms": self._answers_ms, "keep_alives_waiting_ms": waiting_ms}
