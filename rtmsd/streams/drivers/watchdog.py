"""The keep-alive watchdog: Zoom sends a keep-alive every 10 s, so one that is silent for much longer is dead."""

from typing import Protocol

from rtmsd.errors import ConnectionLost, KeepAliveTimeout


class Watched(Protocol):
    """A connection of which silence is to be noticed."""

    @property
    def last_heard_s(self) -> float:
        """When it last brought a whole frame, in Trio's clock."""

    def drop(self, lost: ConnectionLost) -> None:
        """Give the connection up."""


class Watchdog:
    """Looks after all connections of a stream. Who hears something has only to read the clock: it sets no timer."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._watched: dict[Watched, str] = {}

    def watch(self, connection: Watched, name: str) -> None:
        """Look after a connection on which something was heard just now. `name` is for the log."""
        self._watched[connection] = name

    def forget(self, connection: Watched) -> None:
        """Look after it no more, if it was looked after."""
        self._watched.pop(connection, None)

    def look(self, now_s: float) -> float:
        """Drop whoever has said nothing for too long. Returns when to look again.

        A connection that comes later changes nothing about that: it cannot be due before.
        """
        oldest_s = now_s
        for connection, name in tuple(self._watched.items()):
            heard_s = connection.last_heard_s
            if heard_s + self._timeout_s <= now_s:
                self.forget(connection)
                connection.drop(KeepAliveTimeout(f"nothing heard on {name} for {self._timeout_s:g} s"))
            else:
                oldest_s = min(oldest_s, heard_s)
        return oldest_s + self._timeout_s
