"""The statements on the state file: what it holds, and how a command changes it. Synchronous, for `journal.py`."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Set
from typing import Any

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.state.rows import StreamRow

ACTIONS = {StartStream: "rtms_started", StopStream: "rtms_stopped", InterruptStream: "rtms_interrupted"}


def record(
    db: sqlite3.Connection, command: StreamCommand, received_ms: int, other_apps: Set[str] = frozenset()
) -> Verdict:
    """Record a command, unless it was delivered before, was overtaken, or is not for its app to give; return which.

    Args:
        other_apps: than the command's, whose streams it must not touch.
        received_ms: local time, from which the delivery is remembered for 90 minutes.
    """
    row = find(db, command.rtms_stream_id)
    if row is not None and row.app in other_apps:
        return Verdict.FOREIGN
    delivery = (
        f"{command.product}.{ACTIONS[type(command)]}",
        _event_ts(command, row, received_ms),
        command.session.id,
        command.rtms_stream_id,
        received_ms,
    )
    if db.execute("INSERT OR IGNORE INTO delivery VALUES (?, ?, ?, ?, ?)", delivery).rowcount == 0:
        return Verdict.DUPLICATE
    if row is not None and _is_overtaken(command, row):
        return Verdict.LATE
    match command:
        case StartStream():
            _start(db, command)
        case StopStream():
            _stop(db, command, row, received_ms)
        case InterruptStream(server_urls=str()):
            urls = (command.server_urls, command.rtms_stream_id)
            db.execute("UPDATE stream SET server_urls = ? WHERE rtms_stream_id = ?", urls)
    return Verdict.NEW


def _is_overtaken(command: StreamCommand, row: StreamRow) -> bool:
    ended = row.closed or row.stopped_ms is not None
    match command:
        case StartStream():  # a newer one is a failover of a live stream, and opens an ended one again
            return command.event_ts <= max(row.event_ts, row.stopped_ms or 0)
        case StopStream(stop_reason=StopReason.STREAM_REVOKED):  # is carried out at any time
            return row.stop_reason == StopReason.STREAM_REVOKED
        case _:
            return ended or (command.event_ts is not None and command.event_ts < row.event_ts)


def _start(db: sqlite3.Connection, start: StartStream) -> None:
    db.execute(
        """INSERT INTO stream
            (rtms_stream_id, product, id_key, session_id, app, server_urls, started_ms, event_ts, details)
        VALUES
            (:rtms_stream_id, :product, :id_key, :session_id, :app, :server_urls, :event_ts, :event_ts, :details)
        ON CONFLICT DO UPDATE SET
            product = excluded.product, id_key = excluded.id_key, session_id = excluded.session_id,
            app = excluded.app, server_urls = excluded.server_urls,
            started_ms = coalesce(stream.started_ms, excluded.started_ms), event_ts = excluded.event_ts,
            details = excluded.details,
            stop_reason = NULL, stopped_ms = NULL, closed_ms = NULL""",
        {
            **_identity(start, start.event_ts),
            "server_urls": start.server_urls,
            "details": json.dumps(dict(start.details)),
        },
    )


def _stop(db: sqlite3.Connection, stop: StopStream, row: StreamRow | None, received_ms: int) -> None:
    # An unknown stream has nothing to finish: a tombstone at once. A revocation is work all the same: recordings of the
    # stream are to be deleted, also when a restart comes first.
    nothing_to_do = row is None and stop.stop_reason != StopReason.STREAM_REVOKED
    db.execute(
        """INSERT INTO stream
            (rtms_stream_id, product, id_key, session_id, app, event_ts, stop_reason, stopped_ms, closed_ms)
        VALUES
            (:rtms_stream_id, :product, :id_key, :session_id, :app, :event_ts, :stop_reason, :event_ts, :closed_ms)
        ON CONFLICT DO UPDATE SET
            stop_reason = excluded.stop_reason, stopped_ms = excluded.stopped_ms, closed_ms = NULL,
            details = CASE WHEN excluded.stop_reason = :revoked THEN NULL ELSE stream.details END""",
        {
            **_identity(stop, _event_ts(stop, row, received_ms)),
            "stop_reason": stop.stop_reason,
            "revoked": StopReason.STREAM_REVOKED,
            "closed_ms": received_ms if nothing_to_do else None,
        },
    )


def _event_ts(command: StreamCommand, row: StreamRow | None, received_ms: int) -> int:
    """Return the time of an event. A stop without one belongs to the latest start, so that it applies once to each."""
    if command.event_ts is not None:
        return command.event_ts
    return received_ms if row is None else row.event_ts


def _identity(command: StreamCommand, event_ts: int) -> dict[str, str | int]:
    return {
        "rtms_stream_id": command.rtms_stream_id,
        "product": command.product,
        "id_key": command.session.key,
        "session_id": command.session.id,
        "app": command.app,
        "event_ts": event_ts,
    }


def revoke(db: sqlite3.Connection, rtms_stream_id: str, *, stopped_ms: int, event_ts: int) -> None:
    """Mark a stream as to be deleted, unless there was a newer start."""
    db.execute(
        """UPDATE stream SET stop_reason = :revoked, stopped_ms = coalesce(stopped_ms, :stopped_ms), closed_ms = NULL,
            details = NULL
        WHERE rtms_stream_id = :id AND event_ts <= :event_ts AND stop_reason IS NOT :revoked""",
        {
            "revoked": StopReason.STREAM_REVOKED,
            "id": rtms_stream_id,
            "stopped_ms": stopped_ms,
            "event_ts": event_ts,
        },
    )


def close_stream(
    db: sqlite3.Connection, rtms_stream_id: str, *, reason: int, ended_ms: int, event_ts: int | None, closed_ms: int
) -> bool:
    """Make a tombstone of a stream, and say whether it is one now. Reason and time of a stop webhook stay.

    A stream that was revoked meanwhile is not closed by an end for another reason: its deletion is still to be done.

    Args:
        event_ts: of the start that is finished; when a newer one was recorded, the stream lives on.
        closed_ms: local time, by which the tombstone is kept for 90 minutes.
    """
    closed = db.execute(
        """UPDATE stream SET
            stop_reason = coalesce(stop_reason, :reason), stopped_ms = coalesce(stopped_ms, :ended_ms),
            closed_ms = :closed_ms, details = NULL
        WHERE rtms_stream_id = :id AND closed_ms IS NULL AND event_ts <= coalesce(:event_ts, event_ts)
            AND (stop_reason IS NOT :revoked OR :reason = :revoked)""",
        {
            "revoked": StopReason.STREAM_REVOKED,
            "id": rtms_stream_id,
            "reason": reason,
            "ended_ms": ended_ms,
            "event_ts": event_ts,
            "closed_ms": closed_ms,
        },
    )
    if reason == StopReason.STREAM_REVOKED:
        db.execute("DELETE FROM lost_stream WHERE rtms_stream_id = ?", (rtms_stream_id,))
    return closed.rowcount == 1


def find(db: sqlite3.Connection, rtms_stream_id: str) -> StreamRow | None:
    rows = db.execute("SELECT * FROM stream WHERE rtms_stream_id = ?", (rtms_stream_id,))
    return next((_row(row) for row in rows), None)


def unfinished(db: sqlite3.Connection) -> list[StreamRow]:
    """Return the streams that are not closed: live ones, and stopped ones whose files were not finished yet."""
    rows = db.execute("SELECT * FROM stream WHERE closed_ms IS NULL ORDER BY event_ts")
    return [_row(row) for row in rows]


def adopt(db: sqlite3.Connection, rows: Iterable[StreamRow], closed_ms: int) -> None:
    """Add streams from elsewhere, except those that are known.

    Args:
        closed_ms: local time, for tombstones.
    """
    for row in rows:
        db.execute(
            """INSERT OR IGNORE INTO stream (rtms_stream_id, product, id_key, session_id, app, server_urls,
                started_ms, event_ts, stop_reason, stopped_ms, closed_ms, details)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                *(row.rtms_stream_id, row.product, row.session.key, row.session.id, row.app, row.server_urls),
                *(row.started_ms, row.event_ts, row.stop_reason, row.stopped_ms, closed_ms if row.closed else None),
                json.dumps(dict(row.details)) if row.details else None,
            ),
        )


def check(db: sqlite3.Connection) -> None:
    """Read from each table.

    Raises:
        sqlite3.OperationalError, TypeError: these are other tables.
    """
    unfinished(db)
    db.execute("SELECT event, event_ts, session_id, rtms_stream_id, received_ms FROM delivery LIMIT 1").fetchone()


def probe(db: sqlite3.Connection) -> None:
    """Write without changing anything, to find out whether the disk takes it."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version}")


def readable(db: sqlite3.Connection) -> Iterator[StreamRow]:
    """Yield the streams of a damaged file, as far as it can be read.

    Raises:
        sqlite3.Error, TypeError: the rest cannot be read.
    """
    for values in db.execute("SELECT * FROM stream"):
        row = _row(values)
        texts = (row.rtms_stream_id, row.product, row.session.key, row.session.id, row.app, row.server_urls or "")
        numbers = (row.event_ts, row.started_ms or 0, row.stop_reason or 0, row.stopped_ms or 0)
        if all(isinstance(text, str) for text in texts) and all(isinstance(number, int) for number in numbers):
            yield row


def prune(db: sqlite3.Connection, before_ms: int) -> None:
    """Forget deliveries received, and streams closed, before a local time."""
    db.execute("DELETE FROM delivery WHERE received_ms < ?", (before_ms,))
    db.execute("DELETE FROM stream WHERE closed_ms < ?", (before_ms,))


def _row(values: sqlite3.Row) -> StreamRow:
    fields = dict(values)
    session = SessionRef(fields.pop("id_key"), fields.pop("session_id"))
    details = _details(fields.pop("details"))
    return StreamRow(session=session, closed=fields.pop("closed_ms") is not None, details=details, **fields)


def _details(text: Any) -> dict[str, Any]:
    """Return the stored details; none where they are damaged, since the rest of the row is worth more."""
    try:
        details = json.loads(text or "{}")
    except (TypeError, ValueError, RecursionError):
        return {}
    return details if isinstance(details, dict) else {}
