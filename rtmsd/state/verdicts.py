"""The rules by which what is known of a stream changes. Pure: the state file, and the engine of a cluster, only store.

A stream is live, stopped (a reason is set; its files are not finished yet) or closed: then it is a tombstone, by which
retries of its webhooks are recognized.
"""

from collections.abc import Set
from typing import Final

import attrs

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.protocol.enums import StopReason
from rtmsd.state.rows import Delivery, Known, StreamRow

_ACTIONS: Final = {StartStream: "rtms_started", StopStream: "rtms_stopped", InterruptStream: "rtms_interrupted"}


def judge(
    known: Known, command: StreamCommand, *, other_apps: Set[str] = frozenset(), received_ms: int
) -> tuple[Verdict, Known]:
    """Return the verdict on a command, and what is known after it.

    NEW changes the row, except that an interruption without a URL, or of an unknown stream, leaves it as it is. NEW and
    LATE add the delivery, so that its repeat is a DUPLICATE. Otherwise `known` is returned unchanged.

    Args:
        other_apps: than the command's, whose streams it must not touch.
        received_ms: local time: the only one there is of a stop without time of a stream that nobody knows.
    """
    row = known.row
    if row is not None and row.app in other_apps:
        return Verdict.FOREIGN, known
    event_ts = _event_ts(command, row, received_ms)
    delivery = Delivery(f"{command.product}.{_ACTIONS[type(command)]}", event_ts, command.session.id)
    if delivery in known.delivered:
        return Verdict.DUPLICATE, known
    delivered = (*known.delivered, delivery)
    if row is not None and _is_overtaken(command, row):
        return Verdict.LATE, Known(row, delivered)
    match command:
        case StartStream():
            row = _started(command, row)
        case StopStream():
            row = _stopped(command, row, event_ts)
        case InterruptStream(server_urls=str()) if row is not None:
            row = attrs.evolve(row, server_urls=command.server_urls)
    return Verdict.NEW, Known(row, delivered)


def close(row: StreamRow, *, reason: int, ended_ms: int, event_ts: int | None = None) -> StreamRow | None:
    """Return the tombstone of a stream whose files are finished; None: it is one, or lives on.

    Reason and time of a stop webhook stay. A stream that was revoked meanwhile is not closed by an end for another
    reason: its deletion is still to be done.

    Args:
        ended_ms: Zoom's time.
        event_ts: of the start that is finished; when a newer one was recorded, the stream lives on.
    """
    is_newer = event_ts is not None and row.event_ts > event_ts
    is_to_be_deleted = row.stop_reason == StopReason.STREAM_REVOKED != reason
    if row.closed or is_newer or is_to_be_deleted:
        return None
    return attrs.evolve(_ended(row, reason, ended_ms), closed=True, details={})


def revoke(row: StreamRow, *, stopped_ms: int, event_ts: int) -> StreamRow | None:
    """Return a stream that is to be deleted; None: it is so already, or there was a newer start.

    Args:
        stopped_ms: Zoom's time.
        event_ts: of the latest start that is revoked.
    """
    if row.event_ts > event_ts or row.stop_reason == StopReason.STREAM_REVOKED:
        return None
    row = attrs.evolve(row, stop_reason=None, closed=False, details={})
    return _ended(row, StopReason.STREAM_REVOKED, stopped_ms)


def _event_ts(command: StreamCommand, row: StreamRow | None, received_ms: int) -> int:
    """Return the time of an event. A stop without one belongs to the latest start, so that it applies once to each."""
    if command.event_ts is not None:
        return command.event_ts
    return received_ms if row is None else row.event_ts


def _is_overtaken(command: StreamCommand, row: StreamRow) -> bool:
    ended = row.closed or row.stopped_ms is not None
    match command:
        case StartStream():  # a newer one is a failover of a live stream, and opens an ended one again
            return command.event_ts <= max(row.event_ts, row.stopped_ms or 0)
        case StopStream(stop_reason=StopReason.STREAM_REVOKED):  # is carried out at any time
            return row.stop_reason == StopReason.STREAM_REVOKED
        case _:
            return ended or (command.event_ts is not None and command.event_ts < row.event_ts)


def _started(start: StartStream, row: StreamRow | None) -> StreamRow:
    started_ms = None if row is None else row.started_ms
    return StreamRow(
        rtms_stream_id=start.rtms_stream_id,
        product=start.product,
        session=start.session,
        app=start.app,
        server_urls=start.server_urls,
        started_ms=start.event_ts if started_ms is None else started_ms,
        event_ts=start.event_ts,
        stop_reason=None,
        stopped_ms=None,
        closed=False,
        details=start.details,
    )


def _stopped(stop: StopStream, row: StreamRow | None, event_ts: int) -> StreamRow:
    is_revocation = stop.stop_reason == StopReason.STREAM_REVOKED
    if row is not None:
        return attrs.evolve(
            row,
            stop_reason=stop.stop_reason,
            stopped_ms=event_ts,
            closed=False,
            details={} if is_revocation else row.details,
        )
    # An unknown stream has nothing to finish: a tombstone at once. A revocation is work all the same: recordings of the
    # stream are to be deleted, also when a restart comes first.
    return StreamRow(
        rtms_stream_id=stop.rtms_stream_id,
        product=stop.product,
        session=stop.session,
        app=stop.app,
        server_urls=None,
        started_ms=None,
        event_ts=event_ts,
        stop_reason=stop.stop_reason,
        stopped_ms=event_ts,
        closed=not is_revocation,
    )


def _ended(row: StreamRow, reason: int, ended_ms: int) -> StreamRow:
    return attrs.evolve(
        row,
        stop_reason=reason if row.stop_reason is None else row.stop_reason,
        stopped_ms=ended_ms if row.stopped_ms is None else row.stopped_ms,
    )
