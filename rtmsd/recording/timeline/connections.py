"""The connections of a stream, signaling and media: when each opened and closed. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from rtmsd.recording.manifest.schema import ConnectionEntry

_MAX_CONNECTIONS: Final = 2000

_SILENT_MS: Final = 15_000
"""Zoom sends a keep-alive after 10 s without media; a connection that brought nothing for longer was dead."""


class Connection(ConnectionEntry, kw_only=True):
    """Attributes:
    alive_ms: when it brought anything last, whatever time that was of; not for the manifest.
    arrived: how many messages of its media types there were by then; None before it was looked at.
    """

    alive_ms: int | None = None
    arrived: int | None = None

    def entry(self) -> ConnectionEntry:
        return ConnectionEntry(**{name: getattr(self, name) for name in ConnectionEntry.__struct_fields__})

    def heard(self, time_ms: int) -> None:
        self.heard_ms = time_ms if self.heard_ms is None else max(self.heard_ms, time_ms)

    def lived(self, time_ms: int) -> None:
        self.alive_ms = time_ms if self.alive_ms is None else max(self.alive_ms, time_ms)

    def is_silent(self, at_ms: int) -> bool:
        """Whether it brought nothing for so long that it must have been dead."""
        alive_ms = self.opened_ms if self.alive_ms is None else self.alive_ms
        return alive_ms is not None and at_ms - alive_ms > _SILENT_MS


class Connections:
    """All of a stream, in the order in which they came up."""

    def __init__(self, entries: Iterable[ConnectionEntry] = ()) -> None:
        self._all = [Connection(**msgspec.structs.asdict(entry)) for entry in entries]
        self._open = {each.number: each for each in self._all if each.closed_ms is None}
        self._number = max((each.number for each in self._all), default=0)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._all)

    @property
    def open(self) -> list[Connection]:
        """Those that are up, or may be."""
        return list(self._open.values())

    def get(self, number: int) -> Connection | None:
        """Return an open connection."""
        return self._open.get(number)

    def latest(self, kind: str) -> Connection | None:
        return next((each for each in reversed(self._all) if each.kind == kind), None)

    def add(self, kind: str, media: Iterable[str]) -> Connection:
        self._number += 1
        connection = self._open[self._number] = Connection(
            number=self._number, kind=kind, media=sorted(media), opened_ms=None, closed_ms=None
        )
        self._all.append(connection)
        if len(self._all) > _MAX_CONNECTIONS:
            self._join_oldest()
        return connection

    def close(self, connection: Connection, at_ms: int) -> None:
        connection.closed_ms = at_ms
        self._open.pop(connection.number, None)

    def heard(self, time_ms: int, number: int | None) -> bool:
        """Zoom said what time it is, on signaling or on the connection numbered. Returns whether that opened one."""
        has_opened = False
        for connection in self.open:
            if connection.alive_ms is None:  # its handshake was not long ago
                connection.lived(time_ms)
            if connection.number == number or (number is None and connection.kind == "signaling"):
                connection.heard(time_ms)
                connection.lived(time_ms)
                if connection.opened_ms is None and not connection.media:
                    connection.opened_ms = time_ms
                    has_opened = True
        return has_opened

    def brought(
        self,
        newest_ms: Callable[[tuple[str, ...]], int | None],
        arrived: Callable[[tuple[str, ...]], int],
        clock_ms: int,
    ) -> None:
        """Note how far each connection has brought its media, so that a killed daemon's successor knows.

        Args:
            newest_ms: from media types to the end of the newest media of them.
            arrived: from media types to how many messages of them ever came.
        """
        for connection in self.open:
            if not connection.media:  # signaling: half of the connections, of each recording in each flush
                continue
            # Audio may come out of Zoom's buffer, behind the other media; none of it must seem to have come already.
            media = ("audio",) if "audio" in connection.media else tuple(connection.media)
            if (time_ms := newest_ms(media)) is not None:
                connection.heard(time_ms)
            before, connection.arrived = connection.arrived, arrived(tuple(connection.media))
            if before is not None and connection.arrived > before:
                connection.lived(clock_ms)

    def end(self, end_ms: int) -> None:
        """The stream ended: what is open closes, and what was heard later, as a keep-alive, does not count."""
        for each in self.open:
            each.opened_ms = end_ms if each.opened_ms is None else each.opened_ms
            each.why = each.why or "ended"
            self.close(each, end_ms)
        for each in self._all:
            if each.opened_ms is not None and each.closed_ms is not None:
                each.opened_ms, each.closed_ms = min(each.opened_ms, end_ms), min(each.closed_ms, end_ms)

    def entries(self) -> list[ConnectionEntry]:
        """Return all as they are now."""
        return [each.entry() for each in self._all]

    def _join_oldest(self) -> None:
        oldest = self._all.pop(0)
        for connection in self._all:
            if (connection.kind, connection.media) == (oldest.kind, oldest.media):
                connection.opened_ms = oldest.opened_ms
                break
