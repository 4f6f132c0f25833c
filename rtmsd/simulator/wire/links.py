"""The live connections of a stream: those whose handshake succeeded and that have not ended."""

import functools
import operator
from collections.abc import Callable, Iterator

from rtmsd.protocol.enums import MediaType
from rtmsd.simulator.model.record import ConnectionSpan, Record
from rtmsd.simulator.wire.connection import ConnectionState, SimConnection


class Links:
    """Holds the live connections and records the span of each. Iterates signaling first.

    Attributes:
        signaling: at most one.
        media: in the order of their handshakes.
    """

    def __init__(self, record: Record, now_ms: Callable[[], int]) -> None:
        self.signaling: SimConnection | None = None
        self.media: list[SimConnection] = []
        self._record = record
        self._now_ms = now_ms

    def __iter__(self) -> Iterator[SimConnection]:
        return iter([*([self.signaling] if self.signaling else []), *self.media])

    @property
    def media_types(self) -> MediaType:
        """Return the bits of all media connections; ALL for a unified one."""
        return functools.reduce(operator.or_, (connection.media_type for connection in self.media), MediaType(0))

    def streaming(self, media: MediaType) -> SimConnection | None:
        """Return the connection on which this media flows."""
        for connection in self.media:
            if connection.state is ConnectionState.UP and media in connection.media_type:
                return connection
        return None

    def add(self, connection: SimConnection) -> None:
        """Add a connection whose handshake succeeded; it waits for message 7."""
        now_ms = self._now_ms()
        connection.state = ConnectionState.NEGOTIATED
        connection.opened_ms = connection.busy_ms = now_ms
        connection.span = ConnectionSpan(
            connection=connection.number,
            kind=connection.kind,
            media_type=int(connection.media_type),
            opened_ms=now_ms,
            peer=connection.peer,
        )
        self._record.connections.append(connection.span)
        if connection.media_type:
            self.media.append(connection)
        else:
            self.signaling = connection

    def remove(self, connection: SimConnection, why: str) -> bool:
        """Remove a connection; return whether it was live."""
        if connection is self.signaling:
            self.signaling = None
        elif connection in self.media:
            self.media.remove(connection)
        else:
            return False
        connection.state = ConnectionState.ENDED
        if connection.span is not None:
            connection.span.closed_ms = self._now_ms()
            connection.span.why = why
        return True
