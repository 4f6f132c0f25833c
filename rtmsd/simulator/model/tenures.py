"""The holders of a stream, read from its record: for judging a client that is several processes.

A stream has one signaling connection, and all its connections belong to the process that holds it. The processes are
known with `SimulatorSettings.name_processes`; times are Zoom's milliseconds.
"""

import itertools
from collections.abc import Iterator

import attrs

from rtmsd.simulator.model.record import ConnectionSpan, Handshake, Peer, Record


@attrs.frozen(kw_only=True)
class Tenure:
    """The time of one holder: its signaling connections in a row, with the pauses between them.

    Attributes:
        peer: of its first connection.
        connections: their numbers.
        to_ms: the end of its last connection; None: it is live.
    """

    peer: Peer
    connections: tuple[int, ...]
    from_ms: int
    to_ms: int | None


def tenures(record: Record) -> list[Tenure]:
    """Return who held the stream, in order. Where a process is not known, each connection is a holder of its own."""
    spans = [span for span in record.connections if span.kind == "signaling"]
    held = []
    for _, group in itertools.groupby(spans, key=lambda span: span.peer.pid or -span.connection):
        own = list(group)
        held.append(
            Tenure(
                peer=own[0].peer,
                connections=tuple(span.connection for span in own),
                from_ms=own[0].opened_ms,
                to_ms=own[-1].closed_ms,
            )
        )
    return held


def two_at_once(record: Record) -> list[tuple[ConnectionSpan, ConnectionSpan]]:
    """Return the pairs of connections that were live at one instant and must not be.

    They are two signaling connections, or any two, as of signaling and of media, of different processes.
    """
    return [
        (earlier, later)
        for earlier, later in itertools.combinations(record.connections, 2)
        if _overlap(earlier, later)
        and (earlier.kind == later.kind == "signaling" or earlier.peer.is_another_process(later.peer))
    ]


def contests(record: Record) -> Iterator[Handshake]:
    """Yield the signaling handshakes of a second client while a first one was connected, refused or evicting it."""
    return (handshake for handshake in record.handshakes if handshake.rival is not None)


def _overlap(one: ConnectionSpan, other: ConnectionSpan) -> bool:
    return (one.closed_ms is None or other.opened_ms < one.closed_ms) and (
        other.closed_ms is None or one.opened_ms < other.closed_ms
    )
