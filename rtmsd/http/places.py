"""The connections of one share, and which of them gives way to a new one."""

from typing import Final

import trio

from rtmsd.http.connection import Connection, Phase

SLOW_AFTER_S: Final = 1.0  # a request that has been arriving for longer gives way to a new client


class Places:
    """Connections by phase, those that have been longest in it first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_phase: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}

    def __len__(self) -> int:
        return sum(map(len, self._by_phase.values()))

    def note(self, connection: Connection) -> None:
        """Register a new connection, or the new phase of one."""
        self.remove(connection)
        self._by_phase[connection.phase][connection] = None

    def remove(self, connection: Connection) -> None:
        """Release a place; harmless when it was released before."""
        for connections in self._by_phase.values():
            connections.pop(connection, None)

    def make_room(self) -> bool:
        """Make room for one more, closing another if need be; False when none can give way."""
        return len(self) < self._limit or self.close_idle() or self._break_off_slow()

    def close_idle(self) -> bool:
        """Close the oldest idle connection; False without one."""
        for connection in self._by_phase[Phase.IDLE]:
            if connection.give_way():
                self.remove(connection)
                return True
        return False

    def finish(self) -> None:
        """Close all: the idle ones now, and the others after their answers."""
        for connections in self._by_phase.values():
            for connection in connections:
                connection.finish()

    def _break_off_slow(self) -> bool:
        for connection in self._by_phase[Phase.READING]:  # the slowest first
            if connection.phase_since_s + SLOW_AFTER_S > trio.current_time():
                return False
            if connection.break_off():
                self.remove(connection)
                return True
        return False
